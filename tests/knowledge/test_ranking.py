"""Measures of rankings, beside brute force and scikit-learn."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, ndcg_score

from labkit.errors import DataError
from labkit.knowledge.ranking import average_precision, fused, joined, measures, ndcg, recall, reciprocal_rank

N = 8
ORDERS = st.permutations(range(N))
RIGHT = st.sets(st.integers(0, N - 1), min_size=1)


def test_by_hand():
    ranking, relevant = [7, 3, 5, 1], {3, 1}
    assert reciprocal_rank(ranking, relevant) == 1 / 2
    assert average_precision(ranking, relevant) == (1 / 2 + 2 / 4) / 2
    assert ndcg(ranking, relevant) == pytest.approx((1 / np.log2(3) + 1 / np.log2(5)) / (1 + 1 / np.log2(3)))
    assert recall(ranking, relevant, 2) == 1 / 2
    assert reciprocal_rank(ranking, relevant, 1) == 0
    assert average_precision(ranking, relevant, 2) == 1 / 2 / 2  # what is not found counts as 0


@given(ORDERS, RIGHT, st.integers(1, N))
def test_they_equal_brute_force_and_scikit_learn(order, right, k):
    scores = np.zeros(N)
    scores[list(order)] = np.arange(N, 0, -1)
    true = np.array([one in right for one in range(N)], float)
    assert ndcg(order, right, k) == pytest.approx(ndcg_score([true], [scores], k=k))
    assert average_precision(order, right) == pytest.approx(average_precision_score(true, scores))
    places = [order.index(one) + 1 for one in right]
    assert reciprocal_rank(order, right, k) == (1 / min(places) if min(places) <= k else 0)
    assert recall(order, right, k) == sum(place <= k for place in places) / len(right)


@given(ORDERS, st.dictionaries(st.integers(0, N - 1), st.integers(1, 3), min_size=1), st.integers(1, N))
def test_grades_count_in_ndcg(order, grades, k):
    scores = np.zeros(N)
    scores[list(order)] = np.arange(N, 0, -1)
    assert ndcg(order, grades, k) == pytest.approx(ndcg_score([[grades.get(i, 0) for i in range(N)]], [scores], k=k))


def test_means_over_queries():
    found = measures([[0, 1], [1, 0]], [{0}, {0}])
    assert found == pytest.approx({"mrr@10": 0.75, "map": 0.75, "ndcg@10": (1 + 1 / np.log2(3)) / 2, "recall@50": 1})


def test_rankings_fused_by_hand():
    """7: 1/2 + 1/3; 5: 1/3 + 1/2, seen later; 9: 1/4; 1: 1/4."""
    assert fused([[7, 5, 9], [5, 7, 1]], k=1) == [7, 5, 9, 1]
    assert fused([[4, 2]]) == [4, 2] and fused([[], [3]]) == [3]
    assert fused([[0, 1, 2], [3, 1]], k=60)[0] == 1  # second twice beats first once
    assert fused([[0, 1, 2], [3, 1]], k=0)[0] == 0  # equal, and seen first


def test_scores_joined_by_hand():
    found = joined(np.array([8.0, 6.0, 0.0]), np.array([0.5, 0.8, 0.2]))
    np.testing.assert_allclose(found, [1.5, 1.75, 0.0])
    np.testing.assert_allclose(joined(np.array([3.0, 3.0]), np.array([0.0, 2.0])), [0.0, 1.0])  # all equal says nothing


def test_bad_input():
    with pytest.raises(DataError, match="1 rankings and 2 judgements"):
        measures([[0]], [{0}, {1}])
    with pytest.raises(DataError, match="query 2 has no passage that answers it"):
        measures([[0], [1]], [{0}, {}])
    with pytest.raises(DataError, match="the ranking of query 1 holds a passage twice"):
        measures([[0, 0]], [{0}])
