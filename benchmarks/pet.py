"""PET against head fine-tuning (the better of [CLS] and mean pooling) at 1, 4 and 16 examples a class.

    python benchmarks/pet.py                 each method at its own learning rate  -> labkit/results/pet_reviews.json
    python benchmarks/pet.py --rate 3e-4     one rate for all                      -> …/pet_reviews_one_rate.json
    python benchmarks/pet.py --tune          how the rates were chosen: on another task, with other seeds

Every method takes 60 steps of batch 16 from the same backbone on the same examples. The printed table adds chance,
ceiling, the zero-shot cloze and the paired differences.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from few_shot_runs import METHODS, adapt, record

from labkit.evaluation import evaluate
from labkit.fewshot.pet import PET
from labkit.report import Report
from labkit.tasks import load_task
from labkit.zoo import Loaded, load

TASK, MODEL = "world/reviews", "mini-bert-en"
SHOTS, STEPS = (1, 4, 16), 60
TUNING_TASK, TUNING_SEEDS, CANDIDATES = "world/cr", (10, 11, 12), (3e-5, 1e-4, 3e-4, 1e-3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rate", type=float, help="one learning rate for all methods")
    parser.add_argument("--tune", action="store_true")
    options = parser.parse_args()
    if options.tune:
        tune(load(MODEL))
    else:
        compare(load(MODEL), options.seeds, options.rate)


def tune(base: Loaded) -> None:
    """Accuracy of every method at every candidate rate on the tuning task; the last column is what decides."""
    task = load_task(TUNING_TASK)
    print(f"{'method':<18} {'rate':>6} " + " ".join(f"{shots:>4}-shot" for shots in SHOTS) + "    mean")
    for method in METHODS:
        for rate in CANDIDATES:
            means = []
            for shots in SHOTS:
                values = []
                for few, seed in ((task.few_shot(shots, seed), seed) for seed in TUNING_SEEDS):
                    model, how = adapt(base, few, method, seed, steps=STEPS, lr=rate)
                    values.append(evaluate(model, how, few, "test", progress=False)[few.metric])
                means.append(100 * np.mean(values))
            print(
                f"{method:<18} {rate:>6g} " + " ".join(f"{mean:>9.1f}" for mean in [*means, np.mean(means)]), flush=True
            )


def compare(base: Loaded, seeds: int, rate: float | None) -> None:
    """All methods on the task; rows, table and differences."""
    task = load_task(TASK)
    report = Report(command=f"python benchmarks/pet.py --seeds {seeds}" + (f" --rate {rate:g}" if rate else ""))
    zero = evaluate(base.model, PET.for_task(task, base.tokenizer), task, "test", progress=False)[task.metric]
    report.add("PET, zero-shot", task, zero, shots=0)
    for shots in SHOTS:
        for seed in range(seeds):
            few = task.few_shot(shots, seed)
            for method in METHODS:
                name = f"{method}, {shots}-shot"
                value = record(report, base, few, name, method, seed, steps=STEPS, lr=rate, shots=shots)
                print(f"{shots:>3} shots  seed {seed}  {method:<18} {100 * value:.1f}", flush=True)
    report.save(Path("labkit/results") / ("pet_reviews_one_rate.json" if rate else "pet_reviews.json"))
    print(report.table())
    for shots in SHOTS:
        print(report.compare(f"PET, {shots}-shot", best_head(report, shots)))


def best_head(report: Report, shots: int) -> str:
    """The head fine-tuning with the higher mean at this number of shots."""
    names = [f"{method}, {shots}-shot" for method in METHODS if method != "PET"]
    return max(names, key=lambda name: np.mean([row.value for row in report.rows if row.method == name]))


if __name__ == "__main__":
    main()
