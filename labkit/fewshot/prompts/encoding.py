"""Rows through a template to tensors: which tokens stand where, and what is cut when they are too many.

Notable: positions of the blanks come from the template's structure, never from searching for the mask's id, and
special tokens inside a row's own text are text, so nobody can write a blank into a review. Of a model that goes on with
a text (its tokenizer has no [CLS]) the text ends where the blank would stand: nothing is put there, and what the
template says behind it is left out.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from labkit.errors import DataError, UsageError
from labkit.fewshot.prompts.spacing import read, text_ids
from labkit.fewshot.prompts.template import Field, Mask, Meta, Part, Soft, Special, Template, Text
from labkit.foundations.encoder import goes_on, padding, to_batch, usable_length
from labkit.tasks.text import check_whole


@dataclass
class Slot:
    """One part for every row: its ids, and what it is to the model."""

    ids: list[list[int]]  # one list a row
    kind: str = "text"  # "text", "mask", "soft"
    shorten: bool = False
    segment: int = 0  # token type
    name: str = ""  # of the field


def encode(
    template: Template,
    rows: Sequence[Mapping[str, Any]],
    tokenizer: PreTrainedTokenizerBase,
    max_length: int = 128,
) -> dict[str, torch.Tensor]:
    """Rows in a template as tensors: `input_ids`, `attention_mask`, `token_type_ids` where the tokenizer has them,
    `soft_mask` (all (batch, tokens)) and `mask_positions` (batch, masks): of a tokenizer without [CLS], whose model
    goes on with a text, the place just behind the text, which ends at the blank.

    Only shortenable fields are cut, at their end and the longest first, to `max_length` tokens in all. Raises
    UsageError where the rest leaves them no room, DataError for a row that lacks a value.
    """
    limit = usable_length(tokenizer, max_length)
    slots = slots_of(template, rows, tokenizer)
    ends = goes_on(tokenizer) and template.masks > 0
    if ends:
        check_end(template)
        slots = list(itertools.takewhile(lambda slot: slot.kind != "mask", slots))
    shorten(template, slots, len(rows), limit)
    columns = list(zip(*(slot.ids for slot in slots), strict=True))  # a row's parts
    sequences = [np.fromiter((token for part in parts for token in part), np.int64) for parts in columns]
    batch = to_batch(sequences, padding(tokenizer))
    if "token_type_ids" in tokenizer.model_input_names:
        batch["token_type_ids"] = _marks(slots, columns, lambda slot: slot.segment)
    batch["soft_mask"] = _marks(slots, columns, lambda slot: slot.kind == "soft").astype(bool)
    masks = _marks(slots, columns, lambda slot: slot.kind == "mask")
    places = batch["attention_mask"].sum(1) if ends else masks.nonzero()[1]
    batch["mask_positions"] = places.reshape(len(rows), template.masks)
    return {name: torch.from_numpy(value) for name, value in batch.items()}


def check_end(template: Template) -> None:
    """UsageError unless a model that reads left to right can answer: one blank, and no text of the row behind it."""
    places = [number for number, part in enumerate(template.parts) if isinstance(part, Mask)]
    later = [part for part in template.parts[places[0] :] if isinstance(part, Field | Meta)] if places else []
    if later:
        raise UsageError(
            f"template {str(template)!r}: a model that reads left to right answers before it has read {later[0]}: "
            "put {mask} at the end"
        )
    if template.masks > 1:
        raise UsageError(
            f"template {str(template)!r}: a model that reads left to right fills one {{mask}}; CausalPrompt scores "
            "words of several pieces"
        )


def _marks(slots: Sequence[Slot], columns: Sequence[tuple[list[int], ...]], value: Any) -> np.ndarray:
    """`value(slot)` at each of the slot's tokens, 0 at padding: (batch, tokens) int64."""
    values = np.array([int(value(slot)) for slot in slots])
    return to_batch([np.repeat(values, [len(part) for part in parts]) for parts in columns], 0)["input_ids"]


