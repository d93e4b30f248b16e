"""Weights that are the model's own, the picture and its words, the sliders, and texts that cannot be shown."""

from __future__ import annotations

import pytest
import torch
from transformers import BertConfig, BertForMaskedLM, BertTokenizer

from labkit.errors import DataError, UsageError
from labkit.widgets import attention_heads
from labkit.widgets.attention_heads import Heads, compute, draw

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "dog", "bites", "man", "猫"]


@pytest.fixture(scope="module")
def parts():
    torch.manual_seed(0)
    config = BertConfig(vocab_size=len(WORDS), hidden_size=12, num_hidden_layers=3, num_attention_heads=2,
                        intermediate_size=16, max_position_embeddings=64, hidden_dropout_prob=0.5)  # fmt: skip
    return BertForMaskedLM(config), BertTokenizer(vocab={word: number for number, word in enumerate(WORDS)})


def test_the_weights_are_those_of_queries_and_keys(parts):
    model, tokenizer = parts
    before = model.train().config._attn_implementation
    heads = compute(model, tokenizer, "dog bites man")
    assert heads.tokens == ("[CLS]", "dog", "bites", "man", "[SEP]") and heads.weights.shape == (3, 2, 5, 5)
    assert model.training and model.config._attn_implementation == before
    with torch.no_grad():
        model.eval()
        x, own = model.bert.embeddings(tokenizer("dog bites man", return_tensors="pt")["input_ids"]), model.bert.encoder
        first = own.layer[0].attention.self
        q, k = (part(x)[0].unflatten(-1, (2, 6)).transpose(0, 1) for part in (first.query, first.key))
        wanted = (q @ k.mT / 6**0.5).softmax(-1)
    torch.testing.assert_close(torch.from_numpy(heads.weights[0]), wanted)


def test_the_picture_says_where_each_token_looks():
    weights = torch.tensor([[[[0.9, 0.1], [0.25, 0.75]], [[0.4, 0.6], [1.0, 0.0]]]]).numpy()
    plot = draw(Heads(("a", "b"), weights), 1, 2)
    assert plot.alt == "Attention weights of layer 1, head 2. Each token looks most: a at b (60%), b at a (100%)."
    axes = plot.figure.axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["a", "b"]
    assert axes.images[0].get_array().tolist() == weights[0, 1].tolist()


def test_sliders_and_text_change_the_picture(parts):
    shown = attention_heads(*parts, "dog bites man", layer=2)
    assert shown.layer.max == 3 and shown.head.max == 2 and "layer 2, head 1" in repr(shown)
    shown.head.value = 2
    assert "layer 2, head 2" in repr(shown)
    shown.text.value = "man 猫"
    assert "猫 at" in repr(shown) and not shown.message.value
    shown.text.value = "dog " * 50
    assert "52 tokens" in shown.message.value and "猫 at" in repr(shown)


@pytest.mark.parametrize(("text", "error", "said"), [
    ("dog " * 39, UsageError, "a text of 41 tokens"), ("dog" * 400, UsageError, "1200 characters"),
    ("a\ud800", DataError, "half of one"),
])  # fmt: skip
def test_what_cannot_be_shown_is_refused(parts, text, error, said):
    with pytest.raises(error, match=said):
        attention_heads(*parts, text)


def test_an_empty_text_shows_the_special_tokens(parts):
    assert compute(*parts, "").tokens == ("[CLS]", "[SEP]")
