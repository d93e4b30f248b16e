"""What every search shares: its rows, its candidates, the score that decides, the words that it may use."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from labkit.errors import DataError, UsageError
from labkit.evaluation import numbers_only, predict
from labkit.fewshot.pet import PET
from labkit.fewshot.prompts.encoding import encode
from labkit.fewshot.prompts.spacing import text_ids
from labkit.fewshot.prompts.template import Template
from labkit.fewshot.prompts.verbalizer import in_text
from labkit.foundations.encoder import lm_logits
from labkit.tasks import Task
from labkit.tasks.metrics import score as metric_score
from labkit.training import Batches, fit
from labkit.training.batches import to_device

Words = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Candidate:
    """A prompt that was tried: `score` is the task's metric on the dev rows, `log_likelihood` the mean log-probability
    of their right class (nats a row). `evidence` is what the search itself ranked it by, on the training rows.
    """

    template: Template
    words: Words
    score: float
    log_likelihood: float
    evidence: float | None = None
    start: bool = False  # the hand-written prompt that the search began from

    def __str__(self) -> str:
        words = " / ".join(", ".join(some) for some in self.words.values())
        return f"{self.template}  [{words}]"


@dataclass(frozen=True)
class Search:
    """The candidates that came as far as the dev rows, best first; of equal scores the likelier one.

    `losses` is the training loss (nats) before the first swap and after each, for a search that swaps words.
    """

    tried: tuple[Candidate, ...]
    losses: tuple[float, ...] = ()

    @property
    def best(self) -> Candidate:
        """The candidate that won."""
        return self.tried[0]

    @property
    def template(self) -> Template:
        """The best candidate's template."""
        return self.best.template

    @property
    def words(self) -> dict[str, tuple[str, ...]]:
        """The best candidate's label words, as a Task takes them."""
        return dict(self.best.words)

    @property
    def score(self) -> float:
        """The best candidate's score on the dev rows: never below that of `start`."""
        return self.best.score

    @property
    def start(self) -> Candidate | None:
        """The hand-written prompt, where the task has one."""
        return next((one for one in self.tried if one.start), None)


def ranked(candidates: Iterable[Candidate], losses: Sequence[float] = ()) -> Search:
    """The search's result: by score, then likelihood, then the hand-written prompt first."""
    order = sorted(candidates, key=lambda one: (-one.score, -one.log_likelihood, not one.start))
    return Search(tuple(order), tuple(losses))


@dataclass(frozen=True)
class Judge:
    """A model and a few-shot task, by which prompts are tried. `steps` of training (0: none) precede each try."""

    model: nn.Module
    tokenizer: PreTrainedTokenizerBase = field(repr=False)
    task: Task  # of "train" and "dev" alone: see `few_rows`
    steps: int = 0
    lr: float = 1e-4
    seed: int = 0

    def method(self, template: Template, words: Words) -> PET:
        """PET with that prompt; UsageError where its words and blanks do not fit."""
        return PET.for_task(replace(self.task, words=words), self.tokenizer, str(template))

    def measure(
        self, template: Template, words: Words, rows: Sequence[Mapping[str, Any]], model: nn.Module
    ) -> tuple[float, float]:
        """The metric, and the mean log-probability of the right class (nats), on these rows."""
        return measured(self.task, predict(model, self.method(template, words), rows, progress=False), rows)

    def try_out(self, template: Template, words: Words, **kept: Any) -> Candidate:
        """The prompt's score on "dev", after `steps` steps on "train" with a copy of the model."""
        model = self.model
        if self.steps:
            model, how, rows = copy.deepcopy(model), self.method(template, words), self.task.splits["train"]
            batches = Batches(rows, how.collate, min(16, len(rows)), seed=self.seed)
            fit(model, how.loss, batches, steps=self.steps, lr=self.lr, seed=self.seed, progress=False)
        return Candidate(template, words, *self.measure(template, words, self.task.splits["dev"], model), **kept)


