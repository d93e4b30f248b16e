"""Checks of lesson 06/03, data parallelism: `from labkit.checks import data_parallel as check`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from labkit.checks.exercise import Mistake, exercise, expect, given, number, same, tensor

LESSON = "06/03"
Chunks = list[list[Tensor]]
Update = Callable[[Tensor, Tensor, int], Tensor]


def _ring_step(
    chunks: Chunks, step: int, shift: int = 1, way: int = 1, adds: bool = True, stays: bool = True,
    senders: int | None = None, keeps: bool = False,
) -> Chunks:  # fmt: skip
    """One step of a ring, right as it stands; each option is a mistake to make."""
    ranks, after = len(chunks), [list(row) for row in chunks]
    for rank in range(senders or ranks):
        to, chunk = (rank + way) % ranks, (rank - step - shift) % ranks
        after[rank if keeps else to][chunk] = chunks[rank][chunk] + (chunks[to][chunk] if adds else 0)
        if not stays:
            after[rank][chunk] = torch.zeros(2)
    return after


@exercise(LESSON, _ring_step)
def ring_step(function: Callable[[Chunks, int], Chunks]) -> None:
    """chunks[rank][chunk], step s → the same after rank r's chunk (r − 1 − s) mod N was added at rank r + 1, for all r."""
    for step in range(3):
        chunks = _chunks(4)
        before, rows = [[chunk.clone() for chunk in row] for row in chunks], [list(row) for row in chunks]
        found = _stacked(function(chunks, step), 4)
        mistakes = [
            (before, "nothing has moved: each rank's chunk must be added at its right neighbour"),
            (_ring_step(before, step, adds=False), "the chunk replaces what the neighbour had: in a reduce-scatter it is added"),
            (_ring_step(before, step, way=-1), "you sent to the left: rank r sends to rank (r + 1) % N"),
            (_ring_step(before, 0), "every step moves the same chunks: the number depends on the step, (r − 1 − s) % N"),
            (_ring_step(before, step, shift=0), "the chunk is one too far: rank r sends number (r − 1 − s) % N; r − s is the all-gather's"),
            (_ring_step(before, -step), "your chunk numbers go up with the step: they go down, (r − 1 − s) % N"),
            (_ring_step(before, step, stays=False), "the sender has lost its chunk: a copy is sent, so only the receiver's chunk changes"),
            (_ring_step(before, step, senders=3), "the last rank has sent nothing: its right neighbour is rank 0, (r + 1) % N"),
            (_ring_step(before, step, keeps=True), "the sum stands at the sender: the right neighbour adds the chunk to its own"),
        ]  # fmt: skip
        message = f"other values in step {step}: rank r's chunk (r − 1 − s) % N is added to rank r + 1's, the rest stays"  # fmt: skip
        expect(found, _ring_step(before, step), message, mistakes)
        if not same(rows, before):
            raise Mistake("the result is right, but the tensors that you were given have changed: a + b makes a new one, += does not")  # fmt: skip
        if not same(_stacked(chunks, 4), before):
            raise Mistake("the result is right, but the lists that you were given have changed: copy each row, list(row)")  # fmt: skip
    chunks = _chunks(3)
    total = torch.stack([_stacked(chunks, 3)[:, chunk].sum(0) for chunk in range(3)])
    for step in range(2):
        chunks = function(chunks, step)
    own = torch.stack([_stacked(chunks, 3)[rank, rank] for rank in range(3)])
    expect(own, total, "with 3 ranks, after N − 1 steps, rank r's chunk r should be the sum of all: N is len(chunks)")


def _chunks(ranks: int) -> Chunks:
    """[rank][chunk] -> a random tensor of 2 numbers."""
    draw = torch.Generator().manual_seed(ranks)
    return [[torch.randn(2, generator=draw) for _ in range(ranks)] for _ in range(ranks)]


def _stacked(value: Any, ranks: int) -> Tensor:
    """The learner's list of lists as one tensor; Mistake where it is none."""
    given(value)
    try:
        rows = [[tensor(chunk, (2,), "a chunk") for chunk in row] for row in value]
    except TypeError as error:
        raise Mistake("the result should be a list with a list of chunks for each rank, as you were given") from error
    if len(rows) != ranks or any(len(row) != ranks for row in rows):
        raise Mistake(f"the result should be {ranks} lists of {ranks} chunks, as you were given")
    return torch.stack([torch.stack(row) for row in rows])


