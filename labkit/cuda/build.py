"""Compile a `.cu` file when it is first needed: by `nvcc` for the GPU that is here, or by `g++` for the emulator.

The library is kept in `LABKIT_CACHE/cuda` (or `~/.cache/labkit/cuda`) under a hash of source, headers, flags and
compiler, so a change of any of them compiles again and nothing stale is loaded. The compiler writes a temporary
neighbour that is renamed when whole; a lock keeps two processes from compiling the same file at once. The library's own
hash stands beside it: one that is cut short would end the process when a page of it is missed, so it is made anew.

    library = load("gelu", emulate=True)            # labkit/cuda/gelu.cu through g++
    library = compile_source(text, emulate=True)    # a kernel of your own; `#include "common.cuh"` works
    library("double_all", x, y, x.numel())          # extern "C" const char* double_all(const void*, void*, int64_t,
                                                    #                                   void* stream)
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from filelock import FileLock, Timeout
from torch import Tensor

from labkit.errors import LabkitError, UsageError, unknown

HERE = Path(__file__).parent
KERNELS = ("cross_entropy", "gelu", "int8", "layernorm", "softmax")
HEADERS = ("common.cuh", "emulate.h", "emulate_types.h", "int8_tensor.cuh")
OLDEST = (7, 0)
TYPES = (torch.float32, torch.float16, torch.bfloat16)  # in the order of common.cuh's codes
CXX_FLAGS = ("-x", "c++", "-std=c++17", "-O2", "-shared", "-fPIC", "-U_FORTIFY_SOURCE", "-Wno-unknown-pragmas")
NVCC_FLAGS = ("-std=c++17", "-O3", "-shared", "-Xcompiler", "-fPIC")
SECONDS = 600.0  # that a compiler may take, and that others wait for it
LINES = 12  # of a compiler's message that are shown
COUNTS = ("launches", "blocks", "threads", "barriers", "warp_operations", "switches")


class Library:
    """A compiled file; call it with the name of a launcher and its arguments, the stream left out.

    A launcher is `extern "C" const char* name(…, void* stream)` of pointers, `int64_t` and `float`, and returns null
    or what went wrong. Tensors go as addresses (their layout is the caller's business), types as their codes, None as a
    null pointer.
    """

    def __init__(self, path: Path, emulated: bool) -> None:
        self.path, self.emulated = path, emulated
        self._library = ctypes.CDLL(str(path))

    def __call__(self, name: str, *arguments: Tensor | int | float | torch.dtype | None, falling: bool = False) -> None:
        """Launch on the current stream. LabkitError with the reason where the launch, or the emulator, refuses.

        `falling` runs the emulator's threads from the last to the first; results must not depend on it.
        """
        tensors = [value for value in arguments if isinstance(value, Tensor)]
        wanted = "cpu" if self.emulated else "cuda"
        for tensor in tensors:
            if tensor.device.type != wanted:
                raise UsageError(f"kernel {name} runs on {wanted} tensors here, and was given one on {tensor.device}")
        launcher = getattr(self._library, name)
        launcher.restype = ctypes.c_char_p
        if self.emulated:
            reason = launcher(*map(_plain, arguments), ctypes.c_void_p(1 if falling else None))
        else:
            with torch.cuda.device(tensors[0].device):
                stream = torch.cuda.current_stream().cuda_stream
                reason = launcher(*map(_plain, arguments), ctypes.c_void_p(stream))
        if reason is not None:
            raise LabkitError(f"kernel {name}: {reason.decode(errors='replace')}")

    def number(self, name: str, *arguments: int) -> int:
        """What a function `int64_t name(int64_t, …)` of the library returns."""
        function = getattr(self._library, name)
        function.restype = ctypes.c_int64
        return function(*map(_plain, arguments))

    def counts(self) -> dict[str, int]:
        """What the emulator has run since the library was loaded: launches, blocks, threads, barriers (each counted
        once a block), warp operations (once a warp), switches between threads."""
        if not self.emulated:
            raise UsageError("counts() are the emulator's: load the library with emulate=True")
        numbers = (ctypes.c_longlong * len(COUNTS))()
        self._library.emulated_counts(numbers)
        return dict(zip(COUNTS, numbers, strict=True))


def _plain(value: Tensor | int | float | torch.dtype | None) -> ctypes.c_void_p | ctypes.c_int64 | ctypes.c_float:
    if isinstance(value, Tensor):
        return ctypes.c_void_p(value.data_ptr())
    if isinstance(value, torch.dtype):
        value = TYPES.index(value)
    if isinstance(value, int):
        return ctypes.c_int64(value)
    return ctypes.c_void_p(None) if value is None else ctypes.c_float(value)


def load(name: str, *, emulate: bool = False) -> Library:
    """The library of `labkit/cuda/NAME.cu`, compiled if need be. UsageError without a compiler, or for an old GPU."""
    if name not in KERNELS:
        raise unknown("kernel file", name, KERNELS)
    return _load(name, emulate, None if emulate else _capability())


@functools.cache
def _load(name: str, emulate: bool, capability: tuple[int, int] | None) -> Library:  # one for each GPU
    return compile_source((HERE / f"{name}.cu").read_text(encoding="utf-8"), emulate=emulate, name=name)


def compile_source(text: str, *, emulate: bool = False, name: str = "kernel") -> Library:
    """Compile CUDA source of your own, which may include `common.cuh`. LabkitError with the compiler's first lines."""
    capabilities = [] if emulate else [_capability()]
    return Library(_compiled(text, name, _command(emulate, capabilities)), emulate)


def find_nvcc() -> str | None:
    """The path of `nvcc`: on PATH, or where CUDA is usually installed; None without one."""
    usual = "/usr/local/cuda/bin/nvcc"
    return shutil.which("nvcc") or (usual if os.access(usual, os.X_OK) else None)


def find_cxx() -> str | None:
    """The path of the C++ compiler for the emulator, None without one."""
    return shutil.which("g++")


def cache_folder() -> Path:
    """Where compiled libraries are kept: `LABKIT_CACHE/cuda`, or `~/.cache/labkit/cuda`; LabkitError without either."""
    try:
        return Path(os.environ.get("LABKIT_CACHE") or Path.home() / ".cache" / "labkit") / "cuda"
    except RuntimeError as error:
        raise LabkitError("this user has no home folder: set LABKIT_CACHE to a folder you may write to") from error


def _capability() -> tuple[int, int]:
    """That of the current GPU. UsageError where there is none, or it is too old."""
    if not torch.cuda.is_available():
        raise UsageError("there is no CUDA device here: use backend='reference' or 'emulate'")
    capability = torch.cuda.get_device_capability()
    if capability < OLDEST:
        has, needs = (".".join(map(str, pair)) for pair in (capability, OLDEST))
        raise UsageError(
            f"{torch.cuda.get_device_name()} has compute capability {has}, the kernels need {needs} or newer: "
            "use backend='reference'"
        )
    return capability


def _command(emulate: bool, capabilities: Sequence[tuple[int, int]]) -> list[str]:
    """The compiler with its flags, without input and output."""
    compiler = find_cxx() if emulate else find_nvcc()
    if compiler is None:
        missing = "g++, which the emulator needs," if emulate else "nvcc, the CUDA compiler,"
        raise UsageError(f"{missing} is not on PATH: install it, or use backend='reference'")
    if emulate:
        return [compiler, *CXX_FLAGS]
    numbers = ["".join(map(str, pair)) for pair in capabilities]
    targets = [part for n in numbers for part in ("-gencode", f"arch=compute_{n},code=sm_{n}")]
    return [compiler, *NVCC_FLAGS, *targets]


@functools.cache
def _version(compiler: str) -> str:
    return subprocess.run([compiler, "--version"], capture_output=True, text=True, timeout=60).stdout


def _key(source: str, command: Sequence[str]) -> str:
    parts = [source, *((HERE / header).read_text(encoding="utf-8") for header in HEADERS), *command]
    return hashlib.sha256("\0".join([*parts, _version(command[0])]).encode()).hexdigest()[:20]


def _compiled(source: str, name: str, command: Sequence[str]) -> Path:
    """The library of `source`, out of the cache or new in it."""
    folder = cache_folder()
    target = folder / f"{name}-{_key(source, command)}.so"
    if _whole(target):
        return target
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{target}.lock", timeout=SECONDS):
            if not _whole(target):
                _compile(source, name, command, target)
    except Timeout as error:
        raise LabkitError(f"{target}: another process has compiled it for {SECONDS:.0f} s; end it and retry") from error
    except OSError as error:
        raise LabkitError(f"{folder}: {error.strerror}: set LABKIT_CACHE to a folder you may write to") from error
    return target


def _whole(library: Path) -> bool:
    """Whether the library is there, as it was compiled."""
    try:
        return library.with_suffix(".sha256").read_bytes() == _digest(library)
    except OSError:
        return False


def _digest(file: Path) -> bytes:
    return hashlib.sha256(file.read_bytes()).hexdigest().encode()


def _compile(source: str, name: str, command: Sequence[str], target: Path) -> None:
    with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=target.parent) as folder:
        file, made = Path(folder) / f"{name}.cu", Path(folder) / "made.so"
        file.write_text(source, encoding="utf-8")
        compiler = Path(command[0]).name
        try:
            run = [*command, f"-I{HERE}", str(file), "-o", str(made)]
            result = subprocess.run(run, capture_output=True, text=True, errors="replace", timeout=SECONDS)
        except subprocess.TimeoutExpired as error:
            raise LabkitError(f"{compiler} did not finish {name}.cu within {SECONDS:.0f} s") from error
        if result.returncode != 0:
            said = (result.stderr + result.stdout).replace(f"{folder}/", "").strip().splitlines()
            raise LabkitError("\n".join([f"{compiler} could not compile {name}.cu:", *said[:LINES]]))
        digest = made.with_suffix(".sha256")
        digest.write_bytes(_digest(made))
        os.replace(digest, target.with_suffix(".sha256"))
        os.replace(made, target)
