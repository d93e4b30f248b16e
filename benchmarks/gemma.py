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
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
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
from labkit.tasks import Task, load_task
from labkit.training import Batches, fit
from labkit.zoo import load

RESULT = Path("labkit/results/gemma.json")
TUNED = RESULT.with_name("gemma_rates.json")
MODEL, TEST_ROWS, CHECK, TUNING_DRAW, TUNING_TASKS = "gemma-270m", 250, 128, 4, ("SST-2", "bustm")
SEEDS = (13, 21, 42, 87, 100)  # LM-BFF's names for draws 0 to 4
ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
LENGTH = 64  # tokens of a text and its pattern that are read
STEP, EVAL = 16, 32  # lengths are multiples of it; rows an answer batch
SHOWN = {2: 4, 6: 6}  # demonstrations, by classes


@dataclass(frozen=True)
class Real:
    """One data set: where it is and how it is asked."""

    name: str
    source: str
    pattern: str
    words: dict[str, str]
    labels: Mapping[str, str] | None = None  # the file's label -> a name
    options: Mapping[str, Any] | None = None


PLAIN = {"schema": "label:str:1,text:str:1", "header": False, "encoding": "latin-1"}
POLAR, OPINION = {"0": "negative", "1": "positive"}, {"negative": "negative", "positive": "positive"}
KINDS = ("description", "entity", "abbreviation", "human", "location", "number")  # TREC's labels, 0 to 5
ASKED = ("description", "entity", "abbreviation", "person", "location", "number")
DATA = (
    Real("SST-2", "lmbff_kshot16/SST-2/{}.tsv", "Review: {text}\nSentiment: {mask}", OPINION, POLAR, options={}),
    Real("mr", "lmbff_kshot16/mr/{}.csv", "Review: {text}\nSentiment: {mask}", OPINION, POLAR, options=PLAIN),
    Real("trec", "lmbff_kshot16/trec/{}.csv", "Question: {text}\nType: {mask}",
         dict(zip(KINDS, ASKED, strict=True)), dict(zip("012345", KINDS, strict=True)), options=PLAIN),
    Real("eprstmt", "fewclue/eprstmt", "{text}总之很{mask}。", {"Negative": "差", "Positive": "好"}),
    Real("bustm", "fewclue/bustm", "{text_a}，{text_b}，这两句话意思{mask}同。", {"0": "不", "1": "相"}),
)  # fmt: skip


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
    for draw in range(min(options.draws, TUNING_DRAW)):
        for data in (one for one in DATA if one.name in options.tasks.split(",")):
            task = read(options.data, data, draw)
            for method, make in METHODS.items():
                if options.methods and method not in options.methods.split(","):
                    continue
                if method in ONLY and data.name not in ONLY[method]:
                    continue
                name = f"{method}, float32" if options.float32 else method
                if (name, data.name, "accuracy", draw) in {row.key for row in report.rows}:
                    continue
                began = time.perf_counter()
                for suffix, (value, extra) in make(base, task, draw, **chosen.get(method, {})).items():
                    seconds = time.perf_counter() - began
                    report.add(name + suffix, task, value, seed=draw, seconds=seconds, **extra)
                    shown = f"{data.name:<8} draw {draw}  {name + suffix:<32} {100 * value:5.1f}  {seconds:4.0f} s"
                    print(shown, flush=True)
                report.save(RESULT)
    show(options)


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
    base = Base(options.float32)
    for data in (one for one in DATA if one.name in TUNING_TASKS):
        task = read(options.data, data, TUNING_DRAW, check=True)
        for method, points in GRID.items():
            if method in ONLY and data.name not in ONLY[method]:
                continue
            for point in points:
                name = setting(method, point)
                if (name, data.name, "accuracy", TUNING_DRAW) in {row.key for row in report.rows}:
                    continue
                began = time.perf_counter()
                found = METHODS[method](base, task, TUNING_DRAW, **point)
                seconds = time.perf_counter() - began
                for suffix, (value, extra) in found.items():
                    report.add(name + suffix, task, value, seed=TUNING_DRAW, seconds=seconds, **extra)
                    print(f"{data.name:<8} {name + suffix:<48} {100 * value:5.1f}", flush=True)
                report.save(TUNED)


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


