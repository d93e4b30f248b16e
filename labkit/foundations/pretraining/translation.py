"""TLM: masked language modelling over a sentence and its translation (Lample & Conneau 2019, §3.3).

    tokens      [CLS] the  [MASK] is red [SEP]  苹 [MASK] 是 红 的 [SEP]
    positions     0    1     2    3   4    5    0    1   2  3  4   5      start again
    languages     0    0     0    0   0    0    1    1   1  1  1   1

What is hidden on one side can be read on the other, so the model learns to align the two languages. Positions start
again, so that a word and its translation stand near each other. Languages are written into the segment embeddings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from labkit.errors import DataError, UsageError
from labkit.foundations.encoder import to_batch, usable_length
from labkit.foundations.pretraining.masked import IGNORE, MaskedLM, tokenize_corpus


def concatenate(sides: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`(ids, positions, languages)`, each (tokens,): the sides one behind the other, each counted from 0."""
    lengths = [len(side) for side in sides]
    return (
        np.concatenate(list(sides)),
        np.concatenate([np.arange(length) for length in lengths]),
        np.repeat(np.arange(len(sides)), lengths),
    )


class TranslationLM:
    """The objective: `.collate(rows, rng)` for Batches, `.loss(model, batch)` for fit; the model a BERT.

    Rows hold a sentence in two languages, under the names in `fields`, as texts or as arrays of ids without special
    tokens. `together=False` gives the same sentences as rows of their own, with the same languages and positions: the
    multilingual masked LM (§3.2) that TLM is compared with. Other settings: `MaskedLM`'s; `max_length` is a side's.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, *, fields: Sequence[str] = ("en", "zh"), together: bool = True,
        max_length: int = 64, **masking: Any,
    ) -> None:  # fmt: skip
        if isinstance(fields, str) or len(set(fields)) != 2:
            raise UsageError(f"fields={fields!r}: the names of two different fields are needed, as in ('en', 'zh')")
        self.masked = MaskedLM(tokenizer, max_length=max_length, **masking)
        self.tokenizer, self.fields, self.together = tokenizer, tuple(fields), together
        self.max_length = usable_length(tokenizer, max_length)

    def collate(self, rows: Sequence[Mapping[str, Any]], rng: np.random.Generator | None = None) -> dict[str, Tensor]:
        """`input_ids`, `attention_mask`, `token_type_ids` (languages), `position_ids`, `labels` (batch, tokens);
        `count` (batch,), the hidden tokens. `together=False` makes two rows of each.

        DataError for a row that lacks a side.
        """
        rng = np.random.default_rng(0) if rng is None else rng
        sides = [self._side(rows, field, first=not number) for number, field in enumerate(self.fields)]
        if self.together:
            made = [concatenate(pair) for pair in zip(*sides, strict=True)]
        else:
            made = [(ids, np.arange(len(ids)), np.full(len(ids), n)) for n, side in enumerate(sides) for ids in side]
        batch = to_batch([ids for ids, _, _ in made], self.tokenizer.pad_token_id)
        batch["position_ids"] = to_batch([positions for _, positions, _ in made], 0)["input_ids"]
        batch["token_type_ids"] = to_batch([languages for _, _, languages in made], 0)["input_ids"]
        batch["input_ids"], labels = self.masked.hide(batch["input_ids"], batch["attention_mask"], rng)
        batch |= {"labels": labels, "count": (labels != IGNORE).sum(1)}
        return {name: torch.from_numpy(value) for name, value in batch.items()}

    def _side(self, rows: Sequence[Mapping[str, Any]], field: str, first: bool) -> list[np.ndarray]:
        """One side of every row with its special tokens: [CLS] … [SEP], or … [SEP] for the second of a pair."""
        given = [row.get(field) for row in rows]
        for number, value in enumerate(given, start=1):
            if value is None or not len(value):
                raise DataError(
                    f"row {number} of the batch: field {field!r} is missing or empty: TLM needs the sentence in "
                    f"{' and '.join(self.fields)}; complete the row, or leave it out"
                )
        texts = [value for value in given if isinstance(value, str)]
        made = iter(tokenize_corpus(texts, self.tokenizer, self.max_length))
        given = [next(made)["input_ids"][1:-1] if isinstance(value, str) else value for value in given]
        start = [self.tokenizer.cls_token_id] if first or not self.together else []
        room = self.max_length - 2
        return [np.concatenate([start, ids[:room], [self.tokenizer.sep_token_id]]).astype(np.int64) for ids in given]

    def loss(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """Mean cross-entropy over the hidden tokens of both languages, a scalar in nats."""
        return self.masked.loss(model, batch)

    __call__ = loss
