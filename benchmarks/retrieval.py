"""Finding passages by their words and by their meaning, a ladder of methods; beside bm25s; at scale; on real questions.

    python benchmarks/retrieval.py [--seeds 1]       the ladder       -> labkit/results/retrieval.json
    python benchmarks/retrieval.py variants          BM25's variants  -> labkit/results/retrieval_variants.json
    python benchmarks/retrieval.py real DATA         TREC-QA          -> labkit/results/retrieval_real.json
    python benchmarks/retrieval.py scale             100 000 passages -> labkit/results/retrieval_scale.json

The ladder: 2 000 pages of the world and 362 queries, each of a fact that no training query asks for; "words differ" are
those whose words, but for the name of the thing, stand in no page that answers them. All that learns starts from
micro-bert-en. A dual encoder is trained with in-batch negatives for STEPS steps. From it others go on for MORE steps at
half the rate: with the same again, with BM25's negatives, with its own (ANCE, the index made anew REFRESHES times), and
with its own without those that the cross-encoder takes for answers (RocketQA). The cross-encoder, with the words marked
that stand in both texts, reads the first TAKEN pages of a search; "scores added" is its logit plus BM25's score.
`wrong_negatives` is the share of the negatives that do answer their query (the world knows), `terms` the entries a page
has in SparTerm's index. Rows are kept as they come: run it again to go on.
"""

from __future__ import annotations

import argparse
import copy
import resource
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import bm25s
import numpy as np
from few_shot_runs import opened
from scipy.special import logit

from labkit.foundations.finetuning.marked import Marked
from labkit.foundations.heads import add_head
from labkit.knowledge.dense import DenseIndex, DualEncoder, ance, cloze_pairs, faiss_index, nearest, with_negatives
from labkit.knowledge.lexical import best, bm25, terms, tf_idf
from labkit.knowledge.passages import of_pairs, world_passages
from labkit.knowledge.ranking import fused, joined, measures
from labkit.knowledge.reranking import cross_encoder, denoised, judge, pairs, reranked
from labkit.knowledge.sparterm import SparTerm, SparTermIndex, SparTermModel
from labkit.tasks import read_table
from labkit.training import Batches, fit
from labkit.world import World, corpus
from labkit.world.settings import randomness
from labkit.zoo import load

FOLDER = Path("labkit/results")
MODEL, BATCH, RATE = "micro-bert-en", 32, 3e-3
STEPS, MORE, REFRESHES, MOST = 250, 100, 2, 5  # MOST: negatives that are mined for a query
TAKEN = 20  # passages that a second reader sees
CROSS, CROSS_RATE = 300, 2e-3
SPAR, SPAR_RATE = 100, 1e-3
LARGE = 100_000
NAMES = (
    "dense, in-batch negatives", "dense, + further in-batch", "dense, + BM25's negatives", "BM25 and dense, joined",
    "BM25, re-ranked", "BM25, re-ranked, scores added", "dense, re-ranked", "SparTerm, expanded", "SparTerm, own words",
    "dense, + its own (ANCE)", "dense, + its own, denoised (RocketQA)", "dense, in-batch after ICT",
)  # fmt: skip
VARIANTS = ("robertson", "atire", "bm25l", "bm25+")


class Bench:
    """The pages and queries, the report so far, and what is trained once a seed."""

    def __init__(self, path: Path, command: str, language: str = "en") -> None:
        self.path, self.report = path, opened(path, command)
        self.words = "" if language == "en" else "Chinese, "
        self.world = world_passages(language)
        self.train, self.test = self.world.splits["train"], self.world.splits["test"]
        self.asked = [row["text"] for row in self.test]
        self.lexical = bm25(self.world.passages)
        self.mined = with_negatives(
            self.train, self.lexical.rankings([row["text"] for row in self.train], MOST + 1), MOST
        )

    def missing(self, method: str, task: str, seed: int) -> bool:
        """Whether the report has no row of it."""
        return (method, task, "mrr@10", seed) not in {row.key for row in self.report.rows}

    def add(self, method: str, rankings: Sequence[Sequence[int]], seed: int, **more: Any) -> None:
        """All queries, and those whose words differ."""
        parts = {
            self.words + "all queries": range(len(self.test)),
            self.words + "words differ": [n for n, r in enumerate(self.test) if r["mismatch"]],
        }
        for task, chosen in parts.items():
            found = measures([rankings[n] for n in chosen], [self.test[n]["answers"] for n in chosen])
            for metric, value in found.items():
                self.report.add(method, task, value, seed=seed, metric=metric, rows=len(chosen), **more)
            print(f"{method:<44} {task:<13} seed {seed}", *(f"{n} {v:.3f}" for n, v in found.items()), flush=True)
        self.report.save(self.path)


