"""A template to play with, without a model: how it is read, which tokens a row becomes, what is cut as room shrinks.

The parser's and the encoder's own work is shown, none is repeated here: parts are `Template.parse`'s, tokens and cuts
those of `labkit.fewshot.prompts.encoding`. A template that is refused is shown with the place where it went wrong.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from ipywidgets import IntSlider, Text
from transformers import PreTrainedTokenizerBase

from labkit.errors import UsageError
from labkit.fewshot.prompts import template as language
from labkit.fewshot.prompts.encoding import shorten, slots_of
from labkit.fewshot.prompts.template import Template
from labkit.foundations.encoder import usable_length
from labkit.widgets import boxes
from labkit.widgets.shown import Explorer, Picture, Shown, as_written, bounded, look

# kind of part -> its fill and what the legend says; the last is for the tokens that the encoder adds
KINDS = {
    "field": ("", "the row's text"),
    "words": ("#56B4E9", "the template's words"),
    "blank": ("#E69F00", "the blank"),
    "soft": ("#CC79A7", "trainable tokens"),
    "meta": ("#009E73", "another value of the row"),
    "special": (boxes.GREY, "special tokens"),
}
POSITION = re.compile(r"position (\d+): (.*)", re.DOTALL)
LARGEST = 128


@dataclass(frozen=True)
class Part:
    """One part of the template: as it is spelled, its kind (a key of KINDS), what it is, its tokens, and how many of
    them are kept. The special tokens at both ends have no spelling.
    """

    spelling: str
    kind: str
    about: str
    tokens: tuple[str, ...]
    kept: int


@dataclass(frozen=True)
class Reading:
    """A template and a row: parts in order, and the room in tokens; or the fault, with its place counted from 1."""

    template: str
    parts: tuple[Part, ...] = ()
    room: int = 0
    fault: str = ""
    at: int = 0

    @property
    def kept(self) -> int:
        """Tokens that the model reads."""
        return sum(part.kept for part in self.parts)

    @property
    def cut(self) -> int:
        """Tokens for which there is no room."""
        return sum(len(part.tokens) for part in self.parts) - self.kept


def compute(tokenizer: PreTrainedTokenizerBase, row: Mapping[str, str], template: str, room: int) -> Reading:
    """Read the template and put the row into it, in at most `room` tokens.

    A template that is refused comes back with its fault. UsageError where what is never cut needs more room, DataError
    for a value that the row lacks.
    """
    try:
        parsed = Template.parse(template, tuple(row))
    except UsageError as error:
        found = POSITION.search(str(error))
        if found is None:
            raise
        return Reading(template, fault=found[2], at=int(found[1]))
    slots = slots_of(parsed, [row], tokenizer)
    before = [slot.ids[0] for slot in slots]
    shorten(parsed, slots, 1, usable_length(tokenizer, room))
    spelled = ["", *map(str, parsed.parts), ""]
    kinds = [("special", "added by the encoder"), *map(_kind, parsed.parts), ("special", "added by the encoder")]
    parts = (
        Part(text, *kind, tuple(as_written(ids, tokenizer)), len(slot.ids[0]))
        for text, kind, ids, slot in zip(spelled, kinds, before, slots, strict=True)
    )
    return Reading(template, tuple(parts), room)


def _kind(part: language.Part) -> tuple[str, str]:
    """Kind of a part, and what it is in words."""
    if isinstance(part, language.Field):
        return "field", "a field, cut where room is short" if part.shorten else "a field, never cut"
    if isinstance(part, language.Mask):
        return "blank", boxes.count(part.count, "blank")
    if isinstance(part, language.Soft):
        start = "start as these words" if part.init else f"{part.count}, start as nothing"
        return "soft", f"trainable tokens: {start}"
    if isinstance(part, language.Meta):
        return "meta", "a value of the row, never cut"
    if isinstance(part, language.Special):
        return "special", "a special token"
    return "words", "words of the template"


def draw(reading: Reading) -> Picture:
    """The reading as HTML: its parts with their tokens, and the text that the model reads; or the fault's place."""
    if reading.fault:
        return Picture(boxes.frame(_fault(reading)), f"The template is refused at {reading.at}: {reading.fault}")
    return Picture(boxes.frame(_parts(reading), _tokens(reading), _room(reading)), _alt(reading))


