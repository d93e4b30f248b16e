"""Learning from other tasks: what instruction tuning, entailment and TransPrompt carry over to one that was left out.

    python benchmarks/instruction.py reach        new rows, new wordings, new tasks, a new type: how far it reaches
    python benchmarks/instruction.py more         a new type again: more task types, a smaller model
    python benchmarks/instruction.py entailment   continued pre-training on other types, then 16 shots
    python benchmarks/instruction.py transprompt  a group of similar tasks, 16 shots each
    python benchmarks/instruction.py all          -> labkit/results/instruction.json

Rows that are there already are kept, so an interrupted run goes on. Zero-shot accuracies are on the first 200 test rows
of a task, a mean over its wordings; 16-shot ones on the first 500. One learning rate for all that is trained on many
rows and one for all few-shot runs; neither was searched for.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from labkit.evaluation import evaluate
from labkit.fewshot.instruction import TaskType, held_out, instruction_tune, zero_shot
from labkit.fewshot.instruction.entailment import Entailment
from labkit.fewshot.instruction.multitask import continue_pretraining
from labkit.fewshot.instruction.task_types import ENGLISH, with_made
from labkit.fewshot.instruction.transprompt import TransPrompt, adapt, group_rows, meta_train
from labkit.fewshot.pet import PET
from labkit.fewshot.soft_prompts import PTuning
from labkit.report import Report
from labkit.tasks import Task, load_task
from labkit.training import Batches, fit
from labkit.zoo import Loaded, load

RESULTS = Path("labkit/results/instruction.json")
MODEL, SMALL = "mini-bert-en", "micro-bert-en"
STEPS, PAIR_STEPS, RATE = 300, 150, 1e-3  # of instruction tuning, of entailment, and the rate of both
SHOTS, FEW_STEPS, META_STEPS, FEW_RATE = 16, 80, 240, 1e-4
ASKED, SCORED = 200, 500  # test rows
UNSEEN = ("world/mr", "world/qqp", "world/rte")  # one of each type with several tasks
MADE, SMALLER = ("sentiment", "paraphrase", "inference"), ("inference",)
LEFT_OUT = {"world/subj": "subjectivity", "world/mrpc": "paraphrase", "world/rte": "inference",
            "world/reviews": "sentiment", "world/news": "topic"}  # fmt: skip
FEW = ("world/subj", "world/mrpc", "world/rte")  # of these, the ones that leave room for few shots
GROUP = ("world/mrpc", "world/qqp", "world/qnli", "world/rte")
PATTERN = "{text_a} ? {mask} , {text_b} ."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts: dict[str, Callable[[Bench], None]] = {
        "reach": reach, "more": more, "entailment": entailment, "transprompt": transprompt,
    }  # fmt: skip
    parser.add_argument("part", choices=[*parts, "all"])
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    bench = Bench(options.seeds)
    for name, part in parts.items():
        if options.part in (name, "all"):
            part(bench)
    for task in dict.fromkeys(row.task for row in bench.report.rows):
        print(f"\n{task}\n{bench.report.table(task=task)}")


class Bench:
    """The report so far, the tasks, the models."""

    def __init__(self, seeds: int) -> None:
        command = f"python benchmarks/instruction.py all --seeds {seeds}"
        self.report = Report.load(RESULTS) if RESULTS.is_file() else Report(command=command)
        self.seeds, self.tasks = range(seeds), {name: load_task(name) for one in ENGLISH for name in one.tasks}
        self.models: dict[str, Loaded] = {}

    def model(self, name: str = MODEL) -> Loaded:
        if name not in self.models:
            self.models[name] = load(name)
        return self.models[name]

    def missing(self, methods: Sequence[str], task: str, seed: int) -> bool:
        """Whether one of these measurements is still to be made."""
        have = {(row.method, row.task, row.seed) for row in self.report.rows}
        return any((method, task, seed) not in have for method in methods)

    def add(self, method: str, task: Any, value: float, seed: int, **extra: Any) -> None:
        self.report.add(method, task, value, seed=seed, **extra)
        name = task if isinstance(task, str) else task.name
        print(f"{name:<16} seed {seed}  {method:<40} {100 * value:.1f}", flush=True)
        self.report.save(RESULTS)

    def asked(self, base: Loaded, model: Any, kind: TaskType, cue: bool | None = None) -> list[dict[str, Any]]:
        """Zero-shot accuracies of a type's tasks and wordings; with `cue`, on the rows that have one, or have none."""
        tasks = {name: first(self.tasks[name], ASKED, cue) for name in kind.tasks}
        return zero_shot(model, base.tokenizer, kind, tasks)

    def add_types(self, method: str, rows: list[dict[str, Any]], kind: str, seed: int) -> None:
        """One row for a type: the mean over its tasks and wordings, and over its tasks for each wording."""
        numbers = sorted({row["wording"] for row in rows})
        means = [float(np.mean([row["accuracy"] for row in rows if row["wording"] == n])) for n in numbers]
        mean = float(np.mean([row["accuracy"] for row in rows]))
        by_wording = {f"wording_{number + 1}": value for number, value in zip(numbers, means, strict=True)}
        self.add(method, f"type/{kind}", mean, seed, **by_wording)


