"""Checks of lesson 06/03, data parallelism: `from labkit.checks import data_parallel as check`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from labkit.checks.exercise import Mistake, exercise, expect, same, tensor

LESSON = "06/03"
Chunks = list[list[Tensor]]


def _chunks(ranks: int) -> Chunks:
    """[rank][chunk] -> a random tensor of 2 numbers."""
    draw = torch.Generator().manual_seed(ranks)
    return [[torch.randn(2, generator=draw) for _ in range(ranks)] for _ in range(ranks)]


def _copy(chunks: Chunks) -> Chunks:
    return [[chunk.clone() for chunk in row] for row in chunks]


def _ring(chunks: Chunks, step: int, shift: int = 1, way: int = 1, adds: bool = True) -> Tensor:
    """One step of a ring as (ranks, chunks, numbers)."""
    ranks, after = len(chunks), _copy(chunks)
    for rank in range(ranks):
        to, chunk = (rank + way) % ranks, (rank - step - shift) % ranks
        after[to][chunk] = chunks[rank][chunk] + (chunks[to][chunk] if adds else 0)
    return _stacked(after)


def _stacked(value: Any, ranks: int | None = None) -> Tensor:
    """The learner's list of lists as one tensor; Mistake where it is none."""
    if value is None:
        raise Mistake("the result is None: did you forget `return`?")
    ranks = ranks or len(value)
    try:
        rows = [[tensor(chunk, (2,), "a chunk") for chunk in row] for row in value]
    except TypeError as error:
        raise Mistake("the result should be a list with a list of chunks for each rank, as you were given") from error
    if len(rows) != ranks or any(len(row) != ranks for row in rows):
        raise Mistake(f"the result should be {ranks} lists of {ranks} chunks, as you were given")
    return torch.stack([torch.stack(row) for row in rows])


@exercise(LESSON)
def ring_step(function: Callable[[Chunks, int], Chunks]) -> None:
    """chunks[rank][chunk], step s → the same after rank r's chunk (r − 1 − s) mod N was added at rank r + 1, for all r."""
    for step in (0, 1):
        given = _chunks(4)
        before = _copy(given)
        found = _stacked(function(given, step), 4)
        mistakes = [
            (_stacked(before), "nothing has moved: each rank's chunk must be added at its right neighbour"),
            (_ring(before, step, adds=False), "the chunk replaces what the neighbour had: in a reduce-scatter it is added"),
            (_ring(before, step, way=-1), "you sent to the left: rank r sends to rank (r + 1) % N"),
            (_ring(before, 0), "every step moves the same chunks: the number depends on the step, (r − 1 − s) % N"),
            (_ring(before, step, shift=0), "the chunk is one too far: rank r sends number (r − 1 − s) % N; r − s is the all-gather's"),
            (_ring(before, -step), "your chunk numbers go up with the step: they go down, (r − 1 − s) % N"),
        ]  # fmt: skip
        message = (
            f"other values in step {step}: rank r's chunk (r − 1 − s) % N is added to rank r + 1's, the rest stays"
        )
        expect(found, _ring(before, step), message, mistakes)
        if not same(_stacked(given), _stacked(before)):
            raise Mistake(
                "the result is right, but your function changed the chunks it was given: add with a + b, not +="
            )
    chunks = _chunks(3)
    total = torch.stack([_stacked(chunks)[:, chunk].sum(0) for chunk in range(3)])
    for step in range(2):
        chunks = function(chunks, step)
    own = torch.stack([_stacked(chunks, 3)[rank, rank] for rank in range(3)])
    expect(own, total, "with 3 ranks, after N − 1 steps, rank r's chunk r should be the sum of all: N is len(chunks)")


@exercise(LESSON)
def shard(function: Callable[[Tensor, int, int], Tensor]) -> None:
    """A row of numbers, a rank, the number of ranks N → the rank's part of the row padded with zeros to a multiple of N."""
    row = torch.arange(1.0, 11.0)
    padded = torch.cat([row, torch.zeros(2)])
    for rank in (0, 1, 3):
        found = function(row.clone(), rank, 4)
        if torch.is_tensor(found) and found.ndim == 1 and len(found) != 3:
            _wrong_length(found, row, rank)
        found = tensor(found, (3,), f"of 10 numbers and 4 ranks, the part of rank {rank}")
        mistakes = [
            (padded[rank::4], "you dealt the numbers out like cards: a part is a run of neighbours, so that it can be sent in one piece"),
            (torch.cat([torch.zeros(2), row])[3 * rank : 3 * rank + 3], "the zeros belong at the end, not at the beginning"),
            (padded.flip(0)[3 * rank : 3 * rank + 3], "your parts run from the end: rank 0 has the beginning"),
            (torch.cat([row, row[:2]])[3 * rank : 3 * rank + 3], "you filled up with numbers of the row: pad with zeros"),
            (torch.cat([row, row[-1:], row[-1:]])[3 * rank : 3 * rank + 3], "you filled up with the last number: pad with zeros"),
        ]  # fmt: skip
        expect(found, padded[3 * rank : 3 * rank + 3], "other values: numbers rank·s … (rank + 1)·s of the padded row", mistakes)  # fmt: skip
    whole = tensor(function(row[:8].clone(), 1, 2), (4,), "of 8 numbers and 2 ranks, the part of rank 1")
    expect(whole, row[4:8], "8 numbers for 2 ranks need no padding: rank 1 has the second half")


