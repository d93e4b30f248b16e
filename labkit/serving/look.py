"""The one look of all pages of labkit: theme, width, heading, and the pieces of HTML that results are shown in.

Colours are those of the lessons' figures, which colour-blind readers can tell apart, on Gradio's own variables, so that
a page reads in light and in dark. A bar has a name or a number beside its colour, never a colour alone. All text that a
person typed goes through `safe`.
"""

from __future__ import annotations

import contextlib
import html
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from labkit.course.bootstrap import source_of
from labkit.course.lessons import find_root, lesson
from labkit.report.figure import COLOURS

if TYPE_CHECKING:
    import gradio

INK = "#64748b"  # of bars that stand for no class and no part
# Besides markup: braces and dollars, which Gradio's templates know, and control characters, which show nothing.
VISIBLE = {ord(c): f"&#{ord(c)};" for c in "{}$`"} | {
    code: chr(0x2400 + code) for code in range(32) if code not in (9, 10, 13)
}
SHADES = {  # of the palette's blue, for what can be pressed and what is chosen; white reads on 500 and darker
    "c50": "#eef6fb", "c100": "#d6eaf5", "c200": "#aed5ea", "c300": "#79b9dc", "c400": "#3393c8", "c500": COLOURS[0],
    "c600": "#00639b", "c700": "#005382", "c800": "#004369", "c900": "#003350", "c950": "#002438",
}  # fmt: skip
STYLE = """
.gradio-container { max-width: 1280px !important; width: 100%; margin: 0 auto !important }
.html-container:has(.lab) { padding: 0 !important }
.lab { color: var(--body-text-color); line-height: 1.4; overflow-wrap: anywhere }
.lab h1, .lab h3, .lab p { margin: 0 !important; color: inherit }
.lab h1 { font-size: 1.7em; font-weight: 600 }
.lab h3 { margin-bottom: 6px !important }
.lab .small { font-size: 0.85em; color: var(--body-text-color-subdued); margin-top: 4px !important }
.lab code { font-size: 0.95em }
.lab .sum { font-size: 1.15em; font-weight: 600 }
.lab .box { border: 1px solid var(--border-color-primary); border-radius: 8px; padding: 10px 14px;
  background: var(--block-background-fill) }
.lab .box + .box { margin-top: 10px }
.lab .waiting { min-height: 150px }
.lab .said { font-weight: 600 }
.lab img { max-width: 100%; border-radius: 8px; display: block; margin: 6px auto 0 }
.lab .grid { display: grid; grid-template-columns: repeat(auto-fit, minmax(170px, 1fr)); gap: 8px 22px;
  margin-top: 6px }
.lab .verdict { display: flex; justify-content: space-between; gap: 8px; margin-bottom: 2px !important }
.lab .row { display: grid; grid-template-columns: minmax(60px, 30%) 1fr 3em; gap: 6px; align-items: center;
  font-size: 0.9em }
.lab .wide .row { grid-template-columns: 0 1fr 5.6em; gap: 0; font-size: 1em; margin: 2px 0 12px }
.lab .row > :first-child { overflow: hidden; text-overflow: ellipsis; white-space: nowrap }
.lab .row > :last-child, .lab .line > :last-child { text-align: right; font-variant-numeric: tabular-nums;
  white-space: nowrap }
.lab .bar, .lab .stack { position: relative; border-radius: 3px; background: var(--border-color-primary) }
.lab .bar { height: 12px }
.lab .bar > i { display: block; height: 100%; border-radius: 3px; min-width: 1px }
.lab .bar > b, .lab .stack > b { position: absolute; top: -4px; bottom: -4px; width: 2px; margin-left: -1px;
  background: var(--body-text-color) }
.lab .ends { position: relative; height: 1.3em; font-size: 0.85em; color: var(--body-text-color-subdued) }
.lab .ends > span { position: absolute; transform: translateX(-50%); white-space: nowrap }
.lab .stack { height: 20px }
.lab .stack > i { position: absolute; top: 0; height: 100%; box-shadow: inset -1px 0 0 var(--block-background-fill) }
.lab .line { display: grid; grid-template-columns: 5.2em 1fr 9.8em; gap: 8px; align-items: center; margin: 5px 0 }
.lab .line.now > :first-child, .lab .line.now > :last-child, .lab tr.now td { font-weight: 600 }
.lab .key { display: flex; flex-wrap: wrap; gap: 3px 16px; margin-top: 8px; font-size: 0.9em }
.lab .key i { display: inline-block; width: 0.8em; height: 0.8em; border-radius: 2px; margin-right: 5px }
.lab .wrap { overflow-x: auto }
.lab table, .lab tr, .lab thead { border: none !important }
.lab table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: 0.92em;
  overflow-wrap: normal }
.lab th, .lab td { border: none; border-bottom: 1px solid var(--border-color-primary); padding: 4px 12px 4px 0;
  text-align: right; white-space: nowrap; color: inherit; background: none }
.lab th:first-child, .lab td:first-child { text-align: left }
.lab th { font-weight: 600; vertical-align: bottom }
.lab td .small { display: block; font-weight: 400 }
.lab .sure { display: grid; grid-template-columns: 5em 1fr 3em; gap: 6px; align-items: center; min-width: 13em }
.lab .cards :is(th, td):nth-child(2) { text-align: left }
.lab .cards td:first-child { white-space: normal; min-width: 13em }
@media (max-width: 700px) {
  .lab .cards thead { display: none }
  .lab .cards tr { display: grid; grid-template-columns: 1fr 1fr 1fr; gap: 4px 12px; padding: 8px 0;
    border-bottom: 1px solid var(--border-color-primary) !important }
  .lab .cards td { border: none; padding: 0; text-align: left }
  .lab .cards td:nth-child(-n+2) { grid-column: 1 / -1 }
  .lab .cards td:nth-child(n+3)::before { content: attr(data-name); display: block; font-size: 0.85em;
    color: var(--body-text-color-subdued) }
}
@media (max-width: 500px) {
  .lab .line { grid-template-columns: 1fr auto; gap: 0 6px }
  .lab .line > .stack { grid-column: 1 / -1; grid-row: 2; margin-top: 4px }
  .lab table { font-size: 0.82em }
  .lab th, .lab td { padding-right: 7px }
  .lab th { white-space: normal }
}
"""