def first(task: Task, rows: int, cue: bool | None = None) -> Task:
    """The task with fewer test rows; with `cue`, those that say in so many words how the two texts agree, or do not."""
    test = [row for row in task.splits["test"] if cue is None or ("cue" in row["kind"]) == cue]
    return replace(task, splits={**task.splits, "test": test[:rows]})


# How far it reaches


def reach(bench: Bench) -> None:
    """The model as it is; tuned on all types but one; tuned on all types, less a task and a wording of each."""
    base = bench.model()
    for kind in ENGLISH:
        if bench.missing(["before"], f"type/{kind.name}", 0):
            bench.add_types("before", bench.asked(base, base.model, kind), kind.name, 0)
    for seed in bench.seeds:
        for kind in ENGLISH:
            if bench.missing(["new type"], f"type/{kind.name}", seed):
                split = held_out(ENGLISH, kind.name, bench.tasks)
                tuned = instruction_tune(base.model, base.tokenizer, split, steps=STEPS, lr=RATE, seed=seed)
                bench.add_types("new type", bench.asked(base, tuned, kind), kind.name, seed)
        if any(bench.missing([method], "type/inference", seed) for method in NEARER):
            nearer(bench, base, seed)


NEARER, CUED = ("new rows", "new wording", "new task"), ("paraphrase", "inference")


def nearer(bench: Bench, base: Loaded, seed: int) -> None:
    """One model, tuned on all types, but not on the tasks UNSEEN nor on the last wording of each type."""
    taught = [replace(k, tasks=seen(k), wordings=k.wordings[:-1]) for k in ENGLISH]
    nothing = TaskType("nothing", (), ())
    split = held_out([*taught, nothing], "nothing", bench.tasks)
    tuned = instruction_tune(base.model, base.tokenizer, split, steps=STEPS, lr=RATE, seed=seed)
    for kind, known in zip(ENGLISH, taught, strict=True):
        new_task = tuple(name for name in kind.tasks if name in UNSEEN)
        ways = {
            "new rows": known,
            "new wording": replace(known, wordings=kind.wordings[-1:]),
            "new task": replace(known, tasks=new_task),
        }
        for method, asked in ways.items():
            if asked.tasks:
                bench.add_types(method, bench.asked(base, tuned, asked), kind.name, seed)
            if asked.tasks and kind.name in CUED and method != "new wording":
                for cue, label in ((True, "with a cue"), (False, "without a cue")):
                    bench.add_types(f"{method}, {label}", bench.asked(base, tuned, asked, cue), kind.name, seed)


def seen(kind: TaskType) -> tuple[str, ...]:
    return tuple(name for name in kind.tasks if name not in UNSEEN)


# More of it


def more(bench: Bench) -> None:
    """A held-out type with more training types, and with a smaller model."""
    small = bench.model(SMALL)
    for kind in ENGLISH:
        ways = {"new type, two made types more": bench.model()} if kind.name in MADE else {}
        if kind.name in SMALLER:
            ways["new type, smaller model"] = small
            if bench.missing(["before, smaller model"], f"type/{kind.name}", 0):
                bench.add_types("before, smaller model", bench.asked(small, small.model, kind), kind.name, 0)
        for seed in bench.seeds:
            for method, base in ways.items():
                if bench.missing([method], f"type/{kind.name}", seed):
                    split = held_out(ENGLISH, kind.name, bench.tasks)
                    given = with_made(split, seed) if "made" in method else split
                    tuned = instruction_tune(base.model, base.tokenizer, given, steps=STEPS, lr=RATE, seed=seed)
                    bench.add_types(method, bench.asked(base, tuned, kind), kind.name, seed)


# Entailment, then few shots


def entailment(bench: Bench) -> None:
    """PET and entailment with 16 shots, from the model as it is and after continued pre-training on other types."""
    base = bench.model()
    for name, kind in LEFT_OUT.items():
        for seed in bench.seeds:
            starts: dict[str, Any] = {"": base.model}
            methods = ("PET, 16 shots", "entailment, 16 shots", "entailment, zero shots")[0 if name in FEW else -1 :]
            after = ", after other tasks"
            if bench.missing([f"{method}{after}" for method in methods], name, seed):
                others = list(held_out(ENGLISH, kind, bench.tasks).tasks.values())
                starts[after] = continue_pretraining(
                    base.model, base.tokenizer, others, steps=PAIR_STEPS, lr=RATE, seed=seed, mlm_weight=0.1
                )
            for label, start in starts.items():
                if bench.missing([f"{method}{label}" for method in methods], name, seed):
                    few(bench, base, start, label, first(bench.tasks[name], SCORED), seed)


