"""What retrieval is tried on: passages, queries and which passages answer them.

The world's pages speak of one thing each, in two to four sentences; a query asks for one fact. Its words are often not
those of the page ("where has anna settled ?" - "anna is a resident of …"): the name of the thing is in both, but no
other word that says anything. Such a query is marked `mismatch`.

As in real collections (Nguyen et al. 2016, *MS MARCO*), a query of the training split names *one* page that answers it,
`positive`, though others may too. The judgements of all of them, `answers`, are for scoring.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from labkit.errors import DataError
from labkit.knowledge.lexical import terms
from labkit.world.facts import Teller
from labkit.world.reading import collection
from labkit.world.settings import World, randomness

TEST = 400  # queries, each of a fact of its own
ASKED = 4000  # queries in all
FUNCTION = {
    "en": set(terms("the a an of is are was were in to by for has have its it which what who where whom does do did")),
    "zh": set(terms("的是在了哪个里什么谁为何由和有")),
}

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Collection:
    """Texts of passages; queries `{text, answers}` by split, `answers` being passages by their place."""

    passages: list[str]
    splits: dict[str, list[dict[str, Any]]]


@functools.lru_cache(maxsize=4)
def world_passages(language: str = "en", pages: int = 2000, queries: int = ASKED) -> Collection:
    """The world's pages and queries `{text, positive, answers, mismatch}`: "test", TEST facts, and "train", the others.

    A fact that is asked for in the test split is asked for in no other.
    """
    world = World()
    told, asked = collection(world, language, pages, queries)
    rng, teller = randomness(world, "retrieval", language), Teller(world, language, random.Random(0))
    facts = list(dict.fromkeys(query["fact"] for query in asked))
    waiting = set(rng.sample(facts, min(TEST, len(facts) // 5)))
    held, splits = frozenset(waiting), {"train": [], "test": []}
    for query in asked:
        said = set(terms(query["text"])) - set(terms(teller.name(query["fact"].head))) - FUNCTION[language]
        mismatch = all(said.isdisjoint(terms(told[page]["text"])) for page in query["answers"])
        row = {"text": query["text"], "positive": rng.choice(query["answers"]), "answers": query["answers"]}
        if query["fact"] not in held:
            splits["train"].append({**row, "mismatch": mismatch})
        elif query["fact"] in waiting:  # its first wording
            waiting.remove(query["fact"])
            splits["test"].append({**row, "mismatch": mismatch})
    return Collection([page["text"] for page in told], splits)


def judged(passages: Sequence[Row], queries: Sequence[Row], judgements: Sequence[Row]) -> Collection:
    """A collection of rows `{id, text}`, `{id, text}` and `{query, passage, grade}`.

    `answers` maps places of passages to their grades; queries without one are left out. Raises DataError naming the row
    for an id that stands twice or is unknown, a text that is none, and where no query has an answer.
    """
    places, texts = _numbered("passage", passages), [row["text"] for row in passages]
    answers: dict[Any, dict[int, float]] = {one: {} for one in _numbered("query", queries)}
    for number, row in enumerate(judgements, start=1):
        for field, known in (("query", answers), ("passage", places)):
            if row.get(field) not in known:
                raise DataError(
                    f"judgement {number}: there is no {field} {row.get(field)!r:.60}: give it, or leave the row out"
                )
        if row.get("grade", 1) > 0:
            answers[row["query"]][places[row["passage"]]] = row.get("grade", 1)
    rows = [{"text": row["text"], "answers": answers[row["id"]]} for row in queries if answers[row["id"]]]
    if not rows:
        raise DataError("no query has a passage that answers it: judge at least one")
    return Collection(texts, {"test": rows})


def of_pairs(rows: Sequence[Row], query: str, passage: str, label: str = "label") -> Collection:
    """A collection of rows that judge one passage for one query, as TREC-QA's: label 1 where it answers, else 0.

    A query has also `candidates`, the passages it was judged with. Equal texts are one. Errors as `judged`.
    """
    passages, queries = (dict.fromkeys(row[field] for row in rows) for field in (passage, query))
    texts, asked = ([{"id": one, "text": one} for one in some] for some in (passages, queries))
    judgements = [{"query": row[query], "passage": row[passage], "grade": int(row[label])} for row in rows]
    found = judged(texts, asked, judgements)
    places = {text: place for place, text in enumerate(found.passages)}
    candidates: dict[str, dict[int, None]] = {}
    for row in rows:
        candidates.setdefault(row[query], {})[places[row[passage]]] = None
    return Collection(
        found.passages, {"test": [{**row, "candidates": list(candidates[row["text"]])} for row in found.splits["test"]]}
    )


def _numbered(kind: str, rows: Sequence[Row]) -> dict[Any, int]:
    """The place of each id; every row has a text and an id of its own."""
    places: dict[Any, int] = {}
    for number, row in enumerate(rows, start=1):
        if not isinstance(row.get("text"), str) or not row["text"].strip():
            raise DataError(f"{kind} {number}: its text must be words, not {row.get('text')!r:.60}")
        if row.get("id") is None or row["id"] in places:
            why = (
                "has no id"
                if row.get("id") is None
                else f"has the id {row['id']!r:.60} of {kind} {places[row['id']] + 1}"
            )
            raise DataError(f"{kind} {number} {why}: give each {kind} one of its own")
        places[row["id"]] = number - 1
    return places
