"""Prompts for models that read left to right: GPT goes on with the text, and the label is what it writes next.

The template ends with its {mask}; each label's words, of any number of pieces, are scored as the continuation. With
demonstrations this is in-context learning as GPT-3 was shown it (Brown et al. 2020, "Language models are few-shot
learners", §2), and `calibrated` is contextual calibration (Zhao et al. 2021, "Calibrate before use", §4).
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedTokenizerBase

from labkit.errors import UsageError
from labkit.fewshot.prompts.encoding import shorten, slots_of
from labkit.fewshot.prompts.generative import LabelTexts, mean_probabilities
from labkit.fewshot.prompts.in_context import Row, content_free, with_demonstrations
from labkit.fewshot.prompts.template import Mask, Template, Text
from labkit.fewshot.prompts.verbalizer import placed
from labkit.foundations.encoder import labels_of, model_inputs, to_batch, unwrapped, usable_length, with_labels


class CausalPrompt:
    """The method, on any causal language model of transformers.

    After the template's one {mask} only words may follow, which demonstrations keep and the question drops. Each row's
    longest field is cut first, the label texts always fit. Raises UsageError for another template.
    """

    def __init__(
        self,
        template: Template | str,
        texts: LabelTexts,
        tokenizer: PreTrainedTokenizerBase,
        demonstrations: Sequence[Row] = (),
        *,
        separator: str = "\n",
        max_length: int = 128,
    ) -> None:
        self.question, self.tokenizer = Template.parse(template), tokenizer
        self.texts = placed(texts, self.question)
        parts = self.question.parts
        blanks = [place for place, part in enumerate(parts) if isinstance(part, Mask)]
        if len(blanks) != 1 or not all(isinstance(part, Text) for part in parts[blanks[0] + 1 :]):
            what = "a model that reads left to right needs one {mask}, with nothing but words after it"
            raise UsageError(f"template {str(self.question)!r}: {what}")
        words = [texts.words[label][0] for label in texts.labels]
        whole, self.values = with_demonstrations(self.question, demonstrations, words, separator)
        last = max(place for place, part in enumerate(whole.parts) if isinstance(part, Mask))
        self.prompt = Template(whole.parts[:last])
        self.max_length = usable_length(tokenizer, max_length)

    def collate(self, rows: Sequence[Row], rng: np.random.Generator | None = None) -> dict[str, Tensor]:
        """`input_ids`, `attention_mask` (batch, tokens): the prompts; `last` (batch,), where each ends; `labels`."""
        given = [{**row, **self.values} for row in rows]
        slots = slots_of(self.prompt, given, self.tokenizer)[:-1]  # without the end token
        shorten(self.prompt, slots, len(rows), self.max_length - max(self.texts.lengths) + 1)
        columns = list(zip(*(slot.ids for slot in slots), strict=True))
        sequences = [np.array([token for part in parts for token in part], np.int64) for parts in columns]
        pad = self.tokenizer.pad_token_id
        batch = to_batch(sequences, self.tokenizer.eos_token_id if pad is None else pad)
        batch["last"] = np.array([len(one) - 1 for one in sequences], np.int64)
        return with_labels({name: torch.from_numpy(value) for name, value in batch.items()}, rows)

    def log_probabilities(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """log p of each label text after the prompt, the sum over its pieces: (batch, texts)."""
        ids = self.texts.ids
        columns: list[Tensor] = [batch["input_ids"].new_zeros(0)] * len(ids)
        for beginning in sorted({one[:-1] for one in ids}):  # texts that differ in their last piece share a pass
            chances = self._continued(model, batch, beginning)  # (batch, pieces, vocabulary)
            for number, one in enumerate(ids):
                if one[:-1] == beginning:
                    columns[number] = sum(chances[:, place, piece] for place, piece in enumerate(one))  # type: ignore[assignment]
        return torch.stack(columns, dim=1)

    def _continued(self, model: nn.Module, batch: Mapping[str, Tensor], beginning: tuple[int, ...]) -> Tensor:
        """log p of the token at each place after the prompt, `beginning` standing there: (batch, 1 + its length, V)."""
        ids, last = batch["input_ids"], batch["last"]
        places = last[:, None] + torch.arange(len(beginning) + 1, device=ids.device)  # (batch, pieces): who speaks
        longer = F.pad(ids, (0, len(beginning)), value=0)
        mask = F.pad(batch["attention_mask"], (0, len(beginning)), value=0)
        if beginning:
            start = ids.new_tensor(beginning).expand(len(ids), -1)
            longer = longer.scatter(1, places[:, 1:], start)
            mask = mask.scatter(1, places[:, 1:], torch.ones_like(start))
        logits, kept = _logits(model, {"input_ids": longer, "attention_mask": mask}, places.unique())
        at = torch.searchsorted(kept, places)
        rows = torch.arange(len(ids), device=ids.device)[:, None]
        return logits[rows, at].float().log_softmax(-1)

    def logits(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """Label scores, (batch, classes): their softmax is the answer."""
        return self.texts.logits(self.log_probabilities(model, batch))

    def loss(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """Cross-entropy over the label scores, a scalar in nats."""
        return F.cross_entropy(self.logits(model, batch), labels_of(batch))

    __call__ = loss

    def calibrated(self, model: nn.Module, rows: Sequence[Row] | None = None, batch_size: int = 64) -> CausalPrompt:
        """The same with each label text divided by its mean probability over `rows`, or texts without content."""
        prior = mean_probabilities(self, model, content_free(self.question) if rows is None else rows, batch_size)
        calibrated = copy.copy(self)
        calibrated.texts = replace(self.texts, prior=prior)
        return calibrated


def _logits(model: nn.Module, batch: Mapping[str, Tensor], columns: Tensor) -> tuple[Tensor, Tensor]:
    """Logits at the `columns` (sorted) of every row, and the columns they are of: all, where there is no choice."""
    inputs = model_inputs(model, batch)
    if "logits_to_keep" in inspect.signature(type(unwrapped(model)).forward).parameters:
        out, kept = model(**inputs, logits_to_keep=columns), columns
    else:
        out, kept = model(**inputs), torch.arange(batch["input_ids"].shape[1], device=columns.device)
    logits = getattr(out, "logits", None)
    if logits is None or logits.ndim != 3:
        name = type(unwrapped(model)).__name__
        raise UsageError(f"{name} has no language-model head: use AutoModelForCausalLM, GPT2LMHeadModel and the like")
    return logits, kept