def _shard(numbers: Tensor, rank: int, ranks: int) -> Tensor:
    size = -(-len(numbers) // ranks)
    return functional.pad(numbers, (0, size * ranks - len(numbers)))[rank * size : (rank + 1) * size]


@exercise(LESSON, _shard)
def shard(function: Callable[[Tensor, int, int], Tensor]) -> None:
    """A row of numbers, a rank, the number of ranks N → the rank's part of the row padded with zeros to a multiple of N."""
    for length, ranks in ((10, 4), (9, 4), (8, 2), (2, 4)):
        row = torch.arange(1.0, length + 1)
        for rank in range(ranks):
            _one_shard(function(row.clone(), rank, ranks), row, rank, ranks)
    half = function(torch.ones(3, dtype=torch.float16), 1, 2)
    tensor(half, (2,), "of 3 numbers and 2 ranks, the part of rank 1")
    if half.dtype != torch.float16:
        raise Mistake(f"of a row of float16 your part is {half.dtype}, and takes more bytes: make zeros of the row's own kind, numbers.new_zeros(…)")  # fmt: skip


def _one_shard(found: Any, row: Tensor, rank: int, ranks: int) -> None:
    size = -(-len(row) // ranks)
    if torch.is_tensor(found) and found.ndim == 1 and len(found) != size:
        _wrong_length(found, row, rank, ranks)
    found = tensor(found, (size,), f"of {len(row)} numbers and {ranks} ranks, the part of rank {rank}")
    more, part = size * ranks - len(row), slice(rank * size, (rank + 1) * size)
    padded = functional.pad(row, (0, more))
    mistakes = [
        (padded[rank::ranks], "you dealt the numbers out like cards: a part is a run of neighbours, so that it can be sent in one piece"),
        (functional.pad(row, (more, 0))[part], "the zeros belong at the end, not at the beginning"),
        (padded.flip(0)[part], "your parts run from the end: rank 0 has the beginning"),
        (torch.cat([row, row])[part], "you filled up with numbers of the row: pad with zeros"),
        (torch.cat([row, row[-1:].expand(more)])[part], "you filled up with the last number: pad with zeros"),
    ]  # fmt: skip
    expect(found, padded[part], f"other values: of {len(row)} numbers and {ranks} ranks, rank {rank} has numbers rank·s … (rank + 1)·s of the padded row, s = {size}", mistakes)  # fmt: skip


def _wrong_length(found: Tensor, row: Tensor, rank: int, ranks: int) -> None:
    down, size = len(row) // ranks, -(-len(row) // ranks)
    if down < size and same(found, row[rank * down : (rank + 1) * down]):
        raise Mistake(f"a part of {down} numbers: {ranks} of them hold {down * ranks} of the {len(row)}, and the last numbers belong to nobody. Round {len(row)}/{ranks} up")  # fmt: skip
    if len(found) in (len(row), size * ranks):
        raise Mistake("this is the whole row: return the part of one rank")
    if len(found) < size and same(found, row[len(row) - len(found) :]):
        raise Mistake("the last rank's part is shorter: pad the row with zeros first, so that all parts are equal")
    if len(found) == down and same(found, torch.tensor_split(row, ranks)[rank]):
        raise Mistake("the parts differ in length by one: pad the row with zeros first, so that all parts are equal")


def _zero1_step(weights: list[Tensor], gradients: list[Tensor], update: Update) -> list[Tensor]:
    ranks = len(weights)
    means = (sum(gradients) / ranks).chunk(ranks)
    parts = [update(weights[rank].chunk(ranks)[rank], means[rank], rank) for rank in range(ranks)]
    return [torch.cat(parts) for _ in range(ranks)]


@exercise(LESSON, _zero1_step)
def zero1_step(function: Callable[[list[Tensor], list[Tensor], Update], list[Tensor]]) -> None:
    """Each rank's weights (alike), each rank's gradients, update(part, gradient, rank) → each rank's new weights.

    `update` is a rank's optimizer: it takes the rank's part of the weights and of the mean gradient.
    """
    for ranks, each in ((3, 2), (2, 4)):
        _one_step(function, ranks, each)


def _one_step(function: Callable[..., Any], ranks: int, each: int) -> None:
    draw, size = torch.Generator().manual_seed(5), ranks * each
    weights, *gradients = torch.randn(ranks + 1, size, generator=draw, dtype=torch.float64)
    calls: list[tuple[int, int, int]] = []

    def update(part: Tensor, gradient: Tensor, rank: int) -> Tensor:
        calls.append((int(rank), len(part), len(gradient)))
        return part - 0.1 * (int(rank) + 1) * gradient if len(part) == len(gradient) else part

    found = function([weights.clone() for _ in range(ranks)], [one.clone() for one in gradients], update)
    given(found)
    _check_calls(calls, ranks, each)
    if not isinstance(found, list | tuple) or len(found) != ranks:
        raise Mistake(f"the result should be a list of {ranks} tensors: every rank's weights after the step")
    for rank, one in enumerate(found):
        if torch.is_tensor(one) and one.shape == (each,):
            raise Mistake(f"rank {rank} has its own part only, {each} of {size} weights: gather the parts of all ranks (all-gather)")  # fmt: skip
        one = tensor(one, (size,), f"the weights of rank {rank}")
        if one.dtype != weights.dtype:
            raise Mistake(f"the weights came as {weights.dtype} and go back as {one.dtype}: keep their dtype")
        right, mistakes = _after(weights, gradients, rank)
        expect(one, right, f"other values on rank {rank}: wanted are all ranks' updated parts, in order", mistakes)


def _after(weights: Tensor, gradients: list[Tensor], rank: int) -> tuple[Tensor, list[tuple[Tensor, str]]]:
    """A rank's weights after the step, and what they are after a step with a mistake in it."""
    ranks, size = len(gradients), len(weights)
    each = size // ranks
    mean, total = sum(gradients) / ranks, sum(gradients)
    rates = 0.1 * (torch.arange(size) // each + 1)
    own = torch.cat([gradients[owner][owner * each : (owner + 1) * each] for owner in range(ranks)])
    right, part = weights - rates * mean, slice(rank * each, (rank + 1) * each)
    alone = weights.clone()
    alone[part] = right[part]
    return right, [
        (weights, "nothing was updated"),
        (weights - rates * total, "you added the gradients up: divide by the number of ranks, or the step is N times too long"),
        (weights - rates * own, "each rank used its own gradient only: first the mean over all ranks (reduce-scatter)"),
        (weights - rates * gradients[0], "you used the gradient of rank 0 only: first the mean over all ranks (reduce-scatter)"),
        (alone, "each rank has updated its own part, but has the others' old ones: gather all parts (all-gather)"),
        (right.reshape(ranks, each).flip(0).flatten(), "the gathered parts are in the wrong order: rank 0's comes first"),
    ]  # fmt: skip


def _check_calls(calls: list[tuple[int, int, int]], ranks: int, each: int) -> None:
    if not calls:
        raise Mistake("update was never called: it is the rank's optimizer")
    for rank, part, gradient in calls:
        if part == ranks * each:
            raise Mistake(f"update got all {part} weights: in ZeRO-1 a rank has the optimizer's states of its own part only")  # fmt: skip
        if (part, gradient) != (each, each):
            raise Mistake(f"update of rank {rank} got {part} weights and {gradient} gradients: {each} of each, the rank's own part, are wanted")  # fmt: skip
    if len(calls) > ranks:
        raise Mistake(f"update was called {len(calls)} times: once by each of the {ranks} ranks")
    if sorted(rank for rank, _, _ in calls) != list(range(ranks)):
        raise Mistake(f"update was called by ranks {[rank for rank, _, _ in calls]}: once by each of {list(range(ranks))}")  # fmt: skip


def _bytes_per_parameter(stage: int, ranks: int) -> float:
    return sum(size / (ranks if stage >= first else 1) for size, first in ((12, 1), (2, 2), (2, 3)))


@exercise(LESSON, _bytes_per_parameter)
def bytes_per_parameter(function: Callable[[int, int], float]) -> None:
    """A ZeRO stage (0 to 3) and the number of ranks → bytes that a rank keeps of each parameter (mixed-precision Adam)."""
    for ranks in (4, 2, 64, 3, 1):
        found = [number(function(stage, ranks), f"the result for stage {stage}") for stage in range(4)]
        right = [16, 4 + 12 / ranks, 2 + 14 / ranks, 16 / ranks]
        mistakes = [
            ([8, 4 + 4 / ranks, 2 + 6 / ranks, 8 / ranks], "your optimizer has 4 bytes: it keeps three fp32 numbers, the master weight and two means"),
            ([12, 4 + 8 / ranks, 2 + 10 / ranks, 12 / ranks], "your optimizer has 8 bytes: the fp32 master weight is missing"),
            ([16, 8 + 8 / ranks, 4 + 12 / ranks, 16 / ranks], "these are the bytes of training in fp32 (4, 4 and 8): in mixed precision weight and gradient have 2, the optimizer 12"),
            ([16 / ranks] * 4, "everything is cut in every stage: stage 0 cuts nothing, stage 1 the optimizer only"),
            ([16, 4 + 12 / ranks, 4 + 12 / ranks, 16 / ranks], "stage 2 cuts the gradients too"),
            ([16, 4 + 12 / ranks, 2 + 14 / ranks, 2 + 14 / ranks], "stage 3 cuts the weights too"),
            ([16, 2 + 14 / ranks, 16 / ranks, 16 / ranks], "you are one stage ahead: stage 1 cuts the optimizer, 2 also the gradients, 3 also the weights"),
            ([16, 4 + 12 / ranks, 2 + 2 / ranks, 2 / ranks], "from stage 2 on the optimizer's share is missing: a stage cuts what the stages before it cut, and more"),
            ([16, 4, 2, 16 / ranks], "4 and 8 times less are the limits for many ranks, not what these ranks keep"),
            ([16] * 4, "the number of ranks plays no part in yours: what is cut is divided by it"),
            ([16, 4 + 12 // ranks, 2 + 2 // ranks + 12 // ranks, 2 * (2 // ranks) + 12 // ranks], "// rounds each share down to whole bytes: divide with /"),
            ([16, 4 + 12 // ranks, 2 + 14 // ranks, 16 // ranks], "// rounds what is cut down to whole bytes: divide with /"),
        ]  # fmt: skip
        message = f"with {ranks} ranks stages 0 to 3 should keep {', '.join(f'{value:g}' for value in right)} bytes"
        expect(found, right, message, mistakes)
