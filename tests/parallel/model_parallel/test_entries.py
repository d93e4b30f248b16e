"""The programs that torchrun starts, each alone in this process; the same code with more ranks is tried elsewhere."""

from __future__ import annotations

import re

import pytest

from labkit.parallel.model_parallel import pipeline, tensor_parallel, three_d


@pytest.fixture(autouse=True)
def no_torchrun(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)


def said(main, options, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["program", *options])
    main()
    return capsys.readouterr().out


def test_tensor_parallel(capsys, monkeypatch):
    out = said(tensor_parallel.main, ["--rows", "2"], capsys, monkeypatch)
    ours, whole = re.search(r"loss ([\d.]+), of the whole model ([\d.]+)", out).groups()
    held, every = re.search(r"holds ([\d,]+) of ([\d,]+) weights", out).groups()
    assert ours == whole and held == every and "sent 0 bytes, closed form 0" in out


def test_pipeline(capsys, monkeypatch):
    out = said(pipeline.main, ["--micro-batches", "2"], capsys, monkeypatch)
    assert re.findall(r"closed form ([\d.]+)\), micro-batches held by each stage: (\[.\])", out) == [
        ("0.000", "[2]"),
        ("0.000", "[1]"),
    ]


def test_three_d(capsys, monkeypatch):
    out = said(three_d.main, ["--steps", "1"], capsys, monkeypatch)
    assert "pipe 1 × data 1 × model 1" in out
    (difference,) = re.findall(r"difference ([+-][\d.e+-]+)", out)
    assert abs(float(difference)) < 1e-9
