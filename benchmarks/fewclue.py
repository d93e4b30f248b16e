"""The FewCLUE system, stage by stage, over nine tasks and three training splits.

    python benchmarks/fewclue.py tune               rates and sizes: dev rows, other draws  -> results/fewclue_tune.json
    python benchmarks/fewclue.py world              micro-FewCLUE, mini-bert-zh            -> results/fewclue.json
    python benchmarks/fewclue.py less               the same, one stage left out            -> results/fewclue.json
    python benchmarks/fewclue.py real --data DIR    the real files of four tasks            -> results/fewclue_real.json
    python benchmarks/fewclue.py intents            twelve intents, 48 labelled rows     -> results/fewclue_intents.json

Results are in labkit/; rows that are there already are kept, so an interrupted run goes on. A row's seed is its
training split. The world's files are written first, in FewCLUE's format, and read as FewCLUE's are. The other parts
take the learning rates and sizes that were best in `tune`. `--knowledge NAME` puts a model in the backbone's place for
the stage "+ knowledge"; without it that stage is the one before, and its rows say "hook: none".
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from labkit.fewshot.fewclue import LESS_ONE, STAGES, FewClueSystem, Rates, Settings, Stage, nine_task_mean
from labkit.report import Report
from labkit.tasks import FEWCLUE, Task, load_task
from labkit.world.fewclue import SHOTS, SMALL, write_fewclue
from labkit.zoo import load

TasksOf = Callable[[int], Mapping[str, Task]]
RESULTS = Path("labkit/results")
MODEL = "mini-bert-zh"
REAL = ("eprstmt", "bustm", "ocnli", "tnews")
INTENTS, INTENT_SHOTS = "world/intents-zh", 4
TUNE = RESULTS / "fewclue_tune.json"
GRID = {"fine-tune [mean]": (3e-4, 1e-3), "PET": (3e-5, 3e-4, 1e-3)}
MULTITASK = {"200 steps at 3e-4": (200, 3e-4), "200 steps at 1e-3": (200, 1e-3)}
TUNING_SEEDS = (10,)
QUICK = Settings(steps=2, multitask_steps=2, unlabelled=40)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = {"tune": tune, "world": world, "less": less, "real": real, "intents": intents}
    parser.add_argument("part", choices=parts)
    parser.add_argument("--seeds", type=int, default=3, help="training splits, the first so many")
    parser.add_argument("--data", type=Path, help="for real: the folder that holds eprstmt, bustm, …")
    parser.add_argument("--tasks", nargs="*", default=None, help="some of the tasks; their multi-task stage has all")
    parser.add_argument("--knowledge", help="a model for the stage '+ knowledge'")
    parser.add_argument("--out", type=Path, help="another file for the rows")
    parser.add_argument("--quick", action="store_true", help="two steps each, to see that it runs; give --out too")
    options = parser.parse_args()
    parts[options.part](options)


# Micro-FewCLUE


def world(options: argparse.Namespace) -> None:
    on_the_world(options, STAGES)


def less(options: argparse.Namespace) -> None:
    on_the_world(options, LESS_ONE)


def on_the_world(options: argparse.Namespace, stages: Sequence[Stage]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        write_fewclue(folder)
        run(options, "fewclue", lambda split: {name: world_task(folder, name, split) for name in FEWCLUE}, stages)


def world_task(folder: str, name: str, split: int) -> Task:
    """A task read from the files, with the world's own patterns, words and ceiling."""
    known = load_task(f"world/fewclue/{name}")
    task = load_task(f"fewclue:{folder}/{name}", split=split, patterns=known.patterns, words=known.words)
    return replace(task, name=known.name, ceiling=known.ceiling)


def real(options: argparse.Namespace) -> None:
    """A model that has never seen real Chinese, nor most of its characters: what stages do where little is known."""
    if options.data is None:
        raise SystemExit("real needs --data FOLDER, the one that holds eprstmt, bustm, ocnli and tnews")
    run(options, "fewclue_real", lambda split: {name: load_task(f"fewclue:{options.data / name}", split=split)
                                                for name in REAL}, STAGES)  # fmt: skip


def intents(options: argparse.Namespace) -> None:
    whole = load_task(INTENTS)
    run(options, "fewclue_intents", lambda split: {"intents": whole.few_shot(INTENT_SHOTS, split)}, STAGES)


def run(options: argparse.Namespace, name: str, tasks_of: TasksOf, stages: Sequence[Stage]) -> None:
    """The stages of every task on every split that have no row yet; what is saved after each task stays."""
    path = options.out or RESULTS / f"{name}.json"
    report = Report.load(path) if path.is_file() else Report(command=f"python benchmarks/fewclue.py {options.part}")
    base, settings = load(MODEL), QUICK if options.quick else sizes()
    hook = load(options.knowledge).model if options.knowledge else None
    for split in range(options.seeds):
        tasks = tasks_of(split)
        system = FewClueSystem(base.model, base.tokenizer, tasks, rates(tasks), hook, settings, seed=split)
        for task in options.tasks or tasks:
            one_task(report, system, task, split, stages)
            report.save(path)
            system.forget()
    print(report.table())
    summary(report)


