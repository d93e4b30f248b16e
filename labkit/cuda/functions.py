"""The public functions: they check what a user can get wrong, bring tensors to two dimensions, and call the operations.
"""

from __future__ import annotations

import torch
from torch import Tensor

from labkit.cuda import ops
from labkit.errors import UsageError, unknown

REDUCTIONS = ("mean", "sum", "none")


def bias_dropout_residual_layernorm(
    x: Tensor,
    bias: Tensor | None,
    residual: Tensor,
    weight: Tensor,
    shift: Tensor,
    *,
    p: float = 0.1,
    seed: int | Tensor | None = None,
    eps: float = 1e-5,
    return_sum: bool = False,
    backend: str = "auto",
) -> Tensor | tuple[Tensor, Tensor]:
    """y = LayerNorm(z) * weight + shift, z = residual + dropout(x + bias): what follows a sub-layer of a transformer.

    x, residual (…, N); bias (may be None), weight, shift (N,). Returns y, or (y, z) with `return_sum`; both have
    gradients. The dropout mask is a function of (seed, row, column): `reference.keep_mask` shows it. `seed` is an int,
    an int64 tensor of one element, or None: drawn from PyTorch's generator. Use p=0 in evaluation.
    UsageError for shapes that do not fit or a p outside [0, 1).
    """
    width = x.shape[-1]
    if residual.shape != x.shape or residual.dtype != x.dtype:
        raise UsageError(f"residual is {_said(residual)}, and must be as x, {_said(x)}")
    for name, vector in (("bias", bias), ("weight", weight), ("shift", shift)):
        _vector(name, vector, width)
    if not 0 <= p < 1:
        raise UsageError(f"p is a share in [0, 1), not {p}")
    flat, other = x.reshape(-1, width), residual.reshape(-1, width)
    number = _seed(seed, x.device)
    y, z, _, _ = ops.layernorm_forward(flat, bias, other, weight, shift, float(p), number, float(eps), backend)
    return (y.view(x.shape), z.view(x.shape)) if return_sum else y.view(x.shape)


def bias_gelu(x: Tensor, bias: Tensor | None = None, *, backend: str = "auto") -> Tensor:
    """gelu(x + bias) of x (…, N) and bias (N,), by erf, as PyTorch's."""
    _vector("bias", bias, x.shape[-1])
    return ops.gelu_forward(x.reshape(-1, x.shape[-1]), bias, backend).view(x.shape)


def scale_mask_softmax(x: Tensor, mask: Tensor | None = None, *, scale: float = 1.0, backend: str = "auto") -> Tensor:
    """softmax(scale * x + mask) over the last of at most four dimensions.

    `mask` broadcasts to x; bool (True = attend) or a number that is added (-inf hides). It has no gradient. A row that
    is hidden whole gives zeros, with zero gradient, where PyTorch's own softmax gives NaN.
    """
    if not 1 <= x.dim() <= 4:
        raise UsageError(f"scale_mask_softmax takes one to four dimensions, x is {_said(x)}")
    mask = None if mask is None else _mask(mask, x)
    full = x.reshape((1,) * (4 - x.dim()) + x.shape)
    return ops.softmax_forward(full, mask, float(scale), backend).view(x.shape)


def cross_entropy(
    logits: Tensor, targets: Tensor, *, ignore_index: int = -100, reduction: str = "mean", backend: str = "auto"
) -> Tensor:
    """-log softmax(logits)[target], as `F.cross_entropy`: logits (…, V), targets (…) int64.

    "mean" is over the rows that are not ignored (NaN where all are, as in PyTorch); "none" gives float32 (…), 0 for
    ignored rows. A target outside the vocabulary gives NaN: a kernel cannot raise.
    """
    if reduction not in REDUCTIONS:
        raise unknown("reduction", reduction, REDUCTIONS)
    if targets.shape != logits.shape[:-1] or targets.dtype != torch.int64:
        raise UsageError(f"targets are {_said(targets)}, and must be int64 {tuple(logits.shape[:-1])} for these logits")
    rows = logits.reshape(-1, logits.shape[-1])
    loss, _ = ops.cross_entropy_forward(rows, targets.reshape(-1), ignore_index, backend)
    if reduction == "none":
        return loss.view(targets.shape)
    return loss.sum() if reduction == "sum" else loss.sum() / (targets != ignore_index).sum()


