"""PanGu-α's partition of a layer: the input by rows, the parameters by columns and by rows, in one grid of ranks.

(Zeng et al. 2021, "PanGu-α", figure 6.) There a compiler lays out every operator; here it is written by hand for the
pair φ(X A) B, so that its messages can be counted. The rows of X are over `data` ranks, A's columns and B's rows over
`model` ranks: forward one sum over `model`; backward one over `model` for X, and one over `data` for A and for B.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from labkit.parallel.data_parallel.collectives import Communicator
from labkit.parallel.model_parallel.tensor_parallel import Spread, Sum, ring_bytes
from labkit.parallel.model_parallel.topology import Topology
from labkit.parallel.processes import Here


def inputs(rows: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """X (rows, width), A (width, 4 width) and B (4 width, width), the same on every rank."""
    generator = torch.Generator().manual_seed(0)
    sizes = ((rows, width), (width, 4 * width), (4 * width, width))
    return tuple(torch.randn(size, generator=generator, dtype=torch.float64) / size[1] ** 0.5 for size in sizes)


def row_column(here: Here, data: int, model: int, rows: int, width: int) -> tuple[Tensor, list[Tensor], dict[str, int]]:
    """This rank's rows of Y = gelu(X A) B; the gradients of its parts of X, A, B for the loss Σ Y² / 2; bytes sent."""
    grid = Topology(1, data, model)
    place = grid.coordinate(here.rank)
    over_data = Communicator(here, grid.group("data", here.rank), "data")
    over_model = Communicator(here, grid.group("model", here.rank), "model")
    X, A, B = inputs(rows, width)
    x = X.chunk(data, 0)[place.data].clone().requires_grad_()
    a = A.chunk(model, 1)[place.model].clone().requires_grad_()
    b = B.chunk(model, 0)[place.model].clone().requires_grad_()
    y = Sum.apply(functional.gelu(Spread.apply(x, over_model) @ a) @ b, over_model)
    (y.square().sum() / 2).backward()
    for weight in (a, b):
        over_data.all_reduce(weight.grad)
    return y.detach(), [x.grad, a.grad, b.grad], {"data": over_data.sent, "model": over_model.sent}


def on_layouts(here: Here, layouts: Sequence[tuple[int, int, int]], width: int) -> list[tuple[Any, ...]]:
    """`row_column` for several (data, model, rows), one after the other."""
    return [row_column(here, data, model, rows, width) for data, model, rows in layouts]


def partition_bytes(data: int, model: int, rows: int, width: int, itemsize: int = 8) -> dict[str, int]:
    """Bytes each rank sends in `row_column`, in closed form: activations go by rows / data, parameters by 1 / model."""
    activations = 2 * ring_bytes(rows // data * width, model, itemsize)
    return {"data": 2 * ring_bytes(4 * width * width // model, data, itemsize), "model": activations}
