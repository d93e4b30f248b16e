"""PET and what was built on it: Fuzzy-PET, ensembles with soft labels, iPET, self-training; and the choice of words.

    python benchmarks/pet_family.py methods   every method on three tasks, 4 shots       -> results/pet_family.json
    python benchmarks/pet_family.py words     random choices of label words              -> results/pet_words.json
    python benchmarks/pet_family.py tune      how the learning rates were chosen: dev split, another seed

Results are in labkit/; rows that are there already are kept, so an interrupted run goes on. All methods take the same
number of steps a model.
"""

from __future__ import annotations

import argparse
import copy
import functools
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from few_shot_runs import accuracy, known, opened

from labkit.fewshot.methods import Adapted, trained
from labkit.fewshot.pet import PET
from labkit.fewshot.pet.fuzzy import FuzzyPET
from labkit.fewshot.pet.self_training import Member, SoftTargets, ipet, self_training, soft_labels, with_targets
from labkit.foundations.heads import HeadClassifier, add_head
from labkit.report import Report
from labkit.tasks import Task, load_task
from labkit.world.settings import lexicon
from labkit.zoo import Loaded, load

RESULTS = Path("labkit/results")
STEPS, BATCH = 100, 16
CLASSIFIER_STEPS, CLASSIFIER_RATE = 300, 1e-3  # a head on thousands of soft labels: as benchmarks/world.py on all data
# task -> (model, learning rate of the head, learning rate of everything with a cloze), by `tune`.
TASKS = {
    "world/reviews": ("mini-bert-en", 3e-5, 3e-5),
    "world/news": ("mini-bert-en", 1e-3, 3e-5),
    "world/fewclue/eprstmt": ("mini-bert-zh", 3e-5, 3e-5),
}
SHOTS, RATES, TUNING_SEED = 4, (3e-5, 1e-4, 3e-4, 1e-3), 10
SETS, CHOICES = 3, 8
WORD_TASKS = {"world/reviews": 3, "world/news": 2}  # task -> words a class that a choice draws


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["methods", "words", "tune"])
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    {"methods": methods, "words": words, "tune": tune}[options.part](options.seeds)


# Training, one way for all


def cloze(base: Loaded, how: PET, rows: Any, seed: int, lr: float) -> Member:
    """A copy of the language model, trained as a cloze on `rows`."""
    model = copy.deepcopy(base.model)
    trained(Adapted(model, how), rows, steps=STEPS, lr=lr, seed=seed, progress=False)
    return Member(model, how)


def head(base: Loaded, task: Task, rows: Any, seed: int, lr: float, *, soft: bool = False) -> Member:
    """A fresh head over a copy of the language model's body, mean-pooled, trained on labels or on soft labels."""
    model = add_head(base.model, task.labels, pooling="mean", seed=seed)
    how: Any = HeadClassifier(base.tokenizer, task.fields)
    how, steps, size = (SoftTargets(how), CLASSIFIER_STEPS, 2 * BATCH) if soft else (how, STEPS, BATCH)
    trained(Adapted(model, how), rows, steps=steps, lr=lr, seed=seed, batch=size, progress=False)
    return Member(model, how)


def vote(members: list[Member], task: Task) -> float:
    """Accuracy of an ensemble's mean score."""
    rows = task.splits["test"]
    answers = soft_labels(members, rows, temperature=1.0).argmax(1)
    return float(np.mean(answers == [row["label"] for row in rows]))


# Every method


def methods(seeds: int) -> None:
    path = RESULTS / "pet_family.json"
    report = opened(path, f"python benchmarks/pet_family.py methods --seeds {seeds}")
    for name, (model, head_rate, rate) in TASKS.items():
        base, whole = load(model), load_task(name)
        for seed in range(seeds):
            one_seed(report, base, whole.few_shot(SHOTS, seed), seed, head_rate, rate)
            report.save(path)
    print(report.table())


