"""Few-shot methods on a real sentence encoder and real data: 16 examples a class, five splits, in LM-BFF's files.

    python benchmarks/fewshot_real.py table ../shared/data/lmbff_kshot16   -> labkit/results/fewshot_real.json
    python benchmarks/fewshot_real.py tune ../shared/data/lmbff_kshot16    -> labkit/results/fewshot_real_rates.json

`tune` scores learning rates and steps on the dev rows of the first two splits; `table` trains every method at one rate
(RATE), and fine-tuning and CP-Tuning, on the mean of the states, once more as `tune` found best for each.
The folder holds SST-2, MRPC, RTE (.tsv) and mr, trec (.csv), each with 16-SEED/train, dev and one test; where a test
is missing, that of the folder beside it is taken (../rte/test.tsv, which is GLUE's dev). The encoder
(`minilm`, all-MiniLM-L6-v2) has no masked-LM head: for PET one is trained once, tied to the word embeddings, on the
texts of all files without their labels; what that takes is in the rows. Fine-tuning is shown
with [CLS] and with the mean; CP-Tuning with the vector at the blank and with the mean of the last states; beside them a
linear probe, a logistic regression on frozen features. Rows that are there already are kept.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from few_shot_runs import accuracy, known, opened, setting
from gemma_tasks import KINDS, PLAIN, POLAR, SEEDS, Real
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score

from labkit.fewshot import methods as few_shot
from labkit.fewshot.cp_tuning import CPTuning, universal_template
from labkit.fewshot.pet import PET
from labkit.fewshot.prompts.soft_tokens import attach_soft_tokens
from labkit.foundations.heads import HeadClassifier, add_head
from labkit.foundations.pretraining import MaskedLM, tokenize_corpus
from labkit.measure import parameters, trainable
from labkit.report import Report
from labkit.tasks import Task, load_task
from labkit.training import Batches, fit
from labkit.zoo import Loaded, load

RESULT, MODEL = Path("labkit/results/fewshot_real.json"), "minilm"
TUNED = RESULT.with_name("fewshot_real_rates.json")
STEPS, RATE, LENGTH, TEST_ROWS = 20, 1e-4, 64, 250
CLS_SPLITS = 2  # fine-tuning with [CLS] runs on the first two splits only: enough to see which pooling is the better
TUNING_SPLITS, GRID = 2, ((20, 3e-5), (20, 1e-4), (20, 3e-4), (60, 1e-4))  # (steps, rate)
HEAD_STEPS, HEAD_BATCH, HEAD_RATE = 300, 16, 1e-3


WORDS, PAIR = {"negative": "terrible", "positive": "great"}, "{text_a} ? {mask} , {text_b}"
DATA = (
    Real("SST-2", "SST-2/{}.tsv", "{text} it was {mask} .", WORDS, POLAR),
    Real("mr", "mr/{}.csv", "{text} it was {mask} .", WORDS, POLAR, PLAIN),
    Real("trec", "trec/{}.csv", "{mask} : {text}",
         dict(zip(KINDS, ("description", "entity", "expression", "human", "location", "number"), strict=True)),
         dict(zip("012345", KINDS, strict=True)), PLAIN),
    Real("MRPC", "MRPC/{}.tsv", PAIR, {"different": "no", "same": "yes"}, {"0": "different", "1": "same"},
         {"label": "Quality", "fields": ("#1 String", "#2 String")}),
    Real("RTE", "RTE/{}.tsv", PAIR, {"not": "no", "entailed": "yes"},
         {"not_entailment": "not", "entailment": "entailed"}, {"fields": ("sentence1", "sentence2")}),
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("table", "tune"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--splits", type=int, default=len(SEEDS), help="of the table, the first so many of the five")
    options = parser.parse_args()
    (tune if options.part == "tune" else table)(options)


def table(options: argparse.Namespace) -> None:
    """Every method on every data set and split; accuracy on the test rows."""
    report = opened(RESULT, "python benchmarks/fewshot_real.py table FOLDER")
    plain = load(MODEL, head=None)
    methods = METHODS | (tuned(Report.load(TUNED)) if TUNED.is_file() else {})
    for seed in range(options.splits):
        for data in DATA:
            task = read(options.folder, data, SEEDS[seed])
            for method, make in methods.items():
                if method == "fine-tune [CLS]" and seed >= CLS_SPLITS:
                    continue
                if not known(report, method, task, seed):
                    run(report, task, method, make, plain, seed, options.folder)
                    report.save(RESULT)
    print(report.table())


# Learning rates


def tune(options: argparse.Namespace) -> None:
    """Every setting of GRID, scored on the dev rows; CP-Tuning is trained once and answers by both of its rules."""
    report = opened(TUNED, "python benchmarks/fewshot_real.py tune FOLDER")
    plain = load(MODEL, head=None)
    tasks = [(seed, read(options.folder, data, SEEDS[seed])) for seed in range(TUNING_SPLITS) for data in DATA]
    for seed, task in tasks:
        for method, answers in TUNABLE.items():
            for point in GRID:
                if all(known(report, setting(name, *point), task, seed) for name in answers):
                    continue
                steps, rate = point
                *_, found = METHODS[method](plain, task, seed, options.folder, steps=steps, rate=rate, rows="dev")
                for name, changes in answers.items():
                    vars(found.method).update(changes)
                    value = accuracy(found, task, "dev")
                    report.add(setting(name, *point), task, value, seed=seed)
                    print(f"{task.name:<6} {setting(name, *point):<48} {100 * value:.1f}", flush=True)
                report.save(TUNED)
    print(report.table())


def tuned(report: Report) -> dict[str, Callable[..., Any]]:
    """Each tunable method as TUNED found it best: the mean over data sets and splits decides."""
    values: dict[str, list[float]] = {}
    for row in report.rows:
        values.setdefault(row.method, []).append(row.value)
    found = {}
    for method, answers in TUNABLE.items():
        grid = {setting(name, *point): (point, changes) for name, changes in answers.items() for point in GRID}
        best = max(grid, key=lambda name: float(np.mean(values.get(name, [0.0]))))
        (steps, rate), changes = grid[best]
        found[f"{method}, tuned"] = partial(METHODS[method], steps=steps, rate=rate, **changes)
        print(f"{method}, tuned: {best}")
    return found


# One run


def read(folder: Path, data: Real, split: int) -> Task:
    """One split of one data set, with at most TEST_ROWS rows to test on."""
    train, dev, test = (folder / data.source.format(part) for part in (f"16-{split}/train", f"16-{split}/dev", "test"))
    beside = folder.parent / data.name.lower() / test.name
    files = (train, dev, beside if beside.is_file() and not test.is_file() else test)
    task = load_task("table:" + ",".join(map(str, files)), labels=data.labels, **data.options)
    rows = np.random.default_rng(0).permutation(len(task.splits["test"]))[:TEST_ROWS]
    test = [task.splits["test"][int(number)] for number in rows]
    words = {label: (word,) for label, word in data.words.items()}
    return replace(task, name=data.name, splits={**task.splits, "test": test}, patterns=(data.pattern,), words=words)


def run(
    report: Report, task: Task, method: str, make: Callable[..., tuple[Any, ...]], base: Loaded, seed: int, folder: Path
) -> None:
    began = time.perf_counter()
    value, extra, *_ = make(base, task, seed, folder)
    seconds = time.perf_counter() - began
    report.add(method, task, value, seed=seed, seconds=seconds, **extra)
    print(f"{task.name:<6} split {SEEDS[seed]:>3}  {method:<24} {100 * value:.1f}  {seconds:.0f} s", flush=True)


def trained(
    model: Any, how: Any, task: Task, seed: int, *, steps: int = STEPS, rate: float = RATE, rows: str = "test"
) -> tuple[float, dict[str, Any], few_shot.Adapted]:
    """`steps` on the split's examples: accuracy on `rows`, what it took, and the model and method for more."""
    found, moving = few_shot.Adapted(model, how), trainable(model)
    few_shot.trained(found, task.splits["train"], steps=steps, lr=rate, seed=seed, progress=False)
    value = accuracy(found, task) if rows == "test" else 0.0
    return value, {"trainable": moving, "parameters": parameters(model)}, found


