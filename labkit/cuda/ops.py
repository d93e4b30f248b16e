"""The operations as PyTorch knows them (`torch.ops.labkit`): shapes for `torch.compile`, gradients for autograd; and
which implementation runs, the choice behind `backend=`.

An operation takes what its function in `reference.py` takes, and then `backend`. It is opaque to the compiler: inside
it runs the reference, or the kernel of the same name in `kernels.py`; the compiler learns the shapes of its results
from the reference. Only first gradients exist. `functions.py` has the public functions, which check their arguments
and take any leading dimensions.
"""

from __future__ import annotations

import functools
import warnings
from typing import Any

import torch
from torch import Tensor

from labkit.cuda import build, kernels, reference
from labkit.cuda.build import TYPES
from labkit.errors import UsageError, unknown

BACKENDS = ("auto", "reference", "emulate", "emulate-falling", "cuda")


def choose(backend: str, tensor: Tensor) -> str:
    """The backend that runs for `tensor`: "auto" becomes "cuda" or "reference".

    UsageError for an unknown name, or where the wished backend cannot take the tensor.
    """
    if backend not in BACKENDS:
        raise unknown("backend", backend, BACKENDS)
    if backend == "auto":
        reason = _no_kernels(tensor)
        if reason:
            _notice(reason)
        return "reference" if reason else "cuda"
    if backend == "reference":
        return backend
    if tensor.dtype not in TYPES:
        raise UsageError(f"the kernels take float32, float16 and bfloat16, not {tensor.dtype}: use backend='reference'")
    device = "cuda" if backend == "cuda" else "cpu"
    if tensor.device.type != device:
        raise UsageError(f"backend={backend!r} takes {device} tensors, and was given one on {tensor.device}")
    return backend


def _no_kernels(tensor: Tensor) -> str:
    """Why a kernel cannot run on `tensor`; empty where it can."""
    if not tensor.is_cuda:
        return "no CUDA device is here" if not torch.cuda.is_available() else "the tensors are on the CPU"
    if tensor.dtype not in TYPES:
        return f"the kernels do not take {tensor.dtype}"
    return _cannot_build()


@functools.cache
def _cannot_build() -> str:
    if build.find_nvcc() is None:
        return "nvcc, the CUDA compiler, is not on PATH"
    if torch.cuda.get_device_capability() < build.OLDEST:
        return f"{torch.cuda.get_device_name()} is older than compute capability 7.0"
    return ""


@functools.cache
def _notice(reason: str) -> None:
    """Say once why the reference runs."""
    warnings.warn(f"labkit.cuda: {reason}: plain PyTorch stands in for the kernels", UserWarning, stacklevel=2)


def operation(name: str) -> Any:
    """The operation `labkit::name`; its first argument is the tensor whose type and device the backend must take."""
    plain, kernel = getattr(reference, name), getattr(kernels, name)

    def run(*given: Any) -> Any:
        *arguments, backend = given
        how = choose(backend, arguments[0])
        return by_reference(*given) if how == "reference" else kernel(how, *arguments)

    def by_reference(*given: Any) -> Any:
        found = plain(*given[:-1])  # of any layout; a kernel's results, and so what the compiler knows, are contiguous
        return tuple(t.contiguous() for t in found) if isinstance(found, tuple) else found.contiguous()

    schema = torch.library.infer_schema(plain, mutates_args=()).replace(") -> ", ", str backend) -> ")
    made = torch.library.custom_op(f"labkit::{name}", run, mutates_args=(), schema=schema)
    made.register_fake(by_reference)
    return made


# Bias + dropout + residual + LayerNorm

layernorm_forward = operation("layernorm_forward")
layernorm_backward = operation("layernorm_backward")


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

gelu_forward = operation("gelu_forward")
gelu_backward = operation("gelu_backward")


def _gelu_keep(ctx, inputs, output):
    x, bias, ctx.backend = inputs
    ctx.save_for_backward(x, bias)


def _gelu_gradients(ctx, dy):
    x, bias = ctx.saved_tensors
    dx, dbias = gelu_backward(dy, x, bias, ctx.backend)
    return dx, None if bias is None else dbias.to(bias.dtype), None


gelu_forward.register_autograd(_gelu_gradients, setup_context=_gelu_keep)


# Scale + mask + softmax

softmax_forward = operation("softmax_forward")
softmax_backward = operation("softmax_backward")


def _softmax_keep(ctx, inputs, output):
    _, _, ctx.scale, ctx.backend = inputs
    ctx.save_for_backward(output)


def _softmax_gradients(ctx, dy):
    return softmax_backward(dy, ctx.saved_tensors[0], ctx.scale, ctx.backend), None, None, None


softmax_forward.register_autograd(_softmax_gradients, setup_context=_softmax_keep)


# Cross-entropy, and the rows that have a target

cross_entropy_forward = operation("cross_entropy_forward")
cross_entropy_backward = operation("cross_entropy_backward")


def _cross_entropy_keep(ctx, inputs, output):
    logits, targets, ctx.ignore_index, ctx.backend = inputs
    ctx.save_for_backward(logits, targets, output[1])


def _cross_entropy_gradients(ctx, dloss, _lse):
    return cross_entropy_backward(dloss, *ctx.saved_tensors, ctx.ignore_index, ctx.backend), None, None, None


cross_entropy_forward.register_autograd(_cross_entropy_gradients, setup_context=_cross_entropy_keep)


gather_rows = operation("gather_rows")
scatter_rows = operation("scatter_rows")


def _gather_keep(ctx, inputs, output):
    x, index, ctx.backend = inputs
    ctx.rows = x.shape[0]
    ctx.save_for_backward(index)


def _gather_gradients(ctx, dy):
    return scatter_rows(dy, ctx.saved_tensors[0], ctx.rows, ctx.backend), None, None


gather_rows.register_autograd(_gather_gradients, setup_context=_gather_keep)


# Eight-bit integers

quantise_rows = operation("quantise_rows")
int8_linear = operation("int8_linear")


def _int8_keep(ctx, inputs, output):
    x, weight, weight_scale, bias, *_ = inputs
    ctx.bias_type = None if bias is None else bias.dtype
    ctx.save_for_backward(weight, weight_scale)


def _int8_gradients(ctx, dy):
    # Straight through the rounding of x, as LLM.int8() does with frozen weights (Dettmers et al. 2022, section 2).
    weight, scale = ctx.saved_tensors
    dx = dy @ (weight.to(dy.dtype) * scale[:, None].to(dy.dtype))
    return dx, None, None, None if ctx.bias_type is None else dy.sum(0).to(ctx.bias_type), None


int8_linear.register_autograd(_int8_gradients, setup_context=_int8_keep)
