"""Next sentences: balance, never the true one at random, segments, and the loss against transformers' own."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import BertTokenizer

from labkit.errors import DataError, UsageError
from labkit.foundations.pretraining import (
    IGNORE,
    NextSentence,
    micro_model,
    next_sentence,
    sentence_rows,
    split_sentences,
    tokenize_corpus,
)

WORDS = "[PAD] [UNK] [CLS] [SEP] [MASK] a the film was good bad fine it dull great . ! ?".split()
SMALL = {"d": 32, "ffn": 64, "positions": 64}
TEXTS = ["the film was good . it was fine .", "a bad film ! dull . bad .", "was it great ? it was . good .", "it was ."]


@pytest.fixture(scope="module")
def tokenizer():
    return BertTokenizer(vocab={word: number for number, word in enumerate(WORDS)}, model_max_length=64)


@pytest.fixture(scope="module")
def rows(tokenizer):
    return sentence_rows(tokenize_corpus(TEXTS, tokenizer, 64), tokenizer)


def test_half_are_random_and_none_of_those_is_the_true_next():
    seconds = [np.array([5 + row % 50, 6, row % 50]) for row in range(200)]  # every text four times
    right = total = 0
    for seed in range(40):
        chosen, labels = next_sentence(seconds, np.random.default_rng(seed))
        for row, (other, label) in enumerate(zip(chosen, labels, strict=True)):
            same = (seconds[other] == seconds[row]).all()
            assert same == (label == 0) and (other == row) == (label == 0)
        right, total = right + int((labels == 0).sum()), total + 200
    assert abs(right - total / 2) < 5 * math.sqrt(total) / 2


def test_a_stretch_that_begins_like_the_true_next_does_not_count_as_random():
    seconds = [np.array([5, 6]), np.array([5, 6, 7]), np.array([9])]
    for seed in range(50):
        chosen, labels = next_sentence(seconds, np.random.default_rng(seed), share=1.0)
        assert labels.tolist() == [1, 1, 1] and chosen[0] == 2 and chosen[1] == 2 and chosen[2] != 2


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 4), max_size=30))
def test_sentences_put_together_are_the_text(ids):
    parts = split_sentences(np.array(ids, dtype=int), [3, 4])
    assert [token for part in parts for token in part] == ids
    assert all((part[:-1] < 3).all() for part in parts) and all(part[-1] >= 3 for part in parts[:-1])


def test_rows_are_sentences_without_special_tokens(rows, tokenizer):
    found = [[tokenizer.decode(part) for part in row["sentences"]] for row in rows]
    assert found[1] == ["a bad film!", "dull.", "bad."] and len(found) == 3  # the text of one sentence is left out


def test_pairs_have_segments_and_masks_restore_them(rows, tokenizer):
    objective = NextSentence(tokenizer, max_length=64, probability=0.3)
    known = {tuple(np.concatenate(row["sentences"])) for row in rows}
    labels = []
    for seed in range(60):
        batch = {k: v.numpy() for k, v in objective.collate(rows, np.random.default_rng(seed)).items()}
        ids = np.where(batch["labels"] == IGNORE, batch["input_ids"], batch["labels"])
        assert not np.isin(batch["labels"], [0, 1, 2, 3, 4]).any()
        for row in range(3):
            real = batch["attention_mask"][row] == 1
            text, segments = ids[row, real], batch["token_type_ids"][row, real]
            first, second = np.flatnonzero(text == 3)
            assert text[0] == 2 and second == len(text) - 1
            assert segments.tolist() == [0] * (first + 1) + [1] * (second - first)
            joined = tuple(np.concatenate([text[1:first], text[first + 1 : second]]))
            follows = joined == tuple(np.concatenate(rows[row]["sentences"]))
            assert follows == (batch["next_sentence_label"][row] == 0)
            assert not follows or joined in known
        labels += batch["next_sentence_label"].tolist()
    assert 0.3 < np.mean(labels) < 0.7


@pytest.mark.parametrize("first, second", [(4, 40), (40, 4), (40, 40), (3, 3)])
def test_the_longer_stretch_is_cut(tokenizer, first, second):
    ids, segments = NextSentence(tokenizer, max_length=16)._pair(np.full(first, 5), np.full(second, 6))
    a, b = (ids == 5).sum(), (ids == 6).sum()
    assert len(ids) == len(segments) == min(first + second + 3, 16)
    assert a == {4: 4, 40: 9 if second == 4 else 7, 3: 3}[first] and b == len(ids) - 3 - a


def test_the_loss_is_transformers_own(rows, tokenizer):
    model = micro_model("bert-nsp", tokenizer, **SMALL).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)) * 0.1
    objective = NextSentence(tokenizer, probability=0.4)
    batch = objective.collate(rows, np.random.default_rng(4))
    theirs = model(**batch).loss
    assert abs(objective.loss(model, batch) - theirs) < 1e-5
    assert sum(objective.losses(model, batch)).item() == pytest.approx(theirs.item(), abs=1e-5)
    empty = batch | {"labels": torch.full_like(batch["labels"], IGNORE)}
    masked, following = objective.losses(model, empty)
    assert masked.isfinite() and following > 0


def test_bad_input_is_named(rows, tokenizer):
    objective = NextSentence(tokenizer)
    with pytest.raises(DataError, match="row 2 of the batch: field 'sentences' has 1.*sentence_rows"):
        objective.collate([rows[0], {"sentences": [np.array([5])]}])
    with pytest.raises(DataError, match="row 1 of the batch: field 'sentences' has 0"):
        objective.collate([{"text": "a b"}])
    with pytest.raises(DataError, match="row 1 of the batch: no other row's second stretch.*larger batches"):
        for seed in range(20):
            objective.collate(rows[:1], np.random.default_rng(seed))
    with pytest.raises(UsageError, match="BertForMaskedLM has no next-sentence head"):
        objective.loss(micro_model("bert", tokenizer, **SMALL), objective.collate(rows, np.random.default_rng(3)))