def fine_tuning(pooling: str) -> Callable[..., tuple[Any, ...]]:
    def make(base: Loaded, task: Task, seed: int, _: Path, **options: Any) -> tuple[Any, ...]:
        how = HeadClassifier(base.tokenizer, task.fields, max_length=LENGTH)
        return trained(add_head(base.model, task.labels, pooling=pooling, seed=seed), how, task, seed, **options)

    return make


def cp_tuning(feature: str) -> Callable[..., tuple[Any, ...]]:
    def make(base: Loaded, task: Task, seed: int, _: Path, *, rule: str = "nearest", **options: Any) -> tuple[Any, ...]:
        how = CPTuning.for_task(task, base.tokenizer, max_length=LENGTH, feature=feature, mlm_weight=0, rule=rule)
        model = attach_soft_tokens(copy.deepcopy(base.model), how.template, base.tokenizer)
        return trained(model, how, task, seed, **options)

    return make


def probe(base: Loaded, task: Task, seed: int, _: Path) -> tuple[float, dict[str, Any]]:
    """Logistic regression on the frozen encoder's mean states, of the text in CP-Tuning's template."""
    how = CPTuning(universal_template(task.fields), task.labels, base.tokenizer, LENGTH, feature="mean", mlm_weight=0)
    features = {role: how.fitted(base.model, task.splits[role]).support for role in ("train", "test")}
    (seen, known), (asked, right) = ((x.numpy(), y.numpy()) for x, y in features.values())
    answers = LogisticRegression(C=10, max_iter=1000).fit(seen, known).predict(asked)
    return float(accuracy_score(right, answers)), {"trainable": (seen.shape[1] + 1) * len(task.labels)}


