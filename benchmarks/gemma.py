"""Gemma 3 270M on real data: sixteen examples a class, three draws or more, 250 test rows each, as many methods.

    python benchmarks/gemma.py tune DATA     -> labkit/results/gemma_rates.json   which rates and steps, on other draws
    python benchmarks/gemma.py table DATA    -> labkit/results/gemma.json
    python benchmarks/gemma.py show

DATA holds `lmbff_kshot16` (SST-2, mr, trec: LM-BFF's splits) and `fewclue` (eprstmt, bustm). `table` takes the draws
in turn and in each the tasks; SST-2 first, with all its methods. Each row is saved at once; a rerun keeps those that
are there. The 250 test rows are drawn by the draw's number, each class as often as it occurs. Rates and steps are
chosen alike for every method that trains: two settings each (GRID), trained on draw 4, which the table does not use,
scored on CHECK rows that the table's test rows are not among, on two tasks; the better mean is taken.

The frozen weights are in bfloat16, what trains is in float32, and both compute under autocast ("all weights": float32
under autocast); `--float32` computes all in float32 and says so in the method's name. Lengths are padded to steps of
16, so that few shapes are compiled.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gemma_tasks import DATA, TUNING_DRAW, Real, read
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score
from torch.nn import functional as F

from labkit.evaluation import evaluating, predict
from labkit.fewshot.cp_tuning import CPTuning
from labkit.fewshot.delta import LoRA, Prompt
from labkit.fewshot.in_context import InContext, demonstrations
from labkit.fewshot.pet import PET
from labkit.fewshot.soft_prompt import PTuning
from labkit.fewshot.soft_tokens import attach_soft_tokens
from labkit.fewshot.verbalizer import Verbalizer
from labkit.foundations.encoder import backbone
from labkit.foundations.heads import HeadClassifier, add_head
from labkit.measure import parameters, trainable
from labkit.report import Report
from labkit.tasks import Task
from labkit.training import Batches, fit
from labkit.zoo import load

RESULT = Path("labkit/results/gemma.json")
TUNED = RESULT.with_name("gemma_rates.json")
MODEL, TUNING_TASKS = "gemma-270m", ("SST-2", "bustm")
ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
LENGTH = 64  # tokens of a text and its pattern that are read
STEP, EVAL = 16, 32  # lengths are multiples of it; rows an answer batch
SHOWN = {2: 4, 6: 6}  # demonstrations, by classes


Found = dict[str, tuple[float, dict[str, Any]]]  # suffix of the method's name -> accuracy, more columns


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("table", "tune", "show"))
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--draws", type=int, default=3, help="of the table, at most four")
    parser.add_argument("--tasks", default=",".join(data.name for data in DATA))
    parser.add_argument("--methods", help="names, joined by commas; default: all")
    parser.add_argument("--float32", action="store_true")
    options = parser.parse_args()
    {"table": table, "tune": tune, "show": show}[options.part](options)


def table(options: argparse.Namespace) -> None:
    """Every method on every task and draw; accuracy on the test rows."""
    report = Report.load(RESULT) if RESULT.is_file() else Report(command="python benchmarks/gemma.py table DATA")
    chosen, base = settings(), Base(options.float32)
    for draw, data, method in jobs(options):
        name = f"{method}, float32" if options.float32 else method
        if (name, data.name, "accuracy", draw) in {row.key for row in report.rows}:
            continue
        task, began = read(options.data, data, draw), time.perf_counter()
        found = METHODS[method](base, task, draw, **chosen.get(method, {}))
        keep(report, RESULT, name, task, draw, found, time.perf_counter() - began)
    show(options)


def jobs(options: argparse.Namespace) -> Iterator[tuple[int, Real, str]]:
    """What is to be run, the most telling first: SST-2's first draw whole, MAIN everywhere, then the rest."""
    tasks = [data for data in DATA if data.name in options.tasks.split(",")]
    names = options.methods.split(",") if options.methods else METHODS
    every = itertools.product(range(min(options.draws, TUNING_DRAW)), tasks, names)
    run = [(draw, data, name) for draw, data, name in every if data.name in ONLY.get(name, data.name)]
    yield from sorted(run, key=lambda job: job[2] not in MAIN and (job[0] > 0 or job[1].name != "SST-2"))


