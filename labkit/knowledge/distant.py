"""Distant supervision (Mintz et al. 2009): a text that names both ends of a fact is taken to state it, often wrongly.

Each text states two facts. A part of the texts is built around a third one, and each fact is about one end of it: "leo
bauer designed the lamp , and wood bank is based in old sun", where old sun is his birthplace. The world knows what a
text states, so that labels can be judged here, which nobody can on text that was found.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from labkit.knowledge.graph import KnowledgeGraph
from labkit.knowledge.linking import Linker
from labkit.world.extraction import tokens_of
from labkit.world.matching import Matcher
from labkit.world.schema import BY_NAME, Fact
from labkit.world.settings import World, lexicon, randomness

Numbers = tuple[int, int, int]
HEAD, TAIL, OTHER = "[HEAD]", "[TAIL]", "[NAME]"


@dataclass(frozen=True)
class Text:
    """Tokens, and for the judge alone the facts that they state, by numbers: symmetric ones both ways."""

    tokens: tuple[str, ...]
    stated: frozenset[Numbers]


@dataclass(frozen=True)
class Label:
    """A fact that a text is taken to state: the text's tokens with marks for names, and whether it truly does."""

    fact: Numbers
    tokens: tuple[str, ...]
    true: bool


def texts(world: World, language: str, count: int, noise: float = 0.3, seed: int = 0) -> Iterator[Text]:
    """`count` texts of two facts about four entities; of `noise` of them each fact is about one end of a third fact."""
    teller = Matcher(world, language, randomness(world, "distant", language, seed))
    while count:
        told = [teller.graph.sample_fact(teller.rng) for _ in range(2)]
        if teller.rng.random() < noise:
            told = [_about(teller, end, told[0]) for end in (told[0].head, told[0].tail)]
        if len({end for fact in told for end in (fact.head, fact.tail)}) == 4:
            count -= 1
            bare = teller.rng.choice(lexicon("extraction", language)["two"]).format(*map(teller.say, told))
            yield Text(tuple(tokens_of(teller.sentence(bare), language)), frozenset(_numbers(told)))


def _about(teller: Matcher, end: int, fact: Fact) -> Fact:
    """Another stated fact about one end of a fact; the fact itself where there is none."""
    return teller.rng.choice([other for other in teller.graph.facts_of(end) if other is not fact] or [fact])


def _numbers(facts: Iterable[Fact]) -> Iterator[Numbers]:
    numbers = {name: number for number, name in enumerate(BY_NAME)}
    for fact in facts:
        yield fact.head, numbers[fact.relation], fact.tail
        if BY_NAME[fact.relation].symmetric:
            yield fact.tail, numbers[fact.relation], fact.head


def short_names(graph: KnowledgeGraph) -> dict[str, list[int]]:
    """The first word of each name, with the entities whose names begin with it."""
    names: dict[str, list[int]] = {}
    for number, name in enumerate(graph.entities):
        names.setdefault(name.split()[0], []).append(number)
    return names


def distant_labels(entities: Collection[int], facts: Iterable[Numbers]) -> set[Numbers]:
    """The facts (head, relation, tail) of which both ends are among `entities`."""
    return {fact for fact in facts if fact[0] in entities and fact[2] in entities}


def labelled(
    found: Iterable[Text],
    linker: Linker,
    rule: Callable[[Collection[int], Iterable[Numbers]], Iterable[Numbers]] = distant_labels,
) -> tuple[list[Label], list[Label]]:
    """Labels of texts: those that the graph gives, and those that it does not, of pairs whose types a relation has.

    `rule` gets the entities of a text and all facts about them. The second are the negative examples of a relation.
    """
    graph, given, other = linker.graph, [], []
    kinds = _kinds(graph)
    for text in found:
        linked = linker.link(text.tokens)
        at = {entity: mention for mention, entity in linked}
        facts = {tuple(graph.triples[row].tolist()) for entity in at for row in graph.rows(entity)}
        own = {tuple(fact) for fact in rule(at.keys(), facts)}
        for head, tail in itertools.permutations(at, 2):
            for relation in kinds.get((graph.types[head], graph.types[tail]), ()):
                fact = (head, relation, tail)
                shown = _marked(text.tokens, [(mention, HEAD if one == head else TAIL if one == tail else OTHER)
                                              for mention, one in linked])  # fmt: skip
                (given if fact in own else other).append(Label(fact, shown, fact in text.stated))
    return given, other


def _kinds(graph: KnowledgeGraph) -> dict[tuple[str, str], list[int]]:
    """The relations that the graph has between two types."""
    kinds: dict[tuple[str, str], list[int]] = {}
    for head, relation, tail in sorted({(graph.types[h], r, graph.types[t]) for h, r, t in graph.triples.tolist()}):
        kinds.setdefault((head, tail), []).append(relation)
    return kinds


def _marked(tokens: Sequence[str], mentions: Iterable[tuple[Any, str]]) -> tuple[str, ...]:
    """The tokens with each mention replaced by its mark."""
    made, at = [], 0
    for mention, mark in mentions:
        made += [*tokens[at : mention.start], mark]
        at = mention.end
    return (*made, *tokens[at:])


def judged(kept: Sequence[Label], given: Sequence[Label]) -> dict[str, float]:
    """Precision, recall and F1 of the labels that are kept, out of those that the graph gave."""
    right, all_right = sum(one.true for one in kept), sum(one.true for one in given)
    precision, recall = right / max(1, len(kept)), right / max(1, all_right)
    return {"precision": precision, "recall": recall, "f1": 2 * right / max(1, len(kept) + all_right)}
