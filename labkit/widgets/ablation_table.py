"""A system stage by stage over many tasks, as a table of figures with a shade: what did each stage bring, and where?

Rows are stages, columns tasks, the last column their mean. In the view "change" a cell shows the points gained over the
stage before (or over the chosen one), in blue above and orange below zero, with an arrow, and a mark ● where the
change, split by split, is beyond two standard errors. The figure stands in every cell: colour only helps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from ipywidgets import Dropdown, HBox, Layout, ToggleButtons

from labkit.errors import UsageError, unknown
from labkit.report import Report
from labkit.widgets.boxes import GREY, escape, frame, ink
from labkit.widgets.shown import Explorer, Picture, Shown

MEAN = "mean"
VIEWS = {"accuracy": "accuracy (%)", "before": "change from the stage before", "chosen": "change from the chosen stage"}
UP, DOWN = (0, 114, 178), (213, 94, 0)  # blue and vermilion of Okabe & Ito, told apart by every eye
PLAIN = '<tr style="background-color:transparent">'
FULL = 15.0  # points of change that give the full colour


@dataclass(frozen=True)
class Cell:
    """A stage on a task: `value` in per cent or points, its standard error over splits (nan for one split), `clear`
    where a change is beyond two of them.
    """

    value: float
    error: float
    clear: bool = False


@dataclass(frozen=True)
class Grid:
    """Stages by columns; `cells[stage][column]`, None where there is nothing to show."""

    stages: tuple[str, ...]
    columns: tuple[str, ...]
    cells: tuple[tuple[Cell | None, ...], ...]
    view: str
    chosen: str
    splits: int


Scores = Mapping[tuple[str, str], Mapping[int, float]]


def compute(report: Report, stages: Sequence[str], view: str = "accuracy", chosen: str | None = None) -> Grid:
    """The grid for the rows of `stages`, in that order; a column a task that all of them ran, and their mean.

    UsageError for an unknown view or stage, or where the stages share no task.
    """
    if view not in VIEWS:
        raise unknown("view", view, VIEWS)
    found = _scores(report)
    known = list(dict.fromkeys(method for method, _ in found))
    for stage in (*stages, *([] if chosen is None else [chosen])):
        if stage not in known:
            raise unknown("stage", stage, known)
    tasks = [task for task in dict.fromkeys(task for _, task in found) if all((s, task) in found for s in stages)]
    if not tasks:
        raise UsageError("these stages have no task in common: run them on the same ones")
    table = {stage: _with_mean({task: found[stage, task] for task in tasks}) for stage in stages}
    chosen = chosen if chosen in stages else stages[-1]
    columns = (*tasks, MEAN) if len(tasks) > 1 else tuple(tasks)
    cells = tuple(tuple(_cell(table, stages, stage, column, view, chosen) for column in columns) for stage in stages)
    splits = max(len(values) for some in table.values() for values in some.values())
    return Grid(tuple(stages), columns, cells, view, chosen, splits)


def _scores(report: Report) -> dict[tuple[str, str], dict[int, float]]:
    """(stage, short task name) -> split -> score in per cent."""
    found: dict[tuple[str, str], dict[int, float]] = {}
    for row in report.rows:
        found.setdefault((row.method, row.task.rsplit("/", 1)[-1]), {})[row.seed] = 100 * row.value
    return found


def _with_mean(scores: Mapping[str, Mapping[int, float]]) -> dict[str, Mapping[int, float]]:
    """The scores, and under MEAN those of each split that every task has, averaged over tasks."""
    shared = set.intersection(*(set(values) for values in scores.values()))
    mean = {split: float(np.mean([values[split] for values in scores.values()])) for split in sorted(shared)}
    return {**scores, MEAN: mean}


def _cell(
    table: Mapping[str, Mapping[str, Mapping[int, float]]],
    stages: Sequence[str],
    stage: str,
    column: str,
    view: str,
    chosen: str,
) -> Cell | None:
    """One cell; a change is the mean of the splits' own changes."""
    values = table[stage][column]
    if view == "accuracy":
        return _summary(list(values.values())) if values else None
    place = stages.index(stage)
    other = chosen if view == "chosen" else stages[max(place - 1, 0)]
    if other == stage:
        return None
    pairs = [values[split] - table[other][column][split] for split in values if split in table[other][column]]
    return _summary(pairs, change=True) if pairs else None


def _summary(values: Sequence[float], change: bool = False) -> Cell:
    mean = float(np.mean(values))
    error = float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")
    return Cell(mean, error, change and abs(mean) > 2 * error > 0)