def keep(report: Report, path: Path, name: str, task: Task, draw: int, found: Found, seconds: float) -> None:
    """Rows of one run, printed and saved; `seconds` are the whole run's, test rows included."""
    for suffix, (value, extra) in found.items():
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        report.add(name + suffix, task, value, seed=draw, seconds=seconds, date=now, **extra)
        print(f"{task.name:<8} draw {draw}  {name + suffix:<44} {100 * value:5.1f}  {seconds:4.0f} s", flush=True)
    report.save(path)


def show(_: argparse.Namespace) -> None:
    """The table, a line a method: mean and deviation over draws for each task, and the mean of the tasks."""
    report = Report.load(RESULT)
    names = [data.name for data in DATA]
    print(f"{'method':<34}" + "".join(f"{name:>16}" for name in names) + f"{'mean':>8}")
    for method in dict.fromkeys(row.method for row in report.rows):
        means, line = [], f"{method:<34}"
        for name in names:
            values = [100 * row.value for row in report.rows if (row.method, row.task) == (method, name)]
            means += [float(np.mean(values))] if values else []
            line += f"{np.mean(values):6.1f} ± {np.std(values):4.1f} ({len(values)})" if values else f"{'':>16}"
        print(line + (f"{np.mean(means):8.1f}" if len(means) == len(names) else ""))


# Rates and steps


def tune(options: argparse.Namespace) -> None:
    """Every setting of GRID, trained on the draw that the table leaves out, scored on rows that it leaves out."""
    report = Report.load(TUNED) if TUNED.is_file() else Report(command="python benchmarks/gemma.py tune DATA")
    base, tasks = Base(options.float32), [data for data in DATA if data.name in TUNING_TASKS]
    points = [(data, method, point) for data in tasks for method, points in GRID.items() for point in points]
    for data, method, point in points:
        name = setting(method, point)
        known = (name, data.name, "accuracy", TUNING_DRAW) in {row.key for row in report.rows}
        if known or data.name not in ONLY.get(method, data.name):
            continue
        task, began = read(options.data, data, TUNING_DRAW, check=True), time.perf_counter()
        found = METHODS[method](base, task, TUNING_DRAW, **point)
        keep(report, TUNED, name, task, TUNING_DRAW, found, time.perf_counter() - began)


def setting(method: str, point: Mapping[str, Any]) -> str:
    """What a row of TUNED is called."""
    return f"{method}, {point['steps']} steps at {point['lr']:g}"


def settings() -> dict[str, dict[str, Any]]:
    """Each method's setting: the better mean over TUNING_TASKS, or the first of GRID where nothing was tried."""
    rows = Report.load(TUNED).rows if TUNED.is_file() else []
    found = {}
    for method, points in GRID.items():
        values = [[row.value for row in rows if row.method == setting(method, point)] for point in points]
        found[method] = max(zip(values, points, strict=True), key=lambda pair: np.mean(pair[0] or [0.0]))[1]
        print(setting(method, found[method]), flush=True)
    return found


# What the methods share


class Base:
    """The language model, frozen, in bfloat16 and in float32; loaded when asked for."""

    def __init__(self, float32: bool = False) -> None:
        self.float32, self.loaded = float32, load(MODEL)
        self.tokenizer, self._half = self.loaded.tokenizer, None

    def frozen(self) -> Any:
        """A copy to put trained parts on."""
        if self.float32:
            return copy.deepcopy(self.loaded.model)
        if self._half is None:
            self._half = copy.deepcopy(self.loaded.model).to(torch.bfloat16)
        return copy.deepcopy(self._half)

    def whole(self) -> Any:
        """A float32 copy, all of it to be trained."""
        return copy.deepcopy(self.loaded.model)

    def computing(self) -> Any:
        """The precision for answers."""
        return torch.autocast("cpu", torch.bfloat16, enabled=not self.float32)


