"""Who stands where: ranks as points of a (pipe, data, model) grid, and the groups that talk to one another.

The last axis moves fastest, as in the numbering of DeepSpeed's `PipeModelDataParallelTopology`: neighbours along
`model`, who talk most, have neighbouring ranks and so share a machine; neighbours along `pipe`, who talk least, stand
farthest apart.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from labkit.errors import UsageError, unknown


class Coordinate(NamedTuple):
    """A place in the grid: pipeline stage, replica of the model, part of every layer; each counted from 0."""

    pipe: int
    data: int
    model: int


AXES = Coordinate._fields


@dataclass(frozen=True)
class Topology:
    """A grid of `pipe` × `data` × `model` ranks. UsageError where a size is not a whole number of 1 or more."""

    pipe: int = 1
    data: int = 1
    model: int = 1

    def __post_init__(self) -> None:
        for axis, size in zip(AXES, self.sizes, strict=True):
            if isinstance(size, bool) or not isinstance(size, int) or size < 1:
                raise UsageError(f"topology: {axis} must be a whole number of ranks, 1 or more, not {size!r}")

    @property
    def sizes(self) -> Coordinate:
        """Ranks along each axis."""
        return Coordinate(self.pipe, self.data, self.model)

    @property
    def world(self) -> int:
        """Ranks in all."""
        return self.pipe * self.data * self.model

    def rank(self, pipe: int, data: int, model: int) -> int:
        """The rank at a coordinate; UsageError where it lies outside."""
        for axis, place, size in zip(AXES, (pipe, data, model), self.sizes, strict=True):
            if not 0 <= place < size:
                raise UsageError(f"{axis} = {place} lies outside this grid: 0 to {size - 1}")
        return (pipe * self.data + data) * self.model + model

    def coordinate(self, rank: int) -> Coordinate:
        """The place of a rank; UsageError where there is none."""
        if not 0 <= rank < self.world:
            raise UsageError(f"rank {rank} lies outside this grid of {self.world} ranks: 0 to {self.world - 1}")
        rest, model = divmod(rank, self.model)
        return Coordinate(*divmod(rest, self.data), model)

    def group(self, axis: str, rank: int) -> tuple[int, ...]:
        """The ranks that differ from `rank` along `axis` only, itself included, in the order of that axis."""
        if axis not in AXES:
            raise unknown("axis", axis, AXES)
        here = self.coordinate(rank)
        return tuple(self.rank(*here._replace(**{axis: place})) for place in range(getattr(self, axis)))

    def groups(self, axis: str) -> list[tuple[int, ...]]:
        """All groups along `axis`: every rank is in exactly one."""
        return sorted({self.group(axis, rank) for rank in range(self.world)})

    def __iter__(self) -> Iterator[Coordinate]:
        """Coordinates in the order of their ranks."""
        return map(self.coordinate, range(self.world))
