"""LAMB: Adam whose step is, for every weight matrix, in proportion to that matrix.

You et al. 2020, Large batch optimization for deep learning: training BERT in 76 minutes, algorithm 2. With Adam's
averages m and v, the update r = m̂ / (√v̂ + ε) + λ w is stretched to the length of the weight itself:
w ← w − lr · (φ(‖w‖) / ‖r‖) · r. The *trust ratio* lets a large rate move no layer by more than its own size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from labkit.errors import UsageError


class LAMB(torch.optim.Optimizer):
    """The optimizer, with φ(‖w‖) = ‖w‖. UsageError for a rate, betas or a decay out of bounds.

    The ratio is 1 where the weight or its update is all zero, so that a zero weight can begin to move.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.0,
    ) -> None:
        if not (lr > 0 and eps > 0 and weight_decay >= 0 and all(0 <= b < 1 for b in betas)):
            raise UsageError(
                f"LAMB: lr {lr}, betas {betas}, eps {eps}, weight_decay {weight_decay}: rates must be above 0, "
                "betas in [0, 1), the decay 0 or more"
            )
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step; `state[weight]["ratio"]` keeps the trust ratio that was used."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._update(weight, group)
        return loss

    def _update(self, weight: Tensor, group: dict[str, Any]) -> None:
        state, (beta1, beta2) = self.state[weight], group["betas"]
        if not state:
            state["step"], state["ratio"] = torch.zeros(()), weight.new_ones(())
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(weight), torch.zeros_like(weight)
        state["step"] += 1
        t, m, v = int(state["step"]), state["exp_avg"], state["exp_avg_sq"]
        m.mul_(beta1).add_(weight.grad, alpha=1 - beta1)
        v.mul_(beta2).addcmul_(weight.grad, weight.grad, value=1 - beta2)
        update = m / (1 - beta1**t) / ((v / (1 - beta2**t)).sqrt() + group["eps"])
        update.add_(weight, alpha=group["weight_decay"])
        state["ratio"] = trust_ratio(weight, update)
        weight.sub_(update * (group["lr"] * state["ratio"]))


def trust_ratio(weight: Tensor, update: Tensor) -> Tensor:
    """‖weight‖ / ‖update‖, a scalar: the share of its own length that a weight moves is then the learning rate."""
    size, length = weight.norm(), update.norm()
    usable = (size > 0) & (length > 0)
    return torch.where(usable, size / length.clamp_min(torch.finfo(length.dtype).tiny), torch.ones_like(size))
