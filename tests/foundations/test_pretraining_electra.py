"""Replaced tokens: every token is asked about, padding never; samples carry no gradient; embeddings are shared."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from transformers import BertTokenizer, ElectraForMaskedLM, ElectraForPreTraining

from labkit.errors import UsageError
from labkit.foundations.pretraining import IGNORE, Electra, ReplacedTokens, detected, micro_model, replaced

WORDS = "[PAD] [UNK] [CLS] [SEP] [MASK] a the film was good bad fine it dull great .".split()
SMALL = {"d": 32, "ffn": 64, "positions": 32}
TEXTS = [{"text": "the film was good . it was fine ."}, {"text": "a bad film"}, {"text": "dull . bad . it was great"}]


@pytest.fixture(scope="module")
def tokenizer():
    return BertTokenizer(vocab={word: number for number, word in enumerate(WORDS)}, model_max_length=64)


@pytest.fixture
def model(tokenizer):
    found = micro_model("electra", tokenizer, **SMALL)
    with torch.no_grad():
        for parameter in found.parameters():
            parameter += torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)) * 0.2
    return found


def batch_of(tokenizer, probability=0.4, seed=0):
    return ReplacedTokens(tokenizer, probability=probability).collate(TEXTS, np.random.default_rng(seed))


def test_a_label_is_whether_the_token_differs():
    ids, where = np.array([[7, 8, 9], [5, 6, 7]]), np.array([[True, False, True], [False, True, False]])
    inputs, labels = replaced(ids, where, np.array([7, 10, 11]))
    assert inputs.tolist() == [[7, 8, 10], [5, 11, 7]] and ids[0, 2] == 9
    assert labels.tolist() == [[0, 0, 1], [0, 1, 0]]  # the first sample is the original, and counts as such


def test_every_chosen_token_is_hidden_from_the_generator(tokenizer):
    batch = batch_of(tokenizer)
    chosen = batch["labels"] != IGNORE
    assert (batch["input_ids"][chosen] == tokenizer.mask_token_id).all() and chosen.any()


def test_the_batch_is_what_the_pure_function_says(tokenizer):
    batch = batch_of(tokenizer)
    where = (batch["labels"] != IGNORE).numpy()
    samples = np.random.default_rng(0).integers(5, 16, size=int(where.sum()))
    ids = np.where(where, batch["labels"], batch["input_ids"])
    inputs, labels = detected(batch, torch.from_numpy(samples))
    expected = replaced(ids, where, samples)
    assert (inputs.numpy() == expected[0]).all() and (labels.numpy() == expected[1]).all()
    assert 0 < labels.sum() <= where.sum()


def test_the_discriminators_loss_is_over_all_tokens_and_no_padding(model, tokenizer, monkeypatch):
    objective, batch = ReplacedTokens(tokenizer, probability=0.4), batch_of(tokenizer)
    seen, own = [], F.binary_cross_entropy_with_logits

    def watched(scores, labels, *more, **options):
        seen.append((scores, labels))
        return own(scores, labels, *more, **options)

    monkeypatch.setattr(F, "binary_cross_entropy_with_logits", watched)
    torch.manual_seed(3)
    masked, found = objective.losses(model, batch)
    scores, labels = seen[0]
    assert len(scores) == int(batch["attention_mask"].sum()) < batch["input_ids"].numel()  # specials are among them
    # By hand, from the same samples, with transformers' own discriminator loss.
    torch.manual_seed(3)
    where = batch["labels"] != IGNORE
    logits = model.generator(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits[where]
    inputs, truth = detected(batch, torch.multinomial(logits.softmax(-1), 1).squeeze(-1))
    assert torch.equal(labels.long(), truth[batch["attention_mask"] == 1]) and labels.any()
    theirs = model.discriminator(input_ids=inputs, attention_mask=batch["attention_mask"], labels=truth).loss
    torch.testing.assert_close(found, theirs)
    torch.testing.assert_close(masked, F.cross_entropy(logits, batch["labels"][where]))
    torch.manual_seed(3)
    torch.testing.assert_close(objective.loss(model, batch), masked + 50 * found)


def test_the_discriminator_does_not_reach_the_generator(model, tokenizer):
    objective, batch = ReplacedTokens(tokenizer, probability=0.4), batch_of(tokenizer)
    masked, found = objective.losses(model, batch)
    shared = {id(p) for p in model.discriminator.parameters()}
    own = [p for p in model.generator.parameters() if id(p) not in shared]
    grads = torch.autograd.grad(found, own, allow_unused=True, retain_graph=True)
    assert own and all(grad is None for grad in grads)
    used = [grad is not None for grad in torch.autograd.grad(masked, own, allow_unused=True)]
    assert sum(used) > len(own) / 2  # the generator learns from its own loss


def test_embeddings_are_one_table(model, tokenizer):
    generator, discriminator = model.generator, model.discriminator
    assert generator.electra.embeddings is discriminator.electra.embeddings
    assert generator.generator_lm_head.weight is discriminator.electra.embeddings.word_embeddings.weight
    tables = [name for name, _ in model.named_parameters() if "word_embeddings" in name or "lm_head.weight" in name]
    assert tables == ["generator.electra.embeddings.word_embeddings.weight"]  # a shared one is named once
    assert generator.config.hidden_size == discriminator.config.hidden_size
    assert model.base_model is discriminator.electra


def test_nothing_hidden_is_a_finite_loss(model, tokenizer):
    batch = batch_of(tokenizer, probability=0.0)
    masked, found = ReplacedTokens(tokenizer, probability=0.0).losses(model, batch)
    assert masked == 0 and found > 0
    (masked + found).backward()


def test_bad_input_is_named(tokenizer):
    model = micro_model("electra", tokenizer, **SMALL)
    other = type(model.discriminator.config)(**{**model.discriminator.config.to_dict(), "vocab_size": 99})
    with pytest.raises(UsageError, match="the same vocab_size and embedding_size"):
        Electra(ElectraForMaskedLM(model.generator.config), ElectraForPreTraining(other))
    with pytest.raises(UsageError, match="BertForMaskedLM is no pair"):
        ReplacedTokens(tokenizer).loss(micro_model("bert", tokenizer, **SMALL), batch_of(tokenizer))
    with pytest.raises(UsageError, match="λ"):
        ReplacedTokens(tokenizer, weight=-1)


def test_the_batch_and_the_array_agree_on_what_was_replaced():
    """`detected` on masked tensors is `replaced` on arrays; a sample that is the original token counts as original."""
    ids = np.array([[5, 6, 7, 8], [9, 10, 11, 12]])
    where = np.array([[True, False, True, False], [False, True, False, True]])
    samples = np.array([20, 7, 10, 21])  # the second and the third are the original tokens
    batch = {
        "input_ids": torch.from_numpy(np.where(where, 4, ids)),
        "labels": torch.from_numpy(np.where(where, ids, IGNORE)),
    }
    inputs, labels = detected(batch, torch.from_numpy(samples))
    wanted = replaced(ids, where, samples)
    assert inputs.tolist() == wanted[0].tolist() and labels.tolist() == wanted[1].tolist()
    assert labels.tolist() == [[1, 0, 0, 0], [0, 0, 0, 1]]
