"""A pipeline's schedule on a clock: who computes which micro-batch when, the bubble, and what each stage must keep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ipywidgets import Dropdown, FloatSlider, IntSlider

from labkit.errors import UsageError
from labkit.parallel.model_parallel.schedule import SCHEDULES, bubble, bubble_in_theory, live, schedule, simulate
from labkit.report import Plot
from labkit.report.figure import COLOURS
from labkit.widgets.boxes import ink
from labkit.widgets.shown import Explorer, Shown, look

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from labkit.parallel.trace import Event

MOST_STAGES, MOST_MICRO_BATCHES = 8, 16
BOTH = "both"
TITLES = {"gpipe": "GPipe", "1f1b": "1F1B"}
FORWARD, BACKWARD = COLOURS[0], COLOURS[5]


@dataclass(frozen=True)
class Plan:
    """A schedule on a clock: `events` with the stage as rank, times in units of one forward; `kept`: micro-batches."""

    name: str
    stages: int
    micro_batches: int
    ratio: float
    events: tuple[Event, ...]
    bubble: float
    theory: float
    kept: tuple[int, ...]

    @property
    def length(self) -> float:
        """From the first start to the last end."""
        return max(event.end for event in self.events)


def compute(name: str, stages: int, micro_batches: int, ratio: float) -> Plan:
    """The schedule `name` with backwards that take `ratio` times as long as forwards.

    UsageError for an unknown name, more than 8 stages or 16 micro-batches, or a ratio that is not positive.
    """
    if stages > MOST_STAGES or micro_batches > MOST_MICRO_BATCHES:
        raise UsageError(
            f"at most {MOST_STAGES} stages and {MOST_MICRO_BATCHES} micro-batches can be read here, "
            f"not {stages} and {micro_batches}"
        )
    plan = schedule(name, stages, micro_batches)
    events = tuple(simulate(plan, 1.0, ratio))
    theory = bubble_in_theory(stages, micro_batches)
    return Plan(name, stages, micro_batches, ratio, events, bubble(events, stages), theory, tuple(map(live, plan)))


def draw(plans: Sequence[Plan]) -> Plot:
    """The plans below one another on one scale; white is the bubble."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    height = sum(0.36 * plan.stages + 0.75 for plan in plans)
    figure = Figure(figsize=(10, height + 0.7), layout="constrained")
    panels = figure.subplots(len(plans), 1, squeeze=False, height_ratios=[plan.stages + 1 for plan in plans])[:, 0]
    for axes, plan in zip(panels, plans, strict=True):
        _panel(axes, plan, max(plan.length for plan in plans))
    panels[-1].set_xlabel("time, in units of one forward pass of a micro-batch through a stage")
    looks = [
        Patch(facecolor=FORWARD, label="forward of micro-batch n"),
        Patch(facecolor=BACKWARD, label="its backward", hatch="///", edgecolor="white"),
        Patch(facecolor="white", edgecolor="#999999", label="nothing to do: the bubble"),
    ]
    figure.legend(handles=looks, loc="outside lower center", ncols=3, frameon=False)
    return Plot(figure, " ".join(map(_in_words, plans)))


def _panel(axes: Axes, plan: Plan, length: float) -> None:
    axes.add_patch(_rectangle(0, -0.4, plan.length, plan.stages - 0.2, facecolor="none", edgecolor="#999999", lw=1))
    room = 10 * 65 / length  # points that one unit of time is wide
    for event in plan.events:
        word, _, micro = event.name.partition(" ")
        look: dict[str, Any] = {"facecolor": FORWARD, "edgecolor": "white"}
        if word == "backward":
            look = {"facecolor": BACKWARD, "edgecolor": "white", "hatch": "///"}
        axes.add_patch(_rectangle(event.start, event.rank - 0.4, event.seconds, 0.8, lw=0.6, **look))
        if event.seconds * room > 7:
            box = {"facecolor": look["facecolor"], "edgecolor": "none", "pad": 0.6}
            place = (event.start + event.seconds / 2, event.rank)
            axes.text(*place, micro, ha="center", va="center", fontsize=8, color=ink(look["facecolor"]), bbox=box)
    axes.set_xlim(0, length)
    axes.set_ylim(plan.stages - 0.45, -0.55)
    axes.set_yticks(range(plan.stages), [f"stage {stage}" for stage in range(plan.stages)])
    right = axes.secondary_yaxis("right")
    right.set_yticks(range(plan.stages), [f"keeps {kept}" for kept in plan.kept])
    right.tick_params(length=0)
    for side in (axes, right):
        side.spines[:].set_visible(False)
    axes.set_title(_title(plan), loc="left", fontsize=10)


def _rectangle(left: float, top: float, width: float, height: float, **look: Any) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((left, top), width, height, **look)


def _title(plan: Plan) -> str:
    closed = f"{plan.stages - 1}/{plan.micro_batches + plan.stages - 1}"
    return f"{TITLES[plan.name]}: takes {plan.length:g}, bubble {100 * plan.bubble:.1f} % = {closed}"


def _in_words(plan: Plan) -> str:
    """The plan as text: sizes, bubble, what is kept, and the order of every stage."""
    orders = []
    for stage in range(plan.stages):
        own = [event.name for event in plan.events if event.rank == stage]
        orders.append(f"stage {stage}: " + " ".join(name[0].upper() + name.partition(" ")[2] for name in own))
    kept = ", ".join(map(str, plan.kept))
    return (
        f"{TITLES[plan.name]} with {plan.stages} stages and {plan.micro_batches} micro-batches, "
        f"backward {plan.ratio:g} times as long as forward: takes {plan.length:g} forward times, "
        f"bubble {100 * plan.bubble:.1f} %; stages keep {kept} micro-batches. {'; '.join(orders)}."
    )


def pipeline_schedule(*, stages: int = 4, micro_batches: int = 8) -> Shown:
    """A widget that draws GPipe, 1F1B or both for 1 to 8 stages and 1 to 16 micro-batches.

    UsageError for what lies outside.
    """
    compute("gpipe", stages, micro_batches, 2.0)  # the caller's sizes are checked, not moved into the sliders' range
    names = [("both, to compare", BOTH), *((TITLES[key], key) for key in SCHEDULES)]

    def picture(name: str, **sizes: Any) -> Plot:
        return draw([compute(one, **sizes) for one in (SCHEDULES if name == BOTH else [name])])

    return Explorer(
        picture,
        name=Dropdown(options=names, description="schedule", **look(100, 330)),
        stages=IntSlider(stages, 1, MOST_STAGES, description="stages", **look(100, 330)),
        micro_batches=IntSlider(micro_batches, 1, MOST_MICRO_BATCHES, description="micro-batches", **look(100, 330)),
        ratio=FloatSlider(2.0, min=0.5, max=4, step=0.5, description="backward / forward", **look(130, 330)),
    )
