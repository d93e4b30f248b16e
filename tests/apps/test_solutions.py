"""Keywords, risky texts at a fixed precision, intents from a few dozen sentences."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import precision_recall_curve, precision_score, recall_score

import labkit
from labkit.apps.solutions import at_threshold, keyword_task, keywords, most_recall
from labkit.errors import DataError, UsageError
from labkit.fewshot.fewclue import atis_task
from labkit.fewshot.methods import Start, adapt
from labkit.foundations.heads import HeadClassifier, add_head
from labkit.training import Batches, fit
from labkit.world import World, news
from labkit.world.settings import randomness


@pytest.fixture(scope="module")
def bert():
    return labkit.load_model("mini-bert-en")


def classifier(bert, task, steps=60):
    model, method = add_head(bert.model, task.labels, "mean", seed=0), HeadClassifier(bert.tokenizer, task.fields)
    fit(model, method.loss, Batches(task.splits["train"], method.collate, 16), steps=steps, lr=1e-3, progress=False)
    return model, method


# Keywords


def test_keywords_are_judged_and_taken_out_of_a_text(bert):
    rows = news.rows(World(), "en", 500, randomness(World(), "keywords"))
    task = keyword_task({"train": rows[:250], "test": rows[400:]})
    model, method = classifier(bert, task)
    assert labkit.evaluate(model, method, task, progress=False)["f1"] > 0.8
    found = {row["text"]: keywords(model, method, row["text"], most=2) for row in rows[400:440]}
    hits = [word in row["keywords"].split(",") for row in rows[400:440] for word, _ in found[row["text"]]]
    assert np.mean(hits) > 0.6  # 0.70; two words drawn at random hit in one case of ten
    assert all(chance >= 0.5 for some in found.values() for _, chance in some)
    assert keywords(model, method, "?!") == []
    assert [word for word, _ in keywords(model, method, "a", least=0.0, candidates=["match", "oslo"])]


def test_the_rows_of_a_keyword_task():
    rows = [
        {"text": "Berlin , tuesday : truck ; parking .", "keywords": "truck,parking"},
        {"text": "a", "keywords": ""},
    ]
    made = keyword_task({"train": rows}).splits["train"]
    assert [row["word"] for row in made if row["label"]] == ["truck", "parking"]
    assert {row["word"] for row in made if not row["label"]} == {"berlin", "tuesday"}


@pytest.mark.real
def test_keywords_of_real_chinese_news(real_data):
    path = real_data / "fewclue" / "tnews" / "train_0.json"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    task = keyword_task({"train": [{"text": r["sentence"], "keywords": r["keywords"]} for r in rows]}, language="zh")
    zh = labkit.load_model("micro-bert-zh")
    model, method = add_head(zh.model, task.labels, "mean", seed=0), HeadClassifier(zh.tokenizer, task.fields)
    row = next(row for row in rows if row["keywords"])
    words = row["keywords"].split(",")
    found = keywords(model, method, row["sentence"], least=0.0, most=99, candidates=words)
    assert {word for word, _ in found} == set(words)


# Risky texts


def test_a_threshold_chosen_on_dev_finds_most_of_what_is_risky(bert):
    task = labkit.load_task("world/reviews")
    model, method = classifier(bert, task, steps=40)
    chances = {
        split: labkit.predict(model, method, task.splits[split][:250], progress=False)[:, 0]
        for split in ("dev", "test")
    }
    risky = {split: [int(row["label"] == 0) for row in task.splits[split][:250]] for split in ("dev", "test")}
    chosen = most_recall(chances["dev"], risky["dev"], precision=0.85)
    assert chosen.precision >= 0.85 and chosen.recall > 0.3
    reached = at_threshold(chances["test"], risky["test"], chosen.threshold)
    assert reached.precision > 0.7 and reached.recall > 0.3


PAIRS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 1)), min_size=1, max_size=15)


@given(PAIRS, st.sampled_from([0.3, 0.5, 0.8, 1.0]))
@settings(max_examples=200, deadline=None)
def test_no_threshold_of_scikit_learns_curve_recalls_more(pairs, precision):
    scores, labels = [score / 6 for score, _ in pairs], [label for _, label in pairs]
    if not any(labels):
        with pytest.raises(DataError, match="no threshold"):
            most_recall(scores, labels, precision)
        return
    precisions, recalls, _ = precision_recall_curve(labels, scores)
    good = [r for p, r in zip(precisions[:-1], recalls[:-1], strict=True) if p >= precision and r > 0]
    if not good:
        with pytest.raises(DataError, match="no threshold"):
            most_recall(scores, labels, precision)
        return
    found = most_recall(scores, labels, precision)
    reported = [score >= found.threshold for score in scores]
    assert found.recall == pytest.approx(max(good)) == pytest.approx(recall_score(labels, reported))
    assert found.precision == pytest.approx(precision_score(labels, reported))
    assert found.precision >= precision


def test_a_precision_that_is_no_share():
    with pytest.raises(UsageError, match="precision=90"):
        most_recall([0.5], [1], 90)


# Intents from a few dozen sentences


def cold_start(bert, task, steps):
    start = Start(bert.model, bert.tokenizer, task.few_shot(4, 0, dev=False), 0)
    return adapt(start, "fine-tune [mean]", steps=steps, progress=False)


def test_twelve_intents_from_four_dozen_sentences(bert):
    task = labkit.load_task("world/intents")
    made = cold_start(bert, task, steps=60)
    score = labkit.evaluate(made.model, made.method, task.limited("test", 240), progress=False)
    assert score["accuracy"] > 5 * task.chance  # 0.52; chance is 0.08


@pytest.mark.real
def test_intents_of_real_questions_to_an_airline(bert, real_data):
    task = atis_task(real_data / "atis").limited("test", 200)
    few = cold_start(bert, task, steps=20)
    assert labkit.evaluate(few.model, few.method, task, progress=False)["macro_f1"] > 1.5 / len(task.labels)
