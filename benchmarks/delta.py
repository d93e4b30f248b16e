"""Delta tuning: what every delta reaches, against fine-tuning everything, and what it costs.

    python benchmarks/delta.py accuracy   every delta, three settings, two draws        -> results/delta.json
    python benchmarks/delta.py cost       trained share, peak memory, time of a step      -> results/delta_cost.json
    python benchmarks/delta.py tune       the learning rates: dev split, another draw     -> results/delta_tuning.json

Results are in labkit/; rows that are there already are kept, so an interrupted run goes on. All methods take the same
rows and the same number of steps; each has the learning rate that was best for it on the dev split.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from labkit.evaluation import evaluate
from labkit.fewshot.delta_tuning import (
    IA3,
    BitFit,
    Combined,
    Compacter,
    Delta,
    Intrinsic,
    Ladder,
    LoRA,
    Parallel,
    Prefix,
    Prompt,
    Serial,
)
from labkit.fewshot.pet import PET
from labkit.foundations.heads import HeadClassifier, add_head
from labkit.measure import parameters, peak_memory, trainable
from labkit.report import Report
from labkit.tasks import Task, load_task
from labkit.training import Batches, fit
from labkit.training.randomness import seed_all
from labkit.zoo import Loaded, load

RESULTS = Path("labkit/results")
SEEDS, TUNING_SEED = (0, 1), 10
DELTAS: dict[str, Delta | None] = {
    "fine-tune all": None,
    "adapter, serial": Serial(),
    "adapter, parallel": Parallel(),
    "Compacter": Compacter(),
    "LoRA": LoRA(),
    "IA3": IA3(),
    "BitFit": BitFit(),
    "ladder": Ladder(),
    "prefix": Prefix(),
    "prompt": Prompt(),
    "intrinsic prompt": Intrinsic(),
    "LoRA + BitFit": Combined(deltas=(LoRA(), BitFit())),
}
UNTRAINED = "frozen backbone"  # a new head alone, or a cloze as it is


@dataclass(frozen=True)
class Setting:
    """A task, its model, how it is asked ("head" or "cloze"), shots (0: all rows), steps, rows a step, the methods."""

    task: str
    model: str
    how: str
    shots: int
    steps: int
    batch: int
    methods: tuple[str, ...] = (UNTRAINED, *DELTAS)

    @property
    def name(self) -> str:
        """The name in the table."""
        return f"{self.task}, {f'{self.shots} shots' if self.shots else 'all rows'}, {self.how}"


FEW = Setting("world/news", "mini-bert-en", "head", 16, 100, 16)
CLOZE = Setting("world/fewclue/eprstmt", "mini-bert-zh", "cloze", 16, 100, 16)
ALL = replace(FEW, shots=0, steps=200, batch=32,
              methods=(UNTRAINED, "fine-tune all", "adapter, serial", "LoRA", "BitFit", "prompt"))  # fmt: skip
SETTINGS = (FEW, CLOZE, ALL)
TUNED = {FEW: FEW, CLOZE: CLOZE, ALL: FEW}  # whose learning rates a setting takes
GRID = {
    "fine-tune all": (1e-4, 3e-4, 1e-3, 3e-3),
    "prompt": (3e-2, 1e-1),
    "prefix": (3e-2, 1e-1),
    "intrinsic prompt": (1e-1, 3e-1),
    UNTRAINED: (3e-2,),
}
USUAL = (3e-3, 1e-2, 3e-2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["accuracy", "cost", "tune"])
    {"accuracy": accuracy, "cost": cost, "tune": tune}[parser.parse_args().part]()


# Training, one way for all


def prepared(base: Loaded, task: Task, setting: Setting, name: str, seed: int) -> tuple[nn.Module, Any]:
    """The model with the delta called `name`, and the method: a new mean-pooled head, or the task's first cloze."""
    if setting.how == "cloze":
        model, how = copy.deepcopy(base.model), PET.for_task(task, base.tokenizer)
    else:
        model = add_head(base.model, task.labels, pooling="mean", seed=seed)
        how = HeadClassifier(base.tokenizer, task.fields)
    if name == UNTRAINED:
        for parameter, flag in [(p, n.startswith("classifier")) for n, p in model.named_parameters()]:
            parameter.requires_grad_(flag)
    elif (delta := DELTAS[name]) is not None:
        seeded(delta, seed).attach(model)
    return model, how


def seeded(delta: Delta, seed: int) -> Delta:
    """The delta with this seed, inner ones too."""
    inner = {"inner": seeded(delta.inner, seed)} if isinstance(delta, Intrinsic) else {}
    return replace(delta, seed=seed, **inner)


def score(
    base: Loaded, whole: Task, setting: Setting, name: str, seed: int, lr: float, split: str
) -> tuple[float, Any]:
    """Accuracy on a split after training, and what it cost."""
    task = whole.few_shot(setting.shots, seed) if setting.shots else whole
    model, how = prepared(base, task, setting, name, seed)
    count, began = trainable(model), time.perf_counter()
    if setting.how == "cloze" and name == UNTRAINED:
        count = 0
    else:
        batches = Batches(task.splits["train"], how.collate, setting.batch, seed=seed)
        fit(model, how.loss, batches, steps=setting.steps, lr=lr, seed=seed, progress=False)
    costs = {"trainable": count, "parameters": parameters(model), "seconds": time.perf_counter() - began}
    return evaluate(model, how, whole, split, progress=False)[whole.metric], costs


