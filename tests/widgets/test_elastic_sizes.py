"""Sizes as they are measured, the picture and its words, the sliders, and what cannot be shown."""

from __future__ import annotations

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

from labkit import measure
from labkit.compression.elastic import extract, shape_of
from labkit.errors import UsageError
from labkit.widgets import elastic_sizes
from labkit.widgets.elastic_sizes import compute, draw

ROWS = [{"ids": [n % 19, (3 * n) % 19, 7], "label": n % 2} for n in range(40)]


class Method:
    """Rows of token numbers."""

    def collate(self, rows, rng=None):
        return {"input_ids": torch.tensor([row["ids"] for row in rows])}

    def logits(self, model, batch):
        return model(**batch).logits


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    config = BertConfig(vocab_size=19, hidden_size=16, num_hidden_layers=4, num_attention_heads=4,
                        intermediate_size=32, max_position_embeddings=8)  # fmt: skip
    return BertForSequenceClassification(config).eval()


def test_a_size_is_the_cut_network_measured(model):
    size = compute(model, Method(), ROWS, 0.5, 0.75)
    small = extract(model, shape_of(model, 0.5, 0.75))
    with torch.no_grad():
        answers = small(torch.tensor([row["ids"] for row in ROWS])).logits.argmax(1)
    assert size.right == sum(int(a) == row["label"] for a, row in zip(answers, ROWS, strict=True)) / len(ROWS)
    assert size.bytes == measure.bytes_on_disk(small) < measure.bytes_on_disk(model)
    assert size.shape.layers == (0, 1, 3) and size.shape.heads == (2, 2, 2) and 0 < size.time


def test_the_picture_fills_what_runs(model):
    size = compute(model, Method(), ROWS, 0.25, 0.5)
    plot = draw([size], size)
    left, right = plot.figure.axes
    filled = [bar for bar in left.patches if bar.get_facecolor()[3] > 0 and bar.get_width() > 0]
    assert len(filled) == 2 * (1 + 1)  # of two layers, a head and a quarter of the neurons
    names = [label.get_text() for label in left.get_yticklabels()]
    assert names == ["layer 1, left out", "layer 2", "layer 3, left out", "layer 4"]
    assert right.collections[-1].get_offsets().tolist() == [[100 * size.time, 100 * size.right]]
    assert "layer 2 with 1 heads and 8 neurons; layer 4" in plot.alt and f"{100 * size.right:.1f} % right" in plot.alt


def test_the_sliders_ask_for_sizes_and_keep_those_seen(model):
    shown = elastic_sizes(model, Method(), ROWS)
    assert "width 1, depth 1: layer 1 with 4 heads" in repr(shown)
    shown.width.value = 0.25
    shown.depth.value = 0.5
    assert "A network at width 0.25, depth 0.5" in repr(shown) and not shown.message.value
    for seen in ("width 1, depth 1 ", "width 0.25, depth 1 ", "width 0.25, depth 0.5 "):
        assert seen in repr(shown).partition("Seen so far")[2]


@pytest.mark.parametrize(("rows", "width", "said"), [([], 1.0, "no rows"), (ROWS, 0.0, "shares above 0")])
def test_what_cannot_be_shown_is_refused(model, rows, width, said):
    with pytest.raises(UsageError, match=said):
        compute(model, Method(), rows, width, 1.0)
