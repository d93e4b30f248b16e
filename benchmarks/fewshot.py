"""CP-Tuning's tables on the world: eight tasks, 16 shots, two backbones; and what the quality of label words does.

    python benchmarks/fewshot.py tune     learning rates: dev split, other draws   -> results/fewshot_rates.json
    python benchmarks/fewshot.py table    every method, eight tasks, five draws    -> results/fewshot_BACKBONE.json
    python benchmarks/fewshot.py words    natural, rare and arbitrary label words  -> results/fewshot_words.json

`--backbone bert` is mini-bert-en, the default; `albert` is mini-albert-en, whose layers share their weights. Results
are in labkit/; rows that are there already are kept, so an interrupted run goes on. All methods take the same number of
steps of the same size, each at the learning rate that was best for it on the mean of the eight tasks.
"""

from __future__ import annotations

import argparse
import itertools
import random
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from few_shot_runs import accuracy, known, opened

from labkit.fewshot.methods import Start, adapt
from labkit.measure import parameters, trainable
from labkit.report import Report
from labkit.tasks import Task, load_task
from labkit.world.settings import lexicon
from labkit.zoo import Loaded, load

RESULTS = Path("labkit/results")
TUNED = RESULTS / "fewshot_rates.json"
BACKBONES = {"bert": "mini-bert-en", "albert": "mini-albert-en"}
TASKS = tuple(f"world/{name}" for name in ("sst2", "mr", "cr", "mrpc", "qqp", "qnli", "rte", "subj"))
SHOTS, STEPS, DRAWS, TUNING_DRAW = 16, 100, 5, 10
MODEL_RATES, FROZEN_RATES = (3e-5, 1e-4, 3e-4, 1e-3), (3e-3, 1e-2, 3e-2, 1e-1)
# method -> the learning rates to choose from; LM-BFF is PET with what its search found, and takes PET's.
GRID = {
    "fine-tune [CLS]": MODEL_RATES,
    "fine-tune [mean]": MODEL_RATES,
    "PET": MODEL_RATES,
    "P-tuning": MODEL_RATES,
    "WARP": FROZEN_RATES,
    "CP-Tuning": MODEL_RATES,
    "CP-Tuning without MLM": MODEL_RATES,
}
LIKE = {"LM-BFF (T)": "PET", "LM-BFF (L)": "PET", "LM-BFF (T+L)": "PET", "Fuzzy-PET": "PET"}
METHODS = (*GRID, *(name for name in LIKE if name != "Fuzzy-PET"))
# Label words by quality: what one would say, rare words of the same meaning, words that mean nothing here.
CHOICES, SETS, WORD_TASKS = 3, 3, ("world/cr", "world/mr")
ARBITRARY = ("city", "monday", "river", "table", "north", "seven", "court", "engine", "lawyer", "ginger", "passport")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["tune", "table", "words"])
    parser.add_argument("--backbone", choices=BACKBONES, default="bert")
    parser.add_argument("--methods", nargs="+", default=METHODS, help="default: all")
    parser.add_argument("--draws", type=int, default=DRAWS, help="for table and words: how many draws")
    options = parser.parse_args()
    if options.part == "words":
        return words(options.draws)
    if options.part == "tune":
        return tune(options.backbone, options.methods)
    table(options.backbone, options.methods, options.draws)


# Learning rates


def tune(backbone: str, methods: list[str]) -> None:
    """Accuracy on the dev split, for a draw that the table does not use."""
    report = opened(TUNED, f"python benchmarks/fewshot.py tune --backbone {backbone}")
    base = load(BACKBONES[backbone])
    for name in TASKS:
        whole = load_task(name)
        start = Start(base.model, base.tokenizer, whole.few_shot(SHOTS, TUNING_DRAW), TUNING_DRAW)
        for method, rate in ((some, rate) for some in methods if some in GRID for rate in GRID[some]):
            label = f"{backbone}, {method}, {rate:g}"
            if known(report, label, whole, TUNING_DRAW):
                continue
            value = accuracy(adapt(start, method, steps=STEPS, lr=rate, progress=False), whole, "dev")
            report.add(label, name, value, seed=TUNING_DRAW, backbone=backbone, way=method, rate=rate)
            report.save(TUNED)
            print(f"{name:<12} {method:<22} {rate:<8g} {100 * value:.1f}", flush=True)


