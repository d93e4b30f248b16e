"""Learning to be a good start: Reptile on the unlabelled text of many tasks (Nichol et al. 2018).

Continued pre-training makes a model good *at* the tasks' text; meta-learning asks where a model should stand so that a
few steps on any one task's text take it far. Reptile needs no second derivatives: go a few steps on one task, as one
would to use it, and move the start a part of that way; then the next task. FewCLUE's winners fed the unlabelled data of
several tasks to such a stage, ahead of the few labelled examples.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from labkit.errors import UsageError
from labkit.fewshot.instruction.multitask import unlabelled_texts
from labkit.foundations.pretraining import MaskedLM, tokenize_corpus
from labkit.training import Batches, fit

if TYPE_CHECKING:
    from labkit.tasks import Task


@dataclass(frozen=True)
class Episode:
    """What one task asks of the model: rows, `collate(rows, rng)` and `loss(model, batch)`."""

    rows: Sequence[Any]
    collate: Callable[..., dict[str, Tensor]]
    loss: Callable[[nn.Module, Any], Tensor]


def text_episodes(tasks: Sequence[Task], tokenizer: PreTrainedTokenizerBase, max_length: int = 128) -> list[Episode]:
    """One episode a task: masked language modelling on all its texts; no label is read."""
    objective = MaskedLM(tokenizer, max_length=max_length)
    return [
        Episode(tokenize_corpus(unlabelled_texts(task), tokenizer, max_length), objective.collate, objective.loss)
        for task in tasks
    ]


def reptile(
    model: nn.Module,
    episodes: Sequence[Episode],
    *,
    rounds: int,
    steps: int = 5,
    lr: float = 3e-4,
    outer: float = 0.5,
    seed: int = 0,
) -> nn.Module:
    """A meta-trained copy: each round, θ ← θ + ε·(θ_k − θ).

    θ_k is where `steps` steps of `fit` on one episode lead from θ, each episode in turn in random order; ε = `outer` in
    (0, 1]. With one episode, ε = 1 and one round it is `fit`. Deterministic in `seed`. Raises UsageError for no
    episodes, or numbers out of range.
    """
    if not episodes:
        raise UsageError("0 episodes: reptile needs one task or more to learn from")
    if rounds < 1 or steps < 1 or not 0 < outer <= 1:
        raise UsageError(f"rounds={rounds}, steps={steps}, outer={outer}: at least 1, 1, and ε in (0, 1] are needed")
    start, rng, order = copy.deepcopy(model), np.random.default_rng(seed), []
    for number in range(rounds):
        order = order or rng.permutation(len(episodes)).tolist()
        end = _adapted(start, episodes[order.pop(0)], steps, lr, seed + number)
        with torch.no_grad():
            for parameter, reached in zip(start.parameters(), end.parameters(), strict=True):
                parameter += outer * (reached.to(parameter.device) - parameter)
    return start


def _adapted(start: nn.Module, episode: Episode, steps: int, lr: float, seed: int) -> nn.Module:
    """A copy of `start`, `steps` steps of constant rate into the episode."""
    fast = copy.deepcopy(start)
    batches = Batches(episode.rows, episode.collate, min(32, len(episode.rows)), seed=seed)
    settings = {"schedule": "constant", "warmup": 0, "seed": seed}
    fit(fast, episode.loss, batches, steps=steps, lr=lr, progress=False, **settings)
    return fast
