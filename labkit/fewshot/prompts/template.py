"""Cloze templates: a small typed language in which a row becomes a text with a blank in it.

    {text} it was {mask} .              a field of the row, and the blank
    {text_a} {special:sep} {text_b}     a special token; token types change after the first {special:sep}
    {mask*2}                            two blanks side by side, for words of two pieces
    {field|whole}                       a field that is never cut; all others are, the longest first
    {soft:it is}  {soft*3}              trainable tokens that start as these words, or as nothing
    {meta:domain}                       any other value of the row, never cut
    {{ and }}                           the braces themselves

A template is parsed into typed parts and only ever *looked up* in a row: there is no format string and no evaluation,
so it can reach nothing but the row's own keys. The text of a row is data: braces in it mean nothing, and "[MASK]" in
it is plain text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from labkit.errors import UsageError, unknown

MAX_CHARACTERS, MAX_REPEAT = 2000, 100
SPECIALS = ("sep", "cls")
KINDS = ("mask", "soft", "meta", "special")


@dataclass(frozen=True)
class Text:
    """Words of the template itself."""

    text: str

    def __str__(self) -> str:
        return self.text.replace("{", "{{").replace("}", "}}")


@dataclass(frozen=True)
class Field:
    """A text field of the row; cut where space is short, if `shorten`."""

    name: str
    shorten: bool = True

    def __str__(self) -> str:
        return "{" + self.name + ("}" if self.shorten else "|whole}")


@dataclass(frozen=True)
class Mask:
    """`count` blanks side by side."""

    count: int = 1

    def __str__(self) -> str:
        return "{mask}" if self.count == 1 else f"{{mask*{self.count}}}"


@dataclass(frozen=True)
class Soft:
    """Trainable tokens: as many as `init` has pieces, starting as those, or `count` that start as the unknown token."""

    init: str | None = None
    count: int = 0

    def __str__(self) -> str:
        return f"{{soft*{self.count}}}" if self.init is None else f"{{soft:{self.init}}}"


@dataclass(frozen=True)
class Meta:
    """A value of the row that is no text field, as a text; never cut."""

    name: str
    shorten = False

    def __str__(self) -> str:
        return f"{{meta:{self.name}}}"


@dataclass(frozen=True)
class Special:
    """A special token of the tokenizer: "sep" or "cls"."""

    name: str

    def __str__(self) -> str:
        return f"{{special:{self.name}}}"


Part = Text | Field | Mask | Soft | Meta | Special


@dataclass(frozen=True)
class Template:
    """A parsed template; `str(template)` gives the text that parses to it again."""

    parts: tuple[Part, ...]

    @classmethod
    def parse(cls, text: str | Template, fields: Sequence[str] | None = None) -> Template:
        """The template that `text` spells; with `fields`, those are the only ones it may name.

        Raises UsageError naming the position (characters, from 1) and the mend.
        """
        template = cls(tuple(_Reader(str(text) if isinstance(text, Template) else text, fields).parts()))
        if not template.masks:
            example = "'{text} it was {mask} .'"
            raise _error(str(text), len(str(text)) + 1, f"no {{mask}}: say where the answer goes, as in {example}")
        if fields is not None and not any(isinstance(part, Field | Meta) for part in template.parts):
            places = " or ".join(f"{{{name}}}" for name in fields)
            raise _error(str(text), len(str(text)) + 1, f"it reads nothing of the row: write {places} into it")
        return template

    def __str__(self) -> str:
        return "".join(map(str, self.parts))

    @property
    def masks(self) -> int:
        """How many blanks a row gets."""
        return sum(part.count for part in self.parts if isinstance(part, Mask))

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields it names, in order, each once."""
        return tuple(dict.fromkeys(part.name for part in self.parts if isinstance(part, Field)))

    @property
    def spaced(self) -> bool | None:
        """Whether a space stands before the first blank, and so before the word that goes there; None where the blank
        begins the text, or there is none.
        """
        at = next((place for place, part in enumerate(self.parts) if isinstance(part, Mask)), 0)
        if not at:
            return None
        before = self.parts[at - 1]
        return isinstance(before, Text) and before.text.endswith(" ")

    def with_masks(self, count: int) -> Template:
        """The same template with each {mask} `count` wide."""
        return Template(tuple(replace(part, count=count) if isinstance(part, Mask) else part for part in self.parts))


def _error(text: str, at: int, what: str) -> UsageError:
    shown = text if len(text) <= 80 else text[:77] + "…"
    return UsageError(f"template {shown!r}, position {at}: {what}")


