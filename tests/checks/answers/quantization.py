"""Right and wrong answers to the exercises of lesson 04/04."""

from __future__ import annotations

import numpy as np
import torch

from labkit.checks.quantization import _int8_product, _mixed_product, _round_rows, _split, _ternary
from labkit.compression import binary
from labkit.compression.int8 import quantise

# Right


def rows_by_loops(x):
    codes, scales = [], []
    for row in x.tolist():
        scale = max(abs(value) for value in row) / 127
        codes.append([round(value / scale) if scale else 0 for value in row])
        scales.append([scale])
    return torch.tensor(codes), torch.tensor(scales)


def rows_in_numpy(x):
    a = x.numpy()
    scale = np.abs(a).max(1, keepdims=True) / np.float32(127)
    return torch.from_numpy(np.rint(a / np.where(scale == 0, 1, scale)).astype(np.int8)), torch.from_numpy(scale)


def rows_as_floats(x):
    scale = torch.linalg.vector_norm(x, float("inf"), dim=1, keepdim=True) / 127
    return [torch.nan_to_num(torch.round(x / scale)), scale]


def mixed_by_columns(x, weight, limit):
    out, rest = torch.zeros(len(x), len(weight)), []
    for place in range(x.shape[1]):
        if max(abs(value) for value in x[:, place].tolist()) >= limit:
            out += torch.outer(x[:, place], weight[:, place])
        else:
            rest.append(place)
    return out + _int8_product(x[:, rest], weight.clone().index_fill_(1, torch.tensor(
        [place for place in range(x.shape[1]) if place not in rest], dtype=torch.long), 0)[:, rest])  # fmt: skip


def mixed_by_filling(x, weight, limit):
    large = (x.abs() >= limit).any(0)
    (q, s), (w, scale) = quantise(torch.where(large, 0.0, x)), quantise(weight)
    return (x * large) @ weight.T + (q.float() * s) @ (w.float() * scale).T


def mixed_by_the_largest(x, weight, limit):
    kept = (x.abs().amax(0) >= limit).nonzero().flatten()
    rest = x.clone()
    rest[:, kept] = 0
    return _int8_product(rest, weight) + torch.einsum("tn,on->to", x[:, kept], weight[:, kept])


def ternary_by_loops(w):
    codes, alphas = [], []
    for row in w.tolist():
        delta = 0.7 * sum(map(abs, row)) / len(row)
        kept = [abs(value) for value in row if abs(value) > delta]
        codes.append([(value > delta) - (value < -delta) for value in row])
        alphas.append([sum(kept) / len(kept) if kept else 0.0])
    return torch.tensor(codes), torch.tensor(alphas)


def ternary_by_clipping(w):
    delta = 0.7 * w.abs().mean(1, keepdim=True)
    codes = (w > delta).int() - (w < -delta).int()
    return codes, (codes * w).sum(1, keepdim=True) / codes.abs().sum(1, keepdim=True).clamp(min=1)


def ternary_by_nan(w):
    delta = 0.7 * w.abs().mean(1, keepdim=True)
    kept = w.abs() > delta
    alpha = torch.where(kept, w.abs(), torch.nan).nanmean(1, keepdim=True)
    return torch.where(kept, w.sign(), 0), alpha.nan_to_num()


def through_without_gradient(w, shown):
    with torch.no_grad():
        moved = shown - w
    return w + moved


class Passed(torch.autograd.Function):
    @staticmethod
    def forward(ctx, w, shown):
        return shown.clone()

    @staticmethod
    def backward(ctx, grad):
        return grad, None


def through_in_two(w, shown):
    return w - w.detach() + shown.detach()


def split_by_loops(w):
    first = torch.empty_like(w)
    for row, own, codes, alpha in zip(w, first, *_ternary(w), strict=True):
        inside = sum(abs(v) for v, c in zip(row, codes, strict=True) if c) or 1.0
        up = sum(abs(v) for v, c in zip(row, codes, strict=True) if not c and v > 0)
        down = sum(abs(v) for v, c in zip(row, codes, strict=True) if not c and v <= 0)
        a = (inside + down - up) / (2 * inside)
        b = (len(row) * alpha[0] - row.abs().sum()) / (2 * (codes == 0).sum())
        for place, (value, code) in enumerate(zip(row, codes, strict=True)):
            own[place] = a * value if code else value + b if value > 0 else b
    return first, w - first