def few(bench: Bench, base: Loaded, start: Any, label: str, task: Task, seed: int) -> None:
    """Entailment without an example; PET and entailment trained on few."""
    task = task.few_shot(SHOTS, seed, dev=False)
    pet, judge = PET.for_task(task, base.tokenizer), Entailment.for_task(task, base.tokenizer)
    bench.add(f"entailment, zero shots{label}", task, accuracy(start, judge, task), seed)
    if task.name not in FEW:
        return
    for name, method in (("PET", pet), ("entailment", judge)):
        value = accuracy(trained(start, method, task.splits["train"], seed), method, task)
        bench.add(f"{name}, 16 shots{label}", task, value, seed)


def trained(
    start: Any, method: Any, rows: Sequence[Any], seed: int, *, steps: int | None = None, own: bool = False
) -> Any:
    """A copy of the model (or the model, if `own`), trained on few rows."""
    model = start if own else copy.deepcopy(start)
    batches = Batches(rows, method.collate, min(16, len(rows)), seed=seed)
    fit(model, method.loss, batches, steps=steps or FEW_STEPS, lr=FEW_RATE, seed=seed, progress=False)
    return model


def accuracy(model: Any, method: Any, task: Task) -> float:
    return evaluate(model, method, task, progress=False)[task.metric]


# TransPrompt


VARIANTS: dict[str, dict[str, Any]] = {
    "": {}, " without de-biasing": {"temperature": None}, " with sharp weights": {"temperature": 0.02},
}  # fmt: skip


def transprompt(bench: Bench) -> None:
    """Four pair tasks of 16 shots each: each alone, all in one PET, all in a meta-learner, and that adapted to each."""
    base = bench.model()
    for seed in bench.seeds:
        tasks = [first(bench.tasks[name], SCORED).few_shot(SHOTS, seed, dev=False) for name in GROUP]
        for task in tasks:
            alone(bench, base, task, seed)
        together(bench, base, tasks, seed)
        method = TransPrompt.for_tasks(tasks, base.tokenizer, PATTERN)
        for label, options in VARIANTS.items():
            names = [f"TransPrompt{label}", f"TransPrompt{label}, not adapted"]
            if not any(bench.missing(names, task.name, seed) for task in tasks):
                continue
            how = copy.copy(method)
            how.entropy = 0.0 if "without" in label else method.entropy
            meta = meta_train(base.model, how, tasks, steps=META_STEPS, lr=FEW_RATE, seed=seed, **options)
            for task in tasks:
                bench.add(names[1], task, accuracy(meta, how.asking(task), task), seed)
                adapted = adapt(meta, how, task, steps=FEW_STEPS, lr=FEW_RATE, seed=seed)
                bench.add(names[0], task, accuracy(adapted, how.asking(task), task), seed)


def alone(bench: Bench, base: Loaded, task: Task, seed: int) -> None:
    """PET and P-tuning with the group's pattern, on one task; PET also with as many steps as TransPrompt has."""
    pet = PET.for_task(task, base.tokenizer, PATTERN)
    soft = PTuning(pet.template, pet.verbalizer, base.tokenizer, seed=seed)
    ways = {
        "PET, alone": (pet, FEW_STEPS),
        "PET, alone, as many steps": (pet, META_STEPS + FEW_STEPS),
        "P-tuning, alone": (soft, FEW_STEPS),
    }
    for name, (method, steps) in ways.items():
        if bench.missing([name], task.name, seed):
            model = copy.deepcopy(base.model)
            model = soft.attach(model) if method is soft else model
            rows = task.splits["train"]
            value = accuracy(trained(model, method, rows, seed, steps=steps, own=True), method, task)
            bench.add(name, task, value, seed)


def together(bench: Bench, base: Loaded, tasks: Sequence[Task], seed: int) -> None:
    """One PET on the rows of all tasks: what TransPrompt is without its prompts."""
    name = "PET, all in one"
    if not any(bench.missing([name], task.name, seed) for task in tasks):
        return
    group = TransPrompt.for_tasks(tasks, base.tokenizer, PATTERN)
    pet, rows = PET(PATTERN, group.verbalizer, base.tokenizer), group_rows(group, tasks)
    model = trained(base.model, pet, rows, seed, steps=META_STEPS)
    for task in tasks:
        bench.add(name, task, accuracy(model, PET.for_task(task, base.tokenizer, PATTERN), task), seed)


if __name__ == "__main__":
    main()
