"""Scores by scikit-learn, each a number where more is better."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
from sklearn import metrics

from labkit.errors import DataError, unknown


def _f1(labels: np.ndarray, predictions: np.ndarray) -> float:
    if max(labels.max(), predictions.max()) > 1:
        raise DataError("metric f1 is for two labels, the second being the one sought; use macro_f1 for more")
    return metrics.f1_score(labels, predictions, pos_label=1, average="binary", zero_division=0.0)


# FewCLUE's official metric is accuracy on every task (Xu et al. 2021, FewCLUE, section 3).
METRICS: Mapping[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "accuracy": metrics.accuracy_score,
    "macro_f1": partial(metrics.f1_score, average="macro", zero_division=0.0),
    "f1": _f1,
    "matthews": metrics.matthews_corrcoef,
}


def score(metric: str, labels: Sequence[int] | np.ndarray, predictions: Sequence[int] | np.ndarray) -> float:
    """The score of `predictions` (n,) against `labels` (n,), both label indices.

    accuracy, macro_f1 and f1 (of the second label) lie in [0, 1], matthews in [-1, 1]. Raises UsageError for an unknown
    metric, DataError for lengths that differ, no rows, or a row without a label.
    """
    if metric not in METRICS:
        raise unknown("metric", metric, METRICS)
    gold, given = np.asarray(labels), np.asarray(predictions)
    if gold.ndim != 1 or gold.shape != given.shape:
        raise DataError(f"{metric}: labels {gold.shape} and predictions {given.shape} must both have the shape (n,)")
    if not len(gold):
        raise DataError(f"{metric}: there are no rows to score")
    for what, values in (("label", gold), ("prediction", given)):
        if not np.issubdtype(values.dtype, np.integer):
            bad = next((i for i, value in enumerate(values, start=1) if not isinstance(value, int | np.integer)), 1)
            raise DataError(f"{metric}: row {bad}: the {what} must be a label index, not {values[bad - 1]!r}")
    return float(METRICS[metric](gold, given))
