"""The methods of `gemma.py`: each from a base and a task to the accuracy on its test rows."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score
from torch.nn import functional as F

from labkit.evaluation import over_rows, predict
from labkit.fewshot.cp_tuning import CPTuning, similarities
from labkit.fewshot.delta_tuning import LoRA
from labkit.fewshot.pet import PET
from labkit.fewshot.prompts.in_context import InContext, demonstrations
from labkit.fewshot.prompts.soft_tokens import attach_soft_tokens
from labkit.fewshot.prompts.verbalizer import Verbalizer
from labkit.fewshot.soft_prompts import PTuning
from labkit.foundations.encoder import backbone
from labkit.foundations.heads import HeadClassifier, add_head
from labkit.measure import parameters, trainable
from labkit.tasks import Task
from labkit.training import Batches, fit
from labkit.zoo import load

MODEL = "gemma-270m"
ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
LENGTH = 64  # tokens of a text and its pattern that are read
STEP, EVAL = 16, 32  # lengths are multiples of it; rows an answer batch
SHOWN = {2: 4, 6: 6}  # demonstrations, by classes
Found = dict[str, tuple[float, dict[str, Any]]]  # suffix of the method's name -> accuracy, more columns


# What they share


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
        wide = -batch["input_ids"].shape[1] % STEP
        by_token = ("input_ids", "attention_mask", "soft_mask")
        return {name: F.pad(value, (0, wide)) if name in by_token else value for name, value in batch.items()}

    how.collate = padded
    return how


def score(base: Base, model: Any, how: Any, task: Task) -> dict[str, float]:
    """Accuracy on the test rows."""
    with base.computing():
        answers = predict(model, how, task.splits["test"], batch_size=EVAL, progress=False)
    return {"": right(task, answers)}


def by_both_rules(base: Base, model: Any, how: CPTuning, task: Task) -> dict[str, float]:
    """CP-Tuning's accuracy by class means and by the nearest example, from one pass."""
    asked, _ = copy.copy(how).fitted(model, task.splits["test"], batch_size=EVAL).support
    rules = {"": "mean", " by the nearest": "nearest"}
    return {
        name: right(task, similarities(asked, *how.support, len(task.labels), rule)) for name, rule in rules.items()
    }


def right(task: Task, answers: Any) -> float:
    """The share of test rows whose class has the largest number: (rows, classes)."""
    return float(accuracy_score([row["label"] for row in task.splits["test"]], np.asarray(answers).argmax(1)))


def trained(
    base: Base,
    model: Any,
    how: Any,
    task: Task,
    draw: int,
    *,
    steps: int,
    lr: float,
    batch: int = 8,
    scored: Callable[..., dict[str, float]] = score,
) -> Found:
    """`steps` on the draw's examples, then the test rows; LoRA's and other new weights are kept in float32."""
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    extra: dict[str, Any] = {"trainable": trainable(model), "parameters": parameters(model), "steps": steps, "lr": lr}
    how, rows = few_shapes(how), task.splits["train"]
    began, busy = time.perf_counter(), time.process_time()
    batches = Batches(rows, how.collate, batch, seed=draw)
    precision = "fp32" if base.float32 else "bf16"
    history = fit(model, how.loss, batches, steps=steps, lr=lr, seed=draw, precision=precision, progress=False)
    extra |= {"loss": float(np.mean(history.losses[-5:])), "training_seconds": time.perf_counter() - began}
    extra |= {"training_cpu_seconds": time.process_time() - busy}
    with base.computing():
        if hasattr(how, "fitted"):
            how.fitted(model, rows, batch_size=EVAL)
        return {name: (value, extra) for name, value in scored(base, model, how, task).items()}


def lora(model: Any, draw: int) -> Any:
    return LoRA(rank=8, alpha=16, targets=ATTENTION, seed=draw).attach(model)


# The methods


def majority(_: Base, task: Task, __: int) -> Found:
    """The commonest class of the test rows."""
    labels = [row["label"] for row in task.splits["test"]]
    return {"": (max(np.bincount(labels)) / len(labels), {})}


