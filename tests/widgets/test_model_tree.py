"""The tree's sums against labkit.measure, on models of every kind, its filter and its controls."""

from __future__ import annotations

import sys

import pytest
import torch
from safetensors.torch import save
from torch import nn
from transformers import (
    BertConfig,
    BertForMaskedLM,
    GPT2Config,
    GPT2LMHeadModel,
    T5Config,
    T5ForConditionalGeneration,
)

from labkit import measure
from labkit.errors import UsageError
from labkit.widgets import model_tree
from labkit.widgets.model_tree import compute, draw, matching

SMALL = {"vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}


def micro():
    from labkit.zoo import load

    return load("micro-bert-en").model


def bert():
    return BertForMaskedLM(BertConfig(**SMALL))


def gpt2():
    return GPT2LMHeadModel(GPT2Config(vocab_size=50, n_embd=16, n_layer=2, n_head=2, n_positions=32))


def t5():
    config = T5Config(vocab_size=50, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2)
    return T5ForConditionalGeneration(config)


def with_lora():
    from peft import LoraConfig, get_peft_model

    return get_peft_model(bert(), LoraConfig(r=2, target_modules=["query", "value"]))


def shared():
    """A layer that stands in two places, a weight in two layers, a frozen layer, a buffer."""
    layer, tied = nn.Linear(4, 4), nn.Linear(4, 4, bias=False)
    model = nn.Sequential(layer, nn.ReLU(), nn.ModuleDict({"again": layer, "norm": nn.BatchNorm1d(4)}), tied)
    model.append(nn.Linear(4, 4)).append(nn.Linear(4, 2).requires_grad_(False))
    model[4].weight = tied.weight
    return model


def integers():
    """A layer whose int8 buffer stands for weights, as labkit's own has it."""
    model = nn.Sequential(nn.Linear(4, 4), nn.Module())
    model[1].register_buffer("packed", torch.zeros(6, dtype=torch.int8))
    model[1].stands_for = {"packed": 12}
    return model


MODELS = (micro, bert, gpt2, t5, with_lora, shared, integers, nn.ReLU, nn.Identity)


@pytest.mark.parametrize("make", MODELS)
def test_the_sums_are_those_of_measure(make):
    model = make()
    root = compute(model)
    header = 8 + int.from_bytes(save(measure.saved_tensors(model))[:8], "little")
    assert root.parameters == measure.parameters(model)
    assert root.trainable == measure.trainable(model)
    assert root.bytes == measure.bytes_on_disk(model) - header
    for node in root.walk():  # and each sum is the sum of what is shown below it
        parts = (*node.weights, *node.children)
        assert node.parameters == sum(part.parameters for part in parts)
        assert node.bytes == sum(part.bytes for part in parts)


@pytest.mark.parametrize("make", [bert, gpt2, t5])
def test_every_module_is_there_once_with_its_own_weights(make):
    model = make()
    nodes = {node.path: node for node in compute(model).walk()}
    assert list(nodes) == [name for name, _ in model.named_modules()]
    for name, module in model.named_modules():
        own = {weight.name: weight.shape for weight in nodes[name].weights}
        wanted = {
            key: tuple(p.shape) for key, p in (*module._parameters.items(), *module._buffers.items()) if p is not None
        }
        assert own == wanted and nodes[name].kind == type(module).__name__


def test_tied_weights_count_once_and_say_where():
    nodes = {node.path: node for node in compute(bert()).walk()}
    decoder = nodes["cls.predictions.decoder"]
    assert decoder.parameters == decoder.bytes == 0
    assert {w.elsewhere for w in decoder.weights} == {
        "bert.embeddings.word_embeddings.weight", "cls.predictions.bias"
    }  # fmt: skip
    assert nodes["bert.embeddings.word_embeddings"].parameters == 50 * 16
    html = draw(compute(bert()), depth=9).html
    assert "tied to bert.embeddings.word_embeddings.weight, cls.predictions.bias, counted there" in html


def test_a_module_in_two_places_counts_once_and_says_where():
    root = compute(shared())
    nodes = {node.path: node for node in root.walk()}
    assert nodes["2.again"].elsewhere == "0" and nodes["2.again"].parameters == 0
    assert nodes["4"].parameters == 4 and nodes["3"].parameters == 16
    assert nodes["5"].trainable == 0 and nodes["5"].parameters == 10
    html = draw(root).html
    assert "the same module as 0, counted there" in html and html.count("❄ frozen") >= 2


def test_a_delta_shows_what_is_trained():
    model = with_lora()
    root = compute(model)
    assert 0 < root.trainable < root.parameters
    share = f"({100 * measure.trainable(model) / measure.parameters(model):.3g} %) are trained"
    assert share in draw(root).html
    (query, *_) = matching(root, "query")
    assert query.trainable == 2 * 16 * 2  # A (2, 16) and B (16, 2)


def test_a_model_without_weights():
    html = draw(compute(nn.Sequential(nn.ReLU(), nn.Dropout()))).html
    assert "0 weights, 0 bytes" in html and html.count("no weights") == 3


@pytest.mark.parametrize(
    ("pattern", "paths"),
    [
        ("attention.self", ["bert.encoder.layer.0.attention.self", "bert.encoder.layer.1.attention.self"]),
        ("re:layer\\.1$", ["bert.encoder.layer.1"]),
        ("word_embeddings", ["bert.embeddings.word_embeddings"]),
    ],
)
def test_the_filter_takes_the_end_of_a_path_or_an_expression(pattern, paths):
    root = compute(bert())
    assert [node.path for node in matching(root, pattern)] == paths
    html = draw(root, pattern=pattern).html
    assert html.count("<mark>") == len(paths) and f"{len(paths)} module" in html
    assert "LayerNorm" not in html.partition("</mark>")[0]  # what does not lead there is not shown


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("mbeddings", "fits no module"),
        ("re:(", "no regular expression"),
        ("a" * 201, "201 characters"),
        ("<b>", "&lt;b&gt;"),
    ],
)
def test_a_filter_that_fits_nothing_is_one_sentence(pattern, said):
    shown = model_tree(bert())
    before = shown.view.value
    shown.filter.value = pattern
    assert said in shown.message.value and shown.view.value == before
    with pytest.raises(UsageError):
        matching(compute(bert()), pattern)


