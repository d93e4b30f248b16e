"""Questions, passages that answer them or not, and a collection of pages to search.

A passage always holds the asked relation of some other thing and other relations of the asked thing, so that an answer
must match both. A page answers a query only where it states the fact: the judgements follow from the facts it was
written from.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from labkit.world.examples import SPLITS, Row, collect, finish_task
from labkit.world.matching import Matcher
from labkit.world.schema import BY_NAME, Fact
from labkit.world.settings import World, join, lexicon, randomness

PASSAGE = (3, 6)  # sentences
PAGE = (2, 4)
PAGES, QUERIES = 2000, 1750


def question(matcher: Matcher, answerable: bool) -> tuple[Fact, list[Fact]] | None:
    """A fact to ask for, and those of a passage that states it or does not; None where it has too few neighbours."""
    graph, rng = matcher.graph, matcher.rng
    fact = graph.sample_fact(rng, matcher.functional_relations())
    about = [one for one in graph.facts_of(fact.head) if fact.tail not in (one.head, one.tail)]
    alike = [graph.sample_fact(rng, [fact.relation]) for _ in range(2)]
    alike = [one for one in alike if not {fact.head, fact.tail} & {one.head, one.tail}]
    if not about or not alike:
        return None
    first = [rng.choice(about), alike[0], *([fact] if answerable else [])]
    more = [one for one in dict.fromkeys((*about, *alike)) if one not in first]
    wanted = max(0, rng.randint(*PASSAGE) - len(first))
    facts = first + rng.sample(more, min(len(more), wanted))
    rng.shuffle(facts)
    return (fact, facts) if len(facts) >= PASSAGE[0] else None


def reading_rows(world: World, language: str, count: int, rng: random.Random) -> list[Row]:
    """Rows `{text, question, label, answer, answer_start}`; unanswerable ones hold "" and -1.

    `text[answer_start:][:len(answer)] == answer`, inside the sentence that states the fact.
    """
    matcher = Matcher(world, language, rng)

    def one(number: int) -> Row | None:
        made = question(matcher, number % 2 == 0)
        if made is None:
            return None
        fact, facts = made
        text, answer, start = "", "", -1
        for told in facts:
            said = matcher.say(told)
            text = join([text, ""], language) if text else text
            if told == fact:
                answer = matcher.name(fact.tail)
                start = len(text) + said.index(answer)
            text += matcher.sentence(said)
        asked = {"text": text, "question": matcher.ask(fact)}
        return asked | {"label": number % 2, "answer": answer, "answer_start": start}

    return collect(count, one, ("text", "question"))


def collection(world: World, language: str, pages: int = PAGES, queries: int = QUERIES) -> tuple[list[Row], list[Row]]:
    """Short pages on frequent and rare things, `{text, facts}`, and queries that some of them answer, `{text, fact,
    answers}`: the fact that is asked for, and the pages that state it, by index.

    Queries are worded otherwise than pages; several pages speak of a frequent thing, few of them answer.
    """
    matcher = Matcher(world, language, randomness(world, "pages", language))

    def page(_: int) -> Row | None:
        entity = matcher.graph.sample_entity(matcher.rng).id
        facts = matcher.about(entity, *PAGE) if matcher.graph.facts_of(entity) else []
        return {"text": matcher.text([matcher.say(fact) for fact in facts]), "facts": facts} if facts else None

    written = collect(pages, page, ("text",))
    where: dict[Fact, dict[int, None]] = {}
    for number, one in enumerate(written):
        for fact in one["facts"]:
            for same in _both_ways(fact):
                where.setdefault(same, {})[number] = None
    asked = [fact for fact in where if fact.relation in matcher.functional_relations()]
    matcher.rng.shuffle(asked)

    def query(number: int) -> Row:
        fact = asked[number % len(asked)]
        return {"text": matcher.ask(fact), "fact": fact, "answers": list(where[fact])}

    return written, collect(queries, query, ("text",))


def _both_ways(fact: Fact) -> tuple[Fact, ...]:
    """The fact, and where its relation is symmetric also its other direction: a page that states one states both."""
    turned = Fact(fact.tail, fact.relation, fact.head)
    return (fact, turned) if BY_NAME[fact.relation].symmetric else (fact,)


def retrieval_rows(pages: list[Row], queries: list[Row], rng: random.Random) -> list[Row]:
    """Two rows a query, `{text_a: query, text_b: page, label, query, page}`: a page that answers it, one that does not.

    The page that does not answer speaks of the asked thing where there is one, else of the asked relation.
    """
    near: dict[int | str, list[int]] = {}
    for number, page in enumerate(pages):
        for key in dict.fromkeys(key for one in page["facts"] for key in (one.head, one.tail, one.relation)):
            near.setdefault(key, []).append(number)
    rows = []
    for number, query in enumerate(queries):
        pools = [near[query["fact"].head], near[query["fact"].relation], range(len(pages))]
        order = rng.choice(((0, 1, 2), (0, 1, 2), (1, 0, 2)))
        wrong = [[page for page in pools[at] if page not in query["answers"]] for at in order]
        chosen = rng.choice(query["answers"]), rng.choice(next(pool for pool in wrong if pool))
        for label, page in zip((1, 0), chosen, strict=True):
            texts = {"text_a": query["text"], "text_b": pages[page]["text"]}
            rows.append({**texts, "label": label, "query": number, "page": page})
    return rows


def reading(world: World, language: str) -> dict[str, Any]:
    """SQuAD 2's shape: is the question answered by the passage, and by which words of it?"""
    count = sum(SPLITS.values())
    rows = reading_rows(world, language, count, randomness(world, "task", "reading", language))
    return _task(
        rows, ("text", "question"), ("answerable", "unanswerable"), language,
        {"en": "{text} {question} this is {mask} .", "zh": "{text}{question}文中{mask}答案。"}[language],
        "ceiling 1: the passage states the fact or it does not; the span is in `answer` and `answer_start`",
    )  # fmt: skip


def retrieval(world: World, language: str) -> dict[str, Any]:
    """Does the page answer the query? The pages and judgements of `collection`, as pairs."""
    rows = retrieval_rows(*collection(world, language), randomness(world, "task", "retrieval", language))
    return _task(
        rows, ("text_a", "text_b"), ("irrelevant", "relevant"), language,
        {"en": "{text_a} {text_b} this page is {mask} .", "zh": "{text_a}{text_b}这一页{mask}用。"}[language],
        "ceiling 1: a page states the fact or it does not; no query stands in two splits",
    )  # fmt: skip


def _task(
    rows: list[Row], fields: tuple[str, ...], labels: tuple[str, ...], language: str, pattern: str, note: str
) -> dict[str, Any]:
    words = {label: tuple(lexicon("reading", language)[label]) for label in labels}
    return finish_task(
        rows, labels, SPLITS, note=note, fields=fields, language=language, patterns=(pattern,), words=words
    )


TASKS: dict[str, Callable[[World], dict[str, Any]]] = {
    "reading": lambda world: reading(world, "en"),
    "reading-zh": lambda world: reading(world, "zh"),
    "retrieval": lambda world: retrieval(world, "en"),
    "retrieval-zh": lambda world: retrieval(world, "zh"),
}
