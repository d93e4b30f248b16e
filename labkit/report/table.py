"""Rows of results as a table: for a terminal, a notebook, a Markdown page."""

from __future__ import annotations

import html
import statistics
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from labkit.report.comparison import in_percent
from labkit.report.result import Result

Reference = Mapping[str, "float | str | tuple[float | str, str]"]
Bounds = Mapping[str, "tuple[str, float | None, float | None]"]


@dataclass(frozen=True, repr=False)
class Table:
    """Cells as text, the first column names; `lines` are the chance and ceiling rows under the methods."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    lines: tuple[tuple[str, ...], ...] = ()
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        cells = [tuple(map(_line, row)) for row in (self.header, *self.rows, *self.lines)]
        widths = [max(map(_width, column)) for column in zip(*cells, strict=True)]
        text = [
            "  ".join(c + " " * (w - _width(c)) for c, w in zip(row, widths, strict=True)).rstrip() for row in cells
        ]
        return "\n".join(text + [_line(note) for note in self.notes])

    __repr__ = __str__  # what a notebook keeps beside the HTML

    def _repr_html_(self) -> str:
        def row(cells: Sequence[str], first: str, rest: str, style: str = "") -> str:
            scope = "col" if rest == "th" else "row"
            one = f'<{first} scope="{scope}" style="text-align:left">{_html(cells[0])}</{first}>'
            others = [f'<{rest} style="text-align:{_side(cell)}">{_html(cell)}</{rest}>' for cell in cells[1:]]
            return f"<tr{style}>{one}{''.join(others)}</tr>"

        body = [row(cells, "th", "td") for cells in self.rows]
        body += [row(cells, "th", "td", ' style="font-style:italic"') for cells in self.lines]
        notes = "".join(f"<p><small>{_html(note)}</small></p>" for note in self.notes)
        return f"<table><thead>{row(self.header, 'th', 'th')}</thead><tbody>{''.join(body)}</tbody></table>{notes}"

    def markdown(self) -> str:
        """A Markdown table, markup in the cells made harmless."""
        rule = (":--",) + ("--:",) * (len(self.header) - 1)
        rows = [self.header, rule, *self.rows, *self.lines]
        text = ["| " + " | ".join(c if row is rule else _markdown(c) for c in row) + " |" for row in rows]
        return "\n".join(text + [line for note in self.notes for line in ("", _markdown(note))]) + "\n"


def build(rows: Sequence[Result], bounds: Bounds, reference: Reference, source: str) -> Table:
    """The table of `rows`; see `Report.table`."""
    methods = list(dict.fromkeys(row.method for row in rows))
    methods += [name for name in reference if name not in methods]
    others: list[tuple[str, Callable[[str], str]]] = [("n", lambda method: _seeds(rows, method))]
    if reference:
        others.append(("paper", lambda method: printed(reference.get(method))))
    others += _cost_columns(rows)
    # heading, cell of a method, chance and ceiling
    columns = _score_columns(rows, bounds) + [(heading, cell, ("", "")) for heading, cell in others]
    lines = []
    for place, name in enumerate(("chance", "ceiling")):
        if any(ends[place] for _, _, ends in columns):
            lines.append((name, *(ends[place] for _, _, ends in columns)))
    body = tuple((method, *(cell(method) for _, cell, _ in columns)) for method in methods)
    return Table(("method", *(heading for heading, _, _ in columns)), body, tuple(lines), _notes(reference, source))


def _score_columns(rows: Sequence[Result], bounds: Bounds) -> list[Any]:
    """A column for each pair of metric and task, and where a metric has several tasks, their mean."""
    columns: list[Any] = []
    metrics = list(dict.fromkeys(row.metric for row in rows))
    for metric in metrics:
        of = [row for row in rows if row.metric == metric]
        scale, tasks = 100 if in_percent(of) else 1, list(dict.fromkeys(row.task for row in of))
        known = [bounds.get(task, ("", None, None)) for task in tasks]
        ends = [end[1:] if end[0] == metric else (None, None) for end in known]
        for task, end in zip(tasks, ends, strict=True):
            heading = metric if len(tasks) == 1 else task if len(metrics) == 1 else f"{task} {metric}"
            columns.append((heading, _cell(of, [task], scale), _shown(end, scale)))
        if len(tasks) > 1:
            means = [None if None in pair else statistics.fmean(pair) for pair in zip(*ends, strict=True)]
            heading = "mean" if len(metrics) == 1 else f"mean {metric}"
            columns.append((heading, _cell(of, tasks, scale), _shown(means, scale)))
    return columns


def _cell(rows: Sequence[Result], tasks: Sequence[str], scale: int) -> Callable[[str], str]:
    """Mean ± sample standard deviation over seeds; over several tasks, of each seed's mean, where it ran them all."""

    def cell(method: str) -> str:
        seeds: dict[int, list[float]] = {}
        for row in rows:
            if row.method == method and row.task in tasks:
                seeds.setdefault(row.seed, []).append(row.value * scale)
        values = [statistics.fmean(found) for found in seeds.values() if len(found) == len(tasks)]
        spread = f" ± {_score(statistics.stdev(values), scale)}" if len(values) > 1 else ""
        return _score(statistics.fmean(values), scale) + spread if values else ""

    return cell


