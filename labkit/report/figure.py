"""Rows of results as a picture: what each method scores, and what that costs.

Colours are Okabe and Ito's, which colour-blind readers can tell apart, and methods differ in their marks besides, so
that the picture also reads in grey. A text that no font at hand can write is left out rather than drawn as boxes; the
alternative text always has it.
"""

from __future__ import annotations

import base64
import html
import io
import os
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labkit.files import writing
from labkit.report.comparison import by_seed, in_percent
from labkit.report.fonts import drawable, family
from labkit.report.result import Result
from labkit.report.table import Bounds, Reference, printed

if TYPE_CHECKING:
    from matplotlib.figure import Figure


COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
MARKS = "os^DvPX"
COSTS = (("bytes", "size on disk (MB)"), ("parameters", "parameters (millions)"))  # of the second panel


@dataclass(frozen=True)
class Plot:
    """A matplotlib figure and what it shows in words (`alt`); a notebook shows it as a picture with that text.

    The picture is HTML rather than a bare PNG, because JupyterLab gives a bare one no alternative text.
    """

    figure: Figure
    alt: str

    def png(self) -> bytes:
        """The picture as PNG: on white, to read on light and dark pages; in 256 colours, a third of the size."""
        from PIL import Image, PngImagePlugin

        full = Image.open(io.BytesIO(self._bytes("png"))).convert("RGB")
        stream, text = io.BytesIO(), PngImagePlugin.PngInfo()
        text.add_itxt("Description", self.alt)
        full.quantize(256, dither=Image.Dither.NONE).save(stream, "png", optimize=True, pnginfo=text)
        return stream.getvalue()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the picture, whole or not at all, in the format of the path's ending (.png, .svg, .pdf)."""
        ending = Path(path).suffix.lower().lstrip(".") or "png"
        data = self.png() if ending == "png" else self._bytes(ending)
        with writing(path) as temporary:
            temporary.write_bytes(data)

    def _bytes(self, ending: str) -> bytes:
        stream = io.BytesIO()
        self.figure.savefig(stream, format=ending, dpi=144, facecolor="white")
        return stream.getvalue()

    def _repr_html_(self) -> str:
        data = base64.b64encode(self.png()).decode()
        return f'<img src="data:image/png;base64,{data}" alt="{html.escape(self.alt)}" style="max-width:100%">'

    def __repr__(self) -> str:
        return self.alt


@dataclass(frozen=True)
class Point:
    """One method, ready to be drawn; scores in the axis's unit."""

    name: str
    label: str
    colour: str
    mark: str
    values: tuple[float, ...]
    size: float | None
    paper: float | None

    @property
    def mean(self) -> float:
        """Over the seeds."""
        return statistics.fmean(self.values)

    @property
    def spread(self) -> float:
        """The standard deviation over the seeds, 0 for one."""
        return statistics.stdev(self.values) if len(self.values) > 1 else 0.0


def draw(rows: Sequence[Result], bounds: Bounds, reference: Reference, title: str, ranked: bool = False) -> Plot:
    """The figure of `rows`, all of one metric; see `Report.plot`."""
    from matplotlib.figure import Figure

    scale, axis = unit(rows)
    cost, what = COSTS[0] if any(row.bytes is not None for row in rows) else COSTS[1]
    points = _points(rows, reference, scale, cost)
    if ranked:
        points.sort(key=lambda point: -point.mean)
    ends = _ends(rows, bounds, scale)
    sized = [point for point in points if point.size is not None]
    wide = not ranked and len(sized) > 1
    figure = Figure(figsize=(11 if wide else 7, 1.7 + 0.42 * max(len(points), 4 if wide else 2)), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.08, wspace=0.04)  # type: ignore[union-attr]
    panels = figure.subplots(1, 2 if wide else 1, squeeze=False, width_ratios=(3, 2) if wide else None)[0]
    _dots(panels[0], points, ends, axis)
    if wide:
        _scatter(panels[1], sized, ends, axis, what)
    if shown := drawable(title, ""):
        figure.suptitle(shown, parse_math=False, fontfamily=family(shown))
    if wide:
        label_points(figure, panels[1], sized)
    return Plot(figure, _alt(rows, points, ends, axis, what if wide else "", title))


def unit(rows: Sequence[Result]) -> tuple[int, str]:
    """What the values of `rows`, all of one metric, are multiplied by, and the name of their axis."""
    return (100, f"{rows[0].metric} (%)") if in_percent(rows) else (1, rows[0].metric)


