"""PET against head fine-tuning (the better of [CLS] and mean pooling) at 1, 4 and 16 examples a class.

    python benchmarks/pet.py     each method at its own learning rate  -> labkit/results/pet_reviews.json

Every method takes 60 steps of batch 16 from the same backbone on the same examples, at the rate that was best for it
in `benchmarks/fewshot.py tune`. The printed table adds chance, ceiling, the zero-shot cloze and the paired differences.
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
from labkit.zoo import Loaded, load

TASK, MODEL = "world/reviews", "mini-bert-en"
SHOTS, STEPS = (1, 4, 16), 60


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    compare(load(MODEL), parser.parse_args().seeds)


def compare(base: Loaded, seeds: int) -> None:
    """All methods on the task; rows, table and differences."""
    task = load_task(TASK)
    report = Report(command=f"python benchmarks/pet.py --seeds {seeds}")
    zero = evaluate(base.model, PET.for_task(task, base.tokenizer), task, "test", progress=False)[task.metric]
    report.add("PET, zero-shot", task, zero, shots=0)
    for shots in SHOTS:
        for seed in range(seeds):
            few = task.few_shot(shots, seed)
            for method in METHODS:
                name = f"{method}, {shots}-shot"
                value = record(report, base, few, name, method, seed, steps=STEPS, shots=shots)
                print(f"{shots:>3} shots  seed {seed}  {method:<18} {100 * value:.1f}", flush=True)
    report.save(Path("labkit/results/pet_reviews.json"))
    print(report.table())
    for shots in SHOTS:
        print(report.compare(f"PET, {shots}-shot", best_head(report, shots)))


def best_head(report: Report, shots: int) -> str:
    """The head fine-tuning with the higher mean at this number of shots."""
    names = [f"{method}, {shots}-shot" for method in METHODS if method != "PET"]
    return max(names, key=lambda name: np.mean([row.value for row in report.rows if row.method == name]))


if __name__ == "__main__":
    main()
