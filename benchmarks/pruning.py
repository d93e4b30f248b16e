"""Accuracy against what is left out: single weights by three rules, two of every four, heads, layers.

    python benchmarks/pruning.py [weights|heads|gates|layers|again]… what is missing  -> labkit/results/pruning.json
    python benchmarks/pruning.py --seconds 200 --teacher FILE       no new run after so long; run again to go on
    python benchmarks/pruning.py --tune        how CAP's weight was chosen: dev split, seed 9, 95 %

World's questions that ask the same or not (the shape of QQP), all 2 000 labels, one fine-tuned model. A sparsity is a
share of the encoder's matrices; embeddings and the new head stay whole. "cut once" leaves out the smallest weights of
the fine-tuned model. The others train it on for STEPS steps while weights are left out by the cubic schedule, over RAMP
steps, and recover in the rest; CAP is magnitude with the contrasts added. SEEDS orders of batches where CAP and
magnitude are compared. Movement ranks within each matrix, magnitude over all. Heads and layers leave the fine-tuned
model without further training, except by gates, which are trained with it. "at random" is the mean of draws.
"""

from __future__ import annotations

import argparse
import copy
import random
import statistics
import time
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import compressing
import torch
from few_shot_runs import opened
from safetensors.torch import load_model, save, save_file
from torch import nn

from labkit import measure
from labkit.compression.pruning import (
    CAP,
    drop_layers,
    finish,
    gated,
    gradually,
    head_importance,
    layer_drop,
    prepare,
    prune,
    remove_heads,
    sparse_file,
    sparsity_of,
    two_of_four,
)
from labkit.compression.pruning.gates import closed, penalty
from labkit.compression.pruning.masks import pruned_in
from labkit.foundations.heads import add_head
from labkit.tasks import load_task
from labkit.training import Batches
from labkit.zoo import load

RESULTS = Path("labkit/results/pruning.json")
TASK, SPARSITIES = "world/qqp", (0.5, 0.7, 0.8, 0.9, 0.95, 0.97)
TEACHER_STEPS, STEPS, RAMP, EVERY, RATE = 400, 100, 70, 10, 5e-4
CAP_WEIGHT, TRIED = 0.1, (0.0, 0.1, 0.5)
SEEDS, COMPARED = 2, (0.9, 0.95, 0.97)  # orders of batches, and the sparsities at which there are several
# method -> rule, sparsities
WAYS: Mapping[str, tuple[str, tuple[float, ...]]] = {
    "magnitude": ("magnitude", SPARSITIES),
    "CAP": ("magnitude", COMPARED),
    "movement": ("movement", (0.5, 0.7, 0.9)),
}
SCOPES = {"magnitude": "model", "movement": "matrix"}
HEADS, DRAWS, PRICES = (4, 8, 12, 16), 5, (0.01, 0.03)
LAYERS = {3: (0, 1, 3), 2: (0, 3), 1: (3,)}  # how many stay -> which: the others are as far apart as can be


