"""PET against head fine-tuning (the better of [CLS] and mean pooling) at 1, 4 and 16 examples a class.

    python benchmarks/pet.py     each method at its own learning rate  -> labkit/results/pet_reviews.json

Every method takes 60 steps of batch 16 from the same backbone on the same examples, at the rate that was best for it
in `benchmarks/fewshot.py tune`. The printed table adds chance, ceiling, the zero-shot cloze and the paired differences.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from few_shot_runs import HEADS, accuracy

from labkit.fewshot.methods import Adapted, Start, adapt
from labkit.fewshot.pet import PET
from labkit.measure import parameters, trainable
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
    zero = Adapted(base.model, PET.for_task(task, base.tokenizer))
    report.add("PET, zero-shot", task, accuracy(zero, task), shots=0)
    for shots in SHOTS:
        for seed in range(seeds):
            few = task.few_shot(shots, seed)
            for method in (*HEADS, "PET"):
                began = time.perf_counter()
                found = adapt(Start(base.model, base.tokenizer, few, seed), method, steps=STEPS, progress=False)
                seconds, value = time.perf_counter() - began, accuracy(found, few)
                report.add(f"{method}, {shots}-shot", few, value, seed=seed, seconds=seconds, shots=shots,
                           trainable=trainable(found.model), parameters=parameters(found.model))  # fmt: skip
                print(f"{shots:>3} shots  seed {seed}  {method:<18} {100 * value:.1f}", flush=True)
    report.save(Path("labkit/results/pet_reviews.json"))
    print(report.table())
    for shots in SHOTS:
        print(report.compare(f"PET, {shots}-shot", best_head(report, shots)))


def best_head(report: Report, shots: int) -> str:
    """The head fine-tuning with the higher mean at this number of shots."""
    names = [f"{method}, {shots}-shot" for method in HEADS]
    return max(names, key=lambda name: np.mean([row.value for row in report.rows if row.method == name]))


if __name__ == "__main__":
    main()
