"""Demonstrations in the context (Gao et al. 2021, §6): the row in its template, then one solved example of each class.

Examples are drawn from the half of a class's rows that is most similar to the query (the paper measures it with
Sentence-BERT; here, with the mean of the untrained model's last states): a demonstration about something else
distracts. Training draws anew each time; an answer averages over several draws.
"""

from __future__ import annotations

import copy
import math
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from labkit.errors import DataError, UsageError
from labkit.fewshot.pet import PET
from labkit.fewshot.prompts.in_context import filled
from labkit.fewshot.prompts.template import Soft, Template, Text
from labkit.foundations.encoder import backbone, mean_state, model_inputs
from labkit.foundations.heads import HeadClassifier
from labkit.tasks.rows import text_key
from labkit.training.batches import to_device

Row = Mapping[str, Any]


def with_demonstrations(
    method: PET, model: nn.Module, rows: Sequence[Row], *, top: float = 0.5, samples: int = 4, seed: int = 0
) -> Demonstrations:
    """PET's `method` with demonstrations from the labelled `rows`, at least two of each class.

    Similarity is the cosine of mean-pooled states of a frozen copy of `model`'s encoder as it is now. Of each class the
    `top` share is drawn from; 1 draws from all, and needs no encoder.
    """
    similarity = None
    if top < 1:
        body = copy.deepcopy(backbone(model))
        similarity = Similarity(body, method.tokenizer, method.template.fields, method.max_length)
    return Demonstrations(method, rows, similarity, top=top, samples=samples, seed=seed)


class Similarity:
    """Mean-pooled, L2-normalised states of a frozen encoder; a text is computed once."""

    def __init__(
        self, model: nn.Module, tokenizer: PreTrainedTokenizerBase, fields: Sequence[str], max_length: int
    ) -> None:
        self.model = model.eval().requires_grad_(False)
        self.fields, self.reader = tuple(fields), HeadClassifier(tokenizer, tuple(fields)[:2], max_length)
        self.known: dict[tuple[str, ...], Tensor] = {}

    @torch.inference_mode()
    def vectors(self, rows: Sequence[Row]) -> Tensor:
        """Unit vectors of the rows' texts: (rows, d)."""
        keys = [text_key(row, self.fields) for row in rows]  # type: ignore[arg-type]
        new = {key: row for key, row in zip(keys, rows, strict=True) if key not in self.known}
        if new:
            batch = self.reader.collate([{name: row[name] for name in self.fields} for row in new.values()])
            batch = to_device(batch, next(self.model.parameters()).device)
            states = self.model(**model_inputs(self.model, batch)).last_hidden_state  # (new, tokens, d)
            pooled = mean_state(states, batch["attention_mask"])
            self.known |= dict(zip(new, nn.functional.normalize(pooled.float(), dim=1).cpu(), strict=True))
        return torch.stack([self.known[key] for key in keys])


class Demonstrations(PET):
    """PET whose template goes on with one solved row of each class; `with_demonstrations` makes one.

    In training (`collate` with a generator) each row has one draw; in answering `samples`, fixed by `seed` and the
    row's text, whose probabilities are averaged. A row is never its own demonstration.
    """

    describe = None  # it cannot be saved: its rows, and the encoder that compares them, would have to go with it

    def __init__(
        self,
        method: PET,
        rows: Sequence[Row],
        similarity: Similarity | None,
        *,
        top: float,
        samples: int,
        seed: int,
    ) -> None:
        if not 0 < top <= 1 or samples < 1:
            raise UsageError(f"top={top} must lie in (0, 1], and samples={samples} must be at least 1")
        self.similarity, self.top, self.samples, self.seed = similarity, top, samples, seed
        words = [some[0] for some in method.verbalizer.words.values()]
        whole = in_context(method.template, words)
        super().__init__(whole, method.verbalizer, method.tokenizer, method.max_length)
        self.fields = method.template.fields
        self.support = [[row for row in rows if row.get("label") == label] for label in range(len(words))]
        for label, some in zip(method.verbalizer.labels, self.support, strict=True):
            if len({text_key(row, self.fields) for row in some}) < 2:  # type: ignore[arg-type]
                raise DataError(f"label {label!r} has fewer than two rows: a row cannot be its own demonstration")

    def collate(self, rows: Sequence[Row], rng: np.random.Generator | None = None) -> dict[str, Tensor]:
        """As PET's, but with `samples` texts a row, one after the other, where `rng` is None; "sample" numbers them:
        (batch · samples,).
        """
        count = self.samples if rng is None else 1
        orders = self._orders(rows)
        full = []
        for row, order in zip(rows, orders, strict=True):
            own = rng if rng is not None else np.random.default_rng([self.seed, zlib.crc32(repr(order).encode())])
            full += [self._shown(row, order, own) for _ in range(count)]
        batch = super().collate(full)
        batch["sample"] = torch.arange(count).repeat(len(rows))
        return batch | ({"labels": batch["labels"][::count]} if "labels" in batch else {})

    def _orders(self, rows: Sequence[Row]) -> list[tuple[Any, ...]]:
        """For each row its text, and for each class the numbers of the support rows to draw from."""
        keys = [text_key(row, self.fields) for row in rows]  # type: ignore[arg-type]
        return [
            (key, *some) for key, *some in zip(keys, *(self._nearest(rows, keys, s) for s in self.support), strict=True)
        ]

    def _nearest(self, rows: Sequence[Row], keys: Sequence[tuple[str, ...]], support: Sequence[Row]) -> list[list[int]]:
        """For each row the numbers of the `top` share of `support` most similar to it, itself left out."""
        order = [list(range(len(support)))] * len(rows)
        if self.similarity is not None:
            near = self.similarity.vectors(rows) @ self.similarity.vectors(support).T  # (rows, support)
            order = near.argsort(dim=1, descending=True, stable=True).tolist()
        others = [
            [number for number in numbers if text_key(support[number], self.fields) != key]  # type: ignore[arg-type]
            for key, numbers in zip(keys, order, strict=True)
        ]
        return [numbers[: math.ceil(self.top * len(numbers))] for numbers in others]

    def _shown(self, row: Row, order: tuple[Any, ...], rng: np.random.Generator) -> dict[str, Any]:
        """The row with one demonstration of each class under the names that `in_context` gave them."""
        drawn = {}
        for label, numbers in enumerate(order[1:]):
            chosen = self.support[label][numbers[int(rng.integers(len(numbers)))]]
            drawn |= {f"shown {label} {name}": value for name, value in chosen.items() if name != "label"}
        return {**row, **drawn}

    def logits(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """The log of the mean answer over a row's samples: (batch, classes)."""
        answers = super().logits(model, batch).log_softmax(1)  # (batch · samples, classes)
        count = int(batch["sample"].max()) + 1
        return answers.unflatten(0, (-1, count)).logsumexp(1) - math.log(count)


def in_context(template: Template, words: Sequence[str]) -> Template:
    """The template, then itself once for each class with that class's word in the blank; a field of the copy for class
    0 is called "shown 0 text". UsageError for trainable tokens, which would be repeated.
    """
    if any(isinstance(part, Soft) for part in template.parts):
        raise UsageError(f"template {str(template)!r}: trainable tokens cannot be repeated in demonstrations")
    parts = list(template.parts)
    for label, word in enumerate(words):
        parts.append(Text(" "))
        parts += [filled(part, f"shown {label} ", word) for part in template.parts]
    return Template(tuple(parts))
