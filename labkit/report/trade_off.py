"""Accuracy against the numbers that train: a point for each method, and the line of those that no other beats."""

from __future__ import annotations

import math
import statistics
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from labkit.report.figure import COLOURS, Plot, Point, label_points, tidy
from labkit.report.result import Result

Points = Mapping[str, tuple[float, float]]  # method -> (numbers that train, accuracy in per cent)
OWN, PLAIN = COLOURS[1], COLOURS[0]


def points(rows: Iterable[Result]) -> dict[str, tuple[float, float]]:
    """Each method's numbers that train and its accuracy in per cent, means over its rows; 0 where none were counted."""
    found: dict[str, list[Result]] = {}
    for row in rows:
        found.setdefault(row.method, []).append(row)
    return {
        method: (
            statistics.fmean(row.trainable or 0 for row in some),
            100 * statistics.fmean(row.value for row in some),
        )
        for method, some in found.items()
    }


def front(points: Points) -> list[str]:
    """The methods that no other beats, from the fewest numbers to the most: none trains as few and is as accurate, and
    better in one of the two. Equal ones do not beat each other.
    """

    def beaten(trained: float, accuracy: float) -> bool:
        others = (other for other in points.values() if other != (trained, accuracy))
        return any(fewer <= trained and better >= accuracy for fewer, better in others)

    return sorted((name for name, point in points.items() if not beaten(*point)), key=lambda name: points[name])


def trade_off(panels: Mapping[str, Points], own: Collection[str] = ()) -> Plot:
    """A panel for each model, titled: accuracy over the numbers that train, on a logarithmic axis, with the front as a
    line; what trains nothing is the dashed line at the left. The methods in `own` are stars.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.6 * len(panels), 4.6), layout="constrained")
    for axes, (title, some) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        _panel(axes, some, own)
        axes.set(title=title, xlabel="numbers that train, log scale", ylabel="accuracy (%)")
    for axes, some in zip(figure.axes, panels.values(), strict=True):
        label_points(figure, axes, [Point(n, n, "", "", (a,), t, None) for n, (t, a) in some.items() if t])
        for text in axes.texts:  # names are read over lines
            text.set_bbox({"facecolor": "white", "alpha": 0.8, "pad": 0.4, "edgecolor": "none"})
    return Plot(figure, " ".join(f"{title}: {_said(some)}." for title, some in panels.items()))


def _panel(axes: Any, some: Points, own: Collection[str]) -> None:
    best = [some[name] for name in front(some)]
    for name, (trained, accuracy) in some.items():
        if trained:
            look = ("*", 14, OWN) if name in own else ("o" if (trained, accuracy) in best else "x", 7, PLAIN)
            axes.plot(trained, accuracy, marker=look[0], ms=look[1], color=look[2], zorder=3)
        else:
            axes.axhline(accuracy, color="#777777", ls="--", lw=1)
            axes.annotate(f"{name} {accuracy:.1f}", (1, accuracy), (-4, 3), xycoords=axes.get_yaxis_transform(),
                          textcoords="offset points", ha="right", fontsize=9, color="#555555")  # fmt: skip
    axes.set_xscale("log")
    axes.yaxis.set_major_formatter("{x:g}")
    right = max(trained for trained, _ in some.values())
    steps = [*(point for point in best if point[0]), (right, best[-1][1])]
    axes.step(*zip(*steps, strict=True), where="post", color=PLAIN, lw=1.2, alpha=0.6)
    axes.margins(x=0.15, y=0.12)
    tidy(axes, "y")


def _said(some: Points) -> str:
    """A panel in words."""
    best = front(some)
    return "; ".join(
        f"{name} {math.ceil(trained):,} numbers, {accuracy:.1f} %{', on the front' if name in best else ''}"
        for name, (trained, accuracy) in sorted(some.items(), key=lambda pair: pair[1])
    )
