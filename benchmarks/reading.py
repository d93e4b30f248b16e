"""One body, many heads: readers, choices, one text format for all; features against fine-tuning.

    python benchmarks/reading.py            every row that is missing  -> labkit/results/finetuning.json
    python benchmarks/reading.py --seconds 160    no new training after so long; run again to go on
    python benchmarks/reading.py --tune     how the rates of features and fine-tuning were chosen

Readers: BiDAF (Seo et al. 2017) on mini-bert-en's embeddings, a span head on mini-bert-en, the same with marks at the
words that the question has too (Chen et al. 2017), and an encoder-decoder that starts from mini-bert-en twice and is
trained on spans, choices and yes-or-no questions at once, in UnifiedQA's format. Every passage is cut to SENTENCES
sentences of the world's reading task, the answer's own and others. "a name of the right kind" is who picks at random
among the names that the question may mean; "the likelier answer" is the majority of yes and no.

Features against fine-tuning: a linear head on the frozen body's last states ("last layer"), on a learned mix of all
layers ("mix of layers", ELMo), and with the body trained too, for three kinds of answer and SIZES of training rows.
Their rates were chosen on the dev split with another seed, at 1000 rows.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from few_shot_runs import known, opened

from labkit.evaluation import answers, evaluate
from labkit.foundations.finetuning.bidaf import bidaf
from labkit.foundations.finetuning.choice import Choice
from labkit.foundations.finetuning.features import Features
from labkit.foundations.finetuning.marked import Marked
from labkit.foundations.finetuning.questions import FORMS, as_form
from labkit.foundations.finetuning.text_to_text import nearest, to_text
from labkit.foundations.generation import Generation, encoder_decoder
from labkit.foundations.heads import HeadClassifier, add_head
from labkit.foundations.native import native_head
from labkit.foundations.reading import Reader, answer_f1, exact_match
from labkit.foundations.tagging import Tagger
from labkit.measure import parameters, trainable
from labkit.tasks import Task, load_task
from labkit.training import Batches, fit
from labkit.zoo import load

RESULTS = Path("labkit/results/finetuning.json")
MODEL, SEEDS, SENTENCES, TEST = "mini-bert-en", 3, 3, 300
MIXED = ("span", "choice", "yes or no")
SIZES, STEPS = (16, 128, 1000), {"class": 60, "tags": 60, "span": 100}
WAYS = {"last layer": 3e-2, "mix of layers": 3e-2, "fine-tuned": 2e-3}  # learning rates, by `tune`
RATES = ((3e-3, 1e-2, 3e-2, 1e-1), (5e-4, 1e-3, 2e-3, 4e-3))  # of a head alone, with the body


class Bench:
    """The report, the body, the world's reading task in every form."""

    def __init__(self, seconds: float) -> None:
        self.report = opened(RESULTS, "python benchmarks/reading.py")
        self.body, self.tokenizer = load(MODEL)
        reading = load_task("world/reading")
        self.tasks = {form: _cut(as_form(reading, form, sentences=SENTENCES)) for form in FORMS}
        self.end = time.monotonic() + seconds

    def missing(self, method: str, task: Task, seed: int) -> bool:
        """Whether this row is to be measured now."""
        metric = "exact_match" if task.answer == "span" else task.metric
        return time.monotonic() < self.end and not known(self.report, method, replace(task, metric=metric), seed)

    def add(self, method: str, task: Task, seed: int, scores: dict[str, float], model: Any = None, **more: Any) -> None:
        """A row for each score, written at once."""
        costs = {} if model is None else {"trainable": trainable(model), "parameters": parameters(model)}
        for metric, value in scores.items():
            self.report.add(method, replace(task, metric="accuracy"), value, seed=seed, metric=metric, **costs, **more)
        self.report.save(RESULTS)
        print(
            f"{task.name:<32} seed {seed}  {method:<40}",
            {name: round(100 * one, 1) for name, one in scores.items()},
            flush=True,
        )

    def run(
        self, method: str, task: Task, seed: int, made: Callable[[], tuple[Any, Any]],
        more: dict[str, Any] | None = None, **training: Any,
    ) -> None:  # fmt: skip
        """Train what `made` makes, (model, method), and score it on the task; `more` are further columns."""
        if not self.missing(method, task, seed):
            return
        model, own = made()
        seconds = trained(model, own, task.splits["train"], seed, **training)
        scores = evaluate(model, own, task, progress=False)
        kept = {name: scores[name] for name in ("exact_match", "f1", "accuracy") if name in scores}
        kept.pop("accuracy", None) if task.answer == "tags" else None
        self.add(method, task, seed, kept, model, seconds=seconds, **(more or {}))


def trained(model: Any, own: Any, rows: Any, seed: int, *, steps: int, lr: float, batch: int = 16) -> float:
    """Seconds of training."""
    began = time.perf_counter()
    fit(model, own.loss, Batches(rows, own.collate, batch, seed=seed), steps=steps, lr=lr, seed=seed, progress=False)
    return time.perf_counter() - began


def _cut(task: Task) -> Task:
    return replace(task, splits={**task.splits, "test": task.splits["test"][:TEST]})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--tune", action="store_true")
    options = parser.parse_args()
    bench = Bench(options.seconds)
    if options.tune:
        tune(bench)
        return
    guesses(bench)
    for seed in range(SEEDS):
        readers(bench, seed)
        choices(bench, seed)
        text_to_text(bench, seed)
        features(bench, seed)
    print(bench.report.table())


