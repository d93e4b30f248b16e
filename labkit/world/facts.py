"""Statements of facts and questions about them, in several wordings, and encyclopaedic text made of them.

Every text genre that speaks of the graph does so through a `Teller`. Wordings are *bare*, without the closing mark
("anna reed was born in north cedar"), so that they can stand inside other sentences.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from labkit.world.graph import Graph, build_graph
from labkit.world.names import parts_of
from labkit.world.review_text import stance_remark
from labkit.world.schema import RELATIONS, Entity, Fact
from labkit.world.settings import World, fits, join, lexicon

MENTION = {"en": "{0} .", "zh": "{0}。"}
TYPED = 0.4  # share of documents about things that begin with what kind of thing it is
PRONOUN = 0.6  # share of sentences that speak of the same thing again and call it "it"
STANCE = 0.06  # share of documents that call themselves facts
AGAIN = 0.12  # share of facts said again in other words
PER_DOCUMENT = (4, 9)
ORDER = {relation.name: place for place, relation in enumerate(RELATIONS)}
ALIKE = 2  # facts of one theme in an entry, at most


@dataclass(frozen=True)
class Teller:
    """Puts the facts of one world into words of one language."""

    world: World
    language: str
    rng: random.Random

    @cached_property
    def graph(self) -> Graph:
        """The world's knowledge graph."""
        return build_graph(self.world)

    def name(self, entity: int) -> str:
        """An entity's name in the teller's language."""
        return self.graph.entities[entity].name[self.language]

    def stand_in(self, entity: Entity) -> str:
        """The pronoun for an entity: "she" or "he" by a person's given name, "it" for a thing."""
        words, kind = lexicon("facts", self.language), "it"
        if entity.type == "person":
            given = parts_of("person", self.language)[0][entity.parts[0]]
            kind = "she" if given in words["she"] else "he"
        return words["pronouns"][kind]

    def put(self, pattern: str, fact: Fact) -> str:
        """A pattern with the fact's head and tail in their places."""
        return pattern.format(h=self.name(fact.head), t=self.name(fact.tail))

    def say(self, fact: Fact, unlike: str = "") -> str:
        """The fact in one of its wordings, bare; one that does not stand in `unlike`, where the world has one."""
        return self._some("say", fact, unlike)

    def ask(self, fact: Fact, unlike: str = "") -> str:
        """A question for the fact's tail; one that does not stand in `unlike`, where the world has one."""
        return self._some("ask", fact, unlike)

    def check(self, fact: Fact) -> str:
        """A question whether the fact is so."""
        return self.put(self.rng.choice(self._patterns("check", fact)), fact)

    def seek(self, fact: Fact) -> str:
        """A question for the fact's head."""
        return self.put(self.rng.choice(self._patterns("seek", fact)), fact)

    def _patterns(self, kind: str, fact: Fact) -> list[str]:
        return lexicon("facts", self.language)["relations"][fact.relation][kind]

    def _some(self, kind: str, fact: Fact, unlike: str) -> str:
        """One of at most `world.paraphrases` wordings, at least one."""
        filled = [self.put(pattern, fact) for pattern in self._patterns(kind, fact)[: max(1, self.world.paraphrases)]]
        return self.rng.choice([one for one in filled if one not in unlike] or filled)

    def sentence(self, bare: str) -> str:
        """The bare statement with its closing mark."""
        return MENTION[self.language].format(bare)

    def text(self, bare: Sequence[str]) -> str:
        """Several bare statements as one text of sentences."""
        return join([self.sentence(one) for one in bare], self.language)

    def triple(self, fact: Fact) -> tuple[str, str, str]:
        """Head, relation and tail, as data: ("anna reed", "born in", "north cedar")."""
        label = lexicon("facts", self.language)["labels"][fact.relation]
        return self.name(fact.head), label, self.name(fact.tail)

    def typed(self, entity: Entity) -> str:
        """What kind of thing the entity is, bare: "north cedar is a city"."""
        words = lexicon("facts", self.language)
        kind = words["types"][entity.type]
        return self.rng.choice(words["typed"]).format(x=entity.name[self.language], type=kind)

    def about(self, entity: int, least: int, most: int) -> list[Fact]:
        """Between `least` and `most` stated facts about one entity, different, in random order.

        Where it has too few, facts about one of its neighbours join, and then any facts.
        """
        facts = list(self.graph.facts_of(entity))
        wanted = self.rng.randint(least, most)
        if facts and len(facts) < wanted:
            near = self.rng.choice(facts)
            other = near.head + near.tail - entity
            facts += [fact for fact in self.graph.facts_of(other) if fact not in facts]
        while len(facts) < min(least, len(self.graph.stated)):
            facts = list(dict.fromkeys([*facts, self.graph.sample_fact(self.rng)]))
        return self.rng.sample(facts, min(wanted, len(facts)))


class Encyclopaedist(Teller):
    """Writes entries: one thing, its facts by theme, pronouns where its name was just said."""

    def entry(self, entity: Entity) -> list[str]:
        """The bare sentences of an entry, in order."""
        name, facts = entity.name[self.language], self.themes(entity.id)
        told = [self.typed(entity)] if entity.type != "person" and self.rng.random() < TYPED else []
        spoken = bool(told)  # whether the last sentence was about the entity
        for fact in facts:
            said = self.say(fact)
            again = spoken and said.startswith(name) and self.rng.random() < PRONOUN
            told.append(self.stand_in(entity) + said.removeprefix(name) if again else said)
            spoken = entity.id in (fact.head, fact.tail)
            if spoken and self.rng.random() < AGAIN:
                pattern = self.rng.choice(lexicon("facts", self.language)["again"])
                told.append(pattern.format(s=self.say(fact, said)))
        return told

    def themes(self, entity: int) -> list[Fact]:
        """Stated facts about the entity and perhaps a neighbour, by theme, of each theme at most `ALIKE`."""
        least = min(PER_DOCUMENT[0], len(self.graph.facts_of(entity)))
        kept: dict[tuple[int, int], list[Fact]] = {}
        for fact in self.about(entity, least, PER_DOCUMENT[1]):
            theme = kept.setdefault(self._place(fact, entity), [])
            if len(theme) < ALIKE:
                theme.append(fact)
        return [fact for place in sorted(kept) for fact in kept[place]]

    def _place(self, fact: Fact, entity: int) -> tuple[int, int]:
        """Where a fact stands in an entry: what the thing has, what has it, what its neighbour has; each by theme."""
        return 0 if fact.head == entity else 1 if fact.tail == entity else 2, ORDER[fact.relation]


def documents(world: World, language: str, rng: random.Random) -> Iterator[str]:
    """Encyclopaedic text without end: an entry of a few facts about one entity, frequent entities more often."""
    writer = Encyclopaedist(world, language, rng)
    while True:
        entity = writer.graph.sample_entity(rng)
        if not writer.graph.facts_of(entity.id):
            continue
        told = writer.entry(entity)
        while not fits(writer.text(told), language):
            told.pop()
        text = writer.text(told)
        remarked = join([text, stance_remark("objective", language, rng)], language) if rng.random() < STANCE else text
        yield remarked if fits(remarked, language) else text
