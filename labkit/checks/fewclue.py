"""Checks of lesson 03/08, the FewCLUE system: `from labkit.checks import fewclue as check`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from labkit.checks.exercise import Mistake, exercise, expect, tensor

LESSON = "03/08"
NAMES = ("eprstmt", "csldcp", "tnews", "iflytek", "ocnli", "bustm", "chid", "csl", "cluewsc")


@exercise(LESSON)
def idiom_scores(function: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Logits of the blanks (batch, blanks, vocabulary), the row's own candidates (batch, candidates, blanks) →
    mean log-probability of each candidate (batch, candidates).
    """
    generator = torch.Generator().manual_seed(4)
    logits = torch.randn(3, 4, 12, generator=generator) * 2
    pieces = torch.randint(12, (3, 5, 4), generator=generator)
    found = tensor(function(logits.clone(), pieces.clone()), (3, 5))
    logs = logits.log_softmax(-1)

    def scored(values: Tensor, wanted: Tensor = pieces) -> Tensor:
        return values.gather(2, wanted.transpose(1, 2)).mean(1)

    right = scored(logs)
    mistakes = [
        (right * 4, "you added the pieces' log-probabilities: divide by the number of blanks, so that texts of other lengths can be compared"),
        (scored(logits), "these are logits, not log-probabilities: take log_softmax over the vocabulary first"),
        (scored(logits.softmax(-1)), "you averaged probabilities: average their logarithms, the product is what the text needs"),
        (scored(logits.softmax(-1)).log(), "you averaged probabilities and took the logarithm: the mean is of the logarithms"),
        (scored(logs, pieces[:1].expand(3, -1, -1)), "every row was scored with the first row's candidates: each row brings its own"),
        (scored(logits.log_softmax(1)), "your softmax runs over the blanks (dim 1): it belongs over the vocabulary, the last dimension"),
        (scored(logs, pieces.flip(2)), "the pieces stand in the blanks in reverse order: piece k belongs to blank k"),
        (logs[:, 0].gather(1, pieces[:, :, 0]), "only the first piece counts here: average over all blanks"),
        (right.softmax(1), "these are probabilities: give the scores themselves"),
    ]  # fmt: skip
    expect(found, right, "wanted: score[b, c] = mean over k of log p(piece k of candidate c of row b at blank k)", mistakes)  # fmt: skip


@exercise(LESSON)
def label_score(function: Callable[[Tensor, Tensor], Any]) -> None:
    """Log-probabilities at one text's blanks (blanks, vocabulary) and its pieces (blanks,) → one number, whatever
    the length.
    """
    generator = torch.Generator().manual_seed(6)
    for blanks in (2, 5):
        logs = torch.randn(blanks, 9, generator=generator).log_softmax(-1)
        pieces = torch.randint(9, (blanks,), generator=generator)
        found = tensor(torch.as_tensor(function(logs.clone(), pieces.clone())).float(), ())
        own = logs[torch.arange(blanks), pieces]
        mistakes = [
            (own.sum(), "you added the pieces: a longer name would always lose. Divide by their number"),
            (own.exp().mean(), "you averaged probabilities: average the log-probabilities that you are given"),
            (own.exp().prod(), "this is the product of the probabilities: the mean of the logarithms is wanted"),
            (own.sum() / blanks**0.5, "divide by the number of pieces, not by its root"),
            (own.sum() / 2, "you divided by 2 for every text: divide by its own number of pieces"),
            (own.min(), "this is the unlikeliest piece alone: take the mean over all"),
            (logs.mean(), "you averaged over the whole vocabulary: pick log-probability [k, pieces[k]] at blank k"),
        ]  # fmt: skip
        wanted = f"for a text of {blanks} pieces: the mean over k of log_probabilities[k, pieces[k]]"
        expect(found, own.mean(), wanted, mistakes)


@exercise(LESSON)
def nine_task_mean(function: Callable[[Mapping[str, list[float]]], float]) -> None:
    """Task → accuracies of its splits (not all have five) → the benchmark's score."""
    scores = {name: [0.1 * place + 0.01 * split for split in range(1 + place % 5)] for place, name in enumerate(NAMES)}
    found = tensor(torch.as_tensor(function({name: list(some) for name, some in scores.items()})).float(), ())
    tasks = [sum(some) / len(some) for some in scores.values()]
    runs = [value for some in scores.values() for value in some]
    mistakes = [
        (sum(runs) / len(runs), "you averaged over all runs: a task with more splits counts more. Average each task first, then the nine"),
        (sum(tasks), "this is the sum over the tasks: divide by their number"),
        (sum(some[0] for some in scores.values()) / 9, "only the first split of each task counts here: average over all of them"),
        (sum(max(some) for some in scores.values()) / 9, "you took each task's best split: that is choosing by the test set. Average over them"),
        (sorted(tasks)[4], "this is the median of the tasks: the benchmark takes the mean"),
        (100 * sum(tasks) / 9, "accuracies stay between 0 and 1 here: do not multiply by 100"),
    ]  # fmt: skip
    expect(found, sum(tasks) / 9, "wanted: the mean over the tasks of each task's mean over its splits", mistakes)
    try:
        function({name: some for name, some in scores.items() if name != "chid"})
    except Exception:  # noqa: BLE001  any refusal will do
        return
    raise Mistake("without chid there is no nine-task mean: raise an error (ValueError) unless nine tasks are given")
