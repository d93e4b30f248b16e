"""What a model gains down-stream, and knows, once it was asked for facts: mini-bert-en, and two that go on from it.

    python benchmarks/knowledge_downstream.py      what is missing -> labkit/results/knowledge_downstream.json

mini-dkplm-en goes on from mini-bert-en for 1 500 steps of 64 texts, in which it is also asked for facts about rare
things (`labkit.zoo.recipes`); "masked language modelling" is the same without being asked, trained here and kept in
CONTROL. Down-stream: relations and reviews from SHOTS rows a class by a linear layer on the mean state, names from
NAMES rows by a tag a word, always with the body; a row is one of SEEDS draws. Facts: blanks for the tails of stated
facts of the default world, Hits@1 among the names of the type, by the frequency of the thing that is asked about; at
most PROBES blanks of a band.
"""

from __future__ import annotations

import argparse
import copy
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from compressing import accuracy, trained
from few_shot_runs import opened

from labkit.evaluation import answers
from labkit.foundations.heads import HeadClassifier, add_head
from labkit.foundations.native import native_head
from labkit.foundations.tagging import Tagger
from labkit.knowledge.probes import BANDS, Study, by_band, ranks, scores
from labkit.report import Report
from labkit.tasks import load_task
from labkit.world import World
from labkit.zoo import Loaded, Recipe, load, recipe
from labkit.zoo.building import pretrain

RESULTS, COMMAND = Path("labkit/results/knowledge_downstream.json"), "python benchmarks/knowledge_downstream.py"
BEFORE, AFTER, CONTROL = "mini-bert-en", "mini-dkplm-en", Path("runs/knowledge_downstream")
PLAIN = "masked language modelling"
SEEDS, SHOTS, NAMES, TEST, PROBES = 3, 16, 200, 500, 300
STEPS, RATE = 150, 1e-3
STUDY = Study(World(), shared=0.0, edges=(0.002, 0.0005))


def control() -> Loaded:
    """mini-bert-en after as many steps of the same text, asked for hidden words alone."""
    if not CONTROL.is_dir():
        asked, base = recipe(AFTER), load(BEFORE)
        plain = Recipe(**{one.name: getattr(asked, one.name) for one in fields(Recipe)})
        model, tokenizer, _ = pretrain(plain, (base.model, base.tokenizer), folder=CONTROL.with_suffix(".training"),
                                       resume=True)  # fmt: skip
        model.save_pretrained(CONTROL)
        tokenizer.save_pretrained(CONTROL)
    return load(str(CONTROL))


def knows(report: Report, name: str, loaded: Loaded) -> None:
    """Hits@1 of each band."""
    rng = np.random.default_rng(0)
    stated = [one for one in STUDY.probes if one.kind == "stated"]
    some = []
    for band in BANDS:
        own = [one for one in stated if one.band == band]
        some += [own[at] for at in sorted(rng.permutation(len(own))[:PROBES])]
    found = by_band(some, ranks(STUDY, some, scores(loaded.model, loaded.tokenizer, STUDY, some)))
    for (_, band), cell in found.items():
        report.add(name, f"facts, {band}", cell["hits"], seed=0, probes=cell["n"])


def downstream(report: Report, name: str, loaded: Loaded, seed: int) -> None:
    """Relations, reviews and names of one draw."""
    for key in ("relations", "reviews"):
        task = load_task(f"world/{key}").few_shot(SHOTS, seed).limited("test", TEST)
        method = HeadClassifier(loaded.tokenizer, task.fields)
        model = add_head(copy.deepcopy(loaded.model), task.labels, pooling="mean", seed=seed)
        trained(model, method, task.splits["train"], steps=STEPS, lr=RATE, seed=seed, batch=16)
        report.add(name, f"{key}, {SHOTS} a class", accuracy(model, method, task), seed=seed)
    task = load_task("world/ner")
    rows = {part: [{**row, "label": row["tags"]} for row in task.splits[part]] for part in ("train", "test")}
    few = [rows["train"][at] for at in np.random.default_rng(seed).permutation(len(rows["train"]))[:NAMES]]
    method, model = Tagger(loaded.tokenizer, task.labels), native_head(loaded.model, "token", task.labels, seed=seed)
    trained(model, method, few, steps=STEPS, lr=RATE, seed=seed, batch=16)
    score = method.score(rows["test"][:TEST], answers(model, method, rows["test"][:TEST], progress=False))
    report.add(name, f"names, {NAMES} texts", score["f1"], seed=seed)


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    torch.set_num_threads(1)
    makers: dict[str, Any] = {BEFORE: lambda: load(BEFORE), PLAIN: control, AFTER: lambda: load(AFTER)}
    for name, make in makers.items():
        loaded = make()
        for seed in range(SEEDS):
            report = opened(RESULTS, COMMAND)
            if (name, seed) in {(row.method, row.seed) for row in report.rows}:
                continue
            if seed == 0:
                knows(report, name, loaded)
            downstream(report, name, loaded, seed)
            report.save(RESULTS)
            print(name, seed, [f"{row.task} {100 * row.value:.1f}" for row in report.rows
                               if (row.method, row.seed) == (name, seed)], flush=True)  # fmt: skip
    print(opened(RESULTS, COMMAND).table())


if __name__ == "__main__":
    main()
