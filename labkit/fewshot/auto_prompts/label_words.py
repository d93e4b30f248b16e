"""LM-BFF's automatic label words (Gao et al. 2021, §5.1).

For each class c, the k words v with the largest Σ over its training rows of log p(blank = v | template); among all
assignments of one such word a class, the n that answer most training rows rightly without training; of these, the one
that does best on the dev rows.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from labkit.errors import UsageError
from labkit.evaluation import eval_mode
from labkit.fewshot.auto_prompts.candidates import (
    Candidate,
    Judge,
    Search,
    blank_log_probabilities,
    few_rows,
    measured,
    ranked,
    whole_words,
    word_of,
)
from labkit.fewshot.prompts.template import Template
from labkit.fewshot.prompts.verbalizer import pieces_of
from labkit.tasks import Task

MOST = 100_000  # assignments that are all tried; where there are more, they are improved class by class
STARTS, SWEEPS = 3, 6  # of that improvement

Assignment = tuple[int, ...]  # a token id a class


def search_words(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    task: Task,
    template: Template | str,
    *,
    pool: int = 30,
    candidates: int = 30,
    seed: int = 0,
    steps: int = 0,
    lr: float = 1e-4,
) -> Search:
    """The best label word for each class of `task`, a few-shot task with "train" and "dev", in `template`.

    `pool` is the paper's k, `candidates` its n. Each candidate is tried on "dev" after `steps` steps of training at
    `lr` with `seed`; 0 asks the untrained model. The task's own first words, if it has them, are a candidate. Raises
    UsageError for a template of several blanks, a model without a masked-LM head, no dev rows, fewer usable words than
    classes; DataError for a label without a training row.
    """
    few, template = few_rows(task), Template.parse(template, task.fields)
    if template.masks != 1 or pool < 1 or candidates < 1:
        raise UsageError(
            f"label words are sought for a template of one {{mask}}, with pool and candidates of at least 1; got "
            f"{str(template)!r}, pool={pool}, candidates={candidates}"
        )
    judge = Judge(model, tokenizer, few, steps, lr, seed)
    train, dev = few.splits["train"], few.splits["dev"]
    usable = usable_words(tokenizer, model.config.vocab_size, len(task.labels))
    with eval_mode(model):
        scores = blank_log_probabilities(model, tokenizer, template, train)  # (rows, vocabulary)
        later = blank_log_probabilities(model, tokenizer, template, dev)
    labels = torch.tensor([row["label"] for row in train])
    pools = likely_words(scores, labels, len(task.labels), usable, pool)
    best = best_assignments(scores, labels, pools, candidates, seed)
    own = _own(task, tokenizer)
    tried = []
    for ids in dict.fromkeys([*([own] if own else []), *best]):
        words = {label: (word_of(number, tokenizer),) for label, number in zip(task.labels, ids, strict=True)}
        kept: dict[str, Any] = {"evidence": best.get(ids), "start": ids == own}
        if steps:
            tried.append(judge.try_out(template, words, **kept))
        else:  # the untrained model's answers are at hand
            scored = measured(few, later[:, ids].softmax(1).numpy(), dev)
            tried.append(Candidate(template, words, *scored, **kept))
    if own is None and all(task.words.get(label) for label in task.labels):  # words of several pieces
        tried.append(judge.try_out(template, {label: task.words[label][:1] for label in task.labels}, start=True))
    return ranked(tried)


def usable_words(tokenizer: PreTrainedTokenizerBase, size: int, classes: int) -> Tensor:
    """Which ids may be label words, (size,) bool: whole words with a letter or digit.

    UsageError where they are fewer than the classes.
    """
    usable = whole_words(tokenizer, size, letters=True)
    if int(usable.sum()) < classes:
        raise UsageError(
            f"{int(usable.sum())} words are single pieces of this tokenizer, {classes} classes need one each; take a "
            "model with more words"
        )
    return usable


def likely_words(scores: Tensor, labels: Tensor, classes: int, usable: Tensor, pool: int) -> list[list[int]]:
    """For each class its `pool` best ids: by the sum of log-probabilities (rows, vocabulary) over its rows."""
    sums = torch.stack([scores[labels == label].sum(0, dtype=torch.float64) for label in range(classes)])
    sums[:, ~usable.to(sums.device)] = -torch.inf
    return sums.topk(min(pool, int(usable.sum())), dim=1).indices.tolist()


def best_assignments(
    scores: Tensor, labels: Tensor, pools: Sequence[Sequence[int]], keep: int, seed: int = 0
) -> dict[Assignment, float]:
    """The `keep` assignments of a different word to each class with the highest accuracy on the rows, in [0, 1].

    Of equal accuracy, the likelier. All are tried if they are at most MOST; else each class's word is improved in turn,
    from several starts drawn with `seed`, until none helps.
    """
    if math.prod(map(len, pools)) <= MOST:
        every = [ids for ids in itertools.product(*pools) if len(set(ids)) == len(ids)]
        found = {}
        for start in range(0, len(every), 4096):
            some = every[start : start + 4096]
            found |= dict(zip(some, _rate(scores, labels, some), strict=True))
    else:
        found = {}
        for start in range(STARTS):
            found |= _climb(scores, labels, pools, random.Random(f"{seed}-{start}"), start > 0)
    order = sorted(found, key=lambda ids: (-found[ids][0], -found[ids][1], ids))
    return {ids: found[ids][0] for ids in order[:keep]}


def _rate(scores: Tensor, labels: Tensor, assignments: Sequence[Assignment]) -> list[tuple[float, float]]:
    """Accuracy and mean log-likelihood (nats) of each assignment on the rows."""
    logits = scores[:, torch.tensor(assignments)]  # (rows, assignments, classes)
    right = (logits.argmax(2) == labels[:, None]).float().mean(0, dtype=torch.float64)
    likely = logits.log_softmax(2)[torch.arange(len(labels)), :, labels].mean(0, dtype=torch.float64)
    return list(zip(right.tolist(), likely.tolist(), strict=True))


def _climb(
    scores: Tensor, labels: Tensor, pools: Sequence[Sequence[int]], rng: random.Random, shuffled: bool
) -> dict[Assignment, tuple[float, float]]:
    """Everything that coordinate ascent tries on its way: one class's word after another, the best of its pool."""
    found: dict[Assignment, tuple[float, float]] = {}
    order = list(range(len(pools)))
    rng.shuffle(order)
    current = _distinct(pools, order, rng if shuffled else None)
    for _ in range(SWEEPS):
        before = current
        for label in order:
            taken = set(current[:label] + current[label + 1 :])
            options = [
                (*current[:label], number, *current[label + 1 :]) for number in pools[label] if number not in taken
            ]
            rated = dict(zip(options, _rate(scores, labels, options), strict=True))
            found |= rated
            current = max(options, key=rated.__getitem__)
        if current == before:
            break
    return found


def _distinct(pools: Sequence[Sequence[int]], order: Sequence[int], rng: random.Random | None) -> Assignment:
    """One word a class, none twice: the likeliest that is free, or one drawn from the free ones."""
    chosen: dict[int, int] = {}
    for label in order:
        free = [number for number in pools[label] if number not in chosen.values()]
        if not free:
            raise UsageError(f"pool={len(pools[label])}: too small for {len(pools)} classes that share words; raise it")
        chosen[label] = rng.choice(free) if rng else free[0]
    return tuple(chosen[label] for label in range(len(pools)))


def _own(task: Task, tokenizer: PreTrainedTokenizerBase) -> Assignment | None:
    """The ids of the task's first words; None where it lacks one, or one is several pieces."""
    if not all(task.words.get(label) for label in task.labels):
        return None
    pieces = [pieces_of(task.words[label][0], tokenizer) for label in task.labels]
    return tuple(some[0] for some in pieces) if all(len(some) == 1 for some in pieces) else None
