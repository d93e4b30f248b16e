"""The course of memory over a training step, as recorded by `tracker`."""

from __future__ import annotations

from typing import Any

from labkit.errors import UsageError
from labkit.parallel.memory.tracker import KINDS, LiveTensors
from labkit.report import Plot
from labkit.report.figure import COLOURS

HATCHES = ("", "///", "...", "")


def course_plot(runs: dict[str, LiveTensors], predicted: dict[str, float] | None = None) -> Plot:
    """Bytes alive after each operator of a run's last step by kind, a panel a run, on one scale.

    A step begins with the phase "forward" and ends with "step"; `predicted` peaks, in bytes, are dashed lines.
    UsageError for no runs.
    """
    if not runs:
        raise UsageError("course_plot needs at least one watched run, {'plain': live}")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.5, 3.2), layout="constrained")
    panels = figure.subplots(1, len(runs), sharey=True, squeeze=False)[0]
    words = []
    for axes, (name, live) in zip(panels, runs.items(), strict=True):
        _areas(axes, live)
        axes.set_title(f"{name}: {live.peak / 1e6:.1f} MB", loc="left", fontsize=10)
        words.append(f"{name}: at most {live.peak / 1e6:.2f} MB")
        if predicted:
            axes.axhline(predicted[name] / 1e6, color="black", ls="--", lw=1.2, label="predicted peak")
            words[-1] += f", predicted {predicted[name] / 1e6:.2f} MB"
    panels[0].set(ylabel="MB alive", ylim=(0, 1.15 * max(live.peak for live in runs.values()) / 1e6))
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False, fontsize=9)
    alt = (
        "Stacked areas of bytes alive after each operator of a training step: weights, gradients and optimizer states "
        "stay; activations rise in the forward pass and fall in the backward pass. "
    )
    return Plot(figure, alt + "; ".join(words))


def _areas(axes: Any, live: LiveTensors) -> None:
    """The areas from the last forward pass to a little after its backward pass, with a line where that begins."""
    begins = [one.born for before, one in zip(live.lives, live.lives[1:], strict=False)
              if one.phase == "forward" and before.phase in ("make", "step")]  # fmt: skip
    start = begins[-1] if begins else 1
    turn = min((one.born for one in live.lives if one.phase == "backward" and one.born > start), default=start)
    ends = [one.born for one in live.lives if one.phase == "backward"]
    stop = round(start + 1.12 * (max(ends, default=live.clock) - start))
    course = live.course()[start:stop]
    stack = [[now[kind] / 1e6 for now in course] for kind in KINDS]
    areas = axes.stackplot(range(len(course)), *stack, labels=KINDS, colors=COLOURS)
    for area, hatch in zip(areas, HATCHES, strict=True):
        area.set(hatch=hatch, edgecolor="white" if hatch else "none", linewidth=0.0)
    axes.axvline(turn - start, color="#444444", ls="--", lw=1)
    places = [(turn - start, "backward"), (0, "forward"), (max(ends, default=start) - start, "step")]
    for place, word in places if turn - start > 0.2 * len(course) else ():
        axes.annotate(word, (place, 1), (3, -11), axes.get_xaxis_transform(), "offset points", fontsize=8)
    axes.set(xlabel="operators run", xlim=(0, len(course) - 1))
    axes.spines[["top", "right"]].set_visible(False)
