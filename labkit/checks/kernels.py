"""Checks of lesson 06/02, kernels: `from labkit.checks import kernels as check`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from labkit.checks.exercise import Mistake, exercise, expect, tensor

LESSON = "06/02"


@exercise(LESSON)
def warp_sectors(function: Callable[[int, int], int]) -> None:
    """(stride in elements, bytes of an element) → sectors of 32 bytes that 32 lanes touch, from address 0 on."""
    found = [_count(function(stride, size)) for stride, size in ((1, 4), (1, 2), (2, 4), (40, 4))]
    if found[0] == 32 and found[1] == 32:
        raise Mistake("you count a sector a lane: neighbours share one, and a shared sector is moved once")
    expect(found[0], 4, "32 neighbours of 4 bytes are 128 bytes: 4 sectors were expected for stride 1", [
        (128, "these are bytes: divide by the 32 of a sector"),
        (1, "one line of 128 bytes is 4 sectors: count sectors of 32 bytes"),
        (3, "the last sector is missing: the number of different `address // 32`, or the last one plus 1"),
        (5, "one too many: the last lane's first byte is 124, which is in sector 3, the fourth"),
    ])  # fmt: skip
    expect(found[1], 2, "32 neighbours of 2 bytes are 64 bytes: 2 sectors", [(4, "the size of an element has no effect in yours")])  # fmt: skip
    expect(found[2], 8, "with stride 2 the lanes spread over 256 bytes: 8 sectors", [
        (4, "the stride has no effect in yours, or you counted only the bytes asked for: a sector moves whole"),
        (16, "you multiplied by the size twice, or by the stride twice"),
    ])  # fmt: skip
    expect(found[3], 32, "far apart, each lane has a sector of its own and no more: 32", [
        (160, "you divided the whole span by 32: where lanes are more than a sector apart, sectors between them are left alone"),
        (156, "you divided the whole span by 32: where lanes are more than a sector apart, sectors between them are left alone"),
    ])  # fmt: skip
    expect(_count(function(0, 4)), 1, "with stride 0 all lanes read the same element: 1 sector")
    for stride in range(12):
        for size in (2, 4, 8):
            right = len({lane * stride * size // 32 for lane in range(32)})
            expect(_count(function(stride, size)), right, f"for stride {stride} and {size} bytes, {right} sectors were expected")  # fmt: skip


@exercise(LESSON)
def bank_passes(function: Callable[[int], int]) -> None:
    """Stride in words → passes of shared memory (32 banks of one word) for 32 lanes."""
    found = [_count(function(stride)) for stride in (1, 2, 32, 33)]
    mistakes = [
        ([32, 16, 1, 32], "these are the banks in use: the passes are how many lanes queue at the busiest one"),
        ([1, 2, 32, 33], "the stride itself is right only where it divides 32: lanes come round to the same bank after 32 / gcd(stride, 32)"),
        ([1, 2, 1, 2], "gcd of the wrong pair: stride and the number of banks, 32"),
    ]  # fmt: skip
    expect(found, [1, 2, 32, 1], f"for strides 1, 2, 32, 33 the passes are 1, 2, 32, 1; yours are {found}", mistakes)
    expect(_count(function(3)), 1, "an odd stride has no conflict: 3 and 32 have no common divisor", [
        (3, "the stride itself is right only where it divides 32")])  # fmt: skip
    expect(_count(function(12)), 4, "with stride 12 lanes 0, 8, 16, 24 meet in bank 0: 4 passes")
    expect(_count(function(0)), 1, "with stride 0 all lanes want the same word, and one pass gives it to all of them", [
        (32, "lanes that want the same word do not queue: one pass gives it to all. Stride 0 is 1 pass"),
        (0, "one pass is needed even where all want the same word")])  # fmt: skip
    for stride in range(70):
        right = math.gcd(stride, 32) if stride else 1
        expect(_count(function(stride)), right, f"for stride {stride}, {right} was expected")


@exercise(LESSON)
def bytes_moved(
    function: Callable[[Sequence[tuple[Sequence[str], Sequence[str]]], Mapping[str, int], set[str]], tuple[int, int]],
) -> None:
    """Steps [(reads, writes), …], bytes of each tensor, names needed afterwards → (bytes one by one, bytes fused)."""
    steps = [(("x", "bias"), ("a",)), (("a",), ("b", "mask")), (("b", "x"), ("z",)), (("z", "gain"), ("y",))]
    sizes = {"x": 1000, "bias": 10, "a": 1000, "b": 1000, "mask": 250, "z": 1000, "gain": 10, "y": 1000}
    one, fused = _pair(function([(tuple(r), tuple(w)) for r, w in steps], dict(sizes), {"y", "z"}))
    expect(one, 9270, "one kernel a step: add up the sizes of all reads and all writes of every step", [
        (5020, "these are the reads alone: writes move bytes too"),
        (4250, "these are the writes alone: reads move bytes too"),
        (5270, "each tensor counts once in yours: without fusion every step that reads it moves it again"),
    ])  # fmt: skip
    expect(fused, 3020, "fused: what no step makes is read once, and what is needed afterwards is written once", [
        (9270, "fused is the same as unfused here: leave out what only lies between two steps"),
        (5270, "what lies between steps is still counted: in one kernel it stays in registers"),
        (4020, "x is read by two steps, and you counted it twice: one kernel reads it once"),
        (2020, "only the last result is counted as written: z is needed afterwards too"),
        (1020, "these are the reads: the results are missing"),
        (2000, "these are the writes: what comes from outside is missing"),
    ])  # fmt: skip
    alone = _pair(function([(("p",), ("q",))], {"p": 7, "q": 5}, {"q"}))
    expect(alone, (12, 12), f"a single step has nothing to fuse: (12, 12) was expected, not {alone}")


@exercise(LESSON)
def online(function: Callable[[float, float, Tensor], tuple[Any, Any]]) -> None:
    """(maximum so far, sum so far of exp(x - maximum), next values (n,)) → both after these values."""
    start, part = (3.0, 1.5), torch.tensor([1.0, 5.0, 4.0], dtype=torch.float64)
    most, total = _state(function(*start, part.clone()))
    added = float((part - 5).exp().sum())
    expect(most, 5.0, "the new maximum is the larger of the old one and the largest new value: 5 here", [
        (3.0, "the maximum did not move: compare it with the largest new value")])  # fmt: skip
    expect(total, 1.5 * math.exp(-2) + added, "old sum, brought to the new maximum, plus exp(x - new maximum) of the new values", [
        (1.5 + added, "the old sum is relative to the old maximum: multiply it by exp(old - new) before you add"),
        (1.5 * math.exp(2) + added, "the sign is turned round: multiply the old sum by exp(old - new), which is at most 1"),
        (added, "the old sum is lost"),
        (1.5 + float((part - 3).exp().sum()), "new values are taken relative to the old maximum: that overflows when a large one comes. Use the new maximum"),
        (1.5 * math.exp(-2) + float(part.exp().sum()), "take the new maximum from the new values before exp"),
    ])  # fmt: skip
    most, total = _state(function(9.0, 1.5, part.clone()))
    expect(most, 9.0, "where nothing larger comes, the maximum stays: 9 here", [(5.0, "you took the new values' maximum: the old one may be larger")])  # fmt: skip
    expect(total, 1.5 + float((part - 9).exp().sum()), "right where a larger value comes, and wrong where none does")
    most, total = _state(function(-math.inf, 0.0, part.clone()))
    expect(total, added, "a row begins with maximum -inf and sum 0: your function must be able to start there")
    row = torch.randn(4096, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * 200
    state = (-math.inf, 0.0)
    for piece in row.split(1000):
        state = _state(function(*state, piece))
    expect(state[0] + math.log(state[1]), row.logsumexp(0), "over a long row of large numbers the sum goes wrong")


def _count(value: Any) -> int:
    """The learner's whole number."""
    if value is None:
        raise Mistake("the result is None: did you forget `return`?")
    try:
        found = float(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise Mistake(f"one number is wanted, not {type(value).__name__}") from error
    if found != found or found != int(found):
        raise Mistake(f"a whole number is wanted, not {found:g}: use // or count different values")
    return int(found)


def _pair(value: Any) -> tuple[int, int]:
    if value is None:
        raise Mistake("the result is None: did you forget `return`?")
    try:
        first, second = value
    except (TypeError, ValueError) as error:
        raise Mistake("two numbers are wanted: return one_by_one, fused") from error
    return _count(first), _count(second)


def _state(value: Any) -> tuple[float, float]:
    if value is None:
        raise Mistake("the result is None: did you forget `return`?")
    try:
        most, total = (float(part) for part in value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise Mistake("two numbers are wanted: return maximum, total") from error
    tensor(torch.tensor([most]), (1,), "the maximum")
    tensor(torch.tensor([total]), (1,), "the sum")
    return most, total