def slots_of(template: Template, rows: Sequence[Mapping[str, Any]], tokenizer: PreTrainedTokenizerBase) -> list[Slot]:
    """[CLS], the parts, [SEP]. Parts of text that touch are read as the one text that they are.

    White space before a part of text goes with it. Before a blank or a soft token one space does not stand there, as it
    belongs to the word that does (see `Template.spaced`); before a special token none does.
    """
    pieces = _Pieces(tokenizer, len(rows))
    slots = [pieces.special("cls")]
    run: list[Run] = []  # parts of text that touch
    space = ""
    for part in (*template.parts, None):
        if isinstance(part, Text):
            body = (space + part.text).rstrip()
            run.append(Run([body] * len(rows)))
            space = (space + part.text)[len(body) :]
        elif isinstance(part, Field | Meta):
            values = [_value(row, part, number) for number, row in enumerate(rows, start=1)]
            field = part.name if isinstance(part, Field) else ""
            run.append(Run([space + value for value in values], part.shorten, field))
            space = ""
        else:
            if run and not isinstance(part, Special):
                run[-1].texts = [text + space.removesuffix(" ") for text in run[-1].texts]
            slots += pieces.texts(run, first=len(slots) == 1)
            before = space[-1:] if isinstance(part, Soft) and space.endswith(" ") else ""
            slots += [] if part is None else [pieces.slot(part, before, first=len(slots) == 1)]
            run, space = [], ""
    slots.append(pieces.special("sep"))
    segment = 0
    for slot, part in zip(slots, (None, *template.parts, None), strict=True):
        slot.segment = segment
        segment = 1 if part == Special("sep") else segment
    return slots


@dataclass
class Run:
    """A part of a text, for every row."""

    texts: list[str]
    shorten: bool = False
    name: str = ""