def best_rate(report: Report, backbone: str, method: str) -> float:
    """The rate with the best mean accuracy on the tasks' dev splits; the smaller of equals."""
    found = defaultdict(list)
    for row in report.rows:
        if (row["backbone"], row["way"]) == (backbone, LIKE.get(method, method)):
            found[row["rate"]].append(row.value)
    if not found:
        raise SystemExit(f"{method}: no learning rate yet; first run: tune --backbone {backbone}")
    return max(sorted(found), key=lambda rate: np.mean(found[rate]))


# The table


def table(backbone: str, methods: list[str], draws: int) -> None:
    """Every method on every task, the test split, some draws of 16 examples a class."""
    path = RESULTS / f"fewshot_{backbone}.json"
    report = opened(path, f"python benchmarks/fewshot.py table --backbone {backbone}")
    rates, base = Report.load(TUNED), load(BACKBONES[backbone])
    for name in TASKS:
        whole = load_task(name)
        for method in methods:
            rate = best_rate(rates, backbone, method)
            for seed in range(draws):
                if not known(report, method, whole, seed):
                    run(report, base, whole.few_shot(SHOTS, seed), method, seed, rate)
                    report.save(path)
    print(report.table())


def run(report: Report, base: Loaded, task: Task, method: str, seed: int, rate: float) -> None:
    found = adapt(Start(base.model, base.tokenizer, task, seed), method, steps=STEPS, lr=rate, progress=False)
    value, extra = accuracy(found, task), {}
    if method.startswith("LM-BFF"):
        extra = {"template": str(found.method.template), "words": shown(found.method.verbalizer.words)}
    report.add(method, task, value, seed=seed, rate=rate, trainable=trainable(found.model),
               parameters=parameters(found.model), **extra)  # fmt: skip
    print(f"{task.name:<12} {method:<18} seed {seed}  {100 * value:.1f}", flush=True)


# The quality of label words


def words(draws: int) -> None:
    """PET and Fuzzy-PET where people chose the words well, badly, or without any meaning; CP-Tuning, which has none."""
    path = RESULTS / "fewshot_words.json"
    report = opened(path, "python benchmarks/fewshot.py words")
    rates, base = Report.load(TUNED), load(BACKBONES["bert"])
    for name in WORD_TASKS:
        whole = load_task(name)
        for draw in range(draws):
            task = whole.few_shot(SHOTS, draw)
            for method in ("CP-Tuning", "CP-Tuning without MLM"):
                one_choice(report, base, task, method, rates, draw, draw=draw)
            for quality, choice in itertools.product(("natural", "rare", "arbitrary"), range(CHOICES)):
                swapped = replace(task, words=chosen(quality, choice))
                for method in ("PET", "Fuzzy-PET"):
                    one_choice(report, base, swapped, method, rates, choice * DRAWS + draw, draw=draw, choice=choice,
                               quality=quality, words=shown(swapped.words))  # fmt: skip
            report.save(path)
        print(report.table(task=name), flush=True)


def one_choice(
    report: Report, base: Loaded, task: Task, method: str, rates: Report, number: int, *, draw: int, **extra: Any
) -> None:
    """One method with the task's words; `number` keeps the rows of all choices and draws apart."""
    label = f"{method}, {extra['quality']}" if extra else method
    if known(report, label, task, number):
        return
    start, rate = Start(base.model, base.tokenizer, task, draw), best_rate(rates, "bert", method)
    value = accuracy(adapt(start, method, steps=STEPS, lr=rate, progress=False), task)
    report.add(label, task, value, seed=number, way=method, draw=draw, **extra)


def chosen(quality: str, choice: int) -> dict[str, tuple[str, ...]]:
    """SETS words a class. The world's polar words are ordered by frequency; other words are nouns of other subjects."""
    polar, rng = lexicon("reviews", "en"), random.Random(f"{quality}-{choice}")
    if quality == "arbitrary":
        nouns = rng.sample(ARBITRARY, 2 * SETS)
        return {"negative": tuple(nouns[:SETS]), "positive": tuple(nouns[SETS:])}
    part = slice(0, 8) if quality == "natural" else slice(-15, None)
    return {label: tuple(rng.sample(list(polar[label])[part], SETS)) for label in ("negative", "positive")}


def shown(words: dict[str, tuple[str, ...]]) -> str:
    return "; ".join(f"{label}: {', '.join(some)}" for label, some in words.items())


if __name__ == "__main__":
    main()
