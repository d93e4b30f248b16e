"""The numbers of a training run, and the learning rate as a pure function of the step.

A schedule that is a function has no state: nothing of it needs saving, and a resumed run cannot be off by one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal

from labkit.config import AMOUNT, COUNT, RATE, SEED, SOME, check
from labkit.errors import UsageError


@dataclass(frozen=True)
class Training:
    """Settings of `fit`. Give `steps` or `epochs`; with neither, one epoch.

    `warmup` below 1 is a share of all steps, from 1 on a number of steps. `accumulate` micro-batches make one step.
    `clip` bounds the gradient's norm (None: no bound). `precision` "auto" is what the device does best: bf16, fp16 on
    GPUs without bf16, fp32 on CPUs. `save_every` counts steps (0: only at the end); `keep` checkpoints stay. A rank,
    or a loader worker, that does not answer for `timeout` seconds ends the run.
    Weight decay spares biases, norms and every other vector. Raises UsageError for a value out of range.
    """

    steps: Annotated[int | None, COUNT] = None
    epochs: Annotated[int | None, COUNT] = None
    lr: Annotated[float, RATE] = 5e-4
    schedule: Literal["linear", "onecycle", "constant"] = "linear"
    warmup: Annotated[float, AMOUNT] = 0.1
    weight_decay: Annotated[float, AMOUNT] = 0.01
    betas: tuple[float, float] = (0.9, 0.98)
    eps: Annotated[float, RATE] = 1e-8
    clip: Annotated[float | None, RATE] = 1.0
    accumulate: Annotated[int, COUNT] = 1
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    seed: Annotated[int, SEED] = 0
    save_every: Annotated[int, SOME] = 0
    keep: Annotated[int, COUNT] = 2
    timeout: Annotated[float, RATE] = 600.0

    def __post_init__(self) -> None:
        if self.steps is not None and self.epochs is not None:
            raise UsageError("give steps or epochs, not both")
        check(self)
        if not all(0 <= beta < 1 for beta in self.betas):
            raise UsageError(f"Training setting 'betas' must lie in [0, 1), not {self.betas}")

    def micro_batches(self, an_epoch: int) -> int:
        """How many micro-batches the whole run takes, where an epoch has `an_epoch` of them."""
        return self.steps * self.accumulate if self.steps else (self.epochs or 1) * an_epoch

    def total_steps(self, an_epoch: int) -> int:
        """How many optimizer steps the whole run takes; the last may hold fewer micro-batches."""
        return -(-self.micro_batches(an_epoch) // self.accumulate)


def learning_rate(settings: Training, step: int, total: int) -> float:
    """The rate of step `step` (0 … total - 1).

    linear: up over the warm-up, then down to 0 just after the last step (BERT, Devlin et al. 2019, appendix A.2).
    onecycle: cosine from lr/25 to lr over the warm-up and down to lr/250 000 at the last step, as
    `torch.optim.lr_scheduler.OneCycleLR` (Smith & Topin 2018, section 3).
    constant: up over the warm-up, then lr.
    """
    warm = int(settings.warmup * total) if settings.warmup < 1 else min(int(settings.warmup), total)
    if settings.schedule == "onecycle":
        return settings.lr * _one_cycle(step, warm, total)
    if step < warm:
        return settings.lr * (step + 1) / warm
    return settings.lr * (1.0 if settings.schedule == "constant" else (total - step) / max(total - warm, 1))


def _one_cycle(step: int, warm: int, total: int) -> float:
    """The share of the peak rate: the peak is at step warm - 1, the end at step total - 1."""
    low, high, end, peak = 1 / 25, 1.0, 1 / 250_000, warm - 1
    if step <= peak:
        start, stop, way = low, high, step / peak if peak else 1.0
    else:
        start, stop, way = high, end, (step - peak) / max(total - 1 - peak, 1)
    return stop + (start - stop) * (1 + math.cos(math.pi * way)) / 2
