"""The map of a 3-D topology: where every rank stands, whom it talks to, and which of these talks leave a machine."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ipywidgets import Dropdown, IntSlider

from labkit.errors import UsageError, unknown
from labkit.parallel.model_parallel.topology import AXES, Topology
from labkit.widgets.boxes import colour, count, escape, frame, heading, ink, side_by_side, table
from labkit.widgets.shown import Explorer, Picture, Shown, beside, look

MOST = 8  # ranks along an axis
TALK = {
    "pipe": "hidden vectors and their gradients, to the neighbour",
    "data": "the sum of all gradients, once a step",
    "model": "four sums in every block, for every micro-batch",
}
CHOSEN, MEMBER = colour(1), colour(4)


@dataclass(frozen=True)
class Map:
    """A grid on machines of `per_machine` ranks each: one `rank` looked at, and its group along `axis`."""

    grid: Topology
    per_machine: int
    axis: str
    rank: int

    @property
    def group(self) -> tuple[int, ...]:
        """The ranks that `rank` talks to along `axis`, itself included."""
        return self.grid.group(self.axis, self.rank)

    def machine(self, rank: int) -> int:
        """The machine that a rank is on: they are filled in the order of ranks."""
        return rank // self.per_machine

    def crossing(self, axis: str) -> tuple[int, int]:
        """How many of the groups along `axis` reach over more than one machine, and how many there are."""
        groups = self.grid.groups(axis)
        return sum(len({self.machine(rank) for rank in group}) > 1 for group in groups), len(groups)


def compute(sizes: tuple[int, int, int], per_machine: int, axis: str, rank: int) -> Map:
    """The map of a (pipe, data, model) grid. UsageError for sizes below 1 or above 8, an unknown axis, no such rank."""
    grid = Topology(*sizes)
    if max(sizes) > MOST:
        raise UsageError(f"at most {MOST} ranks along an axis can be shown here, not {' × '.join(map(str, sizes))}")
    if axis not in AXES:
        raise unknown("axis", axis, AXES)
    if per_machine < 1:
        raise UsageError(f"a machine must have room for 1 rank or more, not {per_machine}")
    grid.coordinate(rank)  # says where it lies outside
    return Map(grid, per_machine, axis, rank)


def draw(found: Map) -> Picture:
    """One grid a pipeline stage, data down and model across; below, the three groups of the chosen rank."""
    grid, place = found.grid, found.grid.coordinate(found.rank)
    stages = [_stage(found, pipe) for pipe in range(grid.pipe)]
    title = f"{grid.pipe} × {grid.data} × {grid.model} = {count(grid.world, 'rank')}"
    more = f"on {count(found.machine(grid.world - 1) + 1, 'machine')}. In a cell: the rank, and its machine. "
    where = f"(pipe {place.pipe}, data {place.data}, model {place.model})"
    marks = f"★ rank {found.rank} = {where}; ● its group along {found.axis}"
    return Picture(frame(heading(title, escape(more + marks)), side_by_side(*stages), _groups(found)), _alt(found))


def _stage(found: Map, pipe: int) -> str:
    """One stage as a table of cells."""
    grid = found.grid
    head = ["", *(f"model {model}" for model in range(grid.model))]
    rows = [
        [f"data {data}", *(_cell(found, grid.rank(pipe, data, model)) for model in range(grid.model))]
        for data in range(grid.data)
    ]
    return heading(f"pipe {pipe}") + table(head, rows)


def _cell(found: Map, rank: int) -> str:
    """The rank and its machine; marked by a sign besides the colour."""
    mark, fill = ("★", CHOSEN) if rank == found.rank else ("●", MEMBER) if rank in found.group else ("", "")
    paint = f"background-color:{fill};color:{ink(fill)};" if fill else ""
    style = f"border:1px solid #8a8a8a;border-radius:3px;{paint}padding:2px 6px;display:inline-block;min-width:46px"
    return f'<span style="{style}">{mark} <b>{rank}</b> <small>m{found.machine(rank)}</small></span>'


def _groups(found: Map) -> str:
    rows = []
    for axis in AXES:
        ranks = found.grid.group(axis, found.rank)
        outside, every = found.crossing(axis)
        name = f"<b>{axis}</b> ●" if axis == found.axis else axis
        where = "no group leaves its machine" if not outside else f"{outside} of {every} groups reach over machines"
        rows.append(
            (name, ", ".join(map(str, ranks)), escape(TALK[axis]) if len(ranks) > 1 else "nothing: it is alone", where)
        )
    return heading(f"Whom rank {found.rank} talks to") + table(
        ("axis", "ranks", "what they exchange", "all groups of this axis"), rows
    )


def _alt(found: Map) -> str:
    grid = found.grid
    groups = "; ".join(f"{axis}: {', '.join(map(str, grid.group(axis, found.rank)))}" for axis in AXES)
    over = ", ".join(f"{axis} {found.crossing(axis)[0]} of {found.crossing(axis)[1]}" for axis in AXES)
    return (
        f"Map of {grid.world} ranks, pipe {grid.pipe} × data {grid.data} × model {grid.model}, {found.per_machine} a "
        f"machine. Rank {found.rank} is at (pipe, data, model) = {tuple(grid.coordinate(found.rank))}. "
        f"Its groups: {groups}. Groups that reach over machines: {over}."
    )


def rank_map(pipe: int = 4, data: int = 2, model: int = 4, *, per_machine: int = 4, rank: int = 0) -> Shown:
    """A widget that lays out `pipe` × `data` × `model` ranks (1 to 8 each) on machines of 1 to 16 ranks.

    UsageError for sizes outside, or a rank that there is not.
    """
    if per_machine > 16:
        raise UsageError(f"at most 16 ranks a machine can be shown here, not {per_machine}")
    given, size = (pipe, data, model), look(90, 270)
    compute(given, per_machine, "model", rank)  # whose errors name what is wrong before any control refuses it
    sizes = {axis: IntSlider(ranks, 1, MOST, description=axis, **size) for axis, ranks in zip(AXES, given, strict=True)}
    place = {
        "per_machine": IntSlider(per_machine, 1, 16, description="per machine", **size),
        "axis": Dropdown(options=AXES, value="model", description="talk along", **size),
        "rank": IntSlider(rank, 0, pipe * data * model - 1, description="rank", **size),
    }

    def resized(_: object) -> None:
        place["rank"].max = math.prod(slider.value for slider in sizes.values()) - 1

    for slider in sizes.values():
        slider.observe(resized, "value")  # before the picture is asked for: the rank must exist
    return Explorer(
        lambda sizes, **place: draw(compute(tuple(sizes.values()), **place)),
        [beside(*sizes.values()), beside(*place.values())],
        sizes=sizes, **place,
    )  # fmt: skip
