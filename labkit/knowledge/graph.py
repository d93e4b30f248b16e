"""A graph of facts: entities, relations, and triples of head, relation and tail, as numbers in one table.

Walking it needs no more than, for each entity, the rows of the table that it stands in: neighbourhoods, paths and
degrees come from there. Reading one is strict, because a wrong triple is a wrong fact: see `graph_of`.
"""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from labkit.errors import DataError, UsageError, unknown
from labkit.tasks import read_table
from labkit.world.graph import Graph, build_graph
from labkit.world.schema import RELATIONS, Fact
from labkit.world.settings import World

Triple = tuple[str, str, str]  # head, relation, tail
FIELDS = ("head", "relation", "tail")
ENDINGS = (".tsv", ".txt", ".csv", ".jsonl")
PARTS = {"train": ("train",), "valid": ("valid", "dev"), "test": ("test",)}  # split -> names of its file


@dataclass(frozen=True, eq=False)
class KnowledgeGraph:
    """`triples` (n, 3) int64 holds the numbers of head, relation and tail; `types` an entity's kind, where known."""

    entities: tuple[str, ...]
    relations: tuple[str, ...]
    triples: np.ndarray
    types: tuple[str, ...] = ()

    @functools.cached_property
    def _numbers(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self.entities)}

    @functools.cached_property
    def _rows_of(self) -> list[list[int]]:
        """The rows of `triples` that each entity stands in."""
        rows: list[list[int]] = [[] for _ in self.entities]
        for row, (head, _, tail) in enumerate(self.triples.tolist()):
            rows[head].append(row)
            if tail != head:
                rows[tail].append(row)
        return rows

    def number(self, entity: str) -> int:
        """The number of an entity; UsageError, which offers the nearest name, for an unknown one."""
        if entity not in self._numbers:
            raise unknown("entity", entity, self.entities)
        return self._numbers[entity]

    def named(self, triple: Sequence[int]) -> Triple:
        """A triple of numbers as names."""
        head, relation, tail = (int(number) for number in triple)
        return self.entities[head], self.relations[relation], self.entities[tail]

    def rows(self, entity: int) -> list[int]:
        """The rows of `triples` that the entity with this number stands in."""
        return self._rows_of[entity]

    @property
    def degrees(self) -> np.ndarray:
        """In how many triples each entity stands, (entities,)."""
        return np.array([len(rows) for rows in self._rows_of])

    def around(self, entity: str, hops: int = 1) -> Around:
        """What lies within `hops` facts of an entity, and the facts among these; UsageError for an unknown one."""
        start = self.number(entity)
        distance, queue = {start: 0}, deque([start])
        while queue:
            at = queue.popleft()
            for other in self._others(at) if distance[at] < hops else ():
                if other not in distance:
                    distance[other] = distance[at] + 1
                    queue.append(other)
        rows = sorted({row for one in distance for row in self._rows_of[one]})
        ends = self.triples[rows][:, [0, 2]].tolist()
        inside = [row for row, (a, b) in zip(rows, ends, strict=True) if a in distance and b in distance]
        return Around(distance, self.triples[inside])

    def path(self, start: str, end: str) -> list[Triple] | None:
        """The facts of a shortest way between two entities, in order, each as it stands; None where there is none."""
        first, last = self.number(start), self.number(end)
        came: dict[int, tuple[int, int]] = {first: (first, -1)}  # entity -> the one before it, and the row between
        queue = deque([first])
        while queue and last not in came:
            at = queue.popleft()
            for row in self._rows_of[at]:
                other = self._other(row, at)
                if other not in came:
                    came[other] = (at, row)
                    queue.append(other)
        if last not in came:
            return None
        way: list[Triple] = []
        while last != first:
            last, row = came[last]
            way.insert(0, self.named(self.triples[row]))
        return way

    def _other(self, row: int, at: int) -> int:
        """The other end of a triple."""
        head, _, tail = self.triples[row]
        return int(head + tail) - at

    def _others(self, at: int) -> list[int]:
        return [self._other(row, at) for row in self._rows_of[at]]


