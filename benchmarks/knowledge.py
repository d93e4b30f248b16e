"""TransE on graphs of facts beside PyKEEN's, and labels by distant supervision before and after cleaning.

    python benchmarks/knowledge.py graphs DATA   UMLS, Nations, WN18RR: folders of DATA -> labkit/results/transe.json
    python benchmarks/knowledge.py world         the world's graph   -> labkit/results/transe_world.json
    python benchmarks/knowledge.py distant       texts of the world  -> labkit/results/distant.json

Every command makes the rows that are missing. Graphs: link prediction of the test triples, filtered, both ends, ties
at their mean rank. "PyKEEN" are rows of its TransE (Ali et al. 2021) with the same dimension, norm, margin, negatives,
batch, epochs, rate and optimizer, from other random numbers; they are made where the package can be imported.
"popularity" ranks by how often an entity stands at this end of the relation in training. Of WN18RR's test triples some
name an entity that no training triple has; they are ranked like all others. "native_of" are held-out facts of a
relation made of two others (where somebody's city of birth lies), "others" the world's other held-out facts.

Distant supervision: TEXTS texts of two facts, half of them built around a third one; labels of all relations, judged
by what the texts state. Each relation has a game of its own, against at most four times as many other texts.
"random" and "classifier, as many" keep as many labels of each relation as the game does.
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from few_shot_runs import opened

from labkit.knowledge.denoising import DenoiseSettings, denoise
from labkit.knowledge.distant import Label, judged, labelled, texts
from labkit.knowledge.graph import Splits, composed, read_splits, world_splits
from labkit.knowledge.linking import Linker
from labkit.knowledge.ranking import Popularity, evaluate_links
from labkit.knowledge.transe import TransESettings, train_transe
from labkit.world import World

RESULTS = Path("labkit/results")
METRICS = {"mrr": "MRR", "hits@1": "Hits@1", "hits@3": "Hits@3", "hits@10": "Hits@10"}
SEEDS, TEXTS, NOISE, DERIVED = 3, 1200, 0.5, "native_of"
SMALL = {"norm": 1, "margin": 2.0, "negatives": 4, "batch": 512, "epochs": 40, "lr": 0.02}
GRAPHS: dict[str, tuple[str, dict[str, Any], int]] = {  # name -> folder, settings, seeds
    "Nations": ("nations", SMALL, SEEDS),
    "UMLS": ("umls", SMALL, SEEDS),
    "WN18RR": ("wn18rr", {"norm": 1, "margin": 4.0, "negatives": 1, "batch": 4096, "epochs": 40, "lr": 0.02}, 1),
}
REAL, WORLD = ("transe", "graphs DATA"), ("transe_world", "world")  # a report's name, and the command that makes it
COLUMNS = {"nations": ("relation", "head", "tail")}


def graphs(folder: Path, chosen: list[str]) -> None:
    """UMLS and Nations on every seed, with PyKEEN where it is there; WN18RR once."""
    for name, (place, options, seeds) in GRAPHS.items():
        if name not in (chosen or GRAPHS):
            continue
        splits = read_splits(folder / place, COLUMNS.get(place, ("head", "relation", "tail")))
        for seed in range(seeds):
            settings = TransESettings(**options, seed=seed)
            measured(name, splits, settings)
            if name != "WN18RR" and importlib.util.find_spec("pykeen"):
                row(REAL, "TransE of PyKEEN", name, seed, lambda s=splits, own=settings: pykeen(s, own))


def world() -> None:
    """The world's graph: the held-out facts that follow from others, and the rest."""
    splits = composed(world_splits(), "born_in", "located_in", DERIVED)
    new = splits.test[:, 1] == splits.graph.relations.index(DERIVED)
    parts = {DERIVED: splits.test[new], "others": splits.test[~new]}
    trained = functools.cache(lambda seed: train_transe(splits.graph, TransESettings(seed=seed), progress=False))
    for name, facts in parts.items():
        for seed in range(SEEDS):
            row(WORLD, "TransE", name, seed, lambda s=seed, own=facts: evaluate_links(trained(s), own, splits.true))
        row(WORLD, "popularity", name, 0, lambda own=facts: evaluate_links(popularity(splits), own, splits.true))


def popularity(splits: Splits) -> Popularity:
    return Popularity(splits.graph.triples, len(splits.graph.entities), len(splits.graph.relations))


def measured(name: str, splits: Splits, settings: TransESettings) -> None:
    """TransE and popularity on one graph."""

    def trained() -> dict[str, float]:
        return evaluate_links(train_transe(splits.graph, settings, progress=False), splits.test, splits.true)

    row(REAL, "TransE", name, settings.seed, trained)
    row(REAL, "popularity", name, 0, lambda: evaluate_links(popularity(splits), splits.test, splits.true))


