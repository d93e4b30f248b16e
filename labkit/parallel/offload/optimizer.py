"""The optimizer on the host: 12 of mixed precision's 16 bytes a weight leave the device, and 4 cross the link a step.

Ren et al. 2021, ZeRO-Offload, section 4. The device keeps 16-bit weights and computes gradients; each gradient goes to
the host as soon as it is there, while the backward pass goes on; the host updates its fp32 masters, and each weight
goes back while the next is updated. The arithmetic is that of `MixedPrecision`, so results are the same bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from labkit.parallel.memory.precision import LossScaler, MixedPrecision
from labkit.parallel.offload.link import Link, Pending
from labkit.parallel.trace import Event, Trace, busy


class OffloadedOptimizer(MixedPrecision):
    """`MixedPrecision` whose masters and optimizer states live on the host, behind `link`.

    With `overlap` False the three parts follow one another: all gradients out, all updates, all weights back. Events:
    lane "device" (the backward pass), "link" (each copy), "host" (each update).
    """

    def __init__(
        self,
        model: nn.Module,
        make: Callable[[list[Tensor]], torch.optim.Optimizer],
        link: Link,
        dtype: torch.dtype = torch.bfloat16,
        scaler: LossScaler | None = None,
        overlap: bool = True,
        trace: Trace | None = None,
    ) -> None:
        super().__init__(model, make, dtype, scaler)
        self.masters = [p.detach().float().cpu().clone() for p in (self.masters or self.weights)]
        self.optimizers = [make([master]) for master in self.masters]
        self.link, self.overlap, self.trace = link, overlap, trace or Trace()
        self.gradients = [link.host(weight) for weight in self.weights]  # where gradients arrive
        self.rounded = [link.host(weight) for weight in self.weights]  # what goes back
        self.sending: dict[int, Pending] = {}
        self.last = True
        for place, weight in enumerate(self.weights):
            weight.register_post_accumulate_grad_hook(lambda _, place=place: self._arrived(place))

    def backward(self, loss: Tensor, last: bool = True) -> None:
        """Add the gradients of the scaled loss; say `last=False` for all but a step's last micro-batch."""
        self.last = last
        with self.trace.span("backward", "device"):
            super().backward(loss)

    def _arrived(self, place: int) -> None:
        if self.overlap and self.last:
            self._send(place)

    def _send(self, place: int) -> None:
        self.sending[place] = self.link.copy(self.weights[place].grad, self.gradients[place], "gradient")

    def step(self) -> bool:
        """Update on the host, bring the weights back, clear the gradients; False where the step was left out."""
        if not self.overlap:
            for place, weight in enumerate(self.weights):
                if weight.grad is not None:
                    self._send(place)
        for pending in self.sending.values():
            pending.result()  # all of them: an overflow in the last gradient must leave out every update
        finite = super().step()
        self.sending.clear()
        return finite

    def _update_all(self) -> None:
        """In the order of the gradients' arrival; each weight goes back while the next is updated."""
        if self.overlap:
            returning = [self._update_and_return(place) for place in self.sending]
        else:
            for place in self.sending:
                self.update(place)
            returning = [self.link.copy(self.rounded[place], self.weights[place], "weight") for place in self.sending]
        for pending in returning:
            pending.result()

    def _update_and_return(self, place: int) -> Pending:
        self.update(place)
        return self.link.copy(self.rounded[place], self.weights[place], "weight")

    def update(self, place: int) -> None:
        """Update master number `place` from the gradient that arrived, and round it."""
        with self.trace.span("update", "host"):
            master = self.masters[place]
            master.grad = self.gradients[place].float().div_(self.scale)
            self.optimizers[place].step()
            master.grad = None
            self.rounded[place].copy_(master)


def overlapped(events: Sequence[Event]) -> float:
    """The share of the link's busy time during which the device or the host was busy too, from 0 to 1."""
    link = [event for event in events if event.lane == "link"]
    others = [event for event in events if event.lane != "link"]
    alone = busy(list(events)) - busy(others)
    return 1 - alone / busy(link) if link else 0.0