class _Pieces:
    """Parts to token ids, all rows at once."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, rows: int) -> None:
        self.tokenizer, self.rows = tokenizer, rows
        unk = tokenizer.unk_token_id
        self.instead = next(i for i in (unk, tokenizer.mask_token_id, padding(tokenizer)) if i is not None)
        self.forbidden = set(tokenizer.all_special_ids) - {unk}

    def texts(self, run: Sequence[Run], *, first: bool) -> list[Slot]:
        """The parts of one text, each with the tokens that begin in it. One that reaches from a part that may be cut
        into one that may not belongs to the latter.
        """
        if len(run) > 1 and not self.tokenizer.is_fast:  # it does not say where a token stands
            return [slot for number, part in enumerate(run) for slot in self.texts([part], first=first and not number)]
        alone = all(len(set(part.texts)) < 2 for part in run)  # the same for all rows
        texts = ["".join(some) for some in zip(*(part.texts for part in run), strict=True)]
        found = read(self.tokenizer, texts[:1] if alone else texts, first=first)
        cut = np.array([part.shorten for part in run])
        slots = [Slot([], shorten=part.shorten, name=part.name) for part in run]
        for row, (ids, spans) in enumerate(found):
            ids = [self.instead if token in self.forbidden else token for token in ids]
            bounds = _bounds(np.cumsum([len(part.texts[row]) for part in run]), spans, cut) if len(run) > 1 else []
            for slot, low, high in zip(slots, [0, *bounds], [*bounds, len(ids)], strict=True):
                slot.ids.append(ids[low:high])
        for slot in slots:
            slot.ids = slot.ids * self.rows if alone and self.rows else slot.ids
        return slots

    def slot(self, part: Part, space: str, *, first: bool) -> Slot:
        """A part that is no text: blanks, soft tokens, a special token."""
        if isinstance(part, Mask):
            if goes_on(self.tokenizer):
                return self._same([], "mask")
            if self.tokenizer.mask_token_id is None:
                raise UsageError(f"{type(self.tokenizer).__name__} has no mask token: a cloze template needs one")
            return self._same([self.tokenizer.mask_token_id] * part.count, "mask")
        if isinstance(part, Soft):
            start = [self.instead] * part.count
            if part.init is not None:
                ids, _ = read(self.tokenizer, [space + part.init], first=first)[0]
                start = [self.instead if token in self.forbidden else token for token in ids]
            return self._same(start, "soft")
        assert isinstance(part, Special)
        return self.special(part.name)

    def special(self, name: str) -> Slot:
        """[CLS] or [SEP]; of a tokenizer that has none, its token that begins a text, if any, and a line break."""
        if goes_on(self.tokenizer):
            start = [] if self.tokenizer.bos_token_id is None else [self.tokenizer.bos_token_id]
            return self._same(start if name == "cls" else text_ids(self.tokenizer, ["\n"])[0], "text")
        names = {"cls": ("cls_token_id", "bos_token_id"), "sep": ("sep_token_id", "eos_token_id")}[name]
        found = next((value for value in (getattr(self.tokenizer, n, None) for n in names) if value is not None), None)
        if found is None:
            raise UsageError(f"{type(self.tokenizer).__name__} has no token for {{special:{name}}}")
        return self._same([found], "text")

    def _same(self, ids: list[int], kind: str) -> Slot:
        return Slot([ids] * self.rows, kind)


def _bounds(ends: np.ndarray, spans: Sequence[tuple[int, int]], cut: np.ndarray) -> list[int]:
    """Where, in a text's tokens, its parts but the first begin: their `spans` are of characters, `ends` where each part
    ends.
    """
    start, end = np.array(spans, np.int64).reshape(-1, 2).T
    last = len(ends) - 1
    first = np.searchsorted(ends, start, side="right").clip(max=last)
    final = np.searchsorted(ends, np.maximum(end - 1, start), side="right").clip(max=last)
    for token in np.flatnonzero(first < final):
        kept = [part for part in range(first[token], final[token] + 1) if not cut[part]]
        first[token] = kept[0] if kept else first[token]
    return np.searchsorted(np.maximum.accumulate(first), np.arange(1, last + 1)).tolist()


def _value(row: Mapping[str, Any], part: Field | Meta, number: int) -> str:
    """What the row has for the part, as a text."""
    name, value = part.name, row.get(part.name)
    if value is None or (isinstance(part, Field) and not isinstance(value, str)):
        kind = "field" if isinstance(part, Field) else "meta value"
        found = f"it is {value!r:.60}" if name in row else f"the row has {', '.join(map(str, row)) or 'nothing'}"
        raise DataError(f"row {number} of the batch: {kind} {name!r} of the template is no text: {found}")
    check_whole(str(value), f"row {number} of the batch: {name!r}")
    return str(value)


def shorten(template: Template, slots: Sequence[Slot], rows: int, limit: int) -> None:
    """Cut the shortenable slots of each row, so that all slots together have at most `limit` tokens."""
    able = [slot for slot in slots if slot.shorten]
    lengths = np.array([[len(ids) for ids in slot.ids] for slot in slots]).reshape(len(slots), rows)
    fixed = lengths[[not slot.shorten for slot in slots]].sum(0)  # (rows,)
    for row in range(rows):
        room = limit - int(fixed[row])
        if room < len(able):
            raise UsageError(_no_room(template, int(fixed[row]), limit, able, row + 1))
        sizes = fit_lengths([len(slot.ids[row]) for slot in able], room)
        for slot, size in zip(able, sizes, strict=True):
            slot.ids[row] = slot.ids[row][:size]


def _no_room(template: Template, fixed: int, limit: int, able: Sequence[Slot], row: int) -> str:
    names = ", ".join(f"{{{slot.name}}}" for slot in able)
    rest = f" and leaves no room for {names}" if able and fixed <= limit else ""
    takes = f"what is not cut takes {fixed} of max_length={limit} tokens{rest}"
    return f"template {str(template)!r}: {takes} (row {row} of the batch); shorten the template or raise max_length"


def fit_lengths(lengths: Sequence[int], room: int) -> list[int]:
    """Lengths cut to sum to at most `room`, always taking from the longest; of equals the later loses first.

    >>> fit_lengths([10, 3, 8], 15)
    [6, 3, 6]
    """
    if sum(lengths) <= room:
        return list(lengths)
    left, level = room, 0
    for rank, size in enumerate(sorted(lengths)):
        level = left // (len(lengths) - rank)  # the same for all that are not shorter
        if size > level:
            break
        left -= size
    extra = left - level * sum(size > level for size in lengths)
    cut = []
    for size in lengths:
        bonus = size > level and extra > 0
        extra -= bonus
        cut.append(min(size, level + bonus))
    return cut
