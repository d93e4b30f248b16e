"""Names and relations in text: entity tags, the relation between two marked names, sentences for triples.

Names share their parts across types ("falcon bank", "falcon gout", "wild falcon"), and the relation task marks one of
several pairs of names in a text, so that neither a list of words nor the types of the names are enough.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from typing import Any

from labkit.world.examples import SPLITS, WITH_UNLABELLED, Row, behind, collect, cut, finish_task, kept
from labkit.world.matching import Matcher
from labkit.world.names import TYPES
from labkit.world.schema import Fact
from labkit.world.settings import World, lexicon, randomness

TAGS = ("O", *(f"{place}-{kind}" for kind in TYPES for place in "BI"))
NO_RELATION = "no_relation"
# Twelve relations that come in pairs and triples between the same two types, and none.
KINDS = (
    "born_in", "lives_in", "mayor", "works_for", "founded_by", "owns", "designed_by", "directed_by", "stars",
    "located_in", "capital", "treated_by", NO_RELATION,
)  # fmt: skip
PLAIN = 0.3  # share of sentences of the tagging task that state no fact


def tokens_of(text: str, language: str) -> list[str]:
    """Tokens for tagging: words in English, characters in Chinese."""
    return text.split() if language == "en" else list(text)


def mark(text: str, names: dict[str, str], language: str) -> tuple[list[str], list[int]]:
    """Tokens and IOB tag indices; `names` maps each name in the text to its type.

    >>> mark("anna reed lives here .", {"anna reed": "person"}, "en")[1]
    [1, 2, 0, 0, 0]
    """
    tokens = tokens_of(text, language)
    tags = [0] * len(tokens)
    for name, kind in names.items():
        parts = tokens_of(name, language)
        inside = 2 * TYPES.index(kind) + 2
        for start in range(len(tokens) - len(parts) + 1):
            if tokens[start : start + len(parts)] == parts and not any(tags[start : start + len(parts)]):
                tags[start : start + len(parts)] = [inside - 1] + [inside] * (len(parts) - 1)
    return tokens, tags


def ner_rows(world: World, language: str, count: int, rng: random.Random) -> list[Row]:
    """Rows `{text, tokens, tags, label: None}`; `tags` are indices into `TAGS`. Half the facts ignore Zipf."""
    matcher = Matcher(world, language, rng)

    def one(_: int) -> Row:
        if rng.random() < PLAIN:
            words, entity = lexicon("extraction", language), rng.choice(matcher.graph.entities)
            told = rng.choice(words["plain"]).format(x=entity.name[language], day=rng.choice(words["days"]))
            ends = [entity.id]
        else:
            facts = [
                matcher.graph.sample_fact(rng) if rng.random() < 0.5 else rng.choice(matcher.graph.stated)
                for _ in range(rng.randint(1, 2))
            ]
            told, ends = _together(matcher, facts), [end for fact in facts for end in (fact.head, fact.tail)]
        text = matcher.sentence(told)
        tokens, tags = mark(text, {matcher.name(end): matcher.graph.entities[end].type for end in ends}, language)
        return {"text": text, "tokens": tokens, "tags": tags, "label": None}

    return collect(count, one, ("text",))


def _together(matcher: Matcher, facts: list[Fact]) -> str:
    said = [matcher.say(fact) for fact in facts]
    return (
        said[0] if len(said) == 1 else matcher.rng.choice(lexicon("extraction", matcher.language)["two"]).format(*said)
    )


def relation_rows(world: World, language: str, count: int, rng: random.Random) -> list[Row]:
    """Rows `{text, label, head, tail, relation}`: the head is marked "@ … @", the tail "# … #".

    The marks are the "entity marker (punct)" of Zhou & Chen (2022, arXiv 2102.01373). `relation` is the true one;
    `label` may be another with probability `label_noise / 2`, as distant supervision errs.
    """
    matcher, noise = Matcher(world, language, rng), world.label_noise / 2
    kinds = [kind for kind in KINDS if kind == NO_RELATION or kind in matcher.graph.relations_in_text()]

    def one(number: int) -> Row | None:
        label = KINDS.index(kinds[number % len(kinds)])
        true = KINDS[behind(label, len(KINDS), noise, rng)]
        made = _marked(matcher, true) if true in kinds else None
        if made is None:
            return None
        text, head, tail = made
        return {"text": text, "label": label, "head": matcher.name(head), "tail": matcher.name(tail), "relation": true}

    return collect(count, one, ("text",))


def _marked(matcher: Matcher, relation: str) -> tuple[str, int, int] | None:
    """Two facts with the names of one marked, or of neither where there is no relation."""
    rng, graph = matcher.rng, matcher.graph
    first = graph.sample_fact(
        rng, [kind for kind in KINDS if kind != NO_RELATION] if relation == NO_RELATION else [relation]
    )
    second = _beside(matcher, first)
    if second is None:
        return None
    head, tail = first.head, first.tail
    if relation == NO_RELATION:
        head, tail = rng.choice(((first.head, second.tail), (second.head, first.tail)))
        if head == tail or {head, tail} in ({first.head, first.tail}, {second.head, second.tail}):
            return None
    told = [first, second]
    rng.shuffle(told)
    text = matcher.sentence(_together(matcher, told))
    words = lexicon("extraction", matcher.language)
    for end, form in ((head, words["head"]), (tail, words["tail"])):
        text = text.replace(matcher.name(end), form.format(matcher.name(end)), 1)
    return text, head, tail


def _beside(matcher: Matcher, fact: Fact) -> Fact | None:
    """Another fact to stand beside one: often of the same head or relation, never about both of its entities."""
    near = (
        matcher.aside(fact) if matcher.rng.random() < 0.5 else matcher.graph.sample_fact(matcher.rng, [fact.relation])
    )
    return near if near and {near.head, near.tail} != {fact.head, fact.tail} else None


def triple_rows(world: World, language: str, count: int, rng: random.Random) -> list[Row]:
    """Rows `{text, triples, target, references, label: None}`, one to three triples about one thing (WebNLG's shape).

    `text` holds the triples in one line, `target` says them in this order, `references` are it and up to two more.
    """
    matcher, words = Matcher(world, language, rng), lexicon("extraction", language)

    def one(_: int) -> Row | None:
        entity = matcher.graph.sample_entity(rng).id
        if not matcher.graph.facts_of(entity):
            return None
        facts = matcher.about(entity, 1, 3)
        triples = [matcher.triple(fact) for fact in facts]
        text = words["separator"].join(words["slot"].join(triple) for triple in triples)
        told = [matcher.text([matcher.say(fact) for fact in facts]) for _ in range(6)]
        references = list(dict.fromkeys(told))[:3]
        return {"text": text, "triples": triples, "target": told[0], "references": references, "label": None}

    return collect(count, one, ("text",))


def ner(world: World, language: str) -> dict[str, Any]:
    """CoNLL's shape: which tokens name which type. Score whole entities (`seqeval`); chance: all O, by tokens."""
    rows = ner_rows(world, language, sum(SPLITS.values()), randomness(world, "task", "ner", language))
    note = "ceiling 1: names are unique, so a reader who knows them all errs nowhere; score entities, not tokens"
    tags = [tag for row in cut(rows, SPLITS)["test"] for tag in row["tags"]]
    outside = tags.count(0) / len(tags)
    chance = 2 * outside / (1 + outside) / len(TAGS)
    return finish_task(rows, TAGS, SPLITS, note=note, language=language, metric="macro_f1", chance=chance)


def relations(world: World, language: str) -> dict[str, Any]:
    """TACRED's shape: which relation holds between the two marked names?"""
    count = sum(WITH_UNLABELLED.values())
    rows = relation_rows(world, language, count, randomness(world, "task", "relations", language))
    note = f"a label is wrong with probability {world.label_noise / 2:g}, as in distant supervision; no other ambiguity"
    return finish_task(rows, KINDS, note=note, language=language, ceiling=kept(len(KINDS), world.label_noise / 2))


def data_to_text(world: World, language: str) -> dict[str, Any]:
    """WebNLG's shape: write sentences for triples. No labels; compare with `references`."""
    rows = triple_rows(world, language, sum(SPLITS.values()), randomness(world, "task", "data_to_text", language))
    note = "no ceiling: generation, scored against `references` (BLEU, ROUGE)"
    return {"fields": ("text",), "labels": ("text",), "splits": cut(rows, SPLITS), "language": language, "note": note}


TASKS: dict[str, Callable[[World], dict[str, Any]]] = {
    f"{name}{'-zh' if language == 'zh' else ''}": partial(make, language=language)
    for name, make in {"ner": ner, "relations": relations, "data_to_text": data_to_text}.items()
    for language in ("en", "zh")
}
