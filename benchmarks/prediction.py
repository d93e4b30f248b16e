"""Rows a second of `labkit predict` beside transformers' own pipeline, on the same folder and texts, in one run.

    python benchmarks/prediction.py                                -> labkit/results/prediction.json
    python benchmarks/prediction.py --model minilm --rows 800      its rows beside those that are there

The texts are the world's reviews and articles, of many lengths. `labkit predict` reads the table, answers and writes;
the pipeline (batch_size=32) is given the texts as a list and only answers. They take turns; the ratio of each turn is
kept, and how many of the labels agree.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch
from transformers import pipeline

import labkit
from labkit.apps import load_app, predict_table, save_app
from labkit.compression import int8
from labkit.compression.shrink import shrink
from labkit.foundations.heads import HeadClassifier
from labkit.foundations.native import native_head
from labkit.report import Report
from labkit.tasks import Task, read_table, write_table
from labkit.world import World, corpus

RESULTS = Path("labkit/results/prediction.json")
LENGTH = 128  # tokens of a text at most, for both


def app_of(model: str, folder: Path, *, quantised: bool = False) -> Path:
    """An app of a new head on the model, which plain transformers loads too: speed does not ask what it learnt.

    "student" is as large as the pipeline's: micro-bert-en cut to 2 layers, 32 wide.
    """
    base, labels = labkit.load_model("micro-bert-en" if model == "student" else model), ("bad", "good")
    body = shrink(base.model, layers=2, hidden=32) if model == "student" else base.model
    head = native_head(body, "sequence", labels, seed=0).eval()
    if quantised:
        int8.apply(head)
    task = Task("benchmark", ("text",), labels, {"train": [{"text": "a", "label": 0}]})
    return save_app(folder, head, base.tokenizer, HeadClassifier(base.tokenizer, ("text",), LENGTH), task)


def texts_of(rows: int, language: str) -> list[str]:
    """Texts of one to some twenty sentences, in random order."""
    rng, found = random.Random(0), corpus(World(seed=0), language, 2000, ["reviews", "news"])
    return [" ".join(rng.choices(found, k=rng.choice((1, 1, 1, 2, 4))))[: rng.randrange(20, 600)] for _ in range(rows)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="micro-bert-en")
    parser.add_argument("--rows", type=int, default=8000)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    report = opened(options.out)
    texts = texts_of(options.rows, "zh" if "zh" in options.model else "en")
    with tempfile.TemporaryDirectory() as work:
        folder = app_of(options.model, Path(work) / "app")
        write_table(Path(work) / "in.tsv", ([" ".join(text.split())] for text in texts), ["text"])
        app, plain = load_app(folder), pipeline("text-classification", str(folder), device="cpu")
        for turn in range(options.turns + 1):
            ours, labels = run_labkit(app, Path(work))
            theirs, given = run_pipeline(plain, Path(work))
            if turn:  # the first one warms up
                agree = statistics.mean(one == other for one, other in zip(labels, given, strict=True))
                add(report, options.model, turn, options.rows / ours, options.rows / theirs, agree)
    report.save(options.out)


def opened(path: Path) -> Report:
    """The rows that are there, of which those of the same model are replaced, and the commands that made them."""
    report = Report.load(path) if path.is_file() else Report()
    command = " ".join(["python benchmarks/" + Path(sys.argv[0]).name, *sys.argv[1:]])
    known = report.command.split("; ") if report.command else []
    report.command = "; ".join(dict.fromkeys([*known, command]))
    return report


def run_labkit(app, work: Path) -> tuple[float, list[str]]:
    """Seconds, and the labels."""
    start = time.perf_counter()
    predict_table(app, work / "in.tsv", work / "out.tsv", replace=True)
    seconds = time.perf_counter() - start
    return seconds, [row["predictions"] for row in read_table(work / "out.tsv").rows]


def run_pipeline(plain, work: Path) -> tuple[float, list[str]]:
    """Seconds, and the labels."""
    texts = [row["text"] for row in read_table(work / "in.tsv").rows]
    start = time.perf_counter()
    found = plain(texts, batch_size=32, truncation=True, max_length=LENGTH)
    return time.perf_counter() - start, [one["label"] for one in found]


def add(report: Report, model: str, turn: int, ours: float, theirs: float, agree: float) -> None:
    """The rows of one turn."""
    for method, rate in (("labkit predict", ours), ("transformers.pipeline", theirs)):
        report.add(method, model, rate, seed=turn, metric="rows/s")
        report.add(method, model, rate / theirs, seed=turn, metric="rows/s, × pipeline")
    report.add("labkit predict", model, agree, seed=turn, metric="labels that agree")
    print(
        f"{model}, turn {turn}: {ours:.0f} and {theirs:.0f} rows/s, {ours / theirs:.2f} ×, {agree:.4f} agree",
        flush=True,
    )


if __name__ == "__main__":
    main()