def one_seed(report: Report, base: Loaded, task: Task, seed: int, head_rate: float, rate: float) -> None:
    """Every method on one draw of examples; PET's models are the ensemble's."""
    rows, unlabelled, classes = task.splits["train"], task.splits["unlabelled"], len(task.labels)

    def add(method: str, run: Callable[[], float]) -> None:
        if known(report, method, task, seed):
            return
        value = run()
        report.add(method, task, value, seed=seed)
        print(f"{task.name}  seed {seed}  {method:<24} {100 * value:.1f}", flush=True)

    trainers = [
        functools.partial(
            lambda how, some: cloze(base, how, some, seed, rate), PET.for_task(task, base.tokenizer, number)
        )
        for number in range(len(task.patterns))
    ]
    ensemble = functools.cache(lambda: [train(rows) for train in trainers])
    taught = functools.cache(lambda: ipet(trainers, rows, unlabelled, classes, seed=seed))

    def classifier(members: list[Member]) -> float:
        targets = with_targets(unlabelled, soft_labels(members, unlabelled))
        return accuracy(head(base, task, targets, seed, CLASSIFIER_RATE, soft=True), task)

    def fuzzy() -> float:
        return accuracy(cloze(base, FuzzyPET.for_task(task, base.tokenizer, 0, SETS), rows, seed, rate), task)

    add("fine-tune [mean]", lambda: accuracy(head(base, task, rows, seed, head_rate), task))
    add("PET", lambda: accuracy(ensemble()[0], task))
    add("Fuzzy-PET", fuzzy)
    add("PET ensemble", lambda: vote(ensemble(), task))
    add("ensemble → classifier", lambda: classifier(ensemble()))
    add("self-training", lambda: accuracy(self_training(trainers[0], rows, unlabelled, classes), task))
    add("iPET → classifier", lambda: classifier(taught()))


# The choice of words


def words(seeds: int) -> None:
    """Random label words: PET with one word a class, PET with the sum of several, Fuzzy-PET with as many sets."""
    path = RESULTS / "pet_words.json"
    report = opened(path, f"python benchmarks/pet_family.py words --seeds {seeds}")
    for name, count in WORD_TASKS.items():
        model, _, rate = TASKS[name]
        base, whole = load(model), load_task(name)
        for draw in range(seeds):
            task = whole.few_shot(SHOTS, draw)
            for choice in range(CHOICES):
                rng = random.Random(f"{draw}-{choice}")
                drawn = {label: rng.sample(pool(whole, label), count) for label in whole.labels}
                one_choice(report, base, replace(task, words=drawn), draw, choice, rate)
            report.save(path)
        print(report.table(task=name))


def pool(task: Task, label: str) -> list[str]:
    """The words to choose from: the world's fifty polar words, common and rare; or those that the task suggests."""
    return lexicon("reviews", task.language).get(label) or list(task.words[label])


def one_choice(report: Report, base: Loaded, task: Task, draw: int, choice: int, rate: float) -> None:
    """The methods on one choice of words; a row's seed counts choices too, so that all are kept."""
    count, number = len(task.words[task.labels[0]]), draw * CHOICES + choice
    ways = {
        "PET, one word": PET.for_task(task, base.tokenizer),
        "PET, sum of words": PET.for_task(task, base.tokenizer, words=count, aggregate="sum"),
        "Fuzzy-PET, as many sets": FuzzyPET.for_task(task, base.tokenizer, words=count),
    }
    for method, how in ways.items():
        if not known(report, method, task, number):
            value = accuracy(cloze(base, how, task.splits["train"], draw, rate), task)
            report.add(method, task, value, seed=number, draw=draw, choice=choice)
            print(f"{task.name}  draw {draw}  choice {choice}  {method:<24} {100 * value:.1f}", flush=True)


# Learning rates


def tune(seeds: int) -> None:
    """Accuracy on the dev split with another seed, at every rate; the best of each method is in TASKS."""
    for name, (model, _, _) in TASKS.items():
        base, whole = load(model), load_task(name)
        task = whole.few_shot(SHOTS, TUNING_SEED)
        rows, how = task.splits["train"], PET.for_task(task, base.tokenizer)
        for rate in RATES:
            found = accuracy(head(base, task, rows, TUNING_SEED, rate), whole, "dev")
            asked = accuracy(cloze(base, how, rows, TUNING_SEED, rate), whole, "dev")
            print(f"{name:<24} {rate:g}  head {100 * found:.1f}  cloze {100 * asked:.1f}", flush=True)


if __name__ == "__main__":
    main()
