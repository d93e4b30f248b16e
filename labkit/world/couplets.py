"""Chinese couplets (duilian): two lines that answer one another in a form that a program can check.

Both lines have 5 or 7 characters; at each place the two characters are of one word class; the first line follows one
of the regulated tone patterns, which bind the even places and the last ("一三五不论"), and the second has the opposite
tone at each of those; the first ends oblique, the second level; no character stands twice. Tones are today's: first and
second level, third and fourth oblique. The rules are the common ones of regulated verse, as in Wang Li, Shici gelü
shiyao (Essentials of the metre of verse).
"""

from __future__ import annotations

import functools
import random
from collections.abc import Iterator

from labkit.world.settings import World, lexicon

STATED = 0.4  # share of documents that say what they show
OPPOSITE = {"level": "oblique", "oblique": "level"}
LETTER = {"L": "level", "O": "oblique"}


@functools.cache
def characters() -> dict[str, tuple[str, str]]:
    """Each known Chinese character with its word class and tone ("level" or "oblique")."""
    table = lexicon("couplets", "zh")["characters"]
    return {char: (kind, tone) for kind, tones in table.items() for tone, chars in tones.items() for char in chars}


def faults(first: str, second: str) -> list[str]:
    """Everything that keeps two lines from being a couplet, in words; empty when they are one.

    Lines carry no punctuation.

    >>> faults("清风摇翠柳", "淡月照香桃")
    []
    """
    if len(first) != len(second) or len(first) not in (5, 7):
        return [f"the lines have {len(first)} and {len(second)} characters; both must have 5, or both 7"]
    table, both = characters(), first + second
    strange = [char for char in dict.fromkeys(both) if char not in table]
    if strange:
        return [f"{char!r} is not in the table of characters" for char in strange]
    found = [f"{char!r} stands more than once" for char in dict.fromkeys(both) if both.count(char) > 1]
    for place, (a, b) in enumerate(zip(first, second, strict=True), start=1):
        if table[a][0] != table[b][0]:
            found.append(f"place {place}: {a} is of class {table[a][0]}, {b} of class {table[b][0]}")
    return found + _tone_faults(first, second)


def _tone_faults(first: str, second: str) -> list[str]:
    table = characters()
    patterns, found = lexicon("couplets", "zh")["tones"][str(len(first))], []
    if not any(_fits(first, pattern) for pattern in patterns):
        found.append(
            f"the first line fits none of the tone patterns {', '.join(patterns)} (L level, O oblique, x either)"
        )
    for place, mark in enumerate(patterns[0]):
        if mark != "x" and table[first[place]][1] == table[second[place]][1]:
            found.append(f"place {place + 1}: {first[place]} and {second[place]} are both {table[first[place]][1]}")
    return found


def _fits(line: str, pattern: str) -> bool:
    table = characters()
    return all(mark == "x" or table[char][1] == LETTER[mark] for char, mark in zip(line, pattern, strict=True))


def couplet(rng: random.Random) -> tuple[str, str]:
    """A couplet of 5 or 7 characters a line."""
    words = lexicon("couplets", "zh")
    size = rng.choice(list(words["forms"]))
    pattern = rng.choice(words["tones"][size])
    lines: tuple[list[str], list[str]] = ([], [])
    used = ""
    for slot, mark in zip(rng.choice(words["forms"][size]).split(), pattern, strict=True):
        tone = LETTER.get(mark)
        for line, wanted in zip(lines, (tone, OPPOSITE.get(tone or "")), strict=True):
            char = _unused(_pool(slot, wanted), used, rng)
            line.append(char)
            used += char
    return "".join(lines[0]), "".join(lines[1])


@functools.cache
def _pool(slot: str, tone: str | None) -> str:
    """The characters for a slot: a class, of one tone or of both, and with "@NOUN" those that suit such a noun."""
    kind, _, noun = slot.partition("@")
    words = lexicon("couplets", "zh")
    tones = words["characters"][kind]
    known = tones[tone] if tone else tones["level"] + tones["oblique"]
    return "".join(char for char in known if not noun or char in words["suits"][noun][kind])


def _unused(pool: str, used: str, rng: random.Random) -> str:
    while True:
        char = rng.choice(pool)
        if char not in used:
            return char


def documents(world: World, language: str, rng: random.Random) -> Iterator[str]:
    """One couplet a document, sometimes with a word on what it is, without end; the world's dials change nothing."""
    words = lexicon("couplets", "zh")
    while True:
        first, second = couplet(rng)
        text = [rng.choice(words["written"]).format(first=first, second=second)]
        if rng.random() < STATED:
            text.append(rng.choice(words["stated"]))
        yield "".join(text)
