"""What a person types into the writing demo, and how a text is to be chosen; or a sentence that says what is wrong."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from typing import Any

from labkit.demos.parallel.form import number
from labkit.errors import UsageError
from labkit.tasks.text import check_whole

WAYS = ("greedy", "sample", "beam")
MAX_TEXT = 600  # characters that are read; longer texts are refused, never cut
MAX_BLANKS, MAX_PASSES = 12, 8
BLANK = re.compile(r"\[mask\]|_{3,}", re.IGNORECASE)
# Field: its name on the page, the least and the most that are taken, the step between two values.
LIMITS = {
    "temperature": ("Temperature", 0.1, 2.0, 0.1),
    "k": ("Top-k (0: all)", 0, 100, 1),
    "p": ("Nucleus p", 0.05, 1.0, 0.05),
    "seed": ("Seed", 0, 9999, 1),
    "beams": ("Beams", 1, 8, 1),
    "penalty": ("Length penalty", 0.0, 2.0, 0.1),
    "length": ("Longest text, in tokens", 1, 60, 1),
}
PASSES = ("Passes", 1, MAX_PASSES, 1)


@dataclass(frozen=True)
class Decoding:
    """How the next token is chosen; temperature to seed count for "sample", beams and penalty for "beam"."""

    way: Any = "sample"
    temperature: Any = 1.0
    k: Any = 0
    p: Any = 0.9
    seed: Any = 0
    beams: Any = 4
    penalty: Any = 1.0
    length: Any = 30


FIELDS = tuple(field.name for field in dataclasses.fields(Decoding))


def checked(how: Decoding) -> Decoding:
    """The same with numbers that may be used; UsageError that names the field and its bounds."""
    if how.way not in WAYS:
        raise UsageError(f"choose {', '.join(WAYS)}: {str(how.way)[:40]!r} is none of them")
    return Decoding(how.way, **{name: bounded(LIMITS[name], getattr(how, name)) for name in LIMITS})


def bounded(limit: tuple[str, float, float, float], value: Any) -> Any:
    """A number within its bounds, whole where its steps are; UsageError otherwise."""
    label, least, most, step = limit
    found = number(label, value)
    if step == 1 and found != int(found):
        raise UsageError(f"{label}: {found:g} is no whole number")
    if not least <= found <= most:
        raise UsageError(f"{label}: {found:,.15g}, choose {least:g} to {most:g}")
    return int(found) if step == 1 else found


def typed(text: Any) -> str:
    """The text; UsageError where there is none or too much, DataError for half a character."""
    text = text.strip() if isinstance(text, str) else ""
    if not text:
        raise UsageError("type a text first")
    if len(text) > MAX_TEXT:
        raise UsageError(f"{len(text):,} characters: at most {MAX_TEXT} are read")
    check_whole(text, "the text")
    return text


def parts_around_blanks(text: Any) -> list[str]:
    """The text cut at its blanks, [MASK] or ___: one part more than there are blanks. UsageError for none or many."""
    parts = BLANK.split(typed(text))
    if not 2 <= len(parts) <= MAX_BLANKS + 1:
        how = f"write [MASK] or ___ where a word is missing, 1 to {MAX_BLANKS} times"
        raise UsageError(f"{len(parts) - 1} blanks: {how}")
    return parts
