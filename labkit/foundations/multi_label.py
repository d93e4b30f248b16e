"""Several labels a text: each class is a yes or no of its own, a sigmoid and its binary cross-entropy.

The model is `AutoModelForSequenceClassification` with `problem_type="multi_label_classification"`, as transformers
spells it (`native_head(model, "sequence", labels, problem_type=…)`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from sklearn import metrics
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedTokenizerBase

from labkit.errors import UsageError
from labkit.evaluation import numbers_only
from labkit.foundations.encoder import labels_of
from labkit.foundations.heads import HeadClassifier

Row = Mapping[str, Any]


class MultiLabel(HeadClassifier):
    """The method of multi-label classification. A row's label is a list of indices below `classes`, or None.

    An answer is {"labels": the indices whose probability is above `threshold`, "probabilities": one a class}.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, classes: int, fields: Sequence[str] = ("text",),
        max_length: int = 128, threshold: float = 0.5,
    ) -> None:  # fmt: skip
        super().__init__(tokenizer, fields, max_length)
        if not 0 < threshold < 1:
            raise UsageError(f"threshold={threshold}: a probability between 0 and 1 is needed")
        self.classes, self.threshold = classes, float(threshold)

    def collate(self, rows: Sequence[Row], rng: np.random.Generator | None = None) -> dict[str, Tensor]:
        """As of `HeadClassifier`, with "labels" (batch, classes), 1.0 where a row has a class."""
        batch = super().collate([{**row, "label": None} for row in rows], rng)
        given = [row.get("label") for row in rows]
        if rows and None not in given:
            batch["labels"] = torch.from_numpy(one_hot(given, self.classes))
        return batch

    def loss(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """Binary cross-entropy, a mean over rows and classes, a scalar in nats."""
        return F.binary_cross_entropy_with_logits(self.logits(model, batch).float(), labels_of(batch))

    __call__ = loss

    def answers(self, model: nn.Module, batch: Mapping[str, Tensor], rows: Sequence[Row]) -> list[dict[str, list]]:
        """One a row; TrainingError where they are no numbers."""
        found = self.logits(model, batch).float().sigmoid().cpu().numpy()  # (batch, classes)
        numbers_only(found, model, np.arange(len(found)))
        return [
            {"labels": np.flatnonzero(row > self.threshold).tolist(), "probabilities": row.tolist()} for row in found
        ]

    def score(self, rows: Sequence[Row], answers: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """`micro_f1` over all decisions, `macro_f1` over the classes, `exact_match` of whole rows, each in [0, 1]."""
        wanted = one_hot([row["label"] for row in rows], self.classes)
        given = one_hot([answer["labels"] for answer in answers], self.classes)
        micro, macro = (
            float(metrics.f1_score(wanted, given, average=kind, zero_division=0.0)) for kind in ("micro", "macro")
        )
        return {"micro_f1": micro, "macro_f1": macro, "exact_match": float((wanted == given).all(1).mean())}


def one_hot(labels: Sequence[Sequence[int]], classes: int) -> np.ndarray:
    """Lists of indices as (rows, classes) float32 of 0 and 1."""
    found = np.zeros((len(labels), classes), np.float32)
    for number, some in enumerate(labels):
        found[number, list(some)] = 1
    return found