def distant() -> None:
    """Labels of three draws of texts, cleaned in five ways."""
    path, graph = RESULTS / "distant.json", world_splits().graph
    linker = Linker(graph, {name: [number] for number, name in enumerate(graph.entities)}, graph.degrees)
    for seed in range(SEEDS):
        report = opened(path, "python benchmarks/knowledge.py distant")
        if seed in {one.seed for one in report.rows}:
            continue
        given, other = labelled(texts(World(), "en", TEXTS, NOISE, seed), linker)
        kept: dict[str, list[Label]] = {}
        for relation in range(len(graph.relations)):
            mine, negative = ([one for one in some if one.fact[1] == relation] for some in (given, other))
            if mine:
                for way, labels in cleaned(mine, negative[: 4 * len(mine)], seed).items():
                    kept.setdefault(way, []).extend(labels)
        for way, labels in kept.items():
            scores = judged(labels, given)
            for metric, value in scores.items():
                report.add(way, "texts of the world", value, seed=seed, metric=metric, labels=len(labels))
            told = {key: round(100 * one, 1) for key, one in scores.items()}
            print(f"seed {seed} {way:<40} {len(labels):>6}", told, flush=True)
        report.save(path)


def cleaned(mine: list[Label], negative: list[Label], seed: int) -> dict[str, list[Label]]:
    """The labels of one relation that each way keeps."""
    before, after = denoise(mine, negative, DenoiseSettings(seed=seed))
    frozen = denoise(mine, negative, DenoiseSettings(seed=seed, discriminator_lr=0.0))[1]
    count = int((after > 0).sum())
    by_chance = np.random.default_rng(seed).permutation(len(mine))
    chosen = {
        "all labels": range(len(mine)),
        "random, as many": by_chance[:count],
        "classifier alone": np.flatnonzero(before > 0),
        "classifier, as many": np.argsort(-before)[:count],
        "game, discriminator not trained": np.flatnonzero(frozen > 0),
        "DSGAN": np.flatnonzero(after > 0),
    }
    return {way: [mine[at] for at in some] for way, some in chosen.items()}


def row(to: tuple[str, str], method: str, task: str, seed: int, made: Callable[[], dict[str, float]]) -> None:
    """A row for each metric, saved at once, unless it is there. `to` is the report's name and command."""
    path, command = RESULTS / f"{to[0]}.json", f"python benchmarks/knowledge.py {to[1]}"
    if (method, task, METRICS["mrr"], seed) in {one.key for one in opened(path, command).rows}:
        return
    scores = made()
    report = opened(path, command)  # another process may have added rows
    for key, metric in METRICS.items():
        report.add(method, task, scores[key], seed=seed, metric=metric)
    report.save(path)
    print(
        f"{task:<10} {method:<18} seed {seed} ", {key: round(100 * one, 1) for key, one in scores.items()}, flush=True
    )


def pykeen(splits: Splits, settings: TransESettings) -> dict[str, float]:
    """PyKEEN's TransE at the same settings, on the same three files."""
    from pykeen.pipeline import pipeline
    from pykeen.triples import TriplesFactory

    graph = splits.graph
    names = {kind: {name: number for number, name in enumerate(some)} for kind, some in
             (("entity_to_id", graph.entities), ("relation_to_id", graph.relations))}  # fmt: skip
    parts = [TriplesFactory.from_labeled_triples(np.array([graph.named(triple) for triple in some], str), **names)
             for some in (graph.triples, splits.test, splits.valid)]  # fmt: skip
    found = pipeline(
        training=parts[0], testing=parts[1], validation=parts[2],
        model="TransE", device="cpu", random_seed=settings.seed,
        model_kwargs={"embedding_dim": settings.dimension, "scoring_fct_norm": settings.norm},
        loss="marginranking", loss_kwargs={"margin": settings.margin},
        optimizer="adam", optimizer_kwargs={"lr": settings.lr},
        negative_sampler="basic",
        negative_sampler_kwargs={"num_negs_per_pos": settings.negatives, "filtered": True,
                                 "filterer": "python-set"},
        training_kwargs={"num_epochs": settings.epochs, "batch_size": settings.batch, "use_tqdm": False},
        evaluation_kwargs={"use_tqdm": False},
    )  # fmt: skip
    keys = {"mrr": "inverse_harmonic_mean_rank", **{f"hits@{k}": f"hits_at_{k}" for k in (1, 3, 10)}}
    return {name: found.get_metric(f"both.realistic.{key}") for name, key in keys.items()}


def main() -> None:
    """Make what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    real = commands.add_parser("graphs")
    real.add_argument("data", type=Path, metavar="DATA")
    real.add_argument("--only", nargs="*", choices=GRAPHS, default=[])
    commands.add_parser("world")
    commands.add_parser("distant")
    options = parser.parse_args()
    if options.command == "graphs":
        graphs(options.data, options.only)
    else:
        {"world": world, "distant": distant}[options.command]()


if __name__ == "__main__":
    main()
