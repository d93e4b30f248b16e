"""labkit.measure: counts against closed forms, files against the file system."""

from __future__ import annotations

import gc
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from transformers import BertConfig, BertForMaskedLM

from labkit import measure
from labkit.errors import DataError, UsageError


def bert() -> BertForMaskedLM:
    sizes = {"vocab_size": 97, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    return BertForMaskedLM(BertConfig(**sizes, intermediate_size=64, max_position_embeddings=40))


def by_hand(v: int, d: int, f: int, layers: int, positions: int) -> int:
    embeddings = (v + positions + 2) * d + 2 * d
    layer = 4 * (d * d + d) + (d * f + f) + (f * d + d) + 4 * d
    return embeddings + layers * layer + (d * d + d + 2 * d) + v  # the decoder is the embeddings again, plus a bias


def test_parameters_count_tied_weights_once():
    model = bert()
    assert measure.parameters(model) == by_hand(97, 32, 64, 2, 40)
    model.cls.predictions.decoder.weight = nn.Parameter(model.cls.predictions.decoder.weight.detach().clone())
    assert measure.parameters(model) == by_hand(97, 32, 64, 2, 40) + 97 * 32


def test_parameters_in_another_form_count_by_what_they_stand_for():
    layer = nn.Module()
    layer.register_buffer("packed", torch.zeros(8, dtype=torch.uint8))
    layer.stands_for = {"packed": 32}
    assert measure.parameters(nn.Sequential(layer, nn.Linear(3, 2))) == 32 + 8


def test_trainable_follows_requires_grad():
    model = bert()
    model.requires_grad_(False)
    model.cls.predictions.bias.requires_grad_(True)
    assert measure.trainable(model) == 97


def test_bytes_equal_a_real_file(tmp_path):
    model = bert()
    model.save_pretrained(tmp_path)
    tensors = measure.saved_tensors(model)
    save_file(tensors, tmp_path / "again.bin")
    assert measure.bytes_on_disk(model) == (tmp_path / "again.bin").stat().st_size
    assert measure.bytes_on_disk(tmp_path) == (tmp_path / "model.safetensors").stat().st_size
    assert abs(measure.bytes_on_disk(model) - measure.bytes_on_disk(tmp_path)) < 200  # their headers carry a "format"
    assert sum(t.numel() for t in tensors.values()) == measure.parameters(model)


def test_views_of_one_storage_are_saved_apart():
    model = nn.Module()
    whole = torch.arange(12.0)
    model.register_buffer("a", whole[:6])
    model.register_buffer("b", whole[6:])
    model.register_buffer("c", whole[:6])
    assert list(measure.saved_tensors(model)) == ["a", "b"]
    assert measure.bytes_on_disk(model) > 48


def test_a_folder_without_weights_is_an_error(tmp_path):
    with pytest.raises(DataError, match="no .safetensors"):
        measure.bytes_on_disk(tmp_path)


def test_latency_is_a_row_s_share_and_leaves_modes_alone():
    seen = []

    def logits(model, batch):
        seen.append(len(batch["x"]))
        assert not model.training and not torch.is_grad_enabled()
        return model(batch["x"])

    method = SimpleNamespace(collate=lambda rows, rng: {"x": torch.zeros(len(rows), 4)}, logits=logits)
    model = nn.Sequential(nn.Linear(4, 4), nn.Dropout()).train()
    model[1].eval()
    assert measure.latency(model, method, [{}] * 5, batch_size=2, repeats=2, warm_up=1) > 0
    assert seen == [2, 2, 2, 1, 2, 2, 1] and model.training and not model[1].training
    with pytest.raises(UsageError, match="rows"):
        measure.latency(model, method, [])


def test_latency_is_the_median_over_rows(monkeypatch):
    ticks = iter([0.0, 0.010, 1.0, 1.004, 2.0, 3.0])
    monkeypatch.setattr(measure.time, "perf_counter", lambda: next(ticks))
    method = SimpleNamespace(collate=lambda rows, rng: {}, logits=lambda m, b: None)
    assert measure.latency(nn.Linear(1, 1), method, [{}] * 2, 2, 3, 0) == pytest.approx(5.0)


def test_peak_memory_of_a_known_sequence():
    before = torch.zeros(1000)

    def work():
        a = torch.zeros(1000)  # 4000 alive
        b = a.view(10, 100) + 1  # 8000
        del a  # 4000
        c = b.double()  # 12 000
        c.add_(1)  # in place: nothing new
        before.mul_(2)  # older than the watch
        return c[0]

    gc.collect()
    assert measure.peak_memory(work) == 12_000
    assert measure.peak_memory(work) == 12_000


def test_peak_memory_sees_what_backward_holds():
    layer = nn.Linear(64, 64, bias=False)
    x = torch.zeros(32, 64)

    def work():
        layer.weight.grad = None
        layer(x).relu().sum().backward()

    assert measure.peak_memory(work) >= 2 * 32 * 64 * 4 + 64 * 64 * 4 - 32 * 64 * 4
    assert measure.peak_memory(lambda: None) == 0
