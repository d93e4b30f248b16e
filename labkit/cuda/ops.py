"""The operations as PyTorch knows them (`torch.ops.labkit`): shapes for `torch.compile`, gradients for autograd.

An operation is opaque to the compiler: inside it `run` chooses the kernel or the reference. Only first gradients
exist. `functions.py` has the public functions, which check their arguments and take any leading dimensions;
`ops_int8.py` has the integer operations.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from labkit.cuda import kernels, reference
from labkit.cuda.backends import choose


def run(backend: str, name: str, tensor: Tensor, *arguments: Any) -> Any:
    """`name` of reference.py or kernels.py, as `backend` and the tensor allow."""
    how = choose(backend, tensor)
    if how == "reference":
        found = getattr(reference, name)(*arguments)  # of any layout; the fake tensors promise contiguous ones
        return tuple(t.contiguous() for t in found) if isinstance(found, tuple) else found.contiguous()
    return getattr(kernels, name)(how, *arguments)


def _sums(x: Tensor, *sizes: int) -> Tensor:
    """An empty tensor of the type that sums are kept in."""
    return x.new_empty(sizes, dtype=torch.float64 if x.dtype == torch.float64 else torch.float32)


def define(name: str) -> Any:
    """The decorator that makes a function the operation `labkit::name`."""
    return torch.library.custom_op(f"labkit::{name}", mutates_args=())


# Bias + dropout + residual + LayerNorm


@define("layernorm_forward")
def layernorm_forward(
    x: Tensor,
    bias: Tensor | None,
    residual: Tensor,
    weight: Tensor,
    shift: Tensor,
    p: float,
    seed: Tensor,
    eps: float,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """y, z, mean, rstd; see reference.layernorm_forward."""
    return run(backend, "layernorm_forward", x, x, bias, residual, weight, shift, p, seed, eps)


@layernorm_forward.register_fake
def _(x, bias, residual, weight, shift, p, seed, eps, backend):
    y = x.new_empty(x.shape)
    return y, x.new_empty(x.shape), _sums(x, x.shape[0]), _sums(x, x.shape[0])


@define("layernorm_backward")
def layernorm_backward(
    dy: Tensor,
    dz: Tensor | None,
    z: Tensor,
    mean: Tensor,
    rstd: Tensor,
    weight: Tensor,
    p: float,
    seed: Tensor,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of residual, x, and of (bias, weight, shift); see reference.layernorm_backward."""
    return run(backend, "layernorm_backward", z, dy, dz, z, mean, rstd, weight, p, seed)


@layernorm_backward.register_fake
def _(dy, dz, z, mean, rstd, weight, p, seed, backend):
    dx = z.new_empty(z.shape if reference.threshold(p) else (0,))
    return z.new_empty(z.shape), dx, _sums(z, 3, z.shape[1])


def _layernorm_keep(ctx, inputs, output):
    _, bias, _, weight, shift, ctx.p, seed, _, ctx.backend = inputs
    _, z, mean, rstd = output
    ctx.types = (None if bias is None else bias.dtype, weight.dtype, shift.dtype)
    ctx.save_for_backward(z, mean, rstd, weight, seed)
    ctx.set_materialize_grads(False)


def _layernorm_gradients(ctx, dy, dz, _mean, _rstd):
    z, mean, rstd, weight, seed = ctx.saved_tensors
    dy = torch.zeros_like(z) if dy is None else dy
    down, dx, sums = layernorm_backward(dy, dz, z, mean, rstd, weight, ctx.p, seed, ctx.backend)
    dx = dx if reference.threshold(ctx.p) else down
    vectors = [None if dtype is None else sums[row].to(dtype) for row, dtype in enumerate(ctx.types)]
    return dx, vectors[0], down, vectors[1], vectors[2], None, None, None, None


layernorm_forward.register_autograd(_layernorm_gradients, setup_context=_layernorm_keep)


# Bias + GELU


@define("gelu_forward")
def gelu_forward(x: Tensor, bias: Tensor | None, use_tanh: bool, backend: str) -> Tensor:
    """gelu(x + bias)."""
    return run(backend, "gelu_forward", x, x, bias, use_tanh)


@gelu_forward.register_fake
def _(x, bias, use_tanh, backend):
    return x.new_empty(x.shape)


@define("gelu_backward")
def gelu_backward(dy: Tensor, x: Tensor, bias: Tensor | None, use_tanh: bool, backend: str) -> tuple[Tensor, Tensor]:
    """Gradients of x and the bias."""
    return run(backend, "gelu_backward", x, dy, x, bias, use_tanh)


