"""The foundations, measured, on one core.

    python benchmarks/foundations.py             both of:
    python benchmarks/foundations.py word2vec    -> word2vec.json in labkit/results/
    python benchmarks/foundations.py decoding    -> decoding_speed.json
    python benchmarks/foundations.py quality     -> decoding.json
    python benchmarks/foundations.py quality --model gemma-270m --data DIR --texts 24    on the text of DIR/sst2

word2vec: side by side in one run and in turns, the speed of training with each output layer, here and in gensim
(skip-gram and CBOW; same text, dimension, window, negatives, threshold, a thread each). Words are those that
sub-sampling leaves, whose share differs a little: gensim has the authors' program's formula, labkit the paper's. And
of how many of the nearest words have the word's own type, for counts and for predictions, on three worlds.

decoding: tokens per second beside `transformers.generate`, the same tokens from the same prompts in turns. quality: how
text changes with temperature, k and p; each text goes on from a real text's first words.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import decoding
import numpy as np
import torch
from decoding import timed

from labkit.foundations.words import (
    Vocabulary,
    Word2VecSettings,
    cooccurrence,
    keep_probability,
    ppmi,
    same_kind,
    train_word2vec,
    truncated_svd,
)
from labkit.report import Report
from labkit.world import World, corpus
from labkit.world.names import words_of_one_type

FOLDER = Path("labkit/results")
DOCUMENTS, FEW, SEEDS, TURNS = 10_000, 400, 3, 3  # few: for the full softmax, which is slow
SPEED = {"dimension": 100, "window": 5, "epochs": 1}
QUALITY = {"dimension": 50, "window": 2, "epochs": 4, "lr": 0.05}
NAMES = {"full": "full softmax", "hierarchical": "hierarchical softmax", "negative": "negative sampling"}
SPEED_METRIC, QUALITY_METRIC = "words per second", "same type"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="?", choices=["word2vec", "decoding", "quality"])
    parser.add_argument("--model", default="mini-gpt-en", help="of quality")
    parser.add_argument("--data", type=Path, help="folder of real data sets, for quality on real text")
    parser.add_argument("--texts", type=int, default=100, help="of quality")
    options = parser.parse_args()
    if options.part == "quality":
        decoding.quality(options.model, options.data, options.texts)
    if options.part in (None, "word2vec"):
        word2vec()
    if options.part in (None, "decoding"):
        decoding.speed()


def word2vec() -> None:
    torch.set_num_threads(1)
    report = Report(command="python benchmarks/foundations.py word2vec", title="Word vectors, one thread")
    for turn in range(TURNS):
        speeds(report, turn)
    for seed in range(SEEDS):
        qualities(report, seed)
    report.save(FOLDER / "word2vec.json")
    print(report.table(metric=SPEED_METRIC), report.table(metric=QUALITY_METRIC), sep="\n\n")


def speeds(report: Report, turn: int) -> None:
    """One turn: each way once, on the same text."""
    texts = corpus(World(), "en", DOCUMENTS)
    for method in ("skip-gram", "cbow"):
        for output, name in NAMES.items():
            some = texts
            settings = Word2VecSettings(method=method, output=output, seed=turn, **SPEED)
            if output == "full":  # few texts, but the table of all words
                some = [
                    *texts[:FEW],
                    *([" ".join(Vocabulary.of(texts, settings.min_count).words)] * settings.min_count),
                ]
            read = Vocabulary.of(some, settings.min_count).counts
            words = float(keep_probability(read) @ read)
            seconds = timed(lambda some=some, settings=settings: train_word2vec(some, settings, progress=False))
            add(report, f"{method}, {name}", words / seconds, turn)
        for hs in (1, 0):
            words, seconds, _ = gensim(texts, method == "skip-gram", hs, turn, **SPEED)
            name = NAMES["hierarchical" if hs else "negative"]
            add(report, f"{method}, {name}, gensim", words / seconds, turn)


def add(report: Report, method: str, speed: float, turn: int) -> None:
    report.add(method, "speed", speed, seed=turn, metric=SPEED_METRIC)
    print(f"{method:<46} {speed:12,.0f} {SPEED_METRIC}", flush=True)


def gensim(
    texts: Sequence[str],
    skip_gram: bool,
    hs: int,
    seed: int,
    dimension: int,
    window: int,
    epochs: int,
    lr: float = 0.025,
) -> tuple[int, float, dict[str, np.ndarray]]:
    """Words trained, seconds (the vocabulary's counting included, as here), vectors."""
    from gensim.models import Word2Vec

    began = time.perf_counter()
    sentences = [text.split() for text in texts]
    model = Word2Vec(
        vector_size=dimension, window=window, min_count=5, negative=0 if hs else 5, hs=hs, sg=int(skip_gram), alpha=lr,
        min_alpha=lr * 1e-4, workers=1, seed=seed, sample=1e-3,
    )  # fmt: skip
    model.build_vocab(sentences)
    words, _ = model.train(sentences, total_examples=len(sentences), epochs=epochs)
    return words, time.perf_counter() - began, {word: model.wv[word] for word in model.wv.index_to_key}


def qualities(report: Report, seed: int) -> None:
    """The share of neighbours of a word's own type, in a world of its own."""
    texts, types = corpus(World(seed=seed), "en", DOCUMENTS), words_of_one_type("en")
    vocabulary = Vocabulary.of(texts, 5)
    counts = cooccurrence(texts, vocabulary, QUALITY["window"])
    weights = ppmi(counts)
    found = {
        "random vectors": torch.randn(len(counts), 50, generator=torch.Generator().manual_seed(seed)),
        "counts": counts, "PPMI": weights, "SVD of PPMI": truncated_svd(weights, QUALITY["dimension"]),
    }  # fmt: skip
    for method in ("cbow", "skip-gram"):
        for output in ("negative", "hierarchical"):
            settings = Word2VecSettings(method=method, output=output, seed=seed, **QUALITY)
            found[f"{method}, {NAMES[output]}"] = train_word2vec(texts, settings, progress=False).vectors
        vectors = gensim(texts, method == "skip-gram", 0, seed, **QUALITY)[2]
        found[f"{method}, {NAMES['negative']}, gensim"] = torch.from_numpy(
            np.stack([vectors[w] for w in vocabulary.words])
        )
    kinds = [types.get(word) for word in vocabulary.words]
    for method, vectors in found.items():
        value = same_kind(vectors, kinds)
        report.add(method, "five nearest words", value, seed=seed, metric=QUALITY_METRIC)
        print(f"world {seed}  {method:<40} {100 * value:.1f} %", flush=True)


if __name__ == "__main__":
    main()
