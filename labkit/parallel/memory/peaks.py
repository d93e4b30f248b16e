"""The most bytes that one training step needs: predicted in closed form, and counted while it runs.

Memory can be at its fullest at three moments of a step: the start of the backward pass, when all activations are there
and the loss has three tensors of the logits' size; the backward pass of the last layers, when their activations have
been recomputed; and its end, when the gradients of the tied output and embedding are added up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from labkit.errors import UsageError
from labkit.parallel.memory import anatomy
from labkit.parallel.memory.checkpointing import kept
from labkit.parallel.memory.model import Transformer
from labkit.parallel.memory.precision import MixedPrecision
from labkit.parallel.memory.shape import ModelShape
from labkit.parallel.memory.tracker import LiveTensors


@dataclass(frozen=True)
class Techniques:
    """What a step uses: a precision, "explicit" or "fused" attention, a checkpoint before each `every` layers (0:
    none), and how many `micro`-batches make up the batch.
    """

    dtype: str = "fp32"
    attention: str = "explicit"
    every: int = 0
    micro: int = 1

    def rows(self, batch: int) -> int:
        """Rows of a micro-batch. UsageError where the batch cannot be divided so."""
        if self.micro < 1 or batch % self.micro:
            raise UsageError(f"a batch of {batch} rows cannot be divided into {self.micro} equal micro-batches")
        return batch // self.micro


@dataclass(frozen=True)
class Peak:
    """Bytes at the fullest moment."""

    states: anatomy.States
    activations: float

    @property
    def total(self) -> float:
        """States and activations."""
        return self.states.total + self.activations


def peak(shape: ModelShape, batch: int, length: int, use: Techniques | None = None) -> Peak:
    """Predicted bytes at the fullest moment of a step of `memory.model`, gradients being kept from step to step."""
    use = use or Techniques()
    rows, size = use.rows(batch), anatomy.precision(use.dtype).activations
    edge = anatomy.boundary(shape, rows, length, use.dtype)
    layer = anatomy.layer_activations(shape, rows, length, use.dtype, use.attention)
    inputs = -(-shape.layers // use.every) * edge if use.every else shape.layers * layer
    loss = inputs + anatomy.head_activations(shape, rows, length, use.dtype)
    # the last layer's backward: its output's gradient, the gradient within the MLP, one weight's gradient before it is
    # added up, the output matrix's gradient, which waits for the embedding's (they are tied), a segment's own output
    wide = rows * length * shape.inner * size
    waiting = (shape.width * shape.inner + shape.vocabulary * shape.width) * size
    backward = kept(shape.layers, use.every, edge, layer) + (2 if use.every else 1) * edge + wide + waiting
    embeddings = 3 * shape.vocabulary * shape.width * size
    return Peak(anatomy.state_bytes(shape.parameters, use.dtype), max(loss, backward, embeddings))


LossOf = Callable[..., Tensor]
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def measured(shape: ModelShape, batch: int, length: int, use: Techniques | None = None) -> LiveTensors:
    """Train `memory.model` for two steps on random tokens with every tensor watched; `.peak` is the peak in bytes."""
    use = use or Techniques()
    ids = torch.randint(shape.vocabulary, (batch, length), generator=torch.Generator().manual_seed(0))

    def step(loss_of: LossOf) -> None:
        for part in ids.split(use.rows(batch)):
            (loss_of(part) / use.micro).backward()  # parts are equal, so equal shares are right

    return watched(lambda: Transformer(shape, attention=use.attention, every=use.every), step, use.dtype)


def watched(make: Callable[[], Transformer], step: Callable[[LossOf], object], dtype: str = "fp32") -> LiveTensors:
    """Train the model that `make` makes for two steps of Adam with every tensor watched, gradients by `step(loss_of)`.

    `loss_of(ids, reduction="mean")` is the loss of rows (rows, length); `step` must call `backward` on what it gives.
    """
    live = LiveTensors()
    with live:
        with live.phase("make"):
            model = make()
            trained = MixedPrecision(model, partial(torch.optim.Adam, lr=1e-3, fused=True), DTYPES[dtype])

        def loss_of(ids: Tensor, reduction: str = "mean") -> Tensor:
            with live.phase("forward"):
                return model(ids, ids, reduction)

        for _ in range(2):
            with live.phase("backward"):
                step(loss_of)
            with live.phase("step"):
                trained.step()
    live.name(model, trained.optimizers, trained.masters)
    return live