def _wrong_length(found: Tensor, row: Tensor, rank: int) -> None:
    if len(found) == 2:
        raise Mistake(
            "a part of 2 numbers: you rounded 10/4 down, and the last numbers would belong to nobody; round up"
        )
    if len(found) == 1 and rank == 3 and found[0] == row[-1]:
        raise Mistake("the last rank's part is shorter: pad the row with zeros first, so that all parts are equal")
    if len(found) == 12 or len(found) == 10:
        raise Mistake("this is the whole row: return the part of one rank")


@exercise(LESSON)
def zero1_step(function: Callable[[list[Tensor], list[Tensor], Callable[[Tensor, Tensor, int], Tensor]], Any]) -> None:
    """Each rank's weights (alike), each rank's gradients, update(part, gradient, rank) → each rank's new weights.

    `update` is a rank's optimizer: it takes the rank's part of the weights and of the mean gradient.
    """
    draw, ranks = torch.Generator().manual_seed(5), 3
    weights = torch.randn(6, generator=draw)
    gradients = [torch.randn(6, generator=draw) for _ in range(ranks)]
    calls: list[tuple[int, int]] = []

    def update(part: Tensor, gradient: Tensor, rank: int) -> Tensor:
        calls.append((rank, len(part)))
        if part.shape != gradient.shape:
            raise Mistake(f"update got {len(part)} weights and {len(gradient)} gradients: both are the rank's own part")
        return part - 0.1 * (rank + 1) * gradient

    found = function([weights.clone() for _ in range(ranks)], [one.clone() for one in gradients], update)
    _check_calls(calls, ranks)
    if found is None:
        raise Mistake("the result is None: did you forget `return`?")
    if not isinstance(found, list | tuple) or len(found) != ranks:
        raise Mistake(f"the result should be a list of {ranks} tensors: every rank's weights after the step")
    mean, total = sum(gradients) / ranks, sum(gradients)
    rates = torch.tensor([0.1, 0.1, 0.2, 0.2, 0.3, 0.3])
    own = torch.cat([gradients[rank][2 * rank : 2 * rank + 2] for rank in range(ranks)])
    for rank, one in enumerate(found):
        one = tensor(one, (6,), f"the weights of rank {rank}")
        part = slice(2 * rank, 2 * rank + 2)
        alone = weights.clone()
        alone[part] = (weights - rates * mean)[part]
        mistakes = [
            (weights, "nothing was updated"),
            (weights - rates * total, "you added the gradients up: divide by the number of ranks, or the step is N times too long"),
            (weights - rates * own, "each rank used its own gradient only: first the mean over all ranks (reduce-scatter)"),
            (alone, "each rank has updated its own part, but has the others' old ones: gather all parts (all-gather)"),
            (torch.cat([(weights - rates * mean)[part], weights[2:]]), "the gathered parts are in the wrong places"),
        ]  # fmt: skip
        expect(one, weights - rates * mean, f"other values on rank {rank}: wanted are all ranks' updated parts, in order", mistakes)  # fmt: skip


def _check_calls(calls: list[tuple[int, int]], ranks: int) -> None:
    if not calls:
        raise Mistake("update was never called: it is the rank's optimizer")
    if any(size == 6 for _, size in calls):
        raise Mistake("update got all 6 weights: in ZeRO-1 a rank has the optimizer's states of its own part only")
    if len(calls) > ranks:
        raise Mistake(f"update was called {len(calls)} times: once by each of the {ranks} ranks")
    if sorted(rank for rank, _ in calls) != list(range(ranks)):
        raise Mistake(f"update was called by ranks {[rank for rank, _ in calls]}: once by each of {list(range(ranks))}")


@exercise(LESSON)
def bytes_a_parameter(function: Callable[[int, int], float]) -> None:
    """A ZeRO stage (0 to 3) and the number of ranks → bytes that a rank keeps of each parameter (mixed-precision Adam)."""
    for ranks in (4, 2, 64):
        found = [_number(function(stage, ranks)) for stage in range(4)]
        right = [16, 4 + 12 / ranks, 2 + 14 / ranks, 16 / ranks]
        mistakes = [
            ([8, 4 + 4 / ranks, 2 + 6 / ranks, 8 / ranks], "your optimizer has 4 bytes: it keeps three fp32 numbers, the master weight and two means"),
            ([12, 4 + 8 / ranks, 2 + 10 / ranks, 12 / ranks], "your optimizer has 8 bytes: the fp32 master weight is missing"),
            ([16 / ranks] * 4, "everything is cut in every stage: stage 0 cuts nothing, stage 1 the optimizer only"),
            ([16, 4 + 12 / ranks, 4 + 12 / ranks, 16 / ranks], "stage 2 cuts the gradients too"),
            ([16, 4 + 12 / ranks, 2 + 14 / ranks, 2 + 14 / ranks], "stage 3 cuts the weights too"),
            ([16, 2 + 14 / ranks, 16 / ranks, 16 / ranks], "you are one stage ahead: stage 1 cuts the optimizer, 2 also the gradients, 3 also the weights"),
            ([16, 16 / 4, 16 / 8, 16 / ranks], "4 and 8 times less are the limits for many ranks, not what these ranks keep"),
            ([16, 4 + 12, 2 + 14, 16], "the number of ranks plays no part in yours: what is cut is divided by it"),
        ]  # fmt: skip
        message = f"with {ranks} ranks stages 0 to 3 should keep {', '.join(f'{value:g}' for value in right)} bytes"
        expect(found, right, message, mistakes)


def _number(value: Any) -> float:
    """The learner's answer as a plain number; Mistake where it is none."""
    if value is None:
        raise Mistake("the result is None: did you forget `return`? (every stage from 0 to 3 needs an answer)")
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise Mistake(f"the result should be one number, not {type(value).__name__}") from error
