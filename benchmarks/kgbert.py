"""Which facts a BERT should read beside a sentence: KGBERT against plain masked language modelling, each of its parts
left out once, in equal steps.

    python benchmarks/kgbert.py                   every row that is missing -> labkit/results/kgbert.json
    python benchmarks/kgbert.py --seconds 400     no new run after so long; run again to go on

mini-bert-en goes on for STEPS steps of BATCH texts in the world of 150 entities and 420 facts of `knowledge_probes.py`;
all ways read the same texts in the same order. Blanks are as there. Of facts that text states
they are filled from the text alone; of facts that only the graph has, with the graph's facts about the text's entities
beside it, and PLANTED about others. "AUC": of a fact that fills the blank and another one, how
often has the first the wider gate? Attributes: which of 26 relations does a sentence
state? A linear reader of mean states learns it from SHOTS sentences for each, and is asked in other wordings.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from few_shot_runs import opened
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from labkit.evaluation import over_rows
from labkit.foundations.encoder import mean_state
from labkit.foundations.pretraining import MaskedLM, frequency_weights, token_counts, tokenize_corpus
from labkit.knowledge.dkplm import linked, names_of
from labkit.knowledge.kgbert import KGBERT
from labkit.knowledge.probes import Study, blanked, ranks, scores
from labkit.training import Batches, fit
from labkit.world.facts import Teller
from labkit.world.settings import lexicon, randomness
from labkit.zoo import load

RESULTS = Path("labkit/results/kgbert.json")
MODEL, STEPS, BATCH, LR, MASKED, PLANTED, SHOTS, DRAWS = "mini-bert-en", 160, 16, 2e-3, 0.3, 8, 2, 10
WAYS: dict[str, dict[str, Any] | None] = {
    "masked language modelling": None,
    "KGBERT": {},
    "KGBERT, all gates open": {"gated": False},
    "KGBERT without the margin": {"tasks": ("mentions", "joint")},
    "KGBERT without joint masking": {"tasks": ("mentions", "margin")},
    "KGBERT without mention detection": {"tasks": ("joint", "margin")},
}


class Bench:
    """The report, the study, its text with mentions."""

    def __init__(self, path: Path, steps: int) -> None:
        self.path, self.steps, self.study = path, steps, Study()
        self.report = opened(path, "python benchmarks/kgbert.py")
        self.model, self.tokenizer = load(MODEL)
        rows = tokenize_corpus(self.study.texts(steps * BATCH), self.tokenizer, 64)
        counts = token_counts(rows, len(self.tokenizer), self.tokenizer.all_special_ids)
        self.masked = MaskedLM(self.tokenizer, token_probabilities=frequency_weights(counts, mean=MASKED))
        self.names = names_of(self.tokenizer, self.study.knowledge)
        self.lengths, self.rows = rows.lengths, linked(rows, self.names)

    def objective(self, model: Any, **settings: Any) -> KGBERT:
        """KGBERT for that model."""
        return KGBERT(model, self.masked, self.study.knowledge, self.study.said, self.names, **settings)

    def run(self, way: str, settings: dict[str, Any] | None, seed: int) -> None:
        """Go on with a copy of the model that way, and ask it everything."""
        model, began = copy.deepcopy(self.model), time.perf_counter()
        torch.manual_seed(seed)
        own = self.masked if settings is None else self.objective(model, **settings)
        batches = Batches(self.rows, own.collate, BATCH, seed=seed, lengths=self.lengths)
        fit(model, own.loss, batches, steps=self.steps, lr=LR, seed=seed, progress=False)
        self.ask(way, model.eval(), own if settings is not None else None, seed, time.perf_counter() - began)

    def ask(self, way: str, model: Any, own: KGBERT | None, seed: int, seconds: float = 0.0) -> None:
        """All rows of a model."""
        found = self.blanks(model, "stated") | {"attributes, alone": self.attributes(model, None)}
        if own is not None:
            found |= {"graph, beside": self.blanks(model, "graph", own, PLANTED)["graph"]} | self.apart(model, own)
            found |= {"attributes, beside": self.attributes(model, own)}
        for task, value in found.items():
            self.report.add(way, task, value, seed=seed, seconds=seconds)
            print(f"{way:<34} {task:<28} {100 * value:5.1f}", flush=True)
        self.report.save(self.path)
        if way == "KGBERT":
            self.noise(model, own, seed)
            self.report.save(self.path)

    def noise(self, model: Any, own: KGBERT, seed: int) -> None:
        """How many blanks are filled as more facts about others join, with the gates learned and all open."""
        for way, gated, keep in (("the 3 widest gates", True, 3), ("gates as learned", True, None),
                                 ("all gates opened", False, None)):  # fmt: skip
            own.gated = gated
            for planted in (0, 4, 8):
                value = self.blanks(model, "graph", own, planted, keep, every=2)["graph"]
                self.report.add(way, f"{planted} planted", value, seed=seed, planted=planted)
                print(f"{way:<34} {planted:<28} {100 * value:5.1f}", flush=True)
        own.gated = True

    def blanks(
        self, model: Any, kind: str, own: KGBERT | None = None, planted: int = 0, keep: int | None = None,
        every: int = 1,
    ) -> dict[str, float]:  # fmt: skip
        """Hits@1 of the facts of a kind, over all entities and over those of the tail; with facts where `own` is."""
        chosen = [one for one in self.study.probes if one.kind == kind][::every]
        collate = None if own is None else lambda some: own.read(model, some, planted=planted, keep=keep)
        right = ranks(self.study, chosen, scores(model, self.tokenizer, self.study, chosen, collate=collate)) == 1
        tail = right[[one.band == "tail" for one in chosen]]
        return {kind: float(right.mean()), f"{kind}, tail": float(tail.mean())}

    def apart(self, model: Any, own: KGBERT) -> dict[str, float]:
        """The gates' AUC, of facts that fill a blank and stand in the graph alone: against facts about the same entity
        and against planted ones.
        """
        asked = [one for one in self.study.probes if one.kind == "graph"]
        gates: dict[str, list[float]] = {"itself": [], "about": [], "others": []}
        for start in range(0, len(asked), 64):
            some = asked[start : start + 64]
            texts = [blanked(self.study, one, 2, self.tokenizer.mask_token) for one in some]
            read = own.read(model, texts, planted=PLANTED)
            for one, facts, wide in zip(some, read["facts"].tolist(), read["gates"].tolist(), strict=True):
                for number, gate in zip(facts, wide, strict=True):
                    if number >= 0:
                        gates[self.study.bearing(one.fact, number)].append(gate)
        found = {}
        for name, kind in (("same entity", "about"), ("planted", "others")):
            labels = [1] * len(gates["itself"]) + [0] * len(gates[kind])
            found[f"AUC, {name}"] = float(roc_auc_score(labels, gates["itself"] + gates[kind]))
        return found

    def attributes(self, model: Any, own: KGBERT | None) -> float:
        """Accuracy, a mean over DRAWS draws of SHOTS sentences of each relation in its first two wordings."""
        words, teller = (
            lexicon("facts", "en")["relations"],
            Teller(self.study.world, "en", randomness(self.study.world)),
        )
        facts = [fact for fact in self.study.known if not fact.held_out][::2]
        texts = [teller.text([teller.put(words[one.relation]["say"][nth], one)]) for one in facts for nth in range(4)]
        states = self.states(model, own, texts)
        labels, nth = np.array([one.relation for one in facts for _ in range(4)]), np.tile(range(4), len(facts))
        right = []
        for draw in range(DRAWS):
            order = np.random.default_rng(draw).permutation(np.flatnonzero(nth < 2))
            some = np.concatenate([order[labels[order] == one][:SHOTS] for one in np.unique(labels)])
            reader = LogisticRegression(max_iter=1000).fit(states[some], labels[some])
            right.append(reader.score(states[nth >= 2], labels[nth >= 2]))
        return float(np.mean(right))

    def states(self, model: Any, own: KGBERT | None, texts: Sequence[str]) -> np.ndarray:
        """Each text's mean state, (texts, d), with its facts beside it where there is an `own`."""

        def collate(some: Sequence[str]) -> dict[str, Any]:
            plain = dict(self.tokenizer(list(some), return_tensors="pt", padding=True))
            return plain | {"plain": plain["attention_mask"]} | (own.read(model, some) if own is not None else {})

        def read(model: Any, batch: dict[str, Any]) -> torch.Tensor:
            inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "position_ids") if name in batch}
            states = model.base_model(**inputs).last_hidden_state[:, : batch["plain"].shape[1]]
            return mean_state(states, batch["plain"])

        return over_rows(model, texts, collate, read).numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--ways", nargs="*", default=list(WAYS))
    options = parser.parse_args()
    bench, end = Bench(options.out, options.steps), time.monotonic() + options.seconds
    if not any(row.method == MODEL for row in bench.report.rows):
        bench.ask(MODEL, bench.model.eval(), None, 0)
    for way in options.ways:
        if not any(row.method == way for row in bench.report.rows) and time.monotonic() < end:
            bench.run(way, WAYS[way], 0)


if __name__ == "__main__":
    main()
