"""A kernel of one's own: compiled by g++, and run by the emulator of `labkit.cuda` in a process of its own.

A kernel is the text of one CUDA C++ function, as nvcc would take it; a `Job` says what it has to compute, and how many
threads start. An endless loop or a wild address ends that process and nothing else. What can go wrong is one sentence,
with the line of the text.

    launch(text, SOFTMAX, x).out           # (rows, columns) -> (rows, columns)
    print(judge(text, TRANSPOSE, 70, 40))  # how many numbers are wrong, with the threads in rising and falling order
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from labkit.cuda import build, compile_source
from labkit.errors import LabkitError

SECONDS = 4.0  # that a kernel may run
MARGIN = 1 << 16  # bytes on both sides of x, which are NaN, and of y, where a change is seen
NO_COMPILER = (
    "there is no g++ on this machine, the C++ compiler that stands in for a GPU, so no kernel can run. Install it (on "
    "Debian and Ubuntu: sudo apt install g++) and run this cell again; until then PyTorch computes in its place"
)
SHARED = re.compile(r"__shared__\s+(\w+)\s+(\w+)\s*((?:\[[^\]]*\])+)\s*;")  # which the emulator fills with NaN
# g++ would leave out a loop that never ends, and what follows it; nvcc knows max and min of itself.
HEAD = '#pragma GCC optimize("no-finite-loops")\n#include "common.cuh"\nusing std::max, std::min;\n'
LAUNCHER = """extern "C" const char* run(const float* x, float* y, int64_t rows, int64_t columns, void* stream) {
  %s
  return finished();
}
"""
# Python alone, without torch: it starts in 40 ms.
CHILD = """
import ctypes, sys
library, file = sys.argv[1:3]
falling, margin, size, rows, columns = map(int, sys.argv[3:])
nan, edge = b"\\xff" * margin, b"\\xee" * margin
x = ctypes.create_string_buffer(nan + sys.stdin.buffer.read() + nan)
y = ctypes.create_string_buffer(edge + b"\\xff" * size + edge, size + 2 * margin)
kernels, counts = ctypes.CDLL(library), (ctypes.c_longlong * 6)()
kernels.run.restype = ctypes.c_char_p
sizes = map(ctypes.c_int64, (rows, columns))
why = kernels.run(ctypes.byref(x, margin), ctypes.byref(y, margin), *sizes, ctypes.c_void_p(falling or None))
kernels.emulated_counts(counts)
open(file, "wb").write(y.raw + bytes(counts))
sys.exit(why and why.decode(errors="replace"))
"""


@dataclass(frozen=True)
class Job:
    """What kernel `name` has to compute of x (rows, columns), as `right` does; `grid` and `block` are C++ of both."""

    name: str
    grid: str
    block: str
    right: Callable[[Tensor], Tensor]

    @property
    def signature(self) -> str:
        """How the text of the kernel begins."""
        return f"__global__ void {self.name}(const float* x, float* y, int rows, int columns)"

    def source(self, kernel: str) -> str:
        """The whole file: the kernel, with lines numbered from 1, and what launches it."""
        launch = f"LAUNCH({self.name}, {self.grid}, {self.block}, 0, stream)(x, y, int(rows), int(columns));"
        own = SHARED.sub(r"SHARED(\1, \2, \3);", kernel.strip("\n"))
        return f'{HEAD}#line 1 "kernel"\n{own}\n#line 1 "launcher"\n{LAUNCHER % launch}'


SOFTMAX = Job("softmax", "dim3(rows)", "dim3(32)", lambda x: x.softmax(1))
TRANSPOSE = Job("transpose", "dim3((columns + 31) / 32, (rows + 31) / 32)", "dim3(32, 32)", lambda x: x.T.contiguous())


@dataclass(frozen=True)
class Ran:
    """A kernel's result, and how often its threads met: barriers of a block, shuffles of a warp."""

    out: Tensor
    barriers: int
    shuffles: int


