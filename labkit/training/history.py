"""What a run leaves behind: its losses and its speed."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from labkit.errors import TrainingError

LAG = 16  # steps between two looks at the losses of a GPU: each look waits for it


@dataclass
class History:
    """The course of one run, including the parts before a resume.

    `losses` has one number a step, `steps` counts optimizer steps, `seconds` the time in `fit`, `tokens` those trained
    on (without padding, over all ranks). `resumed` is the step this process went on from, `folder` the last checkpoint.
    """

    losses: list[float] = field(default_factory=list)
    steps: int = 0
    seconds: float = 0.0
    tokens: int = 0
    resumed: int = 0
    folder: Path | None = None

    @property
    def tokens_per_second(self) -> float:
        """Tokens a second; 0 where nothing was counted."""
        return self.tokens / self.seconds if self.seconds and self.tokens else 0.0


class Losses:
    """Losses on their way from the device to the history; stops the run at the first that is not a number."""

    def __init__(self, history: History, lag: int) -> None:
        self.history, self.lag = history, lag
        self.pending: list[Tensor] = []

    def add(self, loss: Tensor) -> None:
        """Take the loss of one more step, a scalar; looks at it at once, or with up to `lag` - 1 others later."""
        self.pending.append(loss)
        if len(self.pending) >= self.lag:
            self.settle()

    def settle(self) -> None:
        """Look at all that is pending. Raises TrainingError naming the first step whose loss is NaN or infinite."""
        if not self.pending:
            return
        values = torch.stack(self.pending).tolist()
        self.pending.clear()
        for value in values:
            if not math.isfinite(value):
                raise self._error(len(self.history.losses) + 1, f"the loss is {value}")
            self.history.losses.append(value)

    def check(self, model: nn.Module) -> None:
        """TrainingError where the last step left weights that are no numbers: no later loss would tell."""
        broken = next((name for name, value in model.named_parameters() if not value.isfinite().all()), None)
        if broken is not None:
            raise self._error(self.history.steps, f"it left {broken!r} with weights that are no numbers")

    def _error(self, step: int, what: str) -> TrainingError:
        last = self.history.folder
        kept = f"the last good checkpoint is {last}" if last else "no checkpoint was written"
        return TrainingError(f"step {step}: {what}; lower lr or raise warmup ({kept})")