class Bench:
    """The report, the task, the fine-tuned model; `seed` orders the batches from here on."""

    def __init__(self, seconds: float, teacher: Path | None, seed: int = 0) -> None:
        self.end = time.monotonic() + seconds
        self.report, self.seed = opened(RESULTS, "python benchmarks/pruning.py"), seed
        self.base, self.task = load(compressing.TEACHER), load_task(TASK)
        self.method = compressing.method_of(self.base, self.task)
        self.tuned = self.fine_tuned(teacher)
        self.pretrained = copy.deepcopy(self.base.model).eval()

    def fine_tuned(self, file: Path | None) -> nn.Module:
        """The model that all rows start from; kept in the file, if one is given."""
        if file is None or not file.is_file():
            model = compressing.teacher(self.base, self.task, steps=TEACHER_STEPS)
            if file is not None:
                save_file(measure.saved_tensors(model), file)
            return model
        model = add_head(copy.deepcopy(self.base.model), self.task.labels, pooling="mean")
        load_model(model, file)
        return model

    def missing(self, method: str) -> bool:
        """Whether the row is to be measured now."""
        return time.monotonic() < self.end and (method, TASK, self.task.metric, self.seed) not in {
            row.key for row in self.report.rows
        }

    def add(self, method: str, model: nn.Module, value: float | None = None, **more: Any) -> None:
        """A row, written at once: accuracy unless given, bytes in a plain file, a packed and a zipped one."""
        value = compressing.accuracy(model, self.method, self.task) if value is None else value
        tensors = measure.saved_tensors(model)
        stored = save(tensors)
        more |= {"packed_bytes": len(save(sparse_file.packed(tensors))), "zipped_bytes": len(zlib.compress(stored))}
        costs = {"parameters": measure.parameters(model), "bytes": len(stored)}
        self.report.add(method, self.task, value, seed=self.seed, **costs, **more)
        self.report.save(RESULTS)
        print(f"seed {self.seed}  {method:<40}{100 * value:6.1f}", {**costs, **more}, flush=True)

    def pruned(self, rule: str, sparsity: float, weight: float = 0.0) -> nn.Module:
        """The model after its steps, with zeros."""
        model = prepare(copy.deepcopy(self.tuned), rule, skip=["classifier"])
        leave_out = gradually(model, sparsity, 0, RAMP, EVERY, SCOPES[rule])
        cap = CAP(self.method, self.pretrained, copy.deepcopy(self.tuned), weight=weight) if weight else None

        def on_step(step: int, loss: float) -> None:
            leave_out(step, loss)
            if cap is not None and step in (RAMP // 3, RAMP * 2 // 3):
                cap.snapshot(model)

        self.trained(model, STEPS, RATE, cap, on_step)
        return finish(model)

    def trained(self, model: nn.Module, steps: int, rate: float, objective: Any, on_step: Any = None) -> nn.Module:
        """The model after so many steps."""
        rows = self.task.splits["train"]
        return compressing.trained(
            model, self.method, rows, steps=steps, lr=rate, seed=self.seed, objective=objective, on_step=on_step
        )


def single_weights(bench: Bench) -> None:
    """Magnitude without and with training, movement, CAP, and two of every four."""
    if bench.missing("cut once, 0 %"):
        bench.add("cut once, 0 %", bench.tuned, sparsity=0.0)
    for sparsity in SPARSITIES:
        if bench.missing(name := f"cut once, {100 * sparsity:g} %"):
            model = finish(prune(prepare(copy.deepcopy(bench.tuned), skip=["classifier"]), sparsity))
            bench.add(name, model, sparsity=sparsity)
    if bench.missing("cut at random, 50 %"):
        model = prepare(copy.deepcopy(bench.tuned), skip=["classifier"])
        rng = torch.Generator().manual_seed(0)
        for layer in pruned_in(model):
            layer.mask.copy_(torch.rand(layer.mask.shape, generator=rng) < 0.5)
        bench.add("cut at random, 50 %", finish(model), sparsity=0.5)
    trained_on(bench, SPARSITIES)
    for name, steps in (("2:4 cut once, 50 %", 0), ("2:4, 50 %", STEPS)):
        if bench.missing(name):
            model = two_of_four(prepare(copy.deepcopy(bench.tuned), skip=["classifier"]))
            if steps:
                bench.trained(model, steps, RATE, None)
            bench.add(name, finish(model), sparsity=0.5)


def trained_on(bench: Bench, sparsities: tuple[float, ...]) -> None:
    """The rows of WAYS that are among the sparsities, in the seed's order of batches."""
    for who, (rule, own) in WAYS.items():
        for sparsity in [one for one in own if one in sparsities]:
            if bench.missing(name := f"{who}, {100 * sparsity:g} %"):
                model = bench.pruned(rule, sparsity, CAP_WEIGHT * (who == "CAP"))
                bench.add(name, model, sparsity=sparsity)


def again(bench: Bench) -> None:
    """CAP and magnitude in other orders of batches."""
    for bench.seed in range(1, SEEDS):
        trained_on(bench, COMPARED)


def heads(bench: Bench) -> None:
    """Heads that leave by importance, and at random."""
    rows = bench.task.splits["train"][:512]
    batches = [bench.method.collate(rows[at : at + 32]) for at in range(0, 512, 32)]
    scores = head_importance(copy.deepcopy(bench.tuned).eval(), bench.method.loss, batches)
    # each layer's by their length, as §4.1 of the paper does
    ranked = sorted((float(one / scores[layer].norm()), layer, head) for layer in range(len(scores))
                    for head, one in enumerate(scores[layer]))  # fmt: skip
    for count in HEADS:
        if bench.missing(name := f"heads by importance, {count} gone"):
            model = without(bench.tuned, [place[1:] for place in ranked], count)
            bench.add(name, model, heads_gone=count)
        if bench.missing(name := f"heads at random, {count} gone"):
            drawn = [without(bench.tuned, shuffled(ranked, draw), count) for draw in range(DRAWS)]
            values = [compressing.accuracy(model, bench.method, bench.task) for model in drawn]
            bench.add(name, drawn[0], statistics.fmean(values), heads_gone=count, spread=statistics.stdev(values))


def gates_that_close(bench: Bench) -> None:
    """Heads whose gates close while the model trains."""
    for price in PRICES:
        if not bench.missing(name := f"heads by gates, {price:g} per head"):
            continue
        model = copy.deepcopy(bench.tuned)
        with gated(model, seed=bench.seed) as gates:
            train_gates(bench, model, gates, price)
            shut = closed(gates)
        bench.add(name, remove_heads(model, shut), heads_gone=sum(map(len, shut.values())))


def train_gates(bench: Bench, model: nn.Module, gates: nn.ModuleList, price: float, rate: float = 0.1) -> None:
    """Model and gates together, the gates at a rate of their own: they start far from closed."""
    own = {id(one) for one in gates.parameters()}
    rest = [one for one in model.parameters() if id(one) not in own]
    optimizer = torch.optim.AdamW([{"params": rest, "lr": RATE}, {"params": gates.parameters(), "lr": rate,
                                                                "weight_decay": 0.0}])  # fmt: skip
    batches = Batches(bench.method.read(bench.task.splits["train"]), bench.method.collate, 32, seed=bench.seed)
    stream = (batch for epoch in range(99) for batch in batches.epoch(epoch))
    model.train()
    torch.manual_seed(bench.seed)
    for step in range(STEPS):
        for group, top in zip(optimizer.param_groups, (RATE, rate), strict=True):
            group["lr"] = top * (1 - step / STEPS)
        optimizer.zero_grad()
        (bench.method.loss(model, next(stream)) + price * penalty(gates)).backward()
        optimizer.step()
    model.eval()


def shuffled(ranked: list[tuple[float, int, int]], seed: int) -> list[tuple[int, int]]:
    """The heads in another order."""
    places = [place[1:] for place in ranked]
    random.Random(seed).shuffle(places)
    return places


def without(model: nn.Module, places: list[tuple[int, int]], count: int) -> nn.Module:
    """A copy without the first `count` heads of the list; a layer's last one is passed over."""
    small, gone = copy.deepcopy(model), {layer: [] for layer, _ in places}
    most = {layer: sum(one == layer for one, _ in places) - 1 for layer in gone}
    for layer, head in places:
        if sum(map(len, gone.values())) < count and len(gone[layer]) < most[layer]:
            gone[layer].append(head)
    return remove_heads(small, gone)


def layers(bench: Bench) -> None:
    """Layers that leave a model that was trained with all of them, and one that was trained with LayerDrop."""
    names = {who: [f"{who}, {kept} of 4 layers" for kept in (4, *LAYERS)] for who in ("all layers", "LayerDrop")}
    for who, rows in names.items():
        if not any(map(bench.missing, rows)):
            continue
        model = bench.tuned
        if who == "LayerDrop":
            model = add_head(copy.deepcopy(bench.base.model), bench.task.labels, pooling="mean", seed=0)
            with layer_drop(model, 0.25, seed=bench.seed):
                bench.trained(model, TEACHER_STEPS, compressing.TEACHER_RATE, None)
        for name, kept in zip(rows, (tuple(range(4)), *LAYERS.values()), strict=True):
            small = drop_layers(copy.deepcopy(model), kept)
            bench.add(name, small, layers=len(kept))


def tune(bench: Bench) -> None:
    """Dev accuracy by CAP's weight, 0 for magnitude alone."""
    for weight in TRIED:
        model = bench.pruned("magnitude", 0.95, weight)
        value = compressing.accuracy(model, bench.method, bench.task, "dev")
        print(f"weight {weight}: {100 * value:.1f}, zeros {sparsity_of(model):.3f}", flush=True)


PARTS = {"weights": single_weights, "heads": heads, "gates": gates_that_close, "layers": layers, "again": again}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=list(PARTS))
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--teacher", type=Path)
    parser.add_argument("--tune", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.tune:
        tune(Bench(options.seconds, options.teacher, seed=9))
        return
    bench = Bench(options.seconds, options.teacher)
    for part in options.parts:
        PARTS[part](bench)


if __name__ == "__main__":
    main()