def split_by_the_library(w):
    return binary.split(w, rows=True)


def split_by_masks(w):
    codes, alpha = _ternary(w)
    size, one, up, down = w.abs(), codes != 0, (codes == 0) & (w > 0), (codes == 0) & (w <= 0)
    sums = [(size * some).sum(1, keepdim=True) for some in (one, up, down)]
    a = 0.5 + (sums[2] - sums[1]) / (2 * sums[0].clamp(min=1e-30))
    b = (alpha * w.shape[1] - sum(sums)) / (2 * (codes == 0).sum(1, keepdim=True))
    return a * w * one + (w + b) * up + b * down, (1 - a) * w * one - b * up + (w - b) * down


RIGHT = {
    "round_rows": [rows_by_loops, rows_in_numpy, rows_as_floats],
    "mixed_product": [mixed_by_columns, mixed_by_filling, mixed_by_the_largest],
    "ternary_codes": [ternary_by_loops, ternary_by_clipping, ternary_by_nan],
    "through": [through_without_gradient, Passed.apply, through_in_two],
    "split": [split_by_loops, split_by_the_library, split_by_masks],
}


# Wrong


def rows(scaled=lambda x: x.abs().amax(1, keepdim=True) / 127, turned=torch.round):
    """Codes and scales by other rules."""

    def found(x):
        scale = scaled(x)
        return turned(x / scale.clamp(min=1e-30)), scale

    return found


def mixed(large=lambda x, limit: (x.abs() >= limit).any(0), both=False, floats=True, rest=True, rounded=True):
    """The two products, with a part changed or left out."""

    def found(x, weight, limit):
        some = large(x, limit)
        others = x if both else x.masked_fill(some, 0)
        product = _int8_product(others, weight) if rounded else others @ weight.T
        return floats * (x[:, some] @ weight[:, some].T) + rest * product

    return found


def codes_of(kept=lambda w: w.abs() > 0.7 * w.abs().mean(1, keepdim=True), code=torch.sign, alpha=None):
    """Ternary codes by other rules."""

    def found(w):
        some = kept(w)
        count = some.sum(1, keepdim=True).clamp(min=1)
        best = (w.abs() * some).sum(1, keepdim=True) / count
        return code(w) * some, best if alpha is None else alpha(w, some)

    return found


def halves(share=None, lift=None):
    """A split with other a and b."""

    def found(w):
        codes, alpha = _ternary(w)
        size, one = w.abs(), codes != 0
        up, down = ~one & (w > 0), ~one & (w <= 0)
        on = [(size * some).sum(1, keepdim=True) for some in (one, up, down)]
        a = (on[0] + on[2] - on[1]) / (2 * on[0].clamp(min=1e-30)) if share is None else torch.full_like(alpha, share)
        b = (w.shape[1] * alpha - size.sum(1, keepdim=True)) / (2 * (~one).sum(1, keepdim=True))
        b = b if lift is None else torch.full_like(alpha, lift)
        first = torch.where(one, a * w, torch.where(up, w + b, b.expand_as(w)))
        return first, w - first

    return found


def only_kept(w):
    first, second = _split(w)
    kept = _ternary(w)[0] != 0
    return first * kept, second * kept


