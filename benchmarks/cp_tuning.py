"""What the parts of CP-Tuning are worth: the MLM term, the hidden words, the trained template, the rule of the answer.

    python benchmarks/cp_tuning.py parts      one part left out at a time, 16 shots       -> results/cp_tuning.json
    python benchmarks/cp_tuning.py tune       how the learning rate was chosen: dev split, other seeds

Results are in labkit/; rows that are there already are kept, so an interrupted run goes on.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from labkit.evaluation import evaluate
from labkit.fewshot.cp_tuning import RULES, CPTuning
from labkit.fewshot.soft_tokens import attach_soft_tokens
from labkit.report import Report
from labkit.tasks import Task, load_task
from labkit.training import Batches, fit
from labkit.zoo import Loaded, load

RESULTS = Path("labkit/results/cp_tuning.json")
MODEL, TASKS = "mini-bert-en", ("world/sst2", "world/cr", "world/subj", "world/news")
SHOTS, STEPS, BATCH, RATE = 16, 60, 16, 3e-4  # the rate by `tune`
RATES, TUNING_SEEDS = (3e-5, 1e-4, 3e-4, 1e-3), (10, 11)
NAMES = {"nearest": "", "mean": ", class mean"}
# variant -> (options of CPTuning, whether the template's words are trained)
VARIANTS: Mapping[str, tuple[Mapping[str, Any], bool]] = {
    "CP-Tuning": ({}, True),
    "without MLM": ({"mlm_weight": 0.0}, True),
    "words hidden, not asked for": ({"mlm_weight": 1e-9}, True),  # the weight is all but 0: only the hiding is left
    "without MLM, plain words": ({"mlm_weight": 0.0}, False),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["parts", "tune"])
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    {"parts": parts, "tune": tune}[options.part](options.seeds)


def parts(seeds: int) -> None:
    """Every variant with both rules on every task."""
    report = Report.load(RESULTS) if RESULTS.is_file() else Report(command="python benchmarks/cp_tuning.py parts")
    base = load(MODEL)
    for name in TASKS:
        whole = load_task(name)
        for seed in range(seeds):
            for variant in VARIANTS:
                if any((row.method, row.task, row.seed) == (variant, name, seed) for row in report.rows):
                    continue
                found = scores(base, whole.few_shot(SHOTS, seed), variant, seed, RATE)
                for rule, value in found.items():
                    report.add(variant + NAMES[rule], whole, value, seed=seed)
                print(name, seed, variant, {rule: f"{100 * value:.1f}" for rule, value in found.items()}, flush=True)
            report.save(RESULTS)
    print(report.table())


def scores(base: Loaded, task: Task, variant: str, seed: int, lr: float, split: str = "test") -> dict[str, float]:
    """Rule -> accuracy of one variant, trained on the task's few rows."""
    options, soft = VARIANTS[variant]
    model, how = copy.deepcopy(base.model), CPTuning.for_task(task, base.tokenizer, **options)
    if soft:
        attach_soft_tokens(model, how.template, base.tokenizer)
    rows = task.splits["train"]
    batches = Batches(rows, how.collate, BATCH, seed=seed)
    fit(model, how.loss, batches, steps=STEPS, lr=lr, seed=seed, progress=False)
    how.fitted(model, rows)
    found = {}
    for rule in RULES:
        how.rule = rule
        found[rule] = evaluate(model, how, task, split, progress=False)[task.metric]
    return found


def tune(seeds: int) -> None:
    """Mean accuracy on the whole dev split over other seeds, at every rate, with and without MLM."""
    base = load(MODEL)
    for name in TASKS:
        whole = load_task(name)
        for rate in RATES:
            found: dict[str, list[float]] = {}
            for seed in TUNING_SEEDS:
                task = whole.few_shot(SHOTS, seed, dev=False)
                task = replace(task, splits={**task.splits, "dev": whole.splits["dev"]})
                for variant in ("CP-Tuning", "without MLM"):
                    for rule, value in scores(base, task, variant, seed, rate, "dev").items():
                        found.setdefault(variant + NAMES[rule], []).append(100 * value)
            print(f"{name:<12} {rate:g}", {key: f"{np.mean(some):.1f}" for key, some in found.items()}, flush=True)


if __name__ == "__main__":
    main()