def few_shapes(how: Any) -> Any:
    """The method, with lengths padded to multiples of STEP."""
    collate = how.collate

    def padded(rows: Any, rng: Any = None) -> Any:
        batch = collate(rows, rng)
        tokens = batch["input_ids"].shape[1]
        wide = -tokens % STEP
        fill = {"mlm_labels": -100}
        return {
            name: F.pad(value, (0, wide), value=fill.get(name, 0))
            if value.ndim == 2 and value.shape[1] == tokens and name != "mask_positions" else value
            for name, value in batch.items()
        }  # fmt: skip

    how.collate = padded
    return how


def score(base: Base, model: Any, how: Any, task: Task) -> float:
    """Accuracy on the test rows."""
    with base.computing():
        answers = predict(model, how, task.splits["test"], batch_size=EVAL, progress=False).argmax(1)
    return float(accuracy_score([row["label"] for row in task.splits["test"]], answers))


def trained(base: Base, model: Any, how: Any, task: Task, draw: int, *, steps: int, lr: float, batch: int = 8) -> Found:
    """`steps` on the draw's examples, then the test rows; LoRA's and other new weights are kept in float32."""
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    extra: dict[str, Any] = {"trainable": trainable(model), "parameters": parameters(model)}
    how, rows, began = few_shapes(how), task.splits["train"], time.perf_counter()
    batches = Batches(rows, how.collate, batch, seed=draw)
    precision = "fp32" if base.float32 else "bf16"
    history = fit(model, how.loss, batches, steps=steps, lr=lr, seed=draw, precision=precision, progress=False)
    extra |= {"steps": steps, "lr": lr, "training_seconds": time.perf_counter() - began, "loss": history.losses[-1]}
    if hasattr(how, "fitted"):
        with base.computing():
            how.fitted(model, rows, batch_size=EVAL)
    return {"": (score(base, model, how, task), extra)}


def lora(model: Any, draw: int, **options: Any) -> Any:
    return LoRA(rank=8, alpha=16, targets=ATTENTION, seed=draw, **options).attach(model)


# The methods


def majority(_: Base, task: Task, __: int) -> Found:
    """The commonest class of the test rows."""
    labels = [row["label"] for row in task.splits["test"]]
    return {"": (max(np.bincount(labels)) / len(labels), {})}


def probe(base: Base, task: Task, _: int) -> Found:
    """Logistic regression on the last token's frozen state."""
    model = base.frozen()
    how = few_shapes(HeadClassifier(base.tokenizer, task.fields, LENGTH))
    sets = {}
    for part in ("train", "test"):
        rows, states = task.splits[part], []
        with evaluating(model), base.computing():
            for start in range(0, len(rows), EVAL):
                batch = how.collate(rows[start : start + EVAL])
                last = batch["attention_mask"].sum(1) - 1
                inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
                states.append(backbone(model)(**inputs).last_hidden_state[torch.arange(len(last)), last].float())
        sets[part] = F.normalize(torch.cat(states), dim=1).numpy(), [row["label"] for row in rows]
    fitted = LogisticRegression(C=100, max_iter=2000).fit(*sets["train"])
    return {"": (float(accuracy_score(sets["test"][1], fitted.predict(sets["test"][0]))), {})}


def head(base: Base, task: Task, draw: int, *, pooling: str = "last", **options: Any) -> Found:
    """A new linear layer on the last token's state, the model adapted by LoRA."""
    model = lora(add_head(base.frozen(), task.labels, pooling, share=True, seed=draw), draw)
    return trained(base, model, HeadClassifier(base.tokenizer, task.fields, LENGTH), task, draw, **options)


def zero_shot(base: Base, task: Task, _: int) -> Found:
    """The cloze as it is, and with each word divided by its mean probability over the examples, labels unread."""
    how = few_shapes(PET.for_task(task, base.tokenizer, max_length=LENGTH))
    return calibrated(base, how, task, [*task.splits["train"], *task.splits["dev"]])


def in_context(base: Base, task: Task, draw: int) -> Found:
    """Demonstrations before the question; calibrated by texts without content."""
    shown = demonstrations(task.splits["train"], SHOWN[len(task.labels)], len(task.labels), seed=draw)
    words = Verbalizer(task.words, base.tokenizer)
    room = LENGTH + 32 * len(shown)
    how = InContext(task.patterns[0], words, base.tokenizer, shown, max_length=room)
    return calibrated(base, few_shapes(how), task, None, demonstrations=len(shown))


