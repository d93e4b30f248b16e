"""The memory scheduler: which layers stay on the device, which take turns, and what each pass waits for.

Above, the layers: pinned ones filled, moving ones hatched. Below, one steady pass on the device and on the link, from
the event model of `labkit.parallel.offload.schedule`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ipywidgets import Dropdown, FloatSlider, IntSlider

from labkit.errors import UsageError
from labkit.parallel.offload.schedule import SLOTS, clumped, moving_layers, spread, steady_events, steady_pass
from labkit.parallel.trace import Event
from labkit.report import Plot
from labkit.report.figure import COLOURS
from labkit.widgets.shown import Explorer, Shown, look

PLACES: dict[str, Callable[[int, int], Sequence[int]]] = {"evenly spread": spread, "all at the end": clumped}
MOST = 32
LOOKS = {
    "compute": {"facecolor": COLOURS[0], "hatch": ""},
    "stall": {"facecolor": "#ffffff", "hatch": "", "edgecolor": "#D55E00"},
    "load": {"facecolor": COLOURS[5], "hatch": "///"},
}


@dataclass(frozen=True)
class Schedule:
    """The layers that move, of how many; events of one steady pass in units of a layer's computing; seconds so."""

    layers: int
    room: int
    moving: tuple[int, ...]
    load: float
    total: float
    events: tuple[Event, ...]

    @property
    def stall(self) -> float:
        """What the pass waits, in layers' computing."""
        return self.total - self.layers


def compute(layers: int, room: int, load: float, place: str = "evenly spread") -> Schedule:
    """`layers` layers where `room` fit, a load taking `load` times as long as a layer computes.

    UsageError for room for fewer than two layers, or an unknown placement.
    """
    if place not in PLACES:
        raise UsageError(f"placement {place!r}: choose {' or '.join(PLACES)}")
    count = moving_layers(layers, 1, room)
    moving = tuple(PLACES[place](layers, count)) if count else ()
    timing = steady_pass(layers, moving, 1.0, load)
    return Schedule(layers, room, moving, load, timing.total, tuple(steady_events(layers, moving, 1.0, load)))


def draw(schedule: Schedule) -> Plot:
    """The picture: the row of layers, and the time line of one steady pass."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.5, 3.6), layout="constrained")
    layers, line = figure.subplots(2, 1, height_ratios=(1, 2))
    for number in range(schedule.layers):
        moves = number in schedule.moving
        look = LOOKS["load"] if moves else LOOKS["compute"]
        layers.barh(
            0, 0.9, left=number, height=0.9, edgecolor="white", facecolor=look["facecolor"], hatch=look["hatch"]
        )
        layers.text(number + 0.45, -0.85, str(number), ha="center", va="center", fontsize=8)
    layers.set(xlim=(-0.2, schedule.layers + 0.2), ylim=(-1.3, 0.7))
    layers.axis("off")
    layers.set_title(_title(schedule), loc="left", fontsize=10)
    _bars(line, schedule)
    _legend(figure)
    return Plot(figure, _alt(schedule))


def _bars(axes: Any, schedule: Schedule) -> None:
    for event in schedule.events:
        look = {"edgecolor": "white", "linewidth": 1.0, **LOOKS[event.name.split()[0]]}
        row = 0 if event.lane == "device" else 1
        axes.barh(row, event.seconds, left=event.start, height=0.7, **look)
        if event.seconds > 0.028 * schedule.total and event.name.startswith(("compute", "load")):
            box = {"facecolor": "white", "alpha": 0.85, "pad": 0.6, "edgecolor": "none"}
            place = min(max(event.start, 0), schedule.total) + min(event.end, schedule.total)
            axes.text(
                place / 2, row, event.name.split()[1], ha="center", va="center", fontsize=7, bbox=box, clip_on=True
            )
    axes.set_yticks([0, 1], ["device", "link"])
    axes.invert_yaxis()
    axes.set(xlim=(0, schedule.total), xlabel="time of one steady pass, in layers' computing")
    axes.spines[["top", "right"]].set_visible(False)


def _legend(figure: Any) -> None:
    from matplotlib.patches import Patch

    names = {"compute": "pinned; computing", "load": "moves; loading", "stall": "waiting"}
    patches = [Patch(label=names[kind], **{"edgecolor": "white", **LOOKS[kind]}) for kind in names]
    figure.legend(handles=patches, loc="outside lower center", ncols=3, frameon=False, fontsize=9)


def _title(schedule: Schedule) -> str:
    if not schedule.moving:
        return f"all {schedule.layers} layers fit: nothing moves"
    pinned = schedule.layers - len(schedule.moving)
    return (
        f"{schedule.layers} layers, room for {schedule.room}: {pinned} pinned, {len(schedule.moving)} take turns in "
        f"{SLOTS} slots; a pass takes {schedule.total:.4g}, of it {max(schedule.stall, 0):.3g} waiting"
    )


def _alt(schedule: Schedule) -> str:
    moving = ", ".join(map(str, schedule.moving)) or "none"
    return (
        f"Memory scheduler: {_title(schedule)}. Moving layers: {moving}. A load takes {schedule.load:g} times as long "
        f"as a layer computes. Below, the time line of one steady pass on the device and on the link."
    )


def memory_scheduler(layers: int = 12, *, room: int = 10, load: float = 2.5) -> Shown:
    """A widget of `layers` layers of which `room` fit, a load taking `load` times as long as a layer computes.

    UsageError for fewer than 2 or more than 32 layers, or a load outside 0.5 to 8.
    """
    if not (2 <= layers <= MOST and 1 <= room <= MOST and 0.5 <= load <= 8):
        raise UsageError(f"memory_scheduler takes 2 to {MOST} layers, room for 1 to {MOST}, loads of 0.5 to 8")
    size = look(110, 300)
    return Explorer(
        lambda **chosen: draw(compute(**chosen)),
        layers=IntSlider(layers, min=2, max=MOST, description="layers", **size),
        room=IntSlider(room, min=1, max=MOST, description="room for", **size),
        load=FloatSlider(load, min=0.5, max=8, step=0.5, description="load / compute", **size),
        place=Dropdown(options=list(PLACES), description="moving layers", **size),
    )
