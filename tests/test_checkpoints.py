from __future__ import annotations

import errno
import json
import os
import pickle
import random
import struct
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from transformers import AutoModelForMaskedLM, BertConfig, BertForMaskedLM

from labkit import checkpoints, files
from labkit.checkpoints import Snapshot, load, read, save, steps, weights
from labkit.errors import CheckpointError, LabkitError

KILLED = Path(__file__).with_name("killed_runs.py")


def snapshot(step: int) -> Snapshot:
    tensors = {"w": torch.full((4, 3), float(step)), "b": torch.arange(3)}
    return Snapshot(step, tensors, {"exp_avg:w": tensors["w"] * 2}, {"losses": torch.ones(step)}, {"seconds": 1.5})


@pytest.fixture
def folder(tmp_path):
    for step in (5, 10):
        save(tmp_path, snapshot(step))
    return tmp_path


def flip(path: Path, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[bit // 8 % len(content)] ^= 1 << bit % 8
    path.write_bytes(content)


def tell_manifest(path: Path) -> None:
    """Make the manifest agree with the files: what someone does who means harm, not a disk."""
    listed = [file for file in path.iterdir() if file.name != "manifest.json"]
    entries = {file.name: {"size": file.stat().st_size, "sha256": files.sha256(file)} for file in listed}
    (path / "manifest.json").write_text(json.dumps({"files": entries}))


def test_what_is_read_is_what_was_saved(folder):
    path, found = load(folder)
    assert path.name == "step-000010" and found.step == 10
    want = snapshot(10)
    for part in checkpoints.TENSORS:
        torch.testing.assert_close(getattr(found, part), getattr(want, part), rtol=0, atol=0)
    assert found.facts == {"seconds": 1.5, "step": 10}
    assert {file.name for file in path.iterdir()} == checkpoints.REQUIRED | {"manifest.json"}


def test_an_empty_folder_holds_none(tmp_path):
    assert load(tmp_path) is None and load(tmp_path / "absent") is None


def test_only_the_newest_are_kept(tmp_path):
    for step in range(1, 8):
        save(tmp_path, snapshot(step), keep=3)
    assert [path.name for path in steps(tmp_path)] == ["step-000007", "step-000006", "step-000005"]
    assert len(list(tmp_path.iterdir())) == 3


def test_steps_beyond_six_digits_are_in_order(tmp_path):
    for step in (999_999, 1_000_000):
        save(tmp_path, Snapshot(step, {}))
    assert load(tmp_path)[1].step == 1_000_000


@pytest.mark.parametrize("name", sorted(checkpoints.REQUIRED))
@pytest.mark.parametrize("harm", ["flip", "cut", "remove"])
def test_a_damaged_checkpoint_is_refused_and_the_one_before_is_used(folder, name, harm):
    file = folder / "step-000010" / name
    if harm == "flip":
        flip(file, random.Random(name).randrange(8 * file.stat().st_size))
    elif harm == "cut":
        file.write_bytes(file.read_bytes()[:-1])
    else:
        file.unlink()
    with pytest.warns(RuntimeWarning, match=rf"step-000010/{name}: .*; going on from step-000005"):
        path, found = load(folder)
    assert found.step == 5 and path.name == "step-000005"


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"files": 3}', '{"files": {"state.json": {"size": 1}}}', '{"files": {}}']
)
def test_a_damaged_manifest_is_refused(folder, content):
    (folder / "step-000010" / "manifest.json").write_text(content)
    with pytest.warns(RuntimeWarning, match="manifest.json"):
        assert load(folder)[1].step == 5


def test_none_usable_is_an_error_that_names_each(folder):
    flip(folder / "step-000010" / "model.safetensors", 900)
    (folder / "step-000005" / "manifest.json").unlink()
    with pytest.raises(CheckpointError, match="no checkpoint is usable.*000010/model.*000005/manifest"):
        load(folder)


def test_a_manifest_does_not_reach_outside_its_folder(folder):
    manifest = folder / "step-000010" / "manifest.json"
    entries = json.loads(manifest.read_text())["files"]
    outside = folder / "outside"
    outside.write_text("x")
    entries["../outside"] = {"size": 1, "sha256": files.sha256(outside)}
    manifest.write_text(json.dumps({"files": entries}))
    with pytest.raises(CheckpointError, match="'../outside' is not the name of a file in this folder"):
        read(folder / "step-000010")


def oversized() -> bytes:
    return struct.pack("<Q", 1 << 40) + b"{}"


