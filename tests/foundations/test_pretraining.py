"""Masking rates, the loss at masked positions against each model's own, and the reports' numbers."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import BertConfig, BertForMaskedLM, BertTokenizer

from labkit.errors import TrainingError, UsageError
from labkit.foundations.encoder import HEADS, lm_logits, model_inputs
from labkit.foundations.pretraining import (
    IGNORE,
    MaskedLM,
    frequency_weights,
    mask_tokens,
    mean_loss,
    token_counts,
    tokenize_corpus,
)

WORDS = "[PAD] [UNK] [CLS] [SEP] [MASK] a the film was good bad fine it dull great . [ ] mask".split()
SIZES = {"vocab_size": 40, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
SIZES |= {"max_position_embeddings": 64, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
SIZES |= {"initializer_range": 0.3}  # far from uniform, so that every weight shows
OWN = {  # model type -> settings that differ; the names are those of each configuration
    "bert": {}, "ernie": {}, "megatron-bert": {}, "roformer": {},
    "rembert": {"input_embedding_size": 32, "output_embedding_size": 32},
    "mobilebert": {"embedding_size": 16, "intra_bottleneck_size": 16, "num_feedforward_networks": 1},
    "roberta": {}, "xlm-roberta": {}, "camembert": {}, "data2vec-text": {}, "roberta-prelayernorm": {}, "mpnet": {},
    "esm": {"mask_token_id": 4, "pad_token_id": 1, "token_dropout": False},
    "albert": {"embedding_size": 16, "num_hidden_groups": 1}, "electra": {"embedding_size": 16},
    "convbert": {"embedding_size": 32}, "deberta": {"legacy": True}, "deberta-v2": {"legacy": True},
    "modernbert": {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3, "cls_token_id": 2, "sep_token_id": 3},
    "distilbert": {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64, "dropout": 0.0, "attention_dropout": 0.0},
}  # fmt: skip


@pytest.fixture(scope="module")
def tokenizer():
    return BertTokenizer(vocab={word: number for number, word in enumerate(WORDS)}, model_max_length=64)


def random_model(kind: str, **changes):
    config = transformers.AutoConfig.for_model(kind, **{**SIZES, **OWN[kind], **changes})
    torch.manual_seed(0)
    model = transformers.AutoModelForMaskedLM.from_config(config).eval()
    for name, parameter in model.named_parameters():  # biases and norms too: nothing may hide behind a zero
        if parameter.ndim < 2:
            torch.nn.init.normal_(parameter, float("norm" in name.lower() and name.endswith("weight")), 0.2)
    return model


def random_batch(seed: int = 0, rows: int = 4, tokens: int = 12):
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(5, 40, (rows, tokens), generator=generator)
    mask = torch.arange(tokens) < torch.tensor([tokens, tokens - 3, tokens - 5, tokens - 1])[:, None]
    hidden = (torch.rand(rows, tokens, generator=generator) < 0.3) & mask
    batch = {"input_ids": ids.masked_fill(~mask, 1), "attention_mask": mask.long()}
    return batch | {"labels": ids.masked_fill(~hidden, IGNORE)}


# The loss


def test_the_table_of_heads_is_tested_whole():
    assert {kind for kinds in HEADS.values() for kind in kinds} == set(OWN)


@pytest.mark.parametrize("kind", OWN)
def test_the_loss_at_masked_positions_is_the_models_own(kind, tokenizer):
    model, batch = random_model(kind), random_batch()
    heads = [name for name, kinds in HEADS.items() if kind in kinds and hasattr(model, name)]
    seen = []
    handle = getattr(model, heads[0]).register_forward_hook(lambda _, __, out: seen.append(out.shape[:-1].numel()))
    ours = MaskedLM(tokenizer).loss(model, batch)
    handle.remove()
    theirs = model(**model_inputs(model, batch), labels=batch["labels"]).loss
    assert abs(ours - theirs) < 1e-6 * max(1, theirs.item())
    assert seen == [(batch["labels"] != IGNORE).sum().item()]  # nothing else was computed
    ours.backward()
    mine = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    theirs.backward()
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            torch.testing.assert_close(mine[name], parameter.grad, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("kind", ["deberta", "deberta-v2"])
def test_debertas_newer_head_and_models_outside_the_table(kind, monkeypatch):
    model, batch = random_model(kind, legacy=False), random_batch()
    rows, columns = torch.tensor([0, 2, 2]), torch.tensor([1, 0, 6])
    whole = model(**model_inputs(model, batch)).logits[rows, columns]
    torch.testing.assert_close(lm_logits(model, batch, rows, columns), whole)
    monkeypatch.setattr("labkit.foundations.encoder.HEADS", {})
    torch.testing.assert_close(lm_logits(model, batch, rows, columns), whole)


def test_a_model_is_left_without_hooks_and_without_a_head_is_named(tokenizer):
    model, batch = random_model("bert"), random_batch()
    objective = MaskedLM(tokenizer)
    objective(model, batch)
    assert not model.cls._forward_pre_hooks
    with pytest.raises(IndexError):
        objective(model, batch | {"input_ids": batch["input_ids"] + 1000})
    assert not model.cls._forward_pre_hooks
    for other in (model.bert, transformers.BertForTokenClassification(model.config)):
        with pytest.raises(UsageError, match=f"{type(other).__name__} has no masked-LM head"):
            objective(other, batch)


def test_threads_that_share_a_model_do_not_meet():
    model, batches = random_model("bert"), [random_batch(seed) for seed in range(8)]
    places = [(batch["labels"] != IGNORE).nonzero(as_tuple=True) for batch in batches]

    def answer(number: int):
        with torch.no_grad():
            return lm_logits(model, batches[number % 8], *places[number % 8])

    alone = [answer(number) for number in range(8)]
    with ThreadPoolExecutor(4) as pool:
        for number, found in enumerate(pool.map(answer, range(64))):
            torch.testing.assert_close(found, alone[number % 8])


def test_no_hidden_token_is_a_loss_of_zero_with_a_gradient(tokenizer):
    model, batch = random_model("bert"), random_batch()
    loss = MaskedLM(tokenizer).loss(model, batch | {"labels": torch.full((4, 12), IGNORE)})
    loss.backward()
    assert loss.item() == 0


@pytest.mark.parametrize("kind, limit", [("bert", 64), ("roberta", 62)])
def test_a_text_too_long_for_the_model_is_named(kind, limit):
    model = random_model(kind)
    assert "input_ids" in model_inputs(model, {"input_ids": torch.zeros(1, limit)})
    with pytest.raises(UsageError, match=f"at most {limit}; set the method's max_length={limit}"):
        model_inputs(model, {"input_ids": torch.zeros(1, limit + 1)})


# Masks


def draw(ids, special, seed=0, **options):
    rng = np.random.default_rng(seed)
    return mask_tokens(ids, special, rng, mask_id=4, random_ids=np.arange(5, 1000), **options)


def within(found: int, n: int, p: float, sigmas: float = 5) -> bool:
    return abs(found - n * p) <= sigmas * math.sqrt(n * p * (1 - p))


def test_masking_rates_are_those_of_the_paper():
    ids = np.full((400, 500), 7)
    special = np.zeros(ids.shape, bool)
    special[:, :100] = True
    inputs, labels = draw(ids, special)
    chosen = labels != IGNORE
    assert within(chosen.sum(), 400 * 400, 0.15)
    assert not chosen[special].any() and (inputs[~chosen] == 7).all() and (labels[chosen] == 7).all()
    n = int(chosen.sum())
    assert within((inputs[chosen] == 4).sum(), n, 0.8)
    assert within((inputs[chosen] == 7).sum(), n, 0.1 + 0.1 / 995)
    assert len(np.unique(inputs[chosen])) > 900  # random tokens are drawn from them all
    assert (ids == 7).all()  # the input is not touched


def test_masks_are_new_each_time_and_the_same_for_a_seed():
    ids, special = np.arange(5, 205)[None].repeat(4, 0), np.zeros((4, 200), bool)
    first, again, other = draw(ids, special), draw(ids, special), draw(ids, special, seed=1)
    assert (first[1] == again[1]).all() and (first[0] == again[0]).all()
    assert (first[1] != other[1]).any() and len({row.tobytes() for row in first[1]}) == 4


def test_each_token_id_has_its_own_rate():
    ids = np.random.default_rng(0).integers(5, 10, size=(200, 1000))
    rates = np.linspace(0.05, 0.5, 10)
    _, labels = draw(ids, np.zeros(ids.shape, bool), probability=rates)
    for token in range(5, 10):
        here = ids == token
        assert within((labels[here] != IGNORE).sum(), int(here.sum()), rates[token])


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.sampled_from(WORDS), max_size=20), min_size=1, max_size=6), st.integers(0, 2**32))
def test_collate_hides_no_special_token_and_labels_restore_the_text(texts, seed):
    tokenizer = BertTokenizer(vocab={word: number for number, word in enumerate(WORDS)}, model_max_length=64)
    objective = MaskedLM(tokenizer, probability=0.5)
    rows = tokenize_corpus([" ".join(text) for text in texts], tokenizer, 16)
    batch = {name: value.numpy() for name, value in objective.collate(rows, np.random.default_rng(seed)).items()}
    restored = np.where(batch["labels"] == IGNORE, batch["input_ids"], batch["labels"])
    for row, ids, mask in zip(rows, restored, batch["attention_mask"], strict=True):
        assert ids[mask == 1].tolist() == row["input_ids"].tolist() and (ids[mask == 0] == 0).all()
    chosen = batch["labels"] != IGNORE
    assert not np.isin(batch["labels"][chosen], tokenizer.all_special_ids).any()
    assert not np.isin(batch["input_ids"][chosen], [0, 1, 2, 3]).any()
    assert (batch["count"] == chosen.sum(1)).all()
    assert batch["input_ids"].shape[1] == max(len(row["input_ids"]) for row in rows) <= 16


def test_texts_and_tokenised_rows_give_one_batch(tokenizer):
    texts = ["the film was good .", "bad", "the film [MASK] good"]
    objective = MaskedLM(tokenizer)
    whole = objective.collate([{"text": text} for text in texts], np.random.default_rng(3))
    rows = tokenize_corpus(texts, tokenizer, 128)
    parts = objective.collate(rows, np.random.default_rng(3))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    assert (
        tokenizer.convert_ids_to_tokens(rows[2]["input_ids"].tolist()) == "[CLS] the film [ mask ] good [SEP]".split()
    )
    fixed = [objective.collate(rows)["labels"] for _ in range(2)]
    assert torch.equal(*fixed)


@pytest.mark.parametrize(
    "wrong", [{"replace": (0.8, 0.1, 0.2)}, {"token_probabilities": np.ones(3)}, {"probability": 1.5}]
)
def test_settings_that_cannot_be_are_refused(tokenizer, wrong):
    with pytest.raises(UsageError):
        MaskedLM(tokenizer, **wrong)


# Frequencies


def test_token_counts(tokenizer):
    rows = tokenize_corpus(["the film the", "good"], tokenizer, 16)
    counts = token_counts(rows, len(tokenizer), exclude=tokenizer.all_special_ids)
    assert {WORDS[at]: n for at, n in enumerate(counts) if n} == {"the": 2, "film": 1, "good": 1}
    assert token_counts(rows, len(tokenizer))[tokenizer.cls_token_id] == 2
    with pytest.raises(UsageError, match="vocabulary of 3"):
        token_counts(rows, 3)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.integers(0, 100_000), min_size=1, max_size=60).filter(any),
    st.floats(0.01, 1), st.floats(0.05, 1), st.floats(0, 1.5),
)  # fmt: skip
def test_frequency_weights_have_the_mean_the_cap_and_the_power(counts, share, cap, power):
    counts, mean = np.array(counts), share * cap
    weights = frequency_weights(counts, power=power, cap=cap, mean=mean)
    assert (weights * counts).sum() / counts.sum() == pytest.approx(mean)
    assert (weights > 0).all() and (weights <= cap * (1 + 1e-9)).all() and (weights[counts == 0] == cap).all()
    free = (weights < cap * (1 - 1e-9)) & (counts > 0)
    constants = weights[free] * counts[free] ** power
    np.testing.assert_allclose(constants, constants[:1].repeat(len(constants)), rtol=1e-6)
    if free.any():  # what is capped would be over the cap with the same constant
        assert (constants[0] * counts[(~free) & (counts > 0)] ** -power >= cap * (1 - 1e-6)).all()


def test_frequency_weights_by_hand():
    # power 1: c/1 is over the cap for the rare token; 0.5·1 + 100·(c/100) = .2·101 → c = 19.7
    np.testing.assert_allclose(frequency_weights(np.array([1, 100]), power=1), [0.5, 0.197])
    for wrong in ({"mean": 0.6}, {"mean": 0.0}, {"cap": 1.2}):
        with pytest.raises(UsageError, match="0 < mean <= cap <= 1"):
            frequency_weights(np.array([1, 2]), **wrong)
    with pytest.raises(UsageError, match="corpus is empty"):
        frequency_weights(np.zeros(3))


# Reports


def test_the_loss_against_the_whole_logits(tokenizer):
    torch.manual_seed(0)
    model = BertForMaskedLM(BertConfig(**{**SIZES, "vocab_size": len(WORDS), "initializer_range": 1.0})).train()
    rows = [{"text": "the film was good . " * 3}, {"text": "it was dull"}, {"text": "a bad film"}] * 4
    objective = MaskedLM(tokenizer, probability=0.4)
    found = mean_loss(model, objective, rows, batch_size=5, seed=2)
    assert model.training
    nats, tokens = 0.0, 0
    for number, start in enumerate(range(0, 12, 5)):
        batch = objective.collate(rows[start : start + 5], np.random.default_rng((2, number)))
        with torch.no_grad():
            logits = model.eval()(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
        for row, column in (batch["labels"] != IGNORE).nonzero().tolist():
            label = batch["labels"][row, column]
            nats -= logits[row, column].log_softmax(-1)[label].item()
            tokens += 1
    assert found == pytest.approx(nats / tokens)
    with pytest.raises(UsageError, match="no token"):
        mean_loss(model, objective, [{"text": ""}])
    torch.nn.init.constant_(model.cls.predictions.bias, math.nan)
    with pytest.raises(TrainingError, match="no numbers"):
        mean_loss(model, objective, rows)
