import random

import pytest

from labkit.world import World, reading
from labkit.world.graph import build_graph


@pytest.mark.parametrize("language", ["en", "zh"])
def test_spans_are_the_answers(language):
    graph, mark = build_graph(World()), {"en": " .", "zh": "。"}[language]
    for row in reading.reading_rows(World(), language, 400, random.Random(0)):
        sentences = row["text"].count(mark)
        assert 3 <= sentences <= 6
        asked = [e for e in graph.entities if e.name[language] in row["question"]]
        asked = [e for e in asked if not any(e is not o and e.name[language] in o.name[language] for o in asked)]
        assert len(asked) == 1
        true = {fact.tail for fact in graph.facts if fact.head == asked[0].id}
        if row["label"] == 0:
            span = row["text"][row["answer_start"] :][: len(row["answer"])]
            assert span == row["answer"] and graph.find(span, language).id in true
            start = row["text"].rfind(mark, 0, row["answer_start"]) + 1
            sentence = row["text"][start : row["text"].index(mark, row["answer_start"])]
            assert asked[0].name[language] in sentence
        else:
            assert (row["answer"], row["answer_start"]) == ("", -1)
            assert asked[0].name[language] in row["text"], "nothing about the asked thing: too easy"


@pytest.mark.parametrize("language", ["en", "zh"])
def test_judgements_are_what_the_pages_state(language):
    pages, queries = reading.collection(World(), language, pages=400, queries=200)
    graph = build_graph(World())
    assert (len({page["text"] for page in pages}), len({query["text"] for query in queries})) == (400, 200)
    for query in queries:
        fact = query["fact"]
        head, tail = graph.name(fact.head, language), graph.name(fact.tail, language)
        assert head in query["text"] and tail not in query["text"] and query["answers"]
        stating = []
        for number, page in enumerate(pages):
            ends = [(one.relation, {one.head, one.tail}) for one in page["facts"]]
            if (fact.relation, {fact.head, fact.tail}) in ends:
                stating.append(number)
                assert head in page["text"] and tail in page["text"]
        assert query["answers"] == stating


def test_pairs_of_the_retrieval_task_agree_with_the_judgements():
    pages, queries = reading.collection(World(), "en")
    rows = reading.retrieval_rows(pages, queries, random.Random(0))
    assert all((row["page"] in queries[row["query"]]["answers"]) == row["label"] for row in rows)
    graph = build_graph(World())
    wrong = [row for row in rows if row["label"] == 0]
    named = sum(graph.name(queries[row["query"]]["fact"].head, "en") in row["text_b"] for row in wrong)
    assert 0.2 * len(wrong) < named < 0.8 * len(wrong), "pages that do not answer should often name the asked thing"


def test_no_query_stands_in_two_splits():
    splits = reading.TASKS["retrieval"](World())["splits"]
    queries = [{row["text_a"] for row in rows} for rows in splits.values()]
    assert not queries[0] & queries[1] and not queries[0] & queries[2] and not queries[1] & queries[2]
