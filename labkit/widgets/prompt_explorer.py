"""A prompt to play with: a sentence and a template become a blank, the model fills it, a verbalizer reads the answer.

Everything between text and class is in the picture: the tokens that the model reads and those that were cut off, the
words it would write, each class's label words and how they add up. PET's arithmetic is not repeated here but asked of
`labkit.fewshot`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from ipywidgets import Dropdown, FloatSlider, IntSlider, Text
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from labkit.config import positive
from labkit.errors import UsageError
from labkit.evaluation import evaluating, numbers_only
from labkit.fewshot.pet import PET
from labkit.fewshot.prompts.encoding import encode
from labkit.fewshot.prompts.template import Template
from labkit.fewshot.prompts.verbalizer import AGGREGATES, Verbalizer
from labkit.foundations.encoder import usable_length
from labkit.training.batches import to_device
from labkit.widgets import boxes
from labkit.widgets.shown import Explorer, Picture, Shown, as_written, beside, bounded, look
from labkit.widgets.template_playground import KINDS as PARTS
from labkit.widgets.template_playground import compute as read

MAX_WORDS, TOP = 12, 6
KINDS = {**PARTS, "field": ("", "your text"), "cut": ("", "cut off: no room")}  # kind of token -> its fill, its legend


@dataclass(frozen=True)
class Piece:
    """One token as it is written in the vocabulary, and what it is here: a key of KINDS."""

    text: str
    kind: str


@dataclass(frozen=True)
class Reading:
    """What became of one sentence; all figures are probabilities in [0, 1].

    `blanks` has the likeliest tokens of each blank, with the label whose word they belong to, or "". `words` has each
    label's words, `scores` their aggregate, and `answer` the scores divided by their sum.
    """

    pieces: tuple[Piece, ...]
    blanks: tuple[tuple[tuple[str, float, str], ...], ...]
    words: Mapping[str, tuple[tuple[str, float], ...]]
    scores: Mapping[str, float]
    answer: Mapping[str, float]
    aggregate: str
    temperature: float

    @property
    def best(self) -> str:
        """The label of the largest answer."""
        return max(self.answer, key=self.answer.__getitem__)


def compute(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    row: Mapping[str, str],
    template: str,
    words: Mapping[str, Sequence[str]],
    *,
    aggregate: str = "mean",
    max_length: int = 64,
    temperature: float = 1.0,
) -> Reading:
    """Read `row` through the template and answer by the label words; the logits are divided by `temperature` (> 0).

    UsageError for whatever the template, the words or the lengths do not allow. The model's mode is restored.
    """
    parsed = Template.parse(template, tuple(row))
    method = PET(parsed, Verbalizer(words, tokenizer, aggregate, parsed.masks), tokenizer, max_length)
    batch = encode(parsed, [row], tokenizer, max_length)
    with evaluating(model):
        logits = method.mask_logits(model, to_device(batch, next(model.parameters()).device))
    logits = logits.float().cpu() / positive("temperature", temperature)  # (1, masks, vocabulary)
    numbers_only(logits.numpy(), model, [0])
    chances = iter(method.verbalizer.word_logits(logits)[0].exp().tolist())
    scores = method.verbalizer.logits(logits)[0]  # (classes,)
    labels = method.verbalizer.labels
    return Reading(
        pieces=tuple(
            Piece(token, part.kind if place < part.kept else "cut")
            for part in read(tokenizer, row, template, max_length).parts
            for place, token in enumerate(part.tokens)
        ),
        blanks=tuple(_likeliest(logits[0].softmax(-1), method.verbalizer)),
        words={label: tuple((word, next(chances)) for word in method.verbalizer.words[label]) for label in labels},
        scores=dict(zip(labels, scores.exp().tolist(), strict=True)),
        answer=dict(zip(labels, scores.softmax(0).tolist(), strict=True)),
        aggregate=aggregate,
        temperature=temperature,
    )


def _likeliest(chances: torch.Tensor, verbalizer: Verbalizer) -> Iterator[tuple[tuple[str, float, str], ...]]:
    """The TOP likeliest tokens of each blank, largest first: chances (masks, vocabulary)."""
    owners = [label for label, words in verbalizer.words.items() for _ in words]
    for place, blank in enumerate(chances):
        owner = dict(zip(verbalizer.word_ids[:, place].tolist(), owners, strict=True))
        top = blank[: len(verbalizer.tokenizer)].topk(min(TOP, len(blank)))
        ids = top.indices.tolist()
        labels = [owner.get(number, "") for number in ids]
        yield tuple(zip(as_written(ids, verbalizer.tokenizer), top.values.tolist(), labels, strict=True))


def draw(reading: Reading) -> Picture:
    """The reading as HTML: tokens, the words for each blank, the classes."""
    blanks = [_blank(number, reading) for number in range(min(3, len(reading.blanks)))]
    html = _tokens(reading) + boxes.side_by_side(*blanks, _classes(reading)) + _answer(reading)
    return Picture(boxes.frame(html), _alt(reading))


def _tokens(reading: Reading) -> str:
    used = [kind for kind in KINDS if any(piece.kind == kind for piece in reading.pieces)]
    legend = " ".join(_token(Piece(KINDS[kind][1], kind)) for kind in used)
    kept = sum(piece.kind != "cut" for piece in reading.pieces)
    cut = len(reading.pieces) - kept
    count = f"{kept} tokens" + (f"; {cut} more cut off (struck through)" if cut else "; nothing cut off")
    tokens = "".join(map(_token, reading.pieces))
    return (
        f"{boxes.heading('The model reads', count)}<div>{tokens}</div>"
        f'<div style="font-size:11px;margin-top:4px">Boxes: {legend}</div>'
    )


def _token(piece: Piece) -> str:
    fill, about = KINDS[piece.kind]
    return boxes.chip(piece.text, fill, dashed=piece.kind == "cut", struck=piece.kind == "cut", title=about)


def _blank(number: int, reading: Reading) -> str:
    """The likeliest words of one blank as bars; label words in their class's colour and mark."""
    words, order = reading.blanks[number], list(reading.words)
    whole = boxes.whole_bar(words[0][1])
    rows = []
    for word, chance, label in words:
        mark = boxes.shape(order.index(label)) if label else ""
        fill = boxes.colour(order.index(label)) if label else boxes.GREY
        rows.append((mark, boxes.escape(word), boxes.bar([(chance / whole, fill)]), boxes.percent(chance)))
    rows.append(("", "", boxes.axis(f"{100 * whole:g}\u00a0%", "probability"), ""))
    which = "the blank" if len(reading.blanks) == 1 else f"blank {number + 1} of {len(reading.blanks)}"
    heat = "" if reading.temperature == 1 else f"(temperature {reading.temperature:g})"
    return boxes.heading(f"It would write in {which}", heat) + boxes.table(("", "word", "", ""), rows)


