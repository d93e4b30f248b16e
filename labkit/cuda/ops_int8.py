"""The integer operations as PyTorch knows them; see `ops.py`."""

from __future__ import annotations

import torch
from torch import Tensor

from labkit.cuda.ops import define, run


@define("quantise_rows")
def quantise_rows(x: Tensor, backend: str) -> tuple[Tensor, Tensor]:
    """int8 rows and their scales. No gradient."""
    return run(backend, "quantise_rows", x, x)


@quantise_rows.register_fake
def _(x, backend):
    return x.new_empty(x.shape, dtype=torch.int8), x.new_empty(x.shape[0], dtype=torch.float32)


@define("int8_matmul")
def int8_matmul(
    q: Tensor,
    scale: Tensor,
    weight: Tensor,
    weight_scale: Tensor,
    bias: Tensor | None,
    dtype: torch.dtype,
    path: str,
    backend: str,
) -> Tensor:
    """(q @ weightᵀ) * scale * weight_scale + bias. No gradient."""
    return run(backend, "int8_matmul", scale, q, scale, weight, weight_scale, bias, dtype, path)


@int8_matmul.register_fake
def _(q, scale, weight, weight_scale, bias, dtype, path, backend):
    return q.new_empty(q.shape[0], weight.shape[0], dtype=dtype)


@define("int8_linear")
def int8_linear(
    x: Tensor, weight: Tensor, weight_scale: Tensor, bias: Tensor | None, path: str, backend: str
) -> Tensor:
    """x, quantised row by row, times an int8 weight."""
    q, scale = run(backend, "quantise_rows", x, x)
    return run(backend, "int8_matmul", x, q, scale, weight, weight_scale, bias, x.dtype, path)


@int8_linear.register_fake
def _(x, weight, weight_scale, bias, path, backend):
    return x.new_empty(x.shape[0], weight.shape[0])


def _int8_keep(ctx, inputs, output):
    x, weight, weight_scale, bias, *_ = inputs
    ctx.bias_type = None if bias is None else bias.dtype
    ctx.save_for_backward(weight, weight_scale)


def _int8_gradients(ctx, dy):
    # Straight through the rounding of x, as LLM.int8() does with frozen weights (Dettmers et al. 2022, section 2).
    weight, scale = ctx.saved_tensors
    dx = dy @ (weight.to(dy.dtype) * scale[:, None].to(dy.dtype))
    return dx, None, None, None if ctx.bias_type is None else dy.sum(0).to(ctx.bias_type), None, None


int8_linear.register_autograd(_int8_gradients, setup_context=_int8_keep)
