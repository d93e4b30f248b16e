"""The page of the compression demo: one sentence above, every model's answer and costs below.

Handlers are plain functions of what was typed; `build_demo` makes the models and lays out the page.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from labkit.demos.compression import showing
from labkit.demos.compression.making import Made, Workshop, ask, cache, lines_for
from labkit.demos.compression.showing import ORDERS
from labkit.demos.fewshot.page import language_of
from labkit.demos.fewshot.presets import TRIED, world_task
from labkit.demos.foundations.form import MAX_TEXT, typed
from labkit.errors import UsageError, unknown
from labkit.serving import MAX_WAITING, import_gradio, telling
from labkit.serving.look import examples, page
from labkit.zoo import load

if TYPE_CHECKING:
    import gradio

INTRO = """One sentence of a review goes through a large model, the <b>teacher</b>, and through what compression made of
it. Who still answers as the teacher does, and what does each model cost?"""
EXPLANATION = """
Under each model's name stand the passes that made it, in their order. Every training among them learns the
*teacher's answers* to reviews, also to some that nobody has labelled (knowledge distillation).

- `shrink:1,80` begins a smaller model: 1 layer, 80 numbers a word. `droplayers:2` keeps 2 of the teacher's layers.
- `distill:600` trains for 600 steps on the teacher's answers.
- `prune:0.5,200` sets the half of the weights that are nearest to 0 to exactly 0, while 200 steps train the others.
- `quantize:int8` stores each weight as a whole number of 8 bits, `quantize:ternary,200` as −1, 0 or 1 times a
  factor, after 200 steps in which the model is trained with such weights.

Codes of few bits always save bytes. They save time only where a processor, or a kernel, can compute with them; else
they are turned into numbers first, and that takes time.

**How sure** is the probability that a model gives to its own answer. **Time** is the median of several passes over this
sentence alone, on this machine; the models take turns. **File** is what the weights take on a disk. The shares in small
print compare with the teacher. **Right** counts other reviews, which no model was trained on.

Things to try:

- Which pass saves the most bytes? Does it save as much time? Is int8 faster or slower on this machine?
- Half the weights of one model are 0. Why is its file not smaller?
- Type a short sentence, then one of fifty words: whose time grows the most?
- Write a sentence that praises one thing and blames another. Do the models still agree? Are those that differ unsure?
- Put a "not" into a sentence, or take one out: who notices? Can a student notice what its teacher does not?
- You have half a megabyte for a model on a watch. Which one do you take, and what do you give up?
"""


def read(text: Any, models: Sequence[Made]) -> str:
    """The text in one line. LabkitError where there is none, too much of it, or no word in it."""
    text = " ".join(typed(text).split())
    if not any(map(str.isalpha, text)):
        raise UsageError("there is no word in it: type a sentence of a review")
    method = models[0].app.method
    count = len(method.tokenizer(text, split_special_tokens=True)["input_ids"])
    if count > method.max_length:
        raise UsageError(f"{count} tokens: the models read at most {method.max_length}; shorten the text")
    return text


def on_compare(models: Sequence[Made], text: Any, order: Any) -> str:
    """What "Compare" does: every model's answer, as HTML. LabkitError says what is wrong with the text."""
    if order not in ORDERS:
        raise unknown("order", order, ORDERS)
    text = read(text, models)
    return showing.compared(ask(models, text), text, order)


def build_demo(model: str = "mini-bert-en") -> gradio.Blocks:
    """The page; `model`, named as in `labkit.load_model`, becomes the teacher.

    The first time for a model takes a minute or two, in which all that is on the page is made and kept. UsageError for
    a model that is not of BERT's family.
    """
    gr = import_gradio()
    base, language = load(model, head=None), language_of(model)
    lines = lines_for(base.model)
    return _page(gr, Workshop(base, world_task(language)).models(lines), TRIED[language])


def _page(gr: Any, models: Sequence[Made], samples: Sequence[str]) -> gradio.Blocks:
    with page(gr, "Smaller, and still right?", INTRO, ("04/01", "04/03", "04/04")) as demo:
        with gr.Row():
            with gr.Column(scale=6, min_width=300):
                text = gr.Textbox(samples[0], label="A sentence of a review", lines=2, max_lines=6,
                                  max_length=MAX_TEXT, submit_btn=False)  # fmt: skip
                button = gr.Button("Compare", variant="primary", size="lg")
                order = gr.Radio(list(ORDERS), value=next(iter(ORDERS)), label="Sort by")
            with gr.Column(scale=5, min_width=300):
                examples(gr, [[one] for one in samples], [text])
        shown = gr.HTML(showing.WAITING)
        gr.HTML(showing.origin(models, cache()))
        with gr.Accordion("What you see, and what to try", open=True):
            gr.Markdown(EXPLANATION)

        def compare(text, order):
            with telling():
                return on_compare(models, text, order)

        asked = [demo.load, button.click, text.submit, order.input]
        gr.on(asked, compare, [text, order], shown, api_name="compare", concurrency_limit=1)
    return demo.queue(max_size=MAX_WAITING, default_concurrency_limit=1)
