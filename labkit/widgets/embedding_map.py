"""The neighbourhood of a word: its nearest words as a list with their cosines, and as a map in two dimensions.

The map has the first two principal components of the vectors, of length 1, of the word and its neighbours alone. It
shows which of them are near one another; how near they are to the word, in all dimensions, the list says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from ipywidgets import Dropdown, IntSlider, Text

from labkit.errors import UsageError
from labkit.foundations.words import WordVectors, nearest
from labkit.report import Plot
from labkit.report.figure import COLOURS, MARKS, Point, label_points
from labkit.report.fonts import drawable, family
from labkit.widgets.shown import Explorer, Shown, bounded, look

LEAST, MOST = 3, 20  # neighbours


@dataclass(frozen=True)
class View:
    """A word's neighbourhood, the word itself first: cosines to it, kinds ("" where none is known), and places, which
    keep the share `kept` of the variance.
    """

    words: tuple[str, ...]
    cosines: tuple[float, ...]
    kinds: tuple[str, ...]
    points: np.ndarray
    kept: float


def compute(found: WordVectors, word: str, kinds: Mapping[str, str], count: int = 10) -> View:
    """The `count` (at least 2) words nearest to `word`. UsageError for an unknown word."""
    at = found.vocabulary.number(word)
    rows, cosines = nearest(found.vectors, found[word], count, [at])
    if len(rows) < 2:
        raise UsageError(f"{len(rows)} words beside {word!r}: a map needs 2 at least")
    numbers = [at, *rows.tolist()]
    vectors = found.vectors[numbers].double().numpy()
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    u, s, _ = np.linalg.svd(unit - unit.mean(0), full_matrices=False)
    points = u[:, :2] * s[:2]
    points *= np.where(points[0] < 0, -1, 1)  # the sign of an axis is arbitrary
    words = tuple(found.vocabulary.words[number] for number in numbers)
    kept = float((s[:2] ** 2).sum() / max((s**2).sum(), 1e-12))
    return View(words, (1.0, *cosines.tolist()), tuple(kinds.get(one, "") for one in words), points, kept)


def draw(view: View, name: str) -> Plot:
    """The map at the left, the list at the right; words of the first one's kind have their own colour and mark."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.6, 4.4), layout="constrained")
    chart, bars = figure.subplots(1, 2, width_ratios=(3, 2))
    group = [0] + [1 if kind and kind == view.kinds[0] else 2 for kind in view.kinds[1:]]
    for number, label in enumerate(("the word", f"same kind: {view.kinds[0]}", "another kind, or none known")):
        points = view.points[[row for row, one in enumerate(group) if one == number]]
        if len(points):
            chart.scatter(*points.T, s=50, color=COLOURS[number], marker=MARKS[number], label=label)
    names = [drawable(word, f"word {row}") for row, word in enumerate(view.words)]
    fonts: dict[str, Any] = {"fontfamily": family("".join(names)), "parse_math": False}
    chart.set(xlabel="first component", ylabel="second component", title=f"{100 * view.kept:.0f} % of the variance")
    chart.margins(x=0.18, y=0.1)
    bars.barh(range(len(names) - 1), view.cosines[1:], color=[COLOURS[one] for one in group[1:]])
    bars.set_yticks(range(len(names) - 1), names[1:], **fonts)
    bars.set_xlabel(f"cosine to “{names[0]}”", **fonts)
    bars.set(title=name, xlim=(min(0, *view.cosines), 1), ylim=(len(names) - 1.4, -0.6))
    for axes in (chart, bars):
        axes.spines[["top", "right"]].set_visible(False)
    figure.legend(*chart.get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    places = zip(names, view.points.tolist(), strict=True)
    label_points(figure, chart, [Point(said, said, "", "", (y,), x, None) for said, (x, y) in places])
    told = zip(view.words[1:], view.cosines[1:], view.kinds[1:], strict=True)
    said = ", ".join(f"{word} {cosine:.2f}{f' ({kind})' if kind else ''}" for word, cosine, kind in told)
    return Plot(figure, f"Map and bars of the words nearest to {view.words[0]!r} by cosine, {name}: {said}.")


def embedding_map(found: Mapping[str, WordVectors], kinds: Mapping[str, str], word: str) -> Shown:
    """A widget that shows the neighbourhood of a word, first of `word`: by a method of `found`, its name → vectors.

    `kinds` says of which kind some of the words are. UsageError for no method, or a word that the first does not know.
    """
    if not found:
        raise UsageError("no vectors to look at: give at least one method's")

    def picture(method: str, word: str, count: int) -> Plot:
        return draw(compute(found[method], bounded(word.strip(), "word", 60), kinds, count), method)

    return Explorer(
        picture,
        method=Dropdown(options=list(found), description="method", **look(60, 300)),
        word=Text(word, description="word", continuous_update=False, **look(45, 220)),
        count=IntSlider(10, min=LEAST, max=MOST, description="neighbours", continuous_update=False, **look(80, 300)),
    )
