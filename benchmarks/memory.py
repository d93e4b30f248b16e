"""Memory of training: peaks measured and predicted, what they cost in time, and LAMB against Adam.

    python benchmarks/memory.py peaks   peak bytes of live tensors, time of a step, by technique -> results/memory.json
    python benchmarks/memory.py lamb    large batches: rates tuned on three seeds, then five more-> results/lamb.json

Results are in labkit/. Time is the processor's, with one thread (OMP_NUM_THREADS=1), techniques taking turns. The
resident size of a long run is long_training.py's.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import torch
from torch import nn

from labkit.parallel.memory.lamb import LAMB
from labkit.parallel.memory.model import Transformer
from labkit.parallel.memory.peaks import DTYPES, Techniques, measured, peak
from labkit.parallel.memory.precision import MixedPrecision
from labkit.parallel.memory.shape import ModelShape
from labkit.report import Report

RESULTS = Path("labkit/results")
SHAPE, BATCH, LENGTH = ModelShape(8, 128, 4, 1000, 128), 8, 128
TECHNIQUES = {
    "fp32": Techniques(),
    "fused attention": Techniques(attention="fused"),
    "4 micro-batches": Techniques(micro=4),
    "checkpoint every layer": Techniques(every=1),
    "checkpoint every 3 layers": Techniques(every=3),
    "bf16, fp32 masters": Techniques("bf16"),
    "bf16, fused attention": Techniques("bf16", "fused"),
    "all of them": Techniques("bf16", "fused", 1, 4),
}
TURNS, FORWARD = 7, "the forward pass alone, fp32"


def peaks() -> None:
    report = Report(command="python benchmarks/memory.py peaks")
    times = by_turns({FORWARD: forward(), **{name: one_step(use) for name, use in TECHNIQUES.items()}})
    share = statistics.median(mine / plain for mine, plain in zip(times[FORWARD], times["fp32"], strict=True))
    report.add(FORWARD, "one training step", share, metric="time against fp32", parameters=SHAPE.parameters)
    for name, use in TECHNIQUES.items():
        found, said = measured(SHAPE, BATCH, LENGTH, use).peak, peak(SHAPE, BATCH, LENGTH, use)
        ratio = statistics.median(mine / plain for mine, plain in zip(times[name], times["fp32"], strict=True))
        rows = {
            "peak measured (MB)": found / 1e6,
            "peak predicted (MB)": said.total / 1e6,
            "activations predicted (MB)": said.activations / 1e6,
            "time against fp32": ratio,
        }
        for metric, value in rows.items():
            report.add(name, "one training step", value, metric=metric, parameters=SHAPE.parameters)
        print(
            f"{name:<26} {found / 1e6:7.2f} MB, predicted {said.total / 1e6:7.2f}; {ratio:.2f} of the time", flush=True
        )
    report.save(RESULTS / "memory.json")


def forward() -> Callable[[], None]:
    """What a checkpoint before every layer adds, as arithmetic has it."""
    model = Transformer(SHAPE)
    ids = torch.randint(SHAPE.vocabulary, (BATCH, LENGTH), generator=torch.Generator().manual_seed(0))
    return torch.no_grad()(lambda: model(ids, ids) and None)


def one_step(use: Techniques) -> Callable[[], None]:
    model = Transformer(SHAPE, attention=use.attention, every=use.every)
    trained = MixedPrecision(model, lambda t: torch.optim.Adam(t, lr=1e-4, fused=True), DTYPES[use.dtype])
    ids = torch.randint(SHAPE.vocabulary, (BATCH, LENGTH), generator=torch.Generator().manual_seed(0))

    def step() -> None:
        for part in ids.split(use.rows(BATCH)):
            trained.backward(model(part, part) / use.micro)
        trained.step()

    return step


def by_turns(steps: dict[str, Callable[[], None]]) -> dict[str, list[float]]:
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(TURNS + 1):
        for name, step in steps.items():
            began = time.process_time()
            step()
            if turn:
                seconds[name].append(time.process_time() - began)
    return seconds


# Regression: a deep network learns what a random one says of 16,384 points, in one pass, in batches of 64 to 2,048.
POINTS, WIDTH, DEPTH, TUNING_SEEDS, SEEDS = 16_384, 64, 6, (10, 11, 12), (0, 1, 2, 3, 4)
RATES = {"Adam": (4e-3, 8e-3, 1.6e-2, 3.2e-2, 6.4e-2), "LAMB": (1e-2, 2e-2, 4e-2, 8e-2, 1.6e-1)}
UNEVEN = 8.0  # layers' weights start this much larger and smaller by turns, with which a ReLU network says the same
SETTINGS = [(2048, 1.0), (256, 1.0), (256, UNEVEN), (64, 1.0)]


def lamb() -> None:
    report = Report(command="python benchmarks/memory.py lamb")
    for batch, factor in SETTINGS:
        task = f"batch {batch}" + (", uneven layers" if factor > 1 else "")
        for name, rates in RATES.items():
            tried = {
                rate: statistics.fmean(unexplained(name, batch, rate, seed, factor) for seed in TUNING_SEEDS)
                for rate in rates
            }
            rate = min(tried, key=tried.__getitem__)
            for seed in SEEDS:
                value = unexplained(name, batch, rate, seed, factor)
                report.add(name, task, value, metric="unexplained variance", seed=seed, lr=rate)
            print(f"{task} {name}: rate {rate:g}", [round(r.value, 3) for r in report.rows[-5:]], flush=True)
            print("   ", {rate: round(value, 3) for rate, value in tried.items()}, flush=True)
        report.save(RESULTS / "lamb.json")


def network(widths: Sequence[int], seed: int, factor: float = 1.0) -> nn.Sequential:
    """A ReLU network; every other layer's output is `factor` times as large, and the next undoes it."""
    torch.manual_seed(seed)
    linear = [nn.Linear(a, b) for a, b in pairwise(widths)]
    with torch.no_grad():
        for large, small in zip(linear[:-1:2], linear[1::2], strict=False):
            large.weight.mul_(factor), large.bias.mul_(factor), small.weight.div_(factor)
    parts = [part for one in linear for part in (one, nn.ReLU())]
    return nn.Sequential(*parts[:-1])


