"""News: fifteen topics that an independent reader recovers as often as the ceiling says."""

import functools
import itertools
import math
import random
import re

import pytest

from labkit.world import World, news
from labkit.world.settings import LONGEST, lexicon

KINDS = {"agent": 10, "event": 12, "thing": 12}  # kinds of phrases, and how many a topic has of each


def phrases(entry, kind):
    return entry[kind] if isinstance(entry[kind], list) else entry[kind].split()


@functools.cache
def seeker(language):
    """Finds the phrases of all kinds in a text, longest first, so that no phrase is found inside another."""
    known = {
        p for entry in lexicon("news", language)["topics"].values() for kind in KINDS for p in phrases(entry, kind)
    }
    edge = r"\b" if language == "en" else ""
    return re.compile(edge + "(" + "|".join(sorted(known, key=lambda word: (-len(word), word))) + ")" + edge)


def read(text, language, leak):
    """The likeliest topic by phrases alone, with probabilities worked out here and not by the engine."""
    entries = lexicon("news", language)["topics"]
    zipf = {size: [(rank + 2) ** -0.7 for rank in range(size)] for size in KINDS.values()}

    def own(name, kind, word):
        words = phrases(entries[name], kind)
        return zipf[len(words)][words.index(word)] / sum(zipf[len(words)]) if word in words else 0.0

    scores = []
    for name, entry in entries.items():
        near, total = entry["near"].split(), 0.0
        for word in seeker(language).findall(text):
            kinds = {kind for kind in KINDS for one in entries.values() if word in phrases(one, kind)}
            leaked = sum(own(other, kind, word) for kind in kinds for other in near) / len(near)
            total += math.log((1 - leak) * sum(own(name, kind, word) for kind in kinds) + leak * leaked + 1e-12)
        scores.append(total)
    return scores.index(max(scores))


@pytest.mark.parametrize(("key", "language"), [("news", "en"), ("tnews", "zh")])
def test_a_reader_with_the_lexicon_reaches_the_ceiling(key, language):
    built = news.TASKS[key](World())
    rows = built["splits"]["test"][:600]
    hits = sum(read(row["text"], language, 0.24) == row["label"] for row in rows)
    assert hits / len(rows) == pytest.approx(built["ceiling"], abs=0.03)
    assert 0.85 < built["ceiling"] < 0.95


@pytest.mark.parametrize("key", news.TASKS)
def test_each_topic_has_words_of_its_own(key):
    built = news.TASKS[key](World())
    assert set(built["words"]) == set(built["labels"]) and all(len(words) >= 3 for words in built["words"].values())
    named = [word for words in built["words"].values() for word in words]
    assert len(named) == len(set(named))
    if built["language"] == "zh":
        assert {len(word) for word in named} == {2}  # the patterns hold two masks


def test_keywords_stand_in_the_text_and_genres_differ():
    rows = news.rows(World(), "zh", 300, random.Random(1))
    assert all(word in row["text"] for row in rows for word in row["keywords"].split(",") if word)
    assert {row["genre"] for row in rows} == set(news.GENRES)


def test_the_noise_dial_moves_the_ceiling_and_the_seed_the_rows():
    clean, usual, noisy = (news.TASKS["news"](World(label_noise=noise)) for noise in (0.0, 0.12, 0.3))
    assert clean["ceiling"] > usual["ceiling"] > noisy["ceiling"] and clean["ceiling"] > 0.99
    assert news.TASKS["news"](World()) == usual
    assert news.TASKS["news"](World(seed=1))["splits"]["test"] != usual["splits"]["test"]


@pytest.mark.parametrize("language", ["en", "zh"])
def test_documents_state_their_topic_densely_and_are_short(language):
    texts = list(itertools.islice(news.documents(World(), language, random.Random(0)), 3000))
    marks = {"en": (" news ", "news about"), "zh": ("新闻",)}[language]
    assert 0.5 < sum(any(mark in text for mark in marks) for text in texts) / 3000 < 0.75
    assert max(len(text.split()) if language == "en" else len(text) for text in texts) <= LONGEST[language]
    assert len(set(texts)) > 2800


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_lexicon_is_whole(language):
    entries = lexicon("news", language)["topics"]
    assert len(entries) == 15 and set(lexicon("news", language)["genres"]) == set(news.GENRES)
    for entry in entries.values():
        assert all(name in entries for name in entry["near"].split())
        assert {kind: len(set(phrases(entry, kind))) for kind in KINDS} == KINDS


def test_a_text_keeps_to_one_place_day_and_person():
    words = lexicon("news", "en")
    for text in itertools.islice(news.documents(World(), "en", random.Random(4)), 500):
        told = set(text.split())
        assert len(told & set(words["place"].split())) <= 1 and len(told & set(words["day"].split())) <= 1, text
        assert not (told & {"he", "him", "his"} and told & {"she", "her"}), text
