"""Losses of one or several runs against steps, tokens or seconds, smoothed at will.

A single batch's loss jumps; what a run is doing shows in an exponential moving average. An average that starts at zero
is too small at first, so it is divided by the weight it has gathered, as Adam does (Kingma & Ba 2015, §3):
m_t = β·m_{t−1} + (1 − β)·x_t, shown as m_t / (1 − β^t).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from ipywidgets import Checkbox, Dropdown, FloatSlider, Layout

from labkit.errors import UsageError, unknown
from labkit.report import Plot
from labkit.report.figure import COLOURS, MARKS
from labkit.report.fonts import drawable, family
from labkit.training.history import History
from labkit.widgets.shown import Explorer, Shown, look

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Runs = Mapping[str, History | Sequence[float]]
AXES = {"steps": "step", "tokens": "tokens trained on", "seconds": "time (seconds)"}
LINES = ("-", "--", "-.", ":")
MOST_RUNS, MOST_POINTS = 12, 1500


@dataclass(frozen=True)
class Curve:
    """One run on one axis: `x`, the losses there (`raw`) and their average (`smooth`), all (steps,)."""

    name: str
    x: np.ndarray
    raw: np.ndarray
    smooth: np.ndarray


def smoothed(losses: Sequence[float], weight: float) -> np.ndarray:
    """The bias-corrected exponential moving average with β = `weight` in [0, 1): (steps,); 0 changes nothing."""
    if not 0 <= weight < 1:
        raise UsageError(f"smoothing={weight}: a number from 0 up to, but not, 1 is needed")
    average, result = 0.0, np.empty(len(losses))
    for step, loss in enumerate(losses, 1):
        average = weight * average + (1 - weight) * loss
        result[step - 1] = average / (1 - weight**step)
    return result


def compute(runs: Runs, axis: str = "steps", smoothing: float = 0.9) -> list[Curve]:
    """The curves of `runs` against `axis`, one of AXES. UsageError for a run without losses, or without that axis.

    A History holds the tokens and seconds of a whole run, so each step is given an equal part of them.
    """
    if axis not in AXES:
        raise unknown("axis", axis, AXES)
    if not 1 <= len(runs) <= MOST_RUNS:
        raise UsageError(f"{len(runs)} runs: give 1 to {MOST_RUNS}, as {{name: history}}")
    return [_curve(str(name), run, axis, smoothing) for name, run in runs.items()]


def _curve(name: str, run: History | Sequence[float], axis: str, smoothing: float) -> Curve:
    losses = np.asarray(run.losses if isinstance(run, History) else run, dtype=float)
    if losses.ndim != 1 or not len(losses) or not np.isfinite(losses).all():
        raise UsageError(f"run {name!r}: a list of one loss a step is needed, all of them finite")
    total = _total(run, axis)
    if not total:
        raise UsageError(f"run {name!r} counted no {axis}: choose another axis, or give the History that fit returned")
    x = np.arange(1, len(losses) + 1) * (total / len(losses))
    return Curve(name, x, losses, smoothed(losses, smoothing))


def _total(run: History | Sequence[float], axis: str) -> float:
    if axis == "steps":
        return len(run.losses) if isinstance(run, History) else len(run)
    return float(getattr(run, axis)) if isinstance(run, History) else 0.0


def axes_of(runs: Runs) -> list[str]:
    """The axes that every run has."""
    return [axis for axis in AXES if all(_total(run, axis) for run in runs.values())]


def draw(curves: Sequence[Curve], axis: str = "steps", log: bool = False) -> Plot:
    """Each run's losses faint and their average bold, its name at the line's end; `log` makes the loss axis so."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter

    figure = Figure(figsize=(7.5, 3.8), layout="constrained")
    axes = figure.subplots()
    if log and all((curve.smooth > 0).all() for curve in curves):
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.yaxis.set_minor_formatter(lambda value, _: f"{value:g}" if f"{value:.0e}"[0] in "25" else "")
    elif log:
        raise UsageError("a logarithmic axis needs losses above 0: switch it off")
    for number, curve in enumerate(curves):
        _line(axes, number, curve)
    axes.set_xlabel(AXES[axis])
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.set_title("thin: the loss of each step; thick: its moving average", loc="left", fontsize=9, color="#555555")
    axes.set_ylabel("loss (nats)" + (", log scale" if log else ""))
    axes.grid(color="#dddddd", lw=0.7)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlim(0, max(curve.x[-1] for curve in curves) * 1.02)
    _show_smooth(axes, curves, log)
    _names(axes, curves)
    return Plot(figure, _alt(curves, axis, log))


