"""Searched prompts beside hand-written ones: LM-BFF's templates, label words and demonstrations, AutoPrompt's triggers.

    python benchmarks/auto_prompts.py search   every method, four tasks, three draws   -> results/auto_prompts.json

A row keeps what was found (`template`, `words`), its score on the few dev rows that chose it (`dev`) and on the test
split (`untrained`), both before any training; `value` is the test score after training. Results are in labkit/; rows
that are there already are kept, so an interrupted run goes on.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from labkit.evaluation import evaluate
from labkit.fewshot.auto_prompts import Search, search_template, search_triggers, search_words, with_demonstrations
from labkit.fewshot.pet import PET
from labkit.report import Report
from labkit.tasks import Task, load_task
from labkit.training import Batches, fit
from labkit.zoo import Loaded, load

RESULTS = Path("labkit/results/auto_prompts.json")
MODEL, SHOTS, STEPS, BATCH = "mini-bert-en", 16, 60, 16
TASKS = ("world/subj", "world/cr", "world/qnli", "world/news")
RATE = 3e-5  # PET's, by fewshot.py and pet_family.py on dev rows of other draws: for what a search found, too
MOST_CLASSES = 4  # with demonstrations: one of each must find room beside the text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["search"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--tasks", nargs="+", default=list(TASKS))
    options = parser.parse_args()
    search(options.tasks, options.seeds)


def search(tasks: list[str], seeds: int) -> None:
    """Every method on every draw; the draws of all tasks in turn, so that a run cut short is balanced."""
    report = Report.load(RESULTS) if RESULTS.is_file() else Report(command="python benchmarks/auto_prompts.py search")
    base, whole = load(MODEL), {name: load_task(name) for name in tasks}
    for seed in range(seeds):
        for name in tasks:
            one_draw(report, base, whole[name].few_shot(SHOTS, seed), seed)
            report.save(RESULTS)
    print(report.table())


def one_draw(report: Report, base: Loaded, task: Task, seed: int) -> None:
    """All methods on one draw of examples. Templates and words of T + L: the template first, then words for it."""
    model, tokenizer = base.model, base.tokenizer
    known = {row.method for row in report.rows if (row.task, row.seed) == (task.name, seed)}
    found: dict[str, Search] = {}
    seconds: dict[str, float] = {}  # of the processor

    def searched(name: str, run: Callable[[], Search], *, train: bool = True, called: str = "") -> Search | None:
        label = called or name
        if name in found and label in known:
            return found[name]
        if name not in found:
            began = time.process_time()
            found[name] = run()
            seconds[name] = time.process_time() - began
        if label not in known:
            add(report, base, task, seed, label, found[name], seconds[name], train=train)
        return found[name]

    hand = PET.for_task(task, tokenizer)
    if "PET, hand-written" not in known:
        keep(report, base, task, seed, "PET, hand-written", hand, {"dev": score(model, hand, task, "dev")})
    missing = {"LM-BFF (auto T)", "LM-BFF (auto L)", "LM-BFF (auto T+L)", "AutoPrompt", "AutoPrompt, then PET"} - known
    if missing:
        t = searched("LM-BFF (auto T)", lambda: search_template(model, tokenizer, task, seed=seed))
        searched("LM-BFF (auto L)", lambda: search_words(model, tokenizer, task, task.patterns[0], seed=seed))
        searched("LM-BFF (auto T+L)", lambda: search_words(model, tokenizer, task, t.template, seed=seed))
        run = lambda: search_triggers(model, tokenizer, task, seed=seed)  # noqa: E731
        searched("AutoPrompt", run, train=False)
        searched("AutoPrompt", run, called="AutoPrompt, then PET")
    if "demonstrations" not in known and len(task.labels) <= MOST_CLASSES:
        shown = with_demonstrations(hand, model, task.splits["train"], samples=2, seed=seed)
        keep(report, base, task, seed, "demonstrations", shown, {})


def add(
    report: Report, base: Loaded, task: Task, seed: int, name: str, found: Search, seconds: float, *, train: bool
) -> None:
    """The row of what a search found."""
    words = {label: list(some) for label, some in found.words.items()}
    how = PET.for_task(replace(task, words=found.words), base.tokenizer, str(found.template))
    extra = {
        "dev": found.score, "start_dev": found.start.score if found.start else None, "tried": len(found.tried),
        "template": str(found.template), "words": ", ".join(some[0] for some in words.values()), "search": seconds,
    }  # fmt: skip
    keep(report, base, task, seed, name, how, extra, train=train)


def keep(
    report: Report,
    base: Loaded,
    task: Task,
    seed: int,
    name: str,
    how: PET,
    extra: Mapping[str, Any],
    *,
    train: bool = True,
) -> None:
    """Train, if at all, and add the row."""
    untrained = score(base.model, how, task, "test")
    value = score(trained(base, how, task, seed), how, task, "test") if train else untrained
    report.add(name, task, value, seed=seed, untrained=untrained, **extra)
    print(f"{task.name}  seed {seed}  {name:<22} {100 * value:.1f}  untrained {100 * untrained:.1f}", flush=True)


def trained(base: Loaded, how: PET, task: Task, seed: int) -> Any:
    """A copy of the model after STEPS steps on the task's train split."""
    model, rows = copy.deepcopy(base.model), task.splits["train"]
    batches = Batches(rows, how.collate, min(BATCH, len(rows)), seed=seed)
    fit(model, how.loss, batches, steps=STEPS, lr=RATE, seed=seed, progress=False)
    return model


def score(model: Any, how: PET, task: Task, split: str) -> float:
    return evaluate(model, how, task, split, progress=False)[task.metric]


if __name__ == "__main__":
    main()
