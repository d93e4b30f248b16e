"""Continued pre-training on many tasks at once, turned into one: does the text say so?

Between general pre-training and the few examples of the task that is wanted, the model reads the labelled rows of
*other* tasks as entailment (`entailment.py`), and the unlabelled text of all of them as a masked language model: the
second of the three stages of the system with which Alibaba PAI and DAMO won FewCLUE (2021). Tasks of unlike sizes are
mixed by a temperature.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from labkit.errors import UsageError
from labkit.fewshot.instruction.entailment import judge
from labkit.fewshot.instruction.statements import entailment_rows, joined
from labkit.foundations.encoder import labels_of
from labkit.foundations.pretraining import MaskedLM
from labkit.training import Batches, fit
from labkit.training.batches import weight_of

if TYPE_CHECKING:
    from labkit.tasks import Task

# How tasks are mixed

TEMPERATURE = 2.0  # of what is trained on


def shares(sizes: Sequence[int], temperature: float = 1.0) -> np.ndarray:
    """Each task's share of the mixture, n_i^(1/T) / Σ n_j^(1/T): (tasks,), summing to 1.

    T = 1 is in proportion to the rows, T = ∞ equal shares; between them, the small tasks are heard more than their
    size (Raffel et al. 2020, T5, §3.5.2). UsageError for T < 1, which would drown them, or for a task without rows.
    """
    if not len(sizes) or min(sizes) < 1:
        raise UsageError(f"sizes={list(sizes)}: every task of a mixture needs at least one row")
    if not temperature >= 1:
        raise UsageError(f"temperature={temperature}: 1 for shares in proportion, more for flatter, inf for equal ones")
    weight = np.exp(np.log(np.asarray(sizes, np.float64)) / temperature)
    return weight / weight.sum()


def mixture(
    sizes: Sequence[int], count: int, rng: np.random.Generator, temperature: float = 1.0
) -> list[tuple[int, int]]:
    """`count` draws (task, row) from tasks of these sizes: the task by its share, its rows in a random order, each
    once before any comes again.
    """
    drawn = rng.choice(len(sizes), size=count, p=shares(sizes, temperature))
    orders: list[list[int]] = [[] for _ in sizes]
    found = []
    for task in drawn.tolist():
        if not orders[task]:
            orders[task] = rng.permutation(sizes[task]).tolist()
        found.append((task, orders[task].pop()))
    return found


# The training


def unlabelled_texts(task: Task) -> list[str]:
    """The texts of a task's training rows and of its unlabelled ones, each once; no label is read."""
    rows = [*task.splits.get("train", []), *task.splits.get("unlabelled", [])]
    return list(dict.fromkeys(joined(row, task.fields, task.language) for row in rows))


class Continued:
    """The objective: (1 − w) · cross-entropy of the judgements + w · masked language modelling.

    Rows are {"text", "statement", "label", "plain"}: a pair to judge, and beside it an unlabelled text to read. With
    w = 0 or w = 1 the other half is not computed.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, language: str, mlm_weight: float, max_length: int = 128
    ) -> None:
        if not 0 <= mlm_weight <= 1:
            raise UsageError(f"mlm_weight={mlm_weight}: a number in [0, 1] is needed")
        self.judge, self.mlm_weight = judge(tokenizer, language, max_length=max_length), mlm_weight
        self.mlm = MaskedLM(tokenizer, max_length=max_length)

    def collate(self, rows: Sequence[Mapping[str, Any]], rng: np.random.Generator | None = None) -> dict[str, Tensor]:
        """The judge's batch, and the plain texts with words hidden under names that begin with "mlm_"."""
        batch = self.judge.collate(rows) if self.mlm_weight < 1 else {}
        if self.mlm_weight:
            plain = self.mlm.collate([{"text": row["plain"]} for row in rows], rng)
            batch["count:mlm"] = plain.pop("count")
            batch |= {f"mlm_{name}": value for name, value in plain.items()}
        return batch

    def loss(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """See the class: a scalar in nats."""
        total = torch.zeros((), device=next(iter(batch.values())).device)
        if self.mlm_weight < 1:
            total = (1 - self.mlm_weight) * F.cross_entropy(self.judge.logits(model, batch), labels_of(batch))
        if self.mlm_weight:
            text = {name.removeprefix("mlm_"): value for name, value in batch.items() if name.startswith("mlm_")}
            total = total + self.mlm_weight * weight_of(batch, "mlm") * self.mlm.loss(model, text)
        return total

    __call__ = loss


def continue_pretraining(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    tasks: Sequence[Task],
    *,
    steps: int = 200,
    lr: float = 3e-4,
    seed: int = 0,
    mlm_weight: float = 0.5,
    batch_size: int = 32,
    progress: bool | None = False,
) -> PreTrainedModel:
    """A trained copy of a masked language model: entailment on the tasks' "train" rows, one wrong statement for each
    right one, and language modelling on all their text; tasks are mixed at T = 2.

    Use few-shot tasks, `task.few_shot(16, seed)`, where only so many labels are to be seen. Raises UsageError for no
    tasks, for tasks of several languages, or for one without labelled rows.
    """
    language, rng = _one_language(tasks), np.random.default_rng(seed)
    pairs = [entailment_rows(task, rng) for task in tasks]
    for task, rows in zip(tasks, pairs, strict=True):
        if not rows:
            raise UsageError(f"task {task.name}: no labelled row in 'train' to make entailment of")
    texts = [unlabelled_texts(task) for task in tasks]
    count = steps * batch_size
    judged = mixture([len(rows) for rows in pairs], count, rng, TEMPERATURE)
    read = mixture([len(some) for some in texts], count, rng, TEMPERATURE)
    rows = [
        {**pairs[task][row], "plain": texts[other][text]}
        for (task, row), (other, text) in zip(judged, read, strict=True)
    ]
    objective, trained = Continued(tokenizer, language, mlm_weight), copy.deepcopy(model)
    batches = Batches(rows, objective.collate, batch_size, seed=seed, lengths=[len(row["text"]) for row in rows])
    fit(trained, objective.loss, batches, steps=steps, lr=lr, seed=seed, progress=progress)
    return trained


def _one_language(tasks: Sequence[Task]) -> str:
    languages = sorted({task.language for task in tasks})
    if len(languages) != 1:
        found = ", ".join(languages) or "none"
        raise UsageError(f"continued pre-training needs tasks of one language, the model's own; these are of: {found}")
    return languages[0]
