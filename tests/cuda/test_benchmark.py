"""benchmarks/cuda.py: what it says without a GPU, its sums, and, on tiny shapes in the emulator, that it runs."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from labkit.cuda.build import find_cxx

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "cuda.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("benchmark_of_cuda", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_without_a_gpu_it_says_so_in_one_sentence():
    result = subprocess.run([sys.executable, str(SCRIPT)], capture_output=True, text=True, timeout=120)
    assert result.returncode == 2 and not result.stdout
    assert result.stderr == "benchmarks/cuda.py measures kernels on a GPU, and there is no CUDA device here\n"


@pytest.mark.parametrize(
    ("rows", "since"),
    [([(1, True), (2, True)], 1), ([(4, True), (1, True), (2, False)], 4), ([(1, True), (2, False)], None), ([], None)],
)
def test_the_crossover_is_the_size_from_which_on_it_always_wins(script, rows, since):
    assert script.crossover(rows) == since


def test_the_share_is_of_the_bytes_that_must_move(script):
    case = script.Case("gelu forward", "1 x 1", 1, 4_000_000, {})
    assert script.share(case, 2.0, 4e9) == pytest.approx(0.5)
    assert "50 %" in script.line(case, {"labkit": 2.0, "eager": 3.0, "compile": 1.0}, 4e9)
    said = script.verdicts([(case, {"labkit": 2.0, "eager": 3.0, "compile": 1.0})])
    assert said == ["gelu forward: wins at no size from which on it always wins; loses at 1 x 1"]


@pytest.mark.skipif(find_cxx() is None, reason="the emulator needs g++, which is not here")
def test_every_case_runs_and_is_kept(script, monkeypatch, tmp_path, capsys):
    """With the emulator in the GPU's place and times that are made up, so nothing is kept outside the test."""

    def medians(runs, repetitions):
        for run in runs.values():
            run()
        return {name: 2.0 + position for position, name in enumerate(runs)}

    shown = {"DEVICE": "cpu", "BACKEND": "emulate", "RESULTS": tmp_path / "cuda.json", "medians": medians}
    shapes = {"SHAPES": [(2, 8)], "VOCABULARIES": [(3, 9)], "ATTENTION": [(2, 8)], "PRODUCTS": [(32, 16, 16)]}
    for name, value in {**shown, **shapes}.items():
        monkeypatch.setattr(script, name, value)
    monkeypatch.setattr(script, "copy_bandwidth", lambda repetitions: 1e9)
    monkeypatch.setattr(script, "compiled", lambda function: torch.compile(function, backend="eager"))
    monkeypatch.setattr(script, "HEADS", [4])
    monkeypatch.setattr(script, "missing", lambda: "")
    monkeypatch.setattr(script, "gpu", lambda: "none")
    script.measure(list(script.FAMILIES), 1)
    out = capsys.readouterr().out
    for family in ("layernorm", "gelu", "softmax", "cross_entropy"):
        assert f"{family} forward" in out and f"{family} backward: wins from size" in out
    assert "1.50 x bf16 F.linear   2.00 x _int_mm + scales" in out and "gather, head, loss" in out
    rows = script.Report.load(tmp_path / "cuda.json").rows
    assert len(rows) == 1 + 8 * 3 + 3 + 3 and {row.metric for row in rows} == {"ms", "bytes a second"}
    torch._dynamo.reset()
