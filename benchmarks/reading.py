"""One body, many heads: readers, choices, one text format for all; features against fine-tuning.

    python benchmarks/reading.py            every row that is missing  -> labkit/results/finetuning.json
    python benchmarks/reading.py --seconds 160    no new training after so long; run again to go on
    python benchmarks/reading.py --tune     how the rates of features and fine-tuning were chosen

Readers: BiDAF (Seo et al. 2017) on mini-bert-en's embeddings, a span head on mini-bert-en, the same with marks at the
words that the question has too (Chen et al. 2017), and an encoder-decoder that starts from mini-bert-en twice and is
trained on spans, choices and yes-or-no questions at once, in UnifiedQA's format. Every passage is cut to SENTENCES
sentences of the world's reading task, the answer's own and others. "knows the kind alone" is who picks at random among
the names that the question may mean, and says yes where the name is of the kind that is asked for. With seed 0 the
span head without marks is also trained five times as long. "in_passage" is the share of written answers that stand in
the passage; the runs of seeds 0 and 1 were before it was counted.

Features against fine-tuning: a linear head on the frozen body's last states ("last layer"), on a learned mix of all
layers ("mix of layers", ELMo), and with the body trained too, for three kinds of answer and SIZES of training rows.
Their rates, and BiDAF's, were chosen on the dev split with another seed, at 1000 rows.

With --real-data, ATIS (Hemphill et al. 1990): a class for the intent and a tag per word for the slots, 4478 rows of
training, scored on its 893 of test; "each word's most frequent tag" and "the most frequent class" are of training.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from few_shot_runs import opened
from seqeval.metrics import f1_score

from labkit.evaluation import answers, evaluate
from labkit.foundations.finetuning.bidaf import bidaf
from labkit.foundations.finetuning.choice import Choice
from labkit.foundations.finetuning.features import Features
from labkit.foundations.finetuning.marked import Marked
from labkit.foundations.finetuning.questions import FORMS, as_form, names_in
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
LONGER = 5  # times as many steps
MIXED = ("span", "choice", "yes or no")
SCORES = {"span": ("exact_match", "f1"), "tags": ("f1",), "class": ("accuracy",)}  # of a kind of answer
SIZES, STEPS = (16, 128, 1000), {"class": 60, "tags": 60, "span": 100}
READERS = {"BERT, span head": (200, 2e-3), "BERT, span head, words marked": (200, 2e-3), "BiDAF": (300, 4e-3)}
WAYS = {"last layer": (0.1, 0.03, 0.03), "mix of layers": (0.1, 0.03, 0.03), "fine-tuned": (2e-3, 2e-3, 2e-3)}
RATES = ((3e-3, 1e-2, 3e-2, 1e-1), (5e-4, 1e-3, 2e-3, 4e-3))  # of a head alone, of a body: the best are used


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
        key = (method, task.name, SCORES[task.answer][0], seed)
        return time.monotonic() < self.end and key not in {row.key for row in self.report.rows}

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
        kept = {name: scores[name] for name in SCORES[task.answer]}
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
    parser.add_argument("--real-data", type=Path)
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
    if options.real_data:
        atis(bench, options.real_data / "atis")
    steps, lr = READERS["BERT, span head"]
    bench.run(f"BERT, span head, {LONGER} times as long", bench.tasks["span"], 0,
              lambda: reader(bench, "BERT, span head", 0), steps=LONGER * steps, lr=lr)  # fmt: skip


def guesses(bench: Bench) -> None:
    """What is right by the kind of thing that is asked for alone, computed, not drawn."""
    name = "knows the kind alone"
    for form, metric in (("span", "exact_match"), ("choice", "accuracy")):
        if bench.missing(name, bench.tasks[form], 0):
            rows = bench.tasks[form].splits["test"]
            bench.add(name, bench.tasks[form], 0, {metric: float(np.mean([1 / row["alike"] for row in rows]))})
    if bench.missing(name, task := bench.tasks["yes or no"], 0):
        right = []
        for row in task.splits["test"]:
            kinds, said = names_in(row["text"]), row["question"].removesuffix(" ?").rpartition("? ")[2]
            right.append((kinds[said] == kinds[row["answer"]]) == row["label"])
        bench.add(name, task, 0, {"accuracy": float(np.mean(right))})


def readers(bench: Bench, seed: int) -> None:
    """Three models that point at an answer."""
    for name, (steps, lr) in READERS.items():
        bench.run(name, bench.tasks["span"], seed, lambda name=name: reader(bench, name, seed), steps=steps, lr=lr)


def reader(bench: Bench, name: str, seed: int) -> tuple[Any, Any]:
    """The model of that name, and its method."""
    own = Reader(bench.tokenizer, max_length=128, unanswerable=False, max_answer_length=8)
    if name == "BiDAF":
        return bidaf(len(bench.tokenizer), embeddings=bench.body.get_input_embeddings().weight, seed=seed), own
    return native_head(bench.body, "span", seed=seed), Marked(own) if "marked" in name else own


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
    seconds = trained(model, own, [row for form in MIXED for row in written[form]["train"]], seed,
                      steps=400, lr=1e-3)  # fmt: skip
    for form in MIXED:
        rows = written[form]["test"]
        said = [one[0] for one in answers(model, own, rows, progress=False)]
        if form == "span":
            pairs = [(row["label"], one) for row, one in zip(rows, said, strict=True)]
            texts = [row["text"] for row in bench.tasks[form].splits["test"]]
            scores = {"exact_match": np.mean([exact_match(*one) for one in pairs]),
                      "f1": np.mean([answer_f1(*one) for one in pairs]),
                      "in_passage": np.mean([one in text for one, text in zip(said, texts, strict=True)])}  # fmt: skip
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
            for way, rates in WAYS.items():
                lr = rates[list(STEPS).index(form)]
                bench.run(way, some, seed, lambda way=way, task=task: headed(bench, task, way, seed),
                          {"form": form, "rows": size}, steps=STEPS[form], lr=lr)  # fmt: skip


def headed(bench: Bench, task: Task, way: str, seed: int) -> tuple[Any, Any]:
    """A head for that task on a body that is used that way, and the method."""
    tokenizer, labels = bench.tokenizer, task.labels
    if task.answer == "class":
        model, own = add_head(bench.body, labels, "mean", seed=seed), HeadClassifier(tokenizer, task.fields)
    elif task.answer == "tags":
        model, own = native_head(bench.body, "token", labels, seed=seed), Tagger(tokenizer, labels)
    else:
        model, own = reader(bench, "BERT, span head, words marked", seed)
    layer = {"last layer": -1, "mix of layers": None}
    return (Features(layer[way]).apply(model) if way in layer else model), own


def tune(bench: Bench) -> None:
    """Scores on the dev split after all rows, seed 10, at every rate that was tried."""
    for form in STEPS:
        task = bench.tasks[form]
        task = replace(task, splits={**task.splits, "test": task.splits["dev"][:200]})
        tried = dict.fromkeys(WAYS, STEPS[form])
        if form == "span":
            tried["BiDAF"] = READERS["BiDAF"][0]
        for way, steps in tried.items():
            for lr in RATES[way not in ("last layer", "mix of layers")]:
                model, own = reader(bench, way, 10) if way == "BiDAF" else headed(bench, task, way, 10)
                trained(model, own, task.splits["train"], 10, steps=steps, lr=lr)
                print(form, way, lr, evaluate(model, own, task, progress=False), flush=True)


def atis(bench: Bench, folder: Path) -> None:
    """Intents and slots of what people asked about flights."""
    tasks = (atis_task(folder, "atis, intents", "label"), atis_task(folder, "atis, slots", "seq.out"))
    for task, name, scored in zip(tasks, ("the most frequent class", "each word's most frequent tag"),
                                  (frequent_class, frequent_tags), strict=True):  # fmt: skip
        if bench.missing(name, task, 0):
            bench.add(name, task, 0, scored(task))
        for way, rates in WAYS.items():
            lr = rates[task.answer == "tags"]
            bench.run(way, task, 0, lambda way=way, task=task: headed(bench, task, way, 0), steps=300, lr=lr)


def atis_task(folder: Path, name: str, told: str) -> Task:
    """The questions of a folder, with the lines of one of its files as labels: one for each text, or for each word."""
    tags, splits = told == "seq.out", {}
    for part in ("train", "test"):
        texts, lines = ((folder / part / file).read_text().splitlines() for file in ("seq.in", told))
        splits[part] = [(text.strip(), line.split()) for text, line in zip(texts, lines, strict=True)]
    used = {one for rows in splits.values() for _, some in rows for one in some}
    labels = sorted(used, key=lambda one: (one != "O", one))  # "O" is label 0
    rows = {part: [{"text": text, "label": [labels.index(one) for one in some]} for text, some in pairs]
            for part, pairs in splits.items()}  # fmt: skip
    if tags:
        return Task(name, ("text",), tuple(labels), rows, metric="f1", answer="tags")
    return Task(name, ("text",), tuple(labels), {part: [{**row, "label": row["label"][0]} for row in some]
                                                 for part, some in rows.items()})  # fmt: skip


def frequent_class(task: Task) -> dict[str, float]:
    """The accuracy of always giving the class that is most frequent in training."""
    best = Counter(row["label"] for row in task.splits["train"]).most_common(1)[0][0]
    return {"accuracy": float(np.mean([row["label"] == best for row in task.splits["test"]]))}


def frequent_tags(task: Task) -> dict[str, float]:
    """The F1 of giving each word the tag that it has most often in training, "O" where it has none there."""
    seen: dict[str, Counter[int]] = defaultdict(Counter)
    for row in task.splits["train"]:
        for word, tag in zip(row["text"].split(), row["label"], strict=True):
            seen[word][tag] += 1
    best = {word: some.most_common(1)[0][0] for word, some in seen.items()}
    rows = task.splits["test"]
    told = [[task.labels[tag] for tag in row["label"]] for row in rows]
    given = [[task.labels[best.get(word, 0)] for word in row["text"].split()] for row in rows]
    return {"f1": float(f1_score(told, given))}


if __name__ == "__main__":
    main()
