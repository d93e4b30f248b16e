"""Names of the world's entities, put together from shared parts: "silver river", 白银 + 大河.

Names are written in all languages from the same parts, so "copper bank" is 赤铜银行公司 in Chinese (persons' names are
not translated, only matched). Few parts make many names: a model must read the whole name and its surroundings, since a
stem such as "falcon" begins names of companies, medicines, diseases and devices and ends those of cities and films.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Mapping

from labkit.world.settings import LANGUAGES, lexicon

TYPES = (
    "person", "city", "country", "company", "dish", "medicine", "disease", "symptom", "film", "device", "statute",
    "charge",
)  # fmt: skip
DEPARTMENTS = len(lexicon("names", "en")["departments"])
# A name's family is read off its last part: diseases and symptoms by hospital department, charges by kind of crime.
FAMILIES = {
    "disease": DEPARTMENTS,
    "symptom": DEPARTMENTS,
    "charge": len(lexicon("names", "en")["types"]["charge"]["parts"][-1]),
}
Parts = tuple[int, ...]


def parts_of(kind: str, language: str) -> list[list[str]]:
    """The lists that names of `kind` are drawn from, one list a place; the same lengths in every language."""
    words = lexicon("names", language)
    return [words["stems"] if part == "stems" else part for part in words["types"][kind]["parts"]]


def words_of_one_type(language: str) -> Mapping[str, str]:
    """Word -> type, of the words that stand in names of one type only, as "noodles" does in those of dishes."""
    found: dict[str, set[str]] = {}
    for kind in TYPES:
        for word in itertools.chain.from_iterable(parts_of(kind, language)):
            found.setdefault(word, set()).add(kind)
    return {word: next(iter(kinds)) for word, kinds in found.items() if len(kinds) == 1}


def capacity(kind: str) -> int:
    """How many different names of `kind` there are."""
    return math.prod(len(part) for part in parts_of(kind, "en"))


def family(kind: str, parts: Parts) -> int:
    """The family of a name, from 0; -1 for kinds without families."""
    return parts[-1] % FAMILIES[kind] if kind in FAMILIES else -1


def spell(kind: str, parts: Parts) -> Mapping[str, str]:
    """The name with these parts, in every language.

    >>> spell("city", (0, 1))
    {'en': 'north cedar', 'zh': '北雪松市'}
    """
    name = {}
    for language in LANGUAGES:
        chosen = [words[index] for words, index in zip(parts_of(kind, language), parts, strict=True)]
        name[language] = lexicon("names", language)["types"][kind]["form"].format(*chosen)
    return name


def draw(kind: str, count: int, rng: random.Random) -> list[Parts]:
    """`count` different names of `kind` in random order, families in turn. At most `capacity(kind)`."""
    everything = list(itertools.product(*(range(len(part)) for part in parts_of(kind, "en"))))
    rng.shuffle(everything)
    turns: dict[int, itertools.count[int]] = {}
    # A stable sort by "how manieth of its family" deals the families out like cards: few names still cover all of them.
    turn = {parts: next(turns.setdefault(family(kind, parts), itertools.count())) for parts in everything}
    ordered = sorted(everything, key=turn.__getitem__) if kind in FAMILIES else everything
    return ordered[:count]
