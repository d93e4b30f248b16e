"""Masked language modelling that teaches a small model to judge and to compare, not only to fill in.

A word that judges ("yes", "great") is one of fifty, is hidden now and then, and then half of what it judges by is
hidden with it. Selective masking (Gu et al. 2020, EMNLP, §3) asks for the words that tell and leaves the rest in sight.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from labkit.errors import UsageError
from labkit.foundations.pretraining.masked import MaskedLM

HIDDEN = 0.8  # chance of a telling word where a text is asked for them
REST = 0.02  # of any other word there


class SelectiveLM(MaskedLM):
    """As `MaskedLM`, whose other options it takes, but a share `selective` of the batches is asked for the token ids
    `telling` and hardly anything else: among all the others they would be a small part of the loss.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, *, telling: Sequence[int], selective: float = 0.5,
        **masking: Any,
    ) -> None:  # fmt: skip
        if masking.get("fixed_masks"):
            raise UsageError("fixed_masks: selective masking draws new masks each time")
        super().__init__(tokenizer, **masking)
        self.selective = selective
        self.telling = np.full(len(tokenizer), REST)
        self.telling[list(telling)] = HIDDEN

    def hide(
        self, ids: np.ndarray, attention_mask: np.ndarray | None, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """`(inputs, labels)`, both (batch, tokens): as of `MaskedLM`, or with the telling words hidden."""
        if rng.random() >= self.selective:
            return super().hide(ids, attention_mask, rng)
        return self._draw(ids, rng, self.telling)
