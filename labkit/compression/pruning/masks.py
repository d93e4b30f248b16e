"""Pruning single weights: a mask of 0 and 1 multiplies each matrix while the model trains on.

*Magnitude* leaves out the smallest weights (Han et al. 2015). *Movement* leaves out those that training moves towards
0: the score of a weight is −Σ_t (∂L/∂w)·w, summed over the steps (Sanh et al. 2020, Movement pruning, §3). Its gradient
is that of the masked product, so a weight that is left out keeps its score moving and may come back. The share of zeros
grows with the steps, fast at first (Zhu & Gupta 2017, §2).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from labkit.compression import addressed
from labkit.errors import UsageError, unknown
from labkit.foundations.quantised import keeps_float, refuse_quantised

RULES = ("magnitude", "movement")


class Pruned(nn.Linear):
    """nn.Linear whose weight is multiplied by the buffer `mask` (out, in). Mask and score are kept in checkpoints."""

    mask: Tensor
    score: Tensor | None  # (out, in), a buffer too: what movement has summed up

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        weight = self.weight * self.mask
        if self.score is not None and weight.requires_grad:
            weight.register_hook(self._moved)
        return F.linear(x, weight, self.bias)

    def _moved(self, gradient: Tensor) -> None:
        self.score -= gradient.detach() * self.weight.detach()

    def importance(self) -> Tensor:
        """What the smallest of are left out, (out, in). UsageError where it holds NaN or infinity."""
        found = self.weight.detach().abs() if self.score is None else self.score
        if not found.isfinite().all():
            size = f"{self.out_features} × {self.in_features}"
            raise UsageError(f"NaN or infinity in a matrix of {size}: it has no smallest weight; load the model again")
        return found


def prepare(model: nn.Module, rule: str = "magnitude", skip: Sequence[str] = ()) -> nn.Module:
    """Give `model`'s linear layers masks of ones, in place; `rule` is one of RULES. `finish` ends it.

    Keys in `skip`, what is marked to stay as it is, and an output layer that shares its matrix with the embeddings get
    none. UsageError for an unknown rule, a key that matches nothing, and a model that is quantised or prepared already.
    """
    refuse_quantised(model, "pruning multiplies numbers")
    if rule not in RULES:
        raise unknown("rule", rule, RULES)
    if any(pruned_in(model)):
        raise UsageError("the model has masks already: finish(model) first")
    plain = {name: module for name, module in model.named_modules() if type(module) is nn.Linear}
    kept = {name for key in skip for name in addressed(plain, key)}
    tables = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    for name, module in plain.items():
        if name not in kept and not keeps_float(module) and id(module.weight) not in tables:
            module.__class__ = Pruned
            module.register_buffer("mask", torch.ones_like(module.weight))
            module.register_buffer("score", torch.zeros_like(module.weight) if rule == "movement" else None)
    return model


def pruned_in(model: nn.Module) -> list[Pruned]:
    """The layers that have masks."""
    return [module for module in model.modules() if isinstance(module, Pruned)]


def prune(model: nn.Module, sparsity: float, scope: Literal["model", "matrix"] = "model") -> nn.Module:
    """Set the masks so that this share of the weights is left out: the least important of the whole model, or of each
    matrix. Exactly that many are, whatever ties there are.

    UsageError for a model without masks, a sparsity outside [0, 1) (with 1, nothing would be left), and weights that
    are NaN or infinite; no mask is changed then.
    """
    layers = pruned_in(model)
    if not layers:
        raise UsageError("no layer of the model has a mask: prepare(model) first")
    if not 0 <= sparsity < 1:
        raise UsageError(f"sparsity={sparsity}: the share of weights that are left out must be at least 0 and below 1")
    scored = [(layer, layer.importance().flatten()) for layer in layers]
    for group in [scored] if scope == "model" else [[one] for one in scored]:
        scores = torch.cat([score for _, score in group])
        left_out = scores.topk(round(sparsity * len(scores)), largest=False).indices
        mask = torch.ones_like(scores).index_fill(0, left_out, 0.0)
        for (layer, _), part in zip(group, mask.split([len(score) for _, score in group]), strict=True):
            layer.mask.copy_(part.view_as(layer.mask))
    return model


def two_of_four(model: nn.Module) -> nn.Module:
    """Set the masks so that of every four weights in a row the two most important stay, as sparse tensor cores need it
    (Mishra et al. 2021). UsageError for a model without masks, a row that fours do not fill, and weights of NaN.
    """
    layers = pruned_in(model)
    if not layers or any(layer.in_features % 4 for layer in layers):
        raise UsageError("two of four needs masks (prepare the model) and rows of a multiple of 4: skip the others")
    for layer, score in [(layer, layer.importance()) for layer in layers]:
        best = score.unflatten(1, (-1, 4)).topk(2, -1).indices  # (out, in / 4, 2)
        mask = torch.zeros_like(layer.mask).unflatten(1, (-1, 4)).scatter(-1, best, 1.0)
        layer.mask.copy_(mask.flatten(1))
    return model


def cubic(step: int, begin: int, end: int, final: float) -> float:
    """The sparsity after `step`: 0 up to `begin`, `final` from `end` on, final · (1 − (1 − t)³) in between."""
    t = min(max((step - begin) / max(end - begin, 1), 0.0), 1.0)
    return final * (1 - (1 - t) ** 3)


def gradually(
    model: nn.Module, final: float, begin: int, end: int, every: int = 10, scope: Literal["model", "matrix"] = "model"
) -> Callable[[int, float], None]:
    """For `fit`'s `on_step`: every few steps the masks are set anew, by `cubic`, and last at `end`."""
    cubic_at = range(begin, end + 1, every)

    def on_step(step: int, loss: float) -> None:
        if step in cubic_at or step == end:
            prune(model, cubic(step, begin, end, final), scope)

    return on_step


def sparsity_of(model: nn.Module) -> float:
    """The share of zeros in the matrices of linear layers: masked, or zeros after `finish`."""
    zeros = total = 0
    for module in model.modules():
        if isinstance(module, nn.Linear):
            weight = module.weight * module.mask if isinstance(module, Pruned) else module.weight
            zeros, total = zeros + int((weight == 0).sum()), total + weight.numel()
    return zeros / max(total, 1)


def finish(model: nn.Module) -> nn.Module:
    """Make the weights that are left out 0 for good, in place; the layers are plain again."""
    for layer in pruned_in(model):
        layer.weight.data.masked_fill_(layer.mask == 0, 0.0)  # not −0.0, which a product may give
        del layer.mask
        del layer.score
        layer.__class__ = nn.Linear
    return model
