"""How the loss rises when the weights are moved: full, ternary and binary weights beside one another.

All matrices are moved along one random direction, by a distance in units of each matrix's mean |w|, and the loss on the
same rows is taken there (after BinaryBERT, Bai et al. 2021, §2.2, which moves some matrices of one layer). With codes
the full weights behind them are moved, and the model computes with the codes of what they have become.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from labkit.evaluation import evaluating
from labkit.lab import seeded
from labkit.report import Plot
from labkit.report.figure import COLOURS, MARKS


def losses_along(
    model: nn.Module, loss: Callable[[nn.Module], Tensor], distances: Sequence[float], seed: int = 0
) -> list[float]:
    """`loss(model)` with all matrices moved by each of `distances`; the weights are as before when it returns."""
    matrices = [weight for weight in model.parameters() if weight.dim() == 2]
    before = [weight.detach().clone() for weight in matrices]
    with seeded(seed):
        ways = [torch.randn_like(weight) * weight.abs().mean() for weight in before]
    found = []
    with evaluating(model):
        try:
            for distance in distances:
                for weight, start, way in zip(matrices, before, ways, strict=True):
                    weight.copy_(start + distance * way)
                found.append(float(loss(model)))
        finally:
            for weight, start in zip(matrices, before, strict=True):
                weight.copy_(start)
    return found


def landscape(losses: Mapping[str, Sequence[float]], distances: Sequence[float]) -> Plot:
    """The losses of several models along a direction, as `losses_along` finds them, as lines."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.5, 3.6), layout="constrained")
    axes, told = figure.subplots(), []
    for number, (name, found) in enumerate(losses.items()):
        axes.plot(distances, found, color=COLOURS[number], marker=MARKS[number], ms=5, label=name)
        told.append(f"{name}: {', '.join(f'{at:g}: {value:.2f}' for at, value in zip(distances, found, strict=True))}")
    axes.set(xlabel="distance, in units of each matrix's mean |w|", ylabel="loss")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#eeeeee", lw=0.7)
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return Plot(figure, f"Loss by distance along one random direction. {'; '.join(told)}.")
