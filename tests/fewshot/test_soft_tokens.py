from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from transformers import AutoModelForMaskedLM

from labkit.errors import UsageError
from labkit.evaluation import predict
from labkit.fewshot.pet import PET
from labkit.fewshot.prompts.encoding import encode
from labkit.fewshot.prompts.soft_tokens import (
    addressed,
    attach_soft_tokens,
    detach_soft_tokens,
    fold_soft_tokens,
    soft_token_ids,
)
from labkit.fewshot.prompts.template import Template
from labkit.fewshot.prompts.verbalizer import Verbalizer
from labkit.training import Batches, fit
from labkit.zoo import load

WORDS = {"negative": "bad", "positive": "great"}
ROWS = [
    {"text": "the soup was delicious .", "label": 1},
    {"text": "what an ugly phone .", "label": 0},
    {"text": "we loved the dessert and the soup .", "label": 1},
]


@pytest.fixture(scope="module")
def base():
    return load("micro-bert-en")


def pet(base, template):
    return PET(template, Verbalizer(WORDS, base.tokenizer), base.tokenizer)


def test_a_soft_token_starts_as_its_word_so_nothing_changes_before_training(base):
    model, soft = copy.deepcopy(base.model), pet(base, "{text} {soft:it is} {mask} .")
    hard = predict(model, pet(base, "{text} it is {mask} ."), ROWS, progress=False)
    assert np.array_equal(predict(model, soft, ROWS, progress=False), hard)
    attach_soft_tokens(model, soft.template, base.tokenizer)
    assert np.array_equal(predict(model, soft, ROWS, progress=False), hard)


def test_the_ids_count_the_soft_tokens_of_a_row(base):
    model, template = copy.deepcopy(base.model), Template.parse("{soft*2} {text} {soft:it is} {mask}")
    attach_soft_tokens(model, template, base.tokenizer)
    batch = encode(template, ROWS, base.tokenizer)
    ids, start = addressed(model, batch)["input_ids"], len(base.tokenizer)
    for row in ids.tolist():
        assert [number - start for number in row if number >= start] == [0, 1, 2, 3]
    words = base.tokenizer.convert_tokens_to_ids(["it", "is"])
    assert soft_token_ids(template, base.tokenizer) == [None, None, *words]


def test_only_the_soft_table_trains_when_the_rest_is_frozen_and_detaching_restores_the_module(base):
    model, how = copy.deepcopy(base.model), pet(base, "{text} {soft:it is} {mask} .")
    embedding = model.get_input_embeddings()
    model.requires_grad_(False)
    attach_soft_tokens(model, how.template, base.tokenizer)
    table = model.get_input_embeddings().soft.weight
    before = {name: value.clone() for name, value in model.state_dict().items()}
    fit(model, how.loss, Batches(ROWS, how.collate, 3, seed=0), steps=3, lr=0.1, progress=False)
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert len(changed) == 1 and next(iter(changed)).endswith("soft.weight")
    assert not torch.equal(table[0], table[1])
    detach_soft_tokens(model)
    assert model.get_input_embeddings() is embedding and not hasattr(model.config, "soft_start")
    assert all(torch.equal(value, base.model.state_dict()[name]) for name, value in model.state_dict().items())


def test_an_encoder_of_the_soft_tokens_is_trained_and_folded_away(base):
    torch.manual_seed(0)
    model, how = copy.deepcopy(base.model), pet(base, "{text} {soft:it is} {mask} .")
    encoder = torch.nn.Linear(128, 128)
    attach_soft_tokens(model, how.template, base.tokenizer, encoder=encoder)
    fit(model, how.loss, Batches(ROWS, how.collate, 3, seed=0), steps=3, lr=0.01, progress=False)
    assert encoder.weight.grad is not None or not torch.equal(encoder.bias, torch.zeros(128))
    folded = fold_soft_tokens(model)
    assert folded.config.vocab_size == len(base.tokenizer) + 2
    there, here = predict(folded, how, ROWS, progress=False), predict(model, how, ROWS, progress=False)
    assert np.allclose(there, here, atol=1e-6)


def test_plain_transformers_saves_and_loads_a_folded_model(base, tmp_path):
    model, how = copy.deepcopy(base.model), pet(base, "{text} {soft*3} {mask} .")
    attach_soft_tokens(model, how.template, base.tokenizer, seed=3)
    fit(model, how.loss, Batches(ROWS, how.collate, 3, seed=0), steps=2, lr=0.01, progress=False)
    fold_soft_tokens(model).save_pretrained(tmp_path)
    again = AutoModelForMaskedLM.from_pretrained(tmp_path)
    there, here = predict(again, how, ROWS, progress=False), predict(model, how, ROWS, progress=False)
    assert np.allclose(there, here, atol=1e-6)


def test_what_cannot_be_attached_says_why(base):
    model = copy.deepcopy(base.model)
    with pytest.raises(UsageError, match=r"no soft tokens: write \{soft:it is\}"):
        attach_soft_tokens(model, "{text} it is {mask} .", base.tokenizer)
    with pytest.raises(UsageError, match="has no soft tokens: give it some"):
        detach_soft_tokens(model)
    attach_soft_tokens(model, "{text} {soft*1} {mask} .", base.tokenizer)
    with pytest.raises(UsageError, match="has soft tokens already"):
        attach_soft_tokens(model, "{text} {soft*1} {mask} .", base.tokenizer)
