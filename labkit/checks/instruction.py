"""Checks of lesson 03/07, entailment and instructions: `from labkit.checks import instruction as check`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from labkit.checks.exercise import Mistake, exercise, expect, tensor

LESSON = "03/07"


@exercise(LESSON)
def entailed(function: Callable[[Tensor, int, int], Tensor]) -> None:
    """Blank logits (batch, labels, vocabulary) and the ids of "no" and "yes" → p(entailed), (batch, labels)."""
    logits = torch.randn(4, 3, 9, generator=torch.Generator().manual_seed(2)) * 2
    found = tensor(function(logits.clone(), 6, 1), (4, 3))
    pair = logits[..., [6, 1]]
    yes = logits[..., 1]
    mistakes = [
        (logits.softmax(-1)[..., 1], "this is the share of the whole vocabulary: take the softmax over the two answers alone, or a frequent word steals from both"),
        (yes.softmax(1), "your softmax runs over the labels: each statement is judged by itself, yes against no; the labels are compared afterwards"),
        (pair.softmax(-1)[..., 0], "this is p(no): `yes` is the last argument"),
        (yes, "these are the logits of \"yes\": without \"no\" beside them they say nothing, because a text may make both likely"),
        (yes - logits[..., 6], "this is the log-odds, yes against no: a sigmoid turns it into a probability"),
        (pair.log_softmax(-1)[..., 1], "these are log-probabilities: take the softmax"),
        (pair.softmax(0)[..., 1], "your softmax runs over the batch: take it over the two answers"),
    ]  # fmt: skip
    expect(found, pair.softmax(-1)[..., 1], "wanted: e^yes / (e^yes + e^no), for each text and label", mistakes)
    large = tensor(function(logits * 500, 6, 1), (4, 3))
    expect(large, (pair * 500).softmax(-1)[..., 1], "for large logits the answer breaks: softmax or sigmoid guard against overflow, exp by hand does not")  # fmt: skip


@exercise(LESSON)
def shares(function: Callable[[Tensor, float], Tensor]) -> None:
    """Rows of each task (tasks,) and a temperature T ≥ 1 → the tasks' shares of the mixture (tasks,)."""
    sizes = torch.tensor([3000.0, 200.0, 16.0])
    found = tensor(function(sizes.clone(), 3.0), (3,))
    right, plain = _normal(sizes ** (1 / 3)), _normal(sizes)
    mistakes = [
        (sizes ** (1 / 3), "the shares do not sum to 1: divide by their sum"),
        (plain, "the temperature has no effect: the sizes are raised to the power 1/T"),
        (_normal(sizes**3), "you raised to the power T, which drowns the small tasks: the power is 1/T"),
        (_normal(sizes / 3), "you divided the sizes by T, which cancels: raise them to the power 1/T"),
        ((sizes / 3).softmax(0), "a softmax of the sizes gives all to the largest: it is softmax(log n / T), which is n^(1/T) over its sum"),
        (torch.full((3,), 1 / 3), "these are equal shares: that is T = ∞"),
        (_normal(plain ** (1 / 3) + plain), "wanted: n^(1/T) divided by its sum"),
    ]  # fmt: skip
    expect(found, right, "wanted: n^(1/T) divided by its sum over the tasks", mistakes)
    one = tensor(function(sizes.clone(), 1.0), (3,), "at T = 1 the result")
    expect(one, plain, "at T = 1 the shares must be in proportion to the rows")


def _normal(values: Tensor) -> Tensor:
    return values / values.sum()


