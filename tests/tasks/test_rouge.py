"""ROUGE against its definition, written a second time without cleverness."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit.tasks.rouge import rouge, rouge_l, rouge_n, words_of

WORDS = st.lists(st.sampled_from("abc"), max_size=6)


def f1(shared, wanted, given):
    return 2 * shared / (wanted + given) if wanted + given else 0.0


def common(one, other):
    """The longest common subsequence, by trying every subsequence of `one`."""
    for size in range(len(one), 0, -1):
        for some in combinations(one, size):
            rest = iter(other)
            if all(word in rest for word in some):
                return size
    return 0


@given(WORDS, WORDS)
@settings(max_examples=150, deadline=None)
def test_rouge_l_is_the_longest_common_subsequence(one, other):
    assert rouge_l(one, other) == pytest.approx(f1(common(one, other), len(one), len(other)))


@given(WORDS, WORDS, st.integers(1, 3))
@settings(max_examples=150, deadline=None)
def test_rouge_n_counts_each_shared_run_once(one, other, n):
    runs = [["".join(words[at : at + n]) for at in range(len(words) - n + 1)] for words in (one, other)]
    left, shared = list(runs[1]), 0
    for run in runs[0]:
        if run in left:
            left.remove(run)
            shared += 1
    assert rouge_n(one, other, n) == pytest.approx(f1(shared, len(runs[0]), len(runs[1])))


def test_an_example_by_hand():
    found = rouge(["police killed the gunman"], ["Police kill the gunman!"])
    assert found == pytest.approx({"rouge_1": 0.75, "rouge_2": 1 / 3, "rouge_l": 0.75})


def test_texts_alike_score_one_however_short_and_nothing_is_divided_by_zero():
    assert rouge(["a", ""], ["A", ""]) == {"rouge_1": 1, "rouge_2": 1, "rouge_l": 1}
    assert rouge(["a"], [""]) == {"rouge_1": 0, "rouge_2": 0, "rouge_l": 0}


def test_chinese_is_compared_by_character():
    assert words_of("A股大涨，GPT-2说") == ["a", "股", "大", "涨", "gpt", "2", "说"]
