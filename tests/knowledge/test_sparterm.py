"""SparTerm's vectors and losses, and that its index gives the same scores as the vectors."""

import copy

import numpy as np
import pytest
import torch

import labkit
from labkit.knowledge.sparterm import SparTerm, SparTermIndex, SparTermModel
from labkit.training import Batches, fit

PASSAGES = [
    "anna is a resident of rome .",
    "anna was born in rome .",
    "ben is the mayor of rome .",
    "ben likes salad .",
]
ROWS = [{"text": "where has anna settled ?", "positive": 0}, {"text": "where was anna born ?", "positive": 1},
        {"text": "who governs rome ?", "positive": 2}, {"text": "what does ben like ?", "positive": 3}]  # fmt: skip


@pytest.fixture(scope="module")
def parts():
    body, tokenizer = labkit.load_model("micro-bert-en", head="mlm")
    return SparTermModel(body, copy.deepcopy(body)).eval(), SparTerm(tokenizer, PASSAGES, ROWS)


def word(method, text):
    return method.tokenizer.convert_tokens_to_ids(text)


def test_a_vector_by_its_definition(parts):
    model, method = parts
    batch = method.read(PASSAGES[:1])
    with torch.no_grad():
        found = method.vectors(model, batch)[0]
        worth = model.importance(**batch).logits[0].relu().sum(0)
        sure = (model.gate(**batch).logits[0].amax(0) - model.level).sigmoid()
    own = set(batch["input_ids"][0].tolist()) - set(method.tokenizer.all_special_ids)
    for term in range(len(found)):
        wanted = worth[term] if term in own or sure[term] > method.threshold else 0
        assert float(found[term]) == pytest.approx(float(wanted), rel=1e-4)


def test_a_query_has_its_own_words_alone(parts):
    model, method = parts
    batch = method.read(["where has anna settled ?"])
    with torch.no_grad():
        found, worth = method.queries(model, batch)[0], model.importance(**batch).logits[0].relu().sum(0)
    own = set(batch["input_ids"][0].tolist()) - set(method.tokenizer.all_special_ids)
    assert set(found.nonzero().flatten().tolist()) <= own
    torch.testing.assert_close(found[list(own)], worth[list(own)])


def test_padding_adds_nothing(parts):
    model, method = parts
    with torch.no_grad():
        alone, beside = (
            method.vectors(model, method.read(some))[0] for some in (PASSAGES[3:], PASSAGES[3:] + PASSAGES[:1])
        )
    torch.testing.assert_close(alone, beside, rtol=1e-4, atol=1e-4)


def test_without_expansion_a_passage_has_its_own_words_alone(parts):
    model, method = parts
    literal = SparTerm(method.tokenizer, PASSAGES, expand=False)
    with torch.no_grad():
        vectors = literal.vectors(model, literal.read(PASSAGES))
    assert ((vectors > 0) <= (literal.own(literal.read(PASSAGES)) > 0)).all()


def test_the_index_adds_up_the_vectors_products(parts):
    model, method = parts
    with torch.no_grad():
        dense = (
            method.vectors(model, method.read(PASSAGES)) @ method.queries(model, method.read(["who governs rome ?"]))[0]
        )
    index = SparTermIndex(model, method)
    found, scores = index.search("who governs rome ?", 4)
    np.testing.assert_allclose(scores, np.sort(dense.numpy())[::-1], rtol=1e-4)
    first = int(found[0])
    assert sum(index.fired("who governs rome ?", first).values()) == pytest.approx(float(scores[0]), rel=1e-4)
    assert index.rankings(["who governs rome ?"], 4) == [found.tolist()]


def test_training_lets_in_the_words_that_the_queries_ask_with(parts):
    model, method = copy.deepcopy(parts[0]), parts[1]
    settled = word(method, "settled")
    if settled == method.tokenizer.unk_token_id:
        settled = word(method, "where")
    history = fit(model, method.loss, Batches(ROWS, method.collate, 4), steps=40, lr=2e-3, progress=False)
    assert history.losses[-1] < history.losses[0]
    with torch.no_grad():
        vector = method.vectors(model.eval(), method.read(PASSAGES[:1]))[0]
    assert vector[settled] > 0
    assert SparTermIndex(model, method).rankings([row["text"] for row in ROWS], 1) == [[0], [1], [2], [3]]


def test_the_gate_is_taught_on_right_passages_and_absent_words_only(parts):
    model, method = copy.deepcopy(parts[0]), parts[1]
    batch = method.collate(ROWS[:1], np.random.default_rng(0))
    method.loss(model.train(), batch).backward()
    rows = (
        model.gate.get_output_embeddings().weight.grad
        if model.gate.get_output_embeddings().weight.grad is not None
        else None
    )
    assert model.level.grad is not None and rows is not None
    assert not method.own({"input_ids": batch["passage_ids"]})[0, word(method, "settled")]
