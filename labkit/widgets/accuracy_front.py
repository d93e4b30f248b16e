"""Accuracy against the number of trained weights: what gives more for less, and what is beaten on both counts.

A method is on the front where no other reaches as much with as few weights (and more, or with fewer). Its mark is
filled; the others' are hollow.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Any

from ipywidgets import Checkbox, Dropdown, HBox, Layout

from labkit.errors import UsageError, unknown
from labkit.report import Plot, Report
from labkit.report.figure import COLOURS, MARKS
from labkit.report.fonts import drawable
from labkit.widgets.shown import Explorer, Shown


@dataclass(frozen=True)
class Point:
    """One method on one task: mean weights trained, mean and standard deviation of the score, seeds, on the front."""

    method: str
    trained: float
    mean: float
    spread: float
    seeds: int
    front: bool


@dataclass(frozen=True)
class Front:
    """All methods of a task, the largest mean first; the metric, chance and ceiling in the scores' unit, or None."""

    task: str
    metric: str
    points: tuple[Point, ...]
    chance: float | None
    ceiling: float | None


def tasks_of(report: Report) -> list[str]:
    """The tasks with rows that say how many weights were trained."""
    return list(dict.fromkeys(row.task for row in report.rows if row.trainable is not None))


def compute(report: Report, task: str) -> Front:
    """The methods of `task`, in per cent, and which are on the front. UsageError for a task without such rows."""
    known = tasks_of(report)
    if task not in known:
        raise unknown("task with trained weights", task, known)
    rows = [row for row in report.rows if row.task == task and row.trainable is not None]
    rows = [row for row in rows if row.metric == rows[0].metric]
    found = []
    for method in dict.fromkeys(row.method for row in rows):
        own = [row for row in rows if row.method == method]
        scores = [100 * row.value for row in own]
        spread = statistics.stdev(scores) if len(scores) > 1 else 0.0
        found.append(
            (method, statistics.fmean(row.trainable for row in own), statistics.fmean(scores), spread, len(own))
        )
    points = [Point(*one, front=not any(_beats(other, one) for other in found)) for one in found]
    _, chance, ceiling = report.bounds.get(task, (None, None, None))
    ends = [None if value is None else 100 * value for value in (chance, ceiling)]
    return Front(task, rows[0].metric, tuple(sorted(points, key=lambda point: -point.mean)), *ends)


def _beats(a: tuple[Any, ...], b: tuple[Any, ...]) -> bool:
    """Whether a, (method, weights, mean, …), is no worse on both counts and better on one."""
    return a[1] <= b[1] and a[2] >= b[2] and (a[1] < b[1] or a[2] > b[2])