def launch(kernel: str, job: Job, x: Tensor, falling: bool = False) -> Ran:
    """Run the kernel on x (rows, columns), float32; `falling` runs its threads from the last to the first.

    LabkitError where there is no g++, the text does not compile, or the run does not end well.
    """
    x, shape = x.detach().float().cpu().contiguous(), job.right(x).shape
    library = _library(kernel, job)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "y")
        numbers = (int(falling), MARGIN, x.nbytes, *x.shape)
        command = [sys.executable, "-I", "-S", "-c", CHILD, str(library), str(file), *map(str, numbers)]
        try:
            done = subprocess.run(command, input=x.numpy().tobytes(), capture_output=True, timeout=SECONDS)
        except subprocess.TimeoutExpired:
            raise LabkitError(f"the kernel was stopped after {SECONDS:g} s: does a loop in it never end?") from None
        if done.returncode:
            raise LabkitError(_accident(done.returncode, done.stderr.decode(errors="replace").strip()))
        found = file.read_bytes()
    edges = found[:MARGIN] + found[MARGIN + x.nbytes :][:MARGIN]
    if edges.strip(b"\xee"):
        raise LabkitError("the kernel writes outside of y: which threads have no number to write, and what stops them?")
    out = torch.frombuffer(bytearray(found[MARGIN : MARGIN + x.nbytes]), dtype=torch.float32)
    counts = torch.frombuffer(bytearray(found[-48:]), dtype=torch.int64).tolist()
    return Ran(out.view(shape), counts[3], counts[4])


def judge(kernel: str, job: Job, rows: int, columns: int) -> str:
    """A line for each order of the threads: how many numbers are wrong, or why there are none."""
    x = torch.randn(rows, columns, generator=torch.Generator().manual_seed(0))
    right, lines = job.right(x), []
    for order in ("rising", "falling"):
        try:
            found = launch(kernel, job, x, order == "falling").out
            wrong = int((~torch.isclose(found, right, rtol=1e-4, atol=1e-7)).sum())
        except LabkitError as error:
            return "\n".join([*lines, f"{rows} × {columns}, threads {order}: {error}"])
        nan = f", {int(found.isnan().sum()):,} of them NaN" if found.isnan().any() else ""
        lines.append(f"{rows} × {columns}, threads {order}: {wrong:,} of {x.numel():,} numbers wrong{nan}")
    return "\n".join(lines)


def function(kernel: str, job: Job) -> Callable[[Tensor], Tensor]:
    """The kernel as a function of the last dimension of a tensor; without a g++ PyTorch's own, which is said."""
    own = job.right
    if build.find_cxx():
        own = lambda x: launch(kernel, job, x).out  # noqa: E731
    else:
        print(NO_COMPILER)
    return lambda x: own(x.reshape(-1, x.shape[-1])).view(x.shape).to(x)  # on x's device


def production(file: str, name: str) -> str:
    """Kernel `name` of labkit/cuda/FILE.cu, whole: from its template line to its closing brace."""
    lines = (build.HERE / f"{file}.cu").read_text(encoding="utf-8").splitlines()
    first = next(number for number, line in enumerate(lines) if f" {name}(" in line)
    first -= lines[first - 1].startswith("template")
    return "\n".join(lines[first : lines.index("}", first) + 1])


def _library(kernel: str, job: Job) -> Path:
    """The compiled library of a kernel. LabkitError with its first line that does not compile."""
    if build.find_cxx() is None:
        raise LabkitError(NO_COMPILER)
    try:
        return compile_source(job.source(kernel), emulate=True).path
    except LabkitError as error:
        raise LabkitError(_misspelt(str(error), kernel, job)) from None


def _misspelt(said: str, kernel: str, job: Job) -> str:
    """The compiler's first error, with the learner's line."""
    found = re.search(r"^kernel:(\d+):(?:\d+:)? (?:fatal )?error: (.*)", said, re.M)
    if found:
        lines = kernel.strip("\n").splitlines()
        line = lines[min(int(found[1]), len(lines)) - 1].strip()
        return f"g++ cannot compile line {found[1]}, `{line}`: {found[2]}"
    if "launcher:" in said:
        return f"the kernel is not closed by its last `}}`, or does not begin as it must: `{job.signature}`"
    return said


def _accident(code: int, said: str) -> str:
    """Why a run did not end well: what the emulator says, or the signal that ended it."""
    if code < 0:
        name = signal.Signals(-code).name
        return f"the kernel ended its process ({name}): it reads or writes far outside of x and y"
    said = re.sub(r"\(kernel:(\d+)\)", r"(your line \1)", said)
    return f"a GPU would hang or go wrong here: {said}" if "thread" in said or "lane" in said else said
