"""The picture of entities beside tokens: against the models' own streams, the graph, its words, its controls."""

from __future__ import annotations

import pytest
import torch

from labkit.errors import UsageError
from labkit.knowledge.bert_mk import GraphContext
from labkit.knowledge.dkplm import names_of
from labkit.knowledge.ernie import Ernie, table_of
from labkit.knowledge.graph import graph_of
from labkit.knowledge.transe import TransESettings, train_transe
from labkit.widgets.entity_stream import compute, draw, entity_stream
from tests.knowledge.test_dkplm import TRIPLES, WORDS, bert, tokenizer_of

TEXT = "anna reed was born in far cedar ."


@pytest.fixture(scope="module")
def given():
    tokenizer, graph = tokenizer_of(WORDS.split()), graph_of(TRIPLES)
    return tokenizer, graph, names_of(tokenizer, graph)


def test_entities_stand_where_ernie_puts_them(given):
    tokenizer, graph, names = given
    one = compute(*given, TEXT)
    model = Ernie(bert(len(tokenizer)), table_of(torch.ones(len(graph.entities), 8)), names)
    linked = model.link(torch.tensor([tokenizer(TEXT)["input_ids"]]))[0].tolist()
    assert one.entities == tuple(graph.entities[entity] if entity >= 0 else "" for entity in linked)
    assert (
        one.tokens == ("[CLS]", *TEXT.split(), "[SEP]") and one.tokens[1] == "anna" and one.entities[1] == "anna reed"
    )


def test_the_nodes_attend_as_bert_mks_do(given):
    tokenizer, graph, names = given
    vectors = train_transe(graph, TransESettings(dimension=8, epochs=1, batch=8), progress=False)
    context, one = GraphContext(graph, vectors), compute(*given, TEXT, most=8)
    for name, nodes in one.nodes.items():
        entity = graph.number(name)
        for number, (_, _, seen) in enumerate(nodes):
            assert seen == tuple(context.seen[entity, number].nonzero().flatten().tolist())
        assert nodes[0][0] == name and len(nodes[0][2]) == 1 + len(graph.rows(entity))


def test_few_facts_are_few_nodes(given):
    many, few = (compute(*given, TEXT, most=most).nodes["anna reed"] for most in (8, 1))
    assert [text for text, _, _ in few] == ["anna reed", "born in", "far cedar"] and len(many) == 5
    assert few[1][1:] == (True, (0, 1, 2)) and few[2][2] == (1, 2)  # a relation sees both ends, an end its relation


def test_all_of_it_is_in_words_and_no_markup_is_obeyed(given):
    picture = draw(compute(*given, TEXT))
    for text in ("anna reed", "far cedar", "born in", "attends to 0, 1, 2"):
        assert text in picture.alt and text in picture.html
    graph = graph_of([("soup", "<i>", "anna reed")])
    html = draw(compute(given[0], graph, names_of(given[0], graph), "soup .")).html
    assert "<i>" not in html and "&lt;i&gt;" in html


def test_the_controls_change_the_picture(given):
    shown = entity_stream(*given, [TEXT, "wild moon ."])
    assert "Around anna reed" in repr(shown) and "likes" in repr(shown)
    shown.facts.value = 1
    assert "likes" not in repr(shown)
    shown.sentence.value = "wild moon ."
    assert "Around wild moon" in repr(shown)


def test_a_text_without_a_name_is_refused(given):
    with pytest.raises(UsageError, match="names no entity"):
        compute(*given, "the . was .")
