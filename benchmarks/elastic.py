"""One network of many sizes: DynaBERT's width × depth, and sizes that a search finds for a limit of time.

    python benchmarks/elastic.py            every row that is missing  -> labkit/results/elastic{,_search}.json
    python benchmarks/elastic.py --seconds 240 --seeds 2    no new training after so long; run again to go on

Task: world/qnli, 2 000 rows of training, 1 000 of test (a standard error of 1.3 points). The whole network is
mini-bert-en with a head, fine-tuned. Of each of DynaBERT's twelve sizes the first table has the accuracy

- cut: that share of the fine-tuned network, nothing trained; with and without importance and rewiring;
- elastic: of the one network that was trained at all sizes, first the four widths, then widths and depths, each step
  the whole, the smallest and two between; with and without rewiring; and the same after a fifth of the steps;
- alone: a network of that size from the pre-trained one, rewired, trained alone on the labels for as many steps.

The second table: a super-network is trained once, at random shapes, layer by layer; a predictor learns from the times
of 40 shapes and is tried on 40 others; for the time that a hand-made size takes, evolution looks for the shape with the
highest likelihood of the labels of 250 dev rows; both are cut out, trained on by the same teacher and timed in turns.
"""

from __future__ import annotations

import argparse
import copy
import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from compressing import TEACHER, TEACHER_RATE, accuracy, method_of, teacher, trained
from few_shot_runs import opened
from scipy.stats import spearmanr

from labkit import measure
from labkit.compression.elastic import Elastic, Shape, extract, full_shape, importance, rewire, shape_of, shaped
from labkit.compression.searching import LatencyPredictor, latencies, random_shape, sandwich, search
from labkit.evaluation import predict
from labkit.foundations.heads import add_head
from labkit.report import Report
from labkit.tasks import load_task
from labkit.zoo import load

RESULTS, SEARCH = Path("labkit/results/elastic.json"), Path("labkit/results/elastic_search.json")
TASK, WIDTHS, DEPTHS = "world/qnli", (1.0, 0.75, 0.5, 0.25), (1.0, 0.75, 0.5)
STEPS, BATCHES = 200, 16  # of each training, and of the importance
HAND = ((0.75, 0.75), (0.5, 0.5))  # the hand-made sizes whose time is the limit


