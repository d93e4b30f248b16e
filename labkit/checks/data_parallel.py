"""Checks of lesson 06/03, data parallelism: `from labkit.checks import data_parallel as check`.

A learner's function is one rank's side of a ring; here it runs in a ring whose other ranks make no mistake.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from labkit.checks.exercise import Mistake, exercise, expect, given, items, number, same, tensor
from labkit.parallel.data_parallel import ring

LESSON = "06/03"


class _Ring:
    """A rank's place: `shift` notes what leaves, and gives what correct neighbours would send."""

    def __init__(self, rank: int, world: int, arrivals: Sequence[Tensor]) -> None:
        self.rank, self.world, self.arrivals, self.sent = rank, world, list(arrivals), []

    def shift(self, out: Any) -> Tensor:
        given(out, "what you shift")
        if not torch.is_tensor(out) or out.shape != self.arrivals[0].shape:
            kind = f"a tensor of shape {tuple(out.shape)}" if torch.is_tensor(out) else f"a {type(out).__name__}"
            raise Mistake(f"you shift {kind}: one chunk is sent at a time, a tensor of {len(self.arrivals[0])} numbers")
        if len(self.sent) == len(self.arrivals):
            raise Mistake(f"with {self.world} ranks, {len(self.arrivals)} shifts are enough: yours goes on after them")
        self.sent.append(out.detach().clone())
        return self.arrivals[len(self.sent) - 1].clone()

    def complete(self) -> None:
        """Mistake where fewer messages have left than others wait for."""
        if len(self.sent) < len(self.arrivals):
            raise Mistake(f"with {self.world} ranks, {len(self.arrivals)} shifts are wanted on each: yours makes {len(self.sent)}, and the others wait for ever")  # fmt: skip


def _partial(every: Tensor, rank: int, step: int) -> Tensor:
    """What rank sends in a step of the reduction; `every` is (ranks, chunks, numbers)."""
    world = len(every)
    return sum(every[(rank - back) % world, (rank - 1 - step) % world] for back in range(step + 1))


def _draw(world: int, chunks: int, each: int) -> Tensor:
    draw = torch.Generator().manual_seed(world)
    return torch.randn(world, chunks, each, generator=draw, dtype=torch.float64)


@exercise(LESSON, ring.ring_reduce)
def ring_reduce(function: Callable[[list[Tensor], Any], Tensor]) -> None:
    """A rank's chunks, its place in the ring → chunk number `rank`, summed over the ranks."""
    for world, rank in ((4, 2), (4, 0), (3, 2), (2, 1)):
        every = _draw(world, world, 2)
        group = _Ring(rank, world, [_partial(every, (rank - 1) % world, step) for step in range(world - 1)])
        chunks = [chunk.clone() for chunk in every[rank]]
        found = function(chunks, group)
        given(found)
        _sent_reducing(group, every, rank)
        group.complete()
        total, last = every[:, rank].sum(0), group.arrivals[-1]
        mistakes = [
            (last, "what arrives last has everything but this rank's own numbers: add its chunk number `rank` too"),
            (total / world, "this is the mean: the sum is wanted"),
            (every[rank, rank], "this is the rank's own chunk: what came from the left is missing in it"),
        ]  # fmt: skip
        expect(tensor(found, (2,)), total, f"on rank {rank} of {world}: chunk number {rank}, summed over all ranks, is wanted", mistakes)  # fmt: skip
        if not same(torch.stack(list(chunks)), every[rank]):
            raise Mistake("the sum is right, but the chunks that you were given have changed: a + b makes a new tensor, += does not")  # fmt: skip


def _sent_reducing(group: _Ring, every: Tensor, rank: int) -> None:
    world = len(every)
    for step, out in enumerate(group.sent):
        wanted, own = (rank - 1 - step) % world, every[rank]
        message = f"in step {step} rank {rank} of {world} sends the wrong numbers: chunk number {wanted} is wanted, (rank − 1 − step) % N, with what has been added to it so far"  # fmt: skip
        mistakes = [
            (own[rank], f"in step {step} you send the rank's own chunk, number {rank}: begin with the chunk before it, rank − 1, so that the own one comes last"),
            (group.arrivals[step - 1], "you pass on what has come without adding the rank's own numbers to it"),
            (own[wanted], "you send the rank's own numbers only: send the sum of what has come and of these"),
            (own[(rank - 1 + step) % world], "your chunk numbers go up with the step: they go down, (rank − 1 − step) % N"),
            (group.arrivals[step - 1] + own[(rank - step) % world], "you add another chunk than the one that has come: in step s the chunk number (rank − s − 2) % N arrives"),
        ]  # fmt: skip
        expect(out, _partial(every, rank, step), message, mistakes[: 5 if step else 1])


