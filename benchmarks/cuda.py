"""The CUDA kernels beside eager PyTorch and `torch.compile`: milliseconds, bytes moved, share of copy bandwidth.

    python benchmarks/cuda.py [--kernels layernorm gelu softmax cross_entropy int8 head] [--repetitions 50]

Everything in one run on one GPU: a copy of 1 GB gives the bandwidth that the shares are of. Times are medians of CUDA
events after warm-up, with the L2 cache overwritten before each launch; the three take turns. A ratio above 1 means
that the kernel is faster. Prints the shapes where a kernel loses and the size from which on it wins, and writes
labkit/results/cuda.json. It needs a GPU and `nvcc`, and says so where there is none.
"""

# ruff: noqa: E402
from __future__ import annotations

import sys

# torch looks for NVIDIA's package `cuda`, and would find this file: a script's folder comes first on the path.
if __name__ == "cuda":
    raise ImportError("this is labkit's benchmark of kernels, not NVIDIA's package `cuda`")
sys.path[:] = [folder for folder in sys.path if folder != __file__.rpartition("/")[0]]

import argparse
import math
import statistics
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import torch._functorch.config as functorch
import torch.nn.functional as F
from torch import Tensor

import labkit
from labkit import cuda
from labkit.cuda.build import find_nvcc
from labkit.errors import LabkitError, UsageError
from labkit.report import Report

DEVICE, BACKEND = "cuda", "cuda"
RESULTS = Path(labkit.__file__).parent / "results" / "cuda.json"
OURS, EAGER, COMPILED = "labkit", "eager", "compile"
# (rows, width): a growing batch for the cross-over, the widths of known models, a width that 16 bytes do not divide.
SHAPES = [(rows, 1024) for rows in (16, 64, 256, 1024, 4096, 16384, 65536)]
SHAPES += [(65536, 256), (16384, 768), (16384, 4096), (8192, 8192), (4096, 16384), (16384, 1025)]
VOCABULARIES = [(rows, 32000) for rows in (16, 256, 4096)] + [(4096, 30522), (4096, 50257), (2048, 128256)]
ATTENTION = [(512, 64), (4096, 128), (65536, 512), (16384, 2048), (4096, 16384), (512, 131072)]
PRODUCTS = [(m, n, n) for n in (1024, 4096) for m in (16, 128, 1024, 8192)] + [(8192, 14336, 4096), (8192, 4096, 14336)]

HEADS = [1024, 16384]


