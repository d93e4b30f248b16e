"""Bits per weight, size in the file and accuracy: eight bits, ternary and binary weights, with and without training.

    python benchmarks/quantization.py              every row that is missing -> labkit/results/quantization.json
    python benchmarks/quantization.py --seconds 200    no new training after so long; run again to go on

One teacher per seed: mini-bert-en, fine-tuned with all labels of TASK. Everything below begins with its weights, and
every matrix is stored in codes. "not trained" takes the nearest codes. All others train STEPS steps with the codes in
the forward pass and activations of 8 bits, on the teacher's states, attention scores and logits (TinyBERT's losses, all
at once); "no distillation": on the labels alone. `bits` are those of a weight, of an embedding, of an activation.

`Split` is two binary matrices whose outputs are added, 1 + 1 bits. "BinaryBERT" trains a ternary network for half of
the steps, splits it, and trains the two halves for the other half; "two binary matrices, directly" begins with a matrix
and with what its binary form leaves over, and trains all steps. "a small model on the labels" has full precision, SMALL
layers and width, and about the bytes of the ternary network.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from compressing import STUDENT_RATE, TEACHER, accuracy, costs, method_of, student, teacher, trained
from few_shot_runs import opened
from torch import nn

from labkit.compression import aware, binary, int8, ternary
from labkit.compression.tinybert import TinyBert
from labkit.tasks import load_task
from labkit.zoo import load

RESULTS = Path("labkit/results/quantization.json")
TASK, SEEDS, STEPS, TEACHER_STEPS, RATE = "world/qnli", 2, 200, 400, 5e-4
SMALL = (1, 40)  # layers and width of a full-precision model with about as many bytes as the ternary one
TERNARY, BINARY = ternary.TERNARY, binary.BINARY


class Bench:
    """The report, the task, and the teacher of one seed."""

    def __init__(self, seconds: float) -> None:
        self.report = opened(RESULTS, "python benchmarks/quantization.py")
        self.base, self.task = load(TEACHER), load_task(TASK)
        self.method, self.end = method_of(self.base, self.task), time.monotonic() + seconds
        self.teachers: dict[int, nn.Module] = {}

    def teacher(self, seed: int) -> nn.Module:
        if seed not in self.teachers:
            self.teachers[seed] = teacher(self.base, self.task, steps=TEACHER_STEPS, seed=seed)
        return self.teachers[seed]

    def row(self, name: str, bits: str, seed: int, made: Callable[[], nn.Module], form: Any = None) -> None:
        """Score what `made` gives, as `form` stores it; a model whose activations stay whole is scored before."""
        key = (name, self.task.name, self.task.metric, seed)
        if time.monotonic() > self.end or key in {row.key for row in self.report.rows}:
            return
        began = time.perf_counter()
        model = made().eval()
        seconds = time.perf_counter() - began
        whole = bits.endswith("32") and form is not None
        value = accuracy(model, self.method, self.task) if whole else None
        model = model if form is None else form.apply(model)
        value = accuracy(model, self.method, self.task) if value is None else value
        self.report.add(name, self.task, value, seed=seed, **costs(model, self.method, self.task), seconds=seconds,
                        bits=bits)  # fmt: skip
        self.report.save(RESULTS)
        print(f"seed {seed}  {name:<44} {bits:<8} {100 * value:.1f}", flush=True)

    def trained(
        self, model: nn.Module, seed: int, steps: int, rule: Any, *, labels: bool = False, whole: bool = False
    ) -> nn.Module:
        """The model after `steps` steps with the codes of `rule`, in place; `aware.finish` ends it."""
        rows, run = self.task.splits["train"], {"steps": steps, "lr": RATE, "seed": seed}
        aware.prepare(model, rule, activations=not whole)
        if labels:
            trained(model, self.method, rows, **run)
        else:
            tiny = TinyBert(self.method, self.teacher(seed))
            with tiny.attached(model):
                trained(model, self.method, rows, objective=tiny, **run)
        return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    bench = Bench(options.seconds)
    for seed in range(SEEDS):
        untrained(bench, seed)
        ternaries(bench, seed)
        binaries(bench, seed)


def untrained(bench: Bench, seed: int) -> None:
    """The teacher, and its nearest codes."""

    def own() -> nn.Module:
        return copy.deepcopy(bench.teacher(seed))

    bench.row("full precision", "32-32-32", seed, own)
    bench.row("int8 by rows, not trained", "8-8-8", seed, own, int8.INT8)
    bench.row("ternary (TWN), not trained", "2-2-8", seed, own, TERNARY)
    bench.row("binary, not trained", "1-1-8", seed, own, BINARY)

    def narrow() -> nn.Module:
        small = student(bench.base, bench.task, *SMALL, seed)
        rows = bench.task.splits["train"]
        return trained(small, bench.method, rows, steps=TEACHER_STEPS, lr=STUDENT_RATE, seed=seed)

    bench.row("a small model on the labels", "32-32-32", seed, narrow)


def ternaries(bench: Bench, seed: int) -> None:
    """TernaryBERT, and what it owes to each of its parts."""
    for name, rule, bits, how in (
        ("TernaryBERT (TWN)", ternary.twn, "2-2-8", {}), ("TernaryBERT (LAT)", None, "2-2-8", {}),
        ("TernaryBERT (TWN), no distillation", ternary.twn, "2-2-8", {"labels": True}),
        ("TernaryBERT (TWN), activations of 32 bits", ternary.twn, "2-2-32", {"whole": True}),
    ):  # fmt: skip

        def made(rule: Any = rule, how: Any = how) -> nn.Module:
            return aware.finish(bench.trained(copy.deepcopy(bench.teacher(seed)), seed, STEPS, rule, **how))

        bench.row(name, bits, seed, made, TERNARY)


def binaries(bench: Bench, seed: int) -> None:
    """One binary matrix, and two in three ways."""

    def direct() -> nn.Module:
        return aware.finish(bench.trained(copy.deepcopy(bench.teacher(seed)), seed, STEPS, binary.bwn))

    def left_over() -> nn.Module:
        model = copy.deepcopy(bench.teacher(seed))
        binary.split_layers(model, matrices(model), binary.left_over)
        return aware.finish(bench.trained(model, seed, STEPS, binary.bwn))

    def split() -> nn.Module:
        model = bench.trained(copy.deepcopy(bench.teacher(seed)), seed, STEPS // 2, ternary.twn)
        aware.finish(model, full=True)
        binary.split_layers(model, matrices(model))
        return aware.finish(bench.trained(model, seed, STEPS // 2, binary.bwn))

    bench.row("binary, directly", "1-1-8", seed, direct, BINARY)
    bench.row("two binary matrices, directly", "1+1-1+1-8", seed, left_over, BINARY)
    bench.row("BinaryBERT (split)", "1+1-1+1-8", seed, split, BINARY)


def matrices(model: nn.Module) -> list[str]:
    """The layers and tables that are quantised."""
    return [name for name, module in model.named_modules() if type(module) in (nn.Linear, nn.Embedding)]


if __name__ == "__main__":
    main()