# Data


def read(folder: Path, data: Real, draw: int, *, check: bool = False) -> Task:
    """One draw of one task; its "test" are TEST_ROWS rows, or with `check` some that no table's draw tests on."""
    if "{}" in data.source:
        parts = [f"16-{SEEDS[draw]}/train", f"16-{SEEDS[draw]}/dev", "test"]
        files = ",".join(str(folder / data.source.format(part)) for part in parts)
        task = load_task(f"table:{files}", labels=data.labels, **(data.options or {}))
    else:
        task = load_task(f"fewclue:{folder / data.source}", split=draw)
    rows = task.splits["test"]
    tested = [stratified(rows, TEST_ROWS, number) for number in range(TUNING_DRAW)]
    if check:
        left = sorted(set(range(len(rows))) - {number for some in tested for number in some})
        numbers = [left[number] for number in stratified([rows[number] for number in left], CHECK, draw)]
    else:
        numbers = stratified(rows, TEST_ROWS, draw)
    words = {label: (data.words[label],) for label in task.labels}
    splits = {**task.splits, "test": [rows[number] for number in numbers]}
    return replace(task, name=data.name, splits=splits, patterns=(data.pattern,), words=words)


def stratified(rows: Sequence[Mapping[str, Any]], count: int, seed: int) -> list[int]:
    """Numbers of about `count` rows, each class as often as in all of them."""
    rng, chosen = np.random.default_rng(seed), []
    labels = np.array([row["label"] for row in rows])
    for label in np.unique(labels):
        places = np.flatnonzero(labels == label)
        chosen += rng.permutation(places)[: round(count * len(places) / len(rows))].tolist()
    return sorted(chosen)


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


Found = dict[str, tuple[float, dict[str, Any]]]  # suffix of the name -> accuracy, more columns


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
    model = base.frozen()
    plain = score(base, model, how, task)
    with base.computing():
        even = how.calibrated(model, rows, batch_size=EVAL)
    return {"": (plain, extra), ", calibrated": (score(base, model, even, task), extra)}


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
    return found | {", nearest": (score(base, model, how, task), found[""][1])}


METHODS: dict[str, Callable[..., Found]] = {
    "majority": majority,
    "cloze, LoRA": cloze,
    "CP-Tuning": cp_tuning,
    "head, LoRA": head,
    "linear probe": probe,
    "zero-shot": zero_shot,
    "P-tuning": p_tuning,
    "in-context": in_context,
    "cloze, all weights": partial(cloze, all_weights=True),
    "prompt tuning": prompt_tuning,
}
ONLY = {"cloze, all weights": ("SST-2",), "prompt tuning": ("SST-2",)}
GRID: dict[str, tuple[dict[str, Any], ...]] = {
    "head, LoRA": ({"steps": 100, "lr": 5e-4}, {"steps": 100, "lr": 2e-4}),
    "cloze, LoRA": ({"steps": 50, "lr": 2e-4}, {"steps": 50, "lr": 5e-4}),
    "CP-Tuning": ({"steps": 40, "lr": 2e-4}, {"steps": 40, "lr": 5e-4}),
    "P-tuning": ({"steps": 50, "lr": 2e-4}, {"steps": 50, "lr": 5e-4}),
    "cloze, all weights": ({"steps": 50, "lr": 1e-5}, {"steps": 50, "lr": 3e-5}),
    "prompt tuning": ({"steps": 100, "lr": 1e-2}, {"steps": 100, "lr": 3e-2}),
}

if __name__ == "__main__":
    torch.manual_seed(0)
    main()