class Around(NamedTuple):
    """A part of a graph: each entity's distance from the middle, in facts, and the triples among them, (n, 3)."""

    distance: dict[int, int]
    triples: np.ndarray


class Splits(NamedTuple):
    """A graph to learn from, and facts that are held out: `valid` and `test` (n, 3), numbered as the graph's."""

    graph: KnowledgeGraph
    valid: np.ndarray
    test: np.ndarray

    @property
    def true(self) -> np.ndarray:
        """All facts, learned from or held out, (n, 3)."""
        return np.concatenate([self.graph.triples, self.valid, self.test])


def graph_of(
    triples: Iterable[Triple],
    *,
    entities: Sequence[str] | None = None,
    relations: Sequence[str] | None = None,
    types: Sequence[str] = (),
    acyclic: Collection[str] = (),
    where: Sequence[str] | str = "triples",
) -> KnowledgeGraph:
    """The graph of named triples. `entities` and `relations` say what there may be, in what order (default: as met).

    DataError, saying where (a place per triple, or the table's name) and the mend, for a triple that stands twice, an
    unknown entity or relation, an empty name, or a circle in a relation that is said to have none (`acyclic`).
    """
    named = [tuple(triple) for triple in triples]
    places = [f"{where}: row {row}" for row in range(1, len(named) + 1)] if isinstance(where, str) else list(where)
    ends = entities or dict.fromkeys(name for head, _, tail in named for name in (head, tail))
    kinds = relations or dict.fromkeys(relation for _, relation, _ in named)
    known = [{name: number for number, name in enumerate(names)} for names in (ends, kinds, ends)]
    seen: dict[Triple, str] = {}
    for place, triple in zip(places, named, strict=True):
        _check(place, triple, known, seen)
    numbers = np.array([[some[name] for some, name in zip(known, triple, strict=True)] for triple in named], np.int64)
    graph = KnowledgeGraph(tuple(ends), tuple(kinds), numbers.reshape(-1, 3), tuple(types))
    for relation in acyclic:
        _check_circles(graph, relation)
    return graph


def _check(place: str, triple: Triple, known: Sequence[Mapping[str, int]], seen: dict[Triple, str]) -> None:
    """DataError for what a triple cannot be; else note where it stood."""
    for field, name, names in zip(FIELDS, triple, known, strict=True):
        if not name.strip():
            raise DataError(f"{place}: {field} is empty: write a name, or drop the row")
        if name not in names:
            raise DataError(f"{place}: {unknown(field, name, names)}")
    if triple in seen:
        raise DataError(f"{place}: the triple ({', '.join(triple)}) stood at {seen[triple]} before: drop one of them")
    seen[triple] = place


def _check_circles(graph: KnowledgeGraph, relation: str) -> None:
    """DataError, with the way, where a relation leads from an entity back to it."""
    if relation not in graph.relations:
        raise unknown("relation", relation, graph.relations)
    tails: dict[int, set[int]] = {}
    for head, kind, tail in graph.triples.tolist():
        if kind == graph.relations.index(relation):
            tails.setdefault(head, set()).add(tail)
    try:
        TopologicalSorter(tails).prepare()
    except CycleError as error:  # its second argument is the circle, backwards
        way = " → ".join(graph.entities[one] for one in error.args[1][::-1])
        raise DataError(f"{relation!r} must not run in a circle, but does: {way}: drop one of these facts") from error


def read_triples(path: str | Path, columns: Sequence[str] = FIELDS) -> tuple[list[Triple], list[str]]:
    """The triples of a table (.tsv, .csv, tab-separated .txt, .jsonl) and the place of each, "FILE, line N".

    `columns` names them in the table's order. DataError as `read_table`.
    """
    if sorted(columns) != sorted(FIELDS):
        raise UsageError(f"columns must be {', '.join(FIELDS)} in the table's order, not {', '.join(columns)}")
    table = read_table(path, ",".join(f"{name}:str:1" for name in columns))
    return ([(row["head"], row["relation"], row["tail"]) for row in table.rows],
            [f"{path}, line {line}" for line in table.lines])  # fmt: skip


