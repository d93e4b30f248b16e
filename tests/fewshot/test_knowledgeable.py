"""The knowledgeable verbalizer: what is looked up, what is sifted out and why, and that calibration is a division."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit.errors import UsageError
from labkit.evaluation import evaluate, predict
from labkit.fewshot.pet import PET
from labkit.fewshot.prompts.knowledgeable import frequent, knowledgeable, neighbours, related_words, relevance, usable
from labkit.fewshot.prompts.verbalizer import Verbalizer
from labkit.tasks import load_task
from labkit.world.graph import build_graph
from labkit.world.settings import World
from labkit.zoo import load
from tests.fewshot.tiny_prompts import ROWS, TEMPLATE, tiny_bert, tiny_tokenizer

TOKENIZER = tiny_tokenizer()


def test_the_lexicon_knows_more_words():
    found = related_words({"sports": "sports", "positive": ("great", "unheard-of"), "nothing": "zebra"})
    assert found["sports"][0] == "sports" and {"goalkeeper", "stadium"} <= set(found["sports"])
    assert found["positive"][:2] == ("great", "unheard-of") and len(found["positive"]) > 50
    assert found["nothing"] == ("zebra",)
    assert {"体育", "教练"} <= set(related_words({"体育": "体育"}, "zh")["体育"])


def test_the_graph_knows_types_and_neighbours():
    graph = build_graph(World())
    cities = neighbours(graph, "city", "en")
    assert cities[0] == graph.of_type("city")[0].name["en"] and len(cities) == len(graph.of_type("city"))
    person = graph.of_type("person")[0]
    near = neighbours(graph, person.name["en"], "en")
    assert near == tuple(graph.name(other, "en") for other in graph.neighbours(person.id)) and near
    assert neighbours(graph, "zebra", "en") == ()
    assert set(cities) < set(related_words({"place": "city"}, "en", graph)["place"])


def test_what_a_verbalizer_cannot_take_goes_first():
    found = usable({"a": ("bad", "terrible", "zebra", "dull", "good", "BAD"), "b": ("good", "fine", "dull")}, TOKENIZER)
    assert found.words == {"a": ("bad",), "b": ("good", "fine")}
    assert found.dropped == {
        "of other lengths or unknown": {"a": ("terrible", "zebra")},
        "of several labels": {"a": ("dull", "good", "BAD"), "b": ("dull",)},
    }
    Verbalizer(found.words, TOKENIZER)
    again = usable({"a": ("bad", "dull", "Dull"), "b": ("good",)}, TOKENIZER)
    assert again.dropped == {"spelled twice": {"a": ("Dull",)}}
    assert str(again) == "3 label words kept; gone: 1 spelled twice"


@settings(max_examples=100)
@given(st.lists(st.floats(1e-9, 1), min_size=1, max_size=20), st.floats(0.01, 1))
def test_the_most_frequent_share_stays(prior, share):
    kept = frequent(np.array(prior), share)
    wanted = max(1, round(share * len(prior)))
    assert kept.sum() >= wanted and np.array(prior)[kept].min() >= np.array(prior)[~kept].max(initial=0)
    assert kept.sum() == wanted or np.sum(np.array(prior) == np.array(prior)[kept].min()) > 1


def test_relevance_is_the_formula_written_out():
    chances = np.random.default_rng(0).random((6, 5))
    owners = np.array([0, 0, 1, 2, 2])
    names = {0: 0, 1: 2, 2: 3}

    def cosine(a, b):
        return sum(a * b) / (sum(a * a) ** 0.5 * sum(b * b) ** 0.5)

    for word, own in enumerate(owners):
        likeness = {label: cosine(chances[:, word], chances[:, name]) for label, name in names.items()}
        rest = sum(value for label, value in likeness.items() if label != own)
        assert relevance(chances, owners)[word] == pytest.approx(likeness[own] * 2 / rest)
    scaled = chances / chances.mean(0)  # calibration is not felt
    np.testing.assert_allclose(relevance(scaled, owners), relevance(chances, owners))


def test_the_answer_is_the_mean_of_the_calibrated_words():
    model, words = tiny_bert(), {"a": ("bad", "dull"), "b": ("good", "fine", "great")}
    how, sifted = knowledgeable(model, TEMPLATE, words, TOKENIZER, ROWS, share=1.0, least=0.0)
    assert sifted.words == words and not sifted.dropped
    each = PET(TEMPLATE, Verbalizer({w: (w,) for some in words.values() for w in some}, TOKENIZER), TOKENIZER)
    p = np.exp(each.logits(model, each.collate(ROWS)).detach().double().numpy())  # (rows, words)
    ratio = p / p.mean(0)
    score = np.stack([ratio[:, :2].mean(1), ratio[:, 2:].mean(1)], 1)
    np.testing.assert_allclose(predict(model, how, ROWS), score / score.sum(1, keepdims=True), rtol=1e-3, atol=1e-5)


def test_names_stay_whatever_they_are():
    model, words = tiny_bert(), {"a": ("bad", "dull", "sad"), "b": ("good", "fine", "great")}
    how, sifted = knowledgeable(model, TEMPLATE, words, TOKENIZER, ROWS, least=1e9)
    assert sifted.words == {"a": ("bad",), "b": ("good",)} and how.verbalizer.words == sifted.words
    assert set(sifted.dropped) <= {"rare", "irrelevant"}
    with pytest.raises(UsageError, match="sifting label words needs texts"):
        knowledgeable(model, TEMPLATE, words, TOKENIZER, [])
    with pytest.raises(UsageError, match="share=0: the share of words to keep"):
        knowledgeable(model, TEMPLATE, words, TOKENIZER, ROWS, share=0)


def test_on_the_news_words_from_the_lexicon_tell_more_than_names():
    """In a sentence that the model has never read: in its own, the name says it all."""
    task, (model, tokenizer) = load_task("world/news"), load("mini-bert-en")
    task = task.few_shot(1, 0)
    task.splits["test"] = task.splits["test"][:300]
    plain = PET("topic : {mask} . {text}", PET.for_task(task, tokenizer).verbalizer, tokenizer)
    how, _ = knowledgeable(
        model, plain.template, related_words(task.words), tokenizer, task.splits["unlabelled"][:200], share=1, least=0
    )
    named, known = (evaluate(model, one, task, progress=False)["accuracy"] for one in (plain, how))
    assert known > named + 0.05