def theme(gr: Any) -> Any:
    """Gradio's default theme in the palette's blue, with small print that can be read, and bold print of its own font:
    Gradio 6.31 has Source Sans Pro's weight 600, its default, for Cyrillic alone.
    """
    font = (gr.themes.LocalFont("Source Sans Pro", weights=(400, 700)), "system-ui", "sans-serif")
    small = {"body_text_color_subdued": "*neutral_600", "body_text_color_subdued_dark": "*neutral_300"}
    return gr.themes.Default(primary_hue=gr.themes.Color(**SHADES), font=font).set(**small)


@contextlib.contextmanager
def page(gr: Any, title: str, sentence: str, lessons: Sequence[str] = ()) -> Iterator[gradio.Blocks]:
    """A page that is filled inside the `with`; on top its title, what it is for, and the lessons it belongs to.

    `title` is any text, `sentence` HTML, `lessons` are keys as "03/02".
    """
    with gr.Blocks(title=f"labkit: {title}", analytics_enabled=False) as demo:
        gr.HTML(f'<div class="lab"><h1>{safe(title)}</h1><p>{sentence}</p>{_to_lessons(lessons)}</div>')
        yield demo


def examples(gr: Any, samples: Sequence[Sequence[Any]], fields: Sequence[Any]) -> None:
    """Rows to press, each with a value for every field. (gr.Examples asks outside the queue, where the guard is.)"""
    shown = gr.Dataset(components=list(fields), samples=[list(row) for row in samples], label="Examples", type="values")
    one = len(fields) == 1
    shown.click(lambda row: row[0] if one else row, shown, list(fields), api_visibility="private",
                show_progress="hidden")  # fmt: skip


def _to_lessons(keys: Sequence[str]) -> str:
    """Links to the lessons where the project has an address; elsewhere how to open them."""
    if not keys:
        return ""
    root = find_root()
    source, found = source_of(root.parent) if root else "", []
    for one in map(lesson, keys):
        name, place = f"{one.key} {html.escape(one.title)}", f"{source}/blob/HEAD/notebooks/{one.notebook.as_posix()}"
        found.append(f'<a href="{html.escape(place)}">{name}</a>' if source else name)
    how = "" if source else " (<code>labkit lab</code> opens them)"
    return f'<p class="small">Lessons: {"; ".join(found)}{how}</p>'


def safe(text: object) -> str:
    """Text as HTML that shows just it, whatever its direction of writing."""
    return f"<bdi>{html.escape(str(text)).translate(VISIBLE)}</bdi>"


def box(inner: str) -> str:
    """A framed part of the page."""
    return f'<div class="lab"><div class="box">{inner}</div></div>'
