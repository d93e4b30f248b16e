"""Checks of lesson 01/02, Reading one word after another: `from labkit.checks import sequences as check`."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from labkit.checks.exercise import asked, exercise, expect, tensor

LESSON = "01/02"


def _first_step(values: Tensor) -> Tensor:
    return values.softmax(-1)


@exercise(LESSON, _first_step)
def first_step(function: Callable[[Tensor], Tensor]) -> None:
    """TODO: what goes in and what comes out: (batch, d) → (batch, d)."""
    values = torch.randn(4, 6, generator=torch.Generator().manual_seed(1))
    found = tensor(function(values.clone().requires_grad_()), (4, 6), gradient=True)
    mistakes = [
        (values.softmax(0), "each column sums to 1, not each row: your softmax runs over the batch (dim 0)"),
        (values.log_softmax(-1), "these are log-probabilities: take exp of what you have, or the softmax"),
        (values.sigmoid(), "a sigmoid looks at one value at a time: divide exp of each value by their sum in its row"),
        (values.exp(), "the rows do not sum to 1: divide by the sum of each row"),
    ]
    expect(found, values.softmax(-1), "each row must be a distribution over its values", mistakes)
    overflow = "exp of a large number is infinite, and infinity / infinity is NaN: subtract each row's largest value"
    found = tensor(function(1000 * values), (4, 6), "for large values, the result", overflow)
    expect(found, (1000 * values).softmax(-1), "for large values the result is another")


def _second_step(values: Tensor, labels: Tensor) -> Tensor:
    return functional.cross_entropy(values, labels)


@exercise(LESSON, _second_step)
def second_step(function: Callable[[Tensor, Tensor], Tensor]) -> None:
    """TODO: (batch, d), (batch,) → a number."""
    values = torch.randn(5, 3, generator=torch.Generator().manual_seed(2))
    labels = torch.tensor([2, 0, 1, 2, 2])
    found = tensor(function(values.clone().requires_grad_(), labels.clone()), (), "the loss", gradient=True)
    p = values.softmax(-1)[torch.arange(5), labels]
    mistakes = [
        (p.log().mean(), "the minus sign is missing: a loss becomes smaller as p(label) grows"),
        (-p.log().sum(), "you added over the batch: take the mean, so that a larger batch is no larger step"),
        (-values.log_softmax(-1).mean(), "you took the mean over all values: only each row's own label counts"),
        (-p.mean(), "the logarithm is missing: −log p, not −p"),
        (-values[torch.arange(5), labels].mean(), "these are the values themselves: −log p is wanted"),
    ]
    expect(found, -p.log().mean(), "the mean of −log p(label) over the rows is wanted", mistakes)


def _all_together(rows: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    weights = weights.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(_second_step(rows @ weights, labels), weights)
    return (weights - gradient).detach()


@exercise(LESSON, _all_together)
def all_together(function: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
    """TODO: (batch, d), (batch,), (d, classes) → (d, classes)."""
    draw = torch.Generator().manual_seed(3)
    rows, weights = torch.randn(6, 2, generator=draw), torch.randn(2, 3, generator=draw)
    labels = torch.tensor([0, 2, 1, 1, 0, 2])
    found = tensor(asked(function, rows=rows, labels=labels, weights=weights), (2, 3), "the weights")
    step = _all_together(rows, labels, weights) - weights
    mistakes = [
        (weights, "the weights are what they were: return the new ones"),
        (step, "this is the step alone: return the new weights"),
        (weights - step, "the loss grows: subtract the gradient"),
        (weights + 6 * step, "this is the gradient of a sum over the rows: their mean is wanted"),
    ]
    expect(found, weights + step, "wanted: weights − gradient of the loss of rows @ weights", mistakes)