def measured(task: Task, probabilities: np.ndarray, rows: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    """The task's metric and the mean log-probability of the right class (nats) for (rows, classes) probabilities."""
    labels = np.array([row["label"] for row in rows])
    right = probabilities[np.arange(len(rows)), labels].astype(np.float64)
    return metric_score(task.metric, labels, probabilities.argmax(1)), float(np.log(right.clip(1e-30)).mean())


def few_rows(task: Task) -> Task:
    """The task with nothing but "train" and "dev", on which a search works.

    UsageError where either is missing, DataError for a row without a label or a label without a training row.
    """
    for split in ("train", "dev"):
        if not task.splits.get(split):
            raise UsageError(
                f"task {task.name}: a search needs rows in {split!r}, it has {', '.join(task.splits) or 'no splits'}; "
                "task.few_shot(shots, seed) draws train and dev of equal size"
            )
        missing = next((n for n, row in enumerate(task.splits[split], 1) if row.get("label") is None), None)
        if missing:
            raise DataError(f"task {task.name}: split {split!r}, row {missing}: no label; a search needs labelled rows")
    seen = {row["label"] for row in task.splits["train"]}
    empty = next((name for number, name in enumerate(task.labels) if number not in seen), None)
    if empty is not None:
        raise DataError(f"task {task.name}: label {empty!r} has no row in 'train': a search needs one of each label")
    return replace(task, splits={split: list(task.splits[split]) for split in ("train", "dev")})


def balanced(rows: Sequence[Mapping[str, Any]], classes: int, most: int) -> list[Mapping[str, Any]]:
    """At most `most` rows, but at least one a class: the first of each class, then the second of each, and so on."""
    groups = [[row for row in rows if row["label"] == label] for label in range(classes)]
    turns = [group[turn] for turn in range(max(map(len, groups))) for group in groups if turn < len(group)]
    return turns[: max(most, classes)]


def first_words(task: Task) -> dict[str, tuple[str, ...]]:
    """Each label's first word. UsageError where a label has none."""
    for label in task.labels:
        if not task.words.get(label):
            raise UsageError(
                f"task {task.name}: label {label!r} has no label words: give words={{label: (word, …)}}, or search them"
            )
    return {label: tuple(task.words[label][:1]) for label in task.labels}


def whole_words(tokenizer: PreTrainedTokenizerBase, size: int, *, letters: bool = False) -> Tensor:
    """Which of `size` token ids are one piece again when their text is read as a word in a text: (size,) bool.

    Special tokens and parts of words are not; punctuation is, unless `letters`.
    """
    special = set(tokenizer.all_special_ids)
    ids = [number for number in range(min(size, len(tokenizer))) if number not in special]
    texts = [word_of(number, tokenizer) for number in ids]
    found = text_ids(tokenizer, [in_text(text) for text in texts])
    usable = torch.zeros(size, dtype=torch.bool)
    for number, text, pieces in zip(ids, texts, found, strict=True):
        usable[number] = pieces == [number] and (not letters or any(map(str.isalnum, text)))
    return usable


def word_of(number: int, tokenizer: PreTrainedTokenizerBase) -> str:
    """A token's text, without the mark that says how it joins the text before it."""
    return tokenizer.convert_tokens_to_string([tokenizer.convert_ids_to_tokens(number)]).strip()


@torch.inference_mode()
def blank_log_probabilities(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    template: Template,
    rows: Sequence[Mapping[str, Any]],
    batch_size: int = 64,
) -> Tensor:
    """What the model would write in a template's only blank: log-probabilities (rows, vocabulary).

    Call it in eval mode.
    """
    parts = []
    device = next(model.parameters()).device
    for start in range(0, len(rows), batch_size):
        batch = to_device(encode(template, rows[start : start + batch_size], tokenizer), device)
        at = batch["mask_positions"][:, 0]
        found = lm_logits(model, batch, torch.arange(len(at), device=device), at).float().log_softmax(1).cpu()
        numbers_only(found.detach().numpy(), model, start + np.arange(len(at)))
        parts.append(found)
    return torch.cat(parts)
