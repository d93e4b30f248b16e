"""Adam with decoupled weight decay on flat tensors, a piece at a time, so that its temporaries stay small."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

PIECE = 1 << 15  # numbers


@dataclass(frozen=True)
class Adam:
    """Adam's settings (Kingma & Ba 2015; decay: Loshchilov & Hutter 2019). `decay` is for all parameters alike."""

    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    decay: float = 0.0

    @torch.no_grad()
    def update(self, state: State, gradient: Tensor, step: int, scale: float = 1.0) -> None:
        """One step, in place: `gradient` (numbers,) in any dtype, times `scale`; `step` counts from 1."""
        first, second = self.betas
        for start in range(0, len(gradient), PIECE):
            master, mean, square = (
                tensor[start : start + PIECE] for tensor in (state.master, state.mean, state.square)
            )
            g = gradient[start : start + PIECE].to(master.dtype).mul(scale)
            mean.lerp_(g, 1 - first)
            square.mul_(second).addcmul_(g, g, value=1 - second)
            root = (square / (1 - second**step)).sqrt_().add_(self.eps)
            master.mul_(1 - self.lr * self.decay).addcdiv_(mean, root, value=-self.lr / (1 - first**step))


class State:
    """What Adam keeps for a row of numbers: weights in full precision, running means of g and g², (numbers,) each.

    Where `weights` have the dtype already, they are their own masters.
    """

    def __init__(self, weights: Tensor, dtype: torch.dtype) -> None:
        self.master = weights.detach().to(dtype)
        self.mean, self.square = torch.zeros_like(self.master), torch.zeros_like(self.master)
