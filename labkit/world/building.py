"""How the knowledge graph comes to be, in four steps.

A *core* keeps the world consistent (a capital lies in its country, a disease has symptoms); the other *functional*
relations have one tail a head; a *cover* leaves no dish or device unmentioned; and *filling* adds many-to-many facts
among frequent entities.
"""

from __future__ import annotations

import random
from collections import Counter

from labkit.errors import UsageError
from labkit.world.names import TYPES, capacity, draw, family, spell
from labkit.world.schema import BY_NAME, RELATIONS, Entity, Fact
from labkit.world.settings import World, cumulative_zipf, randomness, zipf_choice

# Shares of the entities; persons also take what rounding and full name lists leave over.
SHARES = {
    "person": 0.2775, "city": 0.1, "country": 0.0175, "company": 0.12, "dish": 0.09, "medicine": 0.07, "disease": 0.06,
    "symptom": 0.06, "film": 0.1, "device": 0.07, "statute": 0.015, "charge": 0.02,
}  # fmt: skip
LEAST = 3  # entities of each type in the smallest world
CORE = ("located_in", "capital", "has_symptom", "treated_by", "punished_under", "passed_in")
FILLING = {"likes": 10, "owns": 6, "stars": 6, "famous_for": 3, "side_effect": 2, "borders": 1}  # weights
MOST = {"borders": 6}  # tails a head that filling may give; 12 where not said
NEAR = 0.75  # chance that a disease's symptom is of its own department
MARRIED = 0.45  # share of persons for whom a spouse is sought
COVER = {"famous_for": "dish", "has_symptom": "symptom", "treated_by": "medicine", "owns": "device"}
Triple = tuple[int, str, int]


def entities_of(world: World) -> tuple[Entity, ...]:
    """All entities, type by type, each type from frequent to rare."""
    entities: list[Entity] = []
    for kind, count in _counts(world).items():
        total = cumulative_zipf(count, world.entity_tail)[-1]
        for rank, parts in enumerate(draw(kind, count, randomness(world, "names", kind))):
            frequency = SHARES[kind] / sum(SHARES.values()) / total / (rank + 2) ** world.entity_tail
            entities.append(Entity(len(entities), kind, spell(kind, parts), frequency, parts, family(kind, parts)))
    return tuple(entities)


def _counts(world: World) -> dict[str, int]:
    """How many entities of each type."""
    counts = {kind: min(capacity(kind), max(LEAST, round(world.entities * share))) for kind, share in SHARES.items()}
    counts["country"] = min(counts["country"], counts["city"])
    counts["person"] = world.entities - sum(count for kind, count in counts.items() if kind != "person")
    if not LEAST <= counts["person"] <= capacity("person"):
        limit = f"at least {LEAST * len(TYPES)}" if counts["person"] < LEAST else "fewer: there are not enough names"
        raise UsageError(f"world: entities={world.entities} cannot be had; ask for {limit}")
    return counts


def triples_of(entities: tuple[Entity, ...], world: World) -> list[Triple]:
    """All facts of the world, symmetric ones both ways, none twice."""
    builder = _Builder(entities, world, randomness(world, "graph"))
    builder.core()
    builder.functional()
    builder.cover()
    builder.fill()
    return list(builder.facts)


def hold_out(triples: list[Triple], world: World) -> tuple[Fact, ...]:
    """Mark a share of the facts, both directions of a symmetric one together; every entity keeps a stated fact."""
    if not 0 <= world.held_out <= 1:
        raise UsageError(f"world: held_out must lie in [0, 1], not {world.held_out!r}")
    left = Counter(entity for head, _, tail in triples for entity in (head, tail))
    order, held, wanted = list(triples), set(), round(world.held_out * len(triples))
    randomness(world, "held_out").shuffle(order)
    for head, relation, tail in order:
        twins = {(head, relation, tail)} | ({(tail, relation, head)} if BY_NAME[relation].symmetric else set())
        if len(held) + len(twins) > wanted or min(left[head], left[tail]) <= len(twins) or twins & held:
            continue
        held |= twins
        left.subtract([head, tail] * len(twins))
    return tuple(Fact(*triple, held_out=triple in held) for triple in triples)


