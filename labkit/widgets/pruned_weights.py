"""What a sparsity takes away: the weights of a model by size, which matrices lose them, and what is still right."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from ipywidgets import Dropdown, FloatSlider
from torch import nn

from labkit.compression.pruning.masks import finish, prune, pruned_in
from labkit.errors import UsageError
from labkit.report import Plot
from labkit.report.figure import COLOURS
from labkit.widgets.shown import Explorer, Shown, look

SCOPES = {"the whole model": "model", "each matrix alone": "matrix"}
KINDS = {"self.query": "query", "self.key": "key", "self.value": "value", "attention.output.dense": "head output",
         "intermediate.dense": "FFN in", "output.dense": "FFN out"}  # fmt: skip
BINS = 60


@dataclass(frozen=True)
class Cut:
    """`edges` (bins + 1,) of |w|; how many weights of each bin stay and go; name of a kind -> share that stays, by
    layer; the share of right answers.
    """

    sparsity: float
    edges: np.ndarray
    kept: np.ndarray
    gone: np.ndarray
    left: dict[str, list[float]]
    accuracy: float


def compute(model: nn.Module, accuracy: Callable[[nn.Module], float], sparsity: float, scope: str = "model") -> Cut:
    """A copy of `model`, which has masks (`prepare`), with its smallest weights left out. Raises as `prune`, and
    UsageError for layers that are not a BERT's.
    """
    small = prune(copy.deepcopy(model), sparsity, scope)
    sizes = np.concatenate([layer.weight.detach().abs().flatten().numpy() for layer in pruned_in(small)])
    there = np.concatenate([layer.mask.flatten().numpy() for layer in pruned_in(small)]) > 0
    edges = np.linspace(0, np.quantile(sizes, 0.999), BINS + 1)
    left: dict[str, list[float]] = {}
    for name, module in small.named_modules():
        if hasattr(module, "mask"):
            kind = next((shown for end, shown in KINDS.items() if name.endswith(end)), None)
            if kind is None:
                raise UsageError(f"{name}: the picture knows the matrices of a BERT's layers: prepare(model, skip=…)")
            left.setdefault(kind, []).append(float(module.mask.mean()))
    kept, gone = (np.histogram(sizes[some], edges)[0] for some in (there, ~there))
    return Cut(sparsity, edges, kept, gone, left, accuracy(finish(small)))


def draw(cut: Cut) -> Plot:
    """On the left the weights by size, on the right the share of each matrix that stays."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.5, 3.6), layout="constrained")
    sizes, shares = figure.subplots(1, 2, width_ratios=(3, 2))
    middle, width = (cut.edges[1:] + cut.edges[:-1]) / 2, np.diff(cut.edges)
    sizes.bar(middle, cut.gone, width, color="#ffffff", edgecolor=COLOURS[1], hatch="////", lw=0.4, label="left out")
    sizes.bar(middle, cut.kept, width, bottom=cut.gone, color=COLOURS[0], label="stay")
    sizes.set(xlabel="size |w|", ylabel="weights", title=f"sparsity {cut.sparsity:.0%}: {cut.accuracy:.1%} right")
    sizes.spines[["top", "right"]].set_visible(False)
    sizes.legend(frameon=False)
    _shares(shares, cut.left)
    text = [f"{kind} {', '.join(f'{share:.0%}' for share in layers)}" for kind, layers in cut.left.items()]
    count = int(cut.kept.sum() + cut.gone.sum())
    alt = (
        f"Histogram of {count:,} weights by size, of which the smallest {cut.sparsity:.0%} are left out; "
        f"{cut.accuracy:.1%} of the answers are right. Share that stays, by layer: {'; '.join(text)}."
    )
    return Plot(figure, alt)


def _shares(axes: Any, left: dict[str, list[float]]) -> None:
    values = np.array(list(left.values()))  # (kinds, layers)
    axes.imshow(values, cmap="cividis", vmin=0, vmax=1, aspect="auto")
    axes.set_yticks(range(len(left)), left)
    axes.set_xticks(range(values.shape[1]), [f"{layer + 1}" for layer in range(values.shape[1])])
    axes.set(xlabel="layer", title="% of a matrix that stays")
    for (row, column), share in np.ndenumerate(values):
        ink = "white" if share < 0.5 else "black"
        axes.text(column, row, f"{100 * share:.0f}", ha="center", va="center", color=ink)


def pruned_weights(model: nn.Module, accuracy: Callable[[nn.Module], float], sparsity: float = 0.5) -> Shown:
    """A widget: a slider of sparsity over the weights of a model with masks, with the accuracy of what is left.
    `accuracy(model)` is asked anew at each move. Raises as `compute`.
    """
    slider = {"min": 0, "max": 0.95, "step": 0.05, "continuous_update": False, "readout_format": ".0%"}
    return Explorer(
        lambda sparsity, scope: draw(compute(model, accuracy, sparsity, SCOPES[scope])),
        sparsity=FloatSlider(sparsity, description="sparsity", **slider, **look(70, 320)),
        scope=Dropdown(options=list(SCOPES), description="smallest of", **look(90, 260)),
    )
