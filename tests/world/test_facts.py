import random
import re
from itertools import islice

import pytest

from labkit.world import World, cases, clinical, comparisons, extraction, facts, pairs, reading
from labkit.world.graph import build_graph
from labkit.world.review_text import stance_remark
from labkit.world.settings import LONGEST, lexicon

GENRES = (facts, comparisons, clinical, cases)
ENDS = {"en": " .", "zh": "。"}


def stream(module, language, count, seed=0, world=None):
    return list(islice(module.documents(world or World(), language, random.Random(seed)), count))


@pytest.mark.parametrize("language", ["en", "zh"])
def test_no_text_states_a_held_out_fact(language):
    graph, patterns = build_graph(World()), lexicon("facts", language)["relations"]
    held = {}
    for fact in (fact for fact in graph.facts if fact.held_out):
        head, tail = graph.name(fact.head, language), graph.name(fact.tail, language)
        held.update({pattern.format(h=head, t=tail): fact for pattern in patterns[fact.relation]["say"]})
    told = {
        sentence.strip()
        for text in stream(facts, language, 4000)
        for sentence in text.split(ENDS[language].strip())
    }  # fmt: skip
    assert told.isdisjoint(held) and len(told) > 5000
    texts = [text for module in GENRES[1:] for text in stream(module, language, 600)]
    for build in (*pairs.TASKS.values(), *reading.TASKS.values(), *extraction.TASKS.values()):
        task = build(World())
        if task["language"] == language:
            texts += [row[name] for rows in task["splits"].values() for row in rows[:60] for name in task["fields"]]
    everything = "\n".join(texts)
    assert [statement for statement in held if statement in everything] == []
    true = next(fact for fact in graph.stated if fact.relation == "works_for")
    assert any(
        pattern.format(h=graph.name(true.head, language), t=graph.name(true.tail, language)) in "\n".join(told)
        for pattern in patterns["works_for"]["say"]
    ), "the search finds nothing at all"


@pytest.mark.parametrize("language", ["en", "zh"])
def test_entries_state_true_facts_about_one_thing(language):
    """Every sentence is a stated fact, a pronoun in it standing for the thing that most sentences name."""
    graph, words = build_graph(World()), lexicon("facts", language)
    patterns, pronouns = words["relations"], tuple(words["pronouns"].values())
    true = {
        pattern.format(h=graph.name(fact.head, language), t=graph.name(fact.tail, language)): fact
        for fact in graph.stated for pattern in patterns[fact.relation]["say"]
    }  # fmt: skip
    kinds = [re.escape(form).replace(r"\{x\}", "(.+)").replace(r"\{type\}", ".+") for form in words["typed"]]
    starts = sorted((form.split("{s}")[0] for form in words["again"]), key=len, reverse=True)
    rng = random.Random(0)
    remarks = {stance_remark("objective", language, rng).strip(" .。") for _ in range(5000)}
    turned = 0
    for text in stream(facts, language, 300):
        sentences = [one.strip() for one in text.split(ENDS[language].strip()) if one.strip()]
        told, last = [], None
        for one in sentences:
            if one in remarks:
                continue
            one = next((one.removeprefix(start) for start in starts if one.startswith(start)), one)
            kinds_named = (re.fullmatch(form, one) for form in kinds if one not in true)
            ends = [graph.find(found[1], language) for found in kinds_named if found]
            named = next((entity for entity in ends if entity is not None), None)
            if named is not None:
                last = {named.id}
                continue
            if one not in true:
                turned += 1
                start = next(pronoun for pronoun in pronouns if one.startswith(pronoun))
                ways = [graph.name(end, language) + one.removeprefix(start) for end in last]
                one = next(way for way in ways if way in true)
            told.append(true[one])
            last = {told[-1].head, told[-1].tail}
        assert 1 <= len(told) <= 10 and len(text.split() if language == "en" else text) <= LONGEST[language], text
    assert turned > 100


def test_paraphrases_are_a_dial():
    def wordings(count):
        texts = stream(facts, "en", 3000, world=World(paraphrases=count))
        patterns = lexicon("facts", "en")["relations"]["founded_by"]["say"]
        keys = [pattern.format(h="", t="").strip() for pattern in patterns]
        return sum(any(f" {key} " in text for text in texts) for key in keys)

    assert wordings(1) == 1
    assert wordings(4) == 4


def test_frequent_entities_are_spoken_of_more():
    graph = build_graph(World())
    text = "\n".join(stream(facts, "en", 5000))
    people = graph.of_type("person")
    often = [sum(text.count(person.name["en"]) for person in group) for group in (people[:50], people[-50:])]
    assert often[0] > 4 * often[1] > 0


@pytest.mark.parametrize("module", GENRES, ids=lambda module: module.__name__.rpartition(".")[2])
@pytest.mark.parametrize("language", ["en", "zh"])
def test_documents_are_well_formed(module, language):
    texts = stream(module, language, 2000)
    for text in texts:
        assert text == text.strip().lower() and "{" not in text and "  " not in text, text
        assert text.endswith(("。", "？") if language == "zh" else (".", "?")), text
        assert len(text.split() if language == "en" else text) <= 128, text
    if language == "en":
        assert all(word.isalpha() or word in (".", ",", "?", ":", ";", "|") for text in texts for word in text.split())
    else:
        assert not any(character.isascii() or character.isspace() for text in texts for character in text)


def test_a_lexicon_has_the_same_keys_in_both_languages():
    def shape(value):
        if isinstance(value, dict):
            return {key: shape(one) for key, one in value.items()}
        return None if isinstance(value, str | list) else value

    for name in ("names", "facts", "pairs", "reading", "extraction", "clinical", "cases"):
        assert shape(lexicon(name, "en")) == shape(lexicon(name, "zh")), name
