"""TLM: both sides are masked, positions start again, languages are told apart."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from labkit.errors import DataError, UsageError
from labkit.foundations.pretraining import IGNORE, MaskedLM, TranslationLM, concatenate, micro_model
from labkit.zoo.tokenizer import build_tokenizer

ROWS = [
    {"en": "the apple is red .", "zh": "苹果是红的。"},
    {"en": "the pear is green .", "zh": "梨是绿的。"},
    {"en": "red .", "zh": "红。"},
]
SMALL = {"d": 32, "ffn": 64, "positions": 64}


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer([text for row in ROWS for text in row.values()], least=1)


def original(batch):
    return torch.where(batch["labels"] == IGNORE, batch["input_ids"], batch["labels"])


def test_positions_start_again_and_languages_differ():
    ids, positions, languages = concatenate([np.array([2, 7, 8, 3]), np.array([9, 3])])
    assert ids.tolist() == [2, 7, 8, 3, 9, 3]
    assert positions.tolist() == [0, 1, 2, 3, 0, 1] and languages.tolist() == [0, 0, 0, 0, 1, 1]


def test_a_pair_is_one_text_of_two_sides(tokenizer):
    batch = TranslationLM(tokenizer).collate(ROWS, np.random.default_rng(0))
    ids = original(batch)
    for number, row in enumerate(ROWS):
        real = batch["attention_mask"][number] == 1
        assert ids[number, real].tolist() == tokenizer(row["en"], row["zh"])["input_ids"]
        assert batch["token_type_ids"][number, real].tolist() == tokenizer(row["en"], row["zh"])["token_type_ids"]
        english = int((batch["token_type_ids"][number, real] == 0).sum())
        expected = [*range(english), *range(int(real.sum()) - english)]
        assert batch["position_ids"][number, real].tolist() == expected
    assert batch["count"].tolist() == (batch["labels"] != IGNORE).sum(1).tolist()


def test_both_sides_are_masked_at_the_same_rate(tokenizer):
    objective, found, total = TranslationLM(tokenizer), np.zeros(2), np.zeros(2)
    for seed in range(400):
        batch = {k: v.numpy() for k, v in objective.collate(ROWS, np.random.default_rng(seed)).items()}
        ids = np.where(batch["labels"] == IGNORE, batch["input_ids"], batch["labels"])
        plain = ~np.isin(ids, tokenizer.all_special_ids) & (batch["attention_mask"] == 1)
        assert (batch["labels"][~plain] == IGNORE).all()
        for side in (0, 1):
            here = plain & (batch["token_type_ids"] == side)
            found[side] += (batch["labels"][here] != IGNORE).sum()
            total[side] += here.sum()
    assert (np.abs(found - 0.15 * total) < 5 * np.sqrt(total * 0.15 * 0.85)).all() and (total > 4000).all()


def test_apart_the_same_sentences_stand_alone(tokenizer):
    batch = TranslationLM(tokenizer, together=False).collate(ROWS, np.random.default_rng(0))
    ids = original(batch)
    for number, text in enumerate([row[side] for side in ("en", "zh") for row in ROWS]):
        real = batch["attention_mask"][number] == 1
        assert ids[number, real].tolist() == tokenizer(text)["input_ids"]
        assert (batch["token_type_ids"][number, real] == int(number >= 3)).all()
        assert batch["position_ids"][number, real].tolist() == list(range(int(real.sum())))


def test_ids_and_texts_give_one_batch_and_the_side_is_cut(tokenizer):
    objective = TranslationLM(tokenizer, max_length=6)
    rows = [{side: np.array(tokenizer(text)["input_ids"][1:-1]) for side, text in row.items()} for row in ROWS]
    some, same = (objective.collate(given, np.random.default_rng(1)) for given in (ROWS, rows))
    mixed = objective.collate([rows[0], ROWS[1], rows[2]], np.random.default_rng(1))
    assert all(torch.equal(some[name], same[name]) and torch.equal(some[name], mixed[name]) for name in some)
    assert some["input_ids"].shape[1] == 6 + 5  # [CLS] 4 [SEP] 4 [SEP]


def test_the_loss_is_transformers_own_and_reads_positions_and_languages(tokenizer):
    model = micro_model("bert", tokenizer, **SMALL).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)) * 0.2
    objective = TranslationLM(tokenizer, probability=0.5)
    batch = objective.collate(ROWS, np.random.default_rng(2))
    theirs = model(**{name: value for name, value in batch.items() if name != "count"}).loss
    ours = objective.loss(model, batch)
    assert abs(ours - theirs) < 1e-5 and math.isfinite(ours.item())
    for name in ("position_ids", "token_type_ids"):
        changed = batch | {name: torch.zeros_like(batch[name])}
        assert abs(objective.loss(model, changed) - ours) > 1e-3


@pytest.mark.parametrize("wrong", [{"en": "red ."}, {"en": "red .", "zh": ""}, {"en": "red .", "zh": None}])
def test_an_unpaired_row_is_named(tokenizer, wrong):
    with pytest.raises(DataError, match="row 2 of the batch: field 'zh' is missing or empty.*en and zh.*leave it out"):
        TranslationLM(tokenizer).collate([ROWS[0], wrong])


def test_settings_that_cannot_be_are_refused(tokenizer):
    for fields in ("en", ("en", "en"), ("en",)):
        with pytest.raises(UsageError, match="two different fields"):
            TranslationLM(tokenizer, fields=fields)
    assert isinstance(TranslationLM(tokenizer).masked, MaskedLM)
