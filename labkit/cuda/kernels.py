"""The operations of `reference.py` through the compiled kernels, on a GPU or in the emulator.

Each function gives its launcher contiguous tensors and new ones for the results. `how` is "cuda", "emulate" or
"emulate-falling"; shapes are those of `reference.py`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from labkit.cuda import build
from labkit.cuda.build import TYPES
from labkit.cuda.reference import threshold


def _launch(how: str, file: str, name: str, *arguments: Any) -> None:
    build.load(file, emulate=how != "cuda")(name, *arguments, falling=how == "emulate-falling")


def _parts(how: str, file: str, *sizes: int, like: Tensor) -> Tensor:
    """Room for the sums that each block leaves."""
    count = build.load(file, emulate=how != "cuda").number(f"{file}_parts", *sizes)
    return torch.empty(count, dtype=torch.float32, device=like.device)


def _parameters(*vectors: Tensor | None) -> tuple[list[Tensor | None], torch.dtype]:
    """Contiguous, all of one type that the kernels read, and that type."""
    types = {vector.dtype for vector in vectors if vector is not None}
    dtype = types.pop() if len(types) == 1 else torch.float32
    dtype = dtype if dtype in TYPES else torch.float32
    return [None if vector is None else vector.to(dtype).contiguous() for vector in vectors], dtype


def layernorm_forward(
    how: str,
    x: Tensor,
    bias: Tensor | None,
    residual: Tensor,
    weight: Tensor,
    shift: Tensor,
    p: float,
    seed: Tensor,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """y, z, mean, rstd."""
    (rows, width), x = x.shape, x.contiguous()
    y, z = torch.empty_like(x), torch.empty_like(x)
    mean = torch.empty(rows, dtype=torch.float32, device=x.device)
    rstd = torch.empty_like(mean)
    vectors, dtype = _parameters(bias, weight, shift)
    inputs = (x, residual.contiguous(), *vectors, y, z, mean, rstd, rows, width)
    dropout = (threshold(p), 1 / (1 - p), seed)
    _launch(how, "layernorm", "layernorm_forward", *inputs, *dropout, float(eps), x.dtype, dtype)
    return y, z, mean, rstd


def layernorm_backward(
    how: str,
    dy: Tensor,
    dz: Tensor | None,
    z: Tensor,
    mean: Tensor,
    rstd: Tensor,
    weight: Tensor,
    p: float,
    seed: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of residual and x (empty without dropout), and (3, width) of bias, weight, shift."""
    rows, width = z.shape
    down = torch.empty_like(z)
    dx = torch.empty_like(z) if threshold(p) else z.new_empty(0)
    sums = torch.zeros(3, width, dtype=torch.float32, device=z.device)
    parts = _parts(how, "layernorm", rows, width, like=z)
    (gamma,), dtype = _parameters(weight)
    own = None if dz is None else dz.contiguous()
    inputs = (dy.contiguous(), own, z, mean, rstd, gamma, down, dx if threshold(p) else None, sums, parts, rows, width)
    dropout = (threshold(p), 1 / (1 - p), seed)
    _launch(how, "layernorm", "layernorm_backward", *inputs, *dropout, z.dtype, dtype)
    return down, dx, sums


def gelu_forward(how: str, x: Tensor, bias: Tensor | None) -> Tensor:
    """gelu(x + bias)."""
    (rows, width), x = x.shape, x.contiguous()
    y = torch.empty_like(x)
    (added,), dtype = _parameters(bias)
    _launch(how, "gelu", "gelu_forward", x, added, y, rows, width, x.dtype, dtype)
    return y


