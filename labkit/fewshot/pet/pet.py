"""PET: classification as a cloze (Schick & Schütze 2021, "Exploiting cloze questions for few-shot text
classification").

A pattern turns a row into a text with a blank, a verbalizer turns words for the blank into labels, and the model's own
LM head, which it brings from pre-training, does the rest: nothing is trained from zero. The loss is the cross-entropy
over label scores (§3.1), and, with weight α, masked language modelling on unlabelled rows: (1 − α)·L_CE + α·L_MLM
(§3.2; the paper's α is 1e-4).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedTokenizerBase

from labkit.errors import UsageError
from labkit.evaluation import over_rows
from labkit.fewshot.prompts.encoding import check_end, encode
from labkit.fewshot.prompts.soft_tokens import addressed
from labkit.fewshot.prompts.template import Template
from labkit.fewshot.prompts.verbalizer import Verbalizer, placed, spelled
from labkit.foundations.encoder import labels_of, lm_logits, reads_left_to_right, usable_length, with_labels
from labkit.foundations.heads import checked
from labkit.foundations.pretraining import IGNORE, auxiliary
from labkit.training.batches import weight_of

if TYPE_CHECKING:
    from labkit.tasks import Task

# What the descriptions of PET and its like have in common, see `PET.from_description`.
DESCRIBED = {"template": str, "max_length": int, "words": dict, "aggregate": str, "prior": list | None}
MLM_KEYS = ("input_ids", "attention_mask", "token_type_ids", "soft_mask")


class PET:
    """The method: template + verbalizer, on any masked language model, or one that reads left to right: there no field
    may follow the one blank, words of one piece are its next token, and what the template says behind it is not read.

    `unlabelled` rows and `mlm_weight` (α in [0, 1]) add the auxiliary language modelling. Raises UsageError where the
    template's blanks and the verbalizer's words do not agree.
    """

    def __init__(
        self,
        template: Template | str,
        verbalizer: Verbalizer,
        tokenizer: PreTrainedTokenizerBase,
        max_length: int = 128,
        mlm_weight: float = 0.0,
        unlabelled: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        self.template, self.tokenizer = Template.parse(template), tokenizer
        self.max_length, self.mlm_weight, self.unlabelled = usable_length(tokenizer, max_length), mlm_weight, unlabelled
        if self.template.masks != verbalizer.masks:
            raise UsageError(
                f"template {str(self.template)!r}: blanks: {self.template.masks}, pieces of a label word: "
                f"{verbalizer.masks}; write {{mask*{verbalizer.masks}}}, or choose other words"
            )
        self.verbalizer = placed(verbalizer, self.template)
        if not 0 <= mlm_weight <= 1 or (mlm_weight and not len(unlabelled)):
            raise UsageError(
                f"mlm_weight={mlm_weight}: a number in [0, 1] is needed, and unlabelled rows unless it is 0"
            )
        self.mlm = auxiliary(tokenizer) if mlm_weight else None

    @classmethod
    def for_task(
        cls, task: Task, tokenizer: PreTrainedTokenizerBase, pattern: int | str = 0, words: int = 1, **options: Any
    ) -> PET:
        """PET with the task's own pattern number `pattern` (or one of yours) and the first `words` words of each label.

        Where every chosen word is k pieces long and the pattern has one {mask}, it becomes {mask*k}. `aggregate` and
        the options of `PET` may follow. Raises UsageError for a task without patterns or words.
        """
        if words < 1:
            raise UsageError(f"words={words}: at least one word a label is needed")
        template = Template.parse(pattern_of(task, pattern), task.fields)
        chosen = {label: tuple(task.words.get(label, ()))[:words] for label in task.labels}
        for label, some in chosen.items():
            if not some:
                raise UsageError(
                    f"task {task.name}: label {label!r} has no label words: give the task words={{label: (word, …)}}"
                )
        lengths = {len(ids) for _, _, ids in spelled(chosen, tokenizer, template.spaced)}
        if template.masks == 1 and len(lengths) == 1:
            template = template.with_masks(max(lengths.pop(), 1))
        aggregate = options.pop("aggregate", "mean")
        verbalizer = Verbalizer(chosen, tokenizer, aggregate, template.masks, spaced=template.spaced)
        return cls(template, verbalizer, tokenizer, **options)

    def collate(self, rows: Sequence[Mapping[str, Any]], rng: np.random.Generator | None = None) -> dict[str, Tensor]:
        """What `Template.encode` gives, "labels" (batch,), and with `rng`, if there is an MLM term, as many unlabelled
        rows: "mlm_input_ids", "mlm_labels", … (batch, tokens).
        """
        return with_labels(self.encoded(rows), rows) | self.mlm_batch(len(rows), rng)

    def encoded(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        """What `encode` makes of the rows in the template."""
        return encode(self.template, rows, self.tokenizer, self.max_length)

    def mlm_batch(self, size: int, rng: np.random.Generator | None) -> dict[str, Tensor]:
        """`size` unlabelled rows in the template, with words hidden beside its blank, which itself asks for nothing
        here; nothing where there is no MLM term, or without `rng`.
        """
        if self.mlm is None or rng is None:
            return {}
        drawn = [self.unlabelled[int(number)] for number in rng.integers(len(self.unlabelled), size=size)]
        found = self.encoded(drawn)
        hidden, labels = self.mlm.hide(found["input_ids"].numpy(), None, rng)
        found |= {"input_ids": torch.from_numpy(hidden), "labels": torch.from_numpy(labels)}
        batch = {f"mlm_{name}": found[name] for name in (*MLM_KEYS, "labels") if name in found}
        return batch | {"count:mlm": (found["labels"] != IGNORE).sum(1)}

    def mask_logits(self, model: nn.Module, batch: Mapping[str, Tensor], words: Tensor | None = None) -> Tensor:
        """The model's logits for the blanks, computed there alone, and with ids `words` for those only: (batch, masks,
        vocabulary or words).
        """
        if reads_left_to_right(model):
            check_end(self.template)
        columns = batch["mask_positions"]  # (batch, masks)
        rows = torch.arange(len(columns), device=columns.device)[:, None].expand_as(columns)
        found = lm_logits(model, addressed(model, batch), rows.reshape(-1), columns.reshape(-1), words)
        return found.unflatten(0, columns.shape)

    def logits(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """Label scores, (batch, classes): their softmax is the answer, see `Verbalizer.logits`.

        Models that read left to right have large vocabularies, of which the label words' rows alone are computed.
        """
        if reads_left_to_right(model):
            return self.verbalizer.among(self.mask_logits(model, batch, self.verbalizer.word_ids[:, 0])[:, 0])
        return self.verbalizer.logits(self.mask_logits(model, batch))

    def loss(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """Cross-entropy over the label scores, plus the MLM term if there is one: a scalar in nats."""
        return self.with_mlm(F.cross_entropy(self.logits(model, batch), labels_of(batch)), model, batch)

    def with_mlm(self, loss: Tensor, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """(1 − α)·loss + α·L_MLM where the batch has unlabelled rows, else the loss as it is."""
        if self.mlm is None or "mlm_labels" not in batch:
            return loss
        text = {name.removeprefix("mlm_"): value for name, value in batch.items() if name.startswith("mlm_")}
        weight = self.mlm_weight * weight_of(batch, "mlm")
        return (1 - self.mlm_weight) * loss + weight * self.mlm.loss(model, addressed(model, text))

    __call__ = loss

    def calibrated(self, model: nn.Module, rows: Sequence[Mapping[str, Any]], batch_size: int = 64) -> PET:
        """The same method with each label word divided by its mean probability over `rows`, whose labels are not read.

        For zero-shot use (see `Verbalizer.calibrate`); the model's mode is restored.
        """
        if not len(rows):
            raise UsageError("calibration needs at least one row")
        blanks = over_rows(model, rows, self.encoded, self.mask_logits, batch_size)
        calibrated = copy.copy(self)
        calibrated.verbalizer = self.verbalizer.calibrate(blanks)
        return calibrated

    def describe(self) -> dict[str, Any]:
        """What `from_description` needs to answer as this does, in plain JSON values; nothing of the training."""
        return {"template": str(self.template), "max_length": self.max_length, **self.verbalizer.describe()}

    @classmethod
    def from_description(cls, description: Mapping[str, Any], tokenizer: PreTrainedTokenizerBase) -> PET:
        """The method that `describe` described; UsageError for an unknown key or a value it cannot take."""
        values = checked(description, DESCRIBED | {"masks": int}, ("template", "words"))
        template, length = Template.parse(values.pop("template")), values.pop("max_length", 128)
        words = Verbalizer(values.pop("words"), tokenizer, spaced=template.spaced, **values)
        return PET(template, words, tokenizer, length)


def pattern_of(task: Task, pattern: int | str) -> str:
    """The task's own pattern of that number, or yours as it is; UsageError for a number that it has not."""
    if isinstance(pattern, str):
        return pattern
    if not 0 <= pattern < len(task.patterns):
        have = f"it has {len(task.patterns)}; or give your own, '{{text}} it was {{mask}} .'"
        raise UsageError(f"task {task.name}: no pattern number {pattern}: {have}")
    return task.patterns[pattern]
