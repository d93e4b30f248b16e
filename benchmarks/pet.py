"""PET against head fine-tuning (the better of [CLS] and mean pooling) at 1, 4 and 16 examples a class.

    python benchmarks/pet.py [--task world/reviews] [--seeds 5] [--model micro-bert-en]

Every method takes 60 steps of batch 16 at 3e-4 from the same backbone on the same examples. Rows go to
`labkit/results/pet_reviews.json`; the printed table adds chance, ceiling, the zero-shot cloze and the paired
differences.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from few_shot_runs import METHODS, record

from labkit.evaluation import evaluate
from labkit.fewshot.pet import PET
from labkit.report import Report
from labkit.tasks import load_task
from labkit.zoo import load

SHOTS = (1, 4, 16)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="world/reviews")
    parser.add_argument("--model", default="micro-bert-en")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("labkit/results/pet_reviews.json"))
    options = parser.parse_args()
    base, task = load(options.model), load_task(options.task)
    command = f"python benchmarks/pet.py --task {options.task} --model {options.model} --seeds {options.seeds}"
    report = Report(command=command)
    zero = evaluate(base.model, PET.for_task(task, base.tokenizer), task, "test")[task.metric]
    report.add("PET, zero-shot", task, zero, shots=0)
    for shots in SHOTS:
        for seed in range(options.seeds):
            few = task.few_shot(shots, seed)
            for method in METHODS:
                value = record(report, base, few, f"{method}, {shots}-shot", method, seed, steps=60, shots=shots)
                print(f"{shots:>3} shots  seed {seed}  {method:<18} {100 * value:.1f}", flush=True)
        report.save(options.out)
    print(report.table())
    for shots in SHOTS:
        better = best_head(report, shots)
        difference = report.compare(f"PET, {shots}-shot", better)
        print(f"{shots:>3} shots: PET − {better}: {difference}")


def best_head(report: Report, shots: int) -> str:
    """The head fine-tuning with the higher mean at this number of shots."""
    names = [f"{method}, {shots}-shot" for method in METHODS if method != "PET"]
    return max(names, key=lambda name: np.mean([row.value for row in report.rows if row.method == name]))


if __name__ == "__main__":
    main()