def probe(base: Base, task: Task, _: int) -> Found:
    """Logistic regression on the last token's frozen state."""
    model, sets = base.frozen(), {}
    how = few_shapes(HeadClassifier(base.tokenizer, task.fields, LENGTH))
    for part in ("train", "test"):
        rows = task.splits[part]
        with base.computing():
            states = over_rows(model, rows, how.collate, last_states, EVAL)
        sets[part] = F.normalize(states, dim=1).numpy(), [row["label"] for row in rows]
    fitted = LogisticRegression(C=100, max_iter=2000).fit(*sets["train"])
    return {"": (float(fitted.score(*sets["test"])), {})}


def last_states(model: Any, batch: Any) -> torch.Tensor:
    """The last state of each text's last token: (batch, d)."""
    last = batch["attention_mask"].sum(1) - 1
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    return backbone(model)(**inputs).last_hidden_state[torch.arange(len(last)), last].float()


def head(base: Base, task: Task, draw: int, **options: Any) -> Found:
    """A new linear layer on the last token's state, the model adapted by LoRA."""
    model = lora(add_head(base.frozen(), task.labels, "last", share=True, seed=draw), draw)
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
    return {"": (right(task, answers), extra), " calibrated": (right(task, answers / prior), extra)}


def cloze(base: Base, task: Task, draw: int, *, all_weights: bool = False, **options: Any) -> Found:
    """The pattern's answer trained, as PET does: LoRA, or all weights."""
    model = base.whole() if all_weights else lora(base.frozen(), draw)
    return trained(base, model, PET.for_task(task, base.tokenizer, max_length=LENGTH), task, draw, **options)


def p_tuning(base: Base, task: Task, draw: int, **options: Any) -> Found:
    """The pattern's words as trained vectors, with LoRA."""
    plain = PET.for_task(task, base.tokenizer)
    how = PTuning(plain.template, plain.verbalizer, base.tokenizer, max_length=LENGTH, seed=draw)
    return trained(base, lora(how.attach(base.frozen()), draw), how, task, draw, **options)


def cp_tuning(base: Base, task: Task, draw: int, *, at_the_cloze: bool = False, **options: Any) -> Found:
    """Contrast on the last state behind "it is", no words; answers by class means, and by the nearest example.

    `at_the_cloze` takes the state at the blank of the task's own pattern instead: what does a template for all cost?
    """
    if at_the_cloze:
        how = CPTuning(task.patterns[0], task.labels, base.tokenizer, LENGTH, mlm_weight=0, rule="mean")
        model = lora(base.frozen(), draw)
    else:
        how = CPTuning.for_task(task, base.tokenizer, max_length=LENGTH, mlm_weight=0, rule="mean")
        model = lora(attach_soft_tokens(base.frozen(), how.template, base.tokenizer), draw)
    return trained(base, model, how, task, draw, batch=12, scored=by_both_rules, **options)


METHODS: dict[str, Callable[..., Found]] = {
    "majority": majority,
    "cloze (LoRA)": cloze,
    "CP-Tuning": cp_tuning,
    "CP-Tuning at the cloze": partial(cp_tuning, at_the_cloze=True),
    "head (LoRA)": head,
    "linear probe": probe,
    "zero-shot": zero_shot,
    "P-tuning": p_tuning,
    "in-context": in_context,
    "cloze (all weights)": partial(cloze, all_weights=True),
}
MAIN = ("majority", "cloze (LoRA)", "CP-Tuning", "CP-Tuning at the cloze", "head (LoRA)", "linear probe", "zero-shot")
ONLY = {"cloze (all weights)": "SST-2"}  # methods that run on one task
# These take the setting of another, which they are but for the pattern.
LIKE = {"P-tuning": "cloze (LoRA)", "CP-Tuning at the cloze": "CP-Tuning"}
LOW, HIGH, HIGHER = 2e-4, 5e-4, 1e-3  # for whatever trains by LoRA
GRID: dict[str, tuple[dict[str, Any], ...]] = {
    "head (LoRA)": tuple({"steps": 50, "lr": lr} for lr in (LOW, HIGH, HIGHER)),
    "cloze (LoRA)": tuple({"steps": 50, "lr": lr} for lr in (LOW, HIGH, HIGHER)),
    "CP-Tuning": (*({"steps": 40, "lr": lr} for lr in (LOW, HIGH, HIGHER)), {"steps": 100, "lr": HIGH}),
    "cloze (all weights)": ({"steps": 50, "lr": 1e-5}, {"steps": 50, "lr": 3e-5}),
}