def gather_rows(
    x: Tensor, targets: Tensor, *, ignore_index: int = -100, backend: str = "auto"
) -> tuple[Tensor, Tensor]:
    """The rows of x (…, N) that have a target, and those targets: what goes on to the output layer.

    In masked language modelling 15 % of the rows have one, so the layer costs 85 % less. The number of rows depends
    on the data, so `torch.compile` breaks its graph here.
    """
    if targets.shape != x.shape[:-1]:
        raise UsageError(f"targets are {_said(targets)}, and must be {tuple(x.shape[:-1])} for this x")
    flat = targets.reshape(-1)
    index = (flat != ignore_index).nonzero()[:, 0]
    return ops.gather_rows(x.reshape(-1, x.shape[-1]), index, backend), flat[index]


def quantise_rows(x: Tensor, *, backend: str = "auto") -> tuple[Tensor, Tensor]:
    """int8 q (…, N) and float32 scales (…): x ≈ q * scale, with scale = largest |x| of the row / 127.

    A row of zeros has scale 0; one with NaN or infinity has scale NaN. No gradient.
    """
    q, scale = ops.quantise_rows(x.reshape(-1, x.shape[-1]), backend)
    return q.view(x.shape), scale.view(x.shape[:-1])


def int8_linear(
    x: Tensor, weight: Tensor, weight_scale: Tensor, bias: Tensor | None = None, *, backend: str = "auto"
) -> Tensor:
    """A linear layer in 8 bits: x (…, K), quantised row by row, times an int8 weight (N, K) with scales (N,).

    The products are summed in int32, exactly: on tensor cores from compute capability 8.0 on where K is a multiple of
    16, else by dp4a (6.1 on). Gradients go to x, through the de-quantised weight and straight through x's rounding, and
    to the bias (N,).
    """
    depth = x.shape[-1]
    if weight.dtype != torch.int8 or weight.dim() != 2 or weight.shape[1] != depth:
        raise UsageError(f"the weight is {_said(weight)}, and must be int8 (N, {depth}): see quantise_rows")
    _vector("weight_scale", weight_scale, weight.shape[0])
    _vector("bias", bias, weight.shape[0])
    out = ops.int8_linear(x.reshape(-1, depth), weight, weight_scale.float(), bias, backend)
    return out.view(*x.shape[:-1], weight.shape[0])


def _vector(name: str, vector: Tensor | None, width: int) -> None:
    if vector is not None and vector.shape != (width,):
        raise UsageError(f"{name} is {_said(vector)}, and must be ({width},)")


def _mask(mask: Tensor, x: Tensor) -> Tensor:
    """In four dimensions, as x will be."""
    if mask.dim() > x.dim() or any(m not in (1, n) for m, n in zip(mask.shape[::-1], x.shape[::-1], strict=False)):
        raise UsageError(f"the mask is {_said(mask)}, which does not broadcast to x, {_said(x)}")
    if mask.requires_grad:
        raise UsageError("the mask has no gradient: pass mask.detach()")
    if mask.dtype != torch.bool and not mask.is_floating_point():
        raise UsageError(f"the mask is {_said(mask)}, and must be bool (True = attend) or floating (added)")
    return mask.reshape((1,) * (4 - mask.dim()) + mask.shape)


def _seed(seed: int | Tensor | None, device: torch.device) -> Tensor:
    if isinstance(seed, Tensor):
        if seed.dtype != torch.int64 or seed.numel() != 1:
            raise UsageError(f"seed is {_said(seed)}, and must be an int64 tensor of one element")
        return seed.reshape(1).to(device)
    if seed is None:
        return torch.randint(2**62, (1,), device=device)
    return torch.full((1,), seed, dtype=torch.int64, device=device)


def _said(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"
