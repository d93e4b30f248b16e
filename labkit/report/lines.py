"""Scores as lines over a quantity that was varied: shots, steps, parameters.

The values of that quantity stand side by side at equal distances, because they usually grow by factors.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from labkit.errors import UsageError
from labkit.report.figure import COLOURS, MARKS, Plot, _ends, _lines, _tidy, unit
from labkit.report.result import Result
from labkit.report.table import Bounds

Series = dict[str, dict[float, list[float]]]  # name -> x -> scores


def lines(rows: Sequence[Result], bounds: Bounds, x: str, label: str, title: str) -> Plot:
    """The figure of `rows`, all of one metric, over their column `x`; see `Report.lines`."""
    from matplotlib.figure import Figure

    scale, axis = unit(rows)
    series = _series(rows, x, scale)
    if not series:
        raise UsageError(f"no row has the column {x!r}")
    ends = _ends(rows, bounds, scale)
    figure = Figure(figsize=(7, 3.8), layout="constrained")
    axes = figure.subplots()
    places = sorted({value for points in series.values() for value in points})
    for number, (who, points) in enumerate(series.items()):
        _line(axes, who, points, number, len(series), places)
    axes.set_xticks(range(len(places)), [f"{place:g}" for place in places])
    axes.set_xlim(-0.5, len(places) - 0.5)
    axes.set(xlabel=label, ylabel=f"{axis}, mean ± s.d.", title=title)
    _tidy(axes, "y")
    _lines(axes, ends, upright=False)
    for end, value in ends.items():
        axes.annotate(f"{end} {value:.3g}", (0, value), (4, 3), xycoords=axes.get_yaxis_transform(),
                      textcoords="offset points", fontsize=9, color="#555555")  # fmt: skip
    axes.legend(frameon=False, loc="best")
    return Plot(figure, _alt(series, ends, axis, label, title))


def _series(rows: Sequence[Result], x: str, scale: int) -> Series:
    series: Series = {}
    for row in rows:
        if row[x] is not None:
            series.setdefault(row.method.split(",")[0], {}).setdefault(float(row[x]), []).append(scale * row.value)
    return {who: dict(sorted(points.items())) for who, points in series.items()}


def _line(
    axes: Any, who: str, points: Mapping[float, list[float]], number: int, count: int, places: Sequence[float]
) -> None:
    """One method's line with bars of one standard deviation, a little aside so that bars do not cover each other."""
    aside = 0.06 * (number - (count - 1) / 2)
    means = [statistics.fmean(values) for values in points.values()]
    spreads = [statistics.stdev(values) if len(values) > 1 else 0 for values in points.values()]
    look = {"marker": MARKS[number % len(MARKS)], "color": COLOURS[number % len(COLOURS)], "ms": 6, "lw": 1.5}
    axes.errorbar([places.index(place) + aside for place in points], means, spreads, capsize=3, label=who, **look)


def _alt(series: Series, ends: Mapping[str, float], axis: str, label: str, title: str) -> str:
    """The picture in words: every mean that it shows."""
    text = [f"{title}. " if title else "", f"Lines of {axis} over {label}. "]
    for who, points in series.items():
        text.append(
            f"{who}: " + ", ".join(f"{statistics.fmean(v):.1f} at {place:g}" for place, v in points.items()) + ". "
        )
    return "".join(text) + ", ".join(f"{end} {value:.3g}" for end, value in ends.items())
