"""The map of the course: how the modules share the pipeline, and how far a learner has come in each lesson.

Both are plain pictures: nothing in them can be moved, and a notebook's front end follows the links of an HTML output,
not those of a widget.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labkit import progress as learner
from labkit.course.lessons import LESSONS, MODULES, STAGES, Lesson, Module, find_root
from labkit.report import Plot
from labkit.report.figure import COLOURS
from labkit.widgets.boxes import bar, count, escape, ink
from labkit.widgets.shown import Picture

MARKS = {"new": "○", "begun": "◐", "done": "●"}
SAID = {"new": "not begun", "begun": "begun", "done": "done"}
COLUMNS = {"": 34, "lesson": 300, "what": 330, "after": 110, "minutes": 50}  # heading -> width in pixels
WIDTH = sum(COLUMNS.values()) + 5 * 14  # with the space between columns
MUTED = "#767676"


@dataclass(frozen=True)
class Entry:
    """One lesson on the map: `there` None where nobody knows whether its notebook exists."""

    lesson: Lesson
    there: bool | None
    state: str
    solved: int
    exercises: int


@dataclass(frozen=True)
class Part:
    """One module on the map."""

    module: Module
    entries: tuple[Entry, ...]

    @property
    def done(self) -> int:
        """How many of its lessons are done."""
        return sum(entry.state == "done" for entry in self.entries)

    @property
    def share(self) -> float:
        """How much of it is done, in [0, 1]: a lesson that was begun counts by its solved exercises."""
        parts = [1.0 if e.state == "done" else e.solved / e.exercises if e.exercises else 0.0 for e in self.entries]
        return sum(parts) / len(parts)


def course_map(progress: Mapping[str, Mapping[str, Any]] | None = None, root: Path | None = None) -> Picture:
    """The six modules with their lessons, links, prerequisites, minutes and the learner's progress.

    `progress` is what `labkit.progress.read` gives, and is read there if None; `root` is the course folder, and is
    looked for if None. A lesson is begun (◐) once opened, and done (●) once all its exercises are solved.
    """
    from labkit.checks import exercises

    return draw(compute(learner.read() if progress is None else progress, root or find_root(), exercises))


def compute(
    progress: Mapping[str, Mapping[str, Any]], root: Path | None, exercises: Callable[[str], Sequence[str]]
) -> tuple[Part, ...]:
    """The state of every lesson; `exercises` gives the names of a lesson's exercises."""
    return tuple(
        Part(module, tuple(_entry(item, progress, root, exercises) for item in LESSONS if item.module == module.folder))
        for module in MODULES
    )


def _entry(
    item: Lesson,
    progress: Mapping[str, Mapping[str, Any]],
    root: Path | None,
    exercises: Callable[[str], Sequence[str]],
) -> Entry:
    there = None if root is None else item.exists(root)
    known = progress.get(item.key, {})
    names = set(exercises(item.key))
    solved = len(names & set(known.get("passed", ())))
    opened = bool(known.get("opened")) or solved > 0
    done = opened and there is not False and solved == len(names)  # without exercises, opened is done
    return Entry(item, there, "done" if done else "begun" if opened else "new", solved, len(names))


def draw(parts: Sequence[Part]) -> Picture:
    """The map as HTML."""
    legend = "   ".join(f"{MARKS[state]} {said}" for state, said in SAID.items())
    blocks = [f'<div style="color:{MUTED}">{legend}</div>', *(_module(part, place) for place, part in enumerate(parts))]
    return Picture("".join(blocks), _words(parts))


def _module(part: Part, place: int) -> str:
    told = f"{part.done} of {count(len(part.entries), 'lesson')} done"
    head = (
        f'<div style="margin-top:14px;margin-bottom:2px"><b>{part.module.number} · {escape(part.module.title)}</b> '
        f'<span style="color:{MUTED}">{told}</span></div>{bar([(part.share, COLOURS[place])], width=320, height=8)}'
    )
    pad = "border:none;padding:2px 14px 2px 0px;text-align:left;vertical-align:top;font-size:13px"
    titles = "".join(f'<th scope="col" style="{pad};width:{COLUMNS[name]}px">{name}</th>' for name in COLUMNS)
    rows = "".join(_row(entry, pad) for entry in part.entries)
    plain = '<tr style="background-color:transparent">'
    style = f"border-collapse:collapse;border:none;margin:4px 0px;table-layout:fixed;width:{WIDTH}px"
    table = f'<table style="{style}"><thead>{plain}{titles}</tr></thead>'
    return f"{head}{table}<tbody>{rows}</tbody></table>"


