"""PPT, pre-trained prompt tuning (Gu et al. 2022): the soft prompt is pre-trained before a task tunes it.

A prompt of random words must learn from a handful of examples what a prompt is for at all. PPT teaches it that on text
without labels, in a task of the same form as those to come (§3.2, sentence pairs): a text is cut in two, and the second
half is its own or another text's. "yes" or "no" goes into the blank between them. The model stays frozen throughout.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn
from transformers import PreTrainedTokenizerBase

from labkit.errors import DataError, UsageError
from labkit.fewshot.pet import PET
from labkit.fewshot.prompts.verbalizer import Verbalizer
from labkit.fewshot.soft_prompts.prompt import PromptTuning
from labkit.foundations.encoder import backbone
from labkit.training import Batches, fit

PAIRS = "{first} {mask} {second}"
WORDS = {"en": {"other": "no", "same": "yes"}, "zh": {"other": "否", "same": "是"}}


@dataclass(frozen=True)
class PPT(PromptTuning):
    """Prompt tuning whose prompt `pretrain` has prepared; afterwards it is tuned as any other."""

    def pretrain(
        self,
        model: nn.Module,
        tokenizer: PreTrainedTokenizerBase,
        texts: Sequence[str],
        *,
        words: Mapping[str, str] = WORDS["en"],
        steps: int = 300,
        lr: float = 0.1,
        batch_size: int = 32,
        progress: bool | None = None,
    ) -> nn.Module:
        """Train the attached prompt, in place, to tell whether two halves are one text's; returns the model.

        `words` are what the blank says for halves of two texts and of one, in this order. UsageError for a model
        without a prompt, DataError where fewer than two texts are long enough to cut.
        """
        if getattr(backbone(model), "soft_prompt", None) is None:
            raise UsageError("there is no prompt to pre-train: call attach(model) first")
        limit = getattr(backbone(model).config, "max_position_embeddings", 512)
        room = min(128, limit, tokenizer.model_max_length) - self.tokens - 2
        method = PET(PAIRS, Verbalizer(words, tokenizer), tokenizer, room)
        rows = halves(texts, np.random.default_rng(self.seed))
        batches = Batches(rows, method.collate, min(batch_size, len(rows)), seed=self.seed)
        fit(model, method.loss, batches, steps=steps, lr=lr, weight_decay=0.0, seed=self.seed, progress=progress)
        return model


def halves(texts: Sequence[str], rng: np.random.Generator) -> list[dict[str, Any]]:
    """Two rows a text: its first half with its own second half (label 1), and with another text's (label 0).

    A text is cut between words; one without spaces, as Chinese, between characters. DataError for fewer than two texts
    that can be cut.
    """
    cut = [pair for pair in map(_cut, texts) if pair]
    if len(cut) < 2:
        raise DataError(f"{len(cut)} of {len(texts)} texts can be cut in two: at least two are needed")
    others = (np.arange(len(cut)) + rng.integers(1, len(cut), len(cut))) % len(cut)  # never itself
    pairs = zip(cut, others.tolist(), strict=True)
    return [
        {"first": first, "second": end, "label": label}
        for (first, second), other in pairs
        for end, label in ((second, 1), (cut[other][1], 0))
    ]


def _cut(text: str) -> tuple[str, str] | None:
    parts, glue = text.split(), " "
    if len(parts) == 1 and not text.isascii():
        parts, glue = list(parts[0]), ""
    middle = len(parts) // 2
    return (glue.join(parts[:middle]), glue.join(parts[middle:])) if middle else None
