"""What readers of sequences can do: how far a gradient reaches, text classification, next words, Shakespeare.

    python benchmarks/sequences.py                          everything that is not there yet, 3 seeds
    python benchmarks/sequences.py --parts reach recall     labkit/results/sequences_reach.json
    python benchmarks/sequences.py --parts classify words   labkit/results/sequences.json
    python benchmarks/sequences.py --parts shakespeare --real-data DIR

reach: before training, the gradient of the last state (in a random direction) with respect to a word's vector so many
words before, as a share of that of the last word's: log10 of the geometric mean over 64 texts of random vectors,
64 units. recall: after 300 steps, how often the last state tells which of four words a text began with, so many random
words before; guessing is 25 %.

classify: two tasks of the world, all their training rows, 400 steps of 64 rows; the test accuracy at that of the eight
looks, one every 50 steps, whose dev accuracy is best. words: perplexity on 300 texts of the world that nobody was
trained on, of models that read 9 600 others three times (900 steps of 32 texts); the counts of the unigram and the
bigram are of the same 9 600; one seed. shakespeare: bits per character on the last 50 000 characters, an LSTM of 256
units after 1 200 steps of 32 passages of 64 characters, which then reads 500 at a time, and a GPT of mini-gpt-en's size
after as many of 16 passages of 128, the most that it can read; counts of the same 1 000 000 characters; one seed.

A bigram is smoothed by its unigram, p(b|a) = (n(ab) + k p(b)) / (n(a) + k), the unigram by one more of each; k is the
best of a few on the last tenth of the training text.
"""

from __future__ import annotations

import argparse
import functools
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from labkit.evaluation import answers, evaluate
from labkit.foundations.heads import HeadClassifier
from labkit.foundations.language import LanguageModel
from labkit.foundations.pretraining import micro_model
from labkit.foundations.sequences.classifier import classifier
from labkit.foundations.sequences.language_model import character_tokenizer, language_model, passages
from labkit.foundations.sequences.recurrent import Recurrent
from labkit.measure import parameters
from labkit.report import Report
from labkit.tasks import load_task
from labkit.training import Batches, fit
from labkit.world import World, corpus
from labkit.zoo.recipes import recipe
from labkit.zoo.tokenizer import build_tokenizer

