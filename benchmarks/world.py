"""The four numbers by which the world's tasks are tuned: chance, ceiling, full-data accuracy, 16-shot head fine-tuning.

    python benchmarks/world.py --language en [TASK …]

Head fine-tuning is the better of [CLS] and mean pooling; 16-shot figures are means over three seeds. Of pairs, half of
which hold a phrase that tells the label, "no cue" is the full-data accuracy on the rest. Where a row brings its own
answers (chid), the head judges each candidate in the gap. No prompt method is trained here: the world is frozen before
any is. Rows go to `labkit/results/world_LANGUAGE.json`; a task that is there already is not run again.
"""

from __future__ import annotations

import argparse
import random
import time
from collections import Counter
from pathlib import Path

import numpy as np
from few_shot_runs import HEADS, opened

from labkit.evaluation import predict
from labkit.fewshot.methods import Start, adapt
from labkit.measure import parameters, trainable
from labkit.report import Report
from labkit.tasks import Row, Task, load_task
from labkit.world import LANGUAGES, TASKS
from labkit.world.idioms import GAP
from labkit.zoo import Loaded, load

SHOTS, SEEDS = 16, 3
FULL_STEPS, FEW_STEPS = 600, 60
FITS = ("wrong", "right")  # the labels of a candidate in the gap


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*")
    parser.add_argument("--language", choices=LANGUAGES, default="en")
    parser.add_argument("--model", metavar="NAME", help="default: mini-bert-LANGUAGE")
    options = parser.parse_args()
    base = load(options.model or f"mini-bert-{options.language}")
    path = Path(f"labkit/results/world_{options.language}.json")
    command = f"python benchmarks/world.py --language {options.language}"
    report = opened(path, command)
    there = {row.task for row in report.rows}
    print(f"{'task':<18} {'labels':>6} {'chance':>7} {'16-shot':>13} {'full':>6} {'no cue':>7} {'ceiling':>8}")
    for name in options.tasks or TASKS:
        task = load_task(f"world/{name}")
        wanted = task.name not in there and task.language == options.language
        if wanted and all(row.get("label") is not None for row in task.splits["train"]):
            print(measure(report, base, task), flush=True)
            report.save(path)


def measure(report: Report, base: Loaded, task: Task) -> str:
    """Run both heads at 16 shots and on all data; one line of the table. A label with too few rows: no 16 shots."""
    fewest = min(Counter(row["label"] for row in task.splits["train"]).values())
    seeds = range(SEEDS) if fewest >= 2 * SHOTS else ()
    few = [
        [run(report, base, task.few_shot(SHOTS, seed), f"{SHOTS}-shot", head, seed, FEW_STEPS)[0] for seed in seeds]
        for head in HEADS
    ]
    better = max(few, key=np.mean) if seeds else []
    shots = f"{100 * np.mean(better):.1f} ± {100 * np.std(better, ddof=1):.1f}" if seeds else "—"
    full, plain = max(run(report, base, task, "full", head, 0, FULL_STEPS) for head in HEADS)
    ceiling, cueless = ("—" if one is None else f"{100 * one:.1f}" for one in (task.ceiling, plain))
    chance = 100 * (task.chance or 0)
    return (
        f"{task.name:<18} {len(task.labels):>6} {chance:>7.1f} {shots:>13} {100 * full:>6.1f} {cueless:>7} {ceiling:>8}"
    )


def run(
    report: Report, base: Loaded, task: Task, size: str, head: str, seed: int, steps: int
) -> tuple[float, float | None]:
    """Train one head, add its row; accuracy on the test split, and on its rows of pairs without a telling phrase."""
    began, rows = time.perf_counter(), task.splits["test"]
    start = Start(base.model, base.tokenizer, judged(task, seed) if "candidates" in rows[0] else task, seed)
    found = adapt(start, head, steps=steps, progress=False)
    seconds, asked = time.perf_counter() - began, [one for row in rows for one in readings(row)]
    scores = predict(found.model, found.method, asked, progress=False)
    answers = scores[:, 1].reshape(len(rows), -1).argmax(1) if len(asked) > len(rows) else scores.argmax(1)
    right = answers == np.array([row["label"] for row in rows])
    plain = np.array(["with cue" not in row.get("kind", "with cue") for row in rows])
    cueless = float(right[plain].mean()) if plain.any() else None
    report.add(
        f"{size} {head}", task, float(right.mean()), seed=seed, seconds=seconds, trainable=trainable(found.model),
        parameters=parameters(found.model), **({} if cueless is None else {"without_cue": cueless}),
    )  # fmt: skip
    return float(right.mean()), cueless


def readings(row: Row) -> list[Row]:
    """The row as a head reads it: one text for each of its candidates in the gap, or as it is."""
    if "candidates" not in row:
        return [row]
    return [{"text": row["text_a"].replace(GAP, one)} for one in row["candidates"]]


def judged(task: Task, seed: int) -> Task:
    """The task of judging one candidate: of each training row the right one and another."""
    rng, rows = random.Random(seed), []
    for row in task.splits["train"]:
        texts, right = readings(row), row["label"]
        wrong = rng.choice([place for place in range(len(texts)) if place != right])
        rows += [texts[wrong] | {"label": 0}, texts[right] | {"label": 1}]
    return Task(task.name, ("text",), FITS, {"train": rows, "test": rows[:2]}, language=task.language)


if __name__ == "__main__":
    main()
