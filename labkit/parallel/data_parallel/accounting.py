"""What theory says that a rank keeps and sends under ZeRO (Rajbhandari et al. 2020, §5 and §7)."""

from __future__ import annotations

from typing import Any

import torch

from labkit.errors import unknown
from labkit.report import Table

PRECISIONS = {  # name -> dtype of weights, gradients and messages, and of the optimizer
    "bf16": (torch.bfloat16, torch.float32),
    "fp32": (torch.float32, torch.float32),
    "fp64": (torch.float64, torch.float64),
}


def bytes_a_parameter(stage: int, world: int, precision: str = "bf16") -> dict[str, float]:
    """Bytes of each parameter that a rank keeps, by kind. Without mixed precision, weights are their own masters."""
    light, full = dtypes(precision)
    optimizer = (2 if light == full else 3) * full.itemsize
    cut = [world if stage >= needed else 1 for needed in (3, 2, 1)]
    names = ("parameters", "gradients", "optimizer")
    return {n: s / c for n, s, c in zip(names, (light.itemsize, light.itemsize, optimizer), cut, strict=True)}


def bytes_sent(stage: int, world: int, size: int) -> int:
    """Bytes that a rank sends in a step, for `size` bytes of weights (padded to a multiple of `world` numbers)."""
    return (3 if stage == 3 else 2) * (world - 1) * size // world


def dtypes(name: str) -> tuple[torch.dtype, torch.dtype]:
    """The dtypes of weights, gradients and messages, and of the optimizer. UsageError for an unknown precision."""
    if name not in PRECISIONS:
        raise unknown("precision", name, PRECISIONS)
    return PRECISIONS[name]


def table(found: dict[str, Any], stage: int, world: int, precision: str) -> Table:
    """What `zero.train` measured on a rank, beside theory: bytes kept, bytes sent a step, loss."""
    numbers = found["size"] // dtypes(precision)[0].itemsize
    theory = {kind: each * numbers for kind, each in bytes_a_parameter(stage, world, precision).items()}
    rows = [(f"{kind}, bytes", f"{size:,}", f"{theory[kind]:,.0f}") for kind, size in found["held"].items()]
    sent = sum(found["sent"].values()) // max(1, found["steps"])
    rows.append(("sent a step, bytes", f"{sent:,}", f"{bytes_sent(stage, world, found['size']):,}"))
    if found["losses"]:
        rows.append(("loss, first → last", f"{found['losses'][0]:.4f} → {found['losses'][-1]:.4f}", ""))
    return Table((f"ZeRO-{stage}, {world} ranks, {precision}", "rank 0", "theory"), tuple(rows))
