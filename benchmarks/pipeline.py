"""The bubble of a pipeline over the number of micro-batches, from recorded events  -> labkit/results/pipeline.json

    python benchmarks/pipeline.py [--seeds 3]

Four processes hold one stage each. A stage sleeps 0.2 s for a forward and 0.4 s for a backward instead of computing,
since four stages that compute would share the cores of a small machine; the messages between them are real. Beside it
the closed form, (p − 1) / (m + p − 1).
"""

from __future__ import annotations

import argparse
from pathlib import Path

from labkit.parallel.model_parallel.pipeline import sleeping
from labkit.parallel.model_parallel.schedule import bubble, bubble_in_theory
from labkit.parallel.processes import launch
from labkit.report import Report

STAGES, MICRO_BATCHES = 4, (1, 2, 4, 8, 16)
FORWARD, BACKWARD = 0.2, 0.4  # seconds
TASK, METRIC = f"{STAGES} stages", "bubble"
TITLES = {"gpipe": "GPipe", "1f1b": "1F1B"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="repetitions")
    options = parser.parse_args()
    report = Report(command=f"python benchmarks/pipeline.py --seeds {options.seeds}")
    for seed in range(options.seeds):
        for count in MICRO_BATCHES:
            ranks = launch(sleeping, STAGES, tuple(TITLES), count, FORWARD, BACKWARD)
            for name, title in TITLES.items():
                found = [rank[name] for rank in ranks]
                events = [event for one, _ in found for event in one]
                costs = {"micro_batches": count, "kept": ", ".join(str(most) for _, most in found)}
                value = bubble(events, STAGES)
                report.add(f"{title}, {count} micro-batches", TASK, value, seed=seed, metric=METRIC, **costs)
                print(f"{title:<5} {count:>2} micro-batches  bubble {value:.3f}  kept {costs['kept']}", flush=True)
            theory = bubble_in_theory(STAGES, count)
            name = f"closed form, {count} micro-batches"
            report.add(name, TASK, theory, seed=seed, metric=METRIC, micro_batches=count)
    report.save(Path("labkit/results") / "pipeline.json")
    print(report.table())


if __name__ == "__main__":
    main()