WRONG = {
    "round_rows": [
        (rows(lambda x: x.abs().amax().expand(len(x), 1) / 127), "one scale for all rows"),
        (rows(lambda x: x.amax(1, keepdim=True) / 127), "largest x is not the largest"),
        (rows(lambda x: x.abs().amax(1, keepdim=True) / 128), "become 127, not 128"),
        (rows(lambda x: x.abs().amax(1, keepdim=True) / 255), "not 255"),
        (rows(turned=torch.trunc), "cut off is not rounded"),
        (rows(turned=torch.floor), "rounded down"),
        (rows(turned=lambda x: x.round().abs()), "signs are lost"),
        (rows(turned=lambda x: x.round().clamp(min=0)), "unsigned"),
        (rows(turned=lambda x: x), "whole numbers"),
        (
            lambda x: ((x / x.abs().amax(1, keepdim=True) * 127).round(), x.abs().amax(1, keepdim=True) / 127),
            "row of zeros",
        ),
        (lambda x: (_round_rows(x)[0], 1 / _round_rows(x)[1].clamp(min=1e-30)), "wrong way round"),
        (lambda x: _round_rows(x)[0], "2 results are wanted"),
        (lambda x: (_round_rows(x)[0], _round_rows(x)[1][:, 0]), r"scale has shape \(4,\)"),
    ],
    "mixed_product": [
        (lambda x, w, limit: _int8_product(x, w), "all columns are rounded"),
        (lambda x, w, limit: x @ w.T, "nothing is rounded"),
        (mixed(rest=False), "outlier columns alone"),
        (mixed(floats=False), "outlier columns are missing"),
        (mixed(both=True), "in both parts"),
        (mixed(lambda x, limit: (x >= limit).any(0)), "a large negative x"),
        (mixed(lambda x, limit: (x.abs() > limit).any(0)), "exactly the limit"),
        (lambda x, w, limit: _mixed_product(x, w, 6.0), "use `limit`"),
        (lambda x, w, limit: _mixed_product(x, w, limit).T, r"shape \(3, 5\)"),
    ],
    "ternary_codes": [
        (codes_of(code=torch.ones_like), "signs are lost"),
        (codes_of(lambda w: w.abs() > 0.7), "0.7 is a share"),
        (codes_of(lambda w: w.abs() > 0.7 * w.abs().mean()), "one threshold for all rows"),
        (codes_of(lambda w: w.abs() > 0.7 * w.mean(1, keepdim=True)), "mean of .w., not of w"),
        (codes_of(lambda w: w.abs() > 0.7 * w.abs().amax(1, keepdim=True)), "not of the largest"),
        (codes_of(lambda w: w.abs() > w.abs().mean(1, keepdim=True)), "not mean .w."),
        (codes_of(lambda w: w.abs() > -1), "no weight has become 0"),
        (codes_of(alpha=lambda w, some: w.abs().mean(1, keepdim=True)), "leave out the weights that became 0"),
        (codes_of(alpha=lambda w, some: (w.abs() * some).mean(1, keepdim=True)), "divided by all weights"),
        (codes_of(alpha=lambda w, some: w.abs()[some].mean().expand(len(w), 1)), "one α for all rows"),
        (codes_of(alpha=lambda w, some: (w * some).sum(1, keepdim=True) / some.sum(1, keepdim=True)), "signs cancel"),
        (codes_of(alpha=lambda w, some: w.abs().amax(1, keepdim=True)), "this is the largest"),
        (
            codes_of(alpha=lambda w, some: (w.abs() * some).sum(1, keepdim=True) / some.sum(1, keepdim=True)),
            "row of zeros",
        ),
    ],
    "through": [
        (lambda w, shown: shown, "no gradient reaches w"),
        (lambda w, shown: w, "these are the full weights"),
        (lambda w, shown: w + (shown - w), "cancels out"),
        (lambda w, shown: w + shown.detach(), "once too often"),
        (lambda w, shown: 2 * w + (shown - 2 * w).detach(), "passed on as it is"),
        (lambda w, shown: w + shown - w.detach(), "`shown` gets a gradient too"),
        (lambda w, shown: print(end=""), "forget `return`"),
    ],
    "split": [
        (halves(share=0.5), "they are not equal"),
        (halves(lift=0.0), "b is too small|signs of w₁ and w₂ should differ"),
        (halves(share=1.5), "both have the sign of w"),
        (only_kept, "right where the code is not 0"),
        (lambda w: (w, w), "w₁ \\+ w₂ is 2w"),
        (lambda w: _split(w)[0], "2 results are wanted"),
        (halves(lift=3.0), "should both be α / 2"),
    ],
}
