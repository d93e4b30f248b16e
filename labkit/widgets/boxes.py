"""Pieces of HTML that the widgets' pictures are made of: token boxes, bars, messages.

They stand on light and dark pages: text takes the page's own colour, except on a filled box, which sets both. Styles
stand in the elements themselves and use only what JupyterLab leaves in a notebook that it does not trust. Where a site
strips them all, bars of block characters come to light, and figures and marks still say everything. All text is
escaped.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

from labkit.report.figure import COLOURS

SHAPES = "●■▲◆▼★✚"  # one a class, beside its colour
GREY = "#8a8a8a"
FAINT = "rgba(128,128,128,0.15)"
BLOCKS = 20  # characters of a whole bar where styles are stripped


def escape(text: object) -> str:
    """Text as text: markup in it is shown, not obeyed."""
    return html.escape(str(text))


def ink(fill: str) -> str:
    """Black or white, whichever is read more easily on `fill` (#rrggbb)."""
    red, green, blue = (int(fill[at : at + 2], 16) / 255 for at in (1, 3, 5))
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (red, green, blue)]
    light = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]  # WCAG's relative luminance
    return "#000000" if (light + 0.05) / 0.05 >= 1.05 / (light + 0.05) else "#ffffff"


def colour(number: int) -> str:
    """The colour of class or run `number`."""
    return COLOURS[number % (len(COLOURS) - 1)]  # black would vanish on a dark page


def shape(number: int) -> str:
    """The mark of class `number`, in its colour."""
    mark = SHAPES[number % len(SHAPES)]  # as many as share no factor with the colours: 42 pairs
    return f'<span style="color:{colour(number)}">{mark}</span>'


def chip(text: str, fill: str = "", *, dashed: bool = False, struck: bool = False, title: str = "") -> str:
    """One token in a box: filled with a colour, or framed; `dashed` and `struck` are marks besides the colour."""
    paint = f"background-color:{fill};color:{ink(fill)};" if fill else ""
    line = f"border:1px {'dashed' if dashed else 'solid'} {GREY};"
    style = f"{line}{paint}border-radius:3px;padding:0px 4px;margin:1px;display:inline-block;line-height:1.5"
    inner = f"<s>{escape(text)}</s>" if struck else escape(text)
    name = f' title="{escape(title)}"' if title else ""
    return f'<span style="{style}"{name}>{inner}</span> '


def bar(segments: Iterable[tuple[float, str]], width: int = 160, height: int = 14) -> str:
    """A horizontal bar of `width` pixels, filled by segments (share of the width in [0, 1], colour)."""
    gap = "border-right:1px solid #ffffff;box-sizing:border-box;"
    parts = [(max(0.0, min(1.0, share)), fill) for share, fill in segments]
    filled = "".join(
        f'<span style="display:inline-block;width:{share * width:.1f}px;height:{height}px;background-color:{fill};'
        f'{gap if share * width > 4 else ""}vertical-align:top"></span>'
        for share, fill in parts
        if share * width >= 0.25
    )
    blocks = "".join("█▒"[place % 2] * round(BLOCKS * share) for place, (share, _) in enumerate(parts))
    bare = f'<span style="display:none" aria-hidden="true">{blocks[:BLOCKS]}</span>'
    style = f"width:{width}px;height:{height}px;background-color:{FAINT};line-height:0px;overflow:hidden"
    return f'<div style="{style};white-space:nowrap">{filled}{bare}</div>'


def axis(limit: str, what: str, width: int = 160) -> str:
    """The scale under bars: 0, the name with its unit, and the value of a whole bar."""
    cell = f"border:none;padding:0px;font-size:11px;white-space:nowrap;width:{width // 6}px"
    return (
        f'<table style="width:{width}px;border-collapse:collapse;border:none;border-top:1px solid {GREY};margin:0px">'
        f'<tr style="background-color:transparent"><td style="{cell};text-align:left">0</td>'
        f'<td style="border:none;padding:0px;font-size:11px;text-align:center">{escape(what)}</td>'
        f'<td style="{cell};text-align:right">{escape(limit)}</td></tr></table>'
    )


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of ready-made HTML cells; cells are left-aligned and do not break."""
    pad = "border:none;font-size:13px;padding:2px 8px 2px 0px;text-align:left;vertical-align:middle;white-space:nowrap"
    plain = '<tr style="background-color:transparent">'
    top = "".join(f'<th style="{pad};font-weight:bold">{cell}</th>' for cell in head)
    lines = ["".join(f'<td style="{pad}">{cell}</td>' for cell in row) for row in rows]
    body = "".join(f"{plain}{line}</tr>" for line in lines)
    return (
        f'<table style="border-collapse:collapse;border:none;margin:2px 0px"><thead>{plain}{top}</tr></thead>'
        f"<tbody>{body}</tbody></table>"
    )


def side_by_side(*blocks: str) -> str:
    """Blocks beside each other, or below where the page is narrow."""
    style = "display:inline-block;vertical-align:top;margin-right:20px;margin-bottom:6px"
    return "".join(f'<div style="{style}">{block}</div>' for block in blocks)


def heading(text: str, more: str = "") -> str:
    """A heading within a picture, with a remark of ready-made HTML after it."""
    return f'<div style="margin-top:8px;margin-bottom:2px"><b>{escape(text)}</b> {more}</div>'


def frame(*blocks: str) -> str:
    """The blocks of a picture in one."""
    return f'<div style="padding:2px;font-size:13px;line-height:1.4">{"".join(blocks)}</div>'


def alert(message: str) -> str:
    """An error as one sentence, marked by a sign and a frame besides its colour."""
    style = "border-left:4px solid #D55E00;background-color:rgba(213,94,0,0.15);padding:4px 8px;margin:4px 0px"
    return f'<div role="alert" style="{style}">⚠ {escape(message)}</div>'


def percent(share: float) -> str:
    """A share as per cent with three significant digits at most: 34.5 %, 0.52 %, < 0.01 %."""
    value = 100 * share
    if 0 < value < 0.01:
        return "<\u00a00.01\u00a0%"
    return f"{value:.1f}\u00a0%" if value >= 1 or value == 0 else f"{value:.2f}\u00a0%"


def whole_bar(largest: float) -> float:
    """The share that a whole bar stands for: the next of 0.1 %, 0.2 %, 0.5 %, 1 % … 100 % from `largest` up."""
    steps = (step * unit for unit in (0.001, 0.01, 0.1) for step in (1, 2, 5))
    return next((step for step in steps if largest <= step), 1.0)


def size(number: float) -> str:
    """Bytes with three digits in the unit that fits them: 2.46 MB."""
    for unit, scale in (("bytes", 1), ("kB", 1e3), ("MB", 1e6), ("GB", 1e9)):
        if number < 999.5 * scale:
            return f"{number / scale:.3g} {unit}"
    return f"{number / 1e12:,.3g} TB" if number < 999.5e12 else f"{number / 1e12:,.0f} TB"


def count(number: int, noun: str) -> str:
    """A number with its noun: 1 module, 2 modules."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