_TOKEN = re.compile(r"\{\{|\}\}|\{[^{}]*\}|[^{}]+|[{}]")
_NAME = re.compile(r"[^\W\d][\w\- ]*(?<! )")
_REPEAT = re.compile(r"(mask|soft)\*(\d{1,6})")


class _Reader:
    """One pass over the text of a template."""

    def __init__(self, text: str, fields: Sequence[str] | None) -> None:
        if not isinstance(text, str):
            raise UsageError(f"a template is a text, not a {type(text).__name__}")
        if len(text) > MAX_CHARACTERS:
            raise _error(
                text, MAX_CHARACTERS + 1, f"a template has at most {MAX_CHARACTERS} characters, not {len(text)}"
            )
        self.text, self.fields = text, fields

    def parts(self) -> Iterator[Part]:
        """The parts in order; neighbouring pieces of text are one."""
        written = ""
        for found in _TOKEN.finditer(self.text):
            piece, at = found.group(), found.start() + 1
            if piece in ("{", "}"):
                raise self._stray(piece, at)
            if piece[0] != "{" or piece == "{{":
                written += {"{{": "{", "}}": "}"}.get(piece, piece)
                continue
            if written:
                yield Text(written)
            written = ""
            yield self._part(piece[1:-1], at)
        if written:
            yield Text(written)

    def _stray(self, brace: str, at: int) -> UsageError:
        """What is wrong with a brace without a partner."""
        inner = self.text.find("{", at)  # positions count from 1: behind the brace
        if brace == "}":
            what = "'}' closes nothing; write '}}' for the character"
        elif inner < 0:
            what = "'{' is never closed; write '{{' for the character"
        else:
            what = f"a brace inside the braces opened at {at}: they do not nest; '{{{{' is the character"
            at = inner + 1
        return _error(self.text, at, what)

    def _part(self, inner: str, at: int) -> Part:
        """What `{inner}` at position `at` stands for."""
        kind, colon, value = inner.partition(":")
        if colon:
            return self._valued(kind, value, at)
        if inner == "mask":
            return Mask()
        if inner in KINDS:
            what = "needs a value, as in {soft:words}, {soft*3}, {meta:key} or {special:sep}"
            raise _error(self.text, at, f"{{{inner}}} {what}")
        if "*" in inner:
            return self._repeat(inner, at)
        return self._field(inner, at)

    def _repeat(self, inner: str, at: int) -> Part:
        found = _REPEAT.fullmatch(inner)
        if not found:
            raise _error(self.text, at, f"{{{inner}}}: only {{mask*2}} and {{soft*3}} repeat, a whole number of times")
        count = int(found[2])
        if not 1 <= count <= MAX_REPEAT:
            raise _error(self.text, at, f"{{{inner}}}: repeat 1 to {MAX_REPEAT} times")
        return Mask(count) if found[1] == "mask" else Soft(count=count)

    def _field(self, inner: str, at: int) -> Field:
        name, bar, how = inner.partition("|")
        if bar and how not in ("whole", "shorten"):
            raise _error(self.text, at, str(unknown("field marker", how, ["whole", "shorten"])))
        if self.fields is not None and self._name(name, at) not in self.fields:
            raise _error(self.text, at, str(unknown("field", name, [*self.fields, *KINDS])))
        return Field(self._name(name, at), how != "whole")

    def _name(self, name: str, at: int) -> str:
        if _NAME.fullmatch(name):
            return name
        reason = "is empty" if not name.strip() else "is no field name"
        hint = "a name begins with a letter and holds letters, digits, '_', '-' and spaces; no '.', '[' or '!'"
        raise _error(self.text, at, f"{{{name}}} {reason}: {hint}")

    def _valued(self, kind: str, value: str, at: int) -> Part:
        """What `{kind:value}` stands for."""
        if kind == "soft" and value.strip():
            return Soft(init=value)
        if kind == "meta":
            return Meta(self._name(value, at))
        if kind == "special" and value in SPECIALS:
            return Special(value)
        if kind == "soft":
            what = "{soft:} needs the words to start from; {soft*3} is three tokens without"
        elif kind == "special":
            what = "write {mask} for the blank" if value == "mask" else str(unknown("special token", value, SPECIALS))
        else:
            what = f"{unknown('kind of part', kind, ('soft', 'meta', 'special'))}; a field takes no format"
        raise _error(self.text, at, what)
