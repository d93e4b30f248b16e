"""The page of an app: boxes for its texts, and a view that suits what it answers."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from labkit.apps import App
from labkit.apps.catalogue import application
from labkit.errors import UsageError
from labkit.serving import look
from labkit.serving.launching import MAX_WAITING, import_gradio, telling
from labkit.serving.look import page

if TYPE_CHECKING:
    import gradio

MAX_CHARACTERS = 5000  # of a text
SHOWN = 10  # labels at most
Row = Mapping[str, str]
Marked = list[tuple[str, str | None]]  # a text in pieces, some under a name


class View(NamedTuple):
    """How a kind of answer is shown: what the page promises, its component, and what an answer is there."""

    promise: str
    component: Callable[[Any, App], Any]  # (gradio, app)
    value: Callable[[App, Row, Any], Any]  # (app, the row that was asked, its answer)


def _label(gr: Any, app: App) -> Any:
    return gr.Label(label="prediction", num_top_classes=min(len(app.card.labels), SHOWN))


def _marked(gr: Any, app: App) -> Any:
    return gr.HighlightedText(label="prediction", show_legend=True, combine_adjacent=True)


def _lines(gr: Any, app: App) -> Any:
    return gr.Textbox(label="prediction", lines=3, interactive=False)


def _numbers(gr: Any, app: App) -> Any:
    return gr.JSON(label="prediction")


def mark_spans(app: App, row: Row, spans: Sequence[Mapping[str, Any]]) -> Marked:
    """The first field in pieces: those of the spans, {"text", "start", "type"}, under their types, the rest bare."""
    text, at, pieces = row[app.card.fields[0]], 0, []
    for span in sorted(spans, key=lambda span: span["start"]):
        if span["start"] >= at and span["text"]:  # one that overlaps an earlier one, or is no answer, is not shown
            end = span["start"] + len(span["text"])
            pieces += [(text[at : span["start"]], None), (text[span["start"] : end], span.get("type", "answer"))]
            at = end
    return [(piece, name) for piece, name in [*pieces, (text[at:], None)] if piece]


def _listed(app: App, row: Row, answer: Sequence[str]) -> str:
    several = "\n".join(f"{place}. {text}" for place, text in enumerate(answer, start=1))
    return answer[0] if len(answer) == 1 else several


def _named(app: App, row: Row, answer: Mapping[str, Any]) -> str:
    return ", ".join(app.card.labels[label] for label in answer["labels"]) or "(none of the labels)"


VIEWS = {
    "class": View("the model says how likely each label is", _label,
                  lambda app, row, answer: app.shown(answer)["probabilities"]),
    "classes": View("the model says which labels it has", _lines, _named),
    "tags": View("the model marks its words", _marked, lambda app, row, answer: mark_spans(app, row, answer["spans"])),
    "span": View("the model marks the answer", _marked, lambda app, row, answer: mark_spans(app, row, [answer])),
    "spans": View("the model marks what it finds", _marked, mark_spans),
    "text": View("the model writes", _lines, _listed),
    "numbers": View("the model gives numbers for it", _numbers, lambda app, row, answer: app.shown(answer)),
}  # fmt: skip


def check_lengths(row: Row, where: str = "") -> None:
    """UsageError beginning with `where` for a row with a text that is blank, or longer than MAX_CHARACTERS."""
    for field, text in row.items():
        if not text or not text.strip():
            raise UsageError(f"{where}{field}: type a text first")
        if len(text) > MAX_CHARACTERS:
            raise UsageError(f"{where}{field}: {len(text)} characters, at most {MAX_CHARACTERS} are read")


def build_demo(app: App, ask: Callable[[list[Row]], Sequence[Any]] | None = None) -> gradio.Blocks:
    """The page of an app: its text boxes, a view of the answer, examples; API endpoint `predict`.

    `ask` gives the answers to rows, `app.answers` by default. Texts of more than MAX_CHARACTERS, and requests beyond
    MAX_WAITING in the queue, are refused.
    """
    gr, card = import_gradio(), app.card
    ask = ask or app.answers
    examples = [[row[field] for field in card.fields] for row in card.examples]
    view = VIEWS[app.view]

    def answer(*texts: str) -> Any:
        with telling():
            check_lengths(dict(zip(card.fields, texts, strict=True)))
            row = app.row(texts, 1)
            return view.value(app, row, ask([row])[0])

    what = html.escape(f"{card.application}: {application(card.application).about}")
    with page(gr, card.task, f"{what}. Type a text; {view.promise}.") as demo:
        boxes = [gr.Textbox(label=field, lines=3, max_length=MAX_CHARACTERS) for field in card.fields]
        button = gr.Button("Predict", variant="primary")
        shown = view.component(gr, app)
        asked = [button.click, *(box.submit for box in boxes)]
        gr.on(asked, answer, boxes, shown, api_name="predict", concurrency_limit=8)
        if examples:
            look.examples(gr, examples, boxes)
    return demo.queue(max_size=MAX_WAITING)