def draw(front: Front, spread: bool = True) -> Plot:
    """The picture: a logarithmic axis of trained weights, the front as steps; `spread` draws standard deviations.

    A method that trains nothing stands at the left edge, behind a break in the axis.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.5, 4.6), layout="constrained")
    axes = figure.subplots()
    some = [point.trained for point in front.points if point.trained >= 1]
    if not some:
        raise UsageError(f"{front.task}: no method trains anything; there is no axis to draw")
    nothing = min(some) / 4
    axes.set_xscale("log")
    for number, point in enumerate(front.points):
        _mark(axes, number, point, max(point.trained, nothing), spread)
    _steps(axes, front, nothing)
    _ends(axes, front)
    axes.xaxis.set_major_formatter(lambda value, _: _short(value))
    if any(point.trained < 1 for point in front.points):
        axes.annotate("none", (nothing, 0), (0, -14), axes.get_xaxis_transform(), "offset points", ha="center")
    axes.set_xlim(nothing / 1.8, 3 * max(some))
    axes.set(xlabel="trained weights, log scale", ylabel=f"{front.metric} (%), mean" + (" ± s.d." if spread else ""))
    axes.set_title(_title(front), loc="left", fontsize=10, parse_math=False)
    axes.grid(color="#dddddd", lw=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside right upper", frameon=False, fontsize=9, title="filled: on the front", alignment="left")
    return Plot(figure, _alt(front))


def _mark(axes: Any, number: int, point: Point, place: float, spread: bool) -> None:
    colour = COLOURS[(number + number // len(MARKS)) % len(COLOURS)]
    label = drawable(point.method, f"method {number + 1}")
    text = f"{label}: {point.mean:.1f}, {_short(point.trained)}"
    look = {"marker": MARKS[number % len(MARKS)], "ms": 9 if point.front else 7, "color": colour, "ls": "none"}
    look |= {"mfc": colour if point.front else "white", "zorder": 4 if point.front else 3}
    axes.errorbar(place, point.mean, point.spread if spread else None, capsize=3, lw=1, label=text, **look)


def _steps(axes: Any, front: Front, nothing: float) -> None:
    """The most that is reached with at most so many weights."""
    best = sorted((max(point.trained, nothing), point.mean) for point in front.points if point.front)
    xs, ys = zip(*best, strict=True)
    axes.step([*xs, 3 * xs[-1]], [*ys, ys[-1]], where="post", color="#444444", lw=1.2, zorder=2)


def _ends(axes: Any, front: Front) -> None:
    """Chance and ceiling as lines where the scores come near them; the title names both."""
    low, high = axes.get_ylim()
    for name, value in (("chance", front.chance), ("ceiling", front.ceiling)):
        if value is not None and low <= value <= high + 5:
            axes.axhline(value, color="#777777", ls="--", lw=1, zorder=1)
            axes.annotate(name, (1, value), (-4, 3), axes.get_yaxis_transform(), "offset points",
                          fontsize=9, color="#555555", ha="right")  # fmt: skip


def _title(front: Front) -> str:
    ends = (("chance", front.chance), ("ceiling", front.ceiling))
    known = [f"{name} {value:.3g}" for name, value in ends if value is not None]
    return drawable(front.task, "the task") + (f" ({', '.join(known)})" if known else "")


def _short(number: float) -> str:
    """A number of weights: 5, 1.2k, 0.61M."""
    for unit, scale in (("M", 1e6), ("k", 1e3)):
        if number >= 0.5 * scale and number >= 1000:
            return f"{number / scale:.3g}{unit}"
    return f"{number:.3g}"


def _alt(front: Front) -> str:
    def one(point: Point) -> str:
        mark = " (on the front)" if point.front else ""
        return f"{point.method} {point.mean:.1f} ± {point.spread:.1f} with {point.trained:,.0f}{mark}"

    return f"{front.metric} in per cent against trained weights on {front.task}: {'; '.join(map(one, front.points))}."


class AccuracyFront(Explorer):
    """The shell around `compute` and `draw`; each control is an attribute."""

    def __init__(self, report: Report, task: str) -> None:
        self.report, style = report, {"description_width": "60px"}
        self.task = Dropdown(
            value=task, options=tasks_of(report), description="task", style=style, layout=Layout(width="420px")
        )
        self.spread = Checkbox(True, description="standard deviations", indent=False, layout=Layout(width="180px"))
        controls = [self.task, self.spread]
        super().__init__(controls, [HBox(controls, layout=Layout(flex_flow="row wrap"))])

    def picture(self) -> Plot:
        """The picture for what is set."""
        return draw(compute(self.report, self.task.value), self.spread.value)


def accuracy_front(report: Report, *, task: str | None = None) -> Shown:
    """A widget that shows the methods of a report by score and trained weights, a task at a time.

    UsageError for a report whose rows do not say how many weights were trained, or an unknown task.
    """
    known = tasks_of(report)
    if not known:
        raise UsageError("no row of this report says how many weights were trained: add rows with trainable=…")
    if task is not None and task not in known:
        raise unknown("task with trained weights", task, known)
    return AccuracyFront(report, task or known[0])