class _Builder:
    """Collects facts in the order of their importance."""

    def __init__(self, entities: tuple[Entity, ...], world: World, rng: random.Random) -> None:
        self.entities, self.world, self.rng = entities, world, rng
        self.groups = {kind: [entity for entity in entities if entity.type == kind] for kind in TYPES}
        self.facts: dict[Triple, None] = {}  # a dictionary for its order
        self.used: Counter[tuple[int, str]] = Counter()

    def add(self, head: Entity, relation: str, tail: Entity) -> None:
        """Add a fact unless it stands already, or its head has all it may have; both ways where it is symmetric."""
        kind = BY_NAME[relation]
        most = 1 if kind.functional else MOST.get(relation, 12)
        ends = [head, tail] if kind.symmetric else [head]
        triple = (head.id, relation, tail.id)
        if head.id == tail.id or triple in self.facts or any(self.used[end.id, relation] >= most for end in ends):
            return
        self.facts[triple] = None
        if kind.symmetric:
            self.facts[tail.id, relation, head.id] = None
        self.used.update((end.id, relation) for end in ends)

    def some(self, kind: str) -> Entity:
        """An entity of the type, frequent ones more often."""
        return zipf_choice(self.rng, self.groups[kind], self.world.entity_tail)

    def core(self) -> None:
        """Geography, law and medicine: what other texts are built on."""
        inside: dict[int, list[Entity]] = {}
        for rank, city in enumerate(self.groups["city"]):
            countries = self.groups["country"]
            country = countries[rank] if rank < len(countries) else self.some("country")
            inside.setdefault(country.id, []).append(city)
            self.add(city, "located_in", country)
        for country in self.groups["country"]:
            self.add(country, "capital", self.rng.choice(inside[country.id]))
        for disease in self.groups["disease"]:
            self.symptoms(disease)
            for _ in range(2):
                self.add(disease, "treated_by", self.some("medicine"))
        for statute in self.groups["statute"]:
            self.add(statute, "passed_in", self.some("country"))
        for charge in self.groups["charge"]:
            self.add(charge, "punished_under", self.some("statute"))

    def symptoms(self, disease: Entity) -> None:
        """Three or four symptoms, most of them of the disease's own department."""
        own = [symptom for symptom in self.groups["symptom"] if symptom.family == disease.family]
        for _ in range(self.rng.randint(3, 4)):
            near = own and self.rng.random() < NEAR
            self.add(disease, "has_symptom", self.rng.choice(own if near else self.groups["symptom"]))

    def functional(self) -> None:
        """The other relations with one tail a head, in random order, as far as `world.facts` allows."""
        jobs = [
            (head, relation)
            for relation in RELATIONS if relation.functional and relation.name not in CORE
            for head in self.groups[relation.head] if not relation.symmetric or self.rng.random() < MARRIED
        ]  # fmt: skip
        self.rng.shuffle(jobs)
        for head, relation in jobs[: max(0, self.world.facts - len(self.facts))]:
            pick = self.rng.choice(self.groups[relation.tail]) if relation.symmetric else self.some(relation.tail)
            self.add(head, relation.name, pick)

    def cover(self) -> None:
        """A fact for each dish, symptom, medicine and device that has none yet."""
        met = {entity for head, _, tail in self.facts for entity in (head, tail)}
        for relation, kind in COVER.items():
            for entity in self.groups[kind]:
                if entity.id not in met and len(self.facts) < self.world.facts:
                    self.add(self.rng.choice(self.groups[BY_NAME[relation].head]), relation, entity)

    def fill(self) -> None:
        """Many-to-many facts until there are `world.facts`, or (in a small world) no more are found."""
        names, weights = list(FILLING), list(FILLING.values())
        for _ in range(20 * self.world.facts):
            if len(self.facts) >= self.world.facts:
                return
            relation = BY_NAME[self.rng.choices(names, weights)[0]]
            self.add(self.some(relation.head), relation.name, self.some(relation.tail))
