"""One network at every width and depth: which heads and neurons run, what they get right, how long they take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from ipywidgets import SelectionSlider
from torch import nn

from labkit import measure
from labkit.compression.elastic import Shape, extract, full_shape, shape_of
from labkit.compression.searching import latencies
from labkit.errors import UsageError
from labkit.evaluation import predict
from labkit.report import Plot
from labkit.report.figure import COLOURS
from labkit.widgets.shown import Explorer, Shown, look

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTHS, DEPTHS = (0.25, 0.5, 0.75, 1.0), (0.5, 0.75, 1.0)
BATCH = 32  # rows that are timed together


@dataclass(frozen=True)
class Size:
    """A sub-network of `whole`: its shares, its shape, the share of rows it gets right, the bytes of its file, and its
    milliseconds for a batch as a share of the whole network's, timed in turns.
    """

    width: float
    depth: float
    shape: Shape
    whole: Shape
    right: float
    bytes: int
    time: float

    @property
    def name(self) -> str:
        """Its shares in words."""
        return f"width {self.width:g}, depth {self.depth:g}"


def compute(model: nn.Module, method: Any, rows: Sequence[Mapping[str, Any]], width: float, depth: float) -> Size:
    """One size of an elastic network, cut out and measured. UsageError for shares outside (0, 1], or no rows."""
    if not rows:
        raise UsageError("there are no rows to measure on: give some rows of the task")
    shape, whole = shape_of(model, width, depth), full_shape(model)
    small = extract(model, shape)
    answers = predict(small, method, rows, progress=False).argmax(1)
    right = float(np.mean(answers == [row["label"] for row in rows]))
    of_all, of_part = latencies(model, method, rows[:BATCH], [whole, shape], turns=9)
    time = 1.0 if shape == whole else of_part / of_all
    return Size(width, depth, shape, whole, right, measure.bytes_on_disk(small), time)


def draw(seen: Sequence[Size], chosen: Size) -> Plot:
    """What runs of the network, and what all sizes seen so far get right in which share of the time."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.2, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 4))
    _network(left, chosen)
    _front(right, seen, chosen)
    figure.suptitle(f"{chosen.name}: {100 * chosen.right:.1f} % right, {chosen.bytes / 1e6:.2f} MB, "
                    f"{100 * chosen.time:.0f} % of the time")  # fmt: skip
    return Plot(figure, _alt(seen, chosen))


def _network(axes: Axes, size: Size) -> None:
    """Each layer as a row of squares, its heads, and a bar, its neurons; what runs is filled."""
    whole = size.whole
    runs = {n: (h, k) for n, h, k in zip(size.shape.layers, size.shape.heads, size.shape.neurons, strict=True)}
    for number, heads, neurons in zip(whole.layers, whole.heads, whole.neurons, strict=True):
        used = runs.get(number, (0, 0))
        for head in range(heads):
            fill = COLOURS[0] if head < used[0] else "none"
            axes.barh(number, 0.8 / heads, left=head / heads, height=0.6, facecolor=fill, edgecolor="#777777")
        axes.barh(number, used[1] / neurons, left=1.2, height=0.6, color=COLOURS[1])
        axes.barh(number, 1.0, left=1.2, height=0.6, facecolor="none", edgecolor="#777777")
    axes.set_yticks(whole.layers, [f"layer {n + 1}" + ("" if n in runs else ", left out") for n in whole.layers])
    axes.set_xticks([0.45, 1.7], ["heads", "neurons"])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_title("filled: runs", fontsize=10, color="#444444")


def _front(axes: Axes, seen: Sequence[Size], chosen: Size) -> None:
    """Per cent right against per cent of the whole network's time."""
    for number, depth in enumerate(sorted({one.depth for one in seen})):
        some = sorted((one for one in seen if one.depth == depth), key=lambda one: one.width)
        look = {"color": COLOURS[number], "marker": "os^D"[number % 4], "label": f"depth {depth:g}"}
        axes.plot([100 * one.time for one in some], [100 * one.right for one in some], lw=0.8, ms=7, **look)
    axes.scatter(100 * chosen.time, 100 * chosen.right, s=230, facecolors="none", edgecolors="#000000", lw=1.6)
    axes.set(xlabel="time for a batch (% of the whole network's)", ylabel="right (%)")
    axes.margins(0.15)
    axes.grid(color="#dddddd", lw=0.7)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9, title="seen so far; circle: now")


def _alt(seen: Sequence[Size], chosen: Size) -> str:
    layers = zip(chosen.shape.layers, chosen.shape.heads, chosen.shape.neurons, strict=True)
    runs = "; ".join(f"layer {n + 1} with {heads} heads and {neurons} neurons" for n, heads, neurons in layers)
    told = "; ".join(f"{one.name} {100 * one.right:.1f} % in {100 * one.time:.0f} %" for one in seen)
    return (
        f"A network at {chosen.name}: {runs} run. {100 * chosen.right:.1f} % right, {chosen.bytes / 1e6:.2f} MB, "
        f"{100 * chosen.time:.0f} % of the whole network's time. Seen so far, right in a share of the time: {told}."
    )


def elastic_sizes(
    model: nn.Module, method: Any, rows: Sequence[Mapping[str, Any]], width: float = 1.0, depth: float = 1.0
) -> Shown:
    """A widget with a slider for width and one for depth: the sub-network is cut out of `model` and measured on `rows`
    when it is first asked for. Raises as `compute`.
    """
    seen: dict[tuple[float, float], Size] = {}

    def picture(width: float, depth: float) -> Plot:
        for size in ((1.0, 1.0), (width, depth)):
            if size not in seen:
                seen[size] = compute(model, method, rows, *size)
        return draw(list(seen.values()), seen[width, depth])

    return Explorer(
        picture,
        width=SelectionSlider(options=WIDTHS, value=width, description="width", **look(50, 300)),
        depth=SelectionSlider(options=DEPTHS, value=depth, description="depth", **look(50, 300)),
    )
