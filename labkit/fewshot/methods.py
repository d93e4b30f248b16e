"""The few-shot methods by name: how each makes a model and a method from a backbone and a few labelled rows.

What compares methods (the benchmarks, the pipeline) goes through `adapt`, so that all get the same rows, steps and
seeds. To add one is to write how it is prepared, and one line in METHODS.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from labkit.errors import unknown
from labkit.fewshot.auto_prompts import search_template, search_words
from labkit.fewshot.cp_tuning import CPTuning
from labkit.fewshot.delta_tuning import Delta
from labkit.fewshot.pet import PET
from labkit.fewshot.pet.fuzzy import FuzzyPET
from labkit.fewshot.prompts.soft_tokens import attach_soft_tokens
from labkit.fewshot.prompts.verbalizer import Verbalizer
from labkit.fewshot.soft_prompts import WARP, PTuning
from labkit.foundations.heads import HeadClassifier, add_head
from labkit.tasks import Task
from labkit.training import Batches, fit

BATCH = 16  # rows a step
OWN = 256  # models up to this width learn at the rates of the course's own


@dataclass(frozen=True)
class Start:
    """What a method begins with: its backbone (never changed: `prepare` copies it), the task, and the seed."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    task: Task
    seed: int = 0


@dataclass(frozen=True)
class Adapted:
    """A model and the method that reads it: `labkit.predict(model, method, rows)`."""

    model: Any
    method: Any


@dataclass(frozen=True)
class FewShot:
    """One method: what prepares it, and its learning rates.

    `rate` is for the course's own models, the best of `benchmarks/fewshot.py tune`: a fresh head must travel far, while
    a cloze starts from what the model knows. `usual` is for larger ones. `cloze` is whether it needs the task's own
    patterns and label words.
    """

    prepare: Callable[[Start], Adapted]
    rate: float
    usual: float = 5e-5
    cloze: bool = True

    def rate_for(self, model: PreTrainedModel) -> float:
        """The learning rate for a model of this size."""
        return self.rate if model.config.hidden_size <= OWN else self.usual


def fine_tuning(pooling: str) -> Callable[[Start], Adapted]:
    """A new head on the "cls" or "mean" state, or, of a model that reads left to right, the "last"."""

    def prepare(start: Start) -> Adapted:
        model = add_head(start.model, start.task.labels, pooling=pooling, seed=start.seed)
        return Adapted(model, HeadClassifier(start.tokenizer, start.task.fields))

    return prepare


def cloze(kind: type[PET]) -> Callable[[Start], Adapted]:
    """The task's first pattern, with the first word of each label, or of Fuzzy-PET three, or as many as there are."""
    return lambda start: Adapted(copy.deepcopy(start.model), kind.for_task(start.task, start.tokenizer))


def soft_cloze(kind: type[PTuning] | type[WARP], **options: Any) -> Callable[[Start], Adapted]:
    """P-tuning or WARP from PET's pattern and label words; options are those of the class."""

    def prepare(start: Start) -> Adapted:
        how = kind.for_task(start.task, start.tokenizer, seed=start.seed, **options)
        return Adapted(how.attach(copy.deepcopy(start.model)), how)

    return prepare


def lm_bff(*, template: bool, words: bool) -> Callable[[Start], Adapted]:
    """PET with the template, the label words or both found on the few examples."""

    def prepare(start: Start) -> Adapted:
        plain, options = PET.for_task(start.task, start.tokenizer), {"seed": start.seed}
        pattern, chosen = plain.template, plain.verbalizer.words
        if template:
            pattern = search_template(start.model, start.tokenizer, start.task, **options).template
        if words:
            chosen = search_words(start.model, start.tokenizer, start.task, pattern, **options).words
        how = PET(pattern, Verbalizer(chosen, start.tokenizer), start.tokenizer)
        return Adapted(copy.deepcopy(start.model), how)

    return prepare


def cp_tuning(**options: Any) -> Callable[[Start], Adapted]:
    """CP-Tuning: neither the task's patterns nor its words are looked at; options are those of `CPTuning`."""

    def prepare(start: Start) -> Adapted:
        how = CPTuning.for_task(start.task, start.tokenizer, **options)
        return Adapted(attach_soft_tokens(copy.deepcopy(start.model), how.template, start.tokenizer), how)

    return prepare


METHODS: dict[str, FewShot] = {
    "fine-tune [CLS]": FewShot(fine_tuning("cls"), 3e-4, cloze=False),
    "fine-tune [mean]": FewShot(fine_tuning("mean"), 3e-4, cloze=False),
    "fine-tune [last]": FewShot(fine_tuning("last"), 3e-4, cloze=False),
    "PET": FewShot(cloze(PET), 3e-5),
    "Fuzzy-PET": FewShot(cloze(FuzzyPET), 3e-5),
    "LM-BFF (T)": FewShot(lm_bff(template=True, words=False), 3e-5),
    "LM-BFF (L)": FewShot(lm_bff(template=False, words=True), 3e-5),
    "LM-BFF (T+L)": FewShot(lm_bff(template=True, words=True), 3e-5),
    "P-tuning": FewShot(soft_cloze(PTuning, encoder="lstm"), 1e-4),
    "WARP": FewShot(soft_cloze(WARP), 3e-3, usual=1e-2),
    "CP-Tuning": FewShot(cp_tuning(), 1e-4, cloze=False),
    "CP-Tuning without MLM": FewShot(cp_tuning(mlm_weight=0), 3e-4, cloze=False),
}


def method_name(name: str) -> str:
    """The name in METHODS that `name` is, however it is written: "cp-tuning" is "CP-Tuning", "lm-bff-t-l" LM-BFF (T+L).

    UsageError with the nearest name otherwise.
    """
    spelled = {_plain(known): known for known in METHODS}
    if _plain(name) not in spelled:
        raise unknown("few-shot method", name, METHODS)
    return spelled[_plain(name)]


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def adapt(
    start: Start, name: str, *, steps: int, lr: float | None = None, delta: Delta | None = None, **options: Any
) -> Adapted:
    """The method called `name`, trained `steps` steps on the task's "train" rows at `lr` or its own rate.

    With a `delta`, it and what is new train, all else is frozen, and the model comes with the delta still on it.
    `options` are those of `labkit.fit`. Deterministic in `start`. UsageError for an unknown name.
    """
    chosen, rows = METHODS[method_name(name)], start.task.splits["train"]
    found, lr = chosen.prepare(start), chosen.rate_for(start.model) if lr is None else lr
    if delta is not None:
        delta.attach(found.model)
    return trained(found, rows, steps=steps, lr=lr, seed=start.seed, **options)


def trained(
    found: Adapted, rows: Sequence[Any], *, steps: int, lr: float, seed: int = 0, batch: int = BATCH, **options: Any
) -> Adapted:
    """`found`, trained in place on the rows, `batch` a step, and fitted, where the method asks for it. `options` are
    those of `labkit.fit`.
    """
    batches = Batches(rows, found.method.collate, min(batch, len(rows)), seed=seed)
    fit(found.model, found.method.loss, batches, steps=steps, lr=lr, seed=seed, **options)
    if hasattr(found.method, "fitted"):
        found.method.fitted(found.model, rows)
    return found
