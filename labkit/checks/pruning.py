"""Checks of lesson 04/03, pruning: `from labkit.checks import pruning as check`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from labkit.checks.exercise import Mistake, asked, exercise, expect, given, learns, loss, tensor

LESSON = "04/03"
GRADIENTS = "torch.autograd.grad(loss(mask, batch), mask) gives the gradient of one batch"


def _left_out(scores: Tensor, sparsity: float) -> Tensor:
    gone = scores.flatten().topk(round(sparsity * scores.numel()), largest=False).indices
    return torch.ones(scores.numel()).index_fill(0, gone, 0.0).view(scores.shape)


def mask_of(value: Any, shape: Sequence[int], what: str = "the mask") -> Tensor:
    """`value` as a float mask of 0 and 1; a mask of True and False is one too. Mistake where it is none."""
    given(value, what)
    if torch.is_tensor(value) and not value.is_floating_point() and not value.is_complex():
        value = value.float()
    found = tensor(value, shape, what)
    if not ((found == 0) | (found == 1)).all():
        raise Mistake(f"{what} holds other numbers than 0 and 1: 0 leaves a weight out, 1 keeps it")
    return found


def count(mask: Tensor, gone: int, case: str, mistakes: Mapping[int, str]) -> None:
    """Mistake unless the mask has `gone` zeros; of `mistakes`, a wrong number and what is said of it."""
    found = int((mask == 0).sum())
    if found != gone:
        raise Mistake(f"{case}: {gone} of {mask.numel()} weights should be left out, not {found}{mistakes.get(found, '')}")  # fmt: skip


# Which weights


def _magnitude_mask(weight: Tensor, sparsity: float) -> Tensor:
    return _left_out(weight.abs(), sparsity)


@exercise(LESSON, _magnitude_mask)
def magnitude_mask(function: Callable[..., Any]) -> None:
    """A weight of any shape and a sparsity in [0, 1) → a mask of that shape with round(sparsity · n) zeros."""
    draw = torch.Generator().manual_seed(1)
    weight = torch.randn(4, 6, generator=draw)
    mask = mask_of(asked(function, weight=weight, sparsity=0.65), (4, 6))
    count(mask, 16, "sparsity 0.65 of 24 weights", {8: ": is the mask the wrong way round? 0 leaves out", 15: ": round, do not cut off"})  # fmt: skip
    expect(mask, _magnitude_mask(weight, 0.65), "other weights are smaller: the smallest |w| of the whole matrix are left out", [
        (torch.stack([_left_out(row.abs(), 0.65) for row in weight]), "each row loses the same share: rank the whole matrix"),
        (_left_out(weight, 0.65), "the most negative weights are left out: rank by the absolute value"),
        (_left_out(-weight.abs(), 0.65), "the largest weights are left out: the smallest should be"),
    ])  # fmt: skip
    rows = torch.tensor([[1.0, 2, 3, 4], [50, 60, 70, 80]])
    expect(mask_of(asked(function, weight=rows, sparsity=0.5), (2, 4)), [[0, 0, 0, 0], [1, 1, 1, 1]], "rows [1, 2, 3, 4] and [50, 60, 70, 80] with sparsity 0.5: the whole first row goes, because the ranking is over the whole matrix")  # fmt: skip
    equal = torch.tensor([[1.0, -1, 1, 1, 2]])
    tied = "four of five weights have the same size, sparsity 0.4"
    found = mask_of(asked(function, weight=equal, sparsity=0.4), (1, 5))
    count(found, 2, tied, {0: ": a threshold with < leaves out none of them; take a number of weights instead",
                           4: ": a threshold with <= leaves out all of them; take a number of weights instead"})  # fmt: skip
    if found[0, 4] == 0:
        raise Mistake(f"{tied}: the larger one is left out")
    for size, sparsity, wanted in (((6,), 0.5, 3), ((2, 2, 3), 0.25, 3), ((5, 5), 0.0, 0)):
        one = torch.randn(size, generator=draw)
        count(mask_of(asked(function, weight=one, sparsity=sparsity), size), wanted, f"shape {size}, sparsity {sparsity}", {})  # fmt: skip


def _movement_mask(weights: Tensor, gradients: Tensor, sparsity: float) -> Tensor:
    return _left_out(-(weights * gradients).sum(0), sparsity)


@exercise(LESSON, _movement_mask)
def movement_mask(function: Callable[..., Any]) -> None:
    """Weights and gradients (steps, out, in) and a sparsity → a mask (out, in) by the summed scores."""
    draw = torch.Generator().manual_seed(4)
    weights, gradients = torch.randn(2, 5, 3, 4, generator=draw)
    found = mask_of(asked(function, weights=weights, gradients=gradients, sparsity=0.5), (3, 4))
    products = weights * gradients
    count(found, 6, "sparsity 0.5 of 12 weights", {})
    expect(found, _movement_mask(weights, gradients, 0.5), "wanted: the score −Σ weight · gradient over the steps; the lowest are left out", [
        (_left_out(products.sum(0), 0.5), "the sign is missing: the score is minus the sum of weight times gradient"),
        (_left_out(products.sum(0).abs(), 0.5), "no absolute value: a weight that moves towards 0 has a negative score, and goes first"),
        (_left_out(-products[-1], 0.5), "only the last step counts here: sum over all steps"),
        (_left_out(-products[0], 0.5), "only the first step counts here: sum over all steps"),
        (_left_out(-weights.sum(0) * gradients.sum(0), 0.5), "the product of two sums is not the sum of the products"),
        (_left_out(weights[-1].abs(), 0.5), "this ranks by the size of the weights: the score needs the gradients"),
        (_left_out(-gradients.sum(0), 0.5), "the weights are missing: the score is minus the sum of weight times gradient"),
    ])  # fmt: skip
    count(mask_of(asked(function, weights=weights[:1], gradients=gradients[:1], sparsity=0.25), (3, 4)), 3, "one step, sparsity 0.25", {})  # fmt: skip


# Heads


def _head_importance(loss: Callable[..., Tensor], batches: Sequence[Any], heads: int) -> Tensor:
    mask = torch.ones(heads, requires_grad=True)
    return sum(torch.autograd.grad(loss(mask, batch), mask)[0].abs() for batch in batches)


@exercise(LESSON, _head_importance)
def head_importance(function: Callable[..., Any]) -> None:
    """loss(mask, batch) → a number, batches, the number of heads → Σ |∂L/∂mask| at a mask of ones, (heads,)."""
    batches = list(torch.randn(3, 4, generator=torch.Generator().manual_seed(6)))

    def of(mask: Tensor, batch: Tensor) -> Tensor:
        return (mask**2 * batch).sum() + 0.1 * mask.prod()

    found = tensor(function(of, batches, 4), (4,), nan=GRADIENTS)
    each = torch.stack([_head_importance(of, [batch], 4) for batch in batches])
    signed = torch.stack([2 * batch + 0.1 for batch in batches])
    expect(found, each.sum(0), "wanted: the sum over the batches of |∂loss/∂mask|, where the mask is 1 everywhere", [
        (signed.sum(0).abs(), "the absolute value comes too late: gradients of two batches with different signs cancel; also check that .grad is set back between batches"),
        (signed.sum(0), "the absolute value is missing"),
        ((signed**2).sum(0), "this is the sum of squares: take the absolute value"),
        (each.mean(0), "this is the mean over the batches: take the sum"),
        (each[-1], "only the last batch counts: add the batches up"),
        (signed.cumsum(0).abs().sum(0), ".grad keeps the sum of the earlier batches: set it back, or use torch.autograd.grad"),
        (torch.zeros(4), "all 0: is the mask made of zeros? It should be ones"),
    ])  # fmt: skip


# While the model trains


def _step_masks(step: int, weights: Mapping[str, Tensor], end: int, final: float) -> dict[str, Tensor]:
    t = min(step / end, 1)
    return _split(_left_out(_flat(weights).abs(), final * (1 - (1 - t) ** 3)), weights)


def _flat(weights: Mapping[str, Tensor]) -> Tensor:
    return torch.cat([weight.flatten() for weight in weights.values()])


def _split(mask: Tensor, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    parts = mask.split([weight.numel() for weight in weights.values()])
    return {name: part.view_as(weights[name]) for name, part in zip(weights, parts, strict=True)}


@exercise(LESSON, _step_masks)
def step_masks(function: Callable[..., Any]) -> None:
    """Step, name → weight, the last step of pruning, the final sparsity → name → mask."""
    draw = torch.Generator().manual_seed(8)
    weights = {"small": 0.1 * torch.randn(5, 8, generator=draw), "large": torch.randn(4, 15, generator=draw)}
    for step in (5, 10, 0, 15):
        handed = {name: weight.clone() for name, weight in weights.items()}
        found = function(step, handed, 10, 0.8)
        given(found)
        if any(not torch.equal(weight, weights[name]) for name, weight in handed.items()):
            raise Mistake("your function changed the weights: it makes masks, and leaves the weights as they are")
        if not isinstance(found, Mapping) or set(found) != set(weights):
            raise Mistake("a dictionary with the names of the weights, and a mask for each, is wanted")
        here, t = f"step {step} of 10, final sparsity 0.8", min(step / 10, 1)
        masks = [mask_of(found[name], weight.shape, f"the mask of {name!r}") for name, weight in weights.items()]
        own = torch.cat([mask.flatten() for mask in masks])
        count(own, round(80 * (1 - (1 - t) ** 3)), here, {
            round(80 * t): ": this is a straight line; the schedule is final · (1 − (1 − t)³) with t = step / end",
            round(80 * t**3): ": this is t³, slow at first; the schedule is final · (1 − (1 − t)³)",
            round(80 * (1 - (1 - step / 10) ** 3)): ": t goes on after the end; it stays 1 there",
            round(100 * (1 - (1 - t) ** 3)): ": the final sparsity is missing from the formula",
        })  # fmt: skip
        each = [_left_out(weight.abs(), 0.8 * (1 - (1 - t) ** 3)) for weight in weights.values()]
        expect(own, _flat(_step_masks(step, weights, 10, 0.8)), f"{here}: the smallest |w| of all matrices together are left out", [
            (torch.cat([mask.flatten() for mask in each]), f"{here}: each matrix loses the same share; rank the weights of all matrices together"),
            (_left_out(_flat(weights), 0.8 * (1 - (1 - t) ** 3)), f"{here}: the most negative weights are left out; rank by the absolute value"),
        ])  # fmt: skip


# What to stay close to


def _contrast(mine: Tensor, theirs: Tensor, near: Tensor, temperature: float) -> Tensor:
    logs = (F.normalize(mine, dim=1) @ F.normalize(theirs, dim=1).T / temperature).log_softmax(1)
    return -((logs * near).sum(1) / near.sum(1)).mean()


@exercise(LESSON, _contrast)
def contrast(function: Callable[..., Any]) -> None:
    """Features (batch, d) of two models, near (batch, batch) of True and False, a temperature → the loss, ()."""
    draw = torch.Generator().manual_seed(9)
    mine, theirs = torch.randn(2, 4, 3, generator=draw)
    labels = torch.tensor([0, 1, 0, 0])
    for near, case in ((torch.eye(4).bool(), "near: the same text alone"), (labels[:, None] == labels, "near: all texts of the label")):  # fmt: skip
        inputs = {"mine": mine.clone().requires_grad_(), "theirs": theirs.clone(), "near": near, "temperature": 0.5}
        value = asked(function, **inputs)
        found, share = loss(value), near.float()
        cosines = F.normalize(mine, dim=1) @ F.normalize(theirs, dim=1).T
        right, logs = _contrast(mine, theirs, near, 0.5), (cosines / 0.5).log_softmax(1)
        across = -(((cosines / 0.5).log_softmax(0) * share).sum(1) / share.sum(1)).mean()
        expect(found, right, f"{case}: wanted: −log of the softmax over each row of cosine / temperature, the mean over the near ones, then over the rows", [
            (-right, "the sign is the wrong way round: a loss falls as the near ones come nearer"),
            (_contrast(mine, theirs, near, 1.0), "the temperature is missing: divide the cosines by it"),
            (_contrast(mine, theirs, near, 2.0), "the cosines are multiplied by the temperature: divide them"),
            (-(((mine @ theirs.T / 0.5).log_softmax(1) * share).sum(1) / share.sum(1)).mean(), "products, not cosines: bring the features to length 1"),
            (across, "the softmax runs down the columns: for each of mine it runs over theirs (dim 1)"),
            (-(logs * share).sum(1).mean(), "the logs of a row are summed: take their mean over the near ones"),
            (4 * right, "this is a sum over the rows: take the mean"),
            (-(logs.exp() * share).sum(1).log().mean(), "this is the log of the near ones' shares together: take the log of each share first, then the mean"),
            (-(logs * share).sum() / share.sum(), "a row with many near ones weighs more: take the mean within each row first"),
            (-(logs * share).mean(), "the mean is over all pairs: within a row it is over the near ones only"),
        ])  # fmt: skip
        learns(value, _contrast(inputs["mine"], theirs, near, 0.5), {"mine": inputs["mine"]},
               "the loss is right, but not its gradient with respect to `{}`: nothing of it may be detached")  # fmt: skip
