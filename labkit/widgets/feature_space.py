"""Where CP-Tuning puts texts before, during and after training: its features in two dimensions, and their similarities.

The two dimensions are the first principal components of all snapshots together, fitted once: a point that moves from
one picture to the next has moved, not the axes. What two of d dimensions hide stands below: how similar like and unlike
pairs are, in all d dimensions, beside the two targets of the loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from ipywidgets import Checkbox, Dropdown, Layout, SelectionSlider

from labkit.errors import UsageError, unknown
from labkit.evaluation import evaluating
from labkit.report import Plot
from labkit.report.figure import COLOURS, MARKS
from labkit.report.fonts import drawable, family
from labkit.training.batches import to_device
from labkit.widgets.shown import Explorer, Shown, look

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from torch import nn

    from labkit.fewshot.cp_tuning import CPTuning
    from labkit.tasks.rows import Row

PAIRS = {"labelled": "labelled with labelled", "test": "test with labelled"}
MOST_CLASSES, MOST_TEST = 7, 400
MARGIN = 0.4  # the m of the loss
BINS = np.linspace(-1, 1, 41)


@dataclass(frozen=True)
class Snapshot:
    """The features after `step` steps, rows of length 1: of the labelled texts (n, d) and of test texts (m, d)."""

    step: int
    support: np.ndarray
    test: np.ndarray


@dataclass(frozen=True)
class View:
    """One snapshot ready to be drawn: points in two dimensions, the similarities of pairs, and how many are right.

    `support` (n, 2) and `test` (m, 2); `like` and `unlike` hold one similarity a pair; `right` (m,) says which test
    texts have the class of their nearest labelled neighbour, in all dimensions.
    """

    step: int
    support: np.ndarray
    test: np.ndarray
    like: np.ndarray
    unlike: np.ndarray
    right: np.ndarray


@dataclass(frozen=True)
class Space:
    """All snapshots in one plane, which keeps the share `kept` of their variance; with the labels of the points."""

    views: tuple[View, ...]
    support_labels: np.ndarray
    test_labels: np.ndarray
    names: tuple[str, ...]
    kept: float


def record(model: nn.Module, method: CPTuning, support: Sequence[Row], test: Sequence[Row], step: int = 0) -> Snapshot:
    """The features that the model, as it is now, gives the labelled and the test rows; its mode is restored."""
    device, found = next(model.parameters()).device, []
    with evaluating(model):
        for rows in (support, test):
            batch = to_device(method.collate(rows), device)
            found.append(method.features(model, batch).cpu().numpy())
    return Snapshot(step, *found)


def compute(
    snapshots: Sequence[Snapshot],
    support_labels: Sequence[int],
    test_labels: Sequence[int],
    names: Sequence[str],
    pairs: str = "labelled",
) -> Space:
    """The snapshots in the plane of their first two principal components; `pairs` is a key of PAIRS.

    UsageError where features and labels do not fit together.
    """
    labels, tested = np.asarray(support_labels), np.asarray(test_labels)
    _check(snapshots, labels, tested, names, pairs)
    everything = np.concatenate([part for one in snapshots for part in (one.support, one.test)])  # (points, d)
    centre = everything.mean(0)
    _, sizes, axes = np.linalg.svd(everything - centre, full_matrices=False)
    plane = axes[:2].T  # (d, 2)
    plane = plane * np.where(plane[np.abs(plane).argmax(0), [0, 1]] < 0, -1, 1)  # the sign of an axis is arbitrary
    kept = float((sizes[:2] ** 2).sum() / max((sizes**2).sum(), 1e-12))
    views = tuple(_view(one, labels, tested, (centre, plane), pairs) for one in snapshots)
    return Space(views, labels, tested, tuple(names), kept)


def _view(
    one: Snapshot, labels: np.ndarray, tested: np.ndarray, plane: tuple[np.ndarray, np.ndarray], pairs: str
) -> View:
    centre, axes = plane
    near = one.test @ one.support.T  # (m, n)
    if pairs == "test":
        similar, same = near, tested[:, None] == labels
        chosen = np.ones_like(same)
    else:
        similar, same = one.support @ one.support.T, labels[:, None] == labels
        chosen = np.triu(np.ones_like(same), 1)  # each pair once, and none with itself
    right = labels[near.argmax(1)] == tested
    return View(
        one.step, (one.support - centre) @ axes, (one.test - centre) @ axes,
        similar[same & chosen], similar[~same & chosen], right,
    )  # fmt: skip


def _check(
    snapshots: Sequence[Snapshot], labels: np.ndarray, tested: np.ndarray, names: Sequence[str], pairs: str
) -> None:
    if pairs not in PAIRS:
        raise unknown("pairs", pairs, PAIRS)
    if not snapshots or len(labels) < 2 or not len(tested):
        given = f"{len(snapshots)} snapshots, {len(labels)} labelled and {len(tested)} test texts"
        raise UsageError(f"{given}: at least 1, 2 and 1 are needed")
    if not 2 <= len(names) <= MOST_CLASSES:
        raise UsageError(f"{len(names)} classes: 2 to {MOST_CLASSES} can be told apart by colour and mark")
    for what, some in (("labelled", labels), ("test", tested)):
        if some.min() < 0 or some.max() >= len(names):
            raise UsageError(f"a {what} text has the label {some.max()}: labels are numbers from 0 to {len(names) - 1}")
    for one in snapshots:
        wide = one.support.shape[-1]
        if one.support.shape != (len(labels), wide) or one.test.shape != (len(tested), wide) or wide < 2:
            raise UsageError(
                f"snapshot of step {one.step}: features {one.support.shape} and {one.test.shape} for {len(labels)} "
                f"labelled and {len(tested)} test texts: (texts, d) are needed, d at least 2"
            )
    if len({one.support.shape[1] for one in snapshots}) > 1:
        raise UsageError("the snapshots have features of different sizes: record all of them from one model")


def draw(space: Space, chosen: Sequence[int], *, pairs: str = "labelled", test: bool = True) -> Plot:
    """The snapshots number `chosen` side by side: points above, similarities of their pairs below.

    Labelled texts are large, test texts small (left out without `test`), wrongly answered ones crossed out.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.5 * len(chosen) + 0.3, 5.6), layout="constrained")
    panels = figure.subplots(2, len(chosen), squeeze=False, height_ratios=(3, 2), sharey="row", sharex="row")
    for column, number in enumerate(chosen):
        _points(panels[0, column], space, space.views[number], test)
        _histogram(panels[1, column], space.views[number])
    across, along = _limits(space)
    panels[0, 0].set(ylabel="second component", xlim=across, ylim=along)
    panels[1, 0].set_ylabel("share of pairs (%)")
    figure.supxlabel(f"similarity of two vectors, {PAIRS[pairs]}", fontsize=10)
    _legend(figure, space, test)
    return Plot(figure, _alt(space, chosen, pairs))


