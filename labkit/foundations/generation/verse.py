"""Verse under a format: its name before the text asks for it, a mask on the logits holds the writer to it.

A `Form` says how many characters each line has and which mark ends it, and is written that way: "5，5。5，5。" is a
quatrain of five characters a line (wujue). As in YueFu (Liao et al. 2019, GPT-based generation for classical Chinese
poetry, §2), the model learns rows "form：theme：poem", so it can be asked for a form by name; it may still miscount.
`Held` lets only characters through where the form has one, and only the mark where it has a mark: then it cannot.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from labkit.errors import DataError, UsageError
from labkit.foundations.generation.decoding import Stepping

MARKS = "，。"
LOST = "□"  # what editions print for a character that is lost; here also for one that the model does not know
CHARACTER = re.compile(f"[{LOST}\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003ffff]")
LONGEST = 99  # characters of a line
END = "\n"  # of a poem


@dataclass(frozen=True)
class Form:
    """A format: the characters of each line, and the mark after it. UsageError for what is none."""

    lines: tuple[tuple[int, str], ...]

    def __post_init__(self) -> None:
        for number, (length, mark) in enumerate(self.lines, start=1):
            if not 1 <= length <= LONGEST or mark not in MARKS or len(mark) != 1:
                raise UsageError(f"line {number}: {length} characters and {mark!r}; 1 to {LONGEST}, and one of {MARKS}")
        if not self.lines:
            raise UsageError("a form without lines: write it like 5，5。5，5。")

    @classmethod
    def parse(cls, text: str) -> Form:
        """The form written "5，5。5，5。"; UsageError, naming the character, for anything else."""
        lines, place = [], 0
        while place < len(text):
            if not (found := re.compile(rf"([0-9]{{1,2}})([{MARKS}])").match(text, place)):
                what = f"{text[place]!r} is not a number of one or two digits and one of {MARKS}"
                raise UsageError(f"form {text!r:.80}, character {place + 1}: {what}; write it like 5，5。5，5。")
            lines.append((int(found[1]), found[2]))
            place = found.end()
        return cls(tuple(lines))

    @classmethod
    def of(cls, poem: str) -> Form:
        """The form that a poem has; DataError for a character or a mark that verse has not."""
        lines = []
        for number, (line, mark) in enumerate(_lines(poem), start=1):
            if not mark or not line or len(line) > LONGEST or len(CHARACTER.findall(line)) < len(line):
                what = f"{line!r:.40} {mark!r}: 1 to {LONGEST} Chinese characters and one of {MARKS} are needed"
                raise DataError(f"poem, line {number}: {what}")
            lines.append((len(line), mark))
        return cls(tuple(lines))

    def __str__(self) -> str:
        return "".join(f"{length}{mark}" for length, mark in self.lines)

    @property
    def places(self) -> list[str]:
        """For each character of a poem the mark that must stand there, or "" for any character."""
        return [place for length, mark in self.lines for place in [""] * length + [mark]]

    def faults(self, poem: str) -> list[str]:
        """Everything that keeps a text from having this form, in words; empty where it has it."""
        given = list(_lines(poem))
        found = [] if len(given) == len(self.lines) else [f"{len(given)} lines, not {len(self.lines)}"]
        for number, ((line, mark), (length, wanted)) in enumerate(zip(given, self.lines, strict=False), start=1):
            if len(line) != length:
                found.append(f"line {number} has {len(line)} characters, not {length}")
            if mark != wanted:
                found.append(f"line {number} ends in {mark!r}, not {wanted!r}")
            found += [f"line {number}: {one!r} is no Chinese character" for one in line if not CHARACTER.match(one)]
        return found


def _lines(poem: str) -> Iterator[tuple[str, str]]:
    """The lines of a text and the mark after each, "" where there is none."""
    for found in re.finditer(rf"([^{MARKS}]*)([{MARKS}]|\Z)", poem):
        if found[0]:
            yield found[1], found[2]


FORMS = {  # quatrains and eight-line poems, of five and seven characters; two lines that answer one another
    "五言絕句": Form.parse("5，5。" * 2), "七言絕句": Form.parse("7，7。" * 2),
    "五言律詩": Form.parse("5，5。" * 4), "七言律詩": Form.parse("7，7。" * 4),
    "五言對聯": Form.parse("5，5。"), "七言對聯": Form.parse("7，7。"),
}  # fmt: skip
OTHER = "古代詩歌"  # the name of any other form
THEME = 8  # characters
NAMES = {form: name for name, form in FORMS.items()}


def read_poems(path: Path) -> list[dict[str, str]]:
    """Rows {title, poem} of a file of chinese-poetry, its other marks as full stops; no poem twice, and none with a gap
    or a remark in it.
    """
    found: dict[str, str] = {}
    for number, entry in enumerate(json.loads(path.read_text(encoding="utf-8")), start=1):
        if not isinstance(entry, dict) or not {"title", "paragraphs"} <= set(entry):
            raise DataError(f"{path.name}, entry {number}: a title and paragraphs are needed")
        poem = re.sub("[？！；]", "。", "".join(entry["paragraphs"]))
        try:
            Form.of(poem)
        except (DataError, UsageError):  # no text at all, notes in brackets
            continue
        found.setdefault(poem, entry["title"])
    return [{"title": title, "poem": poem} for poem, title in found.items()]


def asked(name: str, theme: str) -> str:
    """What stands before a poem: a prompt for one. The theme is cut or filled to 8 characters, so that a poem always
    begins at the same place, and a model that counts places from the start of its text knows where it is.
    """
    return f"{name}：{theme[:THEME]:　<{THEME}}："


def verse_rows(poems: Sequence[dict[str, str]]) -> list[dict[str, Any]]:
    """Rows to learn from: each poem under its form's name, then each of its pairs of equal lines as a couplet."""
    rows = []
    for one in poems:
        form = Form.of(one["poem"])
        texts = [one["poem"]] if form not in (FORMS["五言對聯"], FORMS["七言對聯"]) else []
        texts += re.findall("[^，。]{5}，[^，。]{5}。|[^，。]{7}，[^，。]{7}。", one["poem"])
        for text in texts:
            name = NAMES.get(Form.of(text), OTHER)
            rows.append({"form": name, "poem": text, "theme": one["title"],
                         "text": asked(name, one["title"]) + text + END})  # fmt: skip
    return rows