@gelu_backward.register_fake
def _(dy, x, bias, use_tanh, backend):
    return x.new_empty(x.shape), _sums(x, 0 if bias is None else x.shape[1])


def _gelu_keep(ctx, inputs, output):
    x, bias, ctx.use_tanh, ctx.backend = inputs
    ctx.save_for_backward(x, bias)


def _gelu_gradients(ctx, dy):
    x, bias = ctx.saved_tensors
    dx, dbias = gelu_backward(dy, x, bias, ctx.use_tanh, ctx.backend)
    return dx, None if bias is None else dbias.to(bias.dtype), None, None


gelu_forward.register_autograd(_gelu_gradients, setup_context=_gelu_keep)


# Scale + mask + softmax


@define("softmax_forward")
def softmax_forward(x: Tensor, mask: Tensor | None, scale: float, backend: str) -> Tensor:
    """softmax(scale * x + mask) of (a, b, c, width)."""
    return run(backend, "softmax_forward", x, x, mask, scale)


@softmax_forward.register_fake
def _(x, mask, scale, backend):
    return x.new_empty(x.shape)


@define("softmax_backward")
def softmax_backward(dy: Tensor, y: Tensor, scale: float, backend: str) -> Tensor:
    """Gradient of x."""
    return run(backend, "softmax_backward", y, dy, y, scale)


@softmax_backward.register_fake
def _(dy, y, scale, backend):
    return y.new_empty(y.shape)


def _softmax_keep(ctx, inputs, output):
    _, _, ctx.scale, ctx.backend = inputs
    ctx.save_for_backward(output)


def _softmax_gradients(ctx, dy):
    return softmax_backward(dy, ctx.saved_tensors[0], ctx.scale, ctx.backend), None, None, None


softmax_forward.register_autograd(_softmax_gradients, setup_context=_softmax_keep)


# Cross-entropy, and the rows that have a target


@define("cross_entropy_forward")
def cross_entropy_forward(logits: Tensor, targets: Tensor, ignore_index: int, backend: str) -> tuple[Tensor, Tensor]:
    """Loss and log-sum-exp of each row."""
    return run(backend, "cross_entropy_forward", logits, logits, targets, ignore_index)


@cross_entropy_forward.register_fake
def _(logits, targets, ignore_index, backend):
    return _sums(logits, logits.shape[0]), _sums(logits, logits.shape[0])


@define("cross_entropy_backward")
def cross_entropy_backward(
    dloss: Tensor, logits: Tensor, targets: Tensor, lse: Tensor, ignore_index: int, backend: str
) -> Tensor:
    """Gradient of the logits."""
    return run(backend, "cross_entropy_backward", logits, dloss, logits, targets, lse, ignore_index)


@cross_entropy_backward.register_fake
def _(dloss, logits, targets, lse, ignore_index, backend):
    return logits.new_empty(logits.shape)


def _cross_entropy_keep(ctx, inputs, output):
    logits, targets, ctx.ignore_index, ctx.backend = inputs
    ctx.save_for_backward(logits, targets, output[1])


def _cross_entropy_gradients(ctx, dloss, _lse):
    return cross_entropy_backward(dloss, *ctx.saved_tensors, ctx.ignore_index, ctx.backend), None, None, None


cross_entropy_forward.register_autograd(_cross_entropy_gradients, setup_context=_cross_entropy_keep)


@define("gather_rows")
def gather_rows(x: Tensor, index: Tensor, backend: str) -> Tensor:
    """x[index]."""
    return run(backend, "gather_rows", x, x, index)


@gather_rows.register_fake
def _(x, index, backend):
    return x.new_empty(index.shape[0], x.shape[1])


@define("scatter_rows")
def scatter_rows(dy: Tensor, index: Tensor, rows: int, backend: str) -> Tensor:
    """Row i of `dy` at row index[i] of `rows`; zeros elsewhere."""
    return run(backend, "scatter_rows", dy, dy, index, rows)


@scatter_rows.register_fake
def _(dy, index, rows, backend):
    return dy.new_empty(rows, dy.shape[1])


def _gather_keep(ctx, inputs, output):
    x, index, ctx.backend = inputs
    ctx.rows = x.shape[0]
    ctx.save_for_backward(index)


def _gather_gradients(ctx, dy):
    return scatter_rows(dy, ctx.saved_tensors[0], ctx.rows, ctx.backend), None, None


gather_rows.register_autograd(_gather_gradients, setup_context=_gather_keep)
