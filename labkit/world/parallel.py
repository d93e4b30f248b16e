"""English and Chinese that say the same: the world's facts, and small talk of things, people, places and days.

A pair grows from rules that write both languages at once, a synchronous grammar (Lewis & Stearns 1968): the slots of a
rule stand on both sides, in each language's own order, and each is filled with the two sides of one pair.

    ["{who} bought {some} {past}", "{who}{past}买了{some}"]      who bought what when; who when bought what

Facts are said, and asked for, in wordings that mean the same; the lexicon says which.
"""

from __future__ import annotations

import functools
import importlib.resources
import json
import random
from typing import Any

from labkit.world.facts import Teller
from labkit.world.names import parts_of, spell
from labkit.world.settings import LANGUAGES, World, lexicon, randomness
from labkit.world.topics import SLOT, VOWEL, fill

Pair = tuple[str, str]  # English, Chinese: in the order of LANGUAGES
FORMS = {"things": ("thing", "things", "unit"), "adjectives": ("adj", "more", "most")}
ASKED = ("ask", "ask", "check", "seek")  # which questions there are for a fact


@functools.cache
def _lexicon() -> dict[str, Any]:
    path = importlib.resources.files("labkit.world").joinpath("lexicon/parallel.json")
    return json.loads(path.read_text(encoding="utf-8"))


class Interpreter:
    """Says the same in English and in Chinese, again and again."""

    def __init__(self, world: World, rng: random.Random) -> None:
        self.rng, self.rules = rng, _lexicon()["rules"]
        self.tellers = [Teller(world, language, rng) for language in LANGUAGES]
        self.graph = self.tellers[0].graph

    def pair(self, symbol: str = "text") -> Pair:
        """Two texts, or what a slot of this name is filled with."""
        match symbol:
            case "name":
                return self._name("person")
            case "city":
                return self._name("city")
            case "fact":
                return self._fact("say")
            case "question":
                return self._fact(self.rng.choice(ASKED))
        rule = self.rng.choice(self.rules[symbol])
        filled: dict[str, Pair] = {}
        for slot in SLOT.findall(" ".join(rule)):
            if slot not in filled:
                filled |= self._forms(slot) or {slot: self.pair(slot.rstrip("2"))}
        english, chinese = (fill(side, lambda slot: filled[slot][n]) for n, side in enumerate(rule))  # noqa: B023
        return VOWEL.sub("an ", english), chinese

    def _forms(self, slot: str) -> dict[str, Pair]:
        """All forms of one word, where the slot is for one of several: one, many, counted in; good, better, best."""
        for kind, slots in FORMS.items():
            if slot in slots:
                *forms, chinese = self.rng.choice(_lexicon()[kind])
                named = dict(zip(slots, forms, strict=True))
                return {name: (form, form if name == "unit" else chinese) for name, form in named.items()}
        return {}

    def _name(self, kind: str) -> Pair:
        parts = tuple(self.rng.randrange(len(words)) for words in parts_of(kind, LANGUAGES[0]))
        return tuple(spell(kind, parts)[language] for language in LANGUAGES)

    def _fact(self, kind: str) -> Pair:
        """A fact said, or asked for, without the mark at its end."""
        fact = self.graph.sample_fact(self.rng)
        ours, theirs = (lexicon("facts", language)["relations"][fact.relation][kind] for language in LANGUAGES)
        places = _lexicon()["wording"][kind].get(fact.relation, range(len(ours)))
        chosen = self.rng.choice([(n, m) for n, m in enumerate(places) if m is not None])
        wordings = zip(self.tellers, (ours, theirs), chosen, strict=True)
        english, chinese = (teller.put(some[number], fact) for teller, some, number in wordings)
        return english.removesuffix(" ?"), chinese.removesuffix("？")


def pairs(world: World, count: int, part: str = "parallel") -> list[Pair]:
    """`count` pairs (English, Chinese); the same ones for the same arguments. Another `part` has other pairs, some of
    which may be the same.
    """
    interpreter = Interpreter(world, randomness(world, part, "parallel"))
    return [interpreter.pair() for _ in range(count)]
