"""Gemma 3 270M on real data: sixteen examples a class, three draws or more, 250 test rows each, as many methods.

    python benchmarks/gemma.py tune DATA     -> labkit/results/gemma_rates.json   which rates and steps, on other draws
    python benchmarks/gemma.py table DATA    -> labkit/results/gemma.json
    python benchmarks/gemma.py show

DATA holds `lmbff_kshot16` (SST-2, mr, trec: LM-BFF's splits) and `fewclue` (eprstmt, bustm). `table` takes the draws
in turn and in each the tasks; SST-2 first, with all its methods. Each row is saved at once; a rerun keeps those that
are there, and measures again those of another setting than is chosen now. The 250 test rows are drawn by the draw's
number, each class as often as it occurs. Seconds are the clock's, whatever else the machine does; CPU seconds of the
training stand beside.

Rates and steps are chosen alike for every method that trains: a few settings each (GRID), trained on draw 4, which the
table does not use, scored on CHECK rows that the table's test rows are not among, on two tasks; the best mean is taken.
P-tuning takes the cloze's.

The frozen weights are in bfloat16, what trains is in float32, and both compute under autocast ("all weights": float32
under autocast); `--float32` computes all in float32 and says so in the method's name. Lengths are padded to steps of
16, so that few shapes are compiled.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import torch
from few_shot_runs import opened, setting
from gemma_methods import GRID, LIKE, MAIN, METHODS, ONLY, Base, Found
from gemma_tasks import DATA, TUNING_DRAW, Real, read

from labkit.report import Report
from labkit.tasks import Task

RESULT = Path("labkit/results/gemma.json")
TUNED = RESULT.with_name("gemma_rates.json")
TUNING_TASKS = ("SST-2", "bustm")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("table", "tune", "show"))
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--draws", type=int, default=3, help="of the table, at most four")
    parser.add_argument("--tasks", default=",".join(data.name for data in DATA))
    parser.add_argument("--methods", help="names, joined by commas; default: all")
    parser.add_argument("--float32", action="store_true")
    options = parser.parse_args()
    {"table": table, "tune": tune, "show": show}[options.part](options)


def table(options: argparse.Namespace) -> None:
    """Every method on every task and draw; accuracy on the test rows."""
    report = opened(RESULT, "python benchmarks/gemma.py table DATA")
    chosen, base = settings(), Base(options.float32)
    for draw, data, method in jobs(options):
        name = f"{method}, float32" if options.float32 else method
        point, key = chosen.get(method, {}), (name, data.name, "accuracy", draw)
        if any(row.key == key and all(row[part] == value for part, value in point.items()) for row in report.rows):
            continue
        task, began = read(options.data, data, draw), time.perf_counter()
        found = METHODS[method](base, task, draw, **point)
        keep(report, RESULT, name, task, draw, found, time.perf_counter() - began)
    show(options)


def jobs(options: argparse.Namespace) -> Iterator[tuple[int, Real, str]]:
    """What is to be run, the most telling first: SST-2's first draw whole, MAIN everywhere, then the rest."""
    tasks = [data for data in DATA if data.name in options.tasks.split(",")]
    names = options.methods.split(",") if options.methods else METHODS
    every = itertools.product(range(min(options.draws, TUNING_DRAW)), tasks, names)
    run = [(draw, data, name) for draw, data, name in every if data.name in ONLY.get(name, data.name)]
    yield from sorted(run, key=lambda job: job[2] not in MAIN and (job[0] > 0 or job[1].name != "SST-2"))


def keep(report: Report, path: Path, name: str, task: Task, draw: int, found: Found, seconds: float) -> None:
    """Rows of one run, printed and saved; `seconds` are the whole run's, test rows included."""
    for suffix, (value, extra) in found.items():
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        report.add(name + suffix, task, value, seed=draw, seconds=seconds, date=now, **extra)
        print(f"{task.name:<8} draw {draw}  {name + suffix:<44} {100 * value:5.1f}  {seconds:4.0f} s", flush=True)
    report.save(path)


def show(_: argparse.Namespace) -> None:
    print(Report.load(RESULT).table())


# Rates and steps


def tune(options: argparse.Namespace) -> None:
    """Every setting of GRID, trained on the draw that the table leaves out, scored on rows that it leaves out."""
    report = opened(TUNED, "python benchmarks/gemma.py tune DATA")
    base, tasks = Base(options.float32), [data for data in DATA if data.name in TUNING_TASKS]
    points = [(data, method, point) for data in tasks for method, points in GRID.items() for point in points]
    for data, method, point in points:
        name = setting(method, **point)
        known = (name, data.name, "accuracy", TUNING_DRAW) in {row.key for row in report.rows}
        if known or data.name not in ONLY.get(method, data.name):
            continue
        task, began = read(options.data, data, TUNING_DRAW, check=True), time.perf_counter()
        found = METHODS[method](base, task, TUNING_DRAW, **point)
        keep(report, TUNED, name, task, TUNING_DRAW, found, time.perf_counter() - began)


def settings() -> dict[str, dict[str, Any]]:
    """Each method's setting: the best mean over TUNING_TASKS, or the first of GRID where nothing was tried."""
    rows = Report.load(TUNED).rows if TUNED.is_file() else []
    found = {}
    for method, points in GRID.items():
        values = [[row.value for row in rows if row.method == setting(method, **point)] for point in points]
        found[method] = max(zip(values, points, strict=True), key=lambda pair: np.mean(pair[0] or [0.0]))[1]
        print(setting(method, **found[method]), flush=True)
    return found | {method: found[other] for method, other in LIKE.items()}


if __name__ == "__main__":
    torch.manual_seed(0)
    main()
