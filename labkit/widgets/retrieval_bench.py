"""A query typed once and answered by several retrievers side by side, with the terms that decided.

A retriever that works with terms says which ones the query and the passage share and what each adds to the score; one
that works with vectors has a cosine and nothing to show for it. Where the query is one of those that are given, the
passages that answer it are marked.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ipywidgets import Combobox, IntSlider

from labkit.errors import LabkitError, UsageError
from labkit.widgets import boxes
from labkit.widgets.shown import Explorer, Picture, Shown, bounded, look

MOST = 10  # passages a retriever
RIGHT = "#009E73"


class Retriever(Protocol):
    """What finds passages: BM25's `Inverted`, a `DenseIndex`, a `SparTermIndex`. One with `fired` names its terms."""

    def search(self, query: str, k: int = 10) -> tuple[Sequence[int], Sequence[float]]:
        """The k best passages and their scores."""


@dataclass(frozen=True)
class Hit:
    """A passage that was found, its score, and what each shared term adds to it; whether it answers, where known."""

    passage: int
    score: float
    terms: Mapping[str, float]
    right: bool | None


@dataclass(frozen=True)
class View:
    """A query, the hits of each retriever or why it has none, and the texts of the passages."""

    query: str
    hits: Mapping[str, Sequence[Hit] | str]
    texts: Mapping[int, str]


def compute(
    retrievers: Mapping[str, Retriever], passages: Sequence[str], query: str, count: int = 3,
    answers: Collection[int] | None = None,
) -> View:  # fmt: skip
    """Ask every retriever; what one cannot answer is told in its place. UsageError where none can."""
    hits: dict[str, Sequence[Hit] | str] = {}
    for name, retriever in retrievers.items():
        try:
            found, scores = retriever.search(query, count)
        except LabkitError as error:
            hits[name] = str(error)
            continue
        fired = getattr(retriever, "fired", lambda *_: {})
        hits[name] = [
            Hit(int(one), float(score), fired(query, int(one)), None if answers is None else int(one) in answers)
            for one, score in zip(found, scores, strict=True)
        ]
    if all(isinstance(one, str) for one in hits.values()):
        raise UsageError(next(iter(hits.values()), "no retriever to ask: give at least one"))
    used = {hit.passage for some in hits.values() if not isinstance(some, str) for hit in some}
    return View(query, hits, {one: passages[one] for one in sorted(used)})


def draw(view: View) -> Picture:
    """The retrievers beside one another, and below them the alternative text's source: the same in words."""
    columns = [boxes.heading(name) + _column(view, some) for name, some in view.hits.items()]
    return Picture(boxes.frame(boxes.side_by_side(*columns)), _alt(view))


def _column(view: View, hits: Sequence[Hit] | str) -> str:
    if isinstance(hits, str):
        return boxes.alert(hits)
    return "".join(_hit(place, hit, view.texts[hit.passage]) for place, hit in enumerate(hits, start=1))


def _hit(place: int, hit: Hit, text: str) -> str:
    mark = {True: f'<b style="color:{RIGHT}">✓ answers</b>', False: "✗", None: ""}[hit.right]
    terms = "".join(boxes.chip(f"{term} {adds:.1f}") for term, adds in list(hit.terms.items())[:8])
    style = "width:300px;margin-bottom:8px;white-space:normal"
    return (
        f'<div style="{style}"><b>{place}</b> · score {hit.score:.2f} {mark}<br>{boxes.escape(text)}<br>'
        f"{terms or '<i>a cosine: no terms to show</i>'}</div>"
    )


def _alt(view: View) -> str:
    parts = []
    for name, hits in view.hits.items():
        if isinstance(hits, str):
            parts.append(f"{name}: {hits}")
            continue
        said = []
        for place, hit in enumerate(hits, start=1):
            right = {True: ", answers", False: ", does not answer", None: ""}[hit.right]
            terms = ", ".join(f"{term} {adds:.1f}" for term, adds in list(hit.terms.items())[:8])
            said.append(f"{place}. “{view.texts[hit.passage]}” ({hit.score:.2f}{right}{f'; {terms}' if terms else ''})")
        parts.append(f"{name}: {' '.join(said)}")
    return f"What is found for “{view.query}”. " + " | ".join(parts)


def retrieval_bench(
    retrievers: Mapping[str, Retriever], passages: Sequence[str], queries: Sequence[Mapping[str, Any]]
) -> Shown:
    """A widget that asks each of `retrievers` (name → it) what is typed, or picked from `queries` `{text, answers}`.

    UsageError where the first query finds nothing.
    """
    known = {row["text"]: row["answers"] for row in queries}

    def picture(query: str, count: int) -> Picture:
        return draw(compute(retrievers, passages, bounded(query, "query", 200), count, known.get(query)))

    return Explorer(
        picture,
        query=Combobox(
            value=queries[0]["text"],
            options=list(known),
            description="query",
            ensure_option=False,
            continuous_update=False,
            **look(45, 480),
        ),  # fmt: skip
        count=IntSlider(3, min=1, max=MOST, description="passages", continuous_update=False, **look(65, 260)),
    )
