"""Right and wrong answers to the exercises of lesson 06/01."""

from __future__ import annotations

import math

import numpy as np
import torch


def row_by_row(batch, length, width, heads):
    """The table's rows, added up for each token."""
    total = 0
    for _ in range(batch * length):
        for row in (4 * width, 4 * width, 2 * 4 * width, heads * length):
            total += row
    return total


def by_shapes(batch, length, width, heads):
    """The shapes that PyTorch keeps."""
    shapes = [(batch, length, width)] * 8 + [(batch, length, 4 * width)] * 2 + [(batch, heads, length, length)]
    return sum(math.prod(shape) for shape in shapes)


def loss_in_a_loop(sums, counts):
    total, targets = 0.0, 0
    for value, number in zip(sums, counts, strict=True):
        total, targets = total + value, targets + int(number)
    return total / targets


def loss_of_parts_with_targets(sums, counts):
    """The weighted mean of the parts' means; a part without targets is left out."""
    some = counts > 0
    return torch.stack([x / n * (n / counts.sum()) for x, n in zip(sums[some], counts[some], strict=True)]).sum()


def scale_by_cases(scale, good, finite, interval):
    good = good + 1 if finite else 0
    factor = 0.5 if not finite else 2.0 if good >= interval else 1.0
    return [scale * factor, good % interval]


def scale_in_numpy(scale, good, finite, interval):
    if finite and good < interval - 1:
        return np.array([scale, good + 1])
    return np.array([np.ldexp(scale, 1 if finite else -1), 0])


def scale_as_tensors(scale, good, finite, interval):
    counted = torch.tensor(good + 1) * finite
    grown = bool(counted == interval)
    return torch.tensor(scale) * (2.0 if grown else 1.0 if finite else 0.5), counted * (not grown)


def lamb_in_python(weight, update, lr):
    w, r = weight.flatten().tolist(), update.flatten().tolist()
    size, length = math.sqrt(sum(x * x for x in w)), math.sqrt(sum(x * x for x in r))
    ratio = size / length if size and length else 1
    return torch.tensor([x - lr * ratio * y for x, y in zip(w, r, strict=True)]).reshape(weight.shape)


def lamb_in_numpy(weight, update, lr):
    w, r = weight.double().numpy(), update.double().numpy()
    size, length = np.linalg.norm(w), np.linalg.norm(r)
    return torch.from_numpy(w - lr * (size / length if min(size, length) > 0 else 1) * r)


def lamb_by_where(weight, update, lr):
    ratio = weight.square().sum().sqrt() / update.square().sum().sqrt()
    return weight - lr * torch.where((ratio > 0) & ratio.isfinite(), ratio, 1.0) * update


RIGHT = {
    "kept_numbers": [row_by_row, by_shapes, lambda b, s, d, h: float(b * s) * (np.dot([4, 4, 8], [d] * 3) + s * h)],
    "batch_loss": [loss_in_a_loop, loss_of_parts_with_targets, lambda x, n: torch.dot(x, torch.ones(len(x)) / n.sum()),
                   lambda x, n: x.sum(0, keepdim=True) / n.sum().item()],
    "next_scale": [scale_by_cases, scale_in_numpy, scale_as_tensors],
    "lamb_step": [lamb_in_python, lamb_in_numpy, lamb_by_where],
}  # fmt: skip


def scaled(each=lambda s, g: (s, g + 1), full=lambda s, g: (2 * s, 0), lost=lambda s, g: (s / 2, 0)):
    """A `next_scale` from its three cases: a good step, one that completes the interval, an overflow."""
    return lambda s, g, f, i: lost(s, g) if not f else full(s, g) if g + 1 == i else each(s, g)


def ratio(w, r):
    return w.norm() / r.norm() if w.norm() > 0 and r.norm() > 0 else 1.0


