"""The gates of an LSTM along a text: the numbers are the layer's own, the picture says them, controls change it."""

from __future__ import annotations

import pytest
import torch
from transformers import BertTokenizer

from labkit.errors import UsageError
from labkit.foundations.sequences.classifier import classifier
from labkit.widgets.lstm_gates import compute, draw, lstm_gates

WORDS = "[PAD] [UNK] [CLS] [SEP] [MASK] the film was not good bad".split()


@pytest.fixture(scope="module")
def parts():
    tokenizer = BertTokenizer(vocab={word: number for number, word in enumerate(WORDS)}, model_max_length=64)
    return classifier("lstm", len(WORDS), ("no", "yes"), size=6), tokenizer


def test_the_numbers_are_the_models(parts):
    model, tokenizer = parts
    found = compute(model, tokenizer, "not bad")
    ids = torch.tensor([tokenizer("not bad")["input_ids"]])
    with torch.no_grad():
        wanted = model(ids).logits.softmax(1)[0, 1]
        shorter = model(ids[:, :2]).logits.softmax(1)[0, 1]
    assert found.tokens == ["[CLS]", "not", "bad", "[SEP]"] and found.label == "yes"
    assert found.shares[[1, 3]] == pytest.approx([float(shorter), float(wanted)], abs=1e-6)
    cell, (f, i, g) = found.gates["cell"], (found.gates[name] for name in ("forget", "input", "candidate"))
    assert cell[1:] == pytest.approx(f[1:] * cell[:-1] + i[1:] * g[1:], abs=1e-6)


def test_units_stand_in_the_order_of_their_weight(parts):
    model, tokenizer = parts
    found = compute(model, tokenizer, "the film was good")
    assert sorted(found.units) == list(range(6))
    weight = (model.head.weight[1] - model.head.weight[0]).detach().numpy()[found.units]
    pushes = abs(found.gates["hidden"][-1] * weight)
    assert list(pushes) == sorted(pushes, reverse=True)


def test_text_and_unit_change_the_picture(parts):
    shown = lstm_gates(*parts, "not bad")
    first = repr(shown)
    assert "not: forget" in first and "p(yes)" in first
    shown.rank.value = 3
    second = repr(shown)
    assert second != first and f"unit {compute(*parts, 'not bad').units[2]}" in second
    shown.text.value = "the film was <b>good</b> 好"
    assert "film: forget" in repr(shown) and not shown.message.value
    shown.text.value = "good " * 60
    assert "up to 26 can be seen" in shown.message.value and "film: forget" in repr(shown)


def test_the_panels_have_names(parts):
    figure = draw(compute(*parts, "not bad"), 1).figure
    axes = [one for one in figure.axes if one.get_label() != "<colorbar>"]
    assert [label.get_text() for label in axes[2].get_xticklabels()] == ["[CLS]", "not", "bad", "[SEP]"]
    assert axes[2].get_ylabel() == "p(yes)" and [len(one.get_yticklabels()) for one in axes[:2]] == [3, 3]


def test_other_readers_have_no_such_gates(parts):
    for reader, options in (("gru", {}), ("bag", {}), ("lstm", {"bidirectional": True})):
        with pytest.raises(UsageError, match="reads in one direction"):
            compute(classifier(reader, len(WORDS), ("no", "yes"), **options), parts[1], "bad")