def _line(axes: Axes, number: int, curve: Curve) -> None:
    look: dict[str, Any] = {"color": COLOURS[number % len(COLOURS)]}
    keep = np.unique(np.linspace(0, len(curve.x) - 1, min(len(curve.x), MOST_POINTS)).astype(int))
    axes.plot(curve.x[keep], curve.raw[keep], lw=0.8, alpha=0.25, **look)
    axes.plot(curve.x[keep], curve.smooth[keep], lw=2, ls=LINES[number % len(LINES)], **look)
    axes.plot(curve.x[-1], curve.smooth[-1], marker=MARKS[number % len(MARKS)], ms=7, **look)


def _show_smooth(axes: Axes, curves: Sequence[Curve], log: bool) -> None:
    """Limits that hold every average and all but the wildest losses, so that one spike does not flatten the rest."""
    raw = np.concatenate([curve.raw for curve in curves])
    raw = raw[raw > 0] if log else raw
    smooth = np.concatenate([curve.smooth for curve in curves])
    low, high = min(smooth.min(), np.quantile(raw, 0.005)), max(smooth.max(), np.quantile(raw, 0.995))
    if log:
        axes.set_ylim(low / 1.1, high * 1.1)
    else:
        gap = 0.05 * (high - low) or 0.1
        axes.set_ylim(low - gap, high + gap)


def _names(axes: Axes, curves: Sequence[Curve]) -> None:
    """The runs' names at the right, in the order of their ends, pushed apart where they would touch."""
    ends = [axes.transAxes.inverted().transform(axes.transData.transform((c.x[-1], c.smooth[-1]))) for c in curves]
    order = sorted(range(len(curves)), key=lambda number: ends[number][1])
    heights = spread([ends[number][1] for number in order], 0.07)
    for number, height in zip(order, heights, strict=True):
        label = drawable(curves[number].name, f"run {number + 1}")
        axes.annotate(
            f"{label} {curves[number].smooth[-1]:.3g}",
            ends[number], (1.04, height), "axes fraction", "axes fraction", va="center", fontsize=9, color="#222222",
            parse_math=False, fontfamily=family(label), annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": COLOURS[number % len(COLOURS)], "lw": 1, "shrinkB": 5},
        )  # fmt: skip


def spread(places: Sequence[float], gap: float) -> list[float]:
    """Rising `places` moved as little as keeps them `gap` apart: groups that touch are centred where they were."""
    groups: list[list[float]] = []
    for place in places:
        groups.append([place])
        while len(groups) > 1 and _top(groups[-2], gap) + gap > _bottom(groups[-1], gap):
            groups[-2:] = [groups[-2] + groups[-1]]
    return [_bottom(group, gap) + gap * rank for group in groups for rank in range(len(group))]


def _bottom(group: Sequence[float], gap: float) -> float:
    return sum(group) / len(group) - gap * (len(group) - 1) / 2


def _top(group: Sequence[float], gap: float) -> float:
    return sum(group) / len(group) + gap * (len(group) - 1) / 2


def _alt(curves: Sequence[Curve], axis: str, log: bool) -> str:
    def one(curve: Curve) -> str:
        lowest = int(curve.smooth.argmin())
        return (
            f"{curve.name} from {curve.smooth[0]:.3g} to {curve.smooth[-1]:.3g} in {len(curve.raw)} steps, "
            f"lowest {curve.smooth[lowest]:.3g} at step {lowest + 1}"
        )

    scale = ", log scale," if log else ""
    return f"Line plot of the smoothed loss (nats){scale} against {AXES[axis]}: {'; '.join(map(one, curves))}."


def training_curve(runs: Runs, *, smoothing: float = 0.9, log: bool = False) -> Shown:
    """A widget that shows the losses of up to 12 runs, `{name: history}`, where a history is what `fit` returned or a
    list of losses. UsageError for a run without losses.
    """
    compute(runs, smoothing=smoothing)  # whose errors name what is wrong before any control refuses it
    return Explorer(
        lambda axis, smoothing, log: draw(compute(runs, axis, smoothing), axis, log),
        axis=Dropdown(options=axes_of(runs), description="against", **look(90, 360)),
        smoothing=FloatSlider(
            smoothing, min=0.0, max=0.99, step=0.01, description="smoothing", **look(90, 360),
            continuous_update=False,  # a picture takes longer than a step of the mouse
        ),
        log=Checkbox(log, description="logarithmic loss axis", indent=False, layout=Layout(width="180px")),
    )  # fmt: skip