@dataclass(frozen=True)
class Case:
    """One operation at one shape: the functions to time, the first ours, and the bytes that it has to move."""

    kernel: str
    shape: str
    size: int  # elements, or multiplications for a matrix product: orders the cross-over
    moved: int  # bytes at the least; 0 where arithmetic is the bound
    runs: dict[str, Callable[[], object]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kernels", nargs="+", choices=list(FAMILIES), default=list(FAMILIES))
    parser.add_argument("--repetitions", type=int, default=50)
    options = parser.parse_args()
    try:
        measure(options.kernels, options.repetitions)
    except LabkitError as error:
        print(error, file=sys.stderr)
        raise SystemExit(error.exit_code) from error


def measure(kernels: list[str], repetitions: int) -> None:
    """Time every case, print a line each, save the report after each."""
    if missing():
        raise UsageError(f"benchmarks/cuda.py measures kernels on a GPU, and there is no {missing()} here")
    torch.manual_seed(0)
    bandwidth = copy_bandwidth(repetitions)
    print(f"{gpu()}: a copy moves {bandwidth / 1e9:.0f} GB/s\n\n{HEAD}")
    report = Report(command="python benchmarks/cuda.py", title="CUDA kernels")
    report.add("copy", "1 GB", bandwidth, metric="bytes a second", gpu=gpu())
    measured: list[tuple[Case, dict[str, float]]] = []
    for kernel in kernels:
        for case in FAMILIES[kernel]():
            times = medians(case.runs, repetitions)
            measured.append((case, times))
            keep(report, case, times, bandwidth)
            print(line(case, times, bandwidth), flush=True)
            report.save(RESULTS)
            torch.compiler.reset()
    print("\n" + "\n".join(verdicts(measured)))


def missing() -> str:
    """What the measurement needs and this machine has not."""
    if not torch.cuda.is_available():
        return "CUDA device"
    return "nvcc" if find_nvcc() is None else ""


def gpu() -> str:
    return torch.cuda.get_device_name()


# Time


def copy_bandwidth(repetitions: int) -> float:
    """Bytes a second, read and written, of a plain copy of 1 GB."""
    source = torch.empty(2**30, dtype=torch.uint8, device=DEVICE)
    target = torch.empty_like(source)
    return 2 * source.numel() / (medians({"copy": lambda: target.copy_(source)}, repetitions)["copy"] / 1e3)


def medians(runs: dict[str, Callable[[], object]], repetitions: int, warm: int = 5) -> dict[str, float]:
    """Milliseconds of each, in turns; the L2 cache is overwritten before each run, which also hides the launch."""
    flush = torch.empty(2**28, dtype=torch.uint8, device=DEVICE)
    for run in runs.values():
        for _ in range(warm):
            run()
    events: dict[str, list[tuple[torch.cuda.Event, torch.cuda.Event]]] = {name: [] for name in runs}
    for _ in range(repetitions):
        for name, run in runs.items():
            begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            flush.zero_()
            begin.record()
            run()
            end.record()
            events[name].append((begin, end))
    torch.cuda.synchronize()
    return {name: statistics.median(a.elapsed_time(b) for a, b in pairs) for name, pairs in events.items()}


# Say


HEAD = f"{'kernel':<24}{'shape':>20}{'ms':>9}{'MB':>9}{'of copy':>9}{'x eager':>9}{'x compile':>10}"


def share(case: Case, milliseconds: float, bandwidth: float) -> float:
    """Of the copy bandwidth: what the bytes that must move would take, over what was taken. NaN if arithmetic-bound."""
    return case.moved / bandwidth / (milliseconds / 1e3) if case.moved else math.nan


def line(case: Case, times: dict[str, float], bandwidth: float) -> str:
    """A row of the table; a matrix product's other peers stand behind it."""
    mine = times[OURS]
    part, ratio = share(case, mine, bandwidth), {name: time / mine for name, time in times.items() if name != OURS}
    cells = [f"{ratio.pop(name):.2f}" if name in ratio else "-" for name in (EAGER, COMPILED)]
    rest = "".join(f"   {value:.2f} x {name}" for name, value in ratio.items())
    shown = "-" if math.isnan(part) else f"{100 * part:.0f} %"
    start = f"{case.kernel:<24}{case.shape:>20}{mine:9.4f}{case.moved / 1e6:9.1f}"
    return f"{start}{shown:>9}{cells[0]:>9}{cells[1]:>10}{rest}"


def keep(report: Report, case: Case, times: dict[str, float], bandwidth: float) -> None:
    """A row a method."""
    for name, time in times.items():
        part = share(case, time, bandwidth)
        extra = {"moved": case.moved, "share": None if math.isnan(part) else part, "size": case.size}
        report.add(name, f"{case.kernel} {case.shape}", time, metric="ms", **extra)


def verdicts(measured: Iterable[tuple[Case, dict[str, float]]]) -> list[str]:
    """For each kernel: where it loses to any peer, and the size from which on it never does."""
    said = []
    groups: dict[str, list[tuple[Case, dict[str, float]]]] = {}
    for case, times in measured:
        groups.setdefault(case.kernel, []).append((case, times))
    for kernel, rows in groups.items():
        lost = [case.shape for case, times in rows if times[OURS] > min(times.values())]
        since = crossover([(case.size, times[OURS] <= min(times.values())) for case, times in rows])
        wins = "wins at no size from which on it always wins" if since is None else f"wins from size {since} on"
        said.append(f"{kernel}: {wins}; loses at {', '.join(lost) or 'no shape'}")
    return said


def crossover(rows: Iterable[tuple[int, bool]]) -> int | None:
    """The smallest size from which on all rows are won; None where the largest is lost."""
    since = None
    for size, won in sorted(rows, reverse=True):
        if not won:
            break
        since = size
    return since


# Cases


def compiled(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return torch.compile(function, dynamic=False)


def rand(*shape: int, grad: bool = False) -> Tensor:
    return torch.randn(shape, dtype=torch.bfloat16, device=DEVICE, requires_grad=grad)


def both_ways(
    kernel: str, shape: tuple[int, int], each: tuple[int, int], leaves: list[Tensor],
    ours: Callable[..., Tensor], plain: Callable[..., Tensor],
) -> Iterator[Case]:  # fmt: skip
    """A case forward and a case backward; `each` is bytes an element of the one and of the other."""
    with functorch.patch(donated_buffer=False):  # so that one graph can be run backward many times
        functions = {OURS: ours, EAGER: plain, COMPILED: compiled(plain)}
        size, text = shape[0] * shape[1], f"{shape[0]} x {shape[1]}"
        with torch.no_grad():
            runs = {name: (lambda f=f: f(*leaves)) for name, f in functions.items()}
            yield Case(f"{kernel} forward", text, size, size * each[0], runs)
        outputs = {name: f(*leaves) for name, f in functions.items()}
        upper = torch.randn_like(outputs[OURS])
        runs = {
            name: (lambda out=out: torch.autograd.grad(out, leaves, upper.to(out.dtype), retain_graph=True))
            for name, out in outputs.items()
        }
        yield Case(f"{kernel} backward", text, size, size * each[1], runs)


def layernorm() -> Iterator[Case]:
    for rows, width in SHAPES:
        leaves = [
            rand(rows, width, grad=True),
            rand(rows, width, grad=True),
            *(rand(width, grad=True) for _ in range(3)),
        ]
        ours = lambda x, r, b, w, s: cuda.bias_dropout_residual_layernorm(x, b, r, w, s, p=0.1, backend=BACKEND)  # noqa: E731
        plain = lambda x, r, b, w, s: F.layer_norm(r + F.dropout(x + b, 0.1), x.shape[-1:], w, s)  # noqa: E731
        yield from both_ways("layernorm", (rows, width), (8, 8), leaves, ours, plain)


def gelu() -> Iterator[Case]:
    for rows, width in SHAPES:
        leaves = [rand(rows, width, grad=True), rand(width, grad=True)]
        ours = lambda x, b: cuda.bias_gelu(x, b, backend=BACKEND)  # noqa: E731
        yield from both_ways("gelu", (rows, width), (4, 6), leaves, ours, lambda x, b: F.gelu(x + b))


def softmax() -> Iterator[Case]:
    for rows, width in ATTENTION:
        attend = torch.rand(1, width, device=DEVICE) < 0.9
        ours = lambda x, m=attend: cuda.scale_mask_softmax(x, m, scale=0.125, backend=BACKEND)  # noqa: E731
        plain = lambda x, m=attend: (x * 0.125).masked_fill(~m, -math.inf).softmax(-1)  # noqa: E731
        yield from both_ways("softmax", (rows, width), (4, 6), [rand(rows, width, grad=True)], ours, plain)


def cross_entropy() -> Iterator[Case]:
    for rows, width in VOCABULARIES:
        targets = torch.randint(width, (rows,), device=DEVICE)
        ours = lambda x, t=targets: cuda.cross_entropy(x, t, backend=BACKEND)  # noqa: E731
        plain = lambda x, t=targets: F.cross_entropy(x, t)  # noqa: E731
        yield from both_ways("cross_entropy", (rows, width), (2, 4), [rand(rows, width, grad=True)], ours, plain)


def head() -> Iterator[Case]:
    """Masked language modelling, 15 % of the rows with a target: the output layer on all rows, or on those."""
    for rows in HEADS:
        x, weight, targets = rand(rows, 768), rand(30522, 768), torch.randint(30522, (rows,), device=DEVICE)
        targets = targets.masked_fill(torch.rand(rows, device=DEVICE) > 0.15, -100)

        def ours(x: Tensor = x, weight: Tensor = weight, targets: Tensor = targets) -> Tensor:
            some, kept = cuda.gather_rows(x, targets, backend=BACKEND)
            return cuda.cross_entropy(some @ weight.T, kept, backend=BACKEND)

        plain = lambda x=x, w=weight, t=targets: F.cross_entropy(x @ w.T, t)  # noqa: E731
        runs = {OURS: ours, EAGER: plain, COMPILED: compiled(plain)}
        yield Case("gather, head, loss", f"{rows} x 768", rows * 768 * 30522, 0, runs)


def int8() -> Iterator[Case]:
    for m, n, k in PRODUCTS:
        x, weight = rand(m, k), rand(n, k)
        q, factors = cuda.quantise_rows(weight, backend=BACKEND)
        ours = lambda x=x, q=q, f=factors: cuda.int8_linear(x, q, f, backend=BACKEND)  # noqa: E731
        runs = {OURS: ours, "bf16 F.linear": lambda x=x, w=weight: F.linear(x, w)}
        if m > 16:  # what _int_mm takes

            def library(x: Tensor = x, q: Tensor = q, factors: Tensor = factors) -> Tensor:
                rows, scale = cuda.quantise_rows(x, backend=BACKEND)
                return (torch._int_mm(rows, q.T) * (scale[:, None] * factors)).to(x.dtype)

            runs["_int_mm + scales"] = library
        yield Case("int8_linear", f"{m} x {n} x {k}", m * n * k, 0, runs)


FAMILIES: dict[str, Callable[[], Iterator[Case]]] = {
    "layernorm": layernorm, "gelu": gelu, "softmax": softmax, "cross_entropy": cross_entropy,
    "int8": int8, "head": head,
}  # fmt: skip


if __name__ == "__main__":
    main()
