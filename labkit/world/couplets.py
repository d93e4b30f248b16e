"""Couplets: two lines that answer one another in a form that a program can check, in Chinese and in English.

Chinese (duilian): both lines have 5 or 7 characters; at each place the two characters are of one word class; the first
line follows one of the regulated tone patterns, which bind the even places and the last ("一三五不论"), and the second
has the opposite tone at each of those; the first ends oblique, the second level; no character stands twice. Tones are
today's: first and second level, third and fourth oblique. English: both lines are iambic, eight syllables, end in
different words that rhyme, and use no noun, verb or adjective twice. The Chinese rules are the common ones of regulated
verse, as in Wang Li, Shici gelü shiyao (Essentials of the metre of verse).
"""

from __future__ import annotations

import functools
import random
from collections.abc import Iterator
from typing import Any

from labkit.errors import unknown
from labkit.world.settings import LANGUAGES, World, join, lexicon

STATED = 0.4  # share of documents that say what they show
CONTENT = ("noun", "verb", "quality")  # English classes that a couplet may use only once
SYLLABLES = 8
OPPOSITE = {"level": "oblique", "oblique": "level"}
LETTER = {"L": "level", "O": "oblique"}


@functools.cache
def characters() -> dict[str, tuple[str, str]]:
    """Each known Chinese character with its word class and tone ("level" or "oblique")."""
    table = lexicon("couplets", "zh")["characters"]
    return {char: (kind, tone) for kind, tones in table.items() for tone, chars in tones.items() for char in chars}


@functools.cache
def english_words() -> dict[str, tuple[str, str]]:
    """Each known English word with its class and stress, 1 for a strong syllable: "river" is ("noun", "10")."""
    table = lexicon("couplets", "en")["words"]
    return {
        word: (kind, stress)
        for kind, forms in table.items()
        for stress, words in forms.items()
        for word in words.split()
    }


@functools.cache
def rhymes() -> dict[str, int]:
    """Each English word that may end a line, with the number of its rhyme."""
    return {word: number for number, group in enumerate(lexicon("couplets", "en")["rhymes"]) for word in group.split()}


def faults(first: str, second: str, language: str = "zh") -> list[str]:
    """Everything that keeps two lines from being a couplet, in words; empty when they are one.

    Lines carry no punctuation, and English ones spaces between words. Raises UsageError for an unknown language.

    >>> faults("清风摇翠柳", "淡月照香桃")
    []
    """
    if language not in LANGUAGES:
        raise unknown("language", language, LANGUAGES)
    return _chinese_faults(first, second) if language == "zh" else _english_faults(first.split(), second.split())


def _chinese_faults(first: str, second: str) -> list[str]:
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


def _english_faults(first: list[str], second: list[str]) -> list[str]:
    table, both = english_words(), first + second
    strange = [word for word in dict.fromkeys(both) if word not in table]
    if strange or not first or not second:
        return [f"{word!r} is not in the table of words" for word in strange] or ["a line is empty"]
    found = []
    for number, line in enumerate((first, second), start=1):
        stress = "".join(table[word][1] for word in line)
        if stress != "01" * (SYLLABLES // 2):
            found.append(f"line {number} has the stress {stress}, not {'01' * (SYLLABLES // 2)}")
    ends = first[-1], second[-1]
    if ends[0] == ends[1] or ends[0] not in rhymes() or rhymes()[ends[0]] != rhymes().get(ends[1]):
        found.append(f"{ends[0]!r} and {ends[1]!r} do not rhyme")
    content = [word for word in both if table[word][0] in CONTENT]
    return found + [f"{word!r} stands more than once" for word in dict.fromkeys(content) if content.count(word) > 1]


def couplets(language: str, rng: random.Random) -> Iterator[dict[str, Any]]:
    """Couplets `{first, second, length}` without end; `length` is 5 or 7 characters in Chinese, 8 syllables in English.
    """
    forms = lexicon("couplets", language)["forms"]
    while True:
        size = rng.choice(list(forms))
        first, second = _chinese(size, rng) if language == "zh" else _english(rng)
        yield {"first": first, "second": second, "length": int(size)}


def _chinese(size: str, rng: random.Random) -> tuple[str, str]:
    words = lexicon("couplets", "zh")
    pattern = rng.choice(words["tones"][size])
    lines: tuple[list[str], list[str]] = ([], [])
    used = ""
    for slot, mark in zip(rng.choice(words["forms"][size]).split(), pattern, strict=True):
        tone = LETTER.get(mark)
        for line, wanted in zip(lines, (tone, OPPOSITE.get(tone or "")), strict=True):
            char = _unused(_chinese_pool(slot, wanted), used, rng)
            line.append(char)
            used += char
    return "".join(lines[0]), "".join(lines[1])


@functools.cache
def _chinese_pool(slot: str, tone: str | None) -> str:
    """The characters for a slot: a class, of one tone or of both, and with "@NOUN" those that suit such a noun."""
    kind, _, noun = slot.partition("@")
    words = lexicon("couplets", "zh")
    tones = words["characters"][kind]
    known = tones[tone] if tone else tones["level"] + tones["oblique"]
    return "".join(char for char in known if not noun or char in words["suits"][noun][kind])


def _unused(pool: Any, used: Any, rng: random.Random) -> str:
    while True:
        word = rng.choice(pool)
        if word not in used:
            return word


@functools.cache
def _english_pool(slot: str) -> tuple[str, ...]:
    kind, stress = slot.split(":")
    return tuple(lexicon("couplets", "en")["words"][kind][stress].split())


def _english(rng: random.Random) -> tuple[str, str]:
    words = lexicon("couplets", "en")
    ends = rng.sample(rng.choice(words["rhymes"]).split(), 2)
    used, lines = set(ends), []
    for form, end in zip(rng.sample(words["forms"]["8"], 2), ends, strict=True):
        line = []
        for slot in form.split()[:-1]:
            word = _unused(_english_pool(slot), used, rng)
            line.append(word)
            if slot.split(":")[0] in CONTENT:
                used.add(word)
        lines.append(" ".join([*line, end]))
    return lines[0], lines[1]


def documents(world: World, language: str, rng: random.Random) -> Iterator[str]:
    """One couplet a document, sometimes with a word on what it is, without end; the world's dials change nothing."""
    words = lexicon("couplets", language)
    for pair in couplets(language, rng):
        text = [rng.choice(words["written"]).format(**pair)]
        if rng.random() < STATED:
            text.append(rng.choice(words["stated"]))
        yield join(text, language)
