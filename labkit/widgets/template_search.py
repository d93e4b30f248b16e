"""A beam as it grows: which words a search for a template writes, blank by blank, and what each prompt is worth so far.

The beam keeps what the model finds likely; what counts is how many dev rows a prompt answers. Both stand side by side,
so that one sees how little the first says about the second.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ipywidgets import Dropdown, IntSlider
from torch import nn
from transformers import PreTrainedTokenizerBase

from labkit.errors import UsageError
from labkit.evaluation import eval_mode
from labkit.fewshot.auto_prompts.candidates import (
    Judge,
    balanced,
    few_rows,
    first_words,
    whole_words,
    word_of,
)
from labkit.fewshot.auto_prompts.infilling import Layout as Places
from labkit.fewshot.auto_prompts.infilling import masked_beam, with_words
from labkit.fewshot.auto_prompts.templates import layouts_of
from labkit.fewshot.prompts.template import Template
from labkit.tasks import Task
from labkit.widgets import boxes
from labkit.widgets.shown import Explorer, Picture, Shown, look

MOST_BLANKS, MOST_BEAM, BAR = 5, 12, 120
BLANKS = (2, 1)  # before the mask and after it
ROWS = 32  # training rows at most that the words must fit


@dataclass(frozen=True)
class Hypothesis:
    """A template as far as it is written. `log_probability` is nats a training row, `score` the task's metric on dev.

    `kept` says whether the next step builds on it.
    """

    template: str
    new: str  # the word that this step wrote
    log_probability: float
    score: float
    kept: bool


@dataclass(frozen=True)
class Growth:
    """The beam after each blank, best first, and the hand-written prompt beside it."""

    steps: tuple[tuple[Hypothesis, ...], ...]
    start: str
    start_score: float
    metric: str
    dev: int  # rows


def compute(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    task: Task,
    *,
    places: Places | None = None,
    blanks: tuple[int, int] = BLANKS,
    beam: int = 6,
) -> Growth:
    """The beam search of `labkit.fewshot.auto_prompts` on a few-shot task with a pattern, one step a blank.

    UsageError for beams and blanks beyond what can be shown, and for whatever the search refuses.
    """
    _check(beam, blanks)
    few, words = few_rows(task), first_words(task)
    if not task.patterns:
        raise UsageError(f"task {task.name} has no pattern of its own to compare with")
    places = places or layouts_of(task)[0]
    judge = Judge(model, tokenizer, few)
    shown = with_words(balanced(few.splits["train"], len(task.labels), ROWS), words)

    def score(template: Template) -> float:
        return judge.try_out(template, words).score

    with eval_mode(model):
        usable = whole_words(tokenizer, model.config.vocab_size)
        found = [
            (filled.tolist(), scores.tolist())
            for filled, scores in masked_beam(model, tokenizer, places.skeleton(*blanks), shown, usable, beam)
        ]
        steps = []
        for number, (filled, scores) in enumerate(found):
            after = {tuple(ids[:-1]) for ids in found[number + 1][0]} if number + 1 < len(found) else None
            steps.append(
                tuple(
                    _hypothesis(places, blanks[0], ids, value / len(shown), after, tokenizer, score)
                    for ids, value in zip(filled, scores, strict=True)
                )
            )
        start = Template.parse(task.patterns[0], task.fields)
        return Growth(tuple(steps), str(start), score(start), task.metric, len(few.splits["dev"]))


def _check(beam: int, blanks: tuple[int, int]) -> None:
    if not 1 <= beam <= MOST_BEAM or not 1 <= sum(blanks) <= MOST_BLANKS or min(blanks) < 0:
        shown = f"1 to {MOST_BEAM} templates of 1 to {MOST_BLANKS} blanks are shown"
        raise UsageError(f"beam={beam}, blanks={blanks}: {shown}")


def _hypothesis(
    places: Places,
    left: int,
    ids: Sequence[int],
    value: float,
    after: set[tuple[int, ...]] | None,
    tokenizer: PreTrainedTokenizerBase,
    score: Callable[[Template], float],
) -> Hypothesis:
    words = [word_of(number, tokenizer) for number in ids]
    template = places.template(places.space.join(words[:left]), places.space.join(words[left:]))
    kept = after is None or tuple(ids) in after
    return Hypothesis(str(template), words[-1], value, score(template), kept)


def draw(growth: Growth, step: int) -> Picture:
    """The beam after blank number `step`, from 1: its templates, how likely they are, how many dev rows they answer."""
    if not 1 <= step <= len(growth.steps):
        raise UsageError(f"step {step}: the beam has {len(growth.steps)}")
    beam = growth.steps[step - 1]
    best, last = max(one.score for one in beam), step == len(growth.steps)
    rows = [_line(one, one.score == best, last, growth.start_score) for one in beam]
    rows.append(("✎", _code(growth.start), "written by hand", "", _bar(growth.start_score, boxes.GREY), ""))
    head = ("", "template so far", "new word", "log P (nats a row)", f"dev {growth.metric} ({growth.dev} rows)",
            "" if last else "goes on")  # fmt: skip
    title = boxes.heading(
        f"After blank {step} of {len(growth.steps)}",
        boxes.escape("likeliest first; ★ best on dev; blue bar: at least as good as by hand, orange: worse"),
    )
    return Picture(boxes.frame(title, boxes.table(head, rows)), _alt(growth, step))


def _line(one: Hypothesis, best: bool, last: bool, start: float) -> tuple[str, ...]:
    bar = _bar(one.score, boxes.colour(0) if one.score >= start else boxes.colour(1))
    going = "" if last else "→" if one.kept else "✗ dropped"
    new = boxes.chip(one.new, "#56B4E9")
    return "★" if best else "", _code(one.template), new, f"{one.log_probability:.2f}", bar, going


def _code(template: str) -> str:
    return f'<code style="background-color:transparent;color:inherit">{boxes.escape(template)}</code>'


def _bar(score: float, fill: str) -> str:
    bar = f'<div style="display:inline-block;vertical-align:middle">{boxes.bar([(score, fill)], BAR)}</div>'
    return f"{bar} {boxes.percent(score)}"


def _alt(growth: Growth, step: int) -> str:
    beam = growth.steps[step - 1]
    likely, best = beam[0], max(beam, key=lambda one: one.score)
    return (
        f"Beam after blank {step} of {len(growth.steps)}, {len(beam)} templates. Likeliest: {likely.template} "
        f"({likely.log_probability:.2f} nats a row, dev {100 * likely.score:.1f} %). Best on dev: {best.template} "
        f"({100 * best.score:.1f} %). By hand: {growth.start} ({100 * growth.start_score:.1f} %)."
    )


def template_search(model: nn.Module, tokenizer: PreTrainedTokenizerBase, task: Task) -> Shown:
    """A widget that shows a masked LM writing templates for a few-shot task (with "train", "dev", a pattern and words).

    Controls: after which blank, how wide a beam, where the words go.
    """
    places, size = {str(one.template("…", "…")): one for one in layouts_of(task)}, look(70, 330)

    @functools.cache
    def growth(where: str, beam: int) -> Growth:
        return compute(model, tokenizer, task, places=places[where], beam=beam)

    return Explorer(
        lambda step, beam, where: draw(growth(where, beam), step),
        step=IntSlider(sum(BLANKS), min=1, max=sum(BLANKS), description="blank", **size),
        beam=IntSlider(6, min=1, max=MOST_BEAM, description="beam", continuous_update=False, **size),
        where=Dropdown(options=list(places), description="layout", **size),
    )
