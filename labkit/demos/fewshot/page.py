"""The page of the few-shot demo: what a person types on the left, what the methods make of it on the right.

Handlers are plain functions of what was typed; `build_demo` only lays out the page and connects them. Every refusal is
one sentence, and leaves the page as it was.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from labkit.demos.fewshot import learning, showing
from labkit.demos.fewshot.form import EXAMPLES, MAX_CLASSES, Class, Form, sentences, to_task
from labkit.demos.fewshot.learning import Learnt, Report, Shelf
from labkit.demos.fewshot.presets import PRESETS, world_task
from labkit.errors import UsageError
from labkit.serving import MAX_WAITING, import_gradio, telling
from labkit.serving.look import box, page
from labkit.tasks import Task
from labkit.zoo import RECIPES, Loaded, load

if TYPE_CHECKING:
    import gradio

QUIET = {"api_visibility": "private", "show_progress": "hidden"}
A_CLASS = 2 + EXAMPLES  # fields of a class: name, label word, examples
KEPT = 3600  # seconds for which a session's models are kept after their last use
INTRO = """Give each class a name and three example sentences, press <b>Learn</b>, and see what four methods make of
sentences that they have not seen."""
WAITING = box('<p class="waiting">Press <b>Learn</b>: the answers appear here within seconds.</p>')
EXPLANATION = """
**Untrained cloze** trains nothing. Your sentence is put into the pattern, and the label word that the language model
would rather write in the blank is the answer.

**PET** asks the same question, and trains the model on your examples to answer it with the right word. It begins with
what the word already means to the model (Schick & Schütze 2021).

**CP-Tuning** needs no label words, and does not read your pattern: every sentence is followed by the same two words
("it is"), whose vectors are trained too, and by a blank. Training brings what the model thinks at the blank
together for sentences of one class, and apart for those of different classes. A new sentence gets the class of the most
similar example; the shares show how far the other classes' examples are behind (Xu et al. 2022).

**Head fine-tuning** takes the language model's own output away and puts a new layer, drawn at random, on the mean of
the words' vectors. It never sees your label words: all that it knows of the classes is in your examples. With three of
them it often does little better than guessing.

Things to try:

- Press *Other examples* and *Learn* a few times: whose accuracy depends most on which examples it was given?
- Choose *Words that say nothing*, then *Words swapped*: which methods suffer, and which do not notice?
- Delete all examples but one a class, or give a class a wrong one.
- Choose *Four subjects*: what does PET gain there over the cloze that it starts from, and with *Good or bad*? Whose
  loss is still high after the last step, and how sure is it of its answers?
- Delete the "not" of the last sentence and press *Try*. The model has read many negations: does this word turn an
  answer, or does it only make a method less sure?
"""


def language_of(model: str) -> str:
    """The language of a model by its name: "en" or "zh"."""
    if model in RECIPES:
        return RECIPES[model].language
    return "zh" if re.search("zh|chinese", model.lower()) else "en"


def to_form(count: int, *values: str) -> Form:
    """The form from the page's fields: those of MAX_CLASSES classes, the pattern, the sentences to try."""
    *fields, pattern, tried = [value or "" for value in values]
    starts = range(0, A_CLASS * min(int(count or 2), MAX_CLASSES), A_CLASS)
    classes = [Class(fields[at], fields[at + 1], tuple(fields[at + 2 : at + A_CLASS])) for at in starts]
    return Form(tuple(classes), pattern, tried)


def to_values(form: Form) -> list[Any]:
    """The inverse of `to_form`; classes that the form does not have are empty."""
    classes = [*form.classes, *[Class()] * (MAX_CLASSES - len(form.classes))]
    fields = [value for c in classes for value in (c.name, c.word, *c.examples)]
    return [len(form.classes), *fields, form.pattern, form.tried]


def on_learn(base: Loaded, reference: Task, form: Form, report: Report = lambda share, what: None) -> Learnt:
    """What "Learn" does; LabkitError says what is wrong with the form."""
    sentences(form.tried)  # refused before anything is trained
    return learning.learn(base, to_task(form, reference.language), reference, report)


