"""Data to text, as WebNLG has it (Gardent et al. 2017): facts (subject, property, object) become a sentence.

Most of a sentence's words are names, and most names are rare, so a small model cannot learn to write them. The trick is
*delexicalisation*: names become ENT0, ENT1, … in facts and sentence alike, the model writes the sentence around them,
and the names are put back. What the sentence calls otherwise ("American" for United_States) stays as it is.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from labkit.errors import DataError

Fact = Sequence[str]  # subject, property, object, as in DBpedia: ("Aarhus_Airport", "runwayLength", "2702.0")
WORD = re.compile(r"[0-9]+(?:\.[0-9]+)?|[a-z]+|[^\sa-z0-9]")
ENTITY = re.compile(r"ENT([0-9]+)")


def read_webnlg(path: Path) -> list[dict[str, Any]]:
    """Entries {facts, texts} of a file of lines of JSON; DataError, naming the line, for another."""
    entries = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            entry = json.loads(line)
            if not entry["triples"] or not entry["texts"] or any(len(fact) != 3 for fact in entry["triples"]):
                raise ValueError("a fact has three parts, and an entry one fact and one text at least")
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path.name}, line {number}: {error!r:.80}; expected triples and texts") from None
        entries.append({"facts": [tuple(fact) for fact in entry["triples"]], "texts": entry["texts"]})
    return entries


def words(text: str) -> list[str]:
    """Lower-case words, numbers and signs, accents left out: what a text is compared by."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return WORD.findall(plain.lower())


def names(entity: str) -> list[list[str]]:
    """How an entity may stand in a text, as words: in full without a remark in brackets, then up to a comma."""
    bare = re.sub(r"\s*\([^)]*\)", "", entity.replace("_", " ").strip('"')) or entity
    found = [words(bare), words(bare.partition(",")[0]), words(bare.removesuffix(" language"))]
    return [name for place, name in enumerate(found) if name and name not in found[:place]] or [["?"]]


def entities(facts: Sequence[Fact]) -> list[str]:
    """Subjects and objects, in the order in which they appear."""
    return list(dict.fromkeys(one for fact in facts for one in (fact[0], fact[2])))


def linearised(facts: Sequence[Fact]) -> str:
    """What a model reads: "ENT0 runway length ENT1 ; ENT0 …"."""
    number = {one: f"ENT{place}" for place, one in enumerate(entities(facts))}
    return " ; ".join(f"{number[one]} {' '.join(_property(name))} {number[other]}" for one, name, other in facts)


def _property(name: str) -> list[str]:
    return words(re.sub("(?<=[a-z])(?=[A-Z])|_", " ", name))


def delexicalised(text: str, facts: Sequence[Fact]) -> str:
    """A text's words with ENTk for each name of entity k; of two names that fit, the longer."""
    found = sorted(((name, place) for place, one in enumerate(entities(facts)) for name in names(one)),
                   key=lambda pair: -len(pair[0]))  # fmt: skip
    left, written = words(text), []
    while left:
        name, place = next(((name, place) for name, place in found if left[: len(name)] == name), (left[:1], None))
        written.append(left[0] if place is None else f"ENT{place}")
        left = left[len(name) :]
    return " ".join(written)


def lexicalised(text: str, facts: Sequence[Fact]) -> str:
    """The text with each entity's name in place of ENTk; of an entity that is not there nothing is left."""
    known = entities(facts)
    full = [" ".join(names(one)[0]) for one in known]
    return " ".join(ENTITY.sub(lambda found: full[int(found[1])] if int(found[1]) < len(full) else "", text).split())


def template(facts: Sequence[Fact]) -> str:
    """The baseline that learns nothing: "subject property object ." for each fact."""
    sentences = (f"{' '.join(names(one)[0])} {' '.join(_property(name))} {' '.join(names(other)[0])} ."
                 for one, name, other in facts)  # fmt: skip
    return " ".join(sentences)