@exercise(LESSON, ring.ring_gather)
def ring_gather(function: Callable[[Tensor, Any], list[Tensor]]) -> None:
    """A rank's chunk, its place in the ring → all ranks' chunks, in the order of the ranks."""
    for world, rank in ((4, 1), (4, 3), (3, 0), (2, 1)):
        every = _draw(world, 1, 2)[:, 0]
        group = _Ring(rank, world, [every[(rank - 1 - step) % world] for step in range(world - 1)])
        message = f"a list of {world} chunks is wanted, one from each rank"
        found = items(function(every[rank].clone(), group), message)
        for step, out in enumerate(group.sent):
            wanted = f"in step {step} rank {rank} of {world} sends the wrong chunk: the one that has come in the step before is passed on"  # fmt: skip
            again = [(every[rank], "you send the rank's own chunk in every step: pass on what has come in the step before")]  # fmt: skip
            expect(out, every[(rank - step) % world], wanted, again)
        group.complete()
        if len(found) != world:
            raise Mistake(f"{message}, the rank's own among them: {len(found)} came back")
        chunks = torch.stack([tensor(chunk, (2,), "a chunk") for chunk in found])
        came = torch.stack([every[(rank - step) % world] for step in range(world)])
        mistakes = [
            (came, "the chunks stand in the order in which they came: in step s that of rank (rank − s − 1) % N arrives"),
            (came.flip(0), "the chunks stand in the order in which they came, turned round: rank 0's is the first"),
            (every[rank].expand(world, 2), "all chunks are the rank's own"),
        ]  # fmt: skip
        expect(chunks, every, f"on rank {rank} of {world} the chunks are not those of ranks 0, 1, … in this order", mistakes)  # fmt: skip


class _Zero(_Ring):
    """The same for a step of ZeRO-1. Who divides by N before the reduction meets neighbours who do so too."""

    def shift(self, out: Any) -> Tensor:
        came = super().shift(out)
        first, each = self.sent[0], len(self.sent) <= self.world - 1
        return came / self.world if each and same(first * self.world, self.first) else came


@exercise(LESSON, ring.zero1_step)
def zero1_step(function: Callable[..., Tensor]) -> None:
    """All weights, the rank's gradient, its place in the ring, update(part, mean gradient) → all new weights."""
    for world, rank, each in ((3, 1, 2), (2, 0, 4)):
        _one_step(function, world, rank, each)


def _one_step(function: Callable[..., Tensor], world: int, rank: int, each: int) -> None:
    gradients, weights = _draw(world, world, each), torch.linspace(-1, 1, world * each, dtype=torch.float64)
    mean = gradients.mean(0)  # (chunks, numbers)
    new = weights.view(world, each) - 0.1 * (torch.arange(world)[:, None] + 1) * mean
    arrivals = [_partial(gradients, (rank - 1) % world, step) for step in range(world - 1)]
    group = _Zero(rank, world, arrivals + [new[(rank - 1 - step) % world] for step in range(world - 1)])
    group.first = gradients[rank, rank - 1]
    calls: list[tuple[Tensor, Tensor]] = []

    def update(part: Tensor, gradient: Tensor) -> Tensor:
        _sized(part, gradient, weights, each)
        calls.append((part.clone(), gradient.clone()))
        return part - 0.1 * (rank + 1) * gradient

    found = function(weights.clone(), gradients[rank].flatten(), group, update)
    given(found)
    _updated(calls, weights, gradients, rank)
    group.complete()
    found = tensor(found, (world * each,), "the new weights")
    if found.dtype != weights.dtype:
        raise Mistake(f"the weights came as {weights.dtype} and go back as {found.dtype}: keep their dtype")
    mistakes = [(weights, "nothing was updated: return the gathered parts, one after the other")]
    expect(found, new.flatten(), f"other weights on rank {rank} of {world}: all ranks' new parts are wanted, in the order of the ranks", mistakes)  # fmt: skip


def _sized(part: Tensor, gradient: Tensor, weights: Tensor, each: int) -> None:
    """Mistake unless both are as long as a rank's part."""
    if len(part) == len(weights):
        raise Mistake("update got all weights: in ZeRO-1 a rank has the optimizer's states of its own part only")
    if (len(part), len(gradient)) != (each, each):
        raise Mistake(f"update got {len(part)} weights and {len(gradient)} gradients: {each} of each, the rank's own part, are wanted")  # fmt: skip


def _updated(calls: list[tuple[Tensor, Tensor]], weights: Tensor, gradients: Tensor, rank: int) -> None:
    """Mistake unless the optimizer was called once, with the rank's part and its mean gradient."""
    world, _, each = gradients.shape
    if not calls:
        raise Mistake("update was never called: it is the rank's optimizer")
    if len(calls) > 1:
        raise Mistake(f"update was called {len(calls)} times: a rank's optimizer makes one step")
    part, gradient = calls[0]
    expect(part, weights.view(world, each)[rank], f"update got other weights than part number {rank}, the rank's own")
    mistakes = [
        (gradients[:, rank].sum(0), "update got the sum of the gradients: divide by the number of ranks, or the step is N times too long"),
        (gradients[rank, rank], "update got the rank's own gradient: first the mean over all ranks, by ring_reduce"),
        (gradients[rank, rank] / world, "update got the rank's own gradient: first the mean over all ranks, by ring_reduce"),
    ]  # fmt: skip
    expect(gradient, gradients[:, rank].mean(0), f"update got another gradient than the mean of part number {rank}", mistakes)  # fmt: skip


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
