"""Checks of lesson 03/06, delta tuning: `from labkit.checks import delta_tuning as check`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from labkit.checks.exercise import Mistake, exercise, expect, same, tensor

LESSON = "03/06"


def _lora(d_in: int, d_out: int, rank: int) -> tuple[Tensor, Tensor, Tensor]:
    """W (d_out, d_in), A (rank, d_in), B (d_out, rank), all random."""
    draw = torch.Generator().manual_seed(6)
    return tuple(torch.randn(*size, generator=draw) for size in ((d_out, d_in), (rank, d_in), (d_out, rank)))


@exercise(LESSON)
def lora_forward(function: Callable[[Tensor, Tensor, Tensor, Tensor, float], Tensor]) -> None:
    """x (batch, d_in), W (d_out, d_in), A (r, d_in), B (d_out, r), α → W x + (α/r)·B A x: (batch, d_out)."""
    (weight, a, b), alpha = _lora(7, 5, 2), 6.0
    x = torch.randn(4, 7, generator=torch.Generator().manual_seed(2))
    found = tensor(function(x.clone(), weight.clone(), a.clone(), b.clone(), alpha), (4, 5))
    plain, update = x @ weight.T, x @ a.T @ b.T
    mistakes = [
        (plain, "this is the frozen layer alone: the update B A x is missing"),
        (alpha / 2 * update, "this is the update alone: the frozen layer's W x is missing"),
        (plain + update, "the update is not scaled: multiply it by α/r"),
        (plain + alpha * update, "you scaled by α: divide it by the rank r = A.shape[0], so that a larger rank does not mean a larger update"),
        (plain + update / alpha, "you divided by α: the scale is α/r"),
        (plain + 2 / alpha * update, "the scale is upside down: α/r, not r/α"),
        (plain + alpha / 7 * update, "you divided by d_in: r is the *small* dimension, A.shape[0]"),
        (alpha / 2 * (plain + update), "the frozen part is scaled too: the factor α/r belongs to the update only"),
    ]  # fmt: skip
    expect(found, plain + alpha / 2 * update, "other values: wanted is x Wᵀ + (α/r)·x Aᵀ Bᵀ, with r = A.shape[0]", mistakes)  # fmt: skip
    silent = tensor(function(x, weight, a, torch.zeros_like(b), alpha), (4, 5), "with B = 0, the result")
    expect(silent, plain, "with B = 0 the answer must be the frozen layer's")


@exercise(LESSON)
def merge_lora(function: Callable[[Tensor, Tensor, Tensor, float], Tensor]) -> None:
    """W (d_out, d_in), A (r, d_in), B (d_out, r), α → one matrix that does what the frozen one and the update did."""
    (weight, a, b), alpha = _lora(6, 6, 3), 12.0  # square, so that a transposed product fits too
    given = weight.clone()
    found = tensor(function(given, a.clone(), b.clone(), alpha), (6, 6))
    right = weight + alpha / 3 * b @ a
    mistakes = [
        (alpha / 3 * b @ a, "this is the update alone: add it to W"),
        (weight, "this is W itself: add (α/r)·B A"),
        (weight + b @ a, "the scale α/r is missing: the merged layer would do less than the trained one did"),
        (weight + alpha * b @ a, "you scaled by α alone: the scale is α/r"),
        (weight + alpha / 3 * (b @ a).T, "your update is transposed: in W x + B A x, B stands left of A"),
        (weight - alpha / 3 * b @ a, "you subtracted the update: that is how to take a merged delta out again"),
    ]
    expect(found, right, "other values: wanted is W + (α/r)·B A", mistakes)
    if not same(given, weight):
        raise Mistake(
            "the matrix is right, but your function changed the W it was given: return a new one (no += on W)"
        )


@exercise(LESSON)
def kronecker_layer(function: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
    """x (batch, d_in), A (n, p, q), B (n, d_in/p, s) → x·Σᵢ Aᵢ ⊗ Bᵢ: (batch, q·s)."""
    draw = torch.Generator().manual_seed(7)
    a, b, x = (torch.randn(*size, generator=draw) for size in ((3, 2, 2), (3, 4, 4), (5, 8)))
    found = tensor(function(x.clone(), a.clone(), b.clone()), (5, 8))
    terms = [torch.kron(one, other) for one, other in zip(a, b, strict=True)]
    dense = sum(terms)
    mistakes = [
        (x @ terms[0], "only the first of the n products counts here: add up all of them"),
        (x @ torch.kron(a.sum(0), b.sum(0)), "you added up the Aᵢ and the Bᵢ first: a product of sums is not the sum of the products"),
        (x @ dense / 3, "you averaged the n products: add them up"),
        (x @ sum(torch.kron(other, one) for one, other in zip(a, b, strict=True)), "your factors are swapped: Aᵢ ⊗ Bᵢ is not Bᵢ ⊗ Aᵢ; the *small* Aᵢ says how blocks are weighted, Bᵢ is the block"),
        (x @ dense.T, "your matrix is transposed: x stands left of it"),
    ]  # fmt: skip
    expect(found, x @ dense, "other values: wanted is x @ Σᵢ torch.kron(A[i], B[i])", mistakes)
    a, b, x = (torch.randn(*size, generator=draw) for size in ((2, 3, 1), (2, 2, 5), (4, 6)))
    wide = tensor(function(x, a, b), (4, 5), "with A (2, 3, 1) and B (2, 2, 5), the result")
    expect(wide, x @ sum(map(torch.kron, a, b)), "it works for square factors only")


@exercise(LESSON)
def trained_share(function: Callable[[nn.Module], float]) -> None:
    """A model → the share of its weights that training may change, in [0, 1]; tied weights count once."""
    model = nn.Sequential(nn.Embedding(10, 4), nn.Linear(4, 6), nn.Linear(4, 10, bias=False))
    model[2].weight = model[0].weight  # tied, as an LM head is
    model[0].requires_grad_(False)
    model[1].bias.requires_grad_(False)
    found = _number(function(model))
    total, trained = 40 + 24 + 6, 24
    mistakes = [
        (trained, "this is a number of weights: divide by the number of all"),
        (100 * trained / total, "this is in per cent: return the share, between 0 and 1"),
        (1 - trained / total, "this is the frozen share: count those with requires_grad"),
        (trained / (total - trained), "you divided by the frozen weights: divide by all"),
        (trained / (total + 40), "the tied matrix is counted twice: `model.parameters()` gives each tensor once, the state dict does not"),
        (1 / 3, "you counted tensors: count their numbers, `parameter.numel()`"),
        (1.0, "everything counts as trained: look at `parameter.requires_grad`"),
    ]  # fmt: skip
    expect(found, trained / total, "wanted: the sum of numel() over parameters with requires_grad, divided by the sum over all", mistakes)  # fmt: skip
    expect(_number(function(nn.Linear(3, 3).requires_grad_(False))), 0.0, "of a frozen model nothing trains: 0")


def _number(value: Any) -> float:
    """The learner's answer as a plain number; Mistake where it is none."""
    if value is None:
        raise Mistake("the result is None: did you forget `return`?")
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise Mistake(f"the result should be one number, not {type(value).__name__}") from error
