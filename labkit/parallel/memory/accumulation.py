"""Gradient accumulation: a large batch in small parts, with the same gradient.

A batch's loss is the sum over its targets divided by their number. So each part must be divided by the number of
targets of the **whole** batch. The mean of the parts' means weighs a target in a part with few of them more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from labkit.errors import DataError

Sum = Callable[[Any], Tensor]  # the loss summed over a part's targets
Count = Callable[[Any], int]  # how many targets a part has


def accumulate(loss_sum: Sum, count: Count, parts: Sequence[Any]) -> float:
    """Add up the gradients of the mean loss over all targets of all parts; the loss itself.

    Only one part's activations are alive at a time. DataError where no part has a target.
    """
    total = sum(count(part) for part in parts)
    if not total:
        raise DataError(f"none of the {len(parts)} micro-batches has a target: nothing to learn from")
    value = 0.0
    for part in parts:
        loss = loss_sum(part) / total
        loss.backward()
        value += float(loss.detach())
    return value


def mean_of_means(loss_sum: Sum, count: Count, parts: Sequence[Any]) -> float:
    """The common mistake: each part divided by its own number of targets, then by the number of parts.

    The same as `accumulate` only where all parts have equally many targets.
    """
    value = 0.0
    for part in parts:
        loss = loss_sum(part) / max(count(part), 1) / len(parts)
        loss.backward()
        value += float(loss.detach())
    return value
