"""The ring's two loops and ZeRO-1 between them, one rank's side of each: what lesson 06/03 lets its learners write.

`group` is a `Communicator`, or anything with `rank`, `world` and `shift(tensor)`, which sends to the rank on the right
and gives what has come from the left. `Communicator` itself runs the same loops in place (Patarasuk & Yuan 2009, §3).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def ring_reduce(chunks: list[Tensor], group: Any) -> Tensor:
    """This rank's N chunks, of one shape → chunk number `rank` summed over all ranks, after N−1 shifts."""
    partial = chunks[group.rank - 1]
    for step in range(group.world - 1):
        partial = group.shift(partial) + chunks[(group.rank - step - 2) % group.world]
    return partial


def ring_gather(chunk: Tensor, group: Any) -> list[Tensor]:
    """This rank's chunk → all ranks' chunks in the order of the ranks, after N−1 shifts."""
    chunks = [chunk] * group.world
    for step in range(1, group.world):
        chunk = group.shift(chunk)
        chunks[(group.rank - step) % group.world] = chunk
    return chunks


def zero1_step(weights: Tensor, gradient: Tensor, group: Any, update: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """All weights (numbers,) and this rank's gradient of them, N divides the numbers → all new weights.

    `update(part, gradient)` is the optimizer of this rank's part, given the mean gradient (ZeRO, §5).
    """
    mean = ring_reduce(list(gradient.chunk(group.world)), group) / group.world
    return torch.cat(ring_gather(update(weights.chunk(group.world)[group.rank], mean), group))
