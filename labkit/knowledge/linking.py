"""Entities in text: a dictionary finds the places that may name one, the graph says which one is meant.

A name may belong to several entities, as "falcon" to a bank, a medicine and a device. Of these the one is taken that
shares most facts with the entities which the text names beyond doubt, and among equals the most frequent one.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from labkit.errors import DataError, UsageError
from labkit.knowledge.graph import KnowledgeGraph
from labkit.world.extraction import tokens_of

T = TypeVar("T")


def longest_first(tokens: Sequence[Any], names: Mapping[tuple[Any, ...], T]) -> list[tuple[int, int, T]]:
    """(first token, the one after the last, what `names` has) for each name in a text, from left to right, none inside
    another; of names that begin at one place the longest is taken.
    """
    tokens, longest, found, at = tuple(tokens), max(map(len, names), default=0), [], 0
    while at < len(tokens):
        ends = range(min(at + longest, len(tokens)), at, -1)
        stop = next((end for end in ends if tokens[at:end] in names), None)
        if stop is not None:
            found.append((at, stop, names[tokens[at:stop]]))
        at = stop or at + 1
    return found


@dataclass(frozen=True)
class Mention:
    """Tokens `start` to `end` (not included) of a text that name one of the entities `candidates`."""

    start: int
    end: int
    candidates: tuple[int, ...]


def disjoint(mentions: Iterable[Mention], where: str = "text") -> list[Mention]:
    """The mentions from left to right; DataError for one that is empty or overlaps another."""
    found = sorted(mentions, key=lambda one: (one.start, one.end))
    for one in found:
        if one.start >= one.end or not one.candidates:
            raise DataError(f"{where}: a mention of tokens {one.start} to {one.end} names nothing: drop it")
    for one, other in itertools.pairwise(found):
        if other.start < one.end:
            places = f"{one.start}–{one.end} and {other.start}–{other.end}"
            raise DataError(f"{where}: the mentions of tokens {places} overlap: keep one of them")
    return found


class Linker:
    """Finds and links mentions. `names` maps a name to the entities that may bear it, `weights` (entities,) their
    frequencies.
    """

    def __init__(
        self, graph: KnowledgeGraph, names: Mapping[str, Sequence[int]], weights: Sequence[float], language: str = "en"
    ) -> None:
        if not names:
            raise UsageError("no names to look for: give a dictionary of them")
        self.graph, self.weights, self.language = graph, weights, language
        self.names = {tuple(tokens_of(name, language)): tuple(some) for name, some in names.items()}
        self.near: dict[int, set[int]] = {}
        for head, _, tail in graph.triples.tolist():
            self.near.setdefault(head, set()).add(tail)
            self.near.setdefault(tail, set()).add(head)

    def mentions(self, tokens: Sequence[str]) -> list[Mention]:
        """The longest name at each place, from left to right, so that no two overlap."""
        return [Mention(*one) for one in longest_first(tokens, self.names)]

    def link(self, tokens: Sequence[str], mentions: Sequence[Mention] | None = None) -> list[tuple[Mention, int]]:
        """Each mention with its entity; `mentions` are found where none are given, and DataError where some overlap."""
        given = self.mentions(tokens) if mentions is None else disjoint(mentions)
        sure = {one.candidates[0] for one in given if len(one.candidates) == 1}
        return [(one, max(one.candidates, key=lambda it: (len(self.near.get(it, set()) & sure), self.weights[it])))
                for one in given]  # fmt: skip