def timed(search: Callable[[], Any], queries: int) -> tuple[Any, float]:
    """What it finds, and its milliseconds a query."""
    began = time.perf_counter()
    found = search()
    return found, 1000 * (time.perf_counter() - began) / queries


def lexical(bench: Bench, names: Sequence[str]) -> None:
    """TF-IDF, or BM25 in a variant ("BM25, atire"); nothing is drawn, so they have one seed."""
    for name in names:
        if bench.missing(name, bench.words + "all queries", 0):
            kind, _, variant = name.partition(", ")
            passages = bench.world.passages
            index = tf_idf(passages) if kind == "TF-IDF" else bm25(passages, variant or "lucene")
            found, ms = timed(lambda index=index: index.rankings(bench.asked), len(bench.asked))
            bench.add(name, found, 0, latency_ms=ms)


def ladder(bench: Bench, seed: int) -> None:
    """One seed of all that learns; what is there already is left out, with what only it needs."""
    wanted = {name for name in NAMES if bench.missing(name, "all queries", seed)}
    if not wanted:
        return
    passages, (body, tokenizer) = bench.world.passages, load(MODEL, head=None)
    method = DualEncoder(tokenizer, passages)
    encoders = list(NAMES[:3])
    if wanted & {*NAMES[:4], NAMES[6], *NAMES[9:11]}:
        encoders[0] = trained(copy.deepcopy(body), method, bench.train, STEPS, RATE, seed)
        for at, rows in ((1, bench.train), (2, bench.mined)):
            encoders[at] = trained(copy.deepcopy(encoders[0]), method, rows, MORE, RATE / 2, seed + 1)
        for name, model in zip(NAMES, encoders, strict=False):
            dense(bench, name, model, method, seed, **(share_that_answers(bench.mined) if model is encoders[2] else {}))
    if wanted & {*NAMES[3:7], NAMES[10]}:
        reader = second_reader(bench, body, tokenizer, seed)
        if wanted & set(NAMES[3:7]):
            second(bench, DenseIndex(encoders[2], method), *reader, seed)
    sparse(bench, wanted, seed)
    for name, keep in ((NAMES[9], None), (NAMES[10], keeper(reader, passages) if NAMES[10] in wanted else None)):
        if name in wanted:
            model = copy.deepcopy(encoders[0])
            how = {"refreshes": REFRESHES, "steps": MORE // REFRESHES, "most": MOST, "batch_size": BATCH}
            rounds = ance(model, method, bench.train, keep=keep, seed=seed + 1, lr=RATE / 2, progress=False, **how)
            dense(bench, name, model, method, seed, **share_that_answers(rounds[-1]))
    if NAMES[11] in wanted:
        rows, rest = cloze_pairs(passages, randomness(World(), "ict", seed))
        begun = trained(copy.deepcopy(body), DualEncoder(tokenizer, rest), rows, MORE, RATE, seed)
        dense(bench, NAMES[11], trained(begun, method, bench.train, STEPS, RATE, seed), method, seed)


def second(bench: Bench, index: DenseIndex, model: Any, method: Any, seed: int) -> None:
    """Two searches as one, and each in the order of the second reader."""
    words, meaning, passages = bench.lexical.rankings(bench.asked), index.rankings(bench.asked), bench.world.passages
    cosines = index.method.encode(index.model, bench.asked) @ index.vectors.T
    both = [best(joined(bench.lexical.scores(one), row), 50).tolist()
            for one, row in zip(bench.asked, cosines, strict=True)]  # fmt: skip
    bench.add(NAMES[3], both, seed)
    for name, first in ((NAMES[4], words), (NAMES[6], meaning)):
        first = [one[:TAKEN] for one in first]
        scores, ms = timed(lambda first=first: judge(model, method, bench.asked, first, passages), len(bench.asked))
        bench.add(name, reranked(first, scores), seed, latency_ms=ms)
        if name == NAMES[4]:
            added = [logit(new) + bench.lexical.scores(asked)[one]
                     for asked, one, new in zip(bench.asked, first, scores, strict=True)]  # fmt: skip
            bench.add(NAMES[5], reranked(first, added), seed, latency_ms=ms)


def keeper(reader: tuple[Any, Any], passages: Sequence[str]) -> Callable[[Sequence[Any]], list[dict[str, Any]]]:
    """What takes the negatives out that the second reader takes for answers."""
    return lambda rows: denoised(
        rows, judge(*reader, [r["text"] for r in rows], [r["negatives"] for r in rows], passages)
    )


def trained(model: Any, method: Any, rows: Sequence[Any], steps: int, lr: float, seed: int) -> Any:
    """The model after so many steps."""
    began = time.process_time()
    fit(model, method, Batches(rows, method.collate, BATCH, seed=seed), steps=steps, lr=lr, seed=seed, progress=False)
    print(f"  {steps} steps: {time.process_time() - began:.0f} CPU s", flush=True)
    return model


def dense(bench: Bench, name: str, model: Any, method: DualEncoder, seed: int, **more: Any) -> None:
    """The rows of a dual encoder."""
    index = DenseIndex(model, method)
    found, ms = timed(lambda: index.rankings(bench.asked), len(bench.asked))
    bench.add(name, found, seed, latency_ms=ms, **more)


def share_that_answers(rows: Sequence[Any]) -> dict[str, float]:
    """How many of the negatives are none."""
    every = [one in row["answers"] for row in rows for one in row["negatives"]]
    return {"wrong_negatives": float(np.mean(every)), "negatives": len(every) / len(rows)}


def second_reader(bench: Bench, body: Any, tokenizer: Any, seed: int) -> tuple[Any, Any]:
    """The cross-encoder, trained on right pages and the first that BM25 finds beside them, and its method."""
    method = Marked(cross_encoder(tokenizer))
    rows = pairs(bench.mined, bench.world.passages, 1)
    return trained(add_head(body, 2, "mean", seed=seed), method, rows, CROSS, CROSS_RATE, seed), method


def sparse(bench: Bench, wanted: set[str], seed: int) -> None:
    """SparTerm expanded, and with the passages' own words."""
    body, tokenizer = load(MODEL, head="mlm")
    for name, expand in ((NAMES[7], True), (NAMES[8], False)):
        if name in wanted:
            method = SparTerm(tokenizer, bench.world.passages, bench.train, expand=expand)
            model = SparTermModel(copy.deepcopy(body), copy.deepcopy(body))
            index = SparTermIndex(trained(model, method, bench.train, SPAR, SPAR_RATE, seed), method)
            found, ms = timed(lambda index=index: index.rankings(bench.asked), len(bench.asked))
            entries = len(index.lists.weights) / len(bench.world.passages)
            bench.add(name, found, seed, latency_ms=ms, terms=entries)


def scale() -> None:
    """An index of LARGE passages: entries of the world's encyclopaedia, and BM25, exact and approximate vectors."""
    path = FOLDER / "retrieval_scale.json"
    report = opened(path, "python benchmarks/retrieval.py scale")
    passages, asked = corpus(World(), "en", LARGE, ["facts"]), [row["text"] for row in world_passages().splits["test"]]
    index, seconds = timed(lambda: bm25(passages), 1000)
    theirs = bm25s.BM25(k1=1.5, b=0.75)
    _, slower = timed(lambda: theirs.index([terms(one) for one in passages], show_progress=False), 1000)
    known = [[term for term in terms(one) if term in index.vocabulary] for one in asked]
    for turn in range(3):
        for name, search, built in (
            ("BM25", lambda: [best(index.scores(one), 10) for one in asked], seconds),
            ("BM25, bm25s", lambda: theirs.retrieve(known, k=10, show_progress=False), slower),
        ):
            _, ms = timed(search, len(asked))
            report.add(name, "100 000 passages", ms, seed=turn, metric="ms a query", seconds=built)
            print(name, f"{ms:.2f} ms a query, built in {built:.1f} s", flush=True)
    body, tokenizer = load(MODEL, head=None)
    method = DualEncoder(tokenizer, passages)
    began = time.perf_counter()
    vectors, queries = method.encode(body, passages), method.encode(body, asked)
    print(f"encoded in {time.perf_counter() - began:.0f} s", flush=True)
    exact, _ = nearest(vectors, queries, 10)
    for name, kind in (("vectors, brute force", "brute"), ("vectors, FAISS flat", "flat"),
                       ("vectors, FAISS IVF", "ivf"), ("vectors, FAISS HNSW", "hnsw")):  # fmt: skip
        made, built = timed(lambda kind=kind: None if kind == "brute" else faiss_index(vectors, kind), 1000)
        for turn in range(3):
            found, ms = timed(
                lambda made=made: nearest(vectors, queries, 10)[0] if made is None else made.search(queries, 10)[1],
                len(queries),
            )
            shared = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(exact.tolist(), found.tolist(), strict=True)])
            report.add(name, "100 000 passages", ms, seed=turn, metric="ms a query", seconds=built)
        report.add(name, "100 000 passages", float(shared), metric="share of the nearest 10")
        print(name, f"{ms:.2f} ms a query, built in {built:.1f} s, recall {shared:.3f}", flush=True)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    report.add("all of these in one process", "100 000 passages", most, metric="GiB at most")
    print(f"{most:.2f} GiB at most", report.save(path))