def lamb(ratio_of):
    """A `lamb_step` with another ratio, right where the weight or the update is all zero."""
    return lambda w, r, lr: w - lr * (ratio_of(w, r) if w.any() and r.any() else 1.0) * r


def counts_changed(sums, counts):
    loss = sums.sum() / counts.sum()
    counts.clamp_(min=1)
    return loss


def update_changed(weight, update, lr):
    return weight - update.mul_(lr * ratio(weight, update))


WRONG = {
    "kept_numbers": [
        (lambda b, s, d, h: b * s * 16 * d, "attention shares are missing"),
        (lambda b, s, d, h: b * s * (16 * d + s), "each of the heads"),
        (lambda b, s, d, h: b * s * (16 * d + h), "not one per head"),
        (lambda b, s, d, h: b * s * 16 * d + h * s * s, "every text of the batch"),
        (lambda b, s, d, h: b * s * (16 * d + h * s + 4), "means and deviations"),
        (lambda b, s, d, h: 16 * d + h * s, "what one token costs"),
        (lambda b, s, d, h: s * (16 * d + h * s), "what one text costs"),
        (lambda b, s, d, h: b * s * (7 * d + h * s), "inputs of the linear layers alone"),
        (lambda b, s, d, h: b * s * (8 * d + h * s), "MLP's middle is missing"),
        (lambda b, s, d, h: b * s * (10 * d + h * s), "four times as wide"),
        (lambda b, s, d, h: b * s * (12 * d + h * s), "MLP's middle is kept twice: before"),
        (lambda b, s, d, h: 4 * b * s * (16 * d + h * s), "bytes in fp32"),
        (lambda b, s, d, h: 2 * b * s * (16 * d + h * s), "bytes in 16 bits"),
        (lambda b, s, d, h: 5 * 40 * (16 * 28 + 3 * 40), "wrong for another"),
        (lambda b, s, d, h: [b], "should be one number, not list"),
        (lambda b, s, d, h: b, "add up the table's rows"),
    ],
    "batch_loss": [
        (lambda x, n: (x / n.clamp(min=1)).mean(), "mean of the parts' means"),
        (lambda x, n: (x / n).mean(), "do not divide by its own count"),
        (lambda x, n: (x / n)[n > 0].mean(), "leaving out the empty part"),
        (lambda x, n: x.mean(), "number of parts;"),
        (lambda x, n: x.sum() / (n > 0).sum(), "number of parts that have targets"),
        (lambda x, n: x.sum() / n.clamp(min=1).sum(), "counts as one target"),
        (lambda x, n: x.sum() // n.sum() + 0 * x.sum(), "rounds down"),
        (lambda x, n: x.sum(), "this is the sum"),
        (lambda x, n: (x / n.clamp(min=1)).sum(), "added up the parts' means"),
        (lambda x, n: x.sum() / 7, "number of all targets was expected"),
        (lambda x, n: (x.sum() / n.sum()).item(), "carries no gradient"),
        (lambda x, n: torch.tensor((x.sum() / n.sum()).item(), requires_grad=True), "none of `sums`"),
        (lambda x, n: x.detach().sum() / n.sum() + 0 * x.sum(), "its gradient is not"),
        (lambda x, n: x / n.sum(), r"shape \(4,\)"),
        (lambda x, n: x.sum() / 23, "wrong for a single one"),
        (counts_changed, "changed `counts`"),
        (lambda x, n: x.add_(1).sum() / n.sum(), "stopped with RuntimeError"),
        (lambda x, n: "19/23", "one number, not str"),
    ],
    "next_scale": [
        (lambda s, g, f, i: s, "2 results"),
        (scaled(lost=lambda s, g: (2 * s, g)), "yours grows"),
        (scaled(lost=lambda s, g: (s, g + 1)), "yours stays"),
        (scaled(lost=lambda s, g: (s / 2, g)), "ends the row"),
        (scaled(lost=lambda s, g: (0, s / 2)), "the scale first"),
        (scaled(lost=lambda s, g: (s / 4, 0)), r"\(512.0, 0\) is wanted"),
        (scaled(lost=lambda s, g: (s // 2, 0)), "divide with /, not //"),
        (scaled(lost=lambda s, g: (s / 2, 0 if g < 9 else 1)), "is no good step"),
        (scaled(each=lambda s, g: (2 * s, 0)), "doubled after one good step"),
        (scaled(each=lambda s, g: (s, g)), "not counted"),
        (scaled(each=lambda s, g: (s, g + 2)), r"\(1024.0, 4\) is wanted"),
        (scaled(each=lambda s, g: (s, g + 0.5)), "whole number, not 3.5"),
        (scaled(full=lambda s, g: (s, g + 1)), "not one step later"),
        (scaled(full=lambda s, g: (s, 0)), "does not grow"),
        (scaled(full=lambda s, g: (2 * s, g + 1)), "starts again at 0"),
        (scaled(full=lambda s, g: (s + 1, 0)), r"\(2048.0, 0\) is wanted"),
        (scaled(full=lambda s, g: (s + 1024, 0)), r"from \(65536.0, 4, True, 5\) you give \(66560.0, 0\)"),
        (lambda s, g, f, i: scaled()(s, g, f, 10), r"from \(65536.0, 4, True, 5\) you give \(65536.0, 5\)"),
    ],
    "lamb_step": [
        (lambda w, r, lr: w - lr * r, "this is Adam"),
        (lamb(lambda w, r: r.norm() / w.norm()), "stands on its head"),
        (lambda w, r, lr: w + lr * ratio(w, r) * r, "uphill"),
        (lambda w, r, lr: w - ratio(w, r) * r, "learning rate is missing"),
        (lamb(lambda w, r: w.norm()), "update's own length"),
        (lamb(lambda w, r: 1 / r.norm()), "multiply by the weight's length"),
        (lamb(lambda w, r: w.square().sum() / r.square().sum()), "squared lengths"),
        (lamb(lambda w, r: w.abs().sum() / r.abs().sum()), "absolute values"),
        (lamb(lambda w, r: w.abs() / r.abs()), "not one for each element"),
        (lambda w, r, lr: -lr * ratio(w, r) * r, "step alone"),
        (lambda w, r, lr: w.sub_(lr * ratio(w, r) * r), "changed `weight`"),
        (update_changed, "changed `update`"),
        (lambda w, r, lr: w - 2 * lr * ratio(w, r) * r, r"‖r‖\) · r was expected"),
        (lamb(lambda w, r: w.norm(dim=-1, keepdim=True) / r.norm(dim=-1, keepdim=True)), "row by row"),
        (lamb(lambda w, r: w.norm(dim=0) / r.norm(dim=0)), "column by column"),
        (lamb(lambda w, r: torch.linalg.norm(w, 2) / torch.linalg.norm(r, 2)), "singular value"),
        (lamb(lambda w, r: w.norm() / r.norm() if w.ndim == 1 else w.abs() / r.abs()), "NaN: the ratio of two"),
        (lambda w, r, lr: w - 0.1 * ratio(w, r) * r, "use `lr`"),
        (lamb(lambda w, r: (w.norm() / r.norm()).clamp(max=10)), "cut off at 10"),
        (lamb(lambda w, r: w.norm() / r.norm() / w.ndim), "wrong for a matrix"),
        (lambda w, r, lr: w - lr * w.norm() / r.norm() * r, "stay zero for ever"),
        (lambda w, r, lr: w - lr * (w.norm() / r.norm() if w.any() else 0.5) * r, "all zero the ratio is 1"),
        (lambda w, r, lr: w - lr * (w.norm() / r.norm() if w.any() else 1) * r, "infinity times 0"),
        (lambda w, r, lr: (w - lr * ratio(w, r) * r).tolist(), "torch tensor, not list"),
    ],
}  # fmt: skip
