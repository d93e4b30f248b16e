"""The dual encoder, its index and its negatives, on a few passages and the world's micro model."""

import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

import labkit
from labkit.errors import DataError, UsageError
from labkit.knowledge.dense import (
    DenseIndex,
    DualEncoder,
    ance,
    cloze_pairs,
    faiss_index,
    in_batch_loss,
    nearest,
    with_negatives,
)
from labkit.training import Batches, fit

PASSAGES = [
    "anna reed was born in north cedar .",
    "the mayor of old ocean is colin irving .",
    "the wolf recorder is a product of bear electronics . anna reed lives in old ocean .",
    "colin irving likes lemon buns .",
]
ROWS = [{"text": f"where is number {one} ?", "positive": one} for one in range(4)]


@pytest.fixture(scope="module")
def loaded():
    return labkit.load_model("micro-bert-en", head=None)


@pytest.fixture
def parts(loaded):
    import copy

    model, tokenizer = loaded
    return copy.deepcopy(model), DualEncoder(tokenizer, PASSAGES)


def test_the_loss_by_hand():
    """Cosines (1, 0) and (0.6, 0.8) against the two right passages, and 0.8 and 1 with a hard negative."""
    queries = torch.tensor([[1.0, 0.0], [0.6, 0.8]])
    passages = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.8, 0.6]])
    scores = torch.tensor([[1, 0, 0.8], [0.6, 0.8, 0.96]]) / 0.5
    wanted = -(scores[0].log_softmax(0)[0] + scores[1].log_softmax(0)[1]) / 2
    torch.testing.assert_close(in_batch_loss(queries, passages, 0.5), wanted)


def test_a_batch_holds_right_passages_first_then_a_negative_of_each_row(parts):
    _, method = parts
    rows = [{**row, "negatives": [(row["positive"] + 1) % 4]} for row in ROWS[:3]] + [{**ROWS[3], "negatives": []}]
    batch = method.collate(rows, np.random.default_rng(0))
    texts = [[*method.read([one])["input_ids"][0].tolist()] for one in PASSAGES]
    said = [row[mask == 1].tolist() for row, mask in zip(batch["passage_ids"], batch["passage_mask"], strict=True)]
    assert [texts.index(one) for one in said] == [0, 1, 2, 3, 1, 2, 3]
    assert len(batch["input_ids"]) == 4


def test_the_objective_is_the_loss_of_the_vectors(parts):
    model, method = parts
    batch = method.collate(ROWS, np.random.default_rng(0))
    queries, passages = (
        torch.from_numpy(method.encode(model, some)) for some in ([row["text"] for row in ROWS], PASSAGES)
    )
    torch.testing.assert_close(method.loss(model.eval(), batch), in_batch_loss(queries, passages), atol=1e-4, rtol=1e-4)


def test_a_text_has_one_vector_of_length_one_whatever_stands_beside_it(parts):
    model, method = parts
    together = method.encode(model, PASSAGES, batch_size=4)
    alone = np.concatenate([method.encode(model, [one]) for one in PASSAGES])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)


def test_training_finds_the_right_passages(parts):
    model, method = parts
    fit(model, method.loss, Batches(ROWS, method.collate, 4), steps=30, lr=2e-3, progress=False)
    assert DenseIndex(model, method).rankings([row["text"] for row in ROWS], 1) == [[0], [1], [2], [3]]


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 40), st.integers(1, 6), st.integers(0, 99))
def test_exact_search_is_brute_force_and_faiss_flat(count, k, seed):
    draw = np.random.default_rng(seed)
    vectors, queries = (F.normalize(torch.from_numpy(draw.standard_normal((n, 8))).float()).numpy() for n in (count, 3))
    k = min(k, count)
    found, scores = nearest(vectors, queries, k)
    for query, row, some in zip(queries, found, scores, strict=True):
        each = sorted(range(count), key=lambda one: -float(query @ vectors[one]))[:k]
        assert row.tolist() == each and np.allclose(some, vectors[each] @ query, atol=1e-6)
    theirs, same = faiss_index(vectors, "flat").search(queries, k)
    assert same.tolist() == found.tolist() and np.allclose(theirs, scores, atol=1e-5)


