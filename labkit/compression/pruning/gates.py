"""Gates that learn to close: the hard-concrete distribution (Louizos, Welling & Kingma 2018, §2.3).

A gate is a random number in [0, 1] that is exactly 0, and exactly 1, with a probability that can be trained: a clipped,
stretched sigmoid of noise. The loss adds λ times the expected number of open gates, so gates close where the task does
not pay for them.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from labkit.compression.pruning.structure import heads_of, masked_heads
from labkit.compression.tinybert import bert_encoder
from labkit.errors import UsageError
from labkit.lab import generator

BETA, LOW, HIGH = 2 / 3, -0.1, 1.1  # how hard the sigmoid is, and how far it is stretched


class HardConcrete(nn.Module):
    """`count` gates with one trained number each, `log_alpha`; drawn anew at each call while training, else their
    most typical value. UsageError for a probability to be open at first that is not between 0 and 1.
    """

    def __init__(self, count: int, open_at_first: float = 0.9, seed: int = 0) -> None:
        super().__init__()
        if not 0 < open_at_first < 1:
            raise UsageError(f"open_at_first={open_at_first}: a probability between 0 and 1, and neither of them")
        start = math.log(open_at_first / (1 - open_at_first)) + BETA * math.log(-LOW / HIGH)
        self.log_alpha = nn.Parameter(torch.full((count,), start))
        self.rng = generator(seed)

    def forward(self) -> Tensor:
        """Gates in [0, 1], (count,)."""
        logit = self.log_alpha
        if self.training:
            u = torch.rand(logit.shape, generator=self.rng).clamp(1e-6, 1 - 1e-6)
            logit = (u.log() - (1 - u).log() + logit) / BETA
        return (logit.sigmoid() * (HIGH - LOW) + LOW).clamp(0, 1)

    def open(self) -> Tensor:
        """The probability of each gate not to be 0, (count,): σ(log α − β log(−γ/ζ))."""
        return (self.log_alpha - BETA * math.log(-LOW / HIGH)).sigmoid()


@contextlib.contextmanager
def gated(model: nn.Module, open_at_first: float = 0.9, seed: int = 0) -> Iterator[nn.ModuleList]:
    """Inside, every head has a gate; the model carries them under `head_gates`, so they train with it. Yields them,
    one `HardConcrete` per layer. Add `penalty(gates)` to the loss.
    """
    layers = bert_encoder(model).encoder.layer
    gates = nn.ModuleList(HardConcrete(heads_of(layer), open_at_first, seed + n) for n, layer in enumerate(layers))
    model.head_gates = gates.train(model.training)
    try:
        with masked_heads(model, list(gates)):
            yield gates
    finally:
        del model.head_gates


def penalty(gates: nn.ModuleList) -> Tensor:
    """The expected number of open gates, a scalar."""
    return torch.stack([gate.open().sum() for gate in gates]).sum()


def closed(gates: nn.ModuleList) -> dict[int, list[int]]:
    """Layer → the heads whose gate is 0, for `remove_heads`; the most open head of a layer always stays."""
    found = {}
    for number, gate in enumerate(gates):
        with torch.no_grad():
            values = gate.eval()()
        shut = [head for head, value in enumerate(values.tolist()) if value == 0]
        found[number] = [head for head in shut if len(shut) < len(values) or head != int(gate.open().argmax())]
    return {number: heads for number, heads in found.items() if heads}
