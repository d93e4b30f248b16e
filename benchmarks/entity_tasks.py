"""Which relation joins two names? BERT, ERNIE and BERT-MK learn it from 215 facts, and are asked for 144 others.

    python benchmarks/entity_tasks.py             every row that is missing -> labkit/results/entity_tasks.json

The text, "anna reed and north cedar .", names both and says nothing else; the graph has all facts, without saying which
are asked for. All ways start from mini-bert-en and learn for STEPS steps of BATCH texts. Score: accuracy.
"""

from __future__ import annotations

import argparse
import copy
import time
from pathlib import Path
from typing import Any

import torch
from few_shot_runs import opened

from labkit.evaluation import predict
from labkit.knowledge.bert_mk import GraphContext
from labkit.knowledge.dkplm import names_of
from labkit.knowledge.ernie import Ernie, table_of
from labkit.knowledge.mention_tasks import MentionHead, relation_rows
from labkit.knowledge.probes import Study
from labkit.knowledge.transe import TransESettings, train_transe
from labkit.measure import parameters
from labkit.training import Batches, fit
from labkit.zoo import load

RESULTS = Path("labkit/results/entity_tasks.json")
MODEL, SEEDS, STEPS, BATCH, LR = "mini-bert-en", 3, 120, 32, 1e-3
TRANSE = TransESettings(dimension=64, norm=1, margin=1.0, negatives=1, epochs=200, batch=256)
WAYS = ("BERT", "ERNIE", "BERT-MK", "ERNIE, entities shuffled")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    options = parser.parse_args()
    report, graph = opened(options.out, "python benchmarks/entity_tasks.py"), Study().knowledge
    bert, tokenizer = load(MODEL)
    names, vectors = names_of(tokenizer, graph), train_transe(graph, TRANSE, progress=False)

    def model_of(way: str) -> Any:
        if way == "BERT":
            return copy.deepcopy(bert)
        table = vectors.entities[torch.randperm(len(graph.entities))] if "shuffled" in way else vectors.entities
        return Ernie(bert, GraphContext(graph, vectors) if way == "BERT-MK" else table_of(table), names)

    for seed in range(options.seeds):
        told, asked = relation_rows(graph, tokenizer, names, seed)
        for way in WAYS:
            if any(row.method == way and row.seed == seed for row in report.rows):
                continue
            torch.manual_seed(seed)
            model, began = model_of(way), time.perf_counter()
            own = MentionHead(bert.config.hidden_size, len(graph.relations), tokenizer.pad_token_id)
            fit(model, own.loss, Batches(told, own.collate, BATCH, seed=seed), steps=options.steps, lr=LR, seed=seed,
                progress=False)  # fmt: skip
            right = [row["label"] for row in asked]
            value = float((predict(model, own, asked, progress=False).argmax(1) == right).mean())
            report.add(way, "relation of two names", value, seed=seed, parameters=parameters(model),
                       seconds=time.perf_counter() - began)  # fmt: skip
            report.save(options.out)
            print(f"{way:<28} seed {seed} {100 * value:5.1f}  {time.perf_counter() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()
