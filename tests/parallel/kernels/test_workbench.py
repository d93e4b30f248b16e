"""A kernel of one's own, run apart: right, wrong, endless, wild, and where there is no compiler."""

from __future__ import annotations

import subprocess

import pytest
import torch

from labkit.checks.kernels import BROKEN, SOLVED, mended
from labkit.cuda import build
from labkit.errors import LabkitError
from labkit.parallel.kernels import workbench
from labkit.parallel.kernels.workbench import SOFTMAX, TRANSPOSE, function, judge, launch, production

needs_cxx = pytest.mark.skipif(build.find_cxx() is None, reason="the emulator needs g++, which is not here")
MENDED = mended.answer(BROKEN)


@needs_cxx
@pytest.mark.parametrize("shape", [(1, 1), (3, 31), (2, 32), (2, 100)])
@pytest.mark.parametrize("falling", [False, True])
def test_a_softmax_is_right_and_its_lanes_meet(shape, falling):
    x = 30 * torch.randn(shape, generator=torch.Generator().manual_seed(0))
    ran = launch(SOLVED, SOFTMAX, x, falling)
    torch.testing.assert_close(ran.out, x.softmax(1))
    assert (ran.barriers, ran.shuffles) == (0, 10 * shape[0])  # five for the maximum, five for the sum


@needs_cxx
def test_the_two_sizes_of_the_broken_transposition():
    assert judge(BROKEN, TRANSPOSE, 64, 96).count("0 of 6,144 numbers wrong") == 2
    assert "384 of 2,800 numbers wrong, 384 of them NaN" in judge(BROKEN, TRANSPOSE, 70, 40)
    assert judge(MENDED, TRANSPOSE, 70, 40).splitlines() == [
        f"70 × 40, threads {order}: 0 of 2,800 numbers wrong" for order in ("rising", "falling")
    ]
    x = torch.arange(6.0).view(2, 3)
    assert torch.equal(launch(MENDED, TRANSPOSE, x).out, x.T)


@needs_cxx
@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("  row = 32", "  for (;;) row = 1;\n  row = 32", "stopped after 1 s: does a loop in it never end"),
        ("x[row", "x[2000000000L + row", "ended its process (SIGSEGV)"),
        ("if (row < rows && column < columns) y", "y", "writes outside of y"),
        ("rows + row]", "rwos + row]", "g++ cannot compile line 9, `if (row < rows && column < columns) y["),
        ("transpose(", "transposed(", "does not begin as it must: `__global__ void transpose(const float* x"),
        ("  __syncthreads();", "  if (row) __syncthreads();\n  else __syncthreads();", "(your line 8) and thread"),
    ],
)
def test_what_goes_wrong_is_one_sentence(monkeypatch, old, new, said):
    if "stopped" in said:
        monkeypatch.setattr(workbench, "SECONDS", 1.0)
    assert old in MENDED
    with pytest.raises(LabkitError) as caught:
        launch(MENDED.replace(old, new), TRANSPOSE, torch.randn(5, 40))
    assert said in str(caught.value) and "\n" not in str(caught.value)


@needs_cxx
def test_shared_memory_is_nan_at_first_and_reading_beyond_x_is_too():
    early = BROKEN.replace("    __syncthreads();\n", "").replace("tile[threadIdx.y][threadIdx.x] = ", "float z = ")
    assert launch(early, TRANSPOSE, torch.randn(4, 4)).out.isnan().all()
    beyond = SOLVED.replace("columns; i += 32) {", "columns + 1; i += 32) {")
    assert launch(beyond, SOFTMAX, torch.randn(1, 4)).out.isnan().all()


@needs_cxx
def test_a_kernel_is_compiled_once_and_again_where_the_cache_was_emptied(tmp_path, monkeypatch):
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path))
    x, runs, compiler = torch.randn(2, 3), [], build._compile
    monkeypatch.setattr(build, "_compile", lambda *given: (runs.append(1), compiler(*given)))
    launch(SOLVED, SOFTMAX, x)
    launch(SOLVED, SOFTMAX, x, falling=True)
    assert len(runs) == 1
    for file in (tmp_path / "cuda").iterdir():
        file.unlink()
    launch(SOLVED, SOFTMAX, x)
    assert len(runs) == 2


@needs_cxx
def test_as_a_function_it_takes_any_leading_dimensions():
    x = torch.randn(2, 3, 4, 5)
    torch.testing.assert_close(function(SOLVED, SOFTMAX)(x), x.softmax(-1))


def test_without_a_compiler_that_is_said_and_pytorch_computes(monkeypatch, capsys):
    monkeypatch.setattr(build, "find_cxx", lambda: None)
    x = torch.randn(2, 3, 4)
    assert torch.equal(function(SOLVED, SOFTMAX)(x), x.softmax(-1))
    assert "sudo apt install g++" in capsys.readouterr().out
    assert "no g++ on this machine" in judge(BROKEN, TRANSPOSE, 4, 4)
    said = mended.verdict(mended.answer).message
    assert said.startswith("there is no g++ on this machine") and "run this cell again" in said


def test_a_production_kernel_is_shown_whole():
    lines = production("softmax", "softmax_forward_long_kernel").splitlines()
    assert lines[0] == "template <class T, int VEC>" and lines[-1] == "}"
    assert lines[1].startswith("__global__ void") and sum(line.startswith("}") for line in lines) == 1


@pytest.mark.skipif(build.find_nvcc() is None, reason="nvcc, the CUDA compiler, is not here")
@pytest.mark.parametrize(("kernel", "job"), [(SOLVED, SOFTMAX), (MENDED, TRANSPOSE)])
def test_nvcc_takes_the_same_text(tmp_path, kernel, job):
    """Compile only: no GPU is needed."""
    file = tmp_path / "kernel.cu"
    file.write_text(kernel, encoding="utf-8")
    command = [build.find_nvcc(), "-std=c++17", "-arch=sm_80", "-c", str(file), "-o", str(tmp_path / "kernel.o")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
