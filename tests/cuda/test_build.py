"""Compiling on demand: the cache, the lock, every error, and nvcc for three generations of GPUs."""

from __future__ import annotations

import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from labkit.cuda import build, compile_source, load
from labkit.errors import LabkitError, UsageError

GOOD = """
#include "common.cuh"
__global__ void fill(float* y, float value) { y[blockIdx.x * blockDim.x + threadIdx.x] = value; }
extern "C" const char* run(float* y, float value, void* stream) {
  LAUNCH(fill, 2, 4, 0, stream)(y, value);
  return finished();
}
"""
needs_cxx = pytest.mark.skipif(build.find_cxx() is None, reason="the emulator needs g++, which is not here")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path))
    return tmp_path / "cuda"


@needs_cxx
def test_a_library_is_compiled_once_and_again_when_its_source_changes(cache, monkeypatch):
    runs = []
    compiler = build._compile
    monkeypatch.setattr(build, "_compile", lambda *arguments: (runs.append(1), compiler(*arguments)))
    y = torch.zeros(8)
    with ThreadPoolExecutor(3) as pool:
        libraries = list(pool.map(lambda _: compile_source(GOOD, emulate=True), range(3)))
    libraries[0]("run", y, 2.5)
    assert (y == 2.5).all() and len(runs) == 1
    assert sorted(file.suffix for file in cache.iterdir() if not file.name.endswith(".lock")) == [".sha256", ".so"]
    compile_source(GOOD.replace("= value", "= 2 * value"), emulate=True)("run", y, 2.5)
    assert (y == 5).all() and len(runs) == 2


@pytest.mark.parametrize("damage", ["cut", "empty", "bit", "no hash"])
def test_a_damaged_library_is_made_anew(cache, monkeypatch, damage):
    """Loaded as it is, one that is cut short ends the process with SIGBUS."""
    monkeypatch.setattr(build, "_version", lambda compiler: "one")
    monkeypatch.setattr(build.subprocess, "run", compiler_that_copies)
    library = build._compiled(GOOD, "kernel", ["g++"])
    whole, digest = library.read_bytes(), library.with_suffix(".sha256")
    if damage == "cut":
        library.write_bytes(whole[: len(whole) // 2])
    elif damage == "empty":
        library.write_bytes(b"")
    elif damage == "bit":
        library.write_bytes(bytes([whole[0] ^ 1]) + whole[1:])
    else:
        digest.unlink()
    assert build._compiled(GOOD, "kernel", ["g++"]).read_bytes() == whole
    assert build._whole(library)
    monkeypatch.setattr(build.subprocess, "run", None)  # and from now on nothing is compiled
    assert build._compiled(GOOD, "kernel", ["g++"]) == library


def compiler_that_copies(command, **options):
    """In place of a compiler: the output is the source."""
    shutil.copy(command[-3], command[-1])
    return subprocess.CompletedProcess(command, 0, "", "")


def test_the_key_holds_source_headers_flags_and_compiler(monkeypatch, tmp_path):
    monkeypatch.setattr(build, "_version", lambda compiler: "one")
    shutil.copytree(build.HERE, tmp_path / "copy")
    keys = {build._key("a", ["g++", "-O2"]), build._key("b", ["g++", "-O2"]), build._key("a", ["g++", "-O3"])}
    monkeypatch.setattr(build, "_version", lambda compiler: "two")
    keys.add(build._key("a", ["g++", "-O2"]))
    monkeypatch.setattr(build, "HERE", tmp_path / "copy")
    (tmp_path / "copy" / "emulate.h").write_text("// other")
    keys.add(build._key("a", ["g++", "-O2"]))
    assert len(keys) == 5


def test_every_header_is_in_the_key():
    names = {file.name for file in build.HERE.iterdir() if file.suffix in (".h", ".cuh")}
    assert names == set(build.HEADERS)
    assert {file.stem for file in build.HERE.glob("*.cu")} == set(build.KERNELS)


def test_the_package_carries_its_sources():
    settings = (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    (carried,) = re.findall(r'^"labkit.cuda" = \[(.*)\]$', settings, re.MULTILINE)
    kinds = {file.suffix for file in build.HERE.iterdir() if file.is_file()} - {".py"}
    assert kinds == {pattern.strip(' "*') for pattern in carried.split(",")}


@needs_cxx
def test_a_failed_compilation_shows_the_compilers_first_lines_and_leaves_nothing(cache):
    with pytest.raises(LabkitError, match=r"could not compile broken.cu:\nbroken.cu:\d+.*error") as caught:
        compile_source(GOOD.replace("float* y,", "flaot* y,"), emulate=True, name="broken")
    assert len(str(caught.value).splitlines()) <= build.LINES + 1
    assert not [file for file in cache.iterdir() if not file.name.endswith(".lock")]


def test_no_compiler_is_said_with_the_way_out(monkeypatch):
    monkeypatch.setattr(build, "find_cxx", lambda: None)
    with pytest.raises(UsageError, match=r"g\+\+, which the emulator needs, is not on PATH: install it, or use b"):
        compile_source(GOOD, emulate=True)
    monkeypatch.setattr(build, "find_nvcc", lambda: None)
    monkeypatch.setattr(build, "_capability", lambda: (9, 0))
    with pytest.raises(UsageError, match="nvcc, the CUDA compiler, is not on PATH: install it, or use"):
        compile_source(GOOD)


def test_no_gpu_and_an_old_gpu_are_said(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UsageError, match="there is no CUDA device here: use backend='reference' or 'emulate'"):
        load("gelu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (6, 1))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "GeForce GTX 1080")
    with pytest.raises(UsageError, match="GeForce GTX 1080 has compute capability 6.1, the kernels need 7.0 or newer"):
        load("gelu")


def test_an_unknown_kernel_offers_the_nearest():
    with pytest.raises(UsageError, match="unknown kernel file 'layer_norm': did you mean 'layernorm'"):
        load("layer_norm", emulate=True)


def test_a_cache_that_cannot_be_written_is_said(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path / "file"))
    monkeypatch.setattr(build, "_version", lambda compiler: "")
    with pytest.raises(LabkitError, match="set LABKIT_CACHE to a folder you may write to"):
        build._compiled(GOOD, "kernel", ["g++"])


@pytest.mark.skipif(build.find_nvcc() is None, reason="nvcc, the CUDA compiler, is not here")
@pytest.mark.parametrize("name", build.KERNELS)
def test_nvcc_compiles_for_turing_ampere_and_hopper(name):
    """Compile only: no GPU is needed. A kernel of each generation is in the library."""
    source, command = (build.HERE / f"{name}.cu").read_text(), build._command(False, [(7, 5), (8, 0), (9, 0)])
    data = build._compiled(source, name, command).read_bytes()
    for generation in (b"sm_75", b"sm_80", b"sm_90"):
        assert generation in data