def test_what_matches_is_summed_without_counting_twice():
    root = compute(bert())
    inner = matching(root, "re:layer\\.0")  # a layer and all below it
    assert len(inner) > 5
    whole = next(node for node in root.walk() if node.path == "bert.encoder.layer.0").parameters
    assert f"{whole:,} weights" in draw(root, pattern="re:layer\\.0").html.partition("<details")[0]


def test_the_depth_unfolds_and_everything_below_is_there_without_a_kernel():
    root = compute(bert())
    shallow, deep = draw(root, 0).html, draw(root, 9).html
    assert shallow.count("<details open") == 0 < deep.count("<details open")
    assert shallow.replace(" open", "") == deep.replace(" open", "")
    assert shallow.count("<details") == shallow.count("</details>")


def test_a_huge_model_is_cut_at_the_depth(monkeypatch):
    monkeypatch.setattr(sys.modules["labkit.widgets.model_tree"], "MAX_NODES", 10)
    html = draw(compute(bert()), 1).html
    assert "raise the depth, or filter" in html and "attention" not in html


def test_every_control_changes_the_picture():
    shown = model_tree(bert())
    pictures = {shown.view.value}
    for control, value in ((shown.depth, 4), (shown.filter, "query"), (shown.depth, 1)):
        control.value = value
        pictures.add(shown.view.value)
    assert shown.message.value == "" and len(pictures) == 3  # a filter unfolds all that it shows
    assert repr(shown).startswith("Tree of BertForMaskedLM: ") and "Tied: cls.predictions.decoder.weight to" in repr(
        shown
    )
