"""Which compression `labkit pipeline` should end with: several chains from the teachers of a finished run.

    labkit pipeline --out RUN && python benchmarks/front.py RUN      every row that is missing  -> results/front.json

Each chain starts from the run's pre-trained model with a new head, and learns from the run's adapted teacher of the
seed, its answers and (in the `inner` steps of "distill") its layers, on the labelled and unlabelled texts of the
pipeline's task. Bytes are those of the file; a chain is a line that `labkit.compression.compose.parse` reads.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from few_shot_runs import known, opened

from labkit import measure
from labkit.apps import load_app
from labkit.compression.compose import Material, compress, parse
from labkit.compression.distill import join_teacher, teacher_logits
from labkit.evaluation import evaluate
from labkit.foundations.heads import HeadClassifier, add_head
from labkit.pipeline.settings import PipelineSettings, few_shot_task
from labkit.zoo import load

RESULTS = Path("labkit/results/front.json")
INNER, STEPS, AFTER = 750, 3000, 1000
TAUGHT = f"distill:{STEPS},{INNER}"
CHAINS = (
    f"shrink:2,32 {TAUGHT}",
    f"shrink:2,32 {TAUGHT} quantize:int8",
    f"shrink:2,32 {TAUGHT} quantize:ternary,{AFTER}",
    f"shrink:2,32 quantize:ternary,{STEPS + AFTER}",
    f"shrink:2,64 {TAUGHT} quantize:ternary,{AFTER}",
    f"shrink:1,32 {TAUGHT} quantize:int8",
    f"shrink:1,32 {TAUGHT} quantize:ternary,{AFTER}",
    f"shrink:2,32 distill:{STEPS} quantize:int8",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    report = opened(RESULTS, "python benchmarks/front.py RUN")
    base = load(str(options.run / "1-pretrained"))
    for seed in range(options.seeds):
        task, teacher = few_shot_task(PipelineSettings(), seed), load_app(options.run / f"2-adapted/seed-{seed}")
        rows = [*task.splits["train"], *task.splits["unlabelled"]]
        rows = join_teacher(rows, teacher_logits(teacher.model, teacher.method, rows))
        method = HeadClassifier(base.tokenizer, task.fields)
        material = Material(method, rows, seed=seed, teacher=teacher.model)
        start = add_head(base.model, task.labels, pooling="mean", seed=seed)
        for chain in CHAINS:
            if not known(report, chain, task, seed):
                model = compress(start, parse(chain), material).model
                value = evaluate(model, method, task, "test", progress=False)[task.metric]
                report.add(chain, task, value, seed=seed, bytes=measure.bytes_on_disk(model))
                report.save(RESULTS)
                print(seed, chain, f"{100 * value:.1f}", flush=True)
    print(report.table())


if __name__ == "__main__":
    main()
