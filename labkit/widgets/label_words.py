"""Accuracy as the label words are swapped: what a cloze owes to its words, beside a method that has none.

Every row of a benchmark says which words it was given (`words`), how good they are (`quality`), the number of that
choice (`choice`), and with which examples it was trained (`draw`). A method whose score is the same for every choice
has not looked at the words: it is drawn as a line that stays where it is.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ipywidgets import Dropdown

from labkit.errors import UsageError, unknown
from labkit.report import Plot, Report
from labkit.report.figure import COLOURS, MARKS
from labkit.report.fonts import drawable, family
from labkit.widgets import boxes
from labkit.widgets.shown import Explorer, Picture, Shown, look

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from labkit.report import Result

QUALITIES = ("natural", "rare", "arbitrary")  # the order in which they are drawn; others follow
DASHES = ("-", "--", "-.", ":")
HATCHES = ("///", "\\\\\\", "...")  # of the bands, which may lie over one another


@dataclass(frozen=True)
class Place:
    """One choice of label words: its quality, its number, and the words that each method had."""

    quality: str
    choice: int
    words: Mapping[str, str]  # method -> "negative: bad; positive: great"

    @property
    def name(self) -> str:
        """How the choice is called: "rare 2"."""
        return f"{self.quality} {self.choice + 1}"


@dataclass(frozen=True)
class Swaps:
    """One task's accuracies in per cent: `scores` of each method at each place, `steady` of those that have no words.

    A list holds one number a run; `ends` are chance and ceiling in per cent, where known.
    """

    task: str
    metric: str
    places: tuple[Place, ...]
    scores: Mapping[str, tuple[tuple[float, ...], ...]]
    steady: Mapping[str, tuple[float, ...]]
    ends: Mapping[str, float]


def compute(report: Report, task: str) -> Swaps:
    """The choices of words that `report` tried on `task`. UsageError for an unknown task, or one without choices."""
    tasks = list(dict.fromkeys(row.task for row in report.rows))
    if task not in tasks:
        raise unknown("task", task, tasks)
    ways: dict[str, list[Result]] = {}
    for row in report.rows:
        if row.task == task:
            ways.setdefault(_way(row), []).append(row)
    moving = {method: rows for method, rows in ways.items() if not _same_for_all(rows)}
    if not moving:
        raise UsageError(f"task {task}: no method changed with its label words (fields quality, choice and words)")
    found = sorted({key for rows in moving.values() for row in rows if (key := _key(row))}, key=_order)
    scores = {
        method: tuple(tuple(100 * row.value for row in rows if _key(row) == key) for key in found)
        for method, rows in moving.items()
    }
    steady = {method: _by_draw(rows) for method, rows in ways.items() if method not in moving}
    places = tuple(Place(*key, _words(moving, key)) for key in found)
    metric, *ends = report.bounds.get(task, (next(iter(ways.values()))[0].metric, None, None))
    named = {name: 100 * end for name, end in zip(("chance", "ceiling"), ends, strict=True) if end is not None}
    return Swaps(task, metric, places, scores, steady, named)


def _way(row: Result) -> str:
    """The method without the quality of its words: "PET, rare" is PET."""
    return str(row["way"] or row.method.removesuffix(f", {row['quality']}"))


def _key(row: Result) -> tuple[str, int] | None:
    quality, choice = row["quality"], row["choice"]
    return None if not quality or choice is None else (str(quality), int(choice))


def _order(key: tuple[str, int]) -> tuple[int, str, int]:
    quality, choice = key
    return (QUALITIES.index(quality) if quality in QUALITIES else len(QUALITIES), quality, choice)


def _same_for_all(rows: Sequence[Result]) -> bool:
    """Whether the words made no difference: one choice at most, or with the same examples always the same score."""
    if len({_key(row) for row in rows}) < 2:
        return True
    scores: dict[Any, set[float]] = {}
    for row in rows:
        scores.setdefault(row["draw"], set()).add(row.value)
    return None not in scores and all(len(values) == 1 for values in scores.values())


def _by_draw(rows: Sequence[Result]) -> tuple[float, ...]:
    """One score in per cent for each draw of examples."""
    return tuple({row.seed if row["draw"] is None else row["draw"]: 100 * row.value for row in rows}.values())


def _words(moving: Mapping[str, Sequence[Result]], key: tuple[str, int]) -> dict[str, str]:
    found = {method: [str(row["words"] or "") for row in rows if _key(row) == key] for method, rows in moving.items()}
    return {method: some[0] for method, some in found.items() if some}


def draw(swaps: Swaps, chosen: int) -> Picture:
    """All choices of words as a plot, the one number `chosen` marked, and below it that one in words and figures."""
    if not 0 <= chosen < len(swaps.places):
        raise UsageError(f"there is no choice of words number {chosen + 1}: {swaps.task} has {len(swaps.places)}")
    place, alt = swaps.places[chosen], _alt(swaps, chosen)
    html = Plot(_figure(swaps, chosen), alt)._repr_html_() + boxes.heading(f"With the words “{place.name}”", "")
    return Picture(boxes.frame(html, _readings(swaps, chosen)), alt)


def _figure(swaps: Swaps, chosen: int) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.5, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.axvspan(chosen - 0.45, chosen + 0.45, color="#E69F00", alpha=0.25, lw=0, zorder=0, label="the choice below")
    for number, method in enumerate(swaps.scores):
        _moving(axes, swaps, method, number)
    for number, (method, values) in enumerate(swaps.steady.items(), start=len(swaps.scores)):
        _steady(axes, method, values, number, len(swaps.places))
    values = [value for some in (*swaps.scores.values(), swaps.steady.values()) for one in some for value in one]
    for name, value in swaps.ends.items():
        if not min(values) - 10 <= value <= max(values) + 10:  # it would press all else into a corner
            continue
        axes.axhline(value, color="#777777", ls=(0, (1, 3)), lw=1, zorder=1)
        axes.annotate(f"{name} {value:.3g}", (1, value), (3, 0), xycoords=axes.get_yaxis_transform(),
                      textcoords="offset points", va="center", fontsize=8, color="#555555")  # fmt: skip
    _frame(axes, swaps)
    return figure


def _moving(axes: Axes, swaps: Swaps, method: str, number: int) -> None:
    """A dot a run, faint; the mean of each choice; a line within each quality, since the order between them is ours."""
    look: dict[str, Any] = {"color": COLOURS[number % len(COLOURS)], "marker": MARKS[number % len(MARKS)]}
    at = [place + 0.12 * (number - (len(swaps.scores) - 1) / 2) for place in range(len(swaps.places))]
    for where, values in zip(at, swaps.scores[method], strict=True):
        axes.scatter([where] * len(values), values, s=9, alpha=0.35, lw=0, **look)
    label: str | None = drawable(method, f"method {number + 1}")
    for quality in dict.fromkeys(place.quality for place in swaps.places):
        some = [n for n, place in enumerate(swaps.places) if place.quality == quality and swaps.scores[method][n]]
        means = [statistics.fmean(swaps.scores[method][n]) for n in some]
        axes.plot([at[n] for n in some], means, ms=7, lw=1.3, ls=DASHES[number % 4], label=label, **look)
        label = None


def _steady(axes: Axes, method: str, values: Sequence[float], number: int, places: int) -> None:
    """The mean as a line from end to end, in a band of one standard deviation over the runs."""
    mean, name = statistics.fmean(values), drawable(method, f"method {number + 1}")
    colour, hatch = COLOURS[number % len(COLOURS)], HATCHES[number % len(HATCHES)]
    axes.axhline(mean, color=colour, lw=2.4, ls=DASHES[number % 4], label=f"{name} (no words)")
    if len(values) > 1:
        low, high = mean - statistics.stdev(values), mean + statistics.stdev(values)
        look: dict[str, Any] = {"facecolor": "none", "edgecolor": colour, "alpha": 0.45, "lw": 0, "hatch": hatch}
        axes.fill_between((-0.5, places - 0.5), low, high, label=f"{name} ± s.d.", **look)


def _frame(axes: Axes, swaps: Swaps) -> None:
    """Axes, names of the choices and of their qualities, legend."""
    axes.set_xlim(-0.5, len(swaps.places) - 0.5)
    axes.set_xticks(range(len(swaps.places)), [str(place.choice + 1) for place in swaps.places])
    for quality in dict.fromkeys(place.quality for place in swaps.places):
        some = [number for number, place in enumerate(swaps.places) if place.quality == quality]
        if some[0]:
            axes.axvline(some[0] - 0.5, color="#999999", lw=1)
        axes.annotate(drawable(quality, "words"), ((some[0] + some[-1]) / 2, 1), (0, 4), ha="center",
                      xycoords=axes.get_xaxis_transform(), textcoords="offset points", fontsize=10)  # fmt: skip
    axes.set(xlabel="choice of label words", ylabel=f"{swaps.metric} (%)")
    axes.grid(axis="y", color="#dddddd", lw=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    box = axes.figure.legend(loc="outside upper center", ncols=3, frameon=False, fontsize=9)
    for text in box.get_texts():
        text.set(parse_math=False, fontfamily=family(text.get_text()))


def _readings(swaps: Swaps, chosen: int) -> str:
    """The chosen place as a table: each method, its words, its score."""
    rows = []
    for number, (method, values) in enumerate(swaps.scores.items()):
        words = boxes.escape(swaps.places[chosen].words.get(method, "")).replace("; ", "<br>")
        rows.append((boxes.shape(number), boxes.escape(method), _shown(values[chosen]), words))
    for number, (method, values) in enumerate(swaps.steady.items(), start=len(swaps.scores)):
        line = f'<span style="color:{COLOURS[number % len(COLOURS)]}">━</span>'
        rows.append((line, boxes.escape(method), _shown(values), "none"))
    return boxes.table(("", "method", f"{boxes.escape(swaps.metric)} (%)", "words it was given"), rows)


def _shown(values: Sequence[float]) -> str:
    spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.1f}{spread}" if values else "not run"


def _alt(swaps: Swaps, chosen: int) -> str:
    """The picture in words: each method's mean by quality, and the chosen words."""
    told = []
    for method, scores in swaps.scores.items():
        by: dict[str, list[float]] = {}
        for place, values in zip(swaps.places, scores, strict=True):
            by.setdefault(place.quality, []).extend(values)
        told.append(f"{method}: " + ", ".join(f"{_shown(some)} with {quality} words" for quality, some in by.items()))
    told += [f"{method}, without words: {_shown(values)}" for method, values in swaps.steady.items()]
    words = next(iter(swaps.places[chosen].words.values()), "")
    told += [f"{name.capitalize()} {value:.3g}" for name, value in swaps.ends.items()]
    return (
        f"{swaps.metric.capitalize()} (%) on {swaps.task} over {len(swaps.places)} choices of label words, mean ± "
        f"standard deviation. {'. '.join(told)}. Marked: {swaps.places[chosen].name} ({words})."
    )


def label_words(report: Report) -> Shown:
    """A widget in which label words are swapped: accuracy of every choice that `report` tried, one of them in words.

    The rows carry `quality` ("natural", "rare", "arbitrary"), `choice` (a number) and `words` (a text); rows of methods
    without label words need none. UsageError for a report without such rows.
    """
    if not report.rows:
        raise UsageError("the report has no rows yet: run benchmarks/fewshot.py words")

    def options(task: str) -> list[tuple[str, int]]:
        places = compute(report, task).places
        return [
            (f"{place.name} · {next(iter(place.words.values()), ''):.60}", number)
            for number, place in enumerate(places)
        ]

    tasks = list(dict.fromkeys(row.task for row in report.rows))
    chosen = Dropdown(options=tasks, description="task", **look(60, 300))
    choice = Dropdown(options=options(tasks[0]), description="words", **look(60, 520))

    def other_task(_: Any) -> None:
        """The same number of a choice, if that task has it."""
        number = choice.value
        choice.options = options(chosen.value)
        choice.value = number if number < len(choice.options) else 0

    chosen.observe(other_task, "value")  # before the picture is asked for
    return Explorer(lambda task, choice: draw(compute(report, task), choice), task=chosen, choice=choice)