@exercise(LESSON)
def without_leaks(function: Callable[..., Any]) -> None:
    """Training rows, held-out rows and their fields → the training rows that are not among the held-out ones."""
    train = [
        {"text_a": "who wrote it ?", "text_b": "she did", "label": 0},
        {"text_a": "who wrote it ?", "text_b": "he did", "label": 1},
        {"text_a": "It rained", "text_b": "it was wet", "label": 1},
        {"text_a": "it snowed", "text_b": "she did", "label": 0},
        {"text_a": "it was wet", "text_b": "it rained", "label": 0},
    ]
    held = [
        {"text_a": "who wrote it ?", "text_b": "she did", "label": 1},
        {"text_a": "it rained", "text_b": "it was wet", "label": 1},
    ]
    given = [dict(row) for row in train]
    found = _numbers(function(given, [dict(row) for row in held], ("text_a", "text_b")), train)
    if given != train:
        raise Mistake("you changed the list that was given: return a new one")
    wrong = {
        (): "nothing is left: keep the rows that are *not* held out",
        (0, 1, 2, 3, 4): "a held-out row is still there: with another label it is still the same text, so compare the texts, not the rows",
        (1, 2, 3, 4): "row 2 is a held-out row that begins with a capital letter: compare in lower case",
        (3, 4): "a row was lost for sharing one of its two texts: a row is held out if all its fields are the same",
        (4,): "a row was lost for sharing one of its two texts: a row is held out if all its fields are the same",
        (1,): "a row was lost for sharing one of its two texts: a row is held out if all its fields are the same",
        (1, 3): "the same texts the other way round are another row: keep the order of the fields",
        (0, 2): "you kept the rows that are held out, and dropped the others",
        (0, 1, 3, 4): "row 0 stands among the held-out rows with another label: the label is no part of the text",
    }  # fmt: skip
    if found != (1, 3, 4):
        raise Mistake(wrong.get(found, f"rows 1, 3 and 4 are not among the held-out ones; you kept {list(found)}"))


def _numbers(value: Any, train: Sequence[Mapping[str, Any]]) -> tuple[int, ...]:
    """Which training rows were returned."""
    if value is None:
        raise Mistake("the result is None: did you forget `return`?")
    try:
        rows = list(value)
    except TypeError as error:
        raise Mistake("the result should be a list of rows") from error
    if not all(row in train for row in rows):
        raise Mistake("a row of the result is not one of the training rows: return them as they are, label and all")
    return tuple(sorted(train.index(row) for row in rows))


@exercise(LESSON)
def prototype_scores(function: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
    """Features (n, d), task numbers (n,), class numbers (n,) → how typical each example is, (n,), with ζ = 1/2."""
    from labkit.fewshot.transprompt import prototype_scores as reference

    generator = torch.Generator().manual_seed(7)
    tasks, classes = torch.tensor([0, 0, 0, 0, 1, 1, 1, 2, 2, 2]), torch.tensor([0, 0, 1, 1, 0, 1, 1, 0, 0, 1])
    some = torch.randn(10, 5, generator=generator) + classes[:, None] + 0.5 * tasks[:, None]
    found = tensor(function(some.clone(), tasks.clone(), classes.clone()), (10,))

    def scores(own: float) -> np.ndarray:
        return reference(some.numpy(), tasks.tolist(), classes.tolist(), own)

    right = scores(0.5)
    mistakes = [
        (scores(1.0), "only the own task's centroid counts here: half of the score is the mean over the other tasks"),
        (scores(0.0), "only the other tasks' centroids count here: half of the score is the own task's"),
        (_variant(some, tasks, classes, others="all"), "the mean over the *other* tasks must leave the own task out"),
        (_variant(some, tasks, classes, others="classes"), "the other tasks' centroids of *other classes* are in your mean, as in the released code: only those of the same class belong there"),
        (_variant(some, tasks, classes, sum_others=True), "you added up over the other tasks: take their mean, or the second half grows with the number of tasks"),
        (_variant(some, tasks, classes, cosine=False), "you took dot products: the similarity is the cosine, so divide by both lengths"),
        (2 * right, "the two halves are to be averaged, not added"),
    ]  # fmt: skip
    expect(found, right, "wanted: ½·cos(own centroid) + ½·mean of cos(the same class's centroid in each other task)",
           mistakes, tolerance=1e-4)  # fmt: skip


def _variant(
    some: Tensor, tasks: Tensor, classes: Tensor, others: str = "same", sum_others: bool = False, cosine: bool = True
) -> Tensor:
    """The scores as somebody would get them who mistakes one thing."""
    scores = []
    for f, t, y in zip(some, tasks, classes, strict=True):
        near, far = None, []
        for u in tasks.unique():
            for z in classes.unique():
                c = some[(tasks == u) & (classes == z)].mean(0)
                s = torch.cosine_similarity(f, c, dim=0) if cosine else f @ c
                if u == t and z == y:
                    near = s
                if (z == y or (others == "classes" and u != t)) and (u != t or others == "all"):
                    far.append(s)
        rest = torch.stack(far)
        scores.append(0.5 * near + 0.5 * (rest.sum() if sum_others else rest.mean()))
    return torch.stack(scores)