class Held:
    """A writer, for any decoder, that is held to a form: each row of `steps` to its own, and then to END.

    `fresh`: no character twice in a row, those of `before` (one text a row) included, as a couplet wants it.
    UsageError where rows and forms do not pair, or the tokenizer lacks a mark or the end.
    """

    def __init__(
        self, steps: Stepping, tokenizer: PreTrainedTokenizerBase, forms: Sequence[Form], *, fresh: bool = False,
        before: Sequence[str] = (),
    ) -> None:  # fmt: skip
        rows, size = steps.logits.shape
        known = tokenizer.get_vocab()
        if len(forms) != rows or (fresh and len(before) != rows) or not {*MARKS, END} <= set(known):
            what = f"{len(forms)} forms, {len(before)} texts before them, for {rows} rows"
            raise UsageError(f"{what}: one a row is needed, and a tokenizer that has {MARKS} and a line end")
        self.steps, self.at, self.fresh, self.room = steps, 0, fresh, steps.room
        tokens = tokenizer.convert_ids_to_tokens(range(size))
        self.kinds = {mark: torch.arange(size) == known[mark] for mark in (*MARKS, END)}  # each (vocabulary,)
        self.kinds[""] = torch.tensor([bool(CHARACTER.fullmatch(token)) for token in tokens])
        self.places = [form.places for form in forms]
        self.used = torch.zeros(rows, size, dtype=torch.bool)
        for row, text in enumerate(before):
            self.used[row, [known[one] for one in text if one in known]] = True

    @property
    def logits(self) -> Tensor:
        """Of the next token, −∞ for what the form refuses: (rows, vocabulary)."""
        due = [places[self.at] if self.at < len(places) else END for places in self.places]
        allowed = torch.stack([self.kinds[place] for place in due])
        if self.fresh:
            allowed = allowed & ~(self.used & self.kinds[""])
        return self.steps.logits.masked_fill(~allowed, -torch.inf)

    def advance(self, tokens: Tensor) -> None:
        """Go on after these tokens (rows,)."""
        self.used[torch.arange(len(tokens)), tokens] = True
        self.at += 1
        self.steps.advance(tokens)

    def keep(self, rows: Tensor) -> None:
        """Row i goes on from what was row rows[i]."""
        self.places, self.used = [self.places[row] for row in rows.tolist()], self.used[rows]
        self.steps.keep(rows)