@pytest.mark.parametrize("kind", ["ivf", "hnsw"])
def test_approximate_search_finds_most(kind):
    vectors = F.normalize(torch.randn(2000, 16, generator=torch.Generator().manual_seed(0))).numpy()
    exact, _ = nearest(vectors, vectors[:50], 10)
    _, found = faiss_index(vectors, kind).search(vectors[:50], 10)
    shared = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(exact.tolist(), found.tolist(), strict=True)])
    assert shared > (0.9 if kind == "hnsw" else 0.3)
    assert (found[:, 0] == np.arange(50)).all()  # each vector's own cluster is always looked at


@pytest.mark.parametrize("kind", ["brute", "flat", "hnsw"])
def test_an_index_answers_one_query_and_many(parts, kind):
    index = DenseIndex(*parts, kind)
    queries = ["who is the mayor of old ocean ?", "lemon buns"]
    found, cosines = index.found(queries, 10)
    assert found.shape == cosines.shape == (2, 4) and (np.diff(cosines) <= 1e-6).all()
    one, _ = index.search(queries[1], 2)
    assert one.tolist() == found[1, :2].tolist() == index.rankings(queries, 2)[1]


def test_an_index_older_than_its_encoder_is_refused(parts):
    model, method = parts
    index = DenseIndex(model, method)
    with torch.no_grad():
        next(model.parameters()).view(-1)[0] += 1e-3
    with pytest.raises(UsageError, match="the index is older than its encoder.*make the index anew"):
        index.search("old ocean")
    assert DenseIndex(model, method).search("old ocean", 1)[0].shape == (1,)


def test_queries_that_say_nothing(parts):
    index = DenseIndex(*parts)
    for query in ("", "  "):
        with pytest.raises(UsageError, match="the query is empty"):
            index.search(query)
    with pytest.raises(UsageError, match="the encoder knows no piece of '南金鹰市'.*the language that it has read"):
        index.search("南金鹰市")


def test_what_cannot_be_indexed(parts):
    with pytest.raises(UsageError, match="did you mean 'flat'"):
        DenseIndex(*parts, "flatt")
    with pytest.raises(DataError, match="no passages"):
        DualEncoder(parts[1].tokenizer, [])


def test_negatives_are_the_first_passages_that_are_not_the_answer():
    rows = with_negatives(ROWS[:2], [[3, 0, 1, 2], [1, 2, 0, 3]], 2)
    assert [row["negatives"] for row in rows] == [[3, 1], [2, 0]] and "negatives" not in ROWS[0]


def test_ance_mines_with_the_encoder_as_it_is_in_each_round(parts):
    model, method = parts
    before = DenseIndex(model, method).rankings([row["text"] for row in ROWS], 3)
    seen = []
    rounds = ance(model, method, ROWS, refreshes=2, steps=8, most=2, batch_size=4, lr=3e-3, progress=False,
                  keep=lambda rows: seen.append(rows) or rows)  # fmt: skip
    assert rounds[0] == with_negatives(ROWS, before, 2) and len(seen) == 2
    assert rounds[0] != rounds[1]


def test_the_inverse_cloze_task_hides_one_sentence():
    texts = ["a b . c d . e f .", "alone .", "甲乙。丙丁。"]
    rows, rest = cloze_pairs(texts, random.Random(1))
    assert [row["positive"] for row in rows] == [0, 1] and len(rest) == 2
    for row, whole in zip(rows, (texts[0], texts[2]), strict=True):
        assert row["text"] in whole
    kept = [
        rows[0]["text"] in rest[0]
        for rows, rest in (cloze_pairs([f"{n} a . b ."], random.Random(n)) for n in range(400))
    ]
    assert 0.05 < np.mean(kept) < 0.16
