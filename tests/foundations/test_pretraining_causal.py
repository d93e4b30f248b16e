"""The next token: against transformers' own loss, and no position sees what comes after it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from transformers import BertTokenizer

from labkit.errors import DataError, UsageError
from labkit.foundations.pretraining import IGNORE, CausalLM, QueryLayer, micro_model, next_tokens

WORDS = "[PAD] [UNK] [CLS] [SEP] [MASK] a the film was good bad fine it dull great .".split()
SMALL = {"d": 32, "ffn": 64, "positions": 16}
KINDS = ["gpt", "query"]


@pytest.fixture(scope="module")
def tokenizer():
    return BertTokenizer(vocab={word: number for number, word in enumerate(WORDS)}, model_max_length=64)


def lively(kind, tokenizer, **sizes):
    """A small model whose every weight shows."""
    model = micro_model(kind, tokenizer, **{**SMALL, **sizes}).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return model


def rows(*texts, tokenizer):
    return [{"input_ids": np.array(tokenizer(text)["input_ids"])} for text in texts]


def test_labels_are_the_tokens_after():
    ids = np.array([[5, 6, 7, 8], [5, 6, 0, 0]])
    inputs, labels = next_tokens(ids, np.array([[1, 1, 1, 1], [1, 1, 0, 0]]))
    assert (inputs == ids).all() and inputs is not ids
    assert labels.tolist() == [[6, 7, 8, IGNORE], [6, IGNORE, IGNORE, IGNORE]]
    assert next_tokens(np.array([3, 4]))[1].tolist() == [4, IGNORE]


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_is_transformers_own(kind, tokenizer):
    model, objective = lively(kind, tokenizer), CausalLM(tokenizer)
    batch = objective.collate(rows("the film was good .", "bad", "a dull film", tokenizer=tokenizer))
    assert batch["count"].tolist() == [6, 2, 4]
    ours = objective.loss(model, batch)
    theirs_labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, IGNORE)
    if kind == "gpt":
        theirs = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], labels=theirs_labels).loss
    else:  # the same formula of transformers, on the logits of a model of ours
        logits = model(batch["input_ids"], batch["attention_mask"]).logits
        theirs = -torch.stack([
            logits[row, at].log_softmax(-1)[theirs_labels[row, at + 1]]
            for row in range(3) for at in range(6) if theirs_labels[row, at + 1] != IGNORE
        ]).mean()  # fmt: skip
    assert abs(ours - theirs) < 1e-6 * max(1, theirs.item())


@pytest.mark.parametrize("kind", KINDS)
def test_no_position_sees_the_future(kind, tokenizer):
    model = lively(kind, tokenizer)
    ids = torch.tensor([[2, 5, 6, 7, 8, 9, 10, 3]])
    with torch.no_grad():
        before = model(ids, attention_mask=torch.ones_like(ids)).logits[0]
        for changed in range(8):
            other = ids.clone()
            other[0, changed] = 12
            after = model(other, attention_mask=torch.ones_like(ids)).logits[0]
            moved = (before - after).abs().amax(-1) > 1e-5
            assert moved.tolist() == [at >= changed for at in range(8)]


@pytest.mark.parametrize("kind", KINDS)
def test_padding_changes_nothing(kind, tokenizer):
    model = lively(kind, tokenizer)
    short = torch.tensor([[2, 5, 6, 3]])
    padded, mask = torch.tensor([[2, 5, 6, 3, 0, 0]]), torch.tensor([[1, 1, 1, 1, 0, 0]])
    with torch.no_grad():
        alone = model(short, attention_mask=torch.ones_like(short)).logits
        beside = model(padded, attention_mask=mask).logits
    torch.testing.assert_close(beside[:, :4], alone)
    assert torch.isfinite(beside).all()


def test_the_query_layer_by_hand():
    torch.manual_seed(0)
    layer, h = QueryLayer(8, 2, 16, 5).double(), torch.randn(2, 4, 8, dtype=torch.double)
    x, expected = layer.norm_attention(h), torch.empty_like(h)
    for text in range(2):
        for place in range(4):
            query = layer.query(layer.next_position.weight[place])  # the place to be filled asks, not the word
            keys, values = layer.key(x[text, : place + 1]), layer.value(x[text, : place + 1])
            heads = []
            for part in (slice(0, 4), slice(4, 8)):
                weights = (keys[:, part] @ query[part] / math.sqrt(4)).softmax(0)
                heads.append(weights @ values[:, part])
            state = h[text, place] + layer.out(torch.cat(heads))
            expected[text, place] = state + layer.ffn(layer.norm_ffn(state))
    torch.testing.assert_close(layer(h), expected)


def test_the_query_is_the_place_and_nothing_of_the_text():
    torch.manual_seed(0)
    layer, h = QueryLayer(8, 2, 16, 5), torch.randn(1, 4, 8)
    with torch.no_grad():
        before = layer(h)
        layer.next_position.weight[2] += 5.0
        moved = (layer(h) - before).abs().amax(-1)[0] > 1e-6
    assert moved.tolist() == [False, False, True, False]


def test_output_embeddings_are_tied(tokenizer):
    model = micro_model("query", tokenizer, **SMALL)
    shapes = {name: tuple(p.shape) for name, p in model.named_parameters() if "wte" in name or "head" in name}
    assert shapes == {"backbone.wte.weight": (len(WORDS), 32)}
    ids = torch.tensor([[2, 5, 6]])
    states = model.top(model.backbone(ids).last_hidden_state)
    torch.testing.assert_close(model(ids).logits, states @ model.backbone.wte.weight.T)


def test_bad_input_is_named(tokenizer):
    objective = CausalLM(tokenizer)
    good = {"input_ids": np.array([2, 5, 3])}
    with pytest.raises(DataError, match=r"row 2 of the batch: field 'input_ids' has 1 tokens.*leave such rows out"):
        objective.collate([good, {"input_ids": np.array([2])}])
    with pytest.raises(DataError, match="row 2 of the batch has neither 'input_ids' nor a 'text'"):
        objective.collate([good, {"words": "a"}])
    with pytest.raises(UsageError, match="BertModel has no language-model head"):
        objective.loss(micro_model("bert", tokenizer, **SMALL).bert, objective.collate([good]))
    for kind in KINDS:
        with pytest.raises(UsageError, match="a text of 17 tokens: this model reads at most 16; set max_length=16"):
            objective.loss(micro_model(kind, tokenizer, **SMALL), objective.collate([{"input_ids": np.arange(17) % 9}]))
    with pytest.raises(UsageError, match="multiple"):
        QueryLayer(8, 3, 16, 5)
