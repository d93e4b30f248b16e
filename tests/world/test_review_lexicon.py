"""The lexicon of reviews: sizes, polarity without contradiction, neutral events; the same rules in both languages."""

import random
import re

import pytest

from labkit.world import World, reviews
from labkit.world.review_text import Writer, contextual
from labkit.world.settings import lexicon
from labkit.world.topics import SLOT

LANGUAGES = ("en", "zh")
SLOTS = {
    "item", "name", "pronoun", "city", "day", "time", "number", "relative", "noun", "noun2", "polar", "polar2", "other",
    "much", "stars", "word", "otherword", "hero", "hero2", "thing", "place", "trait", "trait2",
}  # fmt: skip


def strings(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for one in value.values() if isinstance(value, dict) else value:
            yield from strings(one)


@pytest.mark.parametrize("language", LANGUAGES)
def test_sizes(language):
    words = lexicon("reviews", language)
    assert len(words["domains"]) == 24 and set(reviews.domains("en")) == set(reviews.domains("zh"))
    assert all(len(words[p]) == len(set(words[p])) >= 100 for p in reviews.POLARITY)
    for name, own in words["domains"].items():
        assert 4 <= len(own["items"]) <= 12 and len(own["openings"]) >= 3 and len(own["events"]) >= 5, name
        assert len(own["aspects"]) >= (40 if name == "film" else 15), name
        assert all(len(own[p]) >= (5 if language == "en" else 3) for p in reviews.POLARITY), name
        assert all(len(contextual(language, name, p)) >= 4 for p in reviews.POLARITY), name


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_word_is_praise_and_blame_of_the_same_noun(language):
    words = lexicon("reviews", language)
    praise, blame = set(words["positive"]), set(words["negative"])
    assert not praise & blame
    both = {p: set() for p in reviews.POLARITY}
    for name, own in words["domains"].items():
        mine, its = set(own["positive"]), set(own["negative"])
        assert not mine & its and not mine & blame and not its & praise, name
        pairs = {p: set(contextual(language, name, p)) for p in reviews.POLARITY}
        assert not pairs["positive"] & pairs["negative"], name
        used = {word for some in pairs.values() for _, word in some}
        assert not used & (praise | blame | mine | its), (name, used & (praise | blame | mine | its))
        for p in reviews.POLARITY:
            both[p] |= {word for _, word in pairs[p]}
    assert len(both["positive"] & both["negative"]) >= 25


@pytest.mark.parametrize("language", LANGUAGES)
def test_events_say_nothing_for_or_against_and_openings_name_who(language):
    words = lexicon("reviews", language)
    polar = [word for p in reviews.POLARITY for word in words[p] if language == "en" or len(word) > 1]
    for name, own in words["domains"].items():
        assert all("{name}" in opening and "{item}" in opening for opening in own["openings"]), name
        for sentence in (*own["openings"], *own["events"], *words["neutral"]):
            said = set(sentence.split()) if language == "en" else sentence
            assert not any(word in said for word in polar), sentence


@pytest.mark.parametrize("language", LANGUAGES)
def test_slots_are_known_and_each_pattern_ends(language):
    words = lexicon("reviews", language)
    kinds = ("forms", "neutral", "verdicts", "headlines", "stance", "plot", "domains")
    patterns = [text for kind in kinds for text in strings(words[kind]) if "{" in text]
    for pattern in patterns:
        assert set(SLOT.findall(pattern)) <= SLOTS, pattern
        assert language == "zh" or not re.search(r"[A-Z]|\S[.,;:]( |$)", pattern), pattern
    for kind in ("forms", "verdicts", "headlines", "neutral"):
        assert all(text.endswith((" .", "。")) for text in strings(words[kind])), kind


def test_english_articles_follow_the_sound():
    writer = Writer(World(), "en", random.Random(0), "hotel")
    said = [
        writer.fill("a {polar} room .", polar=word) for word in ("awful", "useful", "unpleasant", "good", "elegant")
    ]
    assert [text.split()[0] for text in said] == ["an", "a", "an", "a", "an"]
    for word in (*writer.words["positive"], *writer.words["negative"]):
        assert not word.startswith(("hour", "honour", "heir", "eu")), f"the rule of articles does not know {word}"