def one_task(report: Report, system: FewClueSystem, name: str, split: int, stages: Sequence[Stage]) -> None:
    task, done = system.tasks[name], {row.key for row in report.rows}
    for stage in stages:
        if (stage.name, task.name, task.metric, split) in done:
            continue
        began = time.perf_counter()
        value = system.score(name, stage)
        report.add(
            stage.name, task, value, seed=split, seconds=time.perf_counter() - began, note=system.note(name, stage)
        )
        print(f"{task.name:<24} split {split}  {stage.name:<22} {100 * value:.1f}", flush=True)


def summary(report: Report) -> None:
    """The nine-task mean of each stage, where it has all nine."""
    for stage in (*STAGES, *LESS_ONE):
        scores: dict[str, list[float]] = {}
        for row in report.rows:
            if row.method == stage.name:
                scores.setdefault(row.task.rsplit("/", 1)[-1], []).append(row.value)
        if set(scores) == set(FEWCLUE):
            print(f"{stage.name:<22} nine-task mean {100 * nine_task_mean(scores):.1f}")


# Learning rates and the size of the multi-task stage


def tune(options: argparse.Namespace) -> None:
    """Accuracy on the first half of the dev split over other draws of examples, at every rate, then every size."""
    path = options.out or TUNE
    report = Report.load(path) if path.is_file() else Report(command="python benchmarks/fewclue.py tune")
    base, settings = load(MODEL), QUICK if options.quick else Settings()
    for seed in TUNING_SEEDS[: options.seeds]:
        tasks = {name: drawn(name, seed) for name in [*FEWCLUE, "intents"]}
        for name in options.tasks or tasks:
            for stage, several in GRID.items():
                for rate in several:
                    some = FewClueSystem(base.model, base.tokenizer, {name: tasks[name]}, {name: Rates(rate, rate)},
                                         settings=settings, seed=seed)  # fmt: skip
                    tried(report, some, name, stage, f"{stage}, {rate:g}", seed)
            report.save(path)
    tasks = {name: drawn(name, TUNING_SEEDS[0]) for name in FEWCLUE}
    for label, (steps, rate) in MULTITASK.items():
        chosen = replace(settings, multitask_steps=2 if options.quick else steps, multitask_lr=rate)
        system = FewClueSystem(base.model, base.tokenizer, tasks, rates(tasks, path), settings=chosen, seed=10)
        for name in tasks:
            tried(report, system, name, "+ multi-task", f"+ multi-task, {label}", TUNING_SEEDS[0])
        report.save(path)
    print(rates(tasks, path), sizes(path), sep="\n")


def tried(report: Report, system: FewClueSystem, name: str, stage: str, method: str, seed: int) -> None:
    task = system.tasks[name]
    if (method, task.name, task.metric, seed) not in {row.key for row in report.rows}:
        value = system.score(name, stage, "dev")
        report.add(method, task, value, seed=seed)
        print(f"{task.name:<24} {method:<32} {100 * value:.1f}", flush=True)


def drawn(name: str, seed: int) -> Task:
    """As many examples as a training file has, drawn anew, and the first half of the dev split for "dev"."""
    whole = load_task(INTENTS if name == "intents" else f"world/fewclue/{name}")
    shots = INTENT_SHOTS if name == "intents" else SHOTS.get(name, SMALL // len(whole.labels))
    task = whole.few_shot(shots, seed)
    half = whole.splits["dev"][: len(whole.splits["dev"]) // 2]
    return replace(task, splits={**task.splits, "dev": half})


def rates(tasks: Iterable[str], path: Path = TUNE) -> dict[str, Rates]:
    """The best rates of each task in the rows of `tune`; for a real task, those of its namesake in the world."""
    values: dict[tuple[str, str], list[float]] = {}
    for row in Report.load(path).rows if path.is_file() else []:
        name = row.task.rsplit("/", 1)[-1].removesuffix("-zh")
        values.setdefault((name, row.method), []).append(row.value)

    def best(name: str, stage: str, otherwise: float) -> float:
        tried = {rate: np.mean(values[key]) for rate in GRID[stage] if (key := (name, f"{stage}, {rate:g}")) in values}
        return max(tried, key=lambda rate: tried[rate]) if len(tried) == len(GRID[stage]) else otherwise

    return {name: Rates(best(name, "fine-tune [mean]", 1e-3), best(name, "PET", 3e-4)) for name in tasks}


def sizes(path: Path = TUNE) -> Settings:
    """The settings with the multi-task stage whose mean over the tasks was best in `tune`."""
    rows = Report.load(path).rows if path.is_file() else []
    means = {label: [row.value for row in rows if row.method == f"+ multi-task, {label}"] for label in MULTITASK}
    if not all(means.values()):
        return Settings()
    steps, rate = MULTITASK[max(means, key=lambda label: np.mean(means[label]))]
    return Settings(multitask_steps=steps, multitask_lr=rate)


if __name__ == "__main__":
    main()