def _score(value: float, scale: int) -> str:
    """One decimal for percentages; else four significant digits."""
    return f"{value:.1f}" if scale == 100 else f"{value:.4g}"


def _shown(ends: Sequence[float | None], scale: int) -> tuple[str, ...]:
    return tuple("" if value is None else _score(value * scale, scale) for value in ends)


def _seeds(rows: Sequence[Result], method: str) -> str:
    """How many seeds: one number, or the range over tasks and metrics."""
    counts: dict[tuple[str, str], set[int]] = {}
    for row in rows:
        if row.method == method:
            counts.setdefault((row.task, row.metric), set()).add(row.seed)
    sizes = sorted({len(found) for found in counts.values()})
    return "" if not sizes else str(sizes[0]) if len(sizes) == 1 else f"{sizes[0]}–{sizes[-1]}"


def _cost_columns(rows: Sequence[Result]) -> list[tuple[str, Callable[[str], str]]]:
    """Mean costs, then extras, each where some row has it."""
    columns: list[tuple[str, Callable[[str], str]]] = []

    def add(heading: str, get: Callable[[Result], Any], show: Callable[[float], str]) -> None:
        if any(get(row) is not None for row in rows):
            columns.append((heading, lambda method: _average([get(r) for r in rows if r.method == method], show)))

    add("trainable", lambda row: row.trainable, lambda value: short(value).strip())
    add("parameters", lambda row: row.parameters, lambda value: short(value).strip())
    add("size", lambda row: row.bytes, lambda value: f"{short(value)}B")
    add("ms/row", lambda row: row.latency_ms, lambda value: f"{value:.3g}")
    add("seconds", lambda row: row.seconds, lambda value: f"{value:.0f}" if value >= 1000 else f"{value:.3g}")
    for name in dict.fromkeys(name for row in rows for name in row.extra):
        add(name, lambda row, name=name: row.extra.get(name), lambda value: f"{value:.4g}")  # type: ignore[misc]
    return columns


def _average(values: Sequence[Any], show: Callable[[float], str]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return ""
    if any(isinstance(value, str | bool) for value in known):
        return str(known[0]) if len(set(known)) == 1 else "several"
    return show(statistics.fmean(known))


def short(value: float) -> str:
    """Three significant digits with a decimal prefix: 372 k, 14.5 M, 1.2 G."""
    for limit, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= limit * 0.9995:
            return f"{float(f'{value / limit:.3g}'):g} {prefix}"
    return f"{value:.3g} "


def printed(figure: float | str | tuple[float | str, str] | None) -> str:
    """What the paper prints, without its source; empty for None."""
    figure = figure[0] if isinstance(figure, tuple) else figure
    return "" if figure is None else figure if isinstance(figure, str) else f"{figure:g}"


def _notes(reference: Reference, source: str) -> tuple[str, ...]:
    """Where the paper's figures come from, each source once."""
    sources: dict[str, list[str]] = {}
    for method, figure in reference.items():
        if origin := figure[1] if isinstance(figure, tuple) else source:
            sources.setdefault(origin, []).append(method)
    if len(sources) == 1 and len(next(iter(sources.values()))) == len(reference):
        return (f"paper: {next(iter(sources))}",)
    return tuple(f"paper, {', '.join(names)}: {origin}" for origin, names in sources.items())


def _line(text: str) -> str:
    """On one line, without characters that would move a terminal's cursor."""
    return "".join(c if unicodedata.category(c)[0] != "C" else " " for c in text)


def _width(text: str) -> int:
    """Columns in a terminal: Chinese characters take two, combining marks none."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def _side(text: str) -> str:
    """Numbers stand on the right, sentences on the left."""
    return "right" if len(text) <= 30 else "left"


def _html(text: str) -> str:
    return html.escape(_line(text))


def _markdown(text: str) -> str:
    safe = html.escape(_line(text), quote=False)
    return "".join("\\" + c if c in "\\|`*_[]$" else c for c in safe)
