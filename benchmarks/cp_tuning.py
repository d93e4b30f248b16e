"""What the parts of CP-Tuning are worth: the MLM term, the hidden words, the trained template, the rule of the answer.

    python benchmarks/cp_tuning.py parts      one part left out at a time, 16 shots       -> results/cp_tuning.json

Results are in labkit/; rows that are there already are kept, so an interrupted run goes on.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from few_shot_runs import accuracy, opened

from labkit.fewshot.cp_tuning import RULES, CPTuning
from labkit.fewshot.methods import Adapted, trained
from labkit.fewshot.prompts.soft_tokens import attach_soft_tokens
from labkit.tasks import Task, load_task
from labkit.zoo import Loaded, load

RESULTS = Path("labkit/results/cp_tuning.json")
MODEL, TASKS = "mini-bert-en", ("world/sst2", "world/cr", "world/subj", "world/news")
SHOTS, STEPS, RATE = 16, 60, 1e-4  # the rate by `benchmarks/fewshot.py tune`
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
    parser.add_argument("part", choices=["parts"])
    parser.add_argument("--seeds", type=int, default=3)
    parts(parser.parse_args().seeds)


def parts(seeds: int) -> None:
    """Every variant with both rules on every task."""
    report = opened(RESULTS, "python benchmarks/cp_tuning.py parts")
    base = load(MODEL)
    for name in TASKS:
        whole = load_task(name)
        for seed in range(seeds):
            for variant in VARIANTS:
                if any((row.method, row.task, row.seed) == (variant, name, seed) for row in report.rows):
                    continue
                found = scores(base, whole.few_shot(SHOTS, seed), variant, seed)
                for rule, value in found.items():
                    report.add(variant + NAMES[rule], whole, value, seed=seed)
                print(name, seed, variant, {rule: f"{100 * value:.1f}" for rule, value in found.items()}, flush=True)
            report.save(RESULTS)
    print(report.table())


def scores(base: Loaded, task: Task, variant: str, seed: int) -> dict[str, float]:
    """Rule -> accuracy of one variant, trained on the task's few rows."""
    options, soft = VARIANTS[variant]
    model, how = copy.deepcopy(base.model), CPTuning.for_task(task, base.tokenizer, **options)
    if soft:
        attach_soft_tokens(model, how.template, base.tokenizer)
    found = Adapted(model, how)
    trained(found, task.splits["train"], steps=STEPS, lr=RATE, seed=seed, progress=False)
    values = {}
    for rule in RULES:
        how.rule = rule
        values[rule] = accuracy(found, task)
    return values


if __name__ == "__main__":
    main()