@cache
def tied_head(folder: Path) -> tuple[Loaded, dict[str, Any]]:
    """The encoder with a masked-LM head, trained once on the data sets' words, and what that took."""
    base, began = load(MODEL, head="mlm"), time.perf_counter()
    tasks = [read(folder, data, split) for data in DATA for split in SEEDS]
    texts = sorted(
        {row[name] for task in tasks for rows in task.splits.values() for row in rows for name in task.fields}
    )
    objective = MaskedLM(base.tokenizer)
    for name, parameter in base.model.named_parameters():
        parameter.requires_grad_(name in base.fresh)
    moving = trainable(base.model)
    batches = Batches(tokenize_corpus(texts, base.tokenizer, 64), objective.collate, HEAD_BATCH, seed=0)
    history = fit(base.model, objective.loss, batches, steps=HEAD_STEPS, lr=HEAD_RATE, progress=False)
    base.model.requires_grad_(True)
    loss = float(np.mean(history.losses[-20:]))
    seconds = time.perf_counter() - began
    print(
        f"masked-LM head: {moving} parameters, {len(texts)} texts, {HEAD_STEPS} steps, loss {loss:.2f}, {seconds:.0f} s"
    )
    return base, {"head_texts": len(texts), "head_steps": HEAD_STEPS, "head_seconds": seconds, "head_loss": loss}


def pet(_: Loaded, task: Task, seed: int, folder: Path) -> tuple[float, dict[str, Any]]:
    base, cost = tied_head(folder)
    how = PET.for_task(task, base.tokenizer, max_length=LENGTH)
    value, extra, *_ = trained(copy.deepcopy(base.model), how, task, seed)
    return value, {**extra, **cost}


METHODS = {
    "linear probe": probe,
    "fine-tune [CLS]": fine_tuning("cls"),
    "fine-tune [mean]": fine_tuning("mean"),
    "PET, trained MLM head": pet,
    "CP-Tuning [mask]": cp_tuning("mask"),
    "CP-Tuning [mean]": cp_tuning("mean"),
}
# what `tune` tries: each method's ways to answer once it is trained, and what they change of it
TUNABLE: dict[str, dict[str, dict[str, str]]] = {
    "fine-tune [mean]": {"fine-tune [mean]": {}},
    "CP-Tuning [mean]": {f"CP-Tuning [mean], by the {rule}": {"rule": rule} for rule in ("nearest", "mean")},
}

if __name__ == "__main__":
    torch.manual_seed(0)
    main()
