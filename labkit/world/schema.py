"""What the knowledge graph is made of: entities, typed relations, facts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


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
    Relation("born_in", "person", "city"), Relation("lives_in", "person", "city"),
    Relation("works_for", "person", "company"), Relation("married_to", "person", "person", symmetric=True),
    Relation("likes", "person", "dish", False), Relation("owns", "person", "device", False),
    Relation("located_in", "city", "country"), Relation("mayor", "city", "person"),
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