RESULTS = Path("labkit/results")
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "RNN": ("rnn", {}), "GRU": ("gru", {}), "LSTM": ("lstm", {}),
    "LSTM with forget bias 1": ("lstm", {"forget_bias": 1.0}),
    "LSTM with forget bias 3": ("lstm", {"forget_bias": 3.0}),
}  # fmt: skip
READERS = {
    "bag of vectors": ("bag", {}), "TextCNN": ("cnn", {}), "BiGRU": ("gru", {"bidirectional": True}),
    "BiLSTM": ("lstm", {"bidirectional": True}),
}  # fmt: skip
REACH, RECALL, SIZE = (1, 5, 10, 20, 40, 80), (5, 10, 20, 40, 80), 64
FIRST, VOCABULARY = 4, 24  # words that a text may begin with, and all
TASKS, RATES = ("world/mr", "world/subj"), {"bag": 2e-2}
PARTS = ("reach", "recall", "classify", "words", "shakespeare")
Row = tuple[str, str, int]  # method, task, seed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=math.inf, help="begin nothing after so long; run it again")
    parser.add_argument("--real-data", type=Path, default=Path("../shared/data"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    end = time.monotonic() + options.seconds
    for part in options.parts:
        name = "sequences_reach" if part in ("reach", "recall") else "sequences"
        path = RESULTS / f"{name}.json"
        report = Report.load(path) if path.exists() else Report()
        report.command = "python benchmarks/sequences.py" + " --parts reach recall" * name.endswith("reach")
        report.title = "How far back a reader's gradient reaches" if name.endswith("reach") else "Readers of sequences"
        there = {(row.method, row.task, row.seed) for row in report.rows}

        def add(row: Row, measure: Callable[[], dict[str, Any]], report: Any = report, there: Any = there,
                path: Path = path) -> None:  # fmt: skip
            """Measure what is not there yet."""
            if row in there or time.monotonic() > end:
                return
            found = measure()
            report.add(row[0], row[1], seed=row[2], **found)
            report.save(path)
            print(time.strftime("%H:%M:%S"), *row, found, flush=True)

        for seed in range(options.seeds):
            {"reach": reach, "recall": recall, "classify": classify, "words": words,
             "shakespeare": lambda add, seed: shakespeare(add, seed, options.real_data)}[part](add, seed)  # fmt: skip


# How far back


def reach(add: Callable[..., None], seed: int) -> None:
    """Rows "KIND, d words" of the untrained layers."""
    for name, (kind, options) in KINDS.items():
        for distance in REACH:
            row = (f"{name}, {distance} words", "an untrained layer", seed)
            add(row, functools.partial(gradient, kind, options, distance, seed))


def gradient(kind: str, options: dict[str, Any], distance: int, seed: int) -> dict[str, Any]:
    """log10 of the norm at `distance` words before the last one, over that at the last one."""
    torch.manual_seed(seed)
    layer, x = Recurrent(kind, SIZE, SIZE, **options), torch.randn(64, distance + 1, SIZE, requires_grad=True)
    _, last = layer(x)
    direction = F.normalize(torch.randn(64, SIZE), dim=1)
    (found,) = torch.autograd.grad((last * direction).sum(), x)
    norms = found.double().norm(dim=-1).clamp(min=1e-300).log10().mean(0)  # (distance + 1,)
    return {"metric": "log10 gradient", "value": float(norms[0] - norms[-1]), "words": distance}


def recall(add: Callable[..., None], seed: int) -> None:
    """Rows "KIND, d words" of trained classifiers."""
    for name, (kind, options) in KINDS.items():
        for distance in RECALL:
            row = (f"{name}, {distance} words", "the first word", seed)
            add(row, functools.partial(recalled, kind, options, distance, seed))


def recalled(kind: str, options: dict[str, Any], distance: int, seed: int) -> dict[str, Any]:
    """The share of new texts of which the trained model tells the first word."""
    rng = np.random.default_rng((seed, distance))

    def texts(rows: Sequence[Any], rng: np.random.Generator) -> dict[str, torch.Tensor]:
        first = rng.integers(FIRST, size=(len(rows), 1))
        ids = np.concatenate([first, rng.integers(FIRST, VOCABULARY, size=(len(rows), distance))], 1)
        return {"input_ids": torch.from_numpy(ids), "labels": torch.from_numpy(first[:, 0])}

    def loss(model: Any, batch: Any) -> torch.Tensor:
        return F.cross_entropy(model(batch["input_ids"]).logits, batch["labels"])

    model = classifier(kind, VOCABULARY, [str(n) for n in range(FIRST)], seed=seed, **options)
    fit(model, loss, Batches(range(32), texts, 32, seed=seed), steps=300, lr=3e-3, progress=False)
    test = texts(range(1000), rng)
    with torch.no_grad():
        right = model(test["input_ids"]).logits.argmax(1) == test["labels"]
    return {"value": float(right.double().mean()), "words": distance}


# Classification


def classify(add: Callable[..., None], seed: int) -> None:
    for name in TASKS:
        for method in READERS:
            add((method, name, seed), functools.partial(classified, method, name, seed))


def classified(method: str, name: str, seed: int) -> dict[str, Any]:
    """Test accuracy at the best look."""
    reader, options = READERS[method]
    task, tokenizer = load_task(name), english()
    model = classifier(reader, len(tokenizer), task.labels, seed=seed, **options)
    how = HeadClassifier(tokenizer, task.fields, max_length=64)
    rows, looks = how.read(task.splits["train"]), []
    batches = Batches(rows, how.collate, 64, seed=seed, lengths=[len(row["text"]) for row in rows])

    def look(step: int, loss: float) -> None:
        if step % 50 == 0:
            looks.append([evaluate(model, how, task, split, progress=False)["accuracy"] for split in ("dev", "test")])

    rate = RATES.get(reader, 5e-3)
    history = fit(model, how.loss, batches, steps=400, lr=rate, seed=seed, on_step=look, progress=False)
    best = max(range(len(looks)), key=lambda at: (looks[at][0], -at))
    costs = {"parameters": parameters(model), "seconds": history.seconds, "step": 50 * (best + 1)}
    return {"value": looks[best][1], **costs}


# Language models


def words(add: Callable[..., None], seed: int) -> None:
    """The counts have no seed: one row of each."""
    task = "next word, world"
    for order, name in ((1, "unigram"), (2, "bigram")) if seed == 0 else ():
        add((name, task, 0), lambda order=order: counted(ids("corpus", 9600), ids("test", 300), order, len(english())))
    for name in ("RNN", "GRU", "LSTM"):
        add((name, task, seed), functools.partial(read, name, seed))


def read(name: str, seed: int) -> dict[str, Any]:
    """Perplexity of a model of 64 units that has read the texts three times."""
    tokenizer = english()
    model = language_model(len(tokenizer), KINDS[name][0], seed=seed)
    how = LanguageModel(tokenizer, causal=True, max_length=64)
    rows = [{"text": text} for text in english_texts()]
    batches = Batches(rows, how.collate, 32, seed=seed, lengths=[len(row["text"]) for row in rows])
    history = fit(model, how.loss, batches, steps=900, lr=1e-2, seed=seed, progress=False)
    test = [{"text": text} for text in english_texts("test", 300)]
    value = how.score(test, answers(model, how, test))["perplexity"]
    return {"metric": "perplexity", "value": value, "parameters": parameters(model), "seconds": history.seconds}


def shakespeare(add: Callable[..., None], seed: int, folder: Path) -> None:
    text = (folder / "tinyshakespeare" / "input.txt").read_text(encoding="utf-8")
    train, test, tokenizer = text[:1_000_000], text[-50_000:], character_tokenizer(text)
    task = "next character, Shakespeare"
    numbers = [[tokenizer(some)["input_ids"]] for some in (train, test)]
    for order, name in ((1, "unigram"), (2, "bigram")) if seed == 0 else ():
        add((name, task, 0), lambda order=order: bits(counted(*numbers, order, len(tokenizer))))
    add(("LSTM", task, seed), lambda: bits(recited("LSTM", train, test, tokenizer, seed)))
    add(("GPT", task, seed), lambda: bits(recited("GPT", train, test, tokenizer, seed)))


def recited(name: str, train: str, test: str, tokenizer: Any, seed: int) -> dict[str, Any]:
    """Perplexity of a character."""
    if name == "GPT":
        mini = recipe("mini-gpt-en")
        sizes = {"layers": mini.layers, "d": mini.hidden, "heads": mini.heads, "ffn": mini.ffn, "positions": 129}
        model, read, told = micro_model("gpt", tokenizer, seed=seed, **sizes), 128, 128
        options: dict[str, Any] = {"lr": mini.lr, "warmup": mini.warmup, "schedule": "onecycle"}
    else:
        model, read, told = language_model(len(tokenizer), "lstm", size=256, seed=seed), 64, 500
        options = {"lr": 5e-3}
    how = LanguageModel(tokenizer, causal=True, max_length=told + 1)
    batches = Batches(passages(train, read), how.collate, 2048 // read, seed=seed)
    history = fit(model, how.loss, batches, steps=1200, seed=seed, progress=False, **options)
    rows = passages(test, told)
    value = how.score(rows, answers(model, how, rows))["perplexity"]
    return {"metric": "perplexity", "value": value, "parameters": parameters(model), "seconds": history.seconds}


def bits(found: dict[str, Any]) -> dict[str, Any]:
    """Bits per character in place of perplexity."""
    return {**found, "metric": "bits per character", "value": math.log2(found["value"])}


def counted(train: Sequence[Sequence[int]], test: Sequence[Sequence[int]], order: int, size: int) -> dict[str, Any]:
    """Perplexity of the next token by counts; of each text the first is not asked for."""
    if len(train) == 1:  # one long text
        cut = len(train[0]) // 10
        inner, dev = [train[0][:-cut]], [train[0][-cut:]]
    else:
        inner, dev = train[: -len(train) // 10], train[-len(train) // 10 :]
    k = min((1, 3, 10, 30, 100, 300), key=lambda k: surprise(inner, dev, order, size, k))
    return {"metric": "perplexity", "value": math.exp(surprise(train, test, order, size, k)), "k": k}


def surprise(train: Sequence[Sequence[int]], test: Sequence[Sequence[int]], order: int, size: int, k: float) -> float:
    """Mean nats per token."""
    single = 1 + np.bincount(np.concatenate([text[1:] for text in train]), minlength=size)
    single = single / single.sum()  # (size,)
    before, after = (np.concatenate([np.asarray(text[part]) for text in train]) for part in (slice(-1), slice(1, None)))
    pairs, counts = np.unique(before * size + after, return_counts=True)
    known, total = dict(zip(pairs.tolist(), counts.tolist(), strict=True)), np.bincount(before, minlength=size)
    a, b = (np.concatenate([np.asarray(text[part]) for text in test]) for part in (slice(-1), slice(1, None)))
    if order == 1:
        return float(-np.log(single[b]).mean())
    seen = np.array([known.get(pair, 0) for pair in (a * size + b).tolist()])
    return float(-np.log((seen + k * single[b]) / (total[a] + k)).mean())


# The world's English


@functools.cache
def english_texts(part: str = "corpus", count: int = 9600) -> list[str]:
    return corpus(World(), "en", count, part=part)


@functools.cache
def english() -> Any:
    """The tokenizer of all words that stand there three times."""
    return build_tokenizer(english_texts())


def ids(part: str, count: int) -> list[list[int]]:
    """Texts as the models read them: with their marks, at most 64 tokens."""
    return english()(english_texts(part, count), truncation=True, max_length=64)["input_ids"]


if __name__ == "__main__":
    main()
