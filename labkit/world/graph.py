"""The knowledge graph that all of the world's text speaks of: entities with Zipf frequencies, typed relations, facts.

A share of the facts is held out: true, but stated in no text, to probe what a model infers. `building.py` makes the
entities and facts, `schema.py` says what they are.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from labkit.errors import UsageError, unknown
from labkit.world.building import Triple, entities_of, hold_out, triples_of
from labkit.world.names import TYPES
from labkit.world.schema import RELATIONS, Entity, Fact
from labkit.world.settings import World


@dataclass(frozen=True, eq=False)
class Graph:
    """Entities by id and facts, with the look-ups that writers of text need. Made by `build_graph`."""

    entities: tuple[Entity, ...]
    facts: tuple[Fact, ...]

    @functools.cached_property
    def stated(self) -> tuple[Fact, ...]:
        """The facts that texts may state."""
        return tuple(fact for fact in self.facts if not fact.held_out)

    @functools.cached_property
    def _triples(self) -> frozenset[Triple]:
        return frozenset((fact.head, fact.relation, fact.tail) for fact in self.facts)

    @functools.cached_property
    def _facts_of(self) -> list[tuple[Fact, ...]]:
        lists: list[list[Fact]] = [[] for _ in self.entities]
        for fact in self.stated:
            lists[fact.head].append(fact)
            lists[fact.tail].append(fact)
        return [tuple(facts) for facts in lists]

    @functools.cached_property
    def _types(self) -> dict[str, tuple[Entity, ...]]:
        return {kind: tuple(entity for entity in self.entities if entity.type == kind) for kind in TYPES}

    @functools.cached_property
    def _weights(self) -> dict[str | None, list[float]]:
        groups = {None: self.entities, **self._types}
        return {kind: list(accumulate(entity.frequency for entity in group)) for kind, group in groups.items()}

    @functools.cached_property
    def _by_relation(self) -> dict[str, tuple[list[Fact], list[float]]]:
        groups = {r.name: [fact for fact in self.stated if fact.relation == r.name] for r in RELATIONS}
        weight = [entity.frequency for entity in self.entities]
        return {
            name: (facts, list(accumulate(weight[fact.head] for fact in facts)))
            for name, facts in groups.items()
            if facts
        }

    @functools.cached_property
    def _names(self) -> dict[tuple[str, str], Entity]:
        return {(language, name): entity for entity in self.entities for language, name in entity.name.items()}

    def name(self, entity: int, language: str) -> str:
        """The name of the entity with this id."""
        return self.entities[entity].name[language]

    def find(self, name: str, language: str) -> Entity | None:
        """The entity of this name; None where there is none."""
        return self._names.get((language, name))

    def of_type(self, kind: str) -> tuple[Entity, ...]:
        """The entities of one type, most frequent first."""
        if kind not in self._types:
            raise unknown("entity type", kind, TYPES)
        return self._types[kind]

    def facts_of(self, entity: int) -> tuple[Fact, ...]:
        """The facts with this entity as head or tail that text may state."""
        return self._facts_of[entity]

    def neighbours(self, entity: int) -> tuple[int, ...]:
        """The entities one stated fact away, by id."""
        return tuple(sorted({fact.head + fact.tail - entity for fact in self.facts_of(entity)}))

    def has(self, head: int, relation: str, tail: int) -> bool:
        """Is it true, held out or not?"""
        return (head, relation, tail) in self._triples

    def relations_in_text(self, names: Sequence[str] | None = None) -> tuple[str, ...]:
        """The relations, out of `names` or all, that have a fact which text may state."""
        return tuple(name for name in names or [r.name for r in RELATIONS] if name in self._by_relation)

    def sample_entity(self, rng: random.Random, kind: str | None = None) -> Entity:
        """An entity by frequency, of one type or any."""
        group = self.entities if kind is None else self.of_type(kind)
        return rng.choices(group, cum_weights=self._weights[kind])[0]

    def sample_fact(self, rng: random.Random, relations: Sequence[str] | None = None) -> Fact:
        """A stated fact by frequency of its head, its relation uniformly one of `relations` (default all).

        Raises UsageError where none of them has a stated fact.
        """
        names = self.relations_in_text(relations)
        if not names:
            raise UsageError(
                f"no text may state a fact of {', '.join(relations or ())}: raise the world's facts or lower held_out"
            )
        facts, weights = self._by_relation[rng.choice(names)]
        return rng.choices(facts, cum_weights=weights)[0]


@functools.lru_cache(maxsize=8)
def build_graph(world: World) -> Graph:
    """The graph of a world: always the same one for the same settings.

    Raises UsageError where `world.entities` or `world.held_out` cannot be had. `world.facts` is met as far as the core
    (never left out) and the number of possible facts allow.
    """
    entities = entities_of(world)
    return Graph(entities, hold_out(triples_of(entities, world), world))
