"""Quantisation-aware training: the forward pass sees the codes, the optimizer keeps full weights behind them.

Rounding has no useful gradient, so it is passed by: the gradient of what the codes stand for goes to the full weight as
it is (straight-through, Bengio et al. 2013). The layers change their class for the time of training and keep their
parameters, so optimizer, checkpoints and hooks know no difference.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from labkit.compression import addressed
from labkit.compression.packed import rounded
from labkit.compression.ternary import Codes, loss_aware, twn
from labkit.errors import UsageError
from labkit.foundations.quantised import keeps_float, refuse_quantised

Rule = Callable[[Tensor, bool], Codes]  # (weight (rows, columns), whether each row has a scale) -> codes, scale
FADING = 0.999  # of the squared gradients' average, as in Adam


class Aware(nn.Module):
    """What both kinds of layers share; `rule` makes codes of the full `weight`."""

    weight: nn.Parameter
    rule: Rule | None  # None: loss-aware
    curvature: Tensor | None
    TABLE = False

    def _begin(self, rule: Rule | None, activations: bool) -> None:
        self.rule, self.activations, self.curvature, self.watch = rule, activations, None, None
        if rule is None:
            self.watch = self.weight.register_post_accumulate_grad_hook(self._learned)

    def _learned(self, weight: Tensor) -> None:
        square = weight.grad.detach().square()
        self.curvature = square if self.curvature is None else self.curvature.lerp_(square, 1 - FADING)

    def _end(self, full: bool) -> None:
        if self.watch is not None:
            self.watch.remove()
        if not full:
            self.weight.data.copy_(self.shown().detach())
        for name in ("rule", "activations", "curvature", "watch"):
            delattr(self, name)

    def shown(self) -> Tensor:
        """What the codes stand for, with the full weight's gradient."""
        weight = self.weight.detach()
        if self.curvature is None:
            codes, scale = (self.rule or twn)(weight, self.TABLE)
        else:
            codes, scale = loss_aware(weight, self.curvature.sqrt(), self.TABLE)
        return self.weight + (codes * scale - weight)


class AwareLinear(Aware, nn.Linear):
    """nn.Linear that computes with codes."""

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return F.linear(rounded(x) if self.activations else x, self.shown(), self.bias)


class AwareEmbedding(Aware, nn.Embedding):
    """nn.Embedding that gives codes, with a scale per row."""

    TABLE = True

    def forward(self, ids: Tensor) -> Tensor:  # noqa: D102
        return F.embedding(ids, self.shown())


def prepare(model: nn.Module, rule: Rule | None, skip: Sequence[str] = (), *, activations: bool = True) -> nn.Module:
    """From now on `model` computes with the codes that `rule` makes of its linear layers and tables, in place.

    `rule` is `ternary.twn` or `binary.bwn`; None is the loss-aware ternary rule, which watches the gradients. Keys in
    `skip`, and what is marked to stay in floating point, stay; `activations` are rounded to 8 bits. `finish` ends it.
    UsageError for a key that matches nothing, a model that is quantised, or one that is prepared already.
    """
    refuse_quantised(model, "quantisation-aware training keeps full weights")
    if any(isinstance(module, Aware) for module in model.modules()):
        raise UsageError("the model is prepared already: finish(model) first")
    kinds = {nn.Linear: AwareLinear, nn.Embedding: AwareEmbedding}
    plain = {name: module for name, module in model.named_modules() if type(module) in kinds}
    kept = {name for key in skip for name in addressed(plain, key)}
    for name, module in plain.items():
        if name not in kept and not keeps_float(module):
            module.__class__ = kinds[type(module)]
            module._begin(rule, activations)
    return model


def finish(model: nn.Module, *, full: bool = False) -> nn.Module:
    """End it, in place: the layers are plain again, and their weights are what the codes stand for, which packing keeps
    exactly; with `full` they are the full weights behind the codes, to be split or trained on.
    """
    for module in [module for module in model.modules() if isinstance(module, Aware)]:
        module._end(full)
        module.__class__ = nn.Embedding if module.TABLE else nn.Linear
    return model