def gelu_backward(how: str, dy: Tensor, x: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
    """Gradients of x and of the bias (float32; empty without one)."""
    (rows, width), x = x.shape, x.contiguous()
    dx = torch.empty_like(x)
    dbias = torch.zeros(0 if bias is None else width, dtype=torch.float32, device=x.device)
    parts = None if bias is None else _parts(how, "gelu", rows, width, like=x)
    (added,), dtype = _parameters(bias)
    sums = None if bias is None else dbias
    _launch(how, "gelu", "gelu_backward", dy.contiguous(), x, added, dx, sums, parts, rows, width, x.dtype, dtype)
    return dx, dbias


def softmax_forward(how: str, x: Tensor, mask: Tensor | None, scale: float) -> Tensor:
    """softmax(scale * x + mask) of (a, b, c, width)."""
    x = x.contiguous()
    y, code, strides = torch.empty_like(x), -1, (0, 0, 0)
    if mask is not None:
        mask = mask if mask.dtype in (torch.bool, *TYPES) else mask.float()
        # Rows of the mask lie together in memory; the same row may serve many rows of x (stride 0).
        full = mask.expand(*mask.shape[:-1], x.shape[-1])
        mask = full if full.stride(-1) == 1 or x.shape[-1] == 1 else full.contiguous()
        strides = mask.expand_as(x).stride()[:3]
        code = len(TYPES) if mask.dtype == torch.bool else TYPES.index(mask.dtype)
    _launch(how, "softmax", "softmax_forward", x, mask, y, *x.shape, *strides, float(scale), x.dtype, code)
    return y


def softmax_backward(how: str, dy: Tensor, y: Tensor, scale: float) -> Tensor:
    """scale * y * (dy - sum(dy * y))."""
    y, dx = y.contiguous(), torch.empty_like(y, memory_format=torch.contiguous_format)
    sizes = (y.shape[:-1].numel(), y.shape[-1])
    _launch(how, "softmax", "softmax_backward", dy.contiguous(), y, dx, *sizes, float(scale), y.dtype)
    return dx


def quantise_rows(how: str, x: Tensor) -> tuple[Tensor, Tensor]:
    """int8 rows and their float32 scales."""
    (rows, width), x = x.shape, x.contiguous()
    q = torch.empty(rows, width, dtype=torch.int8, device=x.device)
    scale = torch.zeros(rows, dtype=torch.float32, device=x.device)
    _launch(how, "int8", "quantise_rows", x, q, scale, rows, width, x.dtype)
    return q, scale


def int8_matmul(
    how: str,
    q: Tensor,
    scale: Tensor,
    weight: Tensor,
    weight_scale: Tensor,
    bias: Tensor | None,
    dtype: torch.dtype,
) -> Tensor:
    """(q @ weightᵀ) * scale * weight_scale + bias."""
    q, weight = q.contiguous(), weight.contiguous()
    rows, depth, columns = *q.shape, weight.shape[0]
    out = torch.empty(rows, columns, dtype=dtype, device=q.device)
    (added,), bias_dtype = _parameters(bias)
    fits = depth % 16 == 0 and q.data_ptr() % 16 == 0 and weight.data_ptr() % 16 == 0
    use_tensor = fits and (how != "cuda" or torch.cuda.get_device_capability(q.device) >= (8, 0))
    inputs = (q, scale.contiguous(), weight, weight_scale.contiguous(), added, out, rows, columns, depth)
    _launch(how, "int8", "int8_matmul", *inputs, int(use_tensor), dtype, bias_dtype)
    return out


def int8_linear(how: str, x: Tensor, weight: Tensor, weight_scale: Tensor, bias: Tensor | None) -> Tensor:
    """x, quantised row by row, times an int8 weight."""
    return int8_matmul(how, *quantise_rows(how, x), weight, weight_scale, bias, x.dtype)


def cross_entropy_forward(how: str, logits: Tensor, targets: Tensor, ignore_index: int) -> tuple[Tensor, Tensor]:
    """Loss and log-sum-exp of each row."""
    (rows, width), logits = logits.shape, logits.contiguous()
    loss = torch.empty(rows, dtype=torch.float32, device=logits.device)
    lse = torch.empty_like(loss)
    inputs = (logits, targets.contiguous(), loss, lse)
    _launch(how, "cross_entropy", "cross_entropy_forward", *inputs, rows, width, ignore_index, logits.dtype)
    return loss, lse


def cross_entropy_backward(
    how: str, dloss: Tensor, logits: Tensor, targets: Tensor, lse: Tensor, ignore_index: int
) -> Tensor:
    """(softmax - one-hot) * dloss."""
    (rows, width), logits = logits.shape, logits.contiguous()
    down = torch.empty_like(logits)
    inputs = (dloss.float().contiguous(), logits, targets.contiguous(), lse, down)
    _launch(how, "cross_entropy", "cross_entropy_backward", *inputs, rows, width, ignore_index, logits.dtype)
    return down


def gather_rows(how: str, x: Tensor, index: Tensor) -> Tensor:
    """x[index]."""
    out = x.new_empty(index.shape[0], x.shape[1])
    _move(how, "gather_rows", x, index, out)
    return out


def scatter_rows(how: str, dy: Tensor, index: Tensor, rows: int) -> Tensor:
    """Row i of `dy` at row index[i]; zeros elsewhere."""
    out = dy.new_zeros(rows, dy.shape[1])
    _move(how, "scatter_rows", dy, index, out)
    return out


def _move(how: str, name: str, source: Tensor, index: Tensor, out: Tensor) -> None:
    each = source.shape[1] * source.element_size()
    _launch(how, "cross_entropy", name, source.contiguous(), index.contiguous(), out, index.shape[0], each)
