"""Pairs of texts in English and Chinese: the same said twice, and one translation for each text."""

from __future__ import annotations

import random
import re

import pytest

from labkit.world import World
from labkit.world.graph import build_graph
from labkit.world.parallel import ASKED, FORMS, Interpreter, _lexicon, pairs
from labkit.world.settings import lexicon
from labkit.world.topics import SLOT

PAIRS = pairs(World(), 6000)


def test_the_same_pairs_for_the_same_arguments():
    assert pairs(World(), 50) == PAIRS[:50]
    assert pairs(World(), 50, "held out") != PAIRS[:50] != pairs(World(seed=1), 50)


def test_a_text_has_one_translation_each_way():
    for side in (0, 1):
        found = {}
        for pair in PAIRS:
            assert found.setdefault(pair[side], pair[1 - side]) == pair[1 - side], pair[side]
    assert len(set(PAIRS)) > 0.85 * len(PAIRS)


def test_texts_are_whole_and_in_their_languages():
    for english, chinese in PAIRS:
        assert re.fullmatch(r"[a-z][a-z ,.'?]*[.?]", english), english
        assert re.fullmatch(r"[\u4e00-\u9fff，。？]+[。？]", chinese), chinese
        assert english.count(" .") == chinese.count("。") and english.count(" ?") == chinese.count("？")
        assert not re.search(r"\ba [aeiou]", english) and "  " not in english
        assert len(english.split()) <= 60 and len(chinese) <= 70


def test_facts_name_the_same_things_in_both_languages():
    graph, interpreter = build_graph(World()), Interpreter(World(), random.Random(1))
    for _ in range(500):
        english, chinese = interpreter.pair(random.Random(0).choice(["fact", "question"]))
        named = [one for one in graph.entities if one.name["en"] in english and one.name["zh"] in chinese]
        assert named, (english, chinese)


def test_a_thing_has_one_measure_word_and_a_number_its_plural():
    things = {one: (many, unit, chinese) for one, many, unit, chinese in _lexicon()["things"]}
    for english, chinese in PAIRS:
        for one, (many, unit, name) in things.items():
            if re.search(rf"\bthis {one}\b", english):
                assert f"这{unit}{name}" in chinese
            if re.search(rf"\b(two|six|ten) {many}\b", english):
                assert re.search(f"(两|六|十){unit}{name}", chinese)


def test_the_rules_lead_to_words():
    rules, words = _lexicon()["rules"], {"name", "city", "fact", "question"}
    words |= {slot for slots in FORMS.values() for slot in slots}
    for name, some in rules.items():
        for rule in some:
            slots = [set(SLOT.findall(side)) for side in rule]
            assert {one.rstrip("2") for side in slots for one in side} <= words | set(rules), (name, rule)
            assert slots[0] - slots[1] <= {"things", "more", "most"}, (name, rule)
            assert slots[1] - slots[0] <= {"unit", "adj", "thing"}, (name, rule)


@pytest.mark.parametrize("kind", ["say", *dict.fromkeys(ASKED)])
def test_wordings_are_there_in_both_languages(kind):
    english, chinese = (lexicon("facts", language)["relations"] for language in ("en", "zh"))
    table = _lexicon()["wording"][kind]
    assert set(table) <= set(english)
    for relation, forms in english.items():
        places = table.get(relation, list(range(len(forms[kind]))))
        chosen = [place for place in places if place is not None]
        assert len(places) == len(forms[kind]) and chosen, relation
        assert len(set(chosen)) == len(chosen) and max(chosen) < len(chinese[relation][kind]), relation
