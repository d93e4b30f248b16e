"""Fusion on the CPU: bias + GELU in ten element-wise steps, eager, in place, in blocks, and by torch.compile.

    python benchmarks/fusion.py     -> labkit/results/fusion.json

Bytes are those that the operators ask of memory (`BytesMoved`), a number an element; for the compiled program, which is
one loop, they are the closed form. Time is the processor's, with one thread, all ways taking turns in one run; the
ratio is the median of the turns, against the eager way of the same turn. "Own" time leaves out what the operating
system takes, which is mostly finding memory for new tensors, a page of 4 KiB at a time.
"""

from __future__ import annotations

import argparse
import resource
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from labkit.parallel.kernels.fusion import Shape, gelu_chain, gelu_in_blocks, gelu_in_place, gelu_steps
from labkit.parallel.kernels.tally import BytesMoved
from labkit.report import Report

Way = Callable[[Tensor, Tensor], Tensor]
RESULTS = Path("labkit/results/fusion.json")
WIDTH, ROWS, TURNS = 1024, (256, 8192), 7
METRICS = (
    "bytes an element",
    "time against eager",
    "own time against eager",
    "share of the operating system",
    "new pages",
    "ns an element",
)


def main() -> None:
    torch.set_num_threads(1)
    report = Report(command="python benchmarks/fusion.py", title="bias + GELU in float32, one thread")
    ways = {
        "eager": gelu_steps,
        "in place": gelu_in_place,
        "in blocks of 64 rows": gelu_in_blocks,
        "torch.compile": torch.compile(gelu_steps, dynamic=False),
    }
    for rows in ROWS:
        x, bias = torch.randn(rows, WIDTH), torch.randn(WIDTH)
        wanted = torch.nn.functional.gelu((x + bias).double(), approximate="tanh")
        spent = by_turns(ways, x, bias)
        for name, way in ways.items():
            error = float((way(x, bias) - wanted).abs().max())
            moved = bytes_of(name, way, x, bias) / x.numel()
            whole, own, pages = zip(*spent[name], strict=True)
            eager, eager_own, _ = zip(*spent["eager"], strict=True)
            each = 1e9 * statistics.median(whole) / x.numel()
            # The two parts of a time come from a coarse clock, so they are summed over all turns first.
            system, own_ratio = 1 - sum(own) / sum(whole), sum(own) / sum(eager_own)
            values = (moved, ratio(whole, eager), own_ratio, system, statistics.median(pages), each)
            for metric, value in zip(METRICS, values, strict=True):
                report.add(name, f"{rows} × {WIDTH}", value, metric=metric, mebibytes=x.nbytes / 2**20, error=error)
            said = "; ".join(f"{metric} {value:.3g}" for metric, value in zip(METRICS, values, strict=True))
            print(f"{rows:>5} {name:<22} {said}; error {error:.1e}", flush=True)
    report.save(RESULTS)


def ratio(mine: Sequence[float], eager: Sequence[float]) -> float:
    return statistics.median(a / b for a, b in zip(mine, eager, strict=True))


def by_turns(ways: dict[str, Way], x: Tensor, bias: Tensor) -> dict[str, list[tuple[float, float, float]]]:
    """Seconds, seconds outside the operating system, and new pages of memory, of each way in each turn.

    A turn repeats small inputs, so that each takes milliseconds.
    """
    spent: dict[str, list[tuple[float, float, float]]] = {name: [] for name in ways}
    repeats = max(4, 2**23 // x.numel())
    for turn in range(TURNS + 1):
        for name, way in ways.items():
            before = resource.getrusage(resource.RUSAGE_SELF)
            for _ in range(repeats):
                way(x, bias)
            after = resource.getrusage(resource.RUSAGE_SELF)
            own, system = after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime
            pages = after.ru_minflt - before.ru_minflt
            if turn:
                spent[name].append(((own + system) / repeats, own / repeats, pages / repeats))
    return spent


def bytes_of(name: str, way: Way, x: Tensor, bias: Tensor) -> int:
    if name == "torch.compile":
        return gelu_chain(Shape(*x.shape, x.element_size())).fused
    with BytesMoved() as moved:
        way(x, bias)
    return moved.total


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    main()