def _limits(space: Space) -> tuple[tuple[float, float], tuple[float, float]]:
    """One frame for all snapshots, so that distances can be compared between pictures: (x from, to), (y from, to)."""
    points = np.concatenate([part for view in space.views for part in (view.support, view.test)])
    low, high = points.min(0), points.max(0)
    middle, half = (low + high) / 2, np.maximum((high - low) / 2, 0.3 * (high - low).max()) * 1.1 + 1e-3
    return (middle[0] - half[0], middle[0] + half[0]), (middle[1] - half[1], middle[1] + half[1])


def _points(axes: Axes, space: Space, view: View, test: bool) -> None:
    for number in range(len(space.names)):
        look: dict[str, Any] = {"color": COLOURS[number], "marker": MARKS[number]}
        if test:
            for right, alpha in ((True, 0.28), (False, 0.6)):
                mine = view.test[(space.test_labels == number) & (view.right == right)]
                axes.scatter(mine[:, 0], mine[:, 1], s=13, alpha=alpha, lw=0, **look)
                if not right:
                    axes.scatter(mine[:, 0], mine[:, 1], s=26, color="#000000", marker="x", lw=0.7, alpha=0.75)
        mine = view.support[space.support_labels == number]
        axes.scatter(mine[:, 0], mine[:, 1], s=58, edgecolors="#ffffff", lw=0.9, zorder=3, **look)
    axes.set_title(f"{_when(view.step)}\n{100 * view.right.mean():.1f} % of test texts right", fontsize=10)
    axes.set_aspect("equal", adjustable="box")
    axes.set_xlabel("first component", fontsize=9)
    axes.locator_params(nbins=5)
    axes.tick_params(labelsize=9)
    axes.grid(color="#eeeeee", lw=0.7)
    axes.set_axisbelow(True)


