"""The system's stages, each of which can be left out: what is it worth?

Knowledge pre-training → continued pre-training on all nine tasks → a cloze with several label words → self-training.
A stage changes one thing: the model to start from, the label words, or the rows. `STAGES` adds them one by one,
`LESS_ONE` takes one away from the whole, which tells a stage that helps only alone from one that helps the rest.

Knowledge pre-training is a *hook*: a model that stands in the backbone's place. Without one the stage changes nothing,
and says so.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from labkit.errors import DataError, UsageError, unknown
from labkit.evaluation import evaluate, predict
from labkit.fewshot.fewclue.clozes import candidates_of, cloze_for, is_fuzzy
from labkit.fewshot.instruction.multitask import continue_pretraining
from labkit.fewshot.pet.self_training import Member, self_training
from labkit.foundations.heads import HeadClassifier, add_head
from labkit.tasks.rows import text_key
from labkit.training import Batches, fit

if TYPE_CHECKING:
    from labkit.tasks import Task

Rows = Sequence[Mapping[str, Any]]
HELD_OUT = ("dev", "test", "submission")


@dataclass(frozen=True)
class Stage:
    """One row of the ablation: which of the system's parts it has."""

    name: str
    knowledge: bool = False
    multitask: bool = False
    fuzzy: bool = False
    self_training: bool = False
    head: bool = False  # a new classification head instead of a cloze


STAGES = (
    Stage("fine-tune [mean]", head=True),
    Stage("PET"),
    Stage("+ knowledge", knowledge=True),
    Stage("+ multi-task", knowledge=True, multitask=True),
    Stage("+ Fuzzy-PET", knowledge=True, multitask=True, fuzzy=True),
    Stage("+ self-training", knowledge=True, multitask=True, fuzzy=True, self_training=True),
)
LESS_ONE = (
    Stage("all less multi-task", knowledge=True, fuzzy=True, self_training=True),
    Stage("all less Fuzzy-PET", knowledge=True, multitask=True, self_training=True),
)
BY_NAME: Mapping[str, Stage] = {stage.name: stage for stage in (*STAGES, *LESS_ONE)}


@dataclass(frozen=True)
class Rates:
    """Learning rates of one task: of a new head, and of everything with a cloze."""

    head: float = 1e-3
    cloze: float = 1e-4


@dataclass(frozen=True)
class Settings:
    """Sizes of the stages. Steps are optimizer steps, of `batch` rows each; `words` is Fuzzy-PET's words a label."""

    steps: int = 100
    batch: int = 16
    words: int = 3
    rounds: int = 1  # of self-training, each `growth` times the rows of the last
    growth: int = 4
    unlabelled: int = 1000  # rows a task labels for itself, at most, drawn from all over the split
    multitask_steps: int = 200
    multitask_lr: float = 3e-4


def training_view(task: Task) -> Task:
    """The task with "train" and "unlabelled" alone, less any unlabelled row whose text is to be judged later.

    What continued pre-training may see: no row of dev, test or submission, not even as text.
    """
    held = {text_key(row, task.fields) for split in HELD_OUT for row in task.splits.get(split, [])}
    kept = [row for row in task.splits.get("unlabelled", []) if text_key(row, task.fields) not in held]
    return replace(task, splits={"train": task.splits["train"], **({"unlabelled": kept} if kept else {})})


def check_examples(task: Task) -> None:
    """DataError naming split, field and label where a label has no training row.

    Labels that are places, as chid's, are not counted: the words are the rows' own.
    """
    rows = task.splits.get("train", [])
    if not len(rows):
        raise DataError(f"task {task.name}: split 'train' has no rows: the system needs examples")
    if candidates_of(task) is not None:
        return
    seen = {row["label"] for row in rows}
    missing = next((label for number, label in enumerate(task.labels) if number not in seen), None)
    if missing is not None:
        raise DataError(
            f"task {task.name}: split 'train', field 'label': 0 rows of label {missing!r}; add some to the training "
            "file"
        )


