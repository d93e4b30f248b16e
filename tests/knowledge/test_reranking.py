"""The cross-encoder's pairs, its new order of a ranking, and the negatives that it takes out."""

import numpy as np
import pytest

import labkit
from labkit.errors import UsageError
from labkit.foundations.heads import add_head
from labkit.knowledge.reranking import cross_encoder, denoised, judge, pairs, reranked
from labkit.training import Batches, fit

PASSAGES = ["anna lives in rome .", "anna was born in rome .", "ben lives in rome .", "ben was born in rome ."]
ROWS = [{"text": "where does anna live ?", "positive": 0, "negatives": [1, 2]},
        {"text": "where was ben born ?", "positive": 3, "negatives": [2, 1]}]  # fmt: skip


def test_pairs_are_the_right_passage_and_the_first_wrong_ones():
    found = pairs(ROWS, PASSAGES, 1)
    assert [(row["text_b"], row["label"]) for row in found] == [
        (PASSAGES[0], 1),
        (PASSAGES[1], 0),
        (PASSAGES[3], 1),
        (PASSAGES[2], 0),
    ]
    with pytest.raises(UsageError, match="row 2 has no negatives: mine them first"):
        pairs([ROWS[0], {**ROWS[1], "negatives": []}], PASSAGES)


def test_it_learns_to_judge_and_its_scores_belong_to_their_passages():
    body, tokenizer = labkit.load_model("micro-bert-en", head=None)
    method, model = cross_encoder(tokenizer), add_head(body, 2, "mean", seed=0)
    fit(model, method.loss, Batches(pairs(ROWS, PASSAGES, 2), method.collate, 6), steps=40, lr=2e-3, progress=False)
    found = [[2, 1, 0], [3]]
    scores = judge(model, method, [row["text"] for row in ROWS], found, PASSAGES)
    assert [len(some) for some in scores] == [3, 1] and scores[0].argmax() == 2 and scores[1][0] > 0.5
    assert judge(model, method, ["a", "b"], [[], [2]], PASSAGES)[0].shape == (0,)
    assert reranked(found, scores)[0][0] == 0


def test_a_new_order_keeps_the_old_one_among_equals():
    assert reranked([[5, 7, 9], [4, 2]], [np.array([0.1, 0.9, 0.1]), np.array([0.5, 0.5])]) == [[7, 5, 9], [4, 2]]


def test_negatives_that_look_like_answers_leave():
    rows = denoised(ROWS, [np.array([0.05, 0.9]), np.array([0.2, 0.3])], 0.1)
    assert [row["negatives"] for row in rows] == [[1], []] and ROWS[0]["negatives"] == [1, 2]
