"""Checks of lesson 03/06, delta tuning: `from labkit.checks import delta_tuning as check`."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from labkit.checks.exercise import Mistake, asked, exercise, expect, learns, number, tensor
from labkit.measure import parameters, trainable

LESSON = "03/06"
SILENT = "the values are right, but {} gets no gradient, so it would never learn: .detach(), .data and no_grad() cut it off"
CUT = "the values are right, but not the gradient of {}: a part of the way to it is cut off"


def _drawn(*shapes: tuple[int, ...]) -> tuple[Tensor, ...]:
    draw = torch.Generator().manual_seed(6)
    return tuple(torch.randn(*shape, generator=draw) for shape in shapes)


def _lora_forward(x: Tensor, weight: Tensor, a: Tensor, b: Tensor, alpha: float) -> Tensor:
    return x @ weight.T + alpha / a.shape[0] * (x @ a.T @ b.T)


@exercise(LESSON, _lora_forward)
def lora_forward(function: Callable[[Tensor, Tensor, Tensor, Tensor, float], Tensor]) -> None:
    """x (batch, d_in), W (d_out, d_in), A (r, d_in), B (d_out, r), α → W x + (α/r)·B A x: (batch, d_out)."""
    x, weight, a, b = _drawn((4, 7), (5, 7), (2, 7), (5, 2))
    result = asked(function, x=x, W=weight, A=a.requires_grad_(), B=b.requires_grad_(), alpha=6.0)
    found = tensor(result, (4, 5), gradient=True)
    plain, update = x @ weight.T, (x @ a.T @ b.T).detach()
    mistakes = [
        (plain, "this is the frozen layer alone: the update B A x is missing"),
        (3 * update, "this is the update alone: the frozen layer's W x is missing"),
        (plain + update, "the update is not scaled: multiply it by α/r"),
        (plain + 6 * update, "you scaled by α: divide it by the rank r = A.shape[0], so that a larger rank does not mean a larger update"),
        (plain + update / 6, "you divided by α: the scale is α/r"),
        (plain + 2 / 6 * update, "the scale is upside down: α/r, not r/α"),
        (plain + 6 / 7 * update, "you divided by d_in: r is the *small* dimension, A.shape[0]"),
        (plain + 6 / 5 * update, "you divided by d_out: r is the *small* dimension, A.shape[0]"),
        (plain + 6 / 4 * update, "you divided by the number of examples: r is the *small* dimension, A.shape[0]"),
        (3 * (plain + update), "the frozen part is scaled too: the factor α/r belongs to the update only"),
    ]  # fmt: skip
    expect(found, plain + 3 * update, "other values: wanted is x Wᵀ + (α/r)·x Aᵀ Bᵀ, with r = A.shape[0]", mistakes)
    learns(result, _lora_forward(x, weight, a, b, 6.0), {"A": a, "B": b}, CUT, SILENT)
    x, weight, a, b = _drawn((2, 6), (9, 6), (4, 6), (9, 4))
    other = tensor(function(x, weight, a, b, 3.0), (2, 9), "with rank 4 and α = 3, the result")
    rounded = [(x @ weight.T, "with rank 4 and α = 3 the update is gone: `/` keeps the fraction 3/4, `//` drops it")]
    expect(other, _lora_forward(x, weight, a, b, 3.0), "right for rank 2, wrong for rank 4 with α = 3: take r from A.shape[0]", rounded)  # fmt: skip
    silent = tensor(function(x, weight, a, torch.zeros_like(b), 3.0), (2, 9), "with B = 0, the result")
    expect(silent, x @ weight.T, "with B = 0 the answer must be the frozen layer's")


def _merge_lora(weight: Tensor, a: Tensor, b: Tensor, alpha: float) -> Tensor:
    return weight + alpha / a.shape[0] * b @ a


@exercise(LESSON, _merge_lora)
def merge_lora(function: Callable[[Tensor, Tensor, Tensor, float], Tensor]) -> None:
    """W (d_out, d_in), A (r, d_in), B (d_out, r), α → one matrix that does what the frozen one and the update did."""
    weight, a, b = _drawn((6, 6), (3, 6), (6, 3))  # square, so that a transposed product fits too
    found = tensor(asked(function, W=weight, A=a, B=b, alpha=12.0), (6, 6)).clone()
    mistakes = [
        (4 * b @ a, "this is the update alone: add it to W"),
        (weight, "this is W itself: add (α/r)·B A"),
        (weight + b @ a, "the scale α/r is missing: the merged layer would do less than the trained one did"),
        (weight + 12 * b @ a, "you scaled by α alone: the scale is α/r"),
        (weight + b @ a / 4, "the scale is upside down: α/r, not r/α"),
        (weight + 2 * b @ a, "you divided by the width of the layer: r is the *small* dimension, A.shape[0]"),
        (weight + 4 * (b @ a).T, "your update is transposed: in W x + B A x, B stands left of A"),
        (weight - 4 * b @ a, "you subtracted the update: that is how to take a merged delta out again"),
        (4 * (weight + b @ a), "W is scaled too: the factor α/r belongs to the update only"),
    ]
    expect(found, weight + 4 * b @ a, "other values: wanted is W + (α/r)·B A", mistakes)
    weight, a, b = _drawn((5, 7), (2, 7), (5, 2))
    wide = tensor(function(weight.clone(), a, b, 5.0), (5, 7), "with W (5, 7), rank 2 and α = 5, the result")
    rounded = [(weight + 2 * b @ a, "with α = 5 and rank 2 the scale is 2.5: `/` keeps the fraction, `//` drops it")]
    expect(wide, _merge_lora(weight, a, b, 5.0), "right for W (6, 6) and rank 3, wrong for W (5, 7), rank 2 and α = 5: take r from A.shape[0]", rounded)  # fmt: skip


def _kronecker_layer(x: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return x @ sum(map(torch.kron, a, b))


@exercise(LESSON, _kronecker_layer)
def kronecker_layer(function: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
    """x (batch, d_in), A (n, p, q), B (n, d_in/p, s) → x·Σᵢ Aᵢ ⊗ Bᵢ: (batch, q·s)."""
    x, a, b = _drawn((5, 8), (3, 2, 2), (3, 4, 4))
    result = asked(function, x=x, A=a.requires_grad_(), B=b.requires_grad_())
    found = tensor(result, (5, 8), gradient=True)
    terms = [torch.kron(one, other).detach() for one, other in zip(a, b, strict=True)]
    dense = sum(terms)
    mistakes = [
        (x @ terms[0], "only the first of the n products counts here: add up all of them"),
        (x @ terms[-1], "only the last of the n products counts here: add up all of them"),
        (x @ torch.kron(a.sum(0), b.sum(0)), "each Aᵢ meets every B here, as in (Σ A) ⊗ (Σ B): multiply Aᵢ with the Bᵢ of the same i only, then add the n products"),
        (x @ dense / 3, "you averaged the n products: add them up"),
        (x @ sum(map(torch.kron, b, a)), "your factors are swapped: Aᵢ ⊗ Bᵢ is not Bᵢ ⊗ Aᵢ; the *small* Aᵢ says how blocks are weighted, Bᵢ is the block"),
        (x @ dense.T, "your matrix is transposed: x stands left of it"),
        (x @ torch.einsum("npq,nrs->pqrs", a, b).reshape(8, 8), "the axes are in the wrong order for a reshape: rows are (p, d_in/p) and columns (q, s), so move q behind d_in/p first"),
    ]  # fmt: skip
    expect(found, x @ dense, "other values: wanted is x @ Σᵢ torch.kron(A[i], B[i])", mistakes)
    learns(result, _kronecker_layer(x, a, b), {"A": a, "B": b}, CUT, SILENT)
    x, a, b = _drawn((4, 6), (2, 3, 2), (2, 2, 5))
    wide = tensor(function(x, a, b), (4, 10), "with A (2, 3, 2) and B (2, 2, 5), the result")
    expect(wide, _kronecker_layer(x, a, b), "right for square factors, wrong for A (2, 3, 2) and B (2, 2, 5)")


def _trained_share(model: nn.Module) -> float:
    return trainable(model) / parameters(model)


@exercise(LESSON, _trained_share)
def trained_share(function: Callable[[nn.Module], float]) -> None:
    """A model → the share of its weights that training may change, in [0, 1]; tied weights count once."""
    model = nn.Sequential(nn.Embedding(10, 4), nn.Linear(4, 6), nn.Linear(4, 10, bias=False))
    model[2].weight = model[0].weight  # tied, as an LM head is
    model[0].requires_grad_(False)
    model[1].bias.requires_grad_(False)
    flags = [weight.requires_grad for weight in model.parameters()]
    found = number(function(model), nan="was something divided by 0 weights?")
    if flags != [weight.requires_grad for weight in model.parameters()]:
        raise Mistake("your function changed which weights train: it is asked to count them only")
    total, trained = 40 + 24 + 6, 24
    mistakes = [
        (trained, "this is a number of weights: divide by the number of all"),
        (100 * trained / total, "this is in per cent: return the share, between 0 and 1"),
        (1 - trained / total, "this is the frozen share: count those with requires_grad"),
        (trained / (total - trained), "you divided by the frozen weights: divide by all"),
        (trained / (total + 40), "the tied matrix is counted twice: `model.parameters()` gives each tensor once, the state dict does not"),
        (2 * trained / (2 * total + 40), "weights are counted once for every module around them: `model.parameters()` of the whole model already walks through all modules"),
        (1 / 3, "you counted tensors: count their numbers, `parameter.numel()`"),
        (1.0, "everything counts as trained: look at `parameter.requires_grad`"),
        (round(trained / total, 2), "the share is rounded: return it as it is"),
    ]  # fmt: skip
    expect(found, trained / total, "wanted: the sum of numel() over parameters with requires_grad, divided by the sum over all", mistakes)  # fmt: skip
    frozen = number(function(nn.Sequential(nn.Linear(3, 3)).requires_grad_(False)), "of a frozen model, the result")
    expect(frozen, 0.0, "of a frozen model nothing trains: 0")
    _counts_nested(function)


def _counts_nested(function: Callable[[nn.Module], float]) -> None:
    others = [
        (20 / 65, "running means of a BatchNorm are counted: such buffers are no weights, and no optimizer changes them; `model.parameters()` leaves them out"),
        (8 / 44, "a parameter that belongs to the model itself, not to one of its parts, is left out: `model.parameters()` has it"),
    ]  # fmt: skip
    nested = number(function(_nested()), "of nested layers, the result")
    expect(nested, 20 / 56, "it goes wrong for nested layers: each parameter counts once, also where two of them hold equal numbers", others)  # fmt: skip


def _nested() -> nn.Module:
    """56 weights, 20 of which train: some in nested layers, some of the model's own, equal ones; and 9 in buffers."""
    inner = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4))
    model = nn.Sequential(inner, nn.LayerNorm(4), nn.BatchNorm1d(4)).requires_grad_(False)
    inner[1].requires_grad_(True)
    model.register_parameter("prompt", nn.Parameter(torch.zeros(3, 4)))
    return model
