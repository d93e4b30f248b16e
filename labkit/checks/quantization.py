"""Checks of lesson 04/04, fewer bits per weight: `from labkit.checks import quantization as check`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from labkit.checks.exercise import Mistake, asked, exercise, expect, given, learns, parts, same, tensor
from labkit.compression import binary
from labkit.compression import ternary as rules
from labkit.compression.int8 import LEVELS, outliers, quantise

LESSON = "04/04"
ZERO = "0 divided by 0: a row of zeros has the scale 0, and its codes are 0"


def _draw(*size: int, seed: int = 7) -> Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed))


def _codes(value: Any, shape: tuple[int, ...], what: str = "codes", nan: str = ZERO) -> Tensor:
    """Whole numbers in a tensor of any type, as floats; Mistake where they are none."""
    given(value, what)
    found = tensor(value.float() if torch.is_tensor(value) else value, shape, what, nan)
    if not bool((found == found.round()).all()):
        raise Mistake(f"{what} should be whole numbers, but {float(found[found != found.round()][0]):g} is among them: round")  # fmt: skip
    return found


# Eight bits


def _round_rows(x: Tensor) -> tuple[Tensor, Tensor]:
    return quantise(x)


@exercise(LESSON, _round_rows)
def round_rows(function: Callable[[Tensor], Any]) -> None:
    """Rows (rows, n) → codes (rows, n) from −127 to 127, and a scale per row (rows, 1)."""
    x = torch.cat([_draw(3, 6) * torch.tensor([[1.0], [20.0], [0.01]]), torch.tensor([[-9.0, 1, 2, 3, 4, 5]])])
    codes, scale = parts(asked(function, x=x), ("codes", "scale"))
    scale = tensor(scale, (4, 1), "scale", ZERO)
    most = x.abs().amax(1, keepdim=True)
    expect(scale, most / LEVELS, "the scale of a row should be its largest |x| divided by 127", [
        (most.amax().expand(4, 1) / LEVELS, "there is one scale for all rows: take the maximum of each row, dim 1"),
        (x.amax(1, keepdim=True) / LEVELS, "the largest x is not the largest |x|: take the absolute value first"),
        (most / 128, "the largest |x| is to become 127, not 128"), (most / 255, "127 steps reach from 0 to the largest |x|, not 255"),
        (LEVELS / most, "the scale is the wrong way round: codes times scale should give x, so it is max |x| / 127"),
        (most, "divide by 127, so that the largest |x| gets the code 127"),
    ], 1e-7)  # fmt: skip
    found, right = _codes(codes, (4, 6)), quantise(x)[0].float()
    expect(found, right, "the codes should be x divided by the scale of its row, rounded", [
        ((x / (most / LEVELS)).trunc(), "cut off is not rounded: 1.8 should become 2"),
        ((x / (most / LEVELS)).floor(), "rounded down is not rounded to the nearest: −1.2 should become −1"),
        (right.abs(), "the signs are lost"),
        (right.clamp(min=0), "codes below 0 are lost: an unsigned type such as uint8 has none"),
    ], 1e-7)  # fmt: skip
    zeros = torch.tensor([[0.0, 0.0], [1.0, -2.0]])
    codes, scale = parts(function(zeros), ("codes", "scale"))
    tensor(scale, (2, 1), "for a row of zeros, scale", ZERO)
    expect(_codes(codes, (2, 2), "for a row of zeros, codes"), [[0, 0], [64, -127]], ZERO)


def _mixed_product(x: Tensor, weight: Tensor, limit: float) -> Tensor:
    kept = outliers(x, limit)
    return x[:, kept] @ weight[:, kept].T + _int8_product(x.index_fill(1, kept, 0), weight)


def _int8_product(x: Tensor, weight: Tensor) -> Tensor:
    """x (tokens, n) times weight (out, n) transposed, both rounded by rows."""
    (q, s), (w, scale) = quantise(x), quantise(weight)
    return (q.int() @ w.int().T).float() * scale.T * s


@exercise(LESSON, _mixed_product)
def mixed_product(function: Callable[..., Any]) -> None:
    """x (tokens, n), weight (out, n), limit → (tokens, out): outlier columns in floats, the others by int8."""
    x, weight = _draw(5, 12), _draw(3, 12, seed=8)
    x[1, 4], x[3, 9], x[0, 2] = 50.0, -30.0, 6.0
    weight[:, 4] *= 10
    found = tensor(asked(function, x=x, weight=weight, limit=6.0), (5, 3))
    kept = outliers(x, 6.0)
    cleaned, part = x.index_fill(1, kept, 0), x[:, kept] @ weight[:, kept].T
    others = [_int8_product(cleaned, one) for one in (weight, weight.index_fill(1, kept, 0))]
    if any(same(found, part + one, 1e-4) for one in others):
        _one_by_one(function, weight)
        return
    only = {name: torch.tensor(some) for name, some in (("positive", [2, 4]), ("above", [4, 9]))}
    expect(found, x @ weight.T, "wanted: the columns in which some |x| is the limit or more in floats, plus the int8 product of all others", [
        (_int8_product(x, weight), "all columns are rounded: leave out those in which some |x| is 6 or more"),
        (part, "these are the outlier columns alone: add the int8 product of the others"),
        *((one, "the outlier columns are missing: add their product in floats") for one in others),
        (part + _int8_product(x, weight), "the outlier columns are in both parts: set them to 0 before the rounding"),
        *((x[:, some] @ weight[:, some].T + _int8_product(x.index_fill(1, some, 0), weight), text) for some, text in (
            (only["positive"], "a large negative x is an outlier too: compare |x| with the limit"),
            (only["above"], "an |x| of exactly the limit is an outlier too: >=, not >"))),
        (part + cleaned @ weight.T, "nothing is rounded: the columns without outliers go through int8"),
    ], 1e-4)  # fmt: skip
    raise Mistake("nothing is rounded: the columns without outliers go through int8")


def _one_by_one(function: Callable[..., Any], weight: Tensor) -> None:
    """Right with outliers: now without any, and with another limit."""
    x = _draw(4, 12, seed=9)
    none = tensor(function(x, weight, 100.0), (4, 3), "where there is no outlier, the result")
    expect(none, _int8_product(x, weight), "right with outliers, but not where there is none", tolerance=1e-4)
    other = tensor(function(x, weight, 1.5), (4, 3), "with limit = 1.5, the result")
    kept = outliers(x, 1.5)
    right = [x[:, kept] @ weight[:, kept].T + _int8_product(x.index_fill(1, kept, 0), one)
             for one in (weight, weight.index_fill(1, kept, 0))]  # fmt: skip
    if not any(same(other, one, 1e-4) for one in right):
        raise Mistake("right for limit = 6, but not for 1.5: use `limit`")


# Two bits


def _ternary(w: Tensor) -> tuple[Tensor, Tensor]:
    return rules.twn(w, rows=True)


@exercise(LESSON, _ternary)
def ternary_codes(function: Callable[[Tensor], Any]) -> None:
    """Weights (rows, n) → codes (rows, n) of −1, 0, 1, and α per row (rows, 1)."""
    w = torch.cat([_draw(3, 9) * torch.tensor([[1.0], [5.0], [0.2]]), torch.tensor([[2.0, -1, 1, 0, 0, 0, 0, 6, -1]])])
    codes, alpha = parts(asked(function, w=w), ("codes", "alpha"))
    alpha, codes = tensor(alpha, (4, 1), "alpha", ZERO), _codes(codes, (4, 9))
    size, (right, scale) = w.abs(), _ternary(w)
    kept = size > 0.7 * size.mean(1, keepdim=True)

    def told(mask: Tensor) -> Tensor:
        return w.sign() * mask

    expect(codes, right, "a code should be the sign of w where |w| > 0.7 · mean |w| of its row, else 0", [
        (kept.float(), "the signs are lost: a weight below −Δ has the code −1"),
        (told(size > 0.7), "0.7 is a share: the threshold is 0.7 times the mean |w| of the row"),
        (told(size > 0.7 * size.mean()), "there is one threshold for all rows: take the mean of each row, dim 1"),
        (told(size > 0.7 * w.mean(1, keepdim=True)), "the threshold is a share of the mean of |w|, not of w"),
        (told(size > 0.7 * size.amax(1, keepdim=True)), "the threshold is a share of the mean |w|, not of the largest"),
        (told(size > size.mean(1, keepdim=True)), "the threshold is 0.7 · mean |w|, not mean |w|"),
        (w.sign(), "no weight has become 0: |w| up to the threshold has the code 0"),
    ])  # fmt: skip
    expect(alpha, scale, "α should be the mean |w| of the weights whose code is not 0", [
        (size.mean(1, keepdim=True), "this is the mean |w| of the whole row: leave out the weights that became 0"),
        ((size * kept).sum(1, keepdim=True) / 9, "the sum leaves out the zeros, but it is divided by all weights of the row"),
        ((size * kept).sum().div(kept.sum()).expand(4, 1), "there is one α for all rows: take the mean of each row, dim 1"),
        ((w * kept).sum(1, keepdim=True) / kept.sum(1, keepdim=True), "this is the mean of w, in which signs cancel: take |w|"),
        (size.amax(1, keepdim=True), "this is the largest |w|: take the mean of those whose code is not 0"),
    ])  # fmt: skip
    codes, alpha = parts(function(torch.tensor([[0.0, 0.0], [1.0, -0.1]])), ("codes", "alpha"))
    tensor(alpha, (2, 1), "for a row of zeros, alpha", "0 divided by 0: in a row of zeros no code is kept; .clamp(min=1) the count")  # fmt: skip
    expect(_codes(codes, (2, 2)), [[0, 0], [1, 0]], "right for four rows, but not where one of them is all zeros")


def _through(w: Tensor, shown: Tensor) -> Tensor:
    return w + (shown - w).detach()


@exercise(LESSON, _through)
def through(function: Callable[..., Any]) -> None:
    """Full weights and what their codes stand for, both (rows, n) → the values of `shown`, the gradient to `w`."""
    w = _draw(2, 4).requires_grad_()
    codes, alpha = _ternary(w.detach())
    shown = codes * alpha
    value = asked(function, w=w, shown=shown)
    found = tensor(value, (2, 4))
    expect(found, shown, "the values should be those of `shown`", [
        (w.detach(), "these are the full weights: the model must compute with `shown`"),
        (w.detach() + shown, "the full weights are in the sum once too often: add the difference shown − w, detached"),
    ])  # fmt: skip
    if not value.requires_grad:
        raise Mistake(
            "the values are right, but no gradient reaches w: only the difference shown − w is detached, not w"
        )
    (own,) = torch.autograd.grad((value * torch.arange(8.0).view(2, 4)).sum(), w, allow_unused=True, retain_graph=True)
    if own is None or not own.any():
        raise Mistake("the values are right, but the gradient cancels out: detach the difference shown − w")
    learns(value, _through(w, shown), {"w": w}, "the gradient with respect to {} should be passed on as it is")
    depends = (w**2).detach().requires_grad_()
    value = function(w, depends)
    (other,) = torch.autograd.grad(value.sum(), depends, allow_unused=True)
    if other is not None and other.any():
        raise Mistake("`shown` gets a gradient too: it is made from w, so w would get it twice; detach it")


# One bit


def _split(w: Tensor) -> tuple[Tensor, Tensor]:
    return binary.split(w, rows=True)


@exercise(LESSON, _split)
def split(function: Callable[[Tensor], Any]) -> None:
    """Weights (rows, n) → w₁ and w₂ of the same shape."""
    w = _draw(3, 40).double()
    w[0, 5] = 0.0
    first, second = (tensor(one, (3, 40), name) for one, name in zip(
        parts(asked(function, w=w), ("w1", "w2")), ("w1", "w2"), strict=True))  # fmt: skip
    codes, alpha = _ternary(w)
    kept = codes != 0
    expect(first + second, w, "w₁ + w₂ should be w", [
        (w.masked_fill(~kept, 0), "w₁ + w₂ is right where the code is not 0; where it is 0, add w to one half: w + b and −b"),
        (w.masked_fill(kept, 0), "w₁ + w₂ is right where the code is 0; where it is not, give a·w and (1 − a)·w"),
        (2 * w, "w₁ + w₂ is 2w"),
    ])  # fmt: skip
    _halves(first, second, codes, alpha, w)
    empty = [tensor(one, (2, 40), "for a row of zeros, the result", "0 divided by 0: in a row of zeros Σ_I |w| is 0; .clamp(min=1e-30) it")
             for one in parts(function(torch.cat([0 * w[:1], w[1:2]])), ("w1", "w2"))]  # fmt: skip
    expect(torch.stack(empty)[:, 0], torch.zeros(2, 40), "a row of zeros should stay one")
    tiny = w * torch.tensor([[1.0], [1e-3], [50.0]])
    first, second = parts(function(tiny), ("w1", "w2"))
    expect(
        first, _split(tiny)[0], "right for one matrix, but not where its rows have other sizes: a and b are of each row"
    )


def _halves(first: Tensor, second: Tensor, codes: Tensor, alpha: Tensor, w: Tensor) -> None:
    """Mistake unless the binary halves add up to the ternary matrix."""
    kept, zeros = codes != 0, codes == 0
    if bool((torch.where(first >= 0, 1, -1) == torch.where(second >= 0, 1, -1))[zeros].any()):
        raise Mistake("where the code is 0, the signs of w₁ and w₂ should differ, so that they cancel: w + b and −b for w > 0, b and w − b for w ≤ 0")  # fmt: skip
    if bool((torch.where(first >= 0, 1, -1) != torch.where(w >= 0, 1, -1))[kept].any()) or bool(
        (torch.where(second >= 0, 1, -1) != torch.where(w >= 0, 1, -1))[kept].any()
    ):
        raise Mistake("where the code is not 0, w₁ and w₂ should both have the sign of w, so 0 < a < 1")
    sizes = [one.abs().mean(1, keepdim=True) for one in (first, second)]
    if same(sizes[0] + sizes[1], alpha) and not same(*sizes):
        raise Mistake("the two scales add up to α, but they are not equal: each should be α / 2; look at a")
    expect(torch.stack(sizes), torch.stack([alpha / 2] * 2), "the mean |w₁| and the mean |w₂| of a row should both be α / 2: look at a and b", [
        (torch.stack([w.abs().mean(1, keepdim=True) / 2] * 2), "b is too small: without it the mean |w₁| + the mean |w₂| is the mean |w|, which is below α"),
    ])  # fmt: skip
