"""Compressions one after the other, in several orders, on one task  -> labkit/results/compression.json

    python benchmarks/compression.py            every row that is missing
    python benchmarks/compression.py --tables   this one, and those of the other lessons of module 04, in their order

The teacher is mini-bert-en, fine-tuned with all labels of the world's reviews; everything below it learns the teacher's
answers (BMCook's idea: Zhang et al. 2022) on the task's rows and TEXTS further reviews without labels, which the world
writes and the teacher answers. A chain is a line of passes as `labkit.compression.compose.parse` reads it, and may go
on from another row's model. The student alone has the labels only. Bytes are those of the file; milliseconds are
medians, all models of a seed in turns on one thread; "speedup" is in batches of 32, over the teacher's.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import compressing
import torch

from labkit.compression.compose import Material, compress, parse
from labkit.compression.distill import join_teacher, teacher_logits
from labkit.report import Report
from labkit.tasks import load_task
from labkit.world import World, corpus
from labkit.zoo import load

RESULTS = Path("labkit/results/compression.json")
TASK, TABLES = "world/reviews", ("distillation", "meta_kd", "pruning", "quantization", "int8", "elastic")
TEACHER, ALONE, DISTILLED = "teacher", "student alone, from the labels", "distilled"
TEXTS, SMALL, STEPS, RATE = 24_000, "shrink:1,40", 5000, 2e-3
# name of the row -> the row that it goes on from, passes
CHAINS = {
    DISTILLED: (TEACHER, f"{SMALL} distill:{STEPS}"),
    "distilled, half pruned": (DISTILLED, "prune:0.5,400 distill:400"),
    "distilled, int8": (DISTILLED, "quantize:int8"),
    "distilled, half pruned, int8": ("distilled, half pruned", "quantize:int8"),
    "distilled, ternary": (DISTILLED, "quantize:ternary,800"),
    "pruned before it is distilled": (TEACHER, f"{SMALL} prune:0.5,400 distill:{STEPS + 400}"),
    "ternary at once": (TEACHER, f"{SMALL} quantize:ternary,{STEPS + 800}"),
    "teacher, int8": (TEACHER, "quantize:int8"),
    "half the layers, distilled, int8": (TEACHER, "droplayers:2 distill:1000 quantize:int8"),
}
# Files of codes that are also made numbers again when they are read: small on disk, and as fast as floats.
AGAIN = {f"{name}, read as numbers": name for name in ("distilled, int8", "ternary at once")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--tables", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    report = Report.load(RESULTS) if RESULTS.exists() else Report()
    report.command = f"python benchmarks/compression.py --seeds {options.seeds}"
    for seed in range(options.seeds):
        if {row.method for row in report.rows if row.seed == seed} < {TEACHER, ALONE, *CHAINS, *AGAIN}:
            one_seed(report, seed)
    print(report.table())
    for name in TABLES if options.tables else ():
        subprocess.run([sys.executable, f"benchmarks/{name}.py"], check=True)


def one_seed(report: Report, seed: int) -> None:
    """Train all models of a seed, then time them in turns; the rows are saved together."""
    task, base = load_task(TASK), load(compressing.TEACHER)
    method, models = compressing.method_of(base, task), {}
    models[TEACHER] = compressing.teacher(base, task, steps=300, seed=seed)
    rows = [*task.splits["train"], *task.splits["unlabelled"]]
    rows += [{"text": text} for text in corpus(World(), "en", TEXTS, genres=["reviews"], part="unlabelled")]
    taught = join_teacher(rows, teacher_logits(models[TEACHER], method, rows))
    material = Material(method, taught, lr=RATE, seed=seed)
    alone = compress(models[TEACHER], parse(SMALL), material).model
    models[ALONE] = compressing.trained(alone, method, task.splits["train"], steps=600, lr=1e-3, seed=seed)
    for name, (start, passes) in CHAINS.items():
        models[name] = compress(models[start], parse(passes), material).model
        print(seed, name, f"{100 * compressing.accuracy(models[name], method, task):.1f}", flush=True)
    compressing.add_rows(report, task, method, models, AGAIN, seed)
    report.save(RESULTS)


if __name__ == "__main__":
    main()
