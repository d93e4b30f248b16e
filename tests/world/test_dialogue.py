"""Dialogues: twelve intents, small talk that keeps to what was said, documents that end nowhere."""

import itertools
import random
import re

import pytest

from labkit.world import World, dialogue
from labkit.world.settings import lexicon


def test_a_reader_who_knows_the_phrases_reaches_the_ceiling():
    """An English reader who finds wishes and reasons and multiplies their probabilities."""
    model, built = dialogue.intents(World(), "en"), dialogue.TASKS["intents"](World())
    seekers = [
        (kind, phrase, re.compile(rf"\b{re.sub('{.*?}', '[a-z0-9]+', phrase)} [.?]"))
        for kind in dialogue.KINDS
        for phrase in sorted({phrase for table in model.likelihood[kind] for phrase in table})
    ]
    hits, rows = 0, built["splits"]["test"][:500]
    for row in rows:
        scores = [1.0] * 12
        for kind, phrase, seeker in seekers:
            if seeker.search(row["text"]):
                scores = [score * (model.likelihood[kind][i].get(phrase, 0) + 1e-9) for i, score in enumerate(scores)]
        hits += scores.index(max(scores)) == row["label"]
    assert hits / len(rows) == pytest.approx(built["ceiling"], abs=0.03)


def test_wish_answer_and_outcome_are_of_one_intent():
    entries = lexicon("dialogue", "en")["intents"]

    def of(phrase, text):
        return re.search(re.sub("{.*?}", "[a-z0-9]+", phrase) + " [.?]", text)

    for text in itertools.islice(dialogue.documents(World(), "en", random.Random(5)), 300):
        if "customer :" in text:
            wished = {i for i, entry in entries.items() if any(of(phrase, text) for phrase in entry["ask"])}
            answered = {i for i, entry in entries.items() if any(of(phrase, text) for phrase in entry["answer"])}
            assert len(wished) == 1 and wished <= answered, text


@pytest.mark.parametrize("language", ["en", "zh"])
def test_documents(language):
    texts = list(itertools.islice(dialogue.documents(World(), language, random.Random(2)), 2000))
    assert len(set(texts)) > 1500
    customer = "customer :" if language == "en" else "客户："
    assert 0.6 < sum(customer in text for text in texts) / 2000 < 0.8
    stated = [
        text for text in texts if customer in text and ("问的是" in text or "也就是说" in text or " about " in text)
    ]
    assert len(stated) > 700


def test_small_talk_names_two_different_jobs():
    jobs = lexicon("dialogue", "en")["shared"]["job"].split()
    rng = random.Random(0)
    for text in (dialogue.small_talk("en", rng) for _ in range(200)):
        spoken = [word for word in text.split() if word in jobs]
        assert len(set(spoken)) != 1 or len(spoken) == 1, text
