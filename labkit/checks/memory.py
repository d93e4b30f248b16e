"""Checks of lesson 06/01, memory: `from labkit.checks import memory as check`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from labkit.checks.exercise import Mistake, exercise, expect, tensor

LESSON = "06/01"


@exercise(LESSON)
def kept_numbers(function: Callable[[int, int, int, int], float]) -> None:
    """(batch, length, width, heads) → how many numbers one layer keeps for its backward pass."""
    b, s, d, h = 3, 40, 24, 6
    found = _number(function(b, s, d, h))
    mistakes = [
        (b * s * 16 * d, "the attention shares are missing: each head keeps a row of `length` shares for every token"),
        (b * s * (16 * d + s), "each of the heads has its own table of shares: heads · length numbers a token"),
        (b * s * 16 * d + h * s * s, "every text of the batch has its own attention shares: they grow with the batch too"),
        (b * s * (7 * d + h * s), "these are the inputs of the linear layers alone. LayerNorms, queries, keys, values and the non-linearity keep theirs too"),
        (b * s * (10 * d + h * s), "the MLP's middle is four times as wide, and it is kept twice: before the non-linearity and after it"),
        (b * s * (12 * d + h * s), "the MLP's middle is kept twice: before the non-linearity, for its derivative, and after it, as the next layer's input"),
        (4 * b * s * (16 * d + h * s), "these are bytes in fp32: numbers are asked for"),
        (2 * b * s * (16 * d + h * s), "these are bytes in 16 bits: numbers are asked for"),
    ]  # fmt: skip
    expect(found, b * s * (16 * d + h * s), "batch · length · (8 width + 2 · 4 width + heads · length) was expected: add up the table's rows", mistakes)  # fmt: skip
    expect(_number(function(1, 10, 8, 2)), 10 * (128 + 20), "right for one shape and wrong for another: use all four arguments")  # fmt: skip


@exercise(LESSON)
def batch_loss(function: Callable[[Tensor, Tensor], Any]) -> None:
    """Sums of losses and numbers of targets, (parts,) each → the mean loss over all targets."""
    sums, counts = torch.tensor([6.0, 10.0, 0.0, 3.0]), torch.tensor([2, 20, 0, 1])
    found = _number(function(sums.clone(), counts.clone()), nan="a part may have no target: do not divide by its own count")  # fmt: skip
    means = sums / counts.clamp(min=1)
    mistakes = [
        (means.mean(), "this is the mean of the parts' means: a target counts more where its part has few of them. Divide the sum of all by the number of all"),
        (means[counts > 0].mean(), "leaving out the empty part does not mend it: the other parts still have unequal numbers of targets"),
        (sums.mean(), "you divided by the number of parts; divide by the number of targets"),
        (sums.sum(), "this is the sum: divide it by the number of targets"),
        (means.sum(), "you added up the parts' means"),
    ]  # fmt: skip
    expect(found, 19 / 23, "the sum of all losses divided by the number of all targets was expected", mistakes)


@exercise(LESSON)
def next_scale(function: Callable[[float, int, bool, int], tuple[float, int]]) -> None:
    """(scale, good steps so far, was this step finite, interval) → the next (scale, good steps)."""

    def ask(*given: Any) -> tuple[float, int]:
        value = function(*given)
        try:
            scale, good = value
        except (TypeError, ValueError) as error:
            raise Mistake("two values are wanted: return scale, good") from error
        return float(scale), int(good)

    first = ask(1024.0, 3, False, 10)
    if first[0] > 1024:
        raise Mistake("after an overflow the scale must fall, not grow")
    if first[0] == 1024:
        raise Mistake("after an overflow the scale must be halved")
    if first == (512.0, 3) or first == (512.0, 4):
        raise Mistake(
            "an overflow ends the row of good steps: count from 0 again, or the scale grows back at once and overflows again"
        )
    if first != (512.0, 0):
        raise Mistake(f"after an overflow at scale 1024, (512.0, 0) is wanted, not {first}")
    if ask(1024.0, 3, True, 10) != (1024.0, 4):
        raise Mistake(
            "a good step that does not yet complete the interval leaves the scale alone, and counts: (1024.0, 4)"
        )
    full = ask(1024.0, 9, True, 10)
    if full == (1024.0, 10):
        raise Mistake("with this step ten good ones are complete: the scale doubles now, not one step later")
    if full[0] == 2048 and full[1] != 0:
        raise Mistake("after doubling, the count starts again at 0, or every further step would double the scale")
    if full != (2048.0, 0):
        raise Mistake(f"when the interval is complete, (2048.0, 0) is wanted, not {full}")
    if ask(1024.0, 9, False, 10) != (512.0, 0):
        raise Mistake("a step that is not finite is no good step, even where it would complete the interval")


@exercise(LESSON)
def lamb_step(function: Callable[[Tensor, Tensor, float], Tensor]) -> None:
    """A weight (n,), Adam's update r (n,), a learning rate → LAMB's new weight (n,)."""
    weight, update = torch.tensor([3.0, 0.0, -4.0, 1.0]), torch.tensor([0.5, -0.2, 0.1, 0.7])
    before = weight.clone()
    found = tensor(function(weight, update.clone(), 0.1), (4,))
    if not torch.equal(weight, before):
        raise Mistake("you changed the weight that you were given: return a new one, `weight - …`")
    ratio = weight.norm() / update.norm()
    mistakes = [
        (weight - 0.1 * update, "this is Adam: multiply the update by ‖w‖ / ‖r‖"),
        (weight - 0.1 / ratio * update, "the ratio stands on its head: ‖w‖ over ‖r‖"),
        (weight + 0.1 * ratio * update, "you went uphill: subtract"),
        (weight - 0.1 * weight.norm() * update, "you forgot to divide by the update's own length"),
        (weight - 0.1 * update / update.norm(), "you forgot to multiply by the weight's length"),
        (weight - 0.1 * weight.abs().sum() / update.abs().sum() * update, "these are sums of absolute values: the lengths are Euclidean, `norm()`"),
        (weight - 0.1 * weight.abs() / update.abs() * update, "the ratio is one number for the whole weight, not one for each element"),
        (-ratio * update * 0.1, "this is the step alone: return the new weight"),
    ]  # fmt: skip
    expect(found, weight - 0.1 * ratio * update, "w - lr · (‖w‖ / ‖r‖) · r was expected", mistakes)
    zero = function(torch.zeros(4), update.clone(), 0.1)
    if torch.is_tensor(zero) and torch.equal(zero.detach(), torch.zeros(4)):
        raise Mistake("a weight that is all zero would stay zero for ever: there the ratio is 1")
    expect(tensor(zero, (4,), "for a zero weight the result"), -0.1 * update, "for a weight that is all zero the ratio is 1")  # fmt: skip
    still = function(weight.clone(), torch.zeros(4), 0.1)
    if torch.is_tensor(still) and still.isnan().any():
        raise Mistake("an update that is all zero gives 0 divided by 0: there the ratio is 1 too")
    expect(tensor(still, (4,)), weight, "with no update the weight stays")


def _number(value: Any, nan: str = "the result is not a number") -> float:
    """The learner's number; Mistake where it is none."""
    if value is None:
        raise Mistake("the result is None: did you forget `return`?")
    try:
        found = float(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise Mistake(f"one number is wanted, not {type(value).__name__}") from error
    if found != found:
        raise Mistake(nan)
    return found