def _fault(reading: Reading) -> str:
    """The template with the faulty place marked, and what is wrong there."""
    at = reading.at - 1
    closed = reading.template.find("}", at)
    end = (
        closed + 1 if reading.template[at : at + 1] == "{" and closed > 0 else at + 1
    )  # the whole part, or a character
    before, here, after = reading.template[:at], reading.template[at:end], reading.template[end:]
    mark = '<span style="background-color:#D55E00;color:#ffffff;padding:0px 2px">'
    spelled = f"{boxes.escape(before)}{mark}{boxes.escape(here) or '&nbsp;'}</span>{boxes.escape(after)}"
    style = "font-family:monospace;font-size:15px;white-space:pre-wrap;margin:4px 0px"
    return (
        f"{boxes.heading('The template is refused')}<div style='{style}'>{spelled}</div>"
        f"{boxes.alert(f'character {reading.at}: {reading.fault}')}"
    )


def _parts(reading: Reading) -> str:
    rows = []
    most = max(len(part.tokens) for part in reading.parts)
    for part in (part for part in reading.parts if part.spelling.strip()):
        chip = boxes.chip(part.spelling.replace(" ", "␣"), KINDS[part.kind][0], dashed=part.kind == "field")
        fill = KINDS[part.kind][0] or "#0072B2"
        lost = len(part.tokens) - part.kept
        said = f"{part.kept} of {len(part.tokens)} tokens" if lost else boxes.count(part.kept, "token")
        rows.append((chip, boxes.escape(part.about), boxes.bar([(part.kept / max(most, 1), fill)], 120), said))
    return boxes.heading("The template has these parts") + boxes.table(("part", "what it is", "", "kept"), rows)


def _tokens(reading: Reading) -> str:
    chips = "".join(
        boxes.chip(
            token, KINDS[part.kind][0], dashed=place >= part.kept, struck=place >= part.kept, title=KINDS[part.kind][1]
        )
        for part in reading.parts
        for place, token in enumerate(part.tokens)
    )
    used = [kind for kind in KINDS if any(part.kind == kind and part.tokens for part in reading.parts)]
    legend = " ".join(boxes.chip(KINDS[kind][1], KINDS[kind][0]) for kind in used)
    if reading.cut:
        legend += boxes.chip("cut off: no room", dashed=True, struck=True)
    note = f'<div style="font-size:11px;margin-top:4px">Boxes: {legend}</div>'
    return f"{boxes.heading('The model reads')}<div>{chips}</div>{note}"


def _room(reading: Reading) -> str:
    fields = sum(part.kept for part in reading.parts if part.kind == "field")
    shares = [((reading.kept - fields) / reading.room, "#E69F00"), (fields / reading.room, "#0072B2")]
    cut = f"; <b>{reading.cut}</b> cut off, the longest field first" if reading.cut else "; nothing cut off"
    said = f"{reading.kept} of {reading.room} tokens: {reading.kept - fields} of the template, {fields} of the row{cut}"
    return boxes.heading("Room", f"({said})") + boxes.bar(shares, 420, 14)


def _alt(reading: Reading) -> str:
    parts = "; ".join(f"{part.spelling.strip()}: {part.about}" for part in reading.parts if part.spelling.strip())
    kept = " ".join(token for part in reading.parts for token in part.tokens[: part.kept])
    cut = " ".join(token for part in reading.parts for token in part.tokens[part.kept :])
    lost = f" Cut off: {cut}." if cut else " Nothing is cut off."
    return f"Parts: {parts}. The model reads {reading.kept} of {reading.room} tokens: {kept}.{lost}"


def template_playground(
    tokenizer: PreTrainedTokenizerBase, row: Mapping[str, str], template: str, *, room: int = 32
) -> Shown:
    """A widget in which a template and the values of a row are edited, and a slider takes away the room for them.

    `row` has values by name, which the template may use as {name} or {meta:name}. It needs a tokenizer and no model.
    Raises UsageError where the first picture cannot be drawn; later errors appear in it.
    """

    def picture(template: str, values: Mapping[str, str], room: int) -> Picture:
        row = {name: bounded(text, name) for name, text in values.items()}
        return draw(compute(tokenizer, row, bounded(template, "template"), room))

    wide, most = look(110, "98%"), usable_length(tokenizer, LARGEST)
    pattern = Text(template, description="template", **wide)
    values = {name: Text(text, description=name, **wide) for name, text in row.items()}
    tokens = IntSlider(min(room, most), min=4, max=most, description="room (tokens)", **look(110, 430))
    return Explorer(picture, [pattern, *values.values(), tokens], template=pattern, values=values, room=tokens)
