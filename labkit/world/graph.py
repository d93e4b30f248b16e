"""The knowledge graph that all of the world's text speaks of: entities with Zipf frequencies, typed relations, facts.

Facts come in four steps: a *core* that keeps the world consistent (a capital lies in its country, a disease has symptoms), the
other *functional* relations (one tail a head), a *cover* that leaves no dish or device unmentioned, and *filling* by many-to-many
relations among frequent entities. A share of the facts is held out: true, but stated in no text, to probe what a model infers.
"""

from __future__ import annotations

import functools
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from labkit.errors import UsageError, unknown
from labkit.world.names import TYPES, capacity, draw, family, spell
from labkit.world.settings import World, cumulative_zipf, randomness

# Shares of the entities; persons also take what rounding and full name lists leave over.
SHARES = {
    "person": 0.2775, "city": 0.1, "country": 0.0175, "company": 0.12, "dish": 0.09, "medicine": 0.07, "disease": 0.06,
    "symptom": 0.06, "film": 0.1, "device": 0.07, "statute": 0.015, "charge": 0.02,
}  # fmt: skip
LEAST = 3  # entities of each type in the smallest world


@dataclass(frozen=True)
class Entity:
    """One thing of the world. `frequency` is its share of all mentions, in (0, 1)."""

    id: int  # its place in `Graph.entities`
    type: str
    name: Mapping[str, str]  # language -> name
    frequency: float
    parts: tuple[int, ...]  # which parts its name is made of (`names.parts_of`)
    family: int  # department of a disease or symptom, crime of a charge; else -1


@dataclass(frozen=True)
class Relation:
    """A kind of fact. `functional`: at most one tail a head. `symmetric`: holds both ways."""

    name: str
    head: str  # entity type
    tail: str
    functional: bool = True
    symmetric: bool = False


@dataclass(frozen=True)
class Fact:
    """`head` and `tail` are entity ids. A fact that is held out stands in no text."""

    head: int
    relation: str
    tail: int
    held_out: bool = False


RELATIONS = (
    Relation("born_in", "person", "city"), Relation("lives_in", "person", "city"), Relation("works_for", "person", "company"),
    Relation("married_to", "person", "person", symmetric=True), Relation("likes", "person", "dish", False),
    Relation("owns", "person", "device", False), Relation("located_in", "city", "country"), Relation("mayor", "city", "person"),
    Relation("famous_for", "city", "dish", False), Relation("capital", "country", "city"),
    Relation("national_dish", "country", "dish"), Relation("borders", "country", "country", False, True),
    Relation("based_in", "company", "city"), Relation("founded_by", "company", "person"),
    Relation("made_by", "medicine", "company"), Relation("side_effect", "medicine", "symptom", False),
    Relation("has_symptom", "disease", "symptom", False), Relation("treated_by", "disease", "medicine", False),
    Relation("discovered_by", "disease", "person"), Relation("directed_by", "film", "person"),
    Relation("stars", "film", "person", False), Relation("set_in", "film", "city"),
    Relation("produced_by", "device", "company"), Relation("designed_by", "device", "person"),
    Relation("punished_under", "charge", "statute"), Relation("passed_in", "statute", "country"),
)  # fmt: skip
BY_NAME = {relation.name: relation for relation in RELATIONS}
CORE = ("located_in", "capital", "has_symptom", "treated_by", "punished_under", "passed_in")
FILLING = {"likes": 10, "owns": 6, "stars": 6, "famous_for": 3, "side_effect": 2, "borders": 1}  # weights
MOST = {"borders": 6}  # tails a head that filling may give; 12 where not said
COVER = {"famous_for": "dish", "has_symptom": "symptom", "treated_by": "medicine", "owns": "device"}
Triple = tuple[int, str, int]