def on_try(learnt: Learnt | None, tried: str) -> str:
    """What "Try" does: the answers to the sentences, as HTML. UsageError where nothing is learnt, or kept no longer."""
    texts = sentences(tried)
    if learnt is None:
        raise UsageError("nothing is learnt yet, or it was so long ago that it is forgotten: press Learn first")
    return showing.answers(learnt, texts, learning.answers(learnt, texts))


def on_fill(
    reference: Task, name: str | None, draw: int, kept: Sequence[Any] | None, last: Sequence[Any] | None, *now: Any
) -> tuple[list[Any], Sequence[Any] | None]:
    """What choosing a form to start from does: the new fields, and those to go back to.

    `kept` are the fields that were typed before, `last` those that were filled in, `now` those on the page: what a
    person has changed is kept, and no form that was only looked at takes its place.
    """
    preset = PRESETS[name or next(iter(PRESETS))]
    filled = to_values(preset.form(reference, draw))
    return filled, kept if last is not None and list(now) == list(last) else now


def build_demo(model: str = "mini-bert-en") -> gradio.Blocks:
    """The page: few-shot methods on any masked language model, named as in `labkit.load_model`.

    Each session keeps one result, for KEPT seconds, and sees no other's. Trainings run one at a time; the queue holds
    MAX_WAITING. UsageError for a model without a language-model head.
    """
    gr = import_gradio()
    base, language = load(model, head="mlm"), language_of(model)
    if base.fresh:
        raise UsageError(f"model {model!r} comes without a language-model head, which a cloze needs: choose another")
    reference = world_task(language)
    first = next(iter(PRESETS.values())).form(reference, 0)
    with page(gr, "Learn from three examples", INTRO, ("03/02", "03/04")) as demo:
        parts = _lay_out(gr, first)
        _connect_learning(gr, parts, base, reference)
        _connect_forms(gr, parts, reference, to_values(first))
    return demo.queue(max_size=MAX_WAITING, default_concurrency_limit=1)


def _connect_learning(gr: Any, parts: SimpleNamespace, base: Loaded, reference: Task) -> None:
    """ "Learn" and "Try"; a session's state is the key of its result on the shelf."""
    shelf = Shelf(base)
    key = gr.State(None, time_to_live=KEPT, delete_callback=shelf.drop)

    def learn(key, *values, progress=gr.Progress()):  # noqa: B008  gradio finds the bar in the signature
        with telling():
            form = to_form(*values)
            learnt = on_learn(base, reference, form, lambda share, what: progress(share, desc=what))
            shown = on_try(learnt, form.tried), showing.scores(learnt, reference), showing.curves(learnt)
        return shelf.put(learnt, instead=key), *shown

    def attempt(key, tried):
        with telling():
            return on_try(shelf.get(key), tried)

    one = {"concurrency_limit": 1, "concurrency_id": "model"}  # the model serves one at a time
    shown = [key, parts.answers, parts.scores, parts.curves]
    pressed = parts.press.click(
        learn, [key, *parts.typed], shown, api_name="learn", show_progress_on=parts.answers, **one
    )
    pressed.success(None, js="() => document.getElementById('answers').scrollIntoView()", **QUIET)
    parts.ask.click(attempt, [key, parts.typed[-1]], parts.answers, api_name="try", **one)


def _connect_forms(gr: Any, parts: SimpleNamespace, reference: Task, first: list[Any]) -> None:
    """Forms to start from, the way back, and the number of classes."""
    draw, kept, last = gr.State(0), gr.State(None), gr.State(first)

    def fill(name, draw, kept, last, *now):
        filled, kept = on_fill(reference, name, draw, kept, last, *now)
        preset = PRESETS[name or next(iter(PRESETS))]
        buttons = gr.Button(interactive=preset.drawn), gr.Button(visible=kept is not None)
        return [draw, kept, filled, *filled, preset.point, *buttons]

    def again(name, draw, *values):
        return fill(name, draw + 1, *values)

    def back(kept, *now):
        return [
            None,
            None,
            *(kept or now),
            "Your own form.",
            gr.Button(interactive=True),
            gr.Button(visible=False),
            None,
        ]

    def count(number):
        return [gr.Column(visible=at < number) for at in range(MAX_CLASSES)]

    changed = [*parts.typed, parts.point, parts.other, parts.undo]
    values = [parts.start, draw, kept, last, *parts.typed]
    parts.start.input(fill, values, [draw, kept, last, *changed], **QUIET)
    parts.other.click(again, values, [draw, kept, last, *changed], **QUIET)
    parts.undo.click(back, [kept, *parts.typed], [kept, last, *changed, parts.start], **QUIET)
    parts.typed[0].change(count, parts.typed[0], parts.columns, **QUIET)