@dataclass
class FewClueSystem:
    """The stages on one training split of several tasks, `tasks` by name; a model of one's own for each task.

    `rates` maps a task's name to its learning rates. Models and members that several stages share are trained once.
    Raises DataError for a task in which a label has no example, UsageError for unknown names.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    tasks: Mapping[str, Task]
    rates: Mapping[str, Rates] = field(default_factory=dict)
    hook: PreTrainedModel | None = None
    settings: Settings = Settings()
    seed: int = 0
    _models: dict[tuple[bool, bool], PreTrainedModel] = field(default_factory=dict, repr=False)
    _members: dict[tuple[Any, ...], Member] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if not self.tasks:
            raise UsageError("the FewCLUE system needs at least one task")
        for task in self.tasks.values():
            check_examples(task)

    def backbone(self, stage: Stage | str) -> PreTrainedModel:
        """The model that a stage starts from: plain, with knowledge, continued on all tasks, or both."""
        wanted = _stage(stage)
        key = (wanted.knowledge and self.hook is not None, wanted.multitask)
        if key not in self._models:
            start = self.hook if key[0] else self.model
            self._models[key] = self._continued(start) if wanted.multitask else start
        return self._models[key]

    def _continued(self, start: PreTrainedModel) -> PreTrainedModel:
        views = [training_view(task) for task in self.tasks.values()]
        return continue_pretraining(
            start, self.tokenizer, views, steps=self.settings.multitask_steps, lr=self.settings.multitask_lr,
            seed=self.seed,
        )  # fmt: skip

    def fit(self, name: str, stage: Stage | str) -> Member:
        """The trained model of a stage on task `name`, with the method that reads it."""
        task, wanted = self._task(name), _stage(stage)
        fuzzy = wanted.fuzzy and is_fuzzy(task, self.settings.words)
        teach = wanted.self_training and len(task.splits.get("unlabelled", [])) > 0
        known = wanted.knowledge and self.hook is not None
        key = (name, known, wanted.multitask, fuzzy, teach, wanted.head)
        if key not in self._members:
            first = replace(wanted, self_training=False)
            if wanted.head:
                made = self._head(task, name)
            elif teach:
                made = self._taught(task, name, self.fit(name, first), wanted, fuzzy)
            else:
                made = self._cloze(task, name, wanted, fuzzy, task.splits["train"])
            self._members[key] = made
        return self._members[key]

    def note(self, name: str, stage: Stage | str) -> str:
        """What a stage could not do on a task, or did on a part of the rows, in words; else empty."""
        task, wanted, settings, said = self._task(name), _stage(stage), self.settings, []
        there = len(task.splits.get("unlabelled", []))
        if wanted.knowledge and self.hook is None:
            said.append("hook: none")
        if wanted.fuzzy and not is_fuzzy(task, settings.words):
            said.append("one word a label" if candidates_of(task) is None else "no label words")
        if wanted.self_training and not there:
            said.append("no unlabelled rows")
        elif wanted.self_training and there > settings.unlabelled:
            said.append(f"{settings.unlabelled} of {there} unlabelled rows")
        return "; ".join(said)

    def score(self, name: str, stage: Stage | str, split: str = "test") -> float:
        """FewCLUE's metric, accuracy in [0, 1], of a stage on a split of task `name`."""
        member, task = self.fit(name, stage), self._task(name)
        return evaluate(member.model, member.method, task, split, progress=False)[task.metric]

    def answers(self, name: str, stage: Stage | str, split: str = "submission") -> np.ndarray:
        """A label index for each row of a split, by default of the test file without labels: (n,)."""
        member, task = self.fit(name, stage), self._task(name)
        if split not in task.splits:
            raise unknown("split", split, task.splits)
        return predict(member.model, member.method, task.splits[split], progress=False).argmax(1)

    def forget(self) -> None:
        """Let the trained members go; the backbones stay."""
        self._members.clear()

    def _task(self, name: str) -> Task:
        if name not in self.tasks:
            raise unknown("task", name, self.tasks)
        return self.tasks[name]

    def _head(self, task: Task, name: str) -> Member:
        model = add_head(self.model, task.labels, pooling="mean", seed=self.seed)
        how = HeadClassifier(self.tokenizer, task.fields)
        return self._trained(model, how, task.splits["train"], self.rates.get(name, Rates()).head)

    def _cloze(self, task: Task, name: str, stage: Stage, fuzzy: bool, rows: Rows) -> Member:
        how = cloze_for(task, self.tokenizer, words=self.settings.words if fuzzy else 1)
        return self._trained(copy.deepcopy(self.backbone(stage)), how, rows, self.rates.get(name, Rates()).cloze)

    def _taught(self, task: Task, name: str, first: Member, stage: Stage, fuzzy: bool) -> Member:
        """Self-training that starts from a model already trained on the labelled rows."""
        rows = task.splits["train"]
        unlabelled = task.limited("unlabelled", self.settings.unlabelled).splits["unlabelled"]

        def train(given: Rows) -> Member:
            return first if given is rows else self._cloze(task, name, stage, fuzzy, given)

        return self_training(
            train, rows, unlabelled, len(task.labels), rounds=self.settings.rounds, growth=self.settings.growth
        )

    def _trained(self, model: nn.Module, how: Any, rows: Rows, lr: float) -> Member:
        batches = Batches(rows, how.collate, min(self.settings.batch, len(rows)), seed=self.seed)
        fit(model, how.loss, batches, steps=self.settings.steps, lr=lr, seed=self.seed, progress=False)
        return Member(model, how)


def _stage(stage: Stage | str) -> Stage:
    if isinstance(stage, Stage):
        return stage
    if stage not in BY_NAME:
        raise unknown("stage", stage, BY_NAME)
    return BY_NAME[stage]