@dataclass(frozen=True, eq=False)
class Graph:
    """Entities by id, relations and facts, with the look-ups that writers of text need. Made by `build_graph`."""

    entities: tuple[Entity, ...]
    facts: tuple[Fact, ...]
    relations: tuple[Relation, ...] = RELATIONS

    @functools.cached_property
    def stated(self) -> tuple[Fact, ...]:
        """The facts that texts may state."""
        return tuple(fact for fact in self.facts if not fact.held_out)

    @functools.cached_property
    def probes(self) -> tuple[Fact, ...]:
        """The facts held out of all text."""
        return tuple(fact for fact in self.facts if fact.held_out)

    @functools.cached_property
    def _triples(self) -> frozenset[Triple]:
        return frozenset((fact.head, fact.relation, fact.tail) for fact in self.facts)

    @functools.cached_property
    def _facts_of(self) -> list[tuple[Fact, ...]]:
        lists: list[list[Fact]] = [[] for _ in self.entities]
        for fact in self.facts:
            lists[fact.head].append(fact)
            lists[fact.tail].append(fact)
        return [tuple(facts) for facts in lists]

    @functools.cached_property
    def _stated_of(self) -> list[tuple[Fact, ...]]:
        return [tuple(fact for fact in facts if not fact.held_out) for facts in self._facts_of]

    @functools.cached_property
    def _types(self) -> dict[str, tuple[Entity, ...]]:
        return {kind: tuple(entity for entity in self.entities if entity.type == kind) for kind in TYPES}

    @functools.cached_property
    def _weights(self) -> dict[str | None, list[float]]:
        groups = {None: self.entities, **self._types}
        return {kind: list(accumulate(entity.frequency for entity in group)) for kind, group in groups.items()}

    @functools.cached_property
    def _by_relation(self) -> dict[str, tuple[list[Fact], list[float]]]:
        groups = {r.name: [fact for fact in self.stated if fact.relation == r.name] for r in self.relations}
        weight = [entity.frequency for entity in self.entities]
        return {name: (facts, list(accumulate(weight[fact.head] for fact in facts))) for name, facts in groups.items() if facts}

    @functools.cached_property
    def _tails(self) -> dict[tuple[int, str], tuple[int, ...]]:
        tails: dict[tuple[int, str], list[int]] = {}
        for fact in self.facts:
            tails.setdefault((fact.head, fact.relation), []).append(fact.tail)
        return {key: tuple(found) for key, found in tails.items()}

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

    def facts_of(self, entity: int, held_out: bool = False) -> tuple[Fact, ...]:
        """The facts with this entity as head or tail: those that text may state, with `held_out` all."""
        return (self._facts_of if held_out else self._stated_of)[entity]

    def neighbours(self, entity: int) -> tuple[int, ...]:
        """The entities one stated fact away, by id."""
        return tuple(sorted({fact.head + fact.tail - entity for fact in self.facts_of(entity)}))

    def tails(self, head: int, relation: str) -> tuple[int, ...]:
        """All true tails, held out or not."""
        return self._tails.get((head, relation), ())

    def has(self, head: int, relation: str, tail: int) -> bool:
        """Is it true, held out or not?"""
        return (head, relation, tail) in self._triples

    def relations_in_text(self, names: Sequence[str] | None = None) -> tuple[str, ...]:
        """The relations, out of `names` or all, that have a fact which text may state."""
        return tuple(name for name in names or [r.name for r in self.relations] if name in self._by_relation)

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
            raise UsageError(f"no text may state a fact of {', '.join(relations or ())}: raise the world's facts or lower held_out")
        facts, weights = self._by_relation[rng.choice(names)]
        return rng.choices(facts, cum_weights=weights)[0]


@functools.lru_cache(maxsize=8)
def build_graph(world: World) -> Graph:
    """The graph of a world: always the same one for the same settings.

    Raises UsageError where `world.entities` or `world.held_out` cannot be had. `world.facts` is met as far as the core (never
    left out) and the number of possible facts allow.
    """
    entities = _entities(world)
    builder = _Builder(entities, world, randomness(world, "graph"))
    return Graph(entities, _hold_out(builder.build(), world))


def _counts(world: World) -> dict[str, int]:
    """How many entities of each type."""
    counts = {kind: min(capacity(kind), max(LEAST, round(world.entities * share))) for kind, share in SHARES.items()}
    counts["country"] = min(counts["country"], counts["city"])
    counts["person"] = world.entities - sum(count for kind, count in counts.items() if kind != "person")
    if not LEAST <= counts["person"] <= capacity("person"):
        limit = f"at least {LEAST * len(TYPES)}" if counts["person"] < LEAST else "fewer: there are not enough names"
        raise UsageError(f"world: entities={world.entities} cannot be had; ask for {limit}")
    return counts


def _entities(world: World) -> tuple[Entity, ...]:
    """All entities, type by type, each type from frequent to rare."""
    entities: list[Entity] = []
    for kind, count in _counts(world).items():
        total = cumulative_zipf(count, world.entity_tail)[-1]
        for rank, parts in enumerate(draw(kind, count, randomness(world, "names", kind))):
            frequency = SHARES[kind] / sum(SHARES.values()) / total / (rank + 2) ** world.entity_tail
            entities.append(Entity(len(entities), kind, spell(kind, parts), frequency, parts, family(kind, parts)))
    return tuple(entities)


def _hold_out(triples: list[Triple], world: World) -> tuple[Fact, ...]:
    """Mark a share of the facts, both directions of a symmetric one together; every entity keeps a stated fact."""
    if not 0 <= world.held_out <= 1:
        raise UsageError(f"world: held_out must lie in [0, 1], not {world.held_out!r}")
    left = Counter(entity for head, _, tail in triples for entity in (head, tail))
    order, held, wanted = list(triples), set(), round(world.held_out * len(triples))
    randomness(world, "held_out").shuffle(order)
    for head, relation, tail in order:
        twins = {(head, relation, tail), (tail, relation, head)} if BY_NAME[relation].symmetric else {(head, relation, tail)}
        if len(held) + len(twins) > wanted or min(left[head], left[tail]) <= len(twins) or twins & held:
            continue
        held |= twins
        left.subtract([head, tail] * len(twins))
    return tuple(Fact(*triple, held_out=triple in held) for triple in triples)