def _classes(reading: Reading) -> str:
    """One bar a class, a segment a word, so that the segments together are the class's score."""
    whole = boxes.whole_bar(max(reading.scores.values()))
    rows = []
    for number, (label, words) in enumerate(reading.words.items()):
        parts = [(share / whole, boxes.colour(number)) for share in _shares(words, reading.aggregate)]
        each = [f"{boxes.escape(word)} {boxes.percent(chance)}" for word, chance in words]
        listed = "<br>".join(", ".join(each[at : at + 2]) for at in range(0, len(each), 2))
        rows.append(
            (boxes.shape(number), boxes.escape(label), boxes.bar(parts), boxes.percent(reading.scores[label]), listed)
        )
    rows.append(("", "", boxes.axis(f"{100 * whole:g}\u00a0%", "score"), "", ""))
    return boxes.heading("The classes' scores") + boxes.table(
        ("", "class", "one piece a word", f"score ({reading.aggregate})", "its words, in order"), rows
    )


def _shares(words: Sequence[tuple[str, float]], aggregate: str) -> list[float]:
    """What each word contributes to the score of its class."""
    chances = [chance for _, chance in words]
    if aggregate == "max":
        return [max(chances)]
    return chances if aggregate == "sum" else [chance / len(chances) for chance in chances]


def _answer(reading: Reading) -> str:
    """The scores divided by their sum, as one bar from 0 to 100 %."""
    parts = [(share, boxes.colour(number)) for number, share in enumerate(reading.answer.values())]
    said = [f"{boxes.escape(label)} {boxes.percent(share)}" for label, share in reading.answer.items()]
    best = list(reading.answer).index(reading.best)
    said[best] = f"<b>{said[best]}</b>"
    named = " &nbsp; ".join(f"{boxes.shape(number)} {text}" for number, text in enumerate(said))
    return boxes.heading("The answer", "(scores divided by their sum)") + boxes.bar(parts, 420, 18) + named


def _alt(reading: Reading) -> str:
    text = " ".join(piece.text for piece in reading.pieces if piece.kind != "cut")
    cut = sum(piece.kind == "cut" for piece in reading.pieces)
    words = ", ".join(f"{word} {boxes.percent(chance)}" for word, chance, _ in reading.blanks[0])
    labels = "; ".join(f"{label} {boxes.percent(share)}" for label, share in reading.answer.items())
    lost = f" {cut} tokens were cut off." if cut else ""
    return f"The model reads: {text}.{lost} Likeliest in the blank: {words}. Answer: {labels}."


def _split(text: str, label: str) -> tuple[str, ...]:
    """Label words as they are typed, between commas (also 、 ， ; ；)."""
    words = tuple(word.strip() for word in re.split("[,，、;；]", text) if word.strip())
    if not 1 <= len(words) <= MAX_WORDS:
        raise UsageError(f"label {label!r}: write 1 to {MAX_WORDS} words with commas between them, not {len(words)}")
    return words


def prompt_explorer(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, text: str, template: str,
    words: Mapping[str, str | Sequence[str]],
) -> Shown:
    """A widget in which sentence, template and label words are edited and a masked language model answers at once.

    `text` is the field {text}; `words` maps each label to its words, 1 to 12 of them. Raises UsageError where the first
    picture cannot be drawn; later errors appear in the widget.
    """
    wide, half, most = look(130, "98%"), look(130, 430), usable_length(tokenizer, 128)
    typed = {"text": Text(text, description="text", **wide), "template": Text(template, description="template", **wide)}
    lists = {
        label: Text(some if isinstance(some, str) else ", ".join(some), description=f"words: {label}", **wide)
        for label, some in words.items()
    }
    numbers = {
        "temperature": FloatSlider(1.0, min=0.1, max=5.0, step=0.1, description="temperature", **half),
        "max_length": IntSlider(min(64, most), min=4, max=most, description="room (tokens)", **half),
        "aggregate": Dropdown(options=AGGREGATES, description="score of a class", **half),
    }

    def picture(text: str, template: str, words: Mapping[str, str], **numbers: Any) -> Picture:
        row, template = {"text": bounded(text, "text")}, bounded(template, "template")
        lists = {label: _split(bounded(some, f"words: {label}"), label) for label, some in words.items()}
        return draw(compute(model, tokenizer, row, template, lists, **numbers))

    rows = [*typed.values(), *lists.values(), beside(*numbers.values())]
    return Explorer(picture, rows, words=lists, **typed, **numbers)
