"""What a warp touches: which sectors of global memory its 32 lanes reach, and which banks of shared memory they queue
at.

Lane i loads one element of row i, so `stride` is the length of a row in elements: 1 is a warp along a row, 32 a warp
down a column of a 32-wide tile. Padding makes the rows of the copy in shared memory longer, by words of 4 bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ipywidgets import Dropdown, IntSlider, Layout

from labkit.errors import UsageError
from labkit.parallel.kernels.access import (
    BANKS,
    SECTOR,
    SIZES,
    WARP,
    WORD,
    Access,
    bank_words,
    passes,
    sectors_touched,
)
from labkit.report import Plot
from labkit.report.figure import COLOURS
from labkit.widgets.shown import Explorer, Shown, look

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_STRIDE, MOST_OFFSET, MOST_PADDING = 34, 7, 4
PER_ROW = 64  # sectors that are drawn beside one another
TOUCHED, ASKED, BUSY = COLOURS[5], COLOURS[0], COLOURS[1]


@dataclass(frozen=True)
class Pattern:
    """`touched`: sector -> bytes asked for; `queues`: different words asked of each bank; `pitch` in words."""

    access: Access
    padding: int
    touched: dict[int, int]
    queues: tuple[int, ...]
    passes: int

    @property
    def best(self) -> int:
        """Passes that loads of this size need at least."""
        return max(1, self.access.each // WORD)


def compute(stride: int, each: int = 4, offset: int = 0, padding: int = 0) -> Pattern:
    """Lane i at element `offset + i * stride` of `each` bytes; in shared memory `padding` words more a lane.

    UsageError for sizes that are no load, strides above 34, offsets above 7, padding above 4.
    """
    for name, value, most in (("stride", stride, MOST_STRIDE), ("offset", offset, MOST_OFFSET),
                              ("padding", padding, MOST_PADDING)):  # fmt: skip
        if not 0 <= value <= most:
            raise UsageError(f"{name} {value}: 0 to {most} can be drawn here")
    access = Access(stride, each, offset * each)
    starts = [lane * (stride * each + padding * WORD) for lane in range(WARP)]
    if padding and each > WORD:
        raise UsageError(f"rows padded by single words put loads of {each} bytes where they may not begin: padding 0")
    queues = tuple(map(len, bank_words(starts, each)))
    return Pattern(access, padding, sectors_touched(access), queues, passes(starts, each))


def draw(pattern: Pattern) -> Plot:
    """Above, the sectors in the order of their addresses; below, how many words each bank must give."""
    from matplotlib.figure import Figure

    rows = -(-(max(pattern.touched) + 1) // PER_ROW)
    figure = Figure(figsize=(9.5, 3.1 + 0.28 * rows), layout="constrained")
    memory, banks = figure.subplots(2, 1, height_ratios=(0.3 + 0.28 * rows, 1.9))
    _memory(memory, pattern, rows)
    _banks(banks, pattern)
    return Plot(figure, _alt(pattern))


def _memory(axes: Axes, pattern: Pattern, rows: int) -> None:
    from matplotlib.patches import Patch, Rectangle

    for sector in range(rows * PER_ROW):
        place = (sector % PER_ROW, sector // PER_ROW)
        asked = pattern.touched.get(sector, 0)
        look = {"facecolor": TOUCHED if asked else "white", "edgecolor": "#aaaaaa", "lw": 0.5}
        axes.add_patch(Rectangle(place, 0.92, 0.86, **look))
        if asked:
            axes.add_patch(Rectangle(place, 0.92 * asked / SECTOR, 0.86, facecolor=ASKED, lw=0))
    axes.set_xlim(0, PER_ROW)
    axes.set_ylim(rows, 0)
    axes.set_yticks(
        [row + 0.43 for row in range(rows)], [f"byte {row * PER_ROW * SECTOR:,}" for row in range(rows)], fontsize=8
    )
    axes.set_xticks([])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_title(_memory_in_words(pattern), loc="left", fontsize=10)
    looks = [Patch(facecolor=ASKED, label="asked for"), Patch(facecolor=TOUCHED, label="moved with it"),
             Patch(facecolor="white", edgecolor="#aaaaaa", label="left alone")]  # fmt: skip
    axes.legend(handles=looks, loc="upper center", bbox_to_anchor=(0.5, -0.02), ncols=3, frameon=False, fontsize=9)


def _banks(axes: Axes, pattern: Pattern) -> None:
    most = max(pattern.queues)
    colours = [BUSY if count == most and pattern.passes > pattern.best else ASKED for count in pattern.queues]
    axes.bar(range(BANKS), pattern.queues, color=colours, edgecolor="white", lw=0.5)
    axes.set_xlim(-0.7, BANKS - 0.3)
    axes.set_ylim(0, max(4, 1.15 * most))
    axes.set_xticks(range(0, BANKS, 4))
    axes.set_xlabel("bank of shared memory")
    axes.set_ylabel("words it must give")
    axes.yaxis.get_major_locator().set_params(integer=True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(_banks_in_words(pattern), loc="left", fontsize=10)


def _memory_in_words(pattern: Pattern) -> str:
    count, asked = len(pattern.touched), sum(pattern.touched.values())
    share = f"{100 * asked / (SECTOR * count):.3g} % of use"
    moved = f"{count} sector{'s' * (count > 1)} = {SECTOR * count} bytes moved"
    return f"Global memory: {asked} bytes asked for, {moved}: {share}"


def _banks_in_words(pattern: Pattern) -> str:
    used = sum(count > 0 for count in pattern.queues)
    verdict = "no conflict" if pattern.passes == pattern.best else f"{pattern.passes // pattern.best} times the least"
    noun = "pass" if pattern.passes == 1 else "passes"
    return f"Shared memory: {used} of {BANKS} banks give, {pattern.passes} {noun}: {verdict}"


def _alt(pattern: Pattern) -> str:
    access = pattern.access
    words = f"{pattern.padding} word{'s' * (pattern.padding > 1)}"
    padded = f", rows of the shared copy padded by {words}" if pattern.padding else ""
    head = f"32 lanes load {access.each} bytes each, {access.stride} loads apart, from byte {access.offset}{padded}."
    return f"{head} {_memory_in_words(pattern)}. {_banks_in_words(pattern)}."


def access_pattern(stride: int = 1) -> Shown:
    """A widget of one access of a warp: stride and offset in elements, padding in words of 4 bytes.

    UsageError for strides that `compute` cannot draw.
    """
    compute(stride)

    def slider(name: str, value: int, most: int) -> IntSlider:
        return IntSlider(value, 0, most, description=name, **look(60, 270))

    return Explorer(
        lambda **chosen: draw(compute(**chosen)),
        stride=slider("stride", stride, MOST_STRIDE),
        each=Dropdown(options=SIZES[1:], value=4, description="bytes per load", layout=Layout(width="190px")),
        offset=slider("offset", 0, MOST_OFFSET),
        padding=slider("padding", 0, MOST_PADDING),
    )
