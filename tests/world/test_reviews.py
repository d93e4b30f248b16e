"""Reviews: exact ceiling, disjoint splits, deterministic text."""

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.world import World, reviews, task
from labkit.world.settings import lexicon, randomness


@given(st.integers(1, 5), st.floats(0.01, 0.45))
def test_posterior_is_bayes_rule_by_enumeration(count, noise):
    """Over all flip patterns, the mean posterior is the accuracy of a majority vote (ties are coins)."""
    expected = accuracy = 0.0
    for flips in itertools.product((0, 1), repeat=count):
        wrong = sum(flips)
        chance = noise**wrong * (1 - noise) ** (count - wrong)
        expected += chance * reviews.posterior(count - wrong, wrong, noise)
        accuracy += chance * (1.0 if 2 * wrong < count else 0.5 if 2 * wrong == count else 0.0)
    assert expected == pytest.approx(accuracy, abs=1e-9)


def count_polar(text: str, domain: str) -> tuple[int, int]:
    """Opinions for and against, read off the text with the lexicon in hand."""
    words = lexicon("reviews", "en")
    known = [set(words[p]) | set(words["domains"][domain][p]) for p in reviews.POLARITY]
    sentences = [set(sentence.replace(",", " ").split()) for sentence in text.split(" .")]
    return tuple(sum(bool(sentence & side) for sentence in sentences) for side in known)


def test_a_reader_with_the_lexicon_reaches_the_ceiling():
    built = task("reviews")
    hits = []
    for row in built["splits"]["train"] + built["splits"]["test"]:
        against, for_it = count_polar(row["text"], row["domain"])
        hits.append(0.5 if for_it == against else float((for_it > against) == row["label"]))
    assert sum(hits) / len(hits) == pytest.approx(built["ceiling"], abs=0.02)


@pytest.mark.parametrize("name", sorted(reviews.TASKS))
def test_splits_are_disjoint_balanced_and_repeatable(name):
    built = task(name)
    texts = [row["text"] for rows in built["splits"].values() for row in rows]
    assert len(texts) == len(set(texts)) == sum(reviews.SPLIT_SIZES.values())
    assert sum(row["label"] for row in built["splits"]["test"]) == 500
    assert all(row["label"] is None for row in built["splits"]["unlabelled"])
    assert built == task(name)
    assert task(name, World(seed=1))["splits"]["test"] != built["splits"]["test"]
    assert 0.5 < built["ceiling"] < 1


def test_more_noise_lowers_the_ceiling_and_no_noise_lifts_it_to_one():
    noisy, clean = task("reviews", World(label_noise=0.3)), task("reviews", World(label_noise=0.0))
    assert noisy["ceiling"] < task("reviews")["ceiling"] < clean["ceiling"] == 1.0


@pytest.mark.parametrize("language", ["en", "zh"])
def test_pretraining_reviews_agree_with_themselves(language):
    words = lexicon("reviews", language)
    stream = reviews.documents(World(domain_shift=0.0), language, random.Random(0))
    for _, text in zip(range(200), stream, strict=False):
        sides = [sum(word in text for word in words[p] if len(word) > 1) for p in reviews.POLARITY]
        if language == "en":
            sides = [len(set(text.split()) & set(words[p])) for p in reviews.POLARITY]
            assert min(sides) == 0, text


def test_domain_words_stay_in_their_domain():
    writer = reviews.Writer(World(domain_shift=1.0), "en", randomness(World(), "test"))
    own = set(lexicon("reviews", "en")["domains"]["hotel"]["positive"])
    assert {writer.polar_word("hotel", "positive") for _ in range(50)} <= own