def real(folder: Path) -> None:
    """TREC-QA: one pool of all answer sentences, and each question's own candidates."""
    path = FOLDER / "retrieval_real.json"
    report = opened(path, "python benchmarks/retrieval.py real DATA")
    rows = {part: read_table(folder / f"trecqa_wang/{part}.csv").rows for part in ("train", "dev")}
    pool = of_pairs(rows["train"] + rows["dev"], "qtext", "atext")
    wanted = {row["qtext"] for row in rows["dev"]}
    test = [row for row in pool.splits["test"] if row["text"] in wanted]
    body, tokenizer = load("minilm", head=None)
    method, lexical = DualEncoder(tokenizer, pool.passages, 96), bm25(pool.passages)
    began = time.perf_counter()
    encoder = DenseIndex(body, method)
    print(
        f"{len(pool.passages)} sentences, {len(test)} questions, encoded in {time.perf_counter() - began:.0f} s",
        flush=True,
    )
    asked, answers = [row["text"] for row in test], [row["answers"] for row in test]
    every = len(pool.passages)
    searches = {"BM25": lexical.rankings(asked, every), "minilm, zero-shot": encoder.rankings(asked, every)}
    searches["BM25 and minilm, fused"] = [fused(both) for both in zip(*searches.values(), strict=True)]
    for name, found in searches.items():
        own = [[one for one in some if one in set(row["candidates"])] for some, row in zip(found, test, strict=True)]
        for task, rankings in (("TREC-QA, all sentences", found), ("TREC-QA, a question's candidates", own)):
            for metric, value in measures(rankings, answers).items():
                report.add(name, task, value, metric=metric, rows=len(test))
            print(
                f"{name:<26} {task:<34}", *(f"{n} {v:.3f}" for n, v in measures(rankings, answers).items()), flush=True
            )
        report.save(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", default="ladder", choices=("ladder", "variants", "real", "scale"))
    parser.add_argument("data", nargs="?", type=Path)
    parser.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args()
    if options.what == "scale":
        return scale()
    if options.what == "real":
        return real(options.data)
    if options.what == "variants":
        for language in ("en", "zh"):
            bench = Bench(FOLDER / "retrieval_variants.json", "python benchmarks/retrieval.py variants", language)
            lexical(bench, ["TF-IDF", "BM25", *(f"BM25, {name}" for name in VARIANTS)])
        return None
    bench = Bench(FOLDER / "retrieval.json", "python benchmarks/retrieval.py")
    lexical(bench, ["TF-IDF", "BM25"])
    for seed in range(options.seeds):
        ladder(bench, seed)


if __name__ == "__main__":
    main()
