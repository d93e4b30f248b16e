"""Where the threshold of ternary weights should lie: a histogram of a real matrix, cut at ±Δ, and the error of each Δ.

A threshold keeps the k largest |w|, and the mean of these is their best α, which lowers Σ w² by (Σ |w|)² / k. So one
pass over the sorted |w| gives the error of every threshold, and the least of them is the exact optimum.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from ipywidgets import Dropdown, FloatSlider
from torch import Tensor, nn

from labkit.compression.ternary import THRESHOLD
from labkit.errors import UsageError
from labkit.report import Plot
from labkit.report.figure import COLOURS
from labkit.widgets.shown import Explorer, Shown, look

WIDEST = 3.0  # thresholds, as shares of the mean |w|
STEP = 0.02


@dataclass(frozen=True)
class Thresholds:
    """A matrix as one row: `weights` (n,), their sizes from the largest to the smallest, and the error with the k
    largest kept, Σ (w − αb)² / Σ w² for k = 0 … n.
    """

    weights: np.ndarray
    sizes: np.ndarray
    errors: np.ndarray

    def at(self, share: float) -> tuple[float, float, float, float]:
        """With Δ = share · mean |w|: Δ, α, the relative error, the share of zeros."""
        limit = share * self.sizes.mean()
        kept = int((self.sizes > limit).sum())
        alpha = float(self.sizes[:kept].mean()) if kept else 0.0
        return limit, alpha, float(self.errors[kept]), 1 - kept / len(self.sizes)

    @property
    def best(self) -> float:
        """The share whose threshold is the exact optimum: halfway between the last |w| kept and the first left out."""
        kept = int(self.errors.argmin())
        ends = [*self.sizes, 0.0]
        return float((ends[kept - 1] + ends[kept]) / 2 / self.sizes.mean())


def compute(weight: Tensor) -> Thresholds:
    """All thresholds of one matrix with one α. UsageError for weights that are all 0, or not finite."""
    weights = weight.detach().double().flatten().cpu().numpy()
    if not np.isfinite(weights).all() or not weights.any():
        raise UsageError("a matrix with finite weights, not all of them 0, is needed")
    sizes = np.sort(np.abs(weights))[::-1]
    lowered = np.r_[0, sizes.cumsum() ** 2 / np.arange(1, len(sizes) + 1)]
    return Thresholds(weights, sizes, 1 - lowered / (sizes**2).sum())


def draw(found: Thresholds, share: float, name: str = "the matrix") -> Plot:
    """The histogram with ±Δ and ±α on the left; on the right the error of each threshold, this one and TWN's marked."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    limit, alpha, error, zeros = found.at(share)
    _histogram(left, found.weights, limit, alpha)
    shares = np.arange(0, WIDEST + STEP / 2, STEP)
    right.plot(shares, [found.at(one)[2] for one in shares], color=COLOURS[0], lw=2)
    marked = {"this one": (share, "D"), "TWN": (THRESHOLD, "s"), "optimum": (found.best, "*")}
    for (label, (place, mark)), colour in zip(marked.items(), (*COLOURS[1:3], "#000000"), strict=True):
        right.plot(place, found.at(place)[2], mark, color=colour, ms=12 if mark == "*" else 8, label=label, ls="none")
    right.set(xlabel="threshold Δ / mean |w|", ylabel="error, share of Σ w²", ylim=(0, 1.02))
    right.legend(frameon=False, loc="upper right")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    told = f"threshold {share:.2f} · mean |w|: α = {alpha:.4f}, {zeros:.0%} zeros, error {error:.1%}"
    figure.suptitle(f"{name}\n{told}", fontsize=11, parse_math=False)
    twn, best = found.at(THRESHOLD)[2], found.at(found.best)[2]
    optimum = f"the exact optimum, {found.best:.2f}, has {best:.2%}"
    return Plot(figure, f"{name}, {told}. TWN's threshold, 0.70, has {twn:.2%}; {optimum}.")


def _histogram(axes: Any, weights: np.ndarray, limit: float, alpha: float) -> None:
    reach = float(np.quantile(np.abs(weights), 0.999))
    axes.hist(weights, bins=np.linspace(-reach, reach, 61), color="#999999")
    axes.axvspan(-limit, limit, color=COLOURS[4], alpha=0.35, lw=0, label="become 0")
    for place, label in ((-alpha, None), (alpha, "become −α or α")):
        axes.axvline(place, color=COLOURS[1], lw=2, ls="--", label=label)
    axes.set(xlabel="weight", ylabel="weights", xlim=(-reach, reach))
    axes.margins(y=0.3)
    axes.legend(frameon=False, loc="upper right", fontsize=9)


def ternary_threshold(model: nn.Module | Mapping[str, Tensor]) -> Shown:
    """A widget with a slider for the threshold and a choice of matrices: of a model's linear layers, or as given.

    UsageError where there is no matrix.
    """
    if isinstance(model, nn.Module):
        model = {name: one.weight for name, one in model.named_modules() if isinstance(one, nn.Linear)}
    if not model:
        raise UsageError("there is no linear layer in the model: give a mapping of names to weights")
    found = {name: compute(weight) for name, weight in model.items()}
    return Explorer(
        lambda matrix, share: draw(found[matrix], share, matrix),
        matrix=Dropdown(options=list(found), description="matrix", **look(60, 420)),
        share=FloatSlider(
            0.2, min=0, max=WIDEST, step=STEP, description="threshold", continuous_update=False, **look(70, 360)
        ),
    )
