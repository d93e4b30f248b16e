"""Bits per weight, size in the file and accuracy: eight bits, ternary and binary weights, with and without training.

    python benchmarks/quantization.py              every row that is missing -> labkit/results/quantization.json
    python benchmarks/quantization.py --seconds 200 --keep FOLDER    no new training after so long; run again to go on

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
import functools
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from compressing import STUDENT_RATE, TEACHER, accuracy, method_of, student, teacher, trained
from few_shot_runs import opened
from torch import nn

from labkit import measure
from labkit.checkpoints import load_tensors, load_weights, save_tensors, weights
from labkit.compression import aware, binary, int8, ternary
from labkit.compression.stored import Form
from labkit.compression.tinybert import TinyBert
from labkit.foundations.heads import add_head
from labkit.tasks import load_task
from labkit.zoo import load

RESULTS = Path("labkit/results/quantization.json")
TASK, STEPS, TEACHER_STEPS, RATE = "world/qnli", 100, 300, 5e-4
SMALL = (1, 40)  # layers and width of a full-precision model with about as many bytes as the ternary one
TERNARY, BINARY = ternary.TERNARY, binary.BINARY


class Bench:
    """The report, the task, and the teacher of one seed, kept in a folder for a run that goes on."""

    def __init__(self, seconds: float, folder: Path) -> None:
        self.report, self.folder = opened(RESULTS, "python benchmarks/quantization.py"), folder
        self.base, self.task = load(TEACHER), load_task(TASK)
        self.method, self.end = method_of(self.base, self.task), time.monotonic() + seconds

    def teacher(self, seed: int) -> nn.Module:
        """A copy of it."""
        path = self.folder / f"teacher-{seed}.safetensors"
        if not path.is_file():
            save_tensors(path, weights(teacher(self.base, self.task, steps=TEACHER_STEPS, seed=seed)))
        model = add_head(copy.deepcopy(self.base.model), self.task.labels, pooling="mean")
        load_weights(model, load_tensors(path, "delete the file")[0])
        return model

    def row(self, name: str, bits: str, seed: int, made: Callable[[], nn.Module], form: Form | None = None) -> None:
        """Score what `made` gives; its bytes are those of the codes in `form`."""
        key = (name, self.task.name, self.task.metric, seed)
        if time.monotonic() > self.end or key in {row.key for row in self.report.rows}:
            return
        model = made()
        value = accuracy(model, self.method, self.task)
        if form is not None:
            form.apply(aware.finish(model))
        size = {"parameters": measure.parameters(model), "bytes": measure.bytes_on_disk(model)}
        self.report.add(name, self.task, value, seed=seed, **size, bits=bits)
        self.report.save(RESULTS)
        print(f"seed {seed}  {name:<44} {bits:<10} {100 * value:.1f}", flush=True)

    def trained(
        self, start: Callable[[int], nn.Module], seed: int, steps: int, rule: Any, *, labels: bool = False,
        whole: bool = False,
    ) -> nn.Module:  # fmt: skip
        """What `start(seed)` gives, after `steps` steps with the codes of `rule`."""
        rows, run = self.task.splits["train"], {"steps": steps, "lr": RATE, "seed": seed}
        model = aware.prepare(start(seed), rule, activations=not whole)
        if labels:
            return trained(model, self.method, rows, **run)
        tiny = TinyBert(self.method, self.teacher(seed))
        with tiny.attached(model):
            return trained(model, self.method, rows, objective=tiny, **run)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--keep", type=Path, help="a folder for the teachers, to go on with")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(options.seconds, options.keep or Path(folder))
        for seed in range(options.seeds):
            untrained(bench, seed)
            taught(bench, seed)


def untrained(bench: Bench, seed: int) -> None:
    """The teacher, and its nearest codes."""
    bench.row("full precision", "32-32-32", seed, lambda: bench.teacher(seed))
    bench.row("int8 by rows, not trained", "8-8-8", seed, lambda: int8.apply(bench.teacher(seed)))
    for name, bits, rule, form in (
        ("ternary (TWN)", "2-2-8", ternary.twn, TERNARY),
        ("binary", "1-1-8", binary.bwn, BINARY),
    ):
        bench.row(f"{name}, not trained", bits, seed, lambda rule=rule: aware.prepare(bench.teacher(seed), rule), form)


def taught(bench: Bench, seed: int) -> None:
    """Ternary weights, what they owe to each of their parts, and binary ones in three ways; a small model."""

    def left_over(seed: int) -> nn.Module:
        model = bench.teacher(seed)
        return binary.split_layers(model, matrices(model), binary.left_over)

    def split(seed: int) -> nn.Module:
        model = aware.finish(bench.trained(bench.teacher, seed, STEPS // 2, ternary.twn), full=True)
        return binary.split_layers(model, matrices(model))

    def narrow() -> nn.Module:
        small, rows = student(bench.base, bench.task, *SMALL, seed), bench.task.splits["train"]
        return trained(small, bench.method, rows, steps=TEACHER_STEPS, lr=STUDENT_RATE, seed=seed)

    own, twn, twice = bench.teacher, ternary.twn, "1+1-1+1-8"
    for name, bits, start, steps, rule, form, how in (
        ("TernaryBERT (TWN)", "2-2-8", own, STEPS, twn, TERNARY, {}),
        ("BinaryBERT (split)", twice, split, STEPS // 2, binary.bwn, BINARY, {}),
        ("two binary matrices, directly", twice, left_over, STEPS, binary.bwn, BINARY, {}),
        ("binary, directly", "1-1-8", own, STEPS, binary.bwn, BINARY, {}),
        ("TernaryBERT (TWN), no distillation", "2-2-8", own, STEPS, twn, TERNARY, {"labels": True}),
        ("TernaryBERT (LAT)", "2-2-8", own, STEPS, None, TERNARY, {}),
        ("TernaryBERT (TWN), activations of 32 bits", "2-2-32", own, STEPS, twn, TERNARY, {"whole": True}),
    ):
        bench.row(name, bits, seed, functools.partial(bench.trained, start, seed, steps, rule, **how), form)
    bench.row("a small model on the labels", "32-32-32", seed, narrow)


def matrices(model: nn.Module) -> list[str]:
    """The layers and tables that are quantised."""
    return [name for name, module in model.named_modules() if type(module) in (nn.Linear, nn.Embedding)]


if __name__ == "__main__":
    main()
