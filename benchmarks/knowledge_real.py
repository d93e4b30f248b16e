"""Knowledge in real text, with MiniLM: relations of marked entities, names of chemicals and diseases, answers ranked.

    python benchmarks/knowledge_real.py DATA     every row that is missing  -> labkit/results/knowledge_real.json

DATA holds `chemprot`, `fewrel`, `bc5cdr_ner` and `trecqa_wang`. Each baseline learns from the same training rows as
MiniLM, which is fine-tuned for EPOCHS at RATE, one seed, nothing chosen on the test rows.

Relations: the two entities are marked in the text as ChemProt marks them. Of FewRel's 16 relations the first KNOWN
sentences each are for training, the next ASKED for the test. The baseline is a logistic regression on TF-IDF of words
and pairs of words. Names: the baseline tags the longest names of the training rows, wherever they stand, with the type
that they have most often. Answers: dev questions of TREC-QA with their own candidates, where those are of both kinds;
MiniLM reads question and sentence together, or compares their vectors without training.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from compressing import accuracy, trained
from few_shot_runs import opened
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from labkit.evaluation import answers
from labkit.foundations.heads import HeadClassifier, add_head
from labkit.foundations.native import native_head
from labkit.foundations.tagging import Tagger, spans_of
from labkit.knowledge.dense import DualEncoder, nearest
from labkit.knowledge.lexical import bm25
from labkit.knowledge.linking import longest_first
from labkit.knowledge.ranking import measures
from labkit.knowledge.reranking import cross_encoder, judge, reranked
from labkit.report import Report
from labkit.tasks import Task
from labkit.zoo import load

RESULTS, COMMAND = Path("labkit/results/knowledge_real.json"), "python benchmarks/knowledge_real.py DATA"
KNOWN, ASKED = 100, 200  # FewRel's sentences a relation
EPOCHS = {"ChemProt": 3, "FewRel": 4, "BC5CDR": 2, "TREC-QA": 2}
RATE, BATCH, LENGTH, SEED = 1e-4, 32, 96, 0
MINILM = "minilm, fine-tuned"
Found = Iterator[tuple[str, str, float]]  # method, metric, value


def relations(task: Task) -> Found:
    """Logistic regression, and MiniLM with a linear layer on its mean state."""
    train, test = task.splits["train"], task.splits["test"]
    (texts, labels), asked = (([row["text"] for row in rows], [row["label"] for row in rows]) for rows in (train, test))
    vectors = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    words = make_pipeline(vectors, LogisticRegression(C=10, max_iter=500)).fit(texts, labels)
    yield "TF-IDF, logistic regression", task.metric, words.score(*asked)
    base = load("minilm", head=None)
    method = HeadClassifier(base.tokenizer, task.fields, LENGTH)
    model = add_head(base.model, task.labels, pooling="mean", seed=SEED)
    tuned(model, method, train, EPOCHS[task.name])
    yield MINILM, task.metric, accuracy(model, method, task)


def tuned(model: Any, method: Any, rows: Sequence[Any], epochs: int) -> None:
    """Train it in place."""
    trained(model, method, rows, steps=epochs * len(rows) // BATCH, lr=RATE, batch=BATCH, seed=SEED)


def chemprot(data: Path) -> Found:
    """13 relations of a chemical and a protein."""
    splits = {}
    for part in ("train", "test"):
        lines = (data / f"chemprot/{part}.txt").read_text(encoding="utf-8").splitlines()
        splits[part] = [json.loads(line) for line in lines]
    labels = tuple(sorted({row["label"] for row in splits["train"]}))
    numbered = {part: [{"text": row["text"], "label": labels.index(row["label"])} for row in rows]
                for part, rows in splits.items()}  # fmt: skip
    return relations(Task("ChemProt", ("text",), labels, numbered))


def fewrel(data: Path) -> Found:
    """16 relations of Wikipedia's sentences."""
    kinds = json.loads((data / "fewrel/val_wiki.json").read_text(encoding="utf-8"))
    splits: dict[str, list[dict[str, Any]]] = {"train": [], "test": []}
    for label, rows in enumerate(kinds.values()):
        marked = [{"text": with_marks(row), "label": label} for row in rows[: KNOWN + ASKED]]
        splits["train"] += marked[:KNOWN]
        splits["test"] += marked[KNOWN:]
    return relations(Task("FewRel", ("text",), tuple(kinds), splits))


def with_marks(row: dict[str, Any]) -> str:
    """The text with << head >> and [[ tail ]], each at its first place."""
    tokens = list(row["tokens"])
    for (_, _, places), (left, right) in ((row["h"], ("<<", ">>")), (row["t"], ("[[", "]]"))):
        tokens[places[0][0]] = f"{left} {tokens[places[0][0]]}"
        tokens[places[0][-1]] += f" {right}"
    return " ".join(tokens)


