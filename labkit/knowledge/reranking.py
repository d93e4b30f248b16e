"""A second reader for the few passages that a fast one has found, and what it is good for in training.

A cross-encoder reads the query *with* the passage, so each word of one can look at the words of the other (Nogueira &
Cho 2019). Nothing can be computed beforehand: it is for tens of passages, not for all. RocketQA lets it judge mined
negatives (Qu et al. 2021, *RocketQA*, §3.2.2): a passage that it takes for an answer is probably one that nobody has
marked, and is no negative.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import nn
from transformers import PreTrainedTokenizerBase

from labkit.errors import UsageError
from labkit.evaluation import predict
from labkit.foundations.heads import HeadClassifier

Row = Mapping[str, Any]
FIELDS = ("text_a", "text_b")  # query and passage


def cross_encoder(tokenizer: PreTrainedTokenizerBase, max_length: int = 80) -> HeadClassifier:
    """The method that reads a query with a passage; its model is `add_head(body, 2)`, and class 1 is "answers"."""
    return HeadClassifier(tokenizer, FIELDS, max_length)


def pairs(rows: Sequence[Row], passages: Sequence[str], wrong: int = 1) -> list[dict[str, Any]]:
    """To learn from: of each row its positive passage, label 1, and its first `wrong` negatives, label 0.

    Raises UsageError for a row without negatives.
    """
    found = []
    for number, row in enumerate(rows, start=1):
        if not row.get("negatives"):
            raise UsageError(f"row {number} has no negatives: mine them first, by `with_negatives`")
        for label, one in ((1, row["positive"]), *((0, one) for one in row["negatives"][:wrong])):
            found.append({"text_a": row["text"], "text_b": passages[one], "label": label})
    return found


def judge(
    model: nn.Module, method: HeadClassifier, queries: Sequence[str], found: Sequence[Sequence[int]],
    passages: Sequence[str], **options: Any,
) -> list[np.ndarray]:  # fmt: skip
    """How probably each of the passages found for a query answers it: an array per query. `options` of `predict`."""
    asked = [
        {"text_a": query, "text_b": passages[one]}
        for query, some in zip(queries, found, strict=True) for one in some
    ]  # fmt: skip
    scores = predict(model, method, asked, **options)[:, 1] if asked else np.zeros(0, np.float32)
    return np.split(scores, np.cumsum([len(some) for some in found])[:-1])


def reranked(found: Sequence[Sequence[int]], scores: Sequence[np.ndarray]) -> list[list[int]]:
    """The passages of each query by their new scores, the highest first; of equal ones the earlier stays first."""
    return [
        [some[at] for at in np.argsort(-np.asarray(new), kind="stable")]
        for some, new in zip(found, scores, strict=True)
    ]  # fmt: skip


def denoised(rows: Sequence[Row], scores: Sequence[np.ndarray], highest: float = 0.1) -> list[dict[str, Any]]:
    """The rows with the negatives whose score, their probability to be an answer, is at most `highest`.

    A row of which none is left has no negatives, and learns from the batch's other passages alone.
    """
    kept = []
    for row, new in zip(rows, scores, strict=True):
        left = [one for one, score in zip(row["negatives"], new, strict=True) if score <= highest]
        kept.append({**row, "negatives": left})
    return kept
