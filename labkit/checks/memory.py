"""Checks of lesson 06/01, memory: `from labkit.checks import memory as check`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from labkit.checks.exercise import Mistake, asked, exercise, expect, loss, number, parts, tensor, whole

LESSON = "06/01"


def _kept_numbers(batch: int, length: int, width: int, heads: int) -> int:
    return batch * length * (16 * width + heads * length)


@exercise(LESSON, _kept_numbers)
def kept_numbers(function: Callable[[int, int, int, int], float]) -> None:
    """(batch, length, width, heads) → how many numbers one layer keeps for its backward pass."""
    b, s, d, h = 5, 40, 28, 3
    right = b * s * (16 * d + h * s)
    mistakes = [
        (b * s * 16 * d, "the attention shares are missing: for every token, each head keeps a row of `length` shares"),
        (b * s * (16 * d + s), "each of the heads has its own table of shares: heads · length numbers per token"),
        (b * s * (16 * d + h), "a head keeps a whole row of shares for every token: heads · length numbers, not one per head"),
        (b * s * 16 * d + h * s * s, "every text of the batch has its own attention shares: they grow with the batch too"),
        (b * s * (16 * d + h * s + 4), "you counted LayerNorm's means and deviations too, four numbers per token: leave them out here"),
        (16 * d + h * s, "this is what one token costs: multiply by the batch · length tokens"),
        (s * (16 * d + h * s), "this is what one text costs: multiply by the batch too"),
        (b * s * (7 * d + h * s), "these are the shares and the inputs of the linear layers alone: the LayerNorms' inputs, queries, keys, values and the non-linearity's input are kept too"),
        (b * s * (8 * d + h * s), "the MLP's middle is missing: it is 4 · width wide, and kept before and after the non-linearity"),
        (b * s * (10 * d + h * s), "the MLP's middle is four times as wide as the layer: it keeps 2 · 4 · width numbers per token"),
        (b * s * (12 * d + h * s), "the MLP's middle is kept twice: before the non-linearity, for its derivative, and after it, as the next layer's input"),
        (4 * right, "these are bytes in fp32: numbers are asked for"),
        (2 * right, "these are bytes in 16 bits: numbers are asked for"),
    ]  # fmt: skip
    expect(number(function(b, s, d, h)), right, "batch · length · (8 width + 2 · 4 width + heads · length) was expected: add up the table's rows", mistakes)  # fmt: skip
    expect(number(function(2, 7, 32, 4)), _kept_numbers(2, 7, 32, 4), "right for one shape and wrong for another: use all four arguments")  # fmt: skip


def _batch_loss(sums: Tensor, counts: Tensor) -> Tensor:
    return sums.sum() / counts.sum()


@exercise(LESSON, _batch_loss)
def batch_loss(function: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Sums of losses and numbers of targets, (parts,) each → the mean loss over all targets, with its gradient."""
    sums, counts = torch.tensor([6.0, 10.0, 0.0, 3.0], requires_grad=True), torch.tensor([2, 20, 0, 1])
    nan = "a part may have no target: do not divide by its own count"
    found = loss(asked(function, sums=sums, counts=counts), nan)
    means = sums / counts.clamp(min=1)
    mistakes = [
        (means.mean(), "this is the mean of the parts' means: a target counts more where its part has few of them. Divide the sum of all by the number of all"),
        (means[counts > 0].mean(), "leaving out the empty part does not mend it: the other parts still have unequal numbers of targets"),
        (sums.mean(), "you divided by the number of parts; divide by the number of targets"),
        (sums.sum() / 3, "you divided by the number of parts that have targets; divide by the number of targets"),
        (sums.sum() / 24, "the part without targets counts as one target here: add up the counts as they are"),
        (sums.sum() // counts.sum(), "// rounds down: use /"),
        (sums.sum(), "this is the sum: divide it by the number of targets"),
        (means.sum(), "you added up the parts' means"),
    ]  # fmt: skip
    expect(found, 19 / 23, "the sum of all losses divided by the number of all targets was expected", mistakes)
    (gradient,) = torch.autograd.grad(found, sums, allow_unused=True)
    if gradient is None:
        raise Mistake("the loss has a gradient, but none of `sums`: compute with `sums` itself, not with a copy of its numbers")  # fmt: skip
    expect(gradient[counts > 0], torch.full((3,), 1 / 23), "the loss is right and its gradient is not: each sum should weigh 1 / (number of all targets) in it")  # fmt: skip
    one = loss(function(torch.tensor([1.5], requires_grad=True), torch.tensor([4])))
    expect(one, 1.5 / 4, "right for four parts and wrong for a single one")


def _next_scale(scale: float, good: int, finite: bool, interval: int) -> tuple[float, int]:
    if not finite:
        return scale / 2, 0
    return (scale * 2, 0) if good + 1 == interval else (scale, good + 1)


@exercise(LESSON, _next_scale)
def next_scale(function: Callable[[float, int, bool, int], tuple[float, int]]) -> None:
    """(scale, good steps so far, was this step finite, interval) → the next (scale, good steps)."""
    lost = _state(function(1024.0, 3, False, 10))
    if lost[0] >= 1024:
        raise Mistake(f"after an overflow the scale must be halved, and yours {'stays' if lost[0] == 1024 else 'grows'}")  # fmt: skip
    ends = "an overflow ends the row of good steps: count from 0 again, or the scale grows back at once and overflows again"  # fmt: skip
    mistakes = [((512, 3), ends), ((512, 4), ends), ((0, 512), "return the scale first, then the good steps")]
    expect(lost, (512, 0), f"after an overflow at scale 1024, (512.0, 0) is wanted, not {lost}", mistakes)
    counted, each = _state(function(1024.0, 3, True, 10)), "the scale doubled after one good step: it waits until `interval` of them are complete"  # fmt: skip
    mistakes = [((1024, 3), "this good step is not counted: the 3 before it and this one are 4"), *(((2048, good), each) for good in (0, 3, 4))]  # fmt: skip
    expect(counted, (1024, 4), f"a good step that does not yet complete the interval counts, and leaves the scale alone: (1024.0, 4) is wanted, not {counted}", mistakes)  # fmt: skip
    full, again = _state(function(1024.0, 9, True, 10)), "after doubling, the count starts again at 0, or every further step would double the scale"  # fmt: skip
    mistakes = [
        ((1024, 10), "with this step ten good ones are complete: the scale doubles now, not one step later"),
        ((1024, 0), "the interval is complete and the scale does not grow: double it"),
        ((2048, 9), again),
        ((2048, 10), again),
    ]
    expect(full, (2048, 0), f"when the interval is complete, (2048.0, 0) is wanted, not {full}", mistakes)
    expect(_state(function(1024.0, 9, False, 10)), (512, 0), "a step that is not finite is no good step, even where it would complete the interval")  # fmt: skip
    for state in ((3.0, 0, False, 2000), (65536.0, 4, True, 5), (65536.0, 10, True, 2000), (8.0, 0, True, 1)):
        found, wanted = _state(function(*state)), _next_scale(*state)
        message = f"right for a scale of 1024 and an interval of 10, but from {state} you give {found}; {wanted} is wanted"  # fmt: skip
        expect(found, wanted, message, [((1, 0), "half of 3 is 1.5: divide with /, not //")])


def _state(value: Any) -> tuple[float, int]:
    """The learner's scale and good steps; Mistake where they are none."""
    scale, good = parts(value, ("scale", "good"))
    return number(scale, "the scale"), whole(good, "the number of good steps")


def _lamb_step(weight: Tensor, update: Tensor, lr: float) -> Tensor:
    size, length = weight.norm(), update.norm()
    return weight - lr * (size / length if size > 0 and length > 0 else 1.0) * update


@exercise(LESSON, _lamb_step)
def lamb_step(function: Callable[[Tensor, Tensor, float], Tensor]) -> None:
    """A weight, Adam's update r of the same shape, a learning rate → LAMB's new weight."""
    weight, update = torch.tensor([3.0, 0.0, -4.0, 1.0]), torch.tensor([0.5, -0.2, 0.1, 0.7])
    found = tensor(asked(function, weight=weight, update=update, lr=0.1), (4,))
    ratio = weight.norm() / update.norm()
    mistakes = [
        (weight - 0.1 * update, "this is Adam: multiply the update by ‖w‖ / ‖r‖"),
        (weight - 0.1 / ratio * update, "the ratio stands on its head: ‖w‖ over ‖r‖"),
        (weight + 0.1 * ratio * update, "you went uphill: subtract"),
        (weight - ratio * update, "the learning rate is missing"),
        (weight - 0.1 * weight.norm() * update, "you forgot to divide by the update's own length"),
        (weight - 0.1 * update / update.norm(), "you forgot to multiply by the weight's length"),
        (weight - 0.1 * ratio**2 * update, "these are squared lengths: take the root, as `norm()` does"),
        (weight - 0.1 * weight.abs().sum() / update.abs().sum() * update, "these are sums of absolute values: the lengths are Euclidean, `norm()`"),
        (weight - 0.1 * weight.abs() / update.abs() * update, "the ratio is one number for the whole weight, not one for each element"),
        (-ratio * update * 0.1, "this is the step alone: return the new weight"),
    ]  # fmt: skip
    expect(found, weight - 0.1 * ratio * update, "w - lr · (‖w‖ / ‖r‖) · r was expected", mistakes)
    _matrix(function)
    zero = tensor(function(torch.zeros(4), update.clone(), 0.1), (4,), "for a zero weight the result")
    expect(zero, -0.1 * update, "for a weight that is all zero the ratio is 1", [(torch.zeros(4), "a weight that is all zero would stay zero for ever: there the ratio is 1")])  # fmt: skip
    nan = "an update that is all zero makes the ratio infinite, and infinity times 0 is NaN: there the ratio is 1 too"
    still = tensor(function(weight.clone(), torch.zeros(4), 0.1), (4,), "for a zero update the result", nan)
    expect(still, weight, "with no update the weight stays")


def _matrix(function: Callable[[Tensor, Tensor, float], Tensor]) -> None:
    """A matrix with a ratio of more than 10, and another learning rate."""
    weight = torch.tensor([[30.0, 0.0], [-40.0, 10.0], [5.0, 20.0]])
    update, lr = torch.tensor([[0.5, -0.2], [0.0, 0.7], [0.3, 0.1]]), 0.02
    found = tensor(function(weight.clone(), update.clone(), lr), (3, 2), "for a matrix the result", "the ratio of two elements divides by 0 where one of the update is 0: it is one number for the whole matrix")  # fmt: skip

    def stepped(ratio: Tensor, rate: float = lr) -> Tensor:
        return weight - rate * ratio * update

    ratio, every = weight.norm() / update.norm(), "for a matrix too the ratio is one number: its length is taken over all elements, not "  # fmt: skip
    mistakes = [
        (stepped(weight.norm(dim=1, keepdim=True) / update.norm(dim=1, keepdim=True)), every + "row by row"),
        (stepped(weight.norm(dim=0) / update.norm(dim=0)), every + "column by column"),
        (stepped(torch.linalg.matrix_norm(weight, 2) / torch.linalg.matrix_norm(update, 2)), every + "as the largest singular value"),
        (stepped(ratio, 0.1), "you step at a rate of 0.1 here, and lr is 0.02: use `lr`"),
        (stepped(ratio.clamp(max=10)), "the ratio is cut off at 10 here: use it as it is"),
    ]  # fmt: skip
    expect(found, stepped(ratio), "right for a weight of one dimension and wrong for a matrix: take `norm()` over all elements", mistakes)  # fmt: skip
