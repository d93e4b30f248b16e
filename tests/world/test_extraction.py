import random
from collections import Counter

import pytest

from labkit.world import World, extraction
from labkit.world.graph import build_graph
from labkit.world.settings import lexicon


@pytest.mark.parametrize("language", ["en", "zh"])
def test_tags_spell_names_of_the_graph(language):
    graph, glue = build_graph(World()), {"en": " ", "zh": ""}[language]
    kinds = Counter()
    for row in extraction.ner_rows(World(), language, 600, random.Random(0)):
        assert glue.join(row["tokens"]) == row["text"] and len(row["tokens"]) == len(row["tags"])
        spans, tags = [], [extraction.TAGS[tag] for tag in row["tags"]]
        for token, tag in zip(row["tokens"], tags, strict=True):
            if tag.startswith("B-"):
                spans.append(([token], tag[2:]))
            elif tag.startswith("I-"):
                assert spans[-1][1] == tag[2:]
                spans[-1][0].append(token)
        for words, kind in spans:
            entity = graph.find(glue.join(words), language)
            assert entity is not None and entity.type == kind
            kinds[kind] += 1
        assert spans
    assert len(kinds) == 12


def test_some_entities_of_the_test_are_new():
    splits = extraction.TASKS["ner"](World())["splits"]
    graph = build_graph(World())
    train = "\n".join(row["text"] for row in splits["train"])
    named = [
        e for e in graph.entities if any(f" {e.name['en']} " in f" {row['text']} " for row in splits["test"][:200])
    ]
    new = [entity for entity in named if entity.name["en"] not in train]
    assert 0.05 < len(new) / len(named) < 0.6


@pytest.mark.parametrize("language", ["en", "zh"])
def test_marked_names_stand_in_their_relation(language):
    graph, patterns = build_graph(World()), lexicon("facts", language)["relations"]
    for row in extraction.relation_rows(World(label_noise=0.0), language, 400, random.Random(0)):
        assert extraction.KINDS[row["label"]] == row["relation"]
        words = lexicon("extraction", language)
        assert words["head"].format(row["head"]) in row["text"] and words["tail"].format(row["tail"]) in row["text"]
        plain = row["text"]
        for form, name in ((words["head"], row["head"]), (words["tail"], row["tail"])):
            plain = plain.replace(form.format(name), name)
        said = {
            relation
            for relation, one in patterns.items()
            for pattern in one["say"]
            if pattern.format(h=row["head"], t=row["tail"]) in plain
        }
        assert said == (set() if row["relation"] == extraction.NO_RELATION else {row["relation"]}), row
        assert plain.count(row["head"]) >= 1
    assert graph


def test_the_ceiling_of_relations_is_what_the_truth_scores():
    rows = extraction.relation_rows(World(label_noise=0.3), "en", 3000, random.Random(0))
    right = sum(extraction.KINDS[row["label"]] == row["relation"] for row in rows) / len(rows)
    assert right == pytest.approx(0.85, abs=0.02)
    assert extraction.TASKS["relations"](World(label_noise=0.3))["ceiling"] == 0.85
    labels = Counter(row["label"] for row in rows)
    assert max(labels.values()) - min(labels.values()) <= 1 and len(labels) == 13


@pytest.mark.parametrize("language", ["en", "zh"])
def test_references_state_every_triple(language):
    for row in extraction.triple_rows(World(), language, 300, random.Random(0)):
        assert 1 <= len(row["triples"]) <= 3 and row["target"] in row["references"]
        for reference in row["references"]:
            assert all(head in reference and tail in reference for head, _, tail in row["triples"])
            assert not any("{" in part for part in reference)
    assert any(len(row["references"]) == 3 for row in extraction.triple_rows(World(), language, 50, random.Random(0)))
