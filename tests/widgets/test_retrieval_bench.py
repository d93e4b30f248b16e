"""The bench shows what the retrievers find, which terms decided, and what cannot be answered."""

from __future__ import annotations

import numpy as np
import pytest

from labkit.errors import UsageError
from labkit.knowledge.lexical import bm25
from labkit.widgets import retrieval_bench
from labkit.widgets.retrieval_bench import compute, draw

PASSAGES = ["old ocean lies in norland", "colin irving governs old ocean", "lemon buns & <b>tea</b>"]
QUERIES = [{"text": "who governs old ocean ?", "answers": [1]}, {"text": "lemon", "answers": [2]}]


class Cosines:
    """A retriever without terms, which finds the same for every query of words."""

    def search(self, query, k=10):
        if not query.strip():
            raise UsageError("the query is empty")
        return np.array([2, 0])[:k], np.array([0.9, 0.1])[:k]


def bench():
    return {"BM25": bm25(PASSAGES), "dense": Cosines()}


def test_each_retrievers_passages_with_scores_terms_and_whether_they_answer():
    index = bm25(PASSAGES)
    view = compute(bench(), PASSAGES, QUERIES[0]["text"], 2, [1])
    first, second = view.hits["BM25"]
    assert (first.passage, first.right, second.passage, second.right) == (1, True, 0, False)
    assert first.terms == index.fired(view.query, 1) and first.score == pytest.approx(sum(first.terms.values()))
    assert [hit.passage for hit in view.hits["dense"]] == [2, 0] and not view.hits["dense"][0].terms
    assert view.texts == {one: PASSAGES[one] for one in (0, 1, 2)}


def test_the_picture_says_it_in_words_and_shows_markup_as_text():
    picture = draw(compute(bench(), PASSAGES, "lemon", 1, None))
    assert "BM25: 1. “lemon buns & <b>tea</b>”" in repr(picture) and "lemon 0" in repr(picture)
    assert "<b>tea" not in picture.html and "&lt;b&gt;tea" in picture.html and "no terms to show" in picture.html


def test_what_one_cannot_answer_is_told_beside_the_other():
    view = compute(bench(), PASSAGES, "zebra", 1)
    assert "no passage holds a word" in view.hits["BM25"] and view.hits["dense"][0].passage == 2
    with pytest.raises(UsageError, match="the query is empty"):
        compute(bench(), PASSAGES, " ")
    with pytest.raises(UsageError, match="no retriever to ask"):
        compute({}, PASSAGES, "lemon")


def test_controls_ask_anew_and_a_wrong_query_leaves_the_picture():
    shown = retrieval_bench(bench(), PASSAGES, QUERIES)
    assert "“who governs old ocean ?”" in repr(shown) and ", answers" in repr(shown)
    shown.query.value = "norland"
    assert "“norland”" in repr(shown) and ", answers" not in repr(shown)
    shown.count.value = 1
    last = repr(shown)
    shown.query.value = ""
    assert "the query is empty" in shown.message.value and repr(shown) == last
    shown.query.value = "x" * 201
    assert "at most 200" in shown.message.value
