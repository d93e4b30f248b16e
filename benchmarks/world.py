"""The four numbers by which the world's tasks are tuned: chance, ceiling, full-data accuracy, 16-shot head fine-tuning.

    python benchmarks/world.py [TASK …]

Head fine-tuning is the better of [CLS] and mean pooling; 16-shot figures are means over three seeds. No prompt
method is run here: the world is frozen before any is. Rows go to `labkit/results/world.json`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from few_shot_runs import HEADS, record

from labkit.report import Report
from labkit.tasks import load_task
from labkit.world import TASKS
from labkit.zoo import load

FULL_STEPS = 600
FEW_STEPS = 60


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("labkit/results/world.json"))
    options = parser.parse_args()
    models = {language: load(f"micro-bert-{language}") for language in ("en", "zh")}
    report = Report(command=" ".join(["python benchmarks/world.py", *options.tasks]))
    print(f"{'task':<22} {'labels':>6} {'chance':>7} {'16-shot':>14} {'full':>7} {'ceiling':>8}")
    for name in options.tasks or TASKS:
        task = load_task(f"world/{name}")
        if not all(row.get("label") is not None for row in task.splits["train"]):
            continue  # tagging and generation tasks: no class to predict
        base = models[task.language]
        few = {head: [record(report, base, task.few_shot(16, seed), f"16-shot {head}", head, seed, steps=FEW_STEPS)
                      for seed in range(options.seeds)] for head in HEADS}  # fmt: skip
        full = [record(report, base, task, f"full {head}", head, 0, steps=FULL_STEPS) for head in HEADS]
        best = max(few.values(), key=np.mean)
        ceiling = "—" if task.ceiling is None else f"{100 * task.ceiling:.1f}"
        shots = f"{100 * np.mean(best):.1f} ± {100 * np.std(best, ddof=1):.1f}"
        line = f"{name:<22} {len(task.labels):>6} {100 * (task.chance or 0):>7.1f} {shots:>14}"
        print(f"{line} {100 * max(full):>7.1f} {ceiling:>8}", flush=True)
        report.save(options.out)


if __name__ == "__main__":
    main()
