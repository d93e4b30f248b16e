"""What a person types into the few-shot demo, and what is made of it: a task, or one sentence that says why not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedTokenizerBase

from labkit.errors import UsageError
from labkit.fewshot.prompts.template import Field, Mask, Special, Template, Text
from labkit.tasks import Task

MAX_CLASSES, EXAMPLES = 4, 3
# Most characters that are read of a field; longer ones are refused, never cut.
MAX_NAME, MAX_WORD, MAX_PATTERN, MAX_TEXT = 40, 40, 300, 1000
MAX_TRIED = 8  # sentences tried at once
LONG_WORD = 3  # pieces from which on a word counts as spelt out


@dataclass(frozen=True)
class Class:
    """One class: its name, its label word and its examples, as typed."""

    name: str = ""
    word: str = ""
    examples: tuple[str, ...] = ("",) * EXAMPLES


@dataclass(frozen=True)
class Form:
    """All that the page asks for; the sentences to try stand one a line."""

    classes: tuple[Class, ...]
    pattern: str
    tried: str = ""


def to_task(form: Form, language: str = "en") -> Task:
    """The form as a task with a train split, a pattern, and a label word a class; empty examples are left out.

    Raises UsageError that names the field, and its limit where it is too long.
    """
    names = [_typed(f"class {number}, name", c.name, MAX_NAME) for number, c in enumerate(form.classes, start=1)]
    if not 2 <= len(names) <= MAX_CLASSES:
        raise UsageError(f"{len(names)} classes: choose 2 to {MAX_CLASSES}")
    for at, name in enumerate(names):
        if name in names[:at]:
            raise UsageError(f"two classes are called {name!r}: give each a name of its own")
    words = {name: (_typed(f"class {name!r}, label word", c.word, MAX_WORD),) for name, c in _pairs(names, form)}
    rows = [row for label, (name, c) in enumerate(_pairs(names, form)) for row in _rows(name, label, c.examples)]
    pattern = _pattern(_typed("pattern", form.pattern, MAX_PATTERN))
    return Task("demo", ("text",), tuple(names), {"train": rows}, language=language, patterns=(pattern,), words=words)


def _pairs(names: Sequence[str], form: Form) -> list[tuple[str, Class]]:
    return list(zip(names, form.classes, strict=True))


def _rows(name: str, label: int, examples: Sequence[str]) -> list[dict[str, Any]]:
    """A class's examples as rows; UsageError where there are none."""
    texts = [_checked(f"class {name!r}, example {number}", text, MAX_TEXT) for number, text in enumerate(examples, 1)]
    if not any(texts):
        raise UsageError(f"class {name!r} has no example: type at least one sentence")
    return [{"text": text, "label": label} for text in texts if text]


def _pattern(text: str) -> str:
    """The pattern, if it has the sentence once, a blank, and beside these only words."""
    try:
        parts = Template.parse(text, ("text",)).parts
    except UsageError as error:
        raise UsageError(str(error).replace("template", "pattern", 1)) from error
    for part in parts:
        if not isinstance(part, Text | Field | Mask | Special):
            raise UsageError(f"pattern: {part} is not for this demo; write words, {{text}} and {{mask}}")
    if sum(isinstance(part, Field) for part in parts) != 1:
        raise UsageError("pattern: write {text} once, where the sentence goes, as in '{text} it was {mask} .'")
    if sum(isinstance(part, Mask) for part in parts) != 1:
        raise UsageError("pattern: write {mask} once, where the label word goes, as in '{text} it was {mask} .'")
    return text


def sentences(tried: str) -> list[str]:
    """The sentences to try, without empty lines. UsageError for none, too many, or one too long."""
    # Looked at before it is cut into lines, so that a giant text costs nothing.
    limit = MAX_TRIED * (MAX_TEXT + 1)
    text = _whole("sentences to try", tried or "", limit)
    found = [line for line in (" ".join(line.split()) for line in text.splitlines()) if line]
    if not found:
        raise UsageError("sentences to try: type at least one sentence")
    if len(found) > MAX_TRIED:
        raise UsageError(f"sentences to try: {len(found)} lines, at most {MAX_TRIED} are read, a sentence each")
    return [_whole(f"sentence {number} to try", line, MAX_TEXT) for number, line in enumerate(found, start=1)]


def _typed(field: str, text: str, limit: int) -> str:
    """A text that may not be empty."""
    found = _checked(field, text, limit)
    if not found:
        raise UsageError(f"{field}: it is empty, type a text")
    return found


def _checked(field: str, text: str, limit: int) -> str:
    """The text with single spaces and none at its ends."""
    return " ".join(_whole(field, text or "", limit).split())


def _whole(field: str, text: str, limit: int) -> str:
    """The text as it is; UsageError for one that is too long, or that no encoding can write."""
    if len(text) > limit:
        raise UsageError(f"{field}: {len(text)} characters, at most {limit} are read")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise UsageError(f"{field}: it holds half a character (a lone surrogate); delete that, or type it anew")
    return text


def unfamiliar(text: str, tokenizer: PreTrainedTokenizerBase) -> tuple[list[str], list[str]]:
    """Words of `text` that the model has no token for, and those that it must spell in LONG_WORD pieces or more.

    What a word is, the tokenizer decides: BERT's takes each Chinese character for one. Slow tokenizers tell nothing.
    """
    unknown, spelt = {}, {}  # dictionaries keep the order, and each word once
    if not tokenizer.is_fast:
        return [], []
    found = tokenizer(text, add_special_tokens=False, split_special_tokens=True)
    for number in dict.fromkeys(found.word_ids()):
        first, last = found.word_to_tokens(number)
        start, end = found.word_to_chars(number)
        if tokenizer.unk_token_id in found["input_ids"][first:last]:
            unknown[text[start:end]] = True
        elif last - first >= LONG_WORD:
            spelt[text[start:end]] = True
    return list(unknown), list(spelt)