class Bench:
    """The task, the fine-tuned network of a seed, plain and rewired; when no new training begins any more."""

    def __init__(self, seed: int, end: float) -> None:
        self.seed, self.end, self.task, self.base = seed, end, load_task(TASK), load(TEACHER)
        self.method, self.rows = method_of(self.base, self.task), self.task.splits["train"]
        self.plain = teacher(self.base, self.task, steps=STEPS, seed=seed)
        parts = [self.method.collate(self.rows[at : at + 32]) for at in range(0, 32 * BATCHES, 32)]
        self.scores = importance(self.plain, self.method.loss, parts)
        self.rewired = rewire(copy.deepcopy(self.plain), *self.scores)

    def start(self) -> Any:
        """The pre-trained network with a new head, rewired as the fine-tuned one."""
        model = add_head(self.base.model, self.task.labels, pooling="mean", seed=self.seed)
        return rewire(model, *self.scores)

    def right(self, model: Any, shape: Shape) -> float:
        """Test accuracy of a sub-network."""
        with shaped(model, shape):
            return accuracy(model, self.method, self.task)

    def elastic(self, start: Any, steps: int) -> Any:
        """A copy trained at all sizes: half of the steps at four widths, half at widths and depths."""
        model, rng = copy.deepcopy(start), random.Random(self.seed)
        widths = [shape_of(model, width) for width in WIDTHS]
        both = [shape_of(model, *size) for size in sizes()]
        for shapes in (widths, lambda: [both[0], both[-1], *rng.sample(both[1:-1], 2)]):
            self.teach(model, Elastic(self.method, self.plain, shapes), steps // 2)
        return model

    def teach(self, model: Any, objective: Any, steps: int) -> Any:
        """`model` trained in place, on the labels where there is no other objective."""
        return trained(model, self.method, self.rows, steps=steps, lr=TEACHER_RATE, seed=self.seed, objective=objective)


def sizes() -> list[tuple[float, float]]:
    """(width, depth), the whole first, the smallest last."""
    return [(width, depth) for width in WIDTHS for depth in DEPTHS]


def name(size: tuple[float, float]) -> str:
    """What a size is called."""
    return f"width {size[0]:g}, depth {size[1]:g}"


def table(report: Report, bench: Bench) -> None:
    """The first table's rows of one seed, one model after the other."""
    have = {row.key for row in report.rows}

    def missing(metric: str, size: tuple[float, float]) -> bool:
        return time.monotonic() < bench.end and (name(size), TASK, metric, bench.seed) not in have

    def add(metric: str, size: tuple[float, float], value: float) -> None:
        small = extract(bench.plain, shape_of(bench.plain, *size))
        report.add(name(size), TASK, value, seed=bench.seed, metric=metric,
                   parameters=measure.parameters(small), bytes=measure.bytes_on_disk(small))  # fmt: skip
        report.save(RESULTS)
        print(f"seed {bench.seed}  {metric:<22} {name(size):<24} {100 * value:.1f}", flush=True)

    for end, start in (("", bench.rewired), (", not rewired", bench.plain)):
        for way, steps in {"cut": 0, "elastic, a fifth": STEPS // 5, "elastic": STEPS}.items():
            if missing(way + end, sizes()[-1]):
                model = bench.elastic(start, steps) if steps else start
                for size in sizes():
                    add(way + end, size, bench.right(model, shape_of(model, *size)))
    for size in sizes():
        if missing("alone", size):
            small = bench.teach(extract(bench.start(), shape_of(bench.plain, *size)), None, STEPS)
            add("alone", size, accuracy(small, bench.method, bench.task))


def searched(bench: Bench) -> None:
    """The second table: for the time of each hand-made size that is missing, what evolution finds."""
    report, whole = opened(SEARCH, "python benchmarks/elastic.py"), full_shape(bench.plain)
    have = {row.method for row in report.rows}
    left = [size for size in HAND if f"found, as fast as {name(size)}" not in have]
    if not left or time.monotonic() > bench.end:
        return
    net, rows = copy.deepcopy(bench.rewired), bench.task.splits["test"][:32]
    bench.teach(net, Elastic(bench.method, bench.plain, sandwich(whole)), STEPS)
    predictor, quality = predicted(bench, net, rows)
    for size in left:
        hand = shape_of(net, *size)
        found, _ = search(whole, lambda shape: likelihood(bench, net, shape), predictor, predictor(hand),
                          first=[hand], population=24)  # fmt: skip
        chosen = {"the whole": whole, f"hand-made, {name(size)}": hand, f"found, as fast as {name(size)}": found}
        measured = latencies(net, bench.method, rows, list(chosen.values()), turns=31)
        for (label, shape), ms in zip(chosen.items(), measured, strict=True):
            if label not in have:
                costs = {"latency_ms": ms / 32, "predicted_ms": predictor(shape) / 32, "shape": told(shape)}
                trained_on(report, bench, label, extract(net, shape), costs | quality)
        have.add("the whole")
        report.save(SEARCH)


def predicted(bench: Bench, net: Any, rows: Any) -> tuple[LatencyPredictor, dict[str, float]]:
    """A predictor from 40 shapes, and how it does on 40 others."""
    rng = random.Random(7)
    shapes = [random_shape(full_shape(net), rng) for _ in range(80)]
    times = latencies(net, bench.method, rows, shapes, turns=15)
    predictor = LatencyPredictor(shapes[:40], times[:40])
    said = [predictor(one) for one in shapes[40:]]
    error = float(np.median(np.abs(np.array(said) / times[40:] - 1)))
    quality = {"rank_correlation": float(spearmanr(said, times[40:]).statistic), "predictor_error": error}
    print(quality, flush=True)
    return predictor, quality


def likelihood(bench: Bench, net: Any, shape: Shape) -> float:
    """The mean log-probability of the labels of 250 dev rows."""
    dev = bench.task.splits["dev"][:250]
    with shaped(net, shape):
        found = predict(net, bench.method, dev, progress=False)
    return float(np.log(found[np.arange(len(dev)), [row["label"] for row in dev]]).mean())


def trained_on(report: Report, bench: Bench, label: str, small: Any, costs: dict[str, Any]) -> None:
    """Two rows of a network that was cut out: as it is, and trained on for a quarter of the steps."""
    costs |= {"parameters": measure.parameters(small), "bytes": measure.bytes_on_disk(small)}
    before = accuracy(small, bench.method, bench.task)
    bench.teach(small, Elastic(bench.method, bench.plain, [full_shape(small)]), STEPS // 4)
    after = accuracy(small, bench.method, bench.task)
    report.add(label, TASK, before, metric="in the super-network", **costs)
    report.add(label, TASK, after, metric="trained on", **costs)
    print(f"{label:<40} {100 * before:.1f} {100 * after:.1f} {32 * costs['latency_ms']:.2f} ms", flush=True)


def told(shape: Shape) -> str:
    """A shape in words: "layer 1: 5 heads, 448; layer 3: …"."""
    layers = zip(shape.layers, shape.heads, shape.neurons, strict=True)
    return "; ".join(f"layer {number + 1}: {heads} heads, {neurons}" for number, heads, neurons in layers)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    options, began = parser.parse_args(), time.monotonic()
    torch.set_num_threads(1)
    report = opened(RESULTS, "python benchmarks/elastic.py")
    for seed in range(options.seeds):
        bench = Bench(seed, began + options.seconds)
        if seed == 0:
            searched(bench)
        table(report, bench)


if __name__ == "__main__":
    main()