def read_splits(folder: str | Path, columns: Sequence[str] = FIELDS, acyclic: Collection[str] = ()) -> Splits:
    """The files train, valid (or dev) and test of a folder. `columns` and `acyclic`: see `read_triples`, `graph_of`.

    Where the folder has an entity2text or relation2text file (name, tab, text), every name must have its text there.
    DataError for a name without, and whatever `graph_of` refuses, over all three files.
    """
    tables = [read_triples(_file(folder, names), columns) for names in PARTS.values()]
    triples = [triple for rows, _ in tables for triple in rows]
    places = [place for _, some in tables for place in some]
    _check_texts(folder, triples, places)
    graph = graph_of(triples, acyclic=acyclic, where=places)
    cuts = np.cumsum([len(rows) for rows, _ in tables])[:2]
    train, valid, test = np.split(graph.triples, cuts)
    return Splits(KnowledgeGraph(graph.entities, graph.relations, train), valid, test)


def _file(folder: str | Path, names: Sequence[str]) -> Path:
    paths = [Path(folder) / f"{name}{ending}" for name in names for ending in ENDINGS]
    if found := next((path for path in paths if path.is_file()), None):
        return found
    raise UsageError(f"{folder}: there is no {names[0]}{ENDINGS[0]}: put train, valid and test triples there")


def _check_texts(folder: str | Path, triples: Sequence[Triple], places: Sequence[str]) -> None:
    """DataError for the first name without a text, in a folder that has texts."""
    for kind, fields in (("entity", (0, 2)), ("relation", (1,))):
        path = Path(folder) / f"{kind}2text.txt"
        if not path.is_file():
            continue
        rows: list[dict[str, Any]] = read_table(path, "name:str:1,text:str:1", header=False).rows
        told = {row["name"] for row in rows if row["text"].strip()}
        for place, triple in zip(places, triples, strict=True):
            for field in fields:
                if triple[field] not in told:
                    raise DataError(
                        f"{place}: {FIELDS[field]} {triple[field]!r} has no text in {path.name}: add a line for it"
                    )


def world_splits(world: World = World(), language: str = "en") -> Splits:  # noqa: B008  frozen
    """The world's graph: learned from are the facts that texts state; the held out ones are `test`, `valid` is empty.

    Numbers are those of `of_facts`.
    """
    graph = build_graph(world)
    stated, held = (
        of_facts(graph, [fact for fact in graph.facts if fact.held_out == out], language) for out in (False, True)
    )
    return Splits(stated, held.triples[:0], held.triples)


def of_facts(graph: Graph, facts: Iterable[Fact], language: str = "en") -> KnowledgeGraph:
    """Some facts of the world's graph: entities have the numbers of `graph.entities`, relations those of `RELATIONS`.
    """
    numbers = {relation.name: number for number, relation in enumerate(RELATIONS)}
    triples = [(fact.head, numbers[fact.relation], fact.tail) for fact in facts]
    names, types = zip(*((one.name[language], one.type) for one in graph.entities), strict=True)
    return KnowledgeGraph(names, tuple(numbers), np.array(triples, np.int64).reshape(-1, 3), types)


def composed(splits: Splits, first: str, second: str, name: str, share: float = 0.2, seed: int = 0) -> Splits:
    """The splits with one more relation, which two stated facts make: h is `name` of t, where h `first` x `second` t.

    Of these facts a `share` is held out: it joins `test`, the rest the graph.
    """
    graph = splits.graph
    kinds = [graph.relations.index(one) for one in (first, second)]
    own, then = (graph.triples[graph.triples[:, 1] == kind] for kind in kinds)
    ends = {head: tail for head, _, tail in then.tolist()}
    made = [(head, len(graph.relations), ends[tail]) for head, _, tail in own.tolist() if tail in ends]
    facts = np.random.default_rng(seed).permutation(np.array(made, np.int64).reshape(-1, 3))
    held, told = np.split(facts, [round(share * len(facts))])
    more = KnowledgeGraph(graph.entities, (*graph.relations, name), np.concatenate([graph.triples, told]), graph.types)
    return Splits(more, splits.valid, np.concatenate([splits.test, held]))