def _row(entry: Entry, pad: str) -> str:
    item = entry.lesson
    title = f"{item.key} {escape(item.title)}"
    if entry.there:
        title = f'<a href="{item.notebook.as_posix()}">{title}</a>'
    elif entry.there is False:
        title = f'<span style="color:{MUTED}">{title}, not written yet</span>'
    mark = MARKS[entry.state] + (f" {entry.solved}/{entry.exercises}" if entry.solved else "")
    cells = (
        f'<span title="{SAID[entry.state]}">{mark}</span>',
        title,
        f'<span style="color:{MUTED}">{escape(item.systems)}</span>' if entry.there is False else escape(item.systems),
        ", ".join(item.needs),
        str(item.minutes),
    )
    row = "".join(f'<td style="{pad}">{cell}</td>' for cell in cells)
    return f'<tr style="background-color:transparent">{row}</tr>'


def _words(parts: Sequence[Part]) -> str:
    """The map in words."""
    entries = [entry for part in parts for entry in part.entries]
    written = sum(bool(entry.there) for entry in entries)
    ready = "" if any(entry.there is None for entry in entries) else f", {written} of them written"
    told = [f"{part.module.number} {part.module.title}: {part.done} of {len(part.entries)} done" for part in parts]
    return f"Map of the course: {len(parts)} modules, {len(entries)} lessons{ready}. " + "; ".join(told) + "."


def pipeline_picture() -> Plot:
    """The stages of the pipeline from left to right, and under them each module, from its first stage to its last."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.5, 4.0), layout="constrained")
    axes = figure.subplots()
    axes.set(xlim=(-0.02, len(STAGES) + 0.02), ylim=(-len(MODULES) - 0.1, 1.05))
    axes.axis("off")
    for place, stage in enumerate(STAGES):
        _stage(axes, place, stage)
    for row, module in enumerate(MODULES):
        _span(axes, row, module)
    return Plot(figure, _pipeline_words())


def _stage(axes: Any, place: int, name: str) -> None:
    """A chevron, which points at the next stage."""
    left, right, tip = place + 0.02, place + 0.88, place + 1.0
    notch = place + (0.14 if place else 0.02)
    corners = [(left, 0.2), (right, 0.2), (tip, 0.6), (right, 1.0), (left, 1.0), (notch, 0.6)]
    axes.fill(*zip(*corners, strict=True), facecolor="#e8e8e8", edgecolor="#444444", lw=1)
    axes.text(place + 0.53, 0.6, name, ha="center", va="center", fontsize=12, color="#000000")
    axes.plot([place, place], [-len(MODULES), 0.1], color="#cccccc", lw=0.8, zorder=0)


def _span(axes: Any, row: int, module: Module) -> None:
    """One module's bar, its title inside if there is room, else beside."""
    first, last = (STAGES.index(stage) for stage in module.stages)
    fill = COLOURS[row]
    axes.barh(-row - 0.5, last - first + 0.92, left=first + 0.04, height=0.66, color=fill)
    title = f"{module.number} {module.title}"
    if last > first + 1:
        axes.text(first + 0.14, -row - 0.5, title, va="center", fontsize=11, color=ink(fill))
        return
    axes.text(first + 0.14, -row - 0.5, module.number, va="center", fontsize=11, color=ink(fill))
    axes.text(last + 1.02, -row - 0.5, module.title, va="center", fontsize=11, color="#000000",
              bbox={"facecolor": "white", "edgecolor": "none", "pad": 1})  # fmt: skip


def _pipeline_words() -> str:
    spans = [f"{module.number} {module.title}: " + " to ".join(dict.fromkeys(module.stages)) for module in MODULES]
    return f"The pipeline, stage by stage: {', '.join(STAGES)}. The modules and their stages: {'; '.join(spans)}."
