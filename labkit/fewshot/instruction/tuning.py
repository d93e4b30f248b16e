"""Instruction tuning: learn from many tasks to do what a text asks, and be asked something new.

Every task is put as an instruction, in several wordings; the model is trained on all tasks of some *types*, then asked
tasks of a type that it has never seen, without an example (FLAN, Wei et al. 2022; T0, Sanh et al. 2022). Here the model
fills a blank, "is it good or bad ? it is ___ .": each label is a word, and tasks may share words or not.

The claim stands or falls with the split: `held_out` leaves one whole type out, and proves that no task, no wording and
no text of it is left in what is trained on.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from labkit.errors import DataError, UsageError, unknown
from labkit.evaluation import evaluate
from labkit.fewshot.instruction.multitask import TEMPERATURE, mixture
from labkit.fewshot.pet import PET
from labkit.fewshot.prompts.verbalizer import Verbalizer
from labkit.foundations.encoder import labels_of, lm_logits
from labkit.tasks import Task
from labkit.tasks.rows import text_key
from labkit.training import Batches, fit

Tasks = Mapping[str, Task]
_MARKS = re.compile(r"[^\w{}]|_")


@dataclass(frozen=True)
class Wording:
    """One way to ask: a cloze template, and the word that each label is in its blank; None: the task's own first words.

    `words` may name labels of several tasks; a task takes those of its own labels.
    """

    template: str
    words: Mapping[str, str] | None = None


@dataclass(frozen=True)
class TaskType:
    """Tasks that ask the same of a text, by name, and the ways to ask it."""

    name: str
    tasks: tuple[str, ...]
    wordings: tuple[Wording, ...]


@dataclass(frozen=True)
class Split:
    """What is trained on, and what is held out: types, and their tasks by name. `dropped` texts stood in both."""

    types: tuple[TaskType, ...]
    held: TaskType
    tasks: Tasks
    held_tasks: Tasks
    dropped: int = 0


# What is held out


def held_out(types: Sequence[TaskType], name: str, tasks: Tasks) -> Split:
    """All types but the one called `name`, whose texts are taken out of the others' rows (every split but "test").

    Raises UsageError for an unknown type, and where a task or a wording of it is also that of another type; such a
    split would measure memory.
    """
    if name not in (known := [one.name for one in types]):
        raise unknown("task type", name, known)
    held = next(one for one in types if one.name == name)
    rest = tuple(one for one in types if one.name != name)
    for leak in leaks(rest, held):
        raise UsageError(leak)
    asked = {task: _task(tasks, task) for task in held.tasks}
    seen = texts_of(asked.values())
    kept = {task: _without(_task(tasks, task), seen) for one in rest for task in one.tasks}
    before = sum(len(rows) for task in kept for rows in tasks[task].splits.values())
    after = sum(len(rows) for task in kept.values() for rows in task.splits.values())
    return Split(rest, held, kept, asked, before - after)


def check_split(split: Split) -> None:
    """UsageError or DataError where something of what is held out is in what is trained on: task, wording or text."""
    for leak in leaks(split.types, split.held):
        raise UsageError(leak)
    seen = texts_of(split.held_tasks.values())
    for name, task in split.tasks.items():
        for row in task.splits["train"]:
            if _key(row, task) in seen:
                texts = str(text_key(row, task.fields))[:80]
                what = f"a row of the held-out type {split.held.name!r} is trained on: {texts}"
                raise DataError(f"task {name}: {what}; make the split with held_out")


def leaks(types: Iterable[TaskType], held: TaskType) -> list[str]:
    """What `types` share with the type that is held out, tasks and wordings, each as a sentence; empty is good."""
    found = []
    templates = {_plain(one.template) for one in held.wordings}
    for one in types:
        where = f"type {held.name!r} is held out, but type {one.name!r} has its"
        found += [f"{where} task {task}: a task belongs to one type" for task in one.tasks if task in held.tasks]
        found += [
            f"{where} wording {wording.template!r}: ask in words of its own"
            for wording in one.wordings
            if _plain(wording.template) in templates
        ]
    return found


def texts_of(tasks: Iterable[Task]) -> set[tuple[str, ...]]:
    """The texts of all rows of all splits, in lower case and without punctuation: a tuple of its fields for each."""
    return {_key(row, task) for task in tasks for rows in task.splits.values() for row in rows}


def _key(row: Mapping[str, Any], task: Task) -> tuple[str, ...]:
    return tuple(_plain(text) for text in text_key(row, task.fields))


def _plain(text: str) -> str:
    """Letters, digits and braces only, so that spacing, case and stops make no difference."""
    return _MARKS.sub("", text.lower())


def _without(task: Task, seen: set[tuple[str, ...]]) -> Task:
    """The task less the rows whose texts were seen; its test rows, which nobody trains on, stay."""
    splits = {
        name: rows if name == "test" else [row for row in rows if _key(row, task) not in seen]
        for name, rows in task.splits.items()
    }
    return replace(task, splits=splits)


def _task(tasks: Tasks, name: str) -> Task:
    if name not in tasks:
        raise unknown("task", name, tasks)
    return tasks[name]


# Asking


def ask(task: Task, wording: Wording, tokenizer: PreTrainedTokenizerBase) -> PET:
    """The wording as a method for the task. UsageError for a label without a word, or one of several pieces."""
    words = {}
    for label in task.labels:
        given = (task.words.get(label) or ("",))[0] if wording.words is None else wording.words.get(label, "")
        if not given:
            raise UsageError(f"wording {wording.template!r} has no word for label {label!r} of task {task.name}")
        words[label] = given
    return PET(wording.template, Verbalizer(words, tokenizer), tokenizer)


def zero_shot(
    model: nn.Module, tokenizer: PreTrainedTokenizerBase, kind: TaskType, tasks: Tasks
) -> list[dict[str, Any]]:
    """How right the model is on "test" when asked, without an example: {"task", "wording", "accuracy"} for each."""
    found = []
    for name in kind.tasks:
        task = _task(tasks, name)
        for number, wording in enumerate(kind.wordings):
            value = evaluate(model, ask(task, wording, tokenizer), task, progress=False)[task.metric]
            found.append({"task": name, "wording": number, "accuracy": value})
    return found


# Training


class Instructed:
    """The objective: every task of every type, in every wording, as clozes in one batch.

    Rows are {"how": number of task and wording, …}, which `rows` makes. The loss is PET's: the cross-entropy over the
    words of the row's own labels, however many they are.
    """

    def __init__(self, types: Sequence[TaskType], tasks: Tasks, tokenizer: PreTrainedTokenizerBase) -> None:
        if not types:
            raise UsageError("0 task types: at least one is needed")
        pairs = [(name, wording) for one in types for name in one.tasks for wording in one.wordings]
        self.names = [name for name, _ in pairs]
        self.hows = [ask(_task(tasks, name), wording, tokenizer) for name, wording in pairs]
        self.tasks, self.pad = tasks, tokenizer.pad_token_id
        most = max(len(how.verbalizer.labels) for how in self.hows)
        self.words = torch.full((len(self.hows), most), -1)  # (hows, most labels), −1 where there are fewer
        for number, how in enumerate(self.hows):
            self.words[number, : len(how.verbalizer.labels)] = how.verbalizer.word_ids[:, 0]

    def rows(self, count: int, rng: np.random.Generator, temperature: float = TEMPERATURE) -> list[dict[str, Any]]:
        """`count` training rows: tasks in the shares of `multitask.mixture`, wordings all alike."""
        names = list(dict.fromkeys(self.names))
        labelled = [[row for row in self.tasks[name].splits["train"] if row.get("label") is not None] for name in names]
        for name, rows in zip(names, labelled, strict=True):
            if not rows:
                raise DataError(f"task {name}: no labelled row in 'train' to learn from")
        ways = {name: [number for number, one in enumerate(self.names) if one == name] for name in names}
        drawn = mixture([len(rows) for rows in labelled], count, rng, temperature)
        return [{**labelled[task][row], "how": int(rng.choice(ways[names[task]]))} for task, row in drawn]

    def lengths(self, rows: Sequence[Mapping[str, Any]]) -> list[int]:
        """Characters of each row's texts, so that rows of like length come into a batch."""
        return [sum(len(row[name]) for name in self.tasks[self.names[row["how"]]].fields) for row in rows]

    def collate(self, rows: Sequence[Mapping[str, Any]], rng: np.random.Generator | None = None) -> dict[str, Tensor]:
        """What PET gives for each row in its own wording, padded to one batch; "words" (batch, most labels) ids."""
        hows = np.array([row["how"] for row in rows])
        order = np.argsort(hows, kind="stable")
        parts = [
            self.hows[how].collate([rows[number] for number in order if hows[number] == how])
            for how in dict.fromkeys(hows[order].tolist())
        ]
        return {**stack(parts, self.pad), "words": self.words[torch.from_numpy(hows[order])]}

    def logits(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """The label words' logits: (batch, most labels), −∞ where a task has fewer."""
        columns, words = batch["mask_positions"][:, 0], batch["words"]
        blanks = lm_logits(model, batch, torch.arange(len(columns), device=columns.device), columns)
        return blanks.float().gather(1, words.clamp(min=0)).masked_fill(words < 0, -torch.inf)

    def loss(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """Mean cross-entropy over each row's own labels: a scalar in nats."""
        return F.cross_entropy(self.logits(model, batch), labels_of(batch))

    __call__ = loss


def stack(parts: Sequence[Mapping[str, Tensor]], pad: int) -> dict[str, Tensor]:
    """Batches under one another, the shorter padded on the right: `input_ids` with `pad`, all else with 0."""
    width = max(part["input_ids"].shape[1] for part in parts)
    wide = {"input_ids", "attention_mask", "token_type_ids", "soft_mask"}

    def padded(name: str, value: Tensor) -> Tensor:
        if name not in wide:
            return value
        return F.pad(value, (0, width - value.shape[1]), value=pad if name == "input_ids" else 0)

    return {name: torch.cat([padded(name, part[name]) for part in parts]) for name in parts[0]}


def instruction_tune(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    split: Split,
    *,
    steps: int = 400,
    lr: float = 3e-4,
    seed: int = 0,
    batch_size: int = 32,
    progress: bool | None = False,
) -> PreTrainedModel:
    """A copy of the model, trained on the types of the split in all their wordings.

    Nothing of what is held out is read. Deterministic in `seed`.
    """
    check_split(split)
    objective = Instructed(split.types, split.tasks, tokenizer)
    rows = objective.rows(steps * batch_size, np.random.default_rng(seed))
    trained = copy.deepcopy(model)
    batches = Batches(rows, objective.collate, batch_size, seed=seed, lengths=objective.lengths(rows))
    fit(trained, objective.loss, batches, steps=steps, lr=lr, seed=seed, progress=progress)
    return trained
