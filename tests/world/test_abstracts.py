"""Abstracts and app descriptions: many classes, exact ceilings, keywords that are what the label says."""

import itertools
import random

import pytest

from labkit.world import World, abstracts
from labkit.world.settings import LONGEST, lexicon


@pytest.mark.parametrize(("key", "classes"), [("csldcp", 34), ("iflytek", 36), ("csl", 2)])
def test_labels_and_their_words(key, classes):
    built = abstracts.TASKS[key](World())
    lengths = {len(word) for words in built["words"].values() for word in words}
    assert len(built["labels"]) == classes and lengths == ({1} if key == "csl" else {2})


@pytest.mark.parametrize(("form", "size"), [(abstracts.ABSTRACT, (10, 4)), (abstracts.APP, (8, 4))])
def test_the_lexicon_is_whole_and_labels_are_their_usual_names(form, size):
    entries = lexicon("abstracts", "zh")[form.section]
    kinds = dict.fromkeys(kind for _, kind in form.slots)
    for title, entry in entries.items():
        assert tuple(len(set(entry[kind].split())) for kind in kinds) == size
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
    """P(list | true) = noise, P(list | false) = one false keyword that fits the discipline: 0.5 * 0.25."""
    assert abstracts.keyword_posterior([], 0.12) == abstracts.keyword_posterior(["general"], 0.12) == 1.0
    assert abstracts.keyword_posterior(["own"], 0.12) == pytest.approx(0.125 / 0.245)
    assert abstracts.keyword_posterior(["own"], 0.4) == pytest.approx(0.4 / 0.525)
    assert abstracts.keyword_posterior(["own", "own"], 0.12) == 1.0


def test_an_abstract_speaks_of_one_study():
    """A slot keeps its word: what the opening names, the finding speaks of again."""
    again = 0
    for seed in range(300):
        chosen = []
        text = abstracts.text(World(), abstracts.ABSTRACT, seed % 34, 1, random.Random(seed), chosen)
        assert len(chosen) == len(set(chosen)) and all(word in text for _, word in chosen)
        again += any(text.count(word) > 1 for _, word in chosen)
    assert again > 240


def documents(count):
    return list(itertools.islice(abstracts.documents(World(), "zh", random.Random(0)), count))


def test_documents_state_topics_and_keywords_truly():
    texts = documents(3000)
    assert texts == documents(3000) and max(map(len, texts)) <= LONGEST["zh"]
    marks = ("论文", "软件", "应用", "关键词", "属于", "领域", "文中", "提到", "吗？", "，不是")
    assert 0.8 < sum(any(mark in text for mark in marks) for text in texts) / 3000 < 0.95
    listed = [text for text in texts if "，这些词" in text and text.endswith(("。", "：")) and "下文" in text]
    assert len(listed) > 100 and {text.split("这些词")[1][0] for text in listed} == set("都全皆不没未")
    for text in listed:
        words, body = text.split("，这些词")[0].split("，"), text.split("关键词：")[1]
        body = "。".join(part for part in body.split("。") if not any(mark in part for mark in marks))
        general = set(lexicon("abstracts", "zh")["general"].split())
        good = text.split("这些词")[1][0] in "都全皆"
        assert good == all(word in body and word not in general for word in words), text


def test_remarks_on_single_words_are_true():
    seen = 0
    for text in documents(3000):
        *body, last = text.removesuffix("。").split("。")
        for clause in last.split("，"):
            if clause.startswith(("文中有", "文中没有")):
                seen += 1
                word = clause.removeprefix("文中有").removeprefix("文中没有")
                assert (word in "。".join(body)) == clause.startswith("文中有"), text
    assert seen > 100
