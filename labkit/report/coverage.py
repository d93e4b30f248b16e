"""How right a classifier is where it is sure: accuracy of the surest share of its answers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from labkit.errors import UsageError
from labkit.report.figure import COLOURS, Plot, _tidy


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
    _tidy(axes, "both")
    places = [np.searchsorted(share, part) for part in (10, 25, 50, 75, 100)]
    said = ", ".join(f"{curve[place]:.1f} % of the surest {share[place]:.0f} %" for place in places)
    return Plot(figure, f"{title or 'Accuracy of the surest rows'}. Curve of accuracy over the share of rows: {said}.")
