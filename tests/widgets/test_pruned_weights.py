"""The picture of pruned weights: exact counts, shares that add up, the words, the controls, what is refused."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from transformers import BertConfig, BertModel

from labkit.compression.pruning import prepare, sparsity_of
from labkit.errors import UsageError
from labkit.widgets import pruned_weights
from labkit.widgets.pruned_weights import compute, draw

SIZES = {"vocab_size": 9, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}


@pytest.fixture
def model():
    torch.manual_seed(0)
    return prepare(BertModel(BertConfig(**SIZES), add_pooling_layer=False))


@pytest.mark.parametrize("scope", ["model", "matrix"])
@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.9])
def test_the_counts_are_those_of_the_sparsity(model, sparsity, scope):
    seen = []
    cut = compute(model, lambda small: seen.append(sparsity_of(small)) or 0.75, sparsity, scope)
    assert seen == [pytest.approx(sparsity, abs=0.01)] and cut.accuracy == 0.75
    weights = 2 * (4 * 16 * 16 + 2 * 16 * 32)
    assert cut.kept.sum() + cut.gone.sum() == pytest.approx(weights, rel=0.002)  # a thousandth lies beyond the axis
    assert cut.gone.sum() == pytest.approx(sparsity * weights, abs=10)
    assert set(cut.left) == {"query", "key", "value", "head output", "FFN in", "FFN out"}
    area = {"FFN in": 512, "FFN out": 512}
    left = sum(sum(layers) * area.get(kind, 256) for kind, layers in cut.left.items())
    assert left == pytest.approx((1 - sparsity) * weights, abs=12)
    if scope == "matrix":
        assert all(share == pytest.approx(1 - sparsity, abs=0.01) for layers in cut.left.values() for share in layers)
    assert all(layer.mask.all() for layer in model.modules() if hasattr(layer, "mask"))


def test_what_is_left_out_is_smaller_than_what_stays(model):
    cut = compute(model, lambda small: 0.5, 0.4)
    place = int((cut.gone > 0).nonzero()[0].max())
    assert not cut.kept[:place].any()


def test_the_picture_and_its_words(model):
    plot = draw(compute(model, lambda small: 0.814, 0.5, "matrix"))
    assert "4,0" in plot.alt and "the smallest 50% are left out; 81.4% of the answers are right" in plot.alt
    assert "query 50%, 50%" in plot.alt
    sizes, shares = plot.figure.axes
    assert sizes.get_title() == "sparsity 50%: 81.4% right" and len(shares.texts) == 12


def test_slider_and_scope_change_the_picture(model):
    shown = pruned_weights(model, lambda small: 1 - sparsity_of(small), 0.5)
    shown.sparsity.value = 0.8
    assert "smallest 80%" in repr(shown) and "20.0% of the answers" in repr(shown)
    before = repr(shown)
    shown.scope.value = "each matrix alone"
    assert repr(shown) != before and "key 20%, 20%" in repr(shown)


def test_what_cannot_be_shown_is_refused(model):
    with pytest.raises(UsageError, match="knows the matrices of a BERT"):
        compute(prepare(nn.Sequential(nn.Linear(4, 4))), lambda small: 1.0, 0.5)
    with pytest.raises(UsageError, match="sparsity=1.0"):
        compute(model, lambda small: 1.0, 1.0)
    model.encoder.layer[0].output.dense.weight.data[0, 0] = math.nan
    with pytest.raises(UsageError, match="NaN"):
        compute(model, lambda small: 1.0, 0.5)
