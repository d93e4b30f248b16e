"""Where the memory of training goes, in closed form: weights, gradients, optimizer states, activations.

States (Rajbhandari et al. 2020, ZeRO, section 3.1): with mixed precision and Adam a weight costs 16 bytes, 2 for
itself, 2 for its gradient, 12 for an fp32 copy and Adam's two averages. Plain fp32 costs 16 as well: 4 + 4 + 8.

Activations are what the forward pass keeps for the backward pass. The counts here are those of `memory.model`, without
dropout, and agree with Korthikanti et al. 2022 (Reducing activation recomputation, section 4) less its dropout.
"""

from __future__ import annotations

from dataclasses import dataclass

from labkit.errors import UsageError, unknown
from labkit.parallel.memory.shape import ModelShape


@dataclass(frozen=True)
class Precision:
    """Bytes a weight: of its working copy, its gradient, its optimizer states; and bytes a number of an activation."""

    weights: int
    gradients: int
    optimizer: int
    activations: int


PRECISIONS = {"fp32": Precision(4, 4, 8, 4), "bf16": Precision(2, 2, 12, 2), "fp16": Precision(2, 2, 12, 2)}
STAGES = (0, 1, 2, 3)
STATISTICS = 4  # bytes: LayerNorm's mean and deviation, and attention's row sums, are fp32 in every precision


def precision(name: str) -> Precision:
    """The bytes of "fp32", "bf16" or "fp16"; UsageError for another name."""
    if name not in PRECISIONS:
        raise unknown("precision", name, PRECISIONS)
    return PRECISIONS[name]


@dataclass(frozen=True)
class States:
    """Bytes that stay from step to step on one rank."""

    weights: float
    gradients: float
    optimizer: float

    @property
    def total(self) -> float:
        """All three."""
        return self.weights + self.gradients + self.optimizer


def state_bytes(parameters: float, dtype: str = "bf16", stage: int = 0, ranks: int = 1) -> States:
    """Bytes a rank for a model of so many weights, under ZeRO `stage` over `ranks` data-parallel ranks.

    Stage 1 shares the optimizer's states out among the ranks, 2 the gradients too, 3 the weights as well. In mixed
    precision: 16, 4 + 12/N, 2 + 14/N, 16/N bytes a weight. UsageError for another stage, or ranks below 1.
    """
    if stage not in STAGES or ranks < 1:
        raise UsageError(f"ZeRO stage {stage} on {ranks} ranks: stages are 0 (none), 1, 2, 3, ranks 1 or more")
    each = precision(dtype)
    share = [1 / ranks if stage >= first else 1.0 for first in (3, 2, 1)]
    sizes = (each.weights, each.gradients, each.optimizer)
    return States(*(parameters * size * part for size, part in zip(sizes, share, strict=True)))


def layer_activations(
    shape: ModelShape, batch: int, length: int, dtype: str = "bf16", attention: str = "explicit", tensor: int = 1
) -> float:
    """Bytes that one layer keeps for its backward pass: batch · length · (8 d + 2 f + heads · length) numbers.

    Kept are: both LayerNorms' inputs and outputs (4 d), queries, keys, values and the heads' joined output (4 d), the
    MLP before and after its non-linearity (2 f), and the attention shares (heads · length), which "fused" attention
    replaces by one fp32 number a row. Of these, `tensor`-parallel ranks share out all but the LayerNorms'.
    """
    if attention not in ("explicit", "fused"):
        raise unknown("attention", attention, ("explicit", "fused"))
    size = precision(dtype).activations
    divided = 4 * shape.width + 2 * shape.inner
    rows = STATISTICS * shape.heads
    if attention == "explicit":
        divided, rows = divided + shape.heads * length, 0
    return batch * length * (size * (4 * shape.width + divided / tensor) + rows / tensor + 4 * STATISTICS)


def boundary(shape: ModelShape, batch: int, length: int, dtype: str = "bf16") -> int:
    """Bytes of one layer's input: what a checkpoint keeps."""
    return batch * length * shape.width * precision(dtype).activations


def head_activations(shape: ModelShape, batch: int, length: int, dtype: str = "bf16", tensor: int = 1) -> float:
    """Bytes of the last LayerNorm and the loss at their largest, at the start of the backward pass.

    Three fp32 tensors of the logits' size are alive at once: the log-probabilities, and the gradients before and after
    them. For large vocabularies this is more than several layers keep.
    """
    norm = batch * length * (2 * shape.width * precision(dtype).activations + 2 * STATISTICS)
    return norm + 3 * 4 * batch * length * shape.vocabulary / tensor
