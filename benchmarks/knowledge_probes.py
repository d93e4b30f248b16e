"""What a graph adds to a BERT that goes on learning: plain masked language modelling against DKPLM, WKLM, ERNIE and
BERT-MK, in equal steps.

    python benchmarks/knowledge_probes.py             every row that is missing -> labkit/results/knowledge_probes.json
    python benchmarks/knowledge_probes.py --seconds 400     no new run after so long; run again to go on

mini-bert-en goes on for STEPS steps of BATCH texts in a world of 150 entities and 420 facts, of which it has read none.
Each way reads the same texts in the same order. Text states 7 of 10 facts; DKPLM's graph has these and half of the
others. A probe is a fact with a blank for its tail, in each wording; score: Hits@1, the share of blanks whose answer is
first of all entities of its type. "told" puts the fact before the blank. Bands are of the entity asked about.
"""

from __future__ import annotations

import argparse
import copy
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from few_shot_runs import opened

from labkit.foundations.pretraining import MaskedLM, frequency_weights, token_counts, tokenize_corpus
from labkit.knowledge.bert_mk import GraphContext
from labkit.knowledge.dkplm import DKPLM, connectivity, importance, linked, long_tail, names_of
from labkit.knowledge.ernie import DenoisingEntities, Ernie, table_of
from labkit.knowledge.probes import Study, by_band, decoder_scores, prior, ranks, scores
from labkit.knowledge.transe import TransESettings, train_transe
from labkit.knowledge.wklm import WKLM
from labkit.measure import parameters
from labkit.training import Batches, fit
from labkit.zoo import load

RESULTS = Path("labkit/results/knowledge_probes.json")
MODEL, SEEDS, STEPS, BATCH, LR, MASKED = "mini-bert-en", 1, 500, 32, 2e-3, 0.3
TRANSE = TransESettings(dimension=64, norm=1, margin=1.0, negatives=1, epochs=200, batch=256)
BELOW = 0.005  # R: who is spoken of more rarely is of the long tail
WAYS: dict[str, dict[str, Any] | None] = {
    "masked language modelling": None,
    "DKPLM, never injected": {"inject": 0.0},
    "DKPLM": {},
    "DKPLM, nothing injected or decoded": {"inject": 0.0, "lambda_1": 1.0},
    "DKPLM, never injected, decoded from the second layer": {"inject": 0.0, "layer": 2},
    "DKPLM, half of the mentions injected": {"inject": 0.5},
    "DKPLM, never injected, all entities": {"inject": 0.0, "every": True},
}
ENTITY_WAYS = ("WKLM", "ERNIE", "BERT-MK")


class Bench:
    """The report, the study, its text with mentions, the graph's vectors."""

    def __init__(self, path: Path, steps: int) -> None:
        self.path, self.steps, self.study = path, steps, Study()
        self.report = opened(path, "python benchmarks/knowledge_probes.py")
        self.model, self.tokenizer = load(MODEL)
        rows = tokenize_corpus(self.study.texts(steps * BATCH), self.tokenizer, 64)
        self.lengths, graph = rows.lengths, self.study.knowledge
        counts = token_counts(rows, len(self.tokenizer), self.tokenizer.all_special_ids)
        self.masked = MaskedLM(self.tokenizer, token_probabilities=frequency_weights(counts, mean=MASKED))
        self.names = names_of(self.tokenizer, graph)
        self.rows = linked(rows, self.names)
        self.vectors = train_transe(graph, TRANSE, progress=False)
        entities, numbers = self.study.graph.entities, range(len(graph.entities))
        self.klt = long_tail(
            np.array([one.frequency for one in entities]),
            importance(self.model, self.rows[:4000], len(entities), self.tokenizer.pad_token_id),
            np.array([connectivity(graph, one) for one in numbers]), BELOW,
        )  # fmt: skip

    def objective(self, model: Any, *, every: bool = False, **settings: Any) -> DKPLM:
        """DKPLM for that model, for entities of the long tail, or for `every` one that stands in the graph."""
        graph = self.study.knowledge
        targets = np.flatnonzero(graph.degrees if every else self.klt)
        return DKPLM(model, self.masked, graph, self.vectors, self.names, targets, **settings)

    def prepared(self, way: str, model: Any) -> tuple[Any, Any]:
        """The model that a way trains, and its objective."""
        if way in WAYS:
            settings = WAYS[way]
            return model, self.masked if settings is None else self.objective(model, **settings)
        graph = self.study.knowledge
        if way == "WKLM":
            return model, WKLM(model, self.masked, graph.types, self.names)
        vectors = table_of(self.vectors.entities) if way == "ERNIE" else GraphContext(graph, self.vectors)
        told = Ernie(model, vectors, self.names)
        return told, DenoisingEntities(told, self.masked, len(graph.entities))

    def row(self, method: str, found: list[np.ndarray], seed: int, probes: Any, **more: Any) -> None:
        """A row for each kind and band, written at once."""
        for (kind, band), cell in by_band(probes, ranks(self.study, probes, found)).items():
            task = f"{kind}, {band}"
            self.report.add(method, task, cell["hits"], seed=seed, mrr=cell["mrr"], probes=cell["n"], **more)
            print(f"{method:<40} seed {seed} {task:<16} {100 * cell['hits']:5.1f} mrr {100 * cell['mrr']:5.1f}",
                  flush=True)  # fmt: skip
        self.report.save(self.path)

    def done(self, method: str, seed: int) -> bool:
        """Whether its rows are there."""
        return any(row.method == method and row.seed == seed for row in self.report.rows)

    def measure(self, method: str, model: Any, seed: int, *, told: bool = False, **more: Any) -> None:
        """Probe the model."""
        found = scores(model, self.tokenizer, self.study, self.study.probes, told=told)
        self.row(method, found, seed, self.study.probes, **more)

    def run(self, way: str, seed: int) -> None:
        """Go on with a copy of the model that way, and probe it."""
        began = time.perf_counter()
        torch.manual_seed(seed)
        model, own = self.prepared(way, copy.deepcopy(self.model))
        batches = Batches(self.rows, own.collate, BATCH, seed=seed, lengths=self.lengths)
        fit(model, own.loss, batches, steps=self.steps, lr=LR, seed=seed, progress=False)
        seconds = time.perf_counter() - began
        self.measure(way, model, seed, seconds=seconds, parameters=parameters(model))
        if way in list(WAYS)[:2] + list(ENTITY_WAYS):
            self.measure(f"{way}, told", model, seed, told=True)
        if isinstance(own, DKPLM) and own.lambda_1 < 1:
            found = decoder_scores(own, model.eval(), self.tokenizer, self.study, self.study.probes)
            self.row(f"{way}: its decoder", found, seed, self.study.probes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--ways", nargs="*", default=[*WAYS, *ENTITY_WAYS])
    options = parser.parse_args()
    bench, end = Bench(options.out, options.steps), time.monotonic() + options.seconds
    if not bench.done("frequency alone", 0):
        bench.row("frequency alone", prior(bench.study, bench.study.probes), 0, bench.study.probes)
        bench.measure(MODEL, bench.model, 0)
        bench.measure(f"{MODEL}, told", bench.model, 0, told=True)
    for seed in range(SEEDS):
        for way in options.ways:
            if not bench.done(way, seed) and time.monotonic() < end:
                bench.run(way, seed)


if __name__ == "__main__":
    main()
