"""Language modelling: what a text's log-probability is, by hand and by transformers."""

from __future__ import annotations

import math

import pytest
import torch

import labkit
from labkit.errors import DataError
from labkit.evaluation import answers
from labkit.foundations.language import FOLDS, LanguageModel
from labkit.foundations.pretraining.models import micro_model

TEXTS = ["the president ratified the veto in oslo on tuesday .", "rome", "", "who lost the match ? " * 4]
ROWS = [{"sentence": text} for text in TEXTS]


@pytest.fixture(scope="module")
def bert():
    return labkit.load_model("micro-bert-en")


@pytest.fixture(scope="module")
def gpt(bert):
    return micro_model("gpt", bert.tokenizer, seed=1).eval()


def by_hand(model, tokenizer, text):
    """Σ log p of each token, hidden with every FOLDS-th other, one fold after the other."""
    ids = tokenizer(text, return_tensors="pt")["input_ids"]
    places, total = range(1, ids.shape[1] - 1), 0.0
    for fold in range(FOLDS):
        hidden = [place for place in places if place % FOLDS == fold]
        shown = ids.clone()
        shown[0, hidden] = tokenizer.mask_token_id
        with torch.no_grad():
            chances = model(input_ids=shown).logits.log_softmax(-1)
        total += sum(chances[0, place, ids[0, place]].item() for place in hidden)
    return total


def test_a_masked_model_names_every_token_once(bert):
    model, tokenizer = bert
    found = answers(model, LanguageModel(tokenizer, ["sentence"]), ROWS, progress=False)
    for row, answer in zip(ROWS, found, strict=True):
        assert answer["tokens"] == len(tokenizer(row["sentence"])["input_ids"]) - 2
        assert answer["log_probability"] == pytest.approx(by_hand(model, tokenizer, row["sentence"]), abs=1e-3)


def test_a_causal_models_perplexity_is_that_of_transformers(bert, gpt):
    method = LanguageModel(bert.tokenizer, ["sentence"], causal=True)
    rows = [ROWS[0], ROWS[1], ROWS[3]] * 4  # more than are scored at once
    found = answers(gpt, method, rows, progress=False)
    for row, answer in zip(rows, found, strict=True):
        ids = bert.tokenizer(row["sentence"], return_tensors="pt")["input_ids"]
        with torch.no_grad():
            nats = gpt(input_ids=ids, labels=ids).loss.item()
        assert -answer["log_probability"] / answer["tokens"] == pytest.approx(nats, abs=1e-4)
    with torch.no_grad():
        mean = method.loss(gpt, method.collate(rows)).item()
    assert method.score(rows, found)["perplexity"] == pytest.approx(math.exp(mean), rel=1e-4)


def test_the_likely_text_has_the_lower_perplexity(bert):
    model, tokenizer = bert
    method = LanguageModel(tokenizer)
    good, bad = [{"text": TEXTS[0]}], [{"text": "tuesday on veto the the oslo . president in ratified"}]
    scores = [method.score(rows, answers(model, method, rows, progress=False))["perplexity"] for rows in (good, bad)]
    assert 1 <= scores[0] < scores[1]


def test_it_is_saved_and_says_which_row_has_no_text(bert):
    method = LanguageModel(bert.tokenizer, ["sentence"], max_length=20)
    assert LanguageModel.from_description(method.describe(), bert.tokenizer).describe() == method.describe()
    with pytest.raises(DataError, match="row 2 .*'sentence'"):
        method.collate([ROWS[0], {"sentence": None}])


def test_a_tokenizer_without_padding_serves_a_causal_model(bert, gpt):
    from transformers import BertTokenizerFast

    plain = BertTokenizerFast(vocab=bert.tokenizer.get_vocab(), model_max_length=64)
    plain.pad_token = None
    plain.eos_token = "[SEP]"
    method = LanguageModel(plain, ["sentence"], causal=True)
    assert answers(gpt, method, ROWS[:2], progress=False)[1]["tokens"] == 2
