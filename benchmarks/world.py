"""The four numbers by which the world's tasks are tuned: chance, ceiling, full-data accuracy, 16-shot head fine-tuning.

    python benchmarks/world.py --language en [TASK …]
    python benchmarks/world.py --cues           pair tasks, on all data: rows with and without a telling phrase

Head fine-tuning is the better of [CLS] and mean pooling; 16-shot figures are means over three seeds. No prompt method
is run here: the world is frozen before any is. Rows go to `labkit/results/world_LANGUAGE.json`.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

import numpy as np
from few_shot_runs import HEADS, adapt, record

from labkit.evaluation import predict
from labkit.report import Report
from labkit.tasks import Task, load_task
from labkit.world import LANGUAGES, TASKS
from labkit.zoo import Loaded, load

SHOTS, SEEDS = 16, 3
FULL_STEPS, FEW_STEPS = 600, 60


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*")
    parser.add_argument("--language", choices=LANGUAGES, default="en")
    parser.add_argument("--cues", action="store_true")
    options = parser.parse_args()
    base = load(f"micro-bert-{options.language}")
    if options.cues:
        return by_cue(base, options.tasks or ["mrpc", "qnli", "rte"])
    report = Report(command=" ".join([f"python benchmarks/world.py --language {options.language}", *options.tasks]))
    print(f"{'task':<22} {'labels':>6} {'chance':>7} {'16-shot':>13} {'full':>6} {'ceiling':>8}")
    for name in options.tasks or TASKS:
        task = load_task(f"world/{name}")
        if task.language == options.language and all(row.get("label") is not None for row in task.splits["train"]):
            print(measure(report, base, task), flush=True)
            report.save(Path(f"labkit/results/world_{options.language}.json"))


def measure(report: Report, base: Loaded, task: Task) -> str:
    """Run both heads at 16 shots and on all data; one line of the table. A label with too few rows: no 16 shots."""
    fewest = min(Counter(row["label"] for row in task.splits["train"]).values())
    seeds = range(SEEDS) if fewest >= 2 * SHOTS else ()
    few = [
        [
            record(report, base, task.few_shot(SHOTS, seed), f"{SHOTS}-shot {head}", head, seed, steps=FEW_STEPS)
            for seed in seeds
        ]
        for head in HEADS
    ]
    better = max(few, key=np.mean) if seeds else []
    shots = f"{100 * np.mean(better):.1f} ± {100 * np.std(better, ddof=1):.1f}" if seeds else "—"
    full = max(record(report, base, task, f"full {head}", head, 0, steps=FULL_STEPS) for head in HEADS)
    ceiling = "—" if task.ceiling is None else f"{100 * task.ceiling:.1f}"
    chance = 100 * (task.chance or 0)
    return f"{task.name:<22} {len(task.labels):>6} {chance:>7.1f} {shots:>13} {100 * full:>6.1f} {ceiling:>8}"


def by_cue(base: Loaded, names: list[str]) -> None:
    """Accuracy of the mean-pooled head, trained on all data, on test rows with and without a cue."""
    for name in names:
        task = load_task(f"world/{name}")
        rows = task.splits["test"]
        model, how = adapt(base, task, "fine-tune [mean]", 0, steps=FULL_STEPS)
        right = predict(model, how, rows, progress=False).argmax(1) == np.array([row["label"] for row in rows])
        cued = np.array([row["kind"].endswith("with cue") for row in rows])
        print(
            f"{name:<8} with a cue {100 * right[cued].mean():.1f}   without {100 * right[~cued].mean():.1f}", flush=True
        )


if __name__ == "__main__":
    main()
