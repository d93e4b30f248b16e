"""A picture of a contrastive loss as forces, on the smallest batch that has both kinds of pairs.

Three texts: two of one class, whose similarity is s_p, and one of another class that has the similarity s_n to both. A
derivative of the loss is a force: how hard a pair is pulled together or pushed apart.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from labkit.report import Plot
from labkit.report.figure import COLOURS

Loss = Callable[[Tensor, Tensor, float, float, float], Tensor]  # (like, unlike, m, γ, k) -> a number
LIKE, UNLIKE = np.linspace(-0.65, 0.99, 42), np.linspace(-0.88, 0.88, 45)  # the curves' similarities
DOWN, ACROSS = np.linspace(-0.6, 0.95, 12), np.linspace(-0.9, 0.9, 13)  # the plane's
LONGEST = 0.2  # arrow, in similarity


def forces(loss: Loss, s_p: float, s_n: float, m: float = 0.4, gamma: float = 64.0) -> tuple[float, float, float]:
    """Loss of the three texts, −∂L/∂s_p (like pair, together) and ∂L/∂s_n (unlike pairs, apart), with k = 1."""
    like, unlike = (torch.tensor(float(s), dtype=torch.float64, requires_grad=True) for s in (s_p, s_n))
    found = loss(like[None], unlike.expand(2), m, gamma, 1.0)
    pull, push = torch.autograd.grad(found, (like, unlike))
    return found.item(), -pull.item(), push.item()


def pair_forces(loss: Loss, m: float = 0.4, gamma: float = 64.0) -> Plot:
    """Force over similarity, the other kind of pair on its target; beside it the plane of both, with arrows of descent.

    `loss` takes similarities of like pairs and of unlike pairs, m, γ and k, as in lesson 03/04.
    """
    from matplotlib.figure import Figure

    pulled = [forces(loss, s, m, m, gamma)[1] for s in LIKE]
    pushed = [forces(loss, 1 - m, s, m, gamma)[2] for s in UNLIKE]
    there = [(a, b) for b in DOWN for a in ACROSS if a**2 < 0.98 * (1 + b) / 2]  # no three vectors have the others
    plane = np.array([(a, b, *forces(loss, b, a, m, gamma)) for a, b in there])
    figure = Figure(figsize=(9.5, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    _curves(left, pulled, pushed, m)
    _plane(right, plane, m)
    for axes in (left, right):
        axes.grid(color="#eeeeee", lw=0.7)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(fontsize=9, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, frameon=False)
    return Plot(figure, _alt(pulled, pushed, plane, m))


def _curves(axes: Any, pulled: list[float], pushed: list[float], m: float) -> None:
    axes.plot(LIKE, pulled, color=COLOURS[0], lw=2, label="like pair, pulled together")
    axes.plot(UNLIKE, pushed, color=COLOURS[1], lw=2, ls="--", label="unlike pairs, pushed apart")
    axes.axvline(1 - m, color=COLOURS[0], ls="-.", lw=1, label=f"target of like pairs, {1 - m:g}")
    axes.axvline(m, color=COLOURS[1], ls=":", lw=1.4, label=f"target of unlike pairs, {m:g}")
    axes.set(xlabel="similarity of the pair", ylabel="force (size of the derivative)")


def _plane(axes: Any, plane: np.ndarray, m: float) -> None:
    a, b, loss, up, aside = plane.T
    shade = axes.scatter(a, b, c=loss, cmap="cividis", s=26)
    axes.figure.colorbar(shade, ax=axes, label="loss")
    scale = max(np.hypot(up, aside).max(), 1e-9) / LONGEST
    arrows = {"angles": "xy", "scale_units": "xy", "scale": scale, "width": 0.004, "color": "#444444"}
    axes.quiver(a, b, -aside, up, **arrows)
    axes.plot([], [], ls="", marker=r"$\rightarrow$", ms=12, color="#444444", label="a step of descent")
    turn, radius = np.linspace(0, 2 * np.pi, 200), m * 2**0.5
    circle = f"radius √2·m = {radius:.2f}"
    axes.plot(radius * np.cos(turn), 1 + radius * np.sin(turn), color=COLOURS[1], lw=1.5, label=circle)
    axes.set(xlabel="similarity of the unlike pairs, $s_n$", ylabel="similarity of the like pair, $s_p$",
             xlim=(-1, 1), ylim=(-0.7, 1.02), xticks=(-1, -0.5, 0, 0.5, 1))  # fmt: skip


def _alt(pulled: list[float], pushed: list[float], plane: np.ndarray, m: float) -> str:
    inside = np.hypot(plane[:, 0], 1 - plane[:, 1]) < 0.9 * m * 2**0.5
    return (
        f"Left: force over similarity. The like pair is pulled with {pulled[0]:.0f} at similarity {LIKE[0]:.2f} and "
        f"{pulled[-1]:.2f} at {LIKE[-1]:.2f}; unlike pairs are pushed with {pushed[0]:.2f} at {UNLIKE[0]:.2f} and "
        f"{pushed[-1]:.0f} at {UNLIKE[-1]:.2f}. Right: the plane of both similarities, with arrows of descent. The "
        f"loss is at most {plane[inside, 2].max():.2f} well inside a circle of radius {m * 2**0.5:.2f} around (0, 1), "
        f"and {plane[:, 2].max():.0f} at the most."
    )
