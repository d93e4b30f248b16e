"""What vouches for a pipeline's folder: what it takes up, what it makes again, what it refuses."""

from __future__ import annotations

import json
import random
import shutil

import numpy as np
import pytest
from safetensors.numpy import save_file

from labkit.errors import CheckpointError, LabkitError, UsageError
from labkit.pipeline.ledger import Ledger
from tests.damage import damage

ASKED, ORIGIN = {"shots": 4, "words": ["0=bad"]}, {"rows": "ab", "weights": "cd"}


def begin(out, *, resume=False, asked=ASKED, origin=ORIGIN):
    return Ledger.begin(out, asked, origin, resume=resume, command="labkit pipeline")


@pytest.fixture
def out(tmp_path):
    """A folder with two artefacts and two rows."""
    ledger = begin(tmp_path / "out")
    for number, name in enumerate(("1-pretrained", "2-adapted/seed-0")):
        folder = ledger.out / name
        folder.mkdir(parents=True)
        save_file({"weight": np.arange(700.0) + number}, folder / "model.safetensors")
        (folder / "labkit.json").write_text(json.dumps({"labels": ["bad", "good"], "number": number}))
        ledger.report.add(f"method {number}", "task", 0.5 + number / 10)
        ledger.keep(folder)
    return ledger.out


def test_it_goes_on_with_what_is_finished_and_nothing_else(out):
    (out / "3-distilled/seed-0").mkdir(parents=True)  # a kill came before it was written down
    (out / ".4-quantised.x.part").mkdir()
    ledger = begin(out, resume=True)
    assert [row.value for row in ledger.report.rows] == [0.5, 0.6]
    held = ("1-pretrained", "2-adapted/seed-0", "3-distilled/seed-0")
    assert [ledger.holds(out / name) for name in held] == [True, True, False]


def test_a_run_is_not_begun_over_another(out):
    with pytest.raises(UsageError, match="holds a run already: add --resume"):
        begin(out)
    with pytest.raises(UsageError, match=r"other settings \(shots: 4, now 5\): choose another --out"):
        begin(out, resume=True, asked={**ASKED, "shots": 5})
    with pytest.raises(CheckpointError, match="made from other weights: use the same, or choose another --out"):
        begin(out, resume=True, origin={**ORIGIN, "weights": "ce"})
    with pytest.raises(CheckpointError, match="made from other rows"):
        begin(out, resume=True, origin={**ORIGIN, "rows": "ac"})


def test_a_beginning_without_a_result_gives_way_to_what_was_meant(tmp_path):
    """A mistyped model or word must not lock the folder."""
    ledger = begin(tmp_path, asked={"model": "mistyped"})
    (tmp_path / "1-pretrained").mkdir()
    ledger.keep(tmp_path / "1-pretrained")
    for resume in (False, True):
        mended = begin(tmp_path, asked={"model": f"meant {resume}"}, resume=resume)
        assert not mended.holds(tmp_path / "1-pretrained")
    assert json.loads((tmp_path / "settings.json").read_text()) == {"model": "meant True"}


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("report.json", "2-adapted|1-pretrained: there is no report.json beside it that vouches for it"),
        ("settings.json", "settings.json: missing; put it back as it was, or choose another --out"),
        ("1-pretrained/model.safetensors", "1-pretrained/model.safetensors: missing"),
    ],
)
def test_what_is_gone_is_named(out, file, message):
    (out / file).unlink()
    for resume in (False, True) if file == "report.json" else (True,):
        with pytest.raises(CheckpointError, match=message):
            begin(out, resume=resume)


@pytest.mark.parametrize("file", ["1-pretrained/model.safetensors", "2-adapted/seed-0/labkit.json", "settings.json"])
def test_one_bit_is_named(out, file):
    data = bytearray((out / file).read_bytes())
    data[-20] ^= 1
    (out / file).write_bytes(data)
    with pytest.raises(CheckpointError, match=f"{file}: altered or cut short; put it back"):
        begin(out, resume=True)


def test_a_number_in_the_report_and_a_stray_file_are_named(out):
    report = (out / "report.json").read_text()
    (out / "report.json").write_text(report.replace("0.6", "0.9"))
    with pytest.raises(CheckpointError, match="report.json: altered since it was written"):
        begin(out, resume=True)
    (out / "report.json").write_text(report)
    (out / "1-pretrained/adapter_config.json").write_text("{}")
    with pytest.raises(CheckpointError, match="adapter_config.json: not part of what the pipeline left"):
        begin(out, resume=True)


@pytest.mark.parametrize("count", [100, pytest.param(2000, marks=pytest.mark.slow)])
def test_random_damage_is_refused_or_without_effect(out, tmp_path, count):
    kept, refused = tmp_path / "kept", 0
    shutil.copytree(out, kept)
    for number in range(count):
        done = damage(out, random.Random(number))
        try:
            ledger = begin(out, resume=True)
        except LabkitError as error:
            refused += 1
            assert len(str(error).splitlines()) == 1, done
        else:
            assert [row.value for row in ledger.report.rows] == [0.5, 0.6], done
            for name in ledger.files:
                for file in sorted(path for path in (kept / name).rglob("*") if path.is_file()):
                    assert (out / file.relative_to(kept)).read_bytes() == file.read_bytes(), done
        shutil.rmtree(out)
        shutil.copytree(kept, out)
    assert refused > 0.7 * count