def _points(rows: Sequence[Result], reference: Reference, scale: int, cost: str) -> list[Point]:
    points = []
    for number, (method, scores) in enumerate(by_seed(rows).items()):
        sizes = [row[cost] / 1e6 for row in rows if row.method == method and row[cost]]
        label = drawable(method, f"method {number + 1}")
        twin = any(point.label == label for point in points)  # two names may differ only in what cannot be written
        points.append(
            Point(
                name=method,
                label=f"{label} ({number + 1})" if twin else label,
                colour=COLOURS[(number + number // len(MARKS)) % len(COLOURS)],
                mark=MARKS[number % len(MARKS)],
                values=tuple(value * scale for value in scores.values()),
                size=statistics.fmean(sizes) if sizes else None,
                paper=_figure(printed(reference.get(method))),
            )
        )
    return [point for point in points if point.values]


def _figure(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None  # no number, nothing to draw


def _ends(rows: Sequence[Result], bounds: Bounds, scale: int) -> dict[str, float]:
    """Chance and ceiling, averaged over the tasks shown, where all of them have it."""
    tasks = {row.task for row in rows}
    found = [bounds[task][1:] for task in tasks if task in bounds and bounds[task][0] == rows[0].metric]
    pairs = zip(("chance", "ceiling"), zip(*found, strict=True), strict=True) if len(found) == len(tasks) else ()
    return {name: scale * statistics.fmean(values) for name, values in pairs if None not in values}


def _dots(axes: Any, points: Sequence[Point], ends: Mapping[str, float], axis: str) -> None:
    """A line a method, first on top: each seed faint, their mean with ± one standard deviation, the paper's figure."""
    for place, point in enumerate(points):
        if len(point.values) > 1:
            axes.scatter(point.values, [place + 0.24] * len(point.values), s=10, color=point.colour, alpha=0.45, lw=0)
        look = {"marker": point.mark, "color": point.colour, "ms": 7, "lw": 1.5}
        axes.errorbar(point.mean, place, xerr=point.spread or None, capsize=3, **look)
        if point.paper is not None:
            axes.scatter([point.paper], [place], s=70, marker="d", facecolors="none", edgecolors="#444444", zorder=4)
    names = [point.label for point in points]
    axes.set_yticks(range(len(points)), names, parse_math=False, fontfamily=family("".join(names)))
    axes.set_ylim(len(points) - 0.4, -0.6)
    right = axes.secondary_yaxis("right")
    right.set_yticks(range(len(points)), [_shown(point, axis) for point in points])
    right.tick_params(length=0, colors="#444444")
    spread = "mean ± s.d., dots: seeds" if any(len(point.values) > 1 for point in points) else "one seed"
    paper = ", ◊: paper" if any(point.paper is not None for point in points) else ""
    axes.set_xlabel(f"{axis}: {spread}{paper}")
    axes.margins(x=0.08)
    tidy(axes, "x")
    right.spines[:].set_visible(False)
    _lines(axes, ends, upright=True)


def _scatter(axes: Any, sized: Sequence[Point], ends: Mapping[str, float], axis: str, what: str) -> None:
    """Score against size; a logarithmic axis where sizes differ more than fivefold."""
    for point in sized:
        axes.plot(point.size, point.mean, marker=point.mark, color=point.colour, ms=7)
    sizes = [point.size for point in sized]
    if max(sizes) > 5 * min(sizes):
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        between = "25" if max(sizes) < 100 * min(sizes) else ""  # over many decades there is no room for them
        axes.xaxis.set_minor_formatter(lambda value, _: f"{value:g}" if f"{value:.0e}"[0] in between else "")
    axes.set_xlabel(what + (", log scale" if axes.get_xscale() == "log" else ""))
    axes.set_ylabel(f"mean {axis}")
    axes.margins(x=0.25, y=0.15)
    tidy(axes, "both")
    low, high = axes.get_ylim()
    _lines(axes, {name: value for name, value in ends.items() if low <= value <= high}, upright=False)


def tidy(axes: Any, grid: str) -> None:
    """A pale grid along `grid` ("x", "y", "both"), behind what is drawn, and no frame."""
    axes.grid(axis=grid, color="#dddddd", lw=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _lines(axes: Any, ends: Mapping[str, float], upright: bool) -> None:
    """Chance and ceiling as dashed lines, named outside the frame where no mark can lie under the name."""
    for value in ends.values():
        (axes.axvline if upright else axes.axhline)(value, color="#777777", ls="--", lw=1, zorder=1)
    if not upright:
        return
    low, high = axes.get_xlim()
    close = len(ends) == 2 and abs(ends["ceiling"] - ends["chance"]) < 0.3 * (high - low)
    for row, (name, value) in enumerate(ends.items()):
        place = {"xycoords": axes.get_xaxis_transform(), "textcoords": "offset points", "ha": "center"}
        rise = 4 + (13 * row if close else 0)
        axes.annotate(f"{name} {value:.3g}", (value, 1), (0, rise), fontsize=9, color="#555555", **place)


def label_points(figure: Figure, axes: Any, points: Sequence[Point]) -> None:
    """Names by the marks, covering neither mark nor name and nearest to their own; farther off, a line leads there."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.text import Text
    from matplotlib.transforms import Bbox

    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw_without_rendering()
    centres = [axes.transData.transform((point.size, point.mean)) for point in points]
    reach = 7 * figure.dpi / 72 / 1.5  # a mark's half width in pixels, and a little air
    taken = [Bbox.from_extents(x - reach, y - reach, x + reach, y + reach) for x, y in centres]
    inside = axes.get_window_extent(renderer)
    for point, centre in zip(points, centres, strict=True):
        line = {"arrowstyle": "-", "color": "#888888", "lw": 0.7, "shrinkA": 0, "shrinkB": 4}
        note = axes.annotate(
            point.label, (point.size, point.mean), (0, 0), textcoords="offset points", fontsize=9, arrowprops=line
        )
        note.set(parse_math=False, fontfamily=family(point.label), color="#222222")
        others = [other for other in centres if tuple(other) != tuple(centre)]
        for x, y, ha, va in _places():
            note.set(position=(x, y), ha=ha, va=va)
            led = abs(y) > 10
            note.arrow_patch.set_visible(led)
            note.update_positions(renderer)
            box = Text.get_window_extent(note, renderer)  # of the words alone, without the line
            clear = led or all(_gap(box, centre) < 0.6 * _gap(box, other) for other in others)
            whole = inside.contains(*box.min) and inside.contains(*box.max)
            if whole and clear and not any(map(box.overlaps, taken)):
                taken.append(box)
                break
        else:
            note.remove()


def _gap(box: Any, point: Sequence[float]) -> float:
    """Pixels from a box to a point."""
    across = max(box.x0 - point[0], 0, point[0] - box.x1)
    along = max(box.y0 - point[1], 0, point[1] - box.y1)
    return (across**2 + along**2) ** 0.5


def _places() -> list[tuple[float, float, str, str]]:
    """Offsets in points and the alignment that goes with them: beside the mark, at its corners, then farther off."""
    near = [(8, 0, "left", "center"), (-8, 0, "right", "center"), (0, 6, "center", "bottom"), (0, -6, "center", "top")]
    corners = [(5, 5, "left", "bottom"), (5, -5, "left", "top"), (-5, 5, "right", "bottom"), (-5, -5, "right", "top")]
    far = [(x, y, "center", "center") for y in (-24, 24, -40, 40, -56, 56, -72, 72, -88) for x in (0, -30, 30)]
    return near + corners + far


def _shown(point: Point, axis: str) -> str:
    form = ".1f" if axis.endswith("(%)") else ".4g"
    return f"{point.mean:{form}}" + (f" ± {point.spread:{form}}" if len(point.values) > 1 else "")


def _alt(
    rows: Sequence[Result], points: Sequence[Point], ends: Mapping[str, float], axis: str, what: str, title: str
) -> str:
    """The picture in words: every figure that it shows."""
    tasks = sorted({row.task for row in rows})
    over = tasks[0] if len(tasks) == 1 else f"{len(tasks)} tasks"

    def one(point: Point) -> str:
        paper = "" if point.paper is None else f", paper {point.paper:g}"
        seeds = "1 seed" if len(point.values) == 1 else f"{len(point.values)} seeds"
        return f"{point.name} {_shown(point, axis)} ({seeds}{paper})"

    text = [f"{title}. "] if title else []
    text.append(f"Dot plot of {axis} on {over}, mean ± standard deviation: {'; '.join(map(one, points))}.")
    text += [f" {name.capitalize()} {value:.3g}." for name, value in ends.items()]
    if what:
        sizes = "; ".join(f"{p.name} {p.size:.3g}" for p in points if p.size is not None)
        text.append(f" Beside it the same scores against {what}: {sizes}.")
    return "".join(text)