def _histogram(axes: Axes, view: View) -> None:
    """Like and unlike pairs as outlines of different dash, and the targets of the loss."""
    for values, colour, dash, name in ((view.like, "#000000", "-", "like"), (view.unlike, "#009E73", "--", "unlike")):
        if len(values):
            counts, _ = np.histogram(np.clip(values, -1, 1), BINS)
            axes.stairs(100 * counts / len(values), BINS, color=colour, ls=dash, lw=1.6, label=f"{name} pairs")
    for place, name in ((MARGIN, "m"), (1 - MARGIN, "1 − m")):
        axes.axvline(place, color="#777777", ls=":", lw=1)
        axes.annotate(name, (place, 1), (0, 2), xycoords=axes.get_xaxis_transform(), textcoords="offset points",
                      ha="center", fontsize=8, color="#555555")  # fmt: skip
    axes.set(xlim=(-1, 1), xticks=(-1, -0.5, 0, 0.5, 1))
    axes.tick_params(labelsize=8)
    axes.grid(axis="y", color="#eeeeee", lw=0.7)
    axes.spines[["top", "right"]].set_visible(False)


def _legend(figure: Any, space: Space, test: bool) -> None:
    from matplotlib.lines import Line2D

    def mark(number: int, size: float, alpha: float = 1.0) -> Any:
        return Line2D([], [], color=COLOURS[number], marker=MARKS[number], ms=size, ls="", alpha=alpha)

    entries = [(mark(number, 8), drawable(name, f"class {number + 1}")) for number, name in enumerate(space.names)]
    if test:
        entries.append((mark(0, 4, 0.5), "small: test texts"))
        entries.append((Line2D([], [], color="#000000", marker="x", ms=6, ls=""), "wrongly answered"))
    entries.append((Line2D([], [], color="#000000", ls="-", lw=1.6), "like pairs"))
    entries.append((Line2D([], [], color="#009E73", ls="--", lw=1.6), "unlike pairs"))
    handles, names = zip(*entries, strict=True)
    box = figure.legend(
        handles, names, loc="outside upper center", ncols=min(len(entries), 6), frameon=False, fontsize=9
    )
    for text in box.get_texts():
        text.set(parse_math=False, fontfamily=family(text.get_text()))


def _when(step: int) -> str:
    return "before training" if step == 0 else f"after {step} step{'' if step == 1 else 's'}"


def _alt(space: Space, chosen: Sequence[int], pairs: str) -> str:
    """The picture in words: what is right, and how similar the pairs are."""
    told = []
    for number in chosen:
        view = space.views[number]
        like, unlike = (f"{some.mean():.2f}" if len(some) else "none" for some in (view.like, view.unlike))
        right = f"{100 * view.right.mean():.1f} % of {len(view.right)} test texts right"
        told.append(f"{_when(view.step)}: {right}, mean similarity of like pairs {like}, of unlike pairs {unlike}")
    names = ", ".join(space.names)
    return (
        f"Scatter plots of {len(space.support_labels)} labelled and {len(space.test_labels)} test texts of the classes "
        f"{names} in two principal components, which keep {100 * space.kept:.0f} % of the variance, over histograms of "
        f"similarities ({PAIRS[pairs]}; targets {MARGIN:g} and {1 - MARGIN:g}). {'; '.join(told)}."
    )


def feature_space(
    snapshots: Sequence[Snapshot], support_labels: Sequence[int], test_labels: Sequence[int], names: Sequence[str]
) -> Shown:
    """A widget with CP-Tuning's features before, during and after training: a slider chooses the middle picture.

    `snapshots` in the order of their steps, `names` the classes (2 to 7). More than 400 test texts are too many for one
    picture. UsageError for what does not fit together.
    """
    if len(test_labels) > MOST_TEST:
        raise UsageError(f"{len(test_labels)} test texts: at most {MOST_TEST} can be seen at once; record fewer")
    last = len(snapshots) - 1

    def picture(at: int, pairs: str, test: bool) -> Plot:
        """The first snapshot, the chosen one, the last."""
        space = compute(snapshots, support_labels, test_labels, names, pairs)
        return draw(space, sorted({0, at, last}), pairs=pairs, test=test)

    steps = [(_when(one.step), number) for number, one in enumerate(snapshots)]
    return Explorer(
        picture,
        at=SelectionSlider(options=steps, value=last // 2, description="middle", continuous_update=False,
                           **look(70, 400)),
        pairs=Dropdown(options=[(name, key) for key, name in PAIRS.items()], description="pairs", **look(70, 300)),
        test=Checkbox(True, description="test texts", indent=False, layout=Layout(width="110px")),
    )  # fmt: skip