def calibrated(base: Base, how: Any, task: Task, rows: Any, **extra: Any) -> Found:
    """Plain and calibrated: with one word a label, each probability is divided by the word's own mean."""
    model = base.frozen()
    with base.computing():
        answers = predict(model, how, task.splits["test"], batch_size=EVAL, progress=False)
        prior = np.array(how.calibrated(model, rows, batch_size=EVAL).verbalizer.prior)
    right = [row["label"] for row in task.splits["test"]]
    found = {"": answers, " calibrated": answers / prior}
    return {name: (float(accuracy_score(right, some.argmax(1))), extra) for name, some in found.items()}


def cloze(base: Base, task: Task, draw: int, *, all_weights: bool = False, **options: Any) -> Found:
    """The pattern's answer trained, as PET does: LoRA, or all weights."""
    model = base.whole() if all_weights else lora(base.frozen(), draw)
    return trained(base, model, PET.for_task(task, base.tokenizer, max_length=LENGTH), task, draw, **options)


def prompt_tuning(base: Base, task: Task, draw: int, **options: Any) -> Found:
    """Eight trained vectors before the pattern, nothing else."""
    model = Prompt(tokens=8, seed=draw).attach(base.frozen())
    return trained(base, model, PET.for_task(task, base.tokenizer, max_length=LENGTH), task, draw, **options)


def p_tuning(base: Base, task: Task, draw: int, **options: Any) -> Found:
    """The pattern's words as trained vectors, with LoRA."""
    plain = PET.for_task(task, base.tokenizer)
    how = PTuning(plain.template, plain.verbalizer, base.tokenizer, max_length=LENGTH, seed=draw)
    return trained(base, lora(how.attach(base.frozen()), draw), how, task, draw, **options)


def cp_tuning(base: Base, task: Task, draw: int, **options: Any) -> Found:
    """Contrast on the last state behind "it is", no words; answers by class means, and by the nearest example."""
    how = CPTuning.for_task(task, base.tokenizer, max_length=LENGTH, mlm_weight=0, rule="mean")
    model = lora(attach_soft_tokens(base.frozen(), how.template, base.tokenizer), draw)
    found = trained(base, model, how, task, draw, batch=12, **options)
    how.rule = "nearest"
    return found | {" by the nearest": (score(base, model, how, task), found[""][1])}


METHODS: dict[str, Callable[..., Found]] = {
    "majority": majority,
    "cloze (LoRA)": cloze,
    "CP-Tuning": cp_tuning,
    "head (LoRA)": head,
    "linear probe": probe,
    "zero-shot": zero_shot,
    "P-tuning": p_tuning,
    "in-context": in_context,
    "cloze (all weights)": partial(cloze, all_weights=True),
    "prompt tuning": prompt_tuning,
}
MAIN = ("majority", "cloze (LoRA)", "CP-Tuning", "head (LoRA)", "linear probe", "zero-shot")
ONLY = {"cloze (all weights)": "SST-2", "prompt tuning": "SST-2"}  # methods that run on one task
LOW, HIGH = 2e-4, 5e-4  # for whatever trains by LoRA
GRID: dict[str, tuple[dict[str, Any], ...]] = {
    "head (LoRA)": ({"steps": 100, "lr": LOW}, {"steps": 100, "lr": HIGH}),
    "cloze (LoRA)": ({"steps": 50, "lr": LOW}, {"steps": 50, "lr": HIGH}),
    "CP-Tuning": ({"steps": 40, "lr": LOW}, {"steps": 40, "lr": HIGH}),
    "P-tuning": ({"steps": 50, "lr": LOW}, {"steps": 50, "lr": HIGH}),
    "cloze (all weights)": ({"steps": 50, "lr": 1e-5}, {"steps": 50, "lr": 3e-5}),
    "prompt tuning": ({"steps": 100, "lr": 1e-2}, {"steps": 100, "lr": 3e-2}),
}

if __name__ == "__main__":
    torch.manual_seed(0)
    main()
