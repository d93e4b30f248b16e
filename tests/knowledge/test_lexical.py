"""TF-IDF and BM25, beside bm25s, scikit-learn and a formula worked out by hand."""

import math

import bm25s
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.feature_extraction.text import TfidfVectorizer

from labkit.errors import DataError, UsageError
from labkit.knowledge.lexical import IDF, best, bm25, eager, terms, tf_idf

PASSAGES = ["old ocean lies in norland .", "the mayor of old ocean is colin irving", "colin irving likes lemon buns",
            "lemon buns , lemon tea and lemon salad"]  # fmt: skip
WORDS = st.lists(st.sampled_from("abcdefg"), min_size=1, max_size=12).map(" ".join)


def test_the_score_of_one_term_by_hand():
    """ "lemon" is in 2 of 4 passages: idf = ln(1 + 2.5 / 2.5). It stands 3 times among 7 terms; the mean is 6.25."""
    lengths = [len(terms(one)) for one in PASSAGES]
    assert lengths == [5, 8, 5, 7]
    factor = 1 - 0.75 + 0.75 * 7 / 6.25
    assert bm25(PASSAGES).scores("lemon")[3] == pytest.approx(math.log(2) * 3 / (3 + 1.5 * factor))


@pytest.mark.parametrize("variant", IDF)
@settings(deadline=None, max_examples=40)
@given(
    passages=st.lists(WORDS, min_size=1, max_size=8),
    query=WORDS,
    k1=st.sampled_from([0.4, 1.5]),
    b=st.sampled_from([0, 0.75, 1]),
)
def test_every_variant_equals_bm25s(variant, passages, query, k1, b):
    theirs = bm25s.BM25(k1=k1, b=b, delta=0.5, method=variant)
    theirs.index([one.split() for one in passages], show_progress=False)
    ours = bm25(passages, variant, k1, b)
    asked = [term for term in query.split() if term in ours.vocabulary]
    if asked:
        shift = sum(ours.absent[ours.vocabulary[term]] for term in asked)
        np.testing.assert_allclose(ours.scores(query) + shift, theirs.get_scores(asked), atol=1e-5)


@settings(deadline=None, max_examples=40)
@given(passages=st.lists(WORDS, min_size=1, max_size=8), query=WORDS)
def test_tf_idf_is_the_cosine_of_scikit_learn(passages, query):
    one, raw = (TfidfVectorizer(analyzer=terms, norm=norm).fit(passages) for norm in ("l2", None))
    length = np.linalg.norm(raw.transform([query]).toarray())  # of the query, which labkit leaves out
    wanted = (one.transform(passages) @ one.transform([query]).T).toarray()[:, 0]
    np.testing.assert_allclose(tf_idf(passages).scores(query), wanted * length, atol=1e-4)


def test_a_weight_of_ones_own():
    def weight(often, holding, length, mean, count):
        return (
            np.log(1 + (count - holding + 0.5) / (holding + 0.5))
            * often
            / (often + 1.5 * (0.25 + 0.75 * length / mean))
        )

    own, known = eager(PASSAGES, weight), bm25(PASSAGES)
    np.testing.assert_allclose(own.weights, known.weights, rtol=1e-6)
    assert own.search("colin irving")[0].tolist() == known.search("colin irving")[0].tolist()


@given(st.lists(st.integers(0, 3), min_size=1, max_size=12), st.integers(1, 15))
def test_the_best_are_those_of_a_stable_sort(scores, k):
    scores = np.array(scores, float)
    assert best(scores, k).tolist() == np.argsort(-scores, kind="stable")[:k].tolist()


def test_a_search_gives_passages_that_share_a_term_and_why():
    index = bm25(PASSAGES, "bm25+")
    found, scores = index.search("where are lemon buns ?", 10)
    assert found.tolist() == [3, 2] or found.tolist() == [2, 3]
    assert list(index.fired("lemon buns", 3)) == ["lemon", "buns"] and index.fired("lemon", 0) == {}
    assert scores[0] == pytest.approx(sum(index.fired("lemon buns", int(found[0])).values()), rel=1e-6)


def test_terms_of_two_languages():
    assert terms("Who's the Mayor ? 南金鹰市") == ["who", "s", "the", "mayor", "南", "金", "鹰", "市"]


def test_what_nothing_can_be_found_with():
    index = bm25(PASSAGES)
    for query in ("", " ? "):
        with pytest.raises(UsageError, match="query is empty"):
            index.search(query)
    with pytest.raises(UsageError, match="the query is in Chinese and the passages are in English: ask in English"):
        index.search("南金鹰市的市长是谁？")
    with pytest.raises(UsageError, match="the query is in English and the passages are in Chinese"):
        bm25(["南金鹰市的市长是徐雨欣。"]).search("who governs old ocean ?")
    with pytest.raises(UsageError, match="no passage holds a word of the query 'zebra'"):
        index.search("zebra")
    assert not index.scores("zebra").any()


@pytest.mark.parametrize("make", [bm25, tf_idf])
def test_nothing_to_index(make):
    with pytest.raises(DataError, match="no passages"):
        make([])
    with pytest.raises(DataError, match="no passage holds a word"):
        make(["", "?"])


def test_settings_that_make_no_sense():
    with pytest.raises(UsageError, match="did you mean 'lucene'"):
        bm25(PASSAGES, "lucent")
    for bad in ({"k1": -1}, {"b": 2}):
        with pytest.raises(UsageError, match="b from 0 to 1"):
            bm25(PASSAGES, **bad)
