"""Mixed precision from parts: 16-bit weights to compute with, fp32 masters to add to, a scale for the loss.

Three things go wrong in 16 bits, and each has its remedy (Micikevicius et al. 2018, Mixed precision training, section
3): a small update is rounded away when it is added to a weight, so an fp32 copy is updated; a small gradient is rounded
to zero in fp16, so the loss is multiplied by a scale; sums lose digits, so losses and norms are computed in fp32.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from labkit.errors import TrainingError, UsageError


class LossScaler:
    """The factor that the loss is multiplied by, and gradients divided by.

    After a step whose gradients overflowed (any inf or NaN), the step is left out and the scale halved; after
    `interval` good steps in a row it is doubled. `interval` 0 keeps it fixed. The defaults are torch.amp.GradScaler's.
    TrainingError where it would fall below 1.
    """

    def __init__(self, scale: float = 2.0**16, interval: int = 2000) -> None:
        if not (scale > 0 and interval >= 0):
            raise UsageError(f"loss scale {scale}, interval {interval}: above 0 and 0 (fixed) or more are needed")
        self.scale, self.interval = scale, interval
        self.good = self.skipped = 0

    def update(self, finite: bool) -> None:
        """Take note of a step: whether all its gradients were finite."""
        if not finite:
            self.good, self.skipped = 0, self.skipped + 1
            if self.interval and self.scale < 2:
                raise TrainingError(
                    f"gradients are not finite although the loss scale is down to {self.scale:g}: "
                    "this is not fp16's range; look for a NaN in the data or lower the learning rate"
                )
            if self.interval:
                self.scale /= 2
        elif self.interval:
            self.good += 1
            if self.good == self.interval:
                self.scale, self.good = self.scale * 2, 0


class MixedPrecision:
    """Trains `model` in `dtype` by an optimizer over fp32 masters; the model is cast in place.

    `make` makes an optimizer of a list of tensors, as `lambda tensors: Adam(tensors, lr=1e-3)`. There is one for each
    weight, so that only one gradient at a time is held in fp32. With dtype float32 (or float64) the masters are the
    weights themselves. With a `scaler`, a step with gradients that are not finite is left out; without one it is a
    TrainingError that names the first such weight.
    """

    def __init__(
        self,
        model: nn.Module,
        make: Callable[[list[Tensor]], torch.optim.Optimizer],
        dtype: torch.dtype = torch.bfloat16,
        scaler: LossScaler | None = None,
    ) -> None:
        self.names = [name for name, p in model.named_parameters() if p.requires_grad]
        self.weights = [p for p in model.parameters() if p.requires_grad]
        if not self.weights:
            raise UsageError("no parameter of the model requires a gradient: there is nothing to train")
        half = dtype in (torch.float16, torch.bfloat16)
        self.masters = [p.detach().float().clone() for p in self.weights] if half else []
        model.to(dtype)
        self.scaler = scaler
        self.optimizers = [make([tensor]) for tensor in (self.masters or self.weights)]

    @property
    def scale(self) -> float:
        """What the loss is multiplied by now."""
        return self.scaler.scale if self.scaler else 1.0

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of the scaled loss to the 16-bit gradients."""
        (loss * self.scale if self.scaler else loss).backward()

    def step(self) -> bool:
        """Update, round back to 16 bits, clear the gradients; False where the step was left out."""
        finite = self._finite()
        if finite:
            self._update_all()
        self.zero_grad()
        if self.scaler:
            self.scaler.update(finite)
        return finite

    def _update_all(self) -> None:
        for place in range(len(self.weights)):
            self.update(place)

    def update(self, place: int) -> None:
        """Update weight number `place` from its gradient."""
        weight, optimizer = self.weights[place], self.optimizers[place]
        if weight.grad is None:
            return
        if not self.masters:
            if self.scaler:
                weight.grad.div_(self.scale)
            optimizer.step()
            return
        master = self.masters[place]
        master.grad = weight.grad.float().div_(self.scale)  # the only fp32 gradient there is
        optimizer.step()
        master.grad = None
        weight.detach().copy_(master)

    def zero_grad(self) -> None:
        """Set the gradients to zero; they keep their memory."""
        for weight in self.weights:
            if weight.grad is not None:
                weight.grad.zero_()

    def _finite(self) -> bool:
        gradients = [weight.grad for weight in self.weights]
        bad = next((place for place, g in enumerate(gradients) if g is not None and not g.isfinite().all()), None)
        if bad is not None and self.scaler is None:
            raise TrainingError(
                f"the gradient of {self.names[bad]} is not finite; in fp16 give a LossScaler, else lower the rate"
            )
        return bad is None
