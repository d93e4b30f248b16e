"""The topic engine: its probabilities against enumeration, its draws against its probabilities."""

import itertools
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.world.examples import finish_task
from labkit.world.topics import Topics

ENTRIES = {
    "sea": {"noun": "ship wave salt", "verb": "sail dive", "near": "land"},
    "land": {"noun": "hill salt", "verb": "dig", "near": "sea sky"},
    "sky": {"noun": "cloud bird star", "verb": "fly dive", "near": "land"},
}


def chance(topics, topic, words):
    """The probability of drawing `words` of kind noun in this order: renormalise over what is left, step by step."""
    table, total = dict(topics.likelihood["noun"][topic]), 1.0
    for word in words:
        total *= table.get(word, 0.0) / sum(table.values())
        table.pop(word, None)
    return total


@given(st.floats(0.0, 1.0), st.floats(0.0, 3.0))
def test_posterior_is_bayes_rule_over_all_pairs_of_draws(leak, tail):
    topics = Topics.build(ENTRIES, ("noun", "verb"), tail, leak)
    nouns = sorted({word for table in topics.likelihood["noun"] for word in table})
    mass = [0.0] * 3
    for words in itertools.permutations(nouns, 2):
        joint = [chance(topics, topic, words) for topic in range(3)]
        mass = [old + new for old, new in zip(mass, joint, strict=True)]
        if sum(joint) > 1e-12:
            expected = [value / sum(joint) for value in joint]
            assert topics.posterior([("noun", word) for word in words]) == pytest.approx(expected, abs=1e-9)
    assert mass == pytest.approx([1.0] * 3)


def test_words_are_drawn_as_often_as_their_probability_says():
    topics, rng = Topics.build(ENTRIES, ("noun", "verb"), 0.7, 0.3), random.Random(0)
    seen = Counter()
    for _ in range(40_000):
        chosen = []
        first = topics.draw(1, "noun", rng, chosen)
        seen[first, topics.draw(1, "noun", rng, chosen)] += 1
    for pair, count in seen.items():
        assert count / 40_000 == pytest.approx(chance(topics, 1, pair), abs=0.01)


def test_no_leak_keeps_every_topic_to_its_own_words():
    topics = Topics.build(ENTRIES, ("noun", "verb"), 0.7, 0.0)
    assert set(topics.likelihood["noun"][1]) == {"hill", "salt"}
    assert set(Topics.build(ENTRIES, ("noun", "verb"), 0.7, 0.1).likelihood["noun"][0]) == {
        "ship",
        "wave",
        "salt",
        "hill",
    }


def test_posteriors_leave_the_rows():
    rows = [{"text": str(n), "label": n % 2, "posterior": 0.5 + n / 10} for n in range(4)]
    task = finish_task(rows, ("a", "b"), {"train": 2, "unlabelled": 2}, note="")
    assert task["ceiling"] == pytest.approx(0.65) and task["chance"] == 0.5
    assert task["splits"] == {
        "train": [{"text": "0", "label": 0}, {"text": "1", "label": 1}],
        "unlabelled": [{"text": "2", "label": None}, {"text": "3", "label": None}],
    }
