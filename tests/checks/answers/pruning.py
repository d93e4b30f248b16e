"""Right and wrong answers to the exercises of lesson 04/03."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F

from labkit.checks.pruning import (
    _contrast,
    _head_importance,
    _magnitude_mask,
    _movement_mask,
    _step_masks,
)

# Right


def magnitude_by_sorting(weight, sparsity):
    mask = np.ones(weight.numel(), dtype=np.float32)
    mask[np.argsort(np.abs(weight.numpy().ravel()), kind="stable")[: round(sparsity * weight.numel())]] = 0
    return torch.from_numpy(mask.reshape(weight.shape))


def magnitude_by_ranks(weight, sparsity):
    ranks = weight.abs().flatten().argsort().argsort()
    return (ranks >= round(sparsity * weight.numel())).view_as(weight)


def magnitude_by_loop(weight, sparsity):
    sizes = [abs(value) for value in weight.flatten().tolist()]
    mask = [1.0] * len(sizes)
    for _ in range(round(sparsity * len(sizes))):
        smallest = min((size, place) for place, size in enumerate(sizes) if mask[place])[1]
        mask[smallest] = 0.0
    return torch.tensor(mask).reshape(weight.shape)


def movement_by_loop(weights, gradients, sparsity):
    score = torch.zeros(weights.shape[1:])
    for weight, gradient in zip(weights, gradients, strict=True):
        score -= weight * gradient
    return magnitude_by_ranks(score - score.min(), sparsity)


def movement_by_einsum(weights, gradients, sparsity):
    score = torch.einsum("sij,sij->ij", weights, -gradients)
    gone = score.flatten().sort().indices[: round(sparsity * score.numel())]
    mask = torch.ones(score.numel(), dtype=torch.bool)
    mask[gone] = False
    return mask.view(score.shape)


def movement_in_numpy(weights, gradients, sparsity):
    score = -(weights.numpy() * gradients.numpy()).sum(0)
    mask = np.ones(score.size)
    mask[np.argsort(score.ravel())[: round(sparsity * score.size)]] = 0
    return torch.tensor(mask.reshape(score.shape))


def importance_by_backward(loss, batches, heads):
    total = torch.zeros(heads)
    for batch in batches:
        mask = torch.ones(heads, requires_grad=True)
        loss(mask, batch).backward()
        total += mask.grad.abs()
    return total


def importance_set_back(loss, batches, heads):
    mask, total = torch.ones(heads).requires_grad_(), 0
    for batch in batches:
        mask.grad = None
        loss(mask, batch).backward()
        total = total + mask.grad.abs()
    return total


def importance_by_stacking(loss, batches, heads):
    mask = torch.ones(heads, requires_grad=True)
    return torch.stack([torch.autograd.grad(loss(mask, one), mask)[0] for one in batches]).abs().sum(dim=0)


def steps_by_threshold(step, weights, end, final):
    t = min(1.0, step / end)
    sizes = torch.cat([weight.abs().flatten() for weight in weights.values()]).sort().values
    gone = round(final * (1 - (1 - t) ** 3) * len(sizes))
    limit = sizes[gone - 1] if gone else -1.0
    return {name: weight.abs() > limit for name, weight in weights.items()}


def steps_by_the_first(step, weights, end, final):
    sparsity = final * (1 - (1 - min(step, end) / end) ** 3)
    mask, masks = magnitude_by_sorting(torch.cat([one.ravel() for one in weights.values()]), sparsity), {}
    for name, weight in weights.items():
        masks[name], mask = mask[: weight.numel()].reshape(weight.shape), mask[weight.numel() :]
    return masks


def steps_by_places(step, weights, end, final):
    places = [(abs(float(w)), name, i) for name, one in weights.items() for i, w in enumerate(one.flatten())]
    t = step / end if step < end else 1
    masks = {name: torch.ones(one.numel()) for name, one in weights.items()}
    for _, name, i in sorted(places)[: round(final * (1 - (1 - t) ** 3) * len(places))]:
        masks[name][i] = 0
    return {name: mask.view(weights[name].shape) for name, mask in masks.items()}


def contrast_by_loops(mine, theirs, near, temperature):
    rows = []
    for i in range(len(mine)):
        scores = torch.stack([F.cosine_similarity(mine[i], other, dim=0) for other in theirs]) / temperature
        logs = scores - scores.logsumexp(0)
        rows.append(-torch.stack([logs[j] for j in range(len(theirs)) if near[i, j]]).mean())
    return torch.stack(rows).mean()


def contrast_by_targets(mine, theirs, near, temperature):
    scores = F.cosine_similarity(mine[:, None], theirs[None], dim=-1) / temperature
    return F.cross_entropy(scores, near / near.sum(1, keepdim=True))


def contrast_by_shares(mine, theirs, near, temperature):
    a, b = mine / mine.norm(dim=1, keepdim=True), theirs / theirs.norm(dim=1, keepdim=True)
    shares = torch.softmax(a @ b.T / temperature, dim=1).log()
    return -torch.where(near, shares, 0.0).sum(1).div(near.sum(1)).mean()


RIGHT = {
    "magnitude_mask": [magnitude_by_sorting, magnitude_by_ranks, magnitude_by_loop],
    "movement_mask": [movement_by_loop, movement_by_einsum, movement_in_numpy],
    "head_importance": [importance_by_backward, importance_set_back, importance_by_stacking],
    "step_masks": [steps_by_threshold, steps_by_the_first, steps_by_places],
    "contrast": [contrast_by_loops, contrast_by_targets, contrast_by_shares],
}


# Wrong


def lowest(scores, sparsity, number=round):
    gone = scores.flatten().topk(number(sparsity * scores.numel()), largest=False).indices
    return torch.ones(scores.numel()).index_fill(0, gone, 0.0).view(scores.shape)


def below(weight, sparsity, or_equal):
    gone = round(sparsity * weight.numel())
    limit = weight.abs().flatten().sort().values[max(gone - 1, 0)] if gone else -1
    return weight.abs() > limit if or_equal else weight.abs() >= limit


def changing(weight, sparsity):
    found = _magnitude_mask(weight, sparsity)
    weight *= found
    return found


def largest_of_ties(weight, sparsity):
    mask = _magnitude_mask(weight, sparsity)
    return torch.tensor([[0, 1.0, 1, 1, 0]]) if weight.shape == (1, 5) else mask


def not_set_back(loss, batches, heads):
    mask, total = torch.ones(heads, requires_grad=True), torch.zeros(heads)
    for batch in batches:
        loss(mask, batch).backward()
        total += mask.grad.abs()
    return total


def abs_too_late(loss, batches, heads):
    mask = torch.ones(heads, requires_grad=True)
    return torch.autograd.grad(sum(loss(mask, batch) for batch in batches), mask)[0].abs()


def each(loss, batches, heads, at=1.0):
    mask = torch.full((heads,), at, requires_grad=True)
    return torch.stack([torch.autograd.grad(loss(mask, batch), mask)[0] for batch in batches])


def with_schedule(schedule):
    def masks(step, weights, end, final):
        flat = torch.cat([weight.flatten() for weight in weights.values()])
        parts = lowest(flat.abs(), schedule(step / end, final)).split([one.numel() for one in weights.values()])
        return {name: part.view_as(weights[name]) for name, part in zip(weights, parts, strict=True)}

    return masks


def each_matrix(step, weights, end, final):
    return {name: lowest(one.abs(), final * (1 - (1 - min(step / end, 1)) ** 3)) for name, one in weights.items()}


def signed(step, weights, end, final):
    low = min(one.min() for one in weights.values())
    return _step_masks(step, {name: one - low for name, one in weights.items()}, end, final)


def in_place(step, weights, end, final):
    found = _step_masks(step, weights, end, final)
    for name, mask in found.items():
        weights[name] *= mask
    return found


def logs(mine, theirs, temperature):
    return (F.normalize(mine, dim=1) @ F.normalize(theirs, dim=1).T / temperature).log_softmax(1)


WRONG = {
    "magnitude_mask": [
        (lambda w, s: lowest(w, s), "rank by the absolute value"),
        (lambda w, s: lowest(-w.abs(), s), "the largest weights are left out"),
        (lambda w, s: 1 - _magnitude_mask(w, s), "mask the wrong way round"),
        (lambda w, s: lowest(w.abs(), s, int), "round, do not cut off"),
        (lambda w, s: torch.stack([lowest(row.abs(), s) for row in w]), "each row loses the same share"),
        (lambda w, s: torch.stack([lowest(row.abs(), s) for row in w]) if w.shape == (2, 4) else _magnitude_mask(w, s), "the whole first row goes"),
        (lambda w, s: below(w, s, True), "with <= leaves out all"),
        (lambda w, s: w.abs() >= w.abs().flatten().sort().values[min(round(s * w.numel()), w.numel() - 1)], "with < leaves out none"),
        (largest_of_ties, "the larger one is left out"),
        (changing, "your function changed `weight`"),
        (lambda w, s: w * _magnitude_mask(w, s), "other numbers than 0 and 1"),
        (lambda w, s: _magnitude_mask(w, s).flatten(), r"shape \(24,\)"),
        (lambda w, s: _magnitude_mask(w, s).tolist(), "torch tensor, not list"),
        (lambda w, s: _magnitude_mask(w, s) if s else torch.zeros_like(w), "sparsity 0.0: 0 of 25"),
    ],
    "movement_mask": [
        (lambda w, g, s: lowest((w * g).sum(0), s), "sign is missing"),
        (lambda w, g, s: lowest((w * g).sum(0).abs(), s), "no absolute value"),
        (lambda w, g, s: lowest(-(w * g)[-1], s), "only the last step"),
        (lambda w, g, s: lowest(-(w * g)[0], s), "only the first step"),
        (lambda w, g, s: lowest(-w.sum(0) * g.sum(0), s), "product of two sums"),
        (lambda w, g, s: lowest(w[-1].abs(), s), "by the size of the weights"),
        (lambda w, g, s: lowest(-g.sum(0), s), "the weights are missing"),
        (lambda w, g, s: lowest(-(w * g).mean((1, 2), keepdim=True).sum(0) - (w + g).sum(0), s), "wanted: the score"),
        (lambda w, g, s: -(w * g).sum(0), "other numbers than 0 and 1"),
        (lambda w, g, s: _movement_mask(w, g, 0.5), "one step, sparsity 0.25"),
    ],
    "head_importance": [
        (abs_too_late, "comes too late"),
        (lambda *a: each(*a).sum(0), "the absolute value is missing"),
        (lambda *a: (each(*a) ** 2).sum(0), "sum of squares"),
        (lambda *a: each(*a).abs().mean(0), "mean over the batches"),
        (lambda *a: each(*a)[-1].abs(), "only the last batch"),
        (not_set_back, "keeps the sum of the earlier"),
        (lambda *a: each(*a, at=0.0).abs().sum(0), "mask made of zeros"),
        (lambda *a: each(*a, at=0.5).abs().sum(0), "where the mask is 1 everywhere"),
        (lambda *a: _head_importance(*a).tolist(), "torch tensor, not list"),
        (lambda *a: _head_importance(*a).sum(), r"shape \(\)"),
    ],
    "step_masks": [
        (with_schedule(lambda t, final: final * min(t, 1)), "a straight line"),
        (with_schedule(lambda t, final: final * min(t, 1) ** 3), "slow at first"),
        (with_schedule(lambda t, final: min(max(final * (1 - (1 - t) ** 3), 0), 1)), "t goes on after the end"),
        (with_schedule(lambda t, final: 1 - (1 - min(t, 1)) ** 3), "the final sparsity is missing"),
        (each_matrix, "each matrix loses the same share"),
        (signed, "rank by the absolute value"),
        (lambda *a: list(_step_masks(*a).values()), "a dictionary with the names"),
        (in_place, "changed the weights"),
        (lambda *a: {name: mask.flatten() for name, mask in _step_masks(*a).items()}, r"the mask of 'small' has shape \(40,\)"),
    ],
    "contrast": [
        (lambda *a: -_contrast(*a), "sign is the wrong way round"),
        (lambda m, t, n, T: _contrast(m, t, n, 1.0), "temperature is missing"),
        (lambda m, t, n, T: _contrast(m, t, n, 1 / T), "multiplied by the temperature"),
        (lambda m, t, n, T: F.cross_entropy(m @ t.T / T, n / n.sum(1, keepdim=True)), "products, not cosines"),
        (lambda m, t, n, T: -(((logs(m, t, T) * 0 + (F.normalize(m) @ F.normalize(t).T / T).log_softmax(0)) * n).sum(1) / n.sum(1)).mean(), "runs down the columns"),
        (lambda m, t, n, T: -(logs(m, t, T) * n).sum(1).mean(), "take their mean over the near ones"),
        (lambda m, t, n, T: -((logs(m, t, T) * n).sum(1) / n.sum(1)).sum(), "a sum over the rows"),
        (lambda m, t, n, T: -(logs(m, t, T).exp() * n).sum(1).log().mean(), "log of the near ones' shares together"),
        (lambda m, t, n, T: -(logs(m, t, T) * n).sum() / n.sum(), "many near ones weighs more"),
        (lambda m, t, n, T: -(logs(m, t, T) * n).mean(), "mean is over all pairs"),
        (lambda m, t, n, T: _contrast(m.detach(), t, n, T), "carries no gradient"),
        (lambda m, t, n, T: _contrast(m, t, n, T).item(), "a plain number"),
        (lambda m, t, n, T: _contrast(m, t, n, T) + (m - m.detach()).sum(), "not its gradient"),
    ],
}  # fmt: skip
