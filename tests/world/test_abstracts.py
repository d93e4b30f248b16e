"""Abstracts and app descriptions: many classes, exact ceilings, keywords that are what the label says."""

import itertools
import random
from collections import Counter

import pytest

from labkit.errors import UsageError
from labkit.tasks import Task
from labkit.world import World, abstracts
from labkit.world.settings import lexicon


@pytest.mark.parametrize(("key", "classes"), [("csldcp", 34), ("iflytek", 36), ("csl", 2)])
def test_splits_are_disjoint_balanced_and_valid(key, classes):
    task = Task(name=f"world/{key}", **abstracts.TASKS[key](World()))
    texts = [row[task.fields[0]] for rows in task.splits.values() for row in rows]
    assert len(texts) == len(set(texts)) and len(task.labels) == classes
    counts = Counter(row["label"] for row in task.splits["test"])
    assert max(counts.values()) - min(counts.values()) <= 1 and len(counts) == classes
    assert 0.88 < task.ceiling < 0.97 and task.chance == pytest.approx(1 / classes)
    lengths = {len(word) for words in task.words.values() for word in words}
    assert lengths == ({1} if key == "csl" else {2})
    assert abstracts.TASKS[key](World()) == abstracts.TASKS[key](World())


@pytest.mark.parametrize(("form", "size"), [(abstracts.ABSTRACT, (10, 4)), (abstracts.APP, (8, 4))])
def test_the_lexicon_is_whole_and_labels_are_their_usual_names(form, size):
    entries = lexicon("abstracts", "zh")[form.section]
    for title, entry in entries.items():
        assert tuple(len(set(entry[kind].split())) for kind in form.kinds) == size
        assert entry["names"].split()[0] == title and all(near in entries for near in entry["near"].split())
    named = [name for entry in entries.values() for name in entry["names"].split()]
    assert len(named) == len(set(named))


def test_a_reader_who_looks_for_the_keywords_reaches_the_ceiling():
    """A list is true when all its words stand in the abstract and none is general."""
    built, general = abstracts.TASKS["csl"](World()), lexicon("abstracts", "zh")["general"].split()
    rows = built["splits"]["train"]
    hits = 0
    for row in rows:
        found = all(word in row["text_a"] and word not in general for word in row["keyword"])
        hits += int(found) == row["label"]
        assert row["text_b"] == "，".join(row["keyword"]) and len(set(row["keyword"])) == len(row["keyword"]) in (3, 4)
    assert hits / len(rows) == pytest.approx(built["ceiling"], abs=0.015)


def test_keyword_posterior_is_bayes_rule():
    """P(list | true) = noise, P(list | false) = one false keyword that fits the discipline: 0.5 * 0.4."""
    assert abstracts.keyword_posterior([], 0.12) == abstracts.keyword_posterior(["general"], 0.12) == 1.0
    assert abstracts.keyword_posterior(["own"], 0.12) == pytest.approx(0.2 / 0.32)
    assert abstracts.keyword_posterior(["own"], 0.4) == pytest.approx(0.4 / 0.6)
    assert abstracts.keyword_posterior(["own", "own"], 0.12) == 1.0


def test_documents_state_topics_and_keywords_truly():
    texts = list(itertools.islice(abstracts.documents(World(), "zh", random.Random(0)), 3000))
    assert texts == list(itertools.islice(abstracts.documents(World(), "zh", random.Random(0)), 3000))
    marks = ("论文", "应用：", "软件。", "应用。", "关键词", "研究属于")
    assert 0.5 < sum(any(mark in text for mark in marks) for text in texts) / 3000 < 0.8
    listed = [text for text in texts if "，这些词" in text]
    assert len(listed) > 100 and {text.split("这些词")[1][0] for text in listed} == {"都", "不"}
    for text in listed:
        words, body = text.split("，这些词")[0].split("，"), text.split("关键词：")[1]
        general = set(lexicon("abstracts", "zh")["general"].split())
        assert (text.split("这些词")[1][0] == "都") == all(word in body and word not in general for word in words)
    with pytest.raises(UsageError, match="language of abstracts"):
        next(abstracts.documents(World(), "en", random.Random(0)))
