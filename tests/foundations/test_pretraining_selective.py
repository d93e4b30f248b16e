"""Selective masking: which batches are asked for telling words, how often those are hidden, that the rest is BERT's."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import BertTokenizer

from labkit.foundations.pretraining import IGNORE, MaskedLM, SelectiveLM, micro_model, tokenize_corpus
from labkit.foundations.pretraining.selective import HIDDEN, REST
from labkit.training import Batches, fit

WORDS = "[PAD] [UNK] [CLS] [SEP] [MASK] a the film was good bad fine it dull great .".split()
TELLING = [WORDS.index(word) for word in ("good", "bad")]
TOKENIZER = BertTokenizer(vocab={word: number for number, word in enumerate(WORDS)}, model_max_length=64)


def rows_of(texts):
    return tokenize_corpus([" ".join(text) for text in texts], TOKENIZER, 16)


def padded(rows):
    """(ids, attention mask) of rows, (rows, tokens)."""
    width = max(len(row["input_ids"]) for row in rows)
    ids = np.stack([np.pad(row["input_ids"].astype(np.int64), (0, width - len(row["input_ids"]))) for row in rows])
    return ids, (ids != TOKENIZER.pad_token_id).astype(np.int64)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from(WORDS[5:]), max_size=14), min_size=1, max_size=8),
    st.sampled_from([0.0, 0.3, 1.0]), st.floats(0.05, 0.9), st.integers(0, 2**32),
)  # fmt: skip
def test_batches_not_asked_are_those_of_masked_lm_and_no_special_token_is_hidden(texts, selective, probability, seed):
    ids, mask = padded(rows_of(texts))
    ours = SelectiveLM(TOKENIZER, telling=TELLING, selective=selective, probability=probability)
    inputs, labels = ours.hide(ids, mask, np.random.default_rng(seed))
    rng = np.random.default_rng(seed)
    if rng.random() >= selective:
        plain_inputs, plain_labels = MaskedLM(TOKENIZER, probability=probability).hide(ids, mask, rng)
        assert (inputs == plain_inputs).all() and (labels == plain_labels).all()
    chosen = labels != IGNORE
    assert not chosen[np.isin(ids, TOKENIZER.all_special_ids)].any()
    assert (inputs[~chosen] == ids[~chosen]).all() and (labels[chosen] == ids[chosen]).all()
    batch = ours.collate(rows_of(texts), np.random.default_rng(seed))
    assert (batch["labels"][:, : ids.shape[1]].numpy() == labels).all()
    assert (batch["count"].numpy() == chosen.sum(1)).all()


def rates(selective, text, **masking):
    """How often a telling and how often another word is hidden in 4000 copies of a text; and what becomes of them."""
    ids, mask = (np.pad(part, ((0, 0), (0, 2))) for part in padded(rows_of([text.split()] * 4000)))
    objective = SelectiveLM(TOKENIZER, telling=TELLING, selective=selective, **masking)
    inputs, labels = objective.hide(ids, mask, np.random.default_rng(0))
    telling, special = np.isin(ids, TELLING), np.isin(ids, TOKENIZER.all_special_ids)
    chosen = labels != IGNORE
    assert not chosen[special].any() and (inputs[special] == ids[special]).all()
    shares = [(inputs[chosen] == token).mean() for token in (TOKENIZER.mask_token_id, *TELLING)]
    return chosen[telling], chosen[~telling & ~special], shares


def within(found: np.ndarray, chance: float) -> bool:
    return abs(found.mean() - chance) <= 5 * math.sqrt(chance * (1 - chance) / found.size)


def test_asked_batches_hide_telling_tokens_and_hardly_any_other():
    telling, others, shares = rates(1.0, "the film was good . it was bad", probability=0.5)
    assert within(telling, HIDDEN) and within(others, REST) and (HIDDEN, REST) == (0.8, 0.02)
    assert shares[0] == pytest.approx(0.8, abs=0.02), "what is hidden becomes [MASK] as often as BERT's"
    telling, *_, shares = rates(1.0, "good bad", replace=(0.0, 0.0, 1.0))
    assert within(telling, HIDDEN)
    assert shares == pytest.approx([0, 0.5, 0.5], abs=0.03), "a model from left to right has them in sight"


def test_a_share_of_the_batches_is_asked():
    ids, mask = padded(rows_of(["the film was good . it was bad".split()] * 40))
    objective, rng = SelectiveLM(TOKENIZER, telling=TELLING, selective=0.25, probability=0.1), np.random.default_rng(0)
    telling = np.isin(ids, TELLING)
    shares = np.array([(objective.hide(ids, mask, rng)[1][telling] != IGNORE).mean() for _ in range(600)])
    assert (np.abs(shares - HIDDEN) < 0.25).mean() == pytest.approx(0.25, abs=0.09)
    assert ((np.abs(shares - HIDDEN) < 0.25) | (np.abs(shares - 0.1) < 0.25)).all()  # whole or not at all


def test_a_model_is_trained_with_it():
    rows = rows_of([text.split() for text in ("the film was good .", "it was dull .", "a bad film")] * 8)
    objective, losses = SelectiveLM(TOKENIZER, telling=TELLING), []
    for _ in range(2):
        model = micro_model("bert", TOKENIZER, d=32, ffn=64, positions=64)
        before = model.bert.embeddings.word_embeddings.weight.detach().clone()
        batches = Batches(rows, objective.collate, 8)
        losses.append(fit(model, objective.loss, batches, steps=2, lr=1e-2, progress=False).losses)
        assert not torch.equal(before, model.bert.embeddings.word_embeddings.weight)
    assert len(losses[0]) == 2 and losses[0] == losses[1] and all(map(math.isfinite, losses[0]))
