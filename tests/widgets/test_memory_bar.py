"""The bars against the closed forms, the picture's words, and the controls."""

from __future__ import annotations

import pytest

from labkit.errors import UsageError
from labkit.parallel.memory.anatomy import state_bytes
from labkit.parallel.memory.shape import preset
from labkit.widgets import memory_bar
from labkit.widgets.memory_bar import PARTS, compute, draw


def test_the_bars_are_the_closed_forms():
    bars = compute("gpt2-xl", ranks=64, rows=2, card=80)
    for stage, parts in enumerate(bars.parts):
        states = state_bytes(preset("gpt2-xl").parameters, "bf16", stage, 64)
        assert parts[:3] == (states.weights, states.gradients, states.optimizer)
    activations = {parts[PARTS.index("activations")] for parts in bars.parts}
    assert len(activations) == 1  # ZeRO does not touch them
    assert sorted(bars.totals, reverse=True) == list(bars.totals) and bars.card == 80e9
    assert compute("gpt2-xl", ranks=64, checkpoints=True).totals[0] < compute("gpt2-xl", ranks=64).totals[0]
    alone = compute("bert-base", ranks=1)
    assert len({round(total) for total in alone.totals}) == 1  # nobody to share with


def test_the_picture_says_what_it_shows():
    plot = draw(compute("fewclue-1.2b", ranks=8, card=16))
    assert "ZeRO 0: 21.1 GB (weights 2.51 GB, gradients 2.51 GB, optimizer 15.1 GB" in plot.alt
    assert "The card has 16 GB" in plot.alt
    (axes,) = plot.figure.axes
    texts = [text.get_text() for text in axes.texts]
    assert texts[0] == "21.1 GB, too much" and texts[3].endswith("fits") and "the card: 16 GB" in texts
    assert [text.get_text() for text in plot.figure.legends[0].get_texts()] == list(PARTS)
    assert plot.png()[:4] == b"\x89PNG"


def test_the_controls():
    shown = memory_bar()
    assert "fewclue-1.2b" in shown.view.value
    for control, value, word in (
        ("model", "gpt3-175b", "175 billion"), ("ranks", 1024, "1024 GPUs"), ("card", 80, "has 80 GB"),
        ("dtype", "fp32", "fp32"), ("rows", 4, "4 × 2,048 tokens"), ("checkpoints", True, "checkpoints before every"),
    ):  # fmt: skip
        before = shown.view.value
        getattr(shown, control).value = value
        assert word in shown.view.value and shown.view.value != before and not shown.message.value
    with pytest.raises(UsageError, match="unknown model shape 'gpt4'"):
        memory_bar("gpt4")
    with pytest.raises(UsageError, match="3 GPUs of 32 GB: choose 1, 2, 4"):
        memory_bar(ranks=3)