def guesses(bench: Bench) -> None:
    """What is right without reading, computed, not drawn."""
    for form in ("span", "choice"):
        task = bench.tasks[form]
        if bench.missing("a name of the right kind", task, 0):
            value = float(np.mean([1 / row["alike"] for row in task.splits["test"]]))
            bench.add("a name of the right kind", task, 0, {"exact_match" if form == "span" else "accuracy": value})
    task = bench.tasks["yes or no"]
    if bench.missing("the likelier answer", task, 0):
        yes = float(np.mean([row["label"] for row in task.splits["test"]]))
        bench.add("the likelier answer", task, 0, {"accuracy": max(yes, 1 - yes)})


def readers(bench: Bench, seed: int) -> None:
    """Three models that point at an answer."""
    task, tokenizer = bench.tasks["span"], bench.tokenizer
    own = Reader(tokenizer, max_length=128, unanswerable=False, max_answer_length=8)
    table = bench.body.get_input_embeddings().weight
    bench.run(
        "BiDAF", task, seed, lambda: (bidaf(len(tokenizer), embeddings=table, seed=seed), own), steps=300, lr=3e-3
    )
    for name, how in (("BERT, span head", own), ("BERT, span head, words marked", Marked(own))):
        bench.run(
            name, task, seed, lambda how=how: (native_head(bench.body, "span", seed=seed), how), steps=200, lr=1e-3
        )


def choices(bench: Bench, seed: int) -> None:
    """One score an option, and a class of text and question."""
    tokenizer, task = bench.tokenizer, bench.tasks["choice"]
    for name, how in (("BERT, a score an option", Choice(tokenizer)),
                      ("BERT, a score an option, words marked", Marked(Choice(tokenizer)))):  # fmt: skip
        bench.run(name, task, seed, lambda how=how: (native_head(bench.body, "sequence", num_labels=1, seed=seed), how),
                  steps=120, lr=1e-3, batch=8)  # fmt: skip
    own, task = Marked(HeadClassifier(tokenizer, ("text", "question"))), bench.tasks["yes or no"]
    bench.run("BERT, two classes, words marked", task, seed,
              lambda: (add_head(bench.body, 2, "mean", seed=seed), own), steps=120, lr=1e-3)  # fmt: skip


def text_to_text(bench: Bench, seed: int) -> None:
    """One model that writes the answers to all three kinds of question."""
    name = "text to text, one model for all"
    if not bench.missing(name, bench.tasks["yes or no"], seed):
        return
    model = encoder_decoder(bench.body, bench.tokenizer, seed=seed)
    own = Generation.of(model, bench.tokenizer, ("text",), max_encoder_length=128, max_decoder_length=8, num_beams=1)
    written = {form: {split: [to_text(row, FORMS[form][1]) for row in bench.tasks[form].splits[split]]
                      for split in ("train", "test")} for form in MIXED}  # fmt: skip
    seconds = trained(model, own, [row for form in MIXED for row in written[form]["train"]], seed, steps=400, lr=1e-3)
    for form in MIXED:
        rows = written[form]["test"]
        said = [one[0] for one in answers(model, own, rows, progress=False)]
        if form == "span":
            pairs = [(row["label"], one) for row, one in zip(rows, said, strict=True)]
            scores = {"exact_match": np.mean([exact_match(*one) for one in pairs]),
                      "f1": np.mean([answer_f1(*one) for one in pairs])}  # fmt: skip
        else:
            options = [row.get("options", FORMS[form][1]) for row in rows]
            right = [
                some[nearest(one, some)] == row["label"] for row, some, one in zip(rows, options, said, strict=True)
            ]
            scores = {"accuracy": np.mean(right)}
        bench.add(
            name, bench.tasks[form], seed, {key: float(one) for key, one in scores.items()}, model, seconds=seconds
        )


def features(bench: Bench, seed: int) -> None:
    """Three kinds of head on a frozen body and on one that learns, from few rows and from many."""
    for form in STEPS:
        task = bench.tasks[form]
        order = np.random.default_rng(seed).permutation(len(task.splits["train"]))
        for size in SIZES:
            rows = [task.splits["train"][at] for at in order[:size]]
            some = replace(task, name=f"{task.name}, {size} rows", splits={**task.splits, "train": rows})
            for way, lr in WAYS.items():
                bench.run(way, some, seed, lambda way=way, form=form: headed(bench, form, way, seed),
                          {"form": form, "rows": size}, steps=STEPS[form], lr=lr)  # fmt: skip


def headed(bench: Bench, form: str, way: str, seed: int) -> tuple[Any, Any]:
    """A head for that form on a body that is used that way, and the method."""
    tokenizer, labels = bench.tokenizer, bench.tasks[form].labels
    if form == "class":
        model, own = add_head(bench.body, labels, "mean", seed=seed), HeadClassifier(tokenizer, ("question",))
    elif form == "tags":
        model, own = native_head(bench.body, "token", labels, seed=seed), Tagger(tokenizer, labels)
    else:
        reader = Reader(tokenizer, max_length=128, unanswerable=False, max_answer_length=8)
        model, own = native_head(bench.body, "span", seed=seed), Marked(reader)
    layer = {"last layer": -1, "mix of layers": None}
    return (Features(layer[way]).apply(model) if way in layer else model), own


def tune(bench: Bench) -> None:
    """Scores on the dev split after all rows, seed 10, at every rate that was tried."""
    for form in STEPS:
        task = bench.tasks[form]
        task = replace(task, splits={**task.splits, "test": task.splits["dev"][:200]})
        for way, lr in [(one, lr) for one in WAYS for lr in RATES[one == "fine-tuned"]]:
            model, own = headed(bench, form, way, 10)
            trained(model, own, task.splits["train"], 10, steps=STEPS[form], lr=lr)
            print(form, way, lr, evaluate(model, own, task, progress=False), flush=True)


if __name__ == "__main__":
    main()
