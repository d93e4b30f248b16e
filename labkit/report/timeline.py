"""What happened when, as bars on a common clock: one row a rank and lane."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from labkit.errors import UsageError
from labkit.report.figure import COLOURS, Plot

HATCHES = ("", "///", "...", "xxx", "\\\\\\", "ooo", "+++")
NARROW = 0.028  # a bar below this share of the width has no room for its name
# A pale ground, on which a number is read over any colour and hatch.
PLATE = {"color": "black", "bbox": {"facecolor": "white", "alpha": 0.85, "pad": 0.8, "edgecolor": "none"}}


class Timed(Protocol):
    """An event that can be drawn, as `labkit.parallel.trace.Event`. Times are seconds on a common clock."""

    rank: int
    lane: str
    name: str
    start: float
    end: float


def timeline(events: Iterable[Timed], title: str = "", colours: Mapping[str, str] | None = None) -> Plot:
    """Bars from `start` to `end`, a row for each (rank, lane), in milliseconds from the first start.

    Bars are coloured and hatched by the first word of their name ("forward 3" is a "forward"), which the legend
    explains; what follows the word is written on the bar where there is room. `colours` gives words colours of their
    own, and the order of the legend. UsageError for no events.
    """
    events, colours = list(events), colours or {}
    if not events:
        raise UsageError("a time line needs at least one event; was the trace recorded?")
    from matplotlib.figure import Figure

    zero = min(event.start for event in events)
    width = (max(event.end for event in events) - zero) * 1000
    rows = sorted({(event.rank, event.lane) for event in events})
    kinds = dict.fromkeys([*colours, *map(_kind, events)])
    looks = {
        kind: {"facecolor": colours.get(kind, COLOURS[number % len(COLOURS)]), "hatch": HATCHES[number % len(HATCHES)]}
        for number, kind in enumerate(kinds)
    }
    figure = Figure(figsize=(9, 1.2 + 0.42 * len(rows)), layout="constrained")
    axes = figure.subplots()
    for event in events:
        start, length = (event.start - zero) * 1000, (event.end - event.start) * 1000
        place = rows.index((event.rank, event.lane))
        axes.barh(place, length, left=start, height=0.72, edgecolor="white", linewidth=0.6, **looks[_kind(event)])
        text = event.name.partition(" ")[2]
        if text and length > NARROW * width:
            axes.text(start + length / 2, place, text, ha="center", va="center", fontsize=8, **PLATE)
    _finish(axes, rows, {_kind(event) for event in events}, looks, title)
    return Plot(figure, _in_words(events, rows, zero))


def _kind(event: Timed) -> str:
    return event.name.partition(" ")[0]


def _finish(
    axes: Any, rows: list[tuple[int, str]], shown: set[str], looks: dict[str, dict[str, Any]], title: str
) -> None:
    from matplotlib.patches import Patch

    ranks, lanes = ({row[part] for row in rows} for part in (0, 1))
    labels = [" · ".join([f"rank {rank}"] * (len(ranks) > 1) + [lane] * (len(lanes) > 1)) for rank, lane in rows]
    axes.set_yticks(range(len(rows)), labels)
    axes.invert_yaxis()
    axes.set_xlabel("milliseconds")
    axes.set_title(title, loc="left", fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)
    patches = [Patch(label=kind, edgecolor="white", **look) for kind, look in looks.items() if kind in shown]
    axes.figure.legend(handles=patches, loc="outside lower center", ncols=min(len(patches), 6), frameon=False)


def _in_words(events: list[Timed], rows: list[tuple[int, str]], zero: float) -> str:
    """The time line as text: who was busy with how much, until when."""
    parts = []
    for rank, lane in rows:
        own = [event for event in events if (event.rank, event.lane) == (rank, lane)]
        end = max(event.end for event in own) - zero
        parts.append(f"rank {rank}, {lane}: {len(own)} events until {end * 1000:.0f} ms")
    return "Time line. " + "; ".join(parts)