def unexplained(name: str, batch: int, rate: float, seed: int, factor: float = 1.0) -> float:
    """Squared error on 2,048 new points against their variance; warm-up for a tenth of the steps, then linear to 0."""
    teacher = network((16, 256, 1), seed=99).requires_grad_(False)
    draw = torch.Generator().manual_seed(1000 + seed)
    points, fresh = torch.randn(POINTS, 16, generator=draw), torch.randn(2048, 16, generator=draw)
    mean, spread = teacher(points).mean(), teacher(points).std()
    answers, wanted = (teacher(points) - mean) / spread, (teacher(fresh) - mean) / spread
    model = network((16, *[WIDTH] * DEPTH, 1), seed, factor)
    kinds = {"Adam": torch.optim.AdamW, "LAMB": LAMB}
    optimizer = kinds[name](model.parameters(), lr=rate, betas=(0.9, 0.98), weight_decay=0.01)
    total = POINTS // batch
    for step in range(total):
        part, warm = slice(step * batch, (step + 1) * batch), max(1, total // 10)
        optimizer.param_groups[0]["lr"] = rate * min((step + 1) / warm, (total - step) / (total - warm + 1))
        optimizer.zero_grad()
        (model(points[part]) - answers[part]).square().mean().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    with torch.no_grad():
        return float((model(fresh) - wanted).square().mean() / wanted.var())


if __name__ == "__main__":
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("peaks", "lamb"))
    {"peaks": peaks, "lamb": lamb}[parser.parse_args().what]()