def draw(grid: Grid) -> Picture:
    """The grid as a table of HTML, the chosen stage framed, and every figure in its words."""
    head = "".join(f'<th scope="col" style="{_style()}">{escape(name)}</th>' for name in ("", *grid.columns))
    low, high = _range(grid)
    lines = []
    for stage, cells in zip(grid.stages, grid.cells, strict=True):
        mark = "▸ " if stage == grid.chosen else ""
        edge = f"border-top:2px solid {GREY};border-bottom:2px solid {GREY};" if stage == grid.chosen else ""
        name = f'<th scope="row" style="{_style("left")}">{mark}{escape(stage)}</th>'
        shown = "".join(_html(cell, grid.view, low, high, edge) for cell in cells)
        lines.append(f"{PLAIN}{name}{shown}</tr>")
    top, body = f"<thead>{PLAIN}{head}</tr></thead>", f"<tbody>{''.join(lines)}</tbody>"
    whole = f'<table style="border-collapse:collapse;border:none;color:inherit">{top}{body}</table>'
    return Picture(frame(f"<div><b>{escape(VIEWS[grid.view])}</b></div>", whole, _legend(grid)), _alt(grid))


def _style(align: str = "right") -> str:
    place = f"border:none;padding:3px 7px;text-align:{align};white-space:nowrap"
    return f"{place};color:inherit;font-size:13px;font-weight:bold"


def _range(grid: Grid) -> tuple[float, float]:
    values = [cell.value for line in grid.cells for cell in line if cell is not None]
    return (min(values), max(values)) if values else (0.0, 1.0)


def _html(cell: Cell | None, view: str, low: float, high: float, edge: str) -> str:
    look = f"border:1px solid rgba(128,128,128,0.25);{edge}padding:3px 7px;text-align:right;font-size:13px"
    if cell is None:
        return f'<td style="{look};color:inherit">·</td>'
    fill = _shade(cell.value, view, low, high)
    shown = f"{cell.value:.1f}" if view == "accuracy" else said(cell)
    return f'<td style="{look};background-color:{fill};color:{ink(fill)};white-space:nowrap">{escape(shown)}</td>'


def _shade(value: float, view: str, low: float, high: float) -> str:
    """From white to blue with the accuracy; to blue above zero and to orange below for a change."""
    if view == "accuracy":
        share, end = (value - low) / (high - low) if high > low else 0.5, UP
    else:
        share, end = min(abs(value) / FULL, 1.0), (UP if value > 0 else DOWN)
    parts = [round(255 + 0.75 * share * (part - 255)) for part in end]
    return "#" + "".join(f"{part:02x}" for part in parts)


def said(cell: Cell) -> str:
    """A change as text: its arrow, its figure with sign, and ● where it is beyond two standard errors."""
    arrow = "▲" if cell.value > 0.05 else "▼" if cell.value < -0.05 else "="
    return f"{arrow} {cell.value:+.1f}{' ●' if cell.clear else ''}"


def _legend(grid: Grid) -> str:
    if grid.view == "accuracy":
        text = f"mean of {grid.splits} training splits; darker is higher"
    else:
        other = grid.chosen if grid.view == "chosen" else "the line above"
        text = f"points against {other}, over {grid.splits} splits; ● beyond two standard errors"
    return f'<div style="font-size:12px">{escape(text)}</div>'


def _alt(grid: Grid) -> str:
    def one(stage: str, cells: Sequence[Cell | None]) -> str:
        pairs = zip(grid.columns, cells, strict=True)
        shown = [
            f"{column} {cell.value:.1f}" if grid.view == "accuracy" else f"{column} {said(cell)}"
            for column, cell in pairs
            if cell is not None
        ]
        return f"{stage}: {', '.join(shown)}" if shown else f"{stage}: nothing to compare with"

    lines = "; ".join(one(stage, cells) for stage, cells in zip(grid.stages, grid.cells, strict=True))
    return f"Table of stages by tasks, {VIEWS[grid.view]}. {lines}."


class AblationTable(Explorer):
    """The shell: a choice of view and of the stage to set off."""

    def __init__(self, report: Report, stages: Sequence[str], view: str, chosen: str) -> None:
        self.report, self.stages = report, tuple(stages)
        wide = Layout(width="max-content")
        self.shown = ToggleButtons(
            options=[(name, key) for key, name in VIEWS.items()], value=view, description="show", layout=wide
        )
        self.stage = Dropdown(options=self.stages, value=chosen, description="stage", layout=wide)
        super().__init__([self.shown, self.stage], [HBox([self.stage]), self.shown])

    def picture(self) -> Picture:
        """The table for the view and stage as they stand."""
        return draw(compute(self.report, self.stages, self.shown.value, self.stage.value))


def ablation_table(report: Report, stages: Sequence[str], view: str = "before", chosen: str | None = None) -> Shown:
    """Stages × tasks of a report's rows, to look at as accuracies or as what each stage changed.

    `stages` are the methods to show, in order; `chosen` is set off, the last unless given. Raises UsageError for
    names that the report does not have.
    """
    grid = compute(report, stages, view, chosen)
    return AblationTable(report, stages, view, grid.chosen)