# The parts


def accuracy() -> None:
    tune()  # what of the grid is missing
    path, rates = RESULTS / "delta.json", best_rates()
    report = Report.load(path) if path.is_file() else Report(command="python benchmarks/delta.py accuracy")
    for seed in SEEDS:
        for setting in SETTINGS:
            base, whole = load(setting.model), load_task(setting.task)
            task = replace(whole, name=setting.name)
            for name in setting.methods:
                if (name, task.name, task.metric, seed) in {row.key for row in report.rows}:
                    continue
                rate = rates[name, TUNED[setting].name]
                value, costs = score(base, whole, setting, name, seed, rate, "test")
                report.add(name, task, value, seed=seed, lr=rate, **costs)
                report.save(path)
                print(f"{task.name}  seed {seed}  {name:<18} {100 * value:.1f}", flush=True)
    for setting in SETTINGS:
        print(setting.name, report.table(task=setting.name), sep="\n")


def tune() -> None:
    """Accuracy on the dev split with another draw, at every rate of the grid."""
    path = RESULTS / "delta_tuning.json"
    report = Report.load(path) if path.is_file() else Report(command="python benchmarks/delta.py tune")
    for setting in (FEW, CLOZE):
        base, whole = load(setting.model), load_task(setting.task)
        for name in setting.methods:
            for rate in GRID.get(name, USUAL):
                if (f"{name} @ {rate:g}", setting.name, whole.metric, TUNING_SEED) in {row.key for row in report.rows}:
                    continue
                value, _ = score(base, whole, setting, name, TUNING_SEED, rate, "dev")
                report.add(f"{name} @ {rate:g}", setting.name, value, seed=TUNING_SEED, lr=rate)
                report.save(path)
                print(f"{setting.name}  {name:<18} {rate:g}: {100 * value:.1f}", flush=True)


def best_rates() -> dict[tuple[str, str], float]:
    """(method, setting) → the rate that `tune` found best."""
    best: dict[tuple[str, str], Any] = {}
    for row in Report.load(RESULTS / "delta_tuning.json").rows:
        key = (row.method.partition(" @ ")[0], row.task)
        if key not in best or row.value > best[key].value:
            best[key] = row
    return {key: row["lr"] for key, row in best.items()}


STEPS_TIMED, ROWS, TOKENS, WARM_UP = 15, 16, 64, 3
COST_MODEL = "mini-bert-en"


def cost() -> None:
    """A training step of each method on the same batch: peak memory by counting, time by turns (median of ratios).

    Time is the processor's (`time.process_time`), which other programs on the machine do not lengthen; run it with one
    thread, OMP_NUM_THREADS=1.
    """
    base, report = load(COST_MODEL), Report(command="python benchmarks/delta.py cost")
    steps, counts = {}, {}
    for name in (UNTRAINED, *DELTAS):
        model = prepared_for_cost(base, name)
        steps[name], counts[name] = one_step(model), (trainable(model), parameters(model))
    memory = {name: peak(step) for name, step in steps.items()}
    seconds = by_turns(steps)
    whole = seconds["fine-tune all"]
    for name, (count, total) in counts.items():
        ratio = statistics.median(mine / all_ for mine, all_ in zip(seconds[name], whole, strict=True))
        costs = {"trainable": count, "parameters": total}
        report.add(name, "one training step", memory[name] / 1e6, metric="peak memory (MB)", **costs)
        report.add(name, "one training step", 1000 * statistics.median(seconds[name]), metric="ms a step", **costs)
        report.add(name, "one training step", ratio, metric="time against fine-tuning all", **costs)
        print(f"{name:<18} {count:>8,}  {memory[name] / 1e6:7.1f} MB  {ratio:.2f} of the time", flush=True)
    report.save(RESULTS / "delta_cost.json")


def prepared_for_cost(base: Loaded, name: str) -> nn.Module:
    """A classifier of 15 classes with the delta, in training mode."""
    model = add_head(base.model, 15, pooling="mean", seed=0)
    if name == UNTRAINED:
        for parameter, flag in [(p, n.startswith("classifier")) for n, p in model.named_parameters()]:
            parameter.requires_grad_(flag)
    elif (delta := DELTAS[name]) is not None:
        delta.attach(model)
    return model.train()


def one_step(model: nn.Module) -> Callable[[], None]:
    """A whole step on one random batch: forward, backward, AdamW."""
    seed_all(0, torch.device("cpu"))
    ids = torch.randint(10, 1000, (ROWS, TOKENS))
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": torch.randint(15, (ROWS,))}
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)

    def step() -> None:
        optimizer.zero_grad()
        model(**batch).loss.backward()
        optimizer.step()

    return step


def peak(step: Callable[[], None]) -> int:
    """Bytes that the first step needs beyond the model's weights: activations, gradients, the optimizer's state."""
    return peak_memory(step)


def by_turns(steps: dict[str, Callable[[], None]]) -> dict[str, list[float]]:
    """Seconds of each step, the methods taking turns, so that the machine's moods meet all of them."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(WARM_UP + STEPS_TIMED):
        for name, step in steps.items():
            began = time.process_time()
            step()
            if turn >= WARM_UP:
                seconds[name].append(time.process_time() - began)
    return seconds


if __name__ == "__main__":
    main()