def overlapping() -> bytes:
    entry = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    header = json.dumps({"a": entry, "b": {**entry, "data_offsets": [4, 12]}}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(12)


def beyond() -> bytes:
    header = json.dumps({"a": {"dtype": "F32", "shape": [1 << 20], "data_offsets": [0, 4 << 20]}}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(8)


@pytest.mark.parametrize("make", [oversized, overlapping, beyond, bytes])
def test_a_lying_header_is_refused_even_if_the_manifest_vouches_for_it(folder, make):
    path = folder / "step-000010"
    (path / "model.safetensors").write_bytes(make())
    tell_manifest(path)
    with pytest.raises(CheckpointError, match="step-000010: cannot be loaded .*; save it again"):
        read(path)


class Bomb:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


def test_pickles_are_never_opened(folder):
    path, marker = folder / "step-000010", folder / "boom"
    bomb = pickle.dumps(Bomb(marker))
    pickle.loads(bomb)  # noqa: S301 - the bomb works
    marker.rmdir()
    for name in (
        "rng_state.pth",
        "optimizer.pt",
        "optimizer.bin",
        "scheduler.pt",
        "pytorch_model.bin",
        "state.pkl",
        ".metadata",
    ):
        (path / name).write_bytes(bomb)
    load(folder)
    for name in sorted(checkpoints.REQUIRED):
        kept = (path / name).read_bytes()
        (path / name).write_bytes(bomb)
        tell_manifest(path)
        with pytest.raises(CheckpointError):
            read(path)
        (path / name).write_bytes(kept)
    assert not marker.exists()


@pytest.mark.parametrize("where", ["fsync", "replace", "save_file"])
def test_a_full_disk_leaves_the_checkpoint_before(folder, monkeypatch, where):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    module = checkpoints if where == "save_file" else os
    with monkeypatch.context() as patch, pytest.raises(LabkitError, match="step-000015: the disk is full"):
        patch.setattr(module, where, full)
        save(folder, snapshot(15))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load(folder)[1].step == 10
    assert sorted(path.name for path in folder.iterdir()) == ["step-000005", "step-000010"]


def test_a_file_size_limit_of_the_system_is_a_clear_error(folder):
    """Not injected: the system itself refuses the write."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    big = Snapshot(15, {"w": torch.zeros(1 << 18)})
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, before[1]))
        with pytest.raises(LabkitError, match="step-000015: larger than a file may be here"):
            save(folder, big)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert load(folder)[1].step == 10 and len(list(folder.iterdir())) == 2


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(LabkitError, match=r"file/run/step-000003: .*a folder"):
        save(tmp_path / "file" / "run", snapshot(3))


def test_remains_of_a_killed_writer_are_swept_and_never_read(folder):
    for name in (".step-000015.abc.part", ".step-000001.old"):
        (folder / name).mkdir()
        (folder / name / "model.safetensors").write_bytes(b"half")
    assert load(folder)[1].step == 10
    checkpoints.sweep(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["step-000005", "step-000010"]


# Weights


def tiny_bert() -> BertForMaskedLM:
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    return BertForMaskedLM(BertConfig(vocab_size=40, max_position_embeddings=16, **sizes))


def test_tied_weights_are_stored_once_and_stay_tied(tmp_path):
    model, other = tiny_bert(), tiny_bert()
    kept = weights(model)
    assert len(kept) < len(model.state_dict())
    path = save(tmp_path, Snapshot(1, kept, config=model.config.to_json_string()))
    assert load_file(path / "model.safetensors").keys() == kept.keys()
    checkpoints.load_weights(other, read(path).model)
    torch.testing.assert_close(other.state_dict(), model.state_dict(), rtol=0, atol=0)
    assert other.cls.predictions.decoder.weight is other.bert.embeddings.word_embeddings.weight
    hub = AutoModelForMaskedLM.from_pretrained(path)
    torch.testing.assert_close(hub.state_dict(), model.state_dict(), rtol=0, atol=0)


def test_views_and_strided_tensors_are_stored_as_they_look(tmp_path):
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            base = torch.arange(12.0).reshape(3, 4)
            self.register_buffer("whole", base)
            self.register_buffer("part", base[1:])
            self.register_buffer("turned", torch.arange(6.0).reshape(2, 3).T)
            self.register_buffer("empty", torch.empty(0))

    found = read(save(tmp_path, Snapshot(1, weights(Odd())))).model
    torch.testing.assert_close(found, dict(Odd().state_dict()), rtol=0, atol=0)


def test_weights_of_another_model_are_refused_by_name():
    model = nn.Linear(3, 2)
    for tensors, name in (
        ({"weight": torch.ones(2, 3)}, "'bias' is not in it"),
        ({**model.state_dict(), "more": torch.ones(1)}, "'more' is not in this model"),
        ({"weight": torch.ones(3, 2), "bias": torch.ones(2)}, r"'weight' has shape \(3, 2\), in this model \(2, 3\)"),
    ):
        with pytest.raises(CheckpointError, match=f"here: tensor {name}"):
            checkpoints.load_weights(model, tensors, "here")


# Real kills


def killed(which: str, folder: Path, trials: int, seed: int) -> list[dict]:
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(KILLED.parents[1])}
    command = [sys.executable, str(KILLED), which, str(folder), str(trials), str(seed)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("trials", [5, pytest.param(50, marks=pytest.mark.slow)])
def test_a_killed_run_ends_in_the_same_bits_after_two_resumes(tmp_path, trials):
    runs = killed("resume", tmp_path, trials, random.SystemRandom().randrange(1 << 30))
    assert len(runs) == trials
    assert any(status == 9 and step for run in runs for status, step in run["stops"]), "no kill struck a running fit"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("trials", [5, pytest.param(50, marks=pytest.mark.slow)])
def test_a_writer_killed_at_any_moment_leaves_the_newest_whole_checkpoint(tmp_path, trials):
    runs = killed("writer", tmp_path, trials, random.SystemRandom().randrange(1 << 30))
    assert len(runs) == trials and any(run["found"] for run in runs)