def bc5cdr(data: Path) -> Found:
    """Whole names: the training rows' own names, and MiniLM with a tag a word."""
    splits = {part: sentences(data / f"bc5cdr_ner/{part}.tsv") for part in ("train", "test")}
    labels = tuple(sorted({tag for tags in splits["train"] for _, tag in tags}, key=lambda tag: (tag != "O", tag)))
    rows = {part: [{"text": " ".join(word for word, _ in one), "label": [labels.index(tag) for _, tag in one]}
                   for one in some] for part, some in splits.items()}  # fmt: skip
    base = load("minilm", head=None)
    method = Tagger(base.tokenizer, labels, max_length=LENGTH)
    told = by_names(splits["train"], [[word for word, _ in one] for one in splits["test"]])
    named = [{"tags": [labels.index(tag) for tag in tags]} for tags in told]
    yield "names of the training rows", "f1", method.score(rows["test"], named)["f1"]
    model = native_head(base.model, "token", labels, seed=SEED)
    tuned(model, method, rows["train"], EPOCHS["BC5CDR"])
    yield MINILM, "f1", method.score(rows["test"], answers(model, method, rows["test"], progress=False))["f1"]


def sentences(path: Path) -> list[list[tuple[str, str]]]:
    """The words of each sentence and their tags."""
    blocks = path.read_text(encoding="utf-8").strip().split("\n\n")
    return [[tuple(line.split("\t")) for line in block.splitlines()] for block in blocks]  # type: ignore[misc]


def by_names(train: Sequence[Sequence[tuple[str, str]]], texts: Sequence[Sequence[str]]) -> list[list[str]]:
    """The tags of texts in which each name of the training rows has its most frequent type."""
    types: dict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
    for row in train:
        for kind, start, stop in spans_of([tag for _, tag in row]):
            types[tuple(word.lower() for word, _ in row[start:stop])][kind] += 1
    names = {name: counts.most_common(1)[0][0] for name, counts in types.items()}
    found = []
    for words in texts:
        tags = ["O"] * len(words)
        for start, stop, kind in longest_first([word.lower() for word in words], names):
            tags[start:stop] = [f"B-{kind}", *[f"I-{kind}"] * (stop - start - 1)]
        found.append(tags)
    return found


def trecqa(data: Path) -> Found:
    """MRR and MAP of each dev question's candidates, read by BM25, by untrained vectors and by a cross-encoder."""
    asked = questions(data / "trecqa_wang/dev.csv")
    asked = {text: some for text, some in asked.items() if len({label for _, label in some}) == 2}
    passages = list(dict.fromkeys(one for some in asked.values() for one, _ in some))
    place = {text: number for number, text in enumerate(passages)}
    own = [[place[one] for one, _ in some] for some in asked.values()]
    right = [{place[one] for one, label in some if label} for some in asked.values()]
    base = load("minilm", head=None)
    encoder, lexical = DualEncoder(base.tokenizer, passages, LENGTH), bm25(passages)
    vectors, queries = encoder.encode(base.model, passages), encoder.encode(base.model, list(asked))
    every = len(passages)
    for method, found in (("BM25", lexical.rankings(list(asked), every)),
                          ("minilm, untrained vectors", nearest(vectors, queries, every)[0].tolist())):  # fmt: skip
        inside = [[one for one in ranking if one in set(some)] for ranking, some in zip(found, own, strict=True)]
        yield from ranked(method, inside, right)
    reader, model = cross_encoder(base.tokenizer, LENGTH), add_head(base.model, 2, pooling="mean", seed=SEED)
    rows = [{"text_a": text, "text_b": one, "label": label}
            for text, some in questions(data / "trecqa_wang/train.csv").items() for one, label in some]  # fmt: skip
    tuned(model, reader, rows, EPOCHS["TREC-QA"])
    scores = judge(model, reader, list(asked), own, passages, progress=False)
    yield from ranked(MINILM, reranked(own, scores), right)


def questions(path: Path) -> dict[str, list[tuple[str, int]]]:
    """Each question's sentences, no one twice, and whether they answer it."""
    found: dict[str, dict[str, int]] = {}
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            found.setdefault(row["qtext"], {}).setdefault(row["atext"], int(row["label"]))
    return {text: list(some.items()) for text, some in found.items()}


def ranked(method: str, rankings: Sequence[Sequence[int]], right: Sequence[set[int]]) -> Found:
    """Two measures of the rankings."""
    found = measures(rankings, right)
    return ((method, metric, found[metric]) for metric in ("mrr@10", "map"))


TASKS = {"TREC-QA": trecqa, "FewRel": fewrel, "ChemProt": chemprot, "BC5CDR": bc5cdr}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    np.random.seed(SEED)
    for name, measured in TASKS.items():
        report: Report = opened(RESULTS, COMMAND)
        if name in {row.task for row in report.rows}:
            continue
        began = time.perf_counter()
        for method, metric, value in measured(options.data):
            report.add(method, name, value, metric=metric, seed=SEED)
            took = time.perf_counter() - began
            print(f"{name:<10}{method:<30}{metric:<10}{100 * value:6.1f}{took:8.0f} s", flush=True)
        report.save(RESULTS)
    print(opened(RESULTS, COMMAND).table())


if __name__ == "__main__":
    main()
