"""Bytes of a chain of operators, one kernel each or all in one: closed forms, and the programs themselves.

An element-wise kernel on n numbers does n operations, and moves 2 n or 3 n numbers. Run one after the other, the
kernels of a chain write what the next one reads; fused, only what comes from outside is read, and only what is needed
outside is written. `Chain` counts both from a list of steps. CHAINS are three of a transformer's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from labkit.errors import UsageError, unknown


@dataclass(frozen=True)
class Step:
    """One operator: the names of the tensors that it reads and writes."""

    name: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]


@dataclass(frozen=True)
class Chain:
    """Operators in order. `sizes` are bytes of each tensor by name, `results` the names that are needed afterwards.

    UsageError for a name without a size, or a result that no step writes.
    """

    steps: tuple[Step, ...]
    sizes: Mapping[str, int]
    results: tuple[str, ...]

    def __post_init__(self) -> None:
        for name in (*self.made, *self.inputs):
            if name not in self.sizes:
                raise unknown("tensor", name, self.sizes)
        for name in self.results:
            if name not in self.made:
                raise UsageError(f"the result {name!r} is written by no step")

    @property
    def made(self) -> tuple[str, ...]:
        """The tensors that steps write."""
        return tuple(dict.fromkeys(name for step in self.steps for name in step.writes))

    @property
    def inputs(self) -> tuple[str, ...]:
        """The tensors that come from outside."""
        read = dict.fromkeys(name for step in self.steps for name in step.reads)
        return tuple(name for name in read if name not in self.made)

    @property
    def eager(self) -> int:
        """Bytes moved by one kernel a step; a tensor that a step reads twice it reads once."""
        return sum(self.sizes[name] for step in self.steps for name in (*dict.fromkeys(step.reads), *step.writes))

    @property
    def fused(self) -> int:
        """Bytes moved by one kernel for all: inputs in, results out."""
        return sum(self.sizes[name] for name in (*self.inputs, *self.results))


@dataclass(frozen=True)
class Shape:
    """A tensor of rows of numbers: how many rows, how many numbers in one, bytes of a number."""

    rows: int
    width: int
    each: int = 2

    @property
    def full(self) -> int:
        """Its bytes."""
        return self.rows * self.width * self.each


def layernorm_chain(shape: Shape) -> Chain:
    """z = residual + dropout(x + bias), y = LayerNorm(z). z is a result too: the next sub-layer's residual.

    Dropout on its own keeps a mask of a byte an element; both ways keep each row's mean and deviation in float32.
    """
    row, line = shape.width * shape.each, shape.rows * 4
    full = dict.fromkeys(("x", "added", "dropped", "residual", "z", "y"), shape.full)
    vectors = {"bias": row, "weight": row, "shift": row, "mean": line, "rstd": line}
    steps = (
        Step("add", ("x", "bias"), ("added",)),
        Step("native_dropout", ("added",), ("dropped", "mask")),
        Step("add", ("dropped", "residual"), ("z",)),
        Step("native_layer_norm", ("z", "weight", "shift"), ("y", "mean", "rstd")),
    )
    return Chain(steps, {**full, **vectors, "mask": shape.rows * shape.width}, ("y", "z", "mean", "rstd"))


def gelu_chain(shape: Shape) -> Chain:
    """y = gelu(x + bias)."""
    sizes = {**dict.fromkeys(("x", "added", "y"), shape.full), "bias": shape.width * shape.each}
    return Chain((Step("add", ("x", "bias"), ("added",)), Step("gelu", ("added",), ("y",))), sizes, ("y",))


def softmax_chain(shape: Shape) -> Chain:
    """y = softmax(scale x + mask), with one row of bool as the mask of all rows."""
    sizes = {**dict.fromkeys(("x", "scaled", "masked", "y"), shape.full), "mask": shape.width}
    steps = (
        Step("mul", ("x",), ("scaled",)),
        Step("masked_fill", ("scaled", "mask"), ("masked",)),
        Step("_softmax", ("masked",), ("y",)),
    )
    return Chain(steps, sizes, ("y",))


CHAINS: Mapping[str, Callable[[Shape], Chain]] = {
    "bias + dropout + residual + LayerNorm": layernorm_chain,
    "bias + GELU": gelu_chain,
    "scale + mask + softmax": softmax_chain,
}

# GELU in its single steps, as a compiler meets it


def gelu_steps(x: Tensor, bias: Tensor) -> Tensor:
    """gelu(x + bias) by tanh, an element-wise operator for each operation: what a just-in-time compiler can fuse."""
    u = x + bias
    inner = 0.7978845608 * u * (1 + 0.044715 * u * u)
    return 0.5 * u * (1 + torch.tanh(inner))


def gelu_in_place(x: Tensor, bias: Tensor) -> Tensor:
    """The same, into memory that is already there. It reads and writes as many bytes; it only allocates fewer."""
    u = x + bias
    inner = (u * u).mul_(0.044715).add_(1).mul_(u).mul_(0.7978845608)
    return inner.tanh_().add_(1).mul_(u).mul_(0.5)


def gelu_in_blocks(x: Tensor, bias: Tensor, rows: int = 64) -> Tensor:
    """The same, `rows` rows at a time, so that what lies between two steps stays in the cache: fusion by hand."""
    out = torch.empty_like(x)
    for part, into in zip(x.split(rows), out.split(rows), strict=True):
        into.copy_(gelu_in_place(part, bias))
    return out
