"""In-context learning: labelled examples are written before the question, and no weight is changed.

    {text 1} it was bad . {text 2} it was great . {text} it was {mask} .

The model is to see the pattern and go on with it (Brown et al. 2020, "Language models are few-shot learners", §2). What
it answers depends on which examples are shown, in which order, and on the words it likes to write anyway. The last is
mended by asking about a text without content, "N/A": its answer is the bias, and each label's probability is divided
by it (Zhao et al. 2021, "Calibrate before use", §4). Here label words are of one piece; `causal_prompt.py` has the same
for texts of any length, and models that read left to right.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from labkit.errors import DataError, UsageError
from labkit.fewshot.pet import PET
from labkit.fewshot.prompts.template import Field, Mask, Meta, Part, Template, Text
from labkit.fewshot.prompts.verbalizer import Verbalizer

Row = Mapping[str, Any]
NOTHING = ("N/A", "", ".")  # texts without content


class InContext(PET):
    """A cloze with `demonstrations`, rows with labels, before it: the template once for each, its blank filled in.

    A demonstration shows its label's first word. Where the whole is too long, the longest field is cut first, be it a
    demonstration's or the question's. The other arguments are PET's. Raises DataError for a demonstration without
    label, UsageError for a template with several {mask} and whatever PET refuses.
    """

    def __init__(
        self,
        template: Template | str,
        verbalizer: Verbalizer,
        tokenizer: PreTrainedTokenizerBase,
        demonstrations: Sequence[Row] = (),
        *,
        separator: str = "\n",
        **options: Any,
    ) -> None:
        self.question, self.separator, self.demonstrations = Template.parse(template), separator, list(demonstrations)
        words = [verbalizer.words[label][0] for label in verbalizer.labels]
        whole, self.values = with_demonstrations(self.question, self.demonstrations, words, separator)
        super().__init__(whole, verbalizer, tokenizer, **options)

    def encoded(self, rows: Sequence[Row]) -> dict[str, Tensor]:
        """As PET's, the demonstrations before each row."""
        return super().encoded([{**row, **self.values} for row in rows])

    def calibrated(self, model: nn.Module, rows: Sequence[Row] | None = None, batch_size: int = 64) -> PET:
        """As PET's: each word divided by its mean probability over `rows`, by default over texts without content."""
        return super().calibrated(model, content_free(self.question) if rows is None else rows, batch_size)

    def describe(self) -> dict[str, Any]:
        """PET's description, and the demonstrations' own: fields, meta values and label."""
        shown = named_values(self.question, self.demonstrations)
        known = {**super().describe(), "template": str(self.question)}
        return known | {"demonstrations": shown, "separator": self.separator}

    @classmethod
    def from_description(cls, description: Mapping[str, Any], tokenizer: PreTrainedTokenizerBase) -> InContext:
        """The method that `describe` described; UsageError for an unknown key or a value it cannot take."""
        own = dict(description)
        shown, separator = own.pop("demonstrations", []), own.pop("separator", "\n")
        if not isinstance(shown, list) or not isinstance(separator, str):
            raise UsageError("a method's description: 'demonstrations' must be a list of rows, 'separator' a text")
        pet = PET.from_description(own, tokenizer)
        return cls(
            pet.template, pet.verbalizer, tokenizer, shown, separator=separator, max_length=pet.max_length
        )  # fmt: skip


def with_demonstrations(
    template: Template, demonstrations: Sequence[Row], words: Sequence[str], separator: str = "\n"
) -> tuple[Template, dict[str, str]]:
    """The template with one filled copy a demonstration before it, and the values of the copies' fields.

    `words` has one word a label. The copies' fields are called "shown 1 text" and so on, so that they are cut like any
    field, and nothing in a row's text is read as a template.
    """
    if demonstrations and sum(isinstance(part, Mask) for part in template.parts) != 1:
        raise UsageError(f"template {str(template)!r}: a demonstration fills one {{mask}}: write it once")
    parts: list[Part] = []
    values: dict[str, str] = {}
    for number, row in enumerate(demonstrations, start=1):
        label = row.get("label")
        if type(label) is not int or not 0 <= label < len(words):
            raise DataError(f"demonstration {number}: its label must be 0 to {len(words) - 1}, not {label!r}")
        parts += [filled(part, f"shown {number} ", words[label]) for part in template.parts] + [Text(separator)]
        values |= {f"shown {number} {key}": _value(row, key, number) for key in _named(template)}
    return Template(tuple(_merged([*parts, *template.parts]))), values


def named_values(template: Template, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Of each demonstration what the template names, and its label."""
    return [{key: row[key] for key in [*_named(template), "label"]} for row in rows]


def filled(part: Part, prefix: str, word: str) -> Part:
    """A template's part as a demonstration has it: the word in the blank, a field under a name with `prefix`."""
    if isinstance(part, Mask):
        return Text(word)
    return replace(part, name=prefix + part.name) if isinstance(part, Field | Meta) else part


def _merged(parts: Sequence[Part]) -> Iterator[Part]:
    """Neighbouring texts as one; empty ones are left out."""
    for is_text, group in itertools.groupby(parts, key=lambda part: isinstance(part, Text)):
        if not is_text:
            yield from group
        elif text := "".join(part.text for part in group):  # type: ignore[union-attr]
            yield Text(text)


def _value(row: Row, key: str, number: int) -> str:
    if row.get(key) is None:
        raise DataError(f"demonstration {number}: it lacks {key!r}, which the template names; it has {', '.join(row)}")
    return str(row[key])


def _named(template: Template) -> list[str]:
    """The fields and the meta values that the template names, each once."""
    return [*template.fields, *dict.fromkeys(part.name for part in template.parts if isinstance(part, Meta))]


def content_free(template: Template, texts: Sequence[str] = NOTHING) -> list[dict[str, str]]:
    """Rows that say nothing: every field and meta value of the template is one of `texts`, a row for each."""
    return [dict.fromkeys(_named(template), text) for text in texts]


def demonstrations(rows: Sequence[Row], count: int, classes: int, seed: int = 0) -> list[Row]:
    """`count` of the labelled rows, drawn by the seed: the classes take turns, in an order drawn too.

    For one seed, fewer are the first of more. DataError where there are too few rows.
    """
    rng = random.Random(seed)
    pools = [[row for row in rows if row.get("label") == label] for label in range(classes)]
    rng.shuffle(pools)
    for pool in pools:
        rng.shuffle(pool)
    turns = [row for turn in itertools.zip_longest(*pools) for row in turn if row is not None]
    if len(turns) < count:
        raise DataError(f"{count} demonstrations are asked for, and {len(turns)} labelled rows are given")
    return turns[:count]


def orders(shown: Sequence[Row], most: int = 24, seed: int = 0) -> list[list[Row]]:
    """Different orders of the demonstrations: all where they are at most `most`, else that many, drawn by the seed."""
    if len(shown) <= 6:
        every = [list(one) for one in itertools.permutations(shown)]
        random.Random(seed).shuffle(every)
        return every[:most]
    rng = random.Random(seed)
    found: dict[tuple[int, ...], None] = {}
    while len(found) < most:
        found[tuple(rng.sample(range(len(shown)), len(shown)))] = None
    return [[shown[place] for place in order] for order in found]
