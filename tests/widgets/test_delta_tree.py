"""The delta's tree against labkit.measure, its marks, and its controls."""

from __future__ import annotations

import pytest

from labkit import measure
from labkit.errors import UsageError
from labkit.fewshot.delta_tuning import BitFit, LoRA, save_delta, trained_tensors
from labkit.widgets import delta_tree
from labkit.widgets.delta_tree import compute, draw
from tests.fewshot.delta_models import EVERY, digest, make


@pytest.mark.parametrize("name", EVERY)
def test_the_sums_are_those_of_measure(name, tmp_path):
    model = make()
    before = digest(model.state_dict())
    found = compute(model, name, EVERY[name])
    assert digest(model.state_dict()) == before and not hasattr(model, "labkit_delta")
    assert found.backbone == measure.parameters(model)
    carrier = EVERY[name].attach(make())
    assert found.trained == found.root.trainable == measure.trainable(carrier)
    holders = {place.rpartition(".")[0] for place in trained_tensors(carrier)}
    assert holders <= found.marked or name == "combined"  # a tied tensor is counted in its first place
    save_delta(carrier, tmp_path / "d")
    header = 8 + int.from_bytes((tmp_path / "d" / "delta.safetensors").read_bytes()[:8], "little")
    assert found.saved == (tmp_path / "d" / "delta.safetensors").stat().st_size - header


def test_everything_trains_without_a_delta_and_a_carried_one_is_taken_off():
    whole = compute(BitFit().attach(make()), "all", None)
    assert whole.share == 1.0 and whole.trained == measure.parameters(make())
    assert compute(BitFit().attach(make()), "LoRA", LoRA(rank=2)).trained == 3 * 2 * 2 * 64


def test_only_the_way_to_what_trains_is_drawn():
    sitting = compute(make(), "LoRA <4>", LoRA(rank=4))
    picture, whole = draw(sitting), draw(sitting, depth=3, only=False)
    assert "lora_A" in picture.html and "LayerNorm" not in picture.html and "LayerNorm" in whole.html
    assert picture.html.count("<mark>lora</mark>") == 12  # A and B of query and value in three layers
    for words in ("LoRA &lt;4&gt;", "1,536 weights in 12 modules", "saved: 6.14 kB"):
        assert words in picture.html
    assert "LoRA <4>: 1,536 trained weights" in picture.alt and "and 4 more" in picture.alt


def test_the_controls():
    shown = delta_tree(make(), {"LoRA": LoRA(rank=2), "BitFit": BitFit(), "all": None, "bad": LoRA(rank=99)})
    assert "LoRA" in shown.view.value
    shown.delta.value = "BitFit"
    assert "BitFit" in shown.view.value and "lora" not in shown.view.value and not shown.message.value
    shown.only.value = False
    assert "dropout" in shown.view.value
    shown.delta.value = "bad"
    assert "rank=99 is more than" in shown.message.value and "BitFit" in shown.view.value
    shown.delta.value = "all"
    assert not shown.message.value and "100.0" in shown.view.value
    with pytest.raises(UsageError, match="1 to 20 deltas by name"):
        delta_tree(make(), {})
