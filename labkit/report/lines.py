"""Scores as lines: over a quantity that was varied, as shots or steps, or over the share of the surest answers.

The values of a quantity stand side by side at equal distances, because they usually grow by factors.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from labkit.errors import UsageError
from labkit.report.figure import COLOURS, MARKS, Plot, _ends, _lines, tidy, unit
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
    tidy(axes, "y")
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


def against(curves: Mapping[str, Mapping[str, tuple[float, float]]], x: str, y: str) -> Plot:
    """Two measures against each other, for what gains in one and loses in the other: a line for each method through its
    points (x, y), in their order, each with its setting's name beside it; `x` on a logarithmic axis.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import FormatStrFormatter, LogLocator

    figure = Figure(figsize=(7, 3.8), layout="constrained")
    axes = figure.subplots()
    for number, (name, points) in enumerate(curves.items()):
        look = {"color": COLOURS[number % len(COLOURS)], "marker": MARKS[number % len(MARKS)], "ms": 7}
        axes.plot(*zip(*points.values(), strict=True), label=name, **look)
        for setting, place in points.items():
            aside = (5, -12 if number % 2 else 5)  # below, so that names of neighbouring lines do not meet
            axes.annotate(setting, place, aside, textcoords="offset points", fontsize=8, color=look["color"])
    axes.set(xlabel=x, ylabel=y, xscale="log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 4, 5, 6, 8)))
    axes.xaxis.set_major_formatter(FormatStrFormatter("%g"))
    axes.xaxis.set_minor_locator(LogLocator(subs=()))
    tidy(axes, "both")
    axes.legend(frameon=False, fontsize=9)
    text = [
        f"{name}: " + ", ".join(f"{setting} {a:.3g} and {b:.3g}".strip() for setting, (a, b) in points.items())
        for name, points in curves.items()
    ]
    return Plot(figure, f"{y} against {x}. " + "; ".join(text) + ".")


def scatter(groups: Mapping[str, Sequence[tuple[float, float]]], x: str, y: str, title: str = "") -> Plot:
    """Points (x, y), each group with a colour and a mark of its own; its rank correlation (ties have their mean rank)
    stands in the legend and in the words.
    """
    from matplotlib.figure import Figure
    from scipy.stats import spearmanr

    figure = Figure(figsize=(7, 3.8), layout="constrained")
    axes, said = figure.subplots(), []
    for number, (name, points) in enumerate(groups.items()):
        across, along = np.asarray(points, float).T
        order = spearmanr(across, along).statistic
        look = {"color": COLOURS[number % len(COLOURS)], "marker": MARKS[number % len(MARKS)], "s": 32, "alpha": 0.75}
        axes.scatter(across, along, label=f"{name}: rank correlation {order:.2f}", **look)
        spans = (f"{some.min():.3g} to {some.max():.3g}" for some in (across, along))
        said.append(f"{name}: {len(points)} points, {' and '.join(spans)}, rank correlation {order:.2f}")
    axes.set(xlabel=x, ylabel=y, title=title)
    tidy(axes, "both")
    axes.legend(frameon=False, fontsize=9)
    return Plot(figure, f"{title + '. ' if title else ''}{y} against {x}. {'; '.join(said)}.")


def accuracy_of_the_surest(probabilities: np.ndarray, labels: Sequence[int]) -> np.ndarray:
    """Entry k: the accuracy in [0, 1] of the k + 1 rows with the highest probability; (n,).

    Of equally sure rows the earlier comes first. (The complement is the risk–coverage curve, El-Yaniv & Wiener 2010.)
    """
    if len(probabilities) != len(labels) or not len(labels):
        raise UsageError(
            f"{len(probabilities)} rows of probabilities for {len(labels)} labels: as many are needed, and one at least"
        )
    order = np.argsort(-probabilities.max(1), kind="stable")
    right = probabilities.argmax(1)[order] == np.asarray(labels)[order]
    return np.cumsum(right) / np.arange(1, len(right) + 1)


def coverage(probabilities: np.ndarray, labels: Sequence[int], title: str = "") -> Plot:
    """`accuracy_of_the_surest` as a curve over the share of the rows, with the accuracy of all rows as a line."""
    from matplotlib.figure import Figure

    curve = 100 * accuracy_of_the_surest(probabilities, labels)
    share = 100 * np.arange(1, len(curve) + 1) / len(curve)
    figure = Figure(figsize=(7, 3.4), layout="constrained")
    axes = figure.subplots()
    shown = share >= 5  # the first few rows jump between 0 and 100
    axes.plot(share[shown], curve[shown], color=COLOURS[0], lw=1.8)
    axes.axhline(curve[-1], color="#777777", ls="--", lw=1)
    place = {"xycoords": axes.get_yaxis_transform(), "textcoords": "offset points", "va": "top", "color": "#555555"}
    axes.annotate(f"all rows: {curve[-1]:.1f} %", (0, curve[-1]), (6, -4), **place)
    low, high = axes.get_ylim()
    axes.set_ylim(min(low, curve[-1] - 0.12 * (high - low)), high)  # room for the line's name
    axes.set(xlabel="the surest … % of the rows", ylabel="of these, right (%)", title=title, xlim=(0, 100))
    tidy(axes, "both")
    places = [np.searchsorted(share, part) for part in (10, 25, 50, 75, 100)]
    said = ", ".join(f"{curve[place]:.1f} % of the surest {share[place]:.0f} %" for place in places)
    return Plot(figure, f"{title or 'Accuracy of the surest rows'}. Curve of accuracy over the share of rows: {said}.")
