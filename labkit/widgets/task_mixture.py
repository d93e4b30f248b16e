"""Many tasks in one training run: who is heard how often, and what is left out to be asked later.

A temperature flattens the shares of large and small tasks, n^(1/T); one task type can be held out, and where zero-shot
accuracies were measured, the picture has them beside it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from ipywidgets import Dropdown, IntSlider, SelectionSlider

from labkit.errors import UsageError, unknown
from labkit.fewshot.instruction.multitask import shares
from labkit.widgets import boxes
from labkit.widgets.shown import Explorer, Picture, Shown, look

Sizes = Mapping[str, Mapping[str, int]]  # type -> task -> labelled rows
Measured = Mapping[str, tuple[float, float]]  # type -> zero-shot accuracy when held out: before, after
NONE, MOST = "nothing", 40
TEMPERATURES = (1.0, 1.5, 2.0, 3.0, 5.0, 10.0, math.inf)


@dataclass(frozen=True)
class Line:
    """One task: its share of the mixture in [0, 1], and how often each of its rows comes up; both 0 if held out."""

    kind: str
    task: str
    rows: int
    share: float
    times: float


def compute(sizes: Sizes, held: str = NONE, temperature: float = 2.0, draws: int = 6400) -> list[Line]:
    """The mixture of all tasks but those of the type `held`, of which `draws` rows are read in all.

    UsageError for an unknown type, and where nothing is left to train on.
    """
    if held != NONE and held not in sizes:
        raise unknown("task type", held, sizes)
    names = [(kind, task) for kind, tasks in sizes.items() for task in tasks]
    if not 1 <= len(names) <= MOST:
        raise UsageError(f"{len(names)} tasks: 1 to {MOST} can be shown")
    kept = [(kind, task) for kind, task in names if kind != held]
    if not kept:
        raise UsageError(f"type {held!r} is all there is: hold out nothing, or add a type")
    part = dict(zip(kept, shares([sizes[kind][task] for kind, task in kept], temperature), strict=True))
    lines = []
    for kind, task in names:
        rows, share = sizes[kind][task], float(part.get((kind, task), 0.0))
        lines.append(Line(kind, task, rows, share, share * draws / rows))
    return lines


def draw(lines: list[Line], held: str, temperature: float, measured: Measured | None = None) -> Picture:
    """A bar for each task, a colour and a mark for each type; the type that is held out is struck out."""
    kinds = list(dict.fromkeys(line.kind for line in lines))
    whole = boxes.whole_bar(max(line.share for line in lines))
    rows = [_row(line, kinds.index(line.kind), line.kind == held, whole) for line in lines]
    share = f"share of what is read (a whole bar is {boxes.percent(whole)})"
    head = ("type", "task", "labelled rows", share, "", "each row is read")
    picture = [boxes.table(head, rows)]
    if measured:
        picture.append(_measured(measured, kinds, held))
    return Picture(boxes.frame(*picture), _alt(lines, held, temperature, measured or {}))


def _row(line: Line, number: int, out: bool, whole: float) -> tuple[str, ...]:
    name = boxes.escape(line.task)
    bar = boxes.bar([(line.share / whole, boxes.colour(number))], 220)
    said = "held out" if out else boxes.percent(line.share)
    read = "never" if out else f"{line.times:.3g} times"
    kind = f"{boxes.shape(number)} {boxes.escape(line.kind)}"
    return kind, f"<s>{name}</s>" if out else name, f"{line.rows:,}", bar, said, read


def _measured(measured: Measured, kinds: list[str], held: str) -> str:
    """Zero-shot accuracy of each type, before and after training on all the others."""
    rows = []
    for kind, (before, after) in measured.items():
        mark = boxes.shape(kinds.index(kind)) if kind in kinds else ""
        bars = [boxes.bar([(before, boxes.GREY)], 160), boxes.bar([(after, "#0072B2")], 160)]
        name = f"<b>{boxes.escape(kind)}</b>" if kind == held else boxes.escape(kind)
        rows.append((f"{mark} {name}", bars[0], boxes.percent(before), bars[1], boxes.percent(after),
                     f"{100 * (after - before):+.1f} points"))  # fmt: skip
    head = ("type, held out", "before", "", "after the others", "", "difference")
    said = "(accuracy, mean over tasks and wordings; a whole bar is 100&nbsp;%)"
    title = boxes.heading("Asked without an example", said)
    return title + boxes.table(head, rows)


def _alt(lines: list[Line], held: str, temperature: float, measured: Measured) -> str:
    parts = ", ".join(f"{line.task} {boxes.percent(line.share)}" for line in lines if line.kind != held)
    out = [line.task for line in lines if line.kind == held]
    text = f"At temperature {temperature:g} the tasks' shares are: {parts}."
    text += f" Held out: {', '.join(out)}." if out else " Nothing is held out."
    if held in measured:
        before, after = measured[held]
        text += f" Zero-shot accuracy of {held}: {boxes.percent(before)} before, {boxes.percent(after)} after."
    return text


def task_mixture(sizes: Sizes, measured: Measured | None = None, *, held: str = NONE) -> Shown:
    """A widget in which tasks are mixed by a temperature and a type is held out.

    `sizes` has each type's tasks and their labelled rows; `measured` each type's zero-shot accuracy when held out,
    before and after. Raises UsageError where the first picture cannot be drawn.
    """
    compute(sizes, held)  # whose errors name what is wrong before any control refuses it

    def picture(held: str, temperature: float, steps: int) -> Picture:
        return draw(compute(sizes, held, temperature, 32 * steps), held, temperature, measured)

    levels = [("∞ (equal shares)" if math.isinf(value) else f"{value:g}", value) for value in TEMPERATURES]
    return Explorer(
        picture,
        held=Dropdown(value=held, options=[NONE, *sizes], description="hold out", **look(130, 430)),
        temperature=SelectionSlider(value=2.0, options=levels, description="temperature", **look(130, 430)),
        steps=IntSlider(200, min=50, max=2000, step=50, description="steps of 32 rows", **look(130, 430)),
    )