def _lay_out(gr: Any, form: Form) -> SimpleNamespace:
    """All that is on the page; `typed` are the fields in the order of `to_form`."""
    start, count, point, other, undo = _presets(gr, form)
    columns, fields = _classes(gr, form)
    pattern = gr.Textbox(form.pattern, label="Pattern", info="{text} is the sentence, {mask} the blank")
    press = gr.Button("Learn", variant="primary", size="lg")
    with gr.Row(elem_id="answers"):
        with gr.Column(scale=2, min_width=300):
            tried = gr.Textbox(form.tried, lines=7, max_lines=16, label="Sentences to try, one a line")
            ask = gr.Button("Try, without learning again")
        with gr.Column(scale=5, min_width=300):
            answers = gr.HTML(WAITING)
    with gr.Row():
        with gr.Column(min_width=300):
            scores = gr.HTML()
        with gr.Column(min_width=300):
            curves = gr.HTML()
    with gr.Accordion("What you see, and what to try", open=True):
        gr.Markdown(EXPLANATION)
    typed = [count, *fields, pattern, tried]
    return SimpleNamespace(
        start=start, point=point, other=other, undo=undo, columns=columns, typed=typed, press=press, ask=ask,
        answers=answers, scores=scores, curves=curves,
    )  # fmt: skip


def _presets(gr: Any, form: Form) -> tuple[Any, ...]:
    """What to start from: the choice, the number of classes, the choice's point, and the buttons for other examples
    and for going back.
    """
    names = list(PRESETS)
    with gr.Row(equal_height=True):
        with gr.Column(scale=22, min_width=300):
            start = gr.Radio(names, value=names[0], label="Start from")
        with gr.Column(scale=7, min_width=200):
            count = gr.Radio(list(range(2, MAX_CLASSES + 1)), value=len(form.classes), label="Classes")
        with gr.Column(scale=9, min_width=250):
            point = gr.Markdown(PRESETS[names[0]].point)
            with gr.Row():
                other = gr.Button("Other examples", size="sm", min_width=120)
                undo = gr.Button("Back to what I had", size="sm", min_width=120, visible=False)
    return start, count, point, other, undo


def _classes(gr: Any, form: Form) -> tuple[list[Any], list[Any]]:
    """The columns of the classes, and all their fields in the order of `to_form`."""
    groups, fields, values = [], [], to_values(form)[1:]
    for pair in range(0, MAX_CLASSES, 2):
        with gr.Row():
            for number in (pair, pair + 1):
                with gr.Column(min_width=300, visible=number < len(form.classes)) as group, gr.Group():
                    fields += _class(gr, number + 1, values[number * A_CLASS : (number + 1) * A_CLASS])
                groups.append(group)
    return groups, fields


def _class(gr: Any, number: int, texts: Sequence[str]) -> list[Any]:
    """The fields of one class."""
    with gr.Row():
        name = gr.Textbox(texts[0], label=f"Class {number}", min_width=120)
        word = gr.Textbox(texts[1], label=f"Label word {number}", min_width=120)
    labels = [f"Class {number}, example {at}" for at in range(1, EXAMPLES + 1)]
    examples = [
        gr.Textbox(text, label=label, placeholder=label, lines=1, max_lines=5, show_label=False)
        for label, text in zip(labels, texts[2:], strict=True)
    ]
    return [name, word, *examples]
