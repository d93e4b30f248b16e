"""Structure search against trying every set."""

from __future__ import annotations

from itertools import chain, combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.errors import UsageError
from labkit.fewshot.delta_tuning import LoRA, greedy, random_search
from tests.fewshot.delta_models import make

VALUES = st.dictionaries(st.sampled_from("abcdef"), st.tuples(st.integers(-9, 9), st.integers(1, 4)), min_size=1)


def every(costs, budget):
    sets = chain.from_iterable(combinations(costs, n) for n in range(1, len(costs) + 1))
    return [some for some in sets if sum(costs[place] for place in some) <= budget]


@given(values=st.dictionaries(st.sampled_from("abcdef"), st.integers(-9, 9), min_size=1), budget=st.integers(1, 6))
def test_greedy_is_best_where_gains_add_up_and_costs_are_equal(values, budget):
    costs = dict.fromkeys(values, 1)

    def score(some):
        return sum(values[place] for place in some)

    found = greedy(score, costs, budget)
    assert found.score == max(score(some) for some in every(costs, budget)) == score(found.places)


@given(values=VALUES, budget=st.integers(4, 12), seed=st.integers(0, 9))
def test_both_keep_the_budget_and_never_lie(values, budget, seed):
    costs = {place: cost for place, (_, cost) in values.items()}

    def score(some):
        assert some and len(set(some)) == len(some)
        return sum(values[place][0] for place in some) + 3 * ("a" in some and "b" in some)

    best = max(score(some) for some in every(costs, budget))
    for found in (greedy(score, costs, budget), random_search(score, costs, budget, trials=5, seed=seed)):
        assert found.cost == sum(costs[place] for place in found.places) <= budget
        assert found.score == score(found.places) == max(value for _, value in found.tried) <= best
    again = random_search(score, costs, budget, trials=5, seed=seed)
    assert again == random_search(score, costs, budget, trials=5, seed=seed)
    assert len({places for places, _ in again.tried}) == len(again.tried) <= 5


def test_it_finds_the_layer_that_matters():
    costs = {f"layer.{n}.attention.self.{part}": 8 for n in range(3) for part in ("query", "value")}
    model = make()
    found = greedy(lambda some: ("layer.1.attention.self.value" in some) - 0.01 * len(some), costs, budget=16)
    assert found.places == ("layer.1.attention.self.value",)
    assert len(LoRA(targets=found.places).places(model)) == 1


def test_what_cannot_be_searched():
    with pytest.raises(UsageError, match="budget=3: the cheapest place takes 4 weights"):
        greedy(len, {"a": 4}, 3)
    with pytest.raises(UsageError, match="costs must map"):
        greedy(len, {}, 3)
    with pytest.raises(UsageError, match="trials=0"):
        random_search(len, {"a": 1}, 3, trials=0)
