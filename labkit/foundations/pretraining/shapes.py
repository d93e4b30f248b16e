"""Few distinct shapes: tensors filled up to one of a few sizes, with what counts for nothing.

On a CPU oneDNN compiles a kernel for each new shape and keeps a thousand of them. The length of a batch times the
number of its hidden tokens is a new shape at nearly every step, so a long run fills memory with kernels that are used
once. Eight sizes an octave cost at most an eighth more work, 4 % on average, and are soon all met.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor
from torch.nn import functional as F

IGNORE = -100  # the label of a position that is not to be predicted, as in transformers


def roomy(size: int) -> int:
    """The least of the allowed sizes that is not below `size`: to 16 all, then 18, 20 … 32, 36, 40 … 64, 72 …"""
    step = 1 << max(size.bit_length() - 4, 0)
    return -(-size // step) * step


def widened(batch: dict[str, np.ndarray], most: int, **fill: int) -> dict[str, np.ndarray]:
    """The arrays of a batch, (batch, tokens) each, filled up on the right to one of few lengths, `most` at most.

    Filled with `fill[name]`, else with 0. A batch that is longer than `most` stays as it is.
    """
    tokens = batch["input_ids"].shape[1]
    more = ((0, 0), (0, max(min(roomy(tokens), most) - tokens, 0)))
    return {name: np.pad(value, more, constant_values=fill.get(name, 0)) for name, value in batch.items()}


def hidden_places(labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Row, column and label of each hidden token of `labels` (batch, tokens), in reading order; each (n,).

    n is one of few sizes: at the end stands place (0, 0) as often as it takes, with the label −100, which
    `cross_entropy` leaves out of its mean. No hidden token makes n = 0.
    """
    rows, columns = (labels != IGNORE).nonzero(as_tuple=True)
    wanted = labels[rows, columns]
    surplus = (0, roomy(len(rows)) - len(rows))
    return F.pad(rows, surplus), F.pad(columns, surplus), F.pad(wanted, surplus, value=IGNORE)
