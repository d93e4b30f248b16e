"""DeepSpeed's stages side by side: the same training at each, its losses and its bytes a rank."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

from torch import nn

from labkit.parallel.deepspeed import DeepSpeedEngine, deepspeed_config, parse_name
from labkit.parallel.processes import Here
from labkit.training import Batches, Training, fit
from labkit.training.engine import Objective


@dataclass(frozen=True)
class Stage:
    """One training at one stage, as rank 0 saw it. Bytes are of live tensors (`DeepSpeedEngine.held`)."""

    name: str
    ranks: int
    losses: list[float]
    parameters: int
    gradients: int
    optimizer: int

    @property
    def bytes(self) -> int:
        """All that ZeRO can shard, on one rank."""
        return self.parameters + self.gradients + self.optimizer


def stages(
    here: Here, model: nn.Module, objective: Objective, batches: Batches, settings: dict[str, Any], names: list[str]
) -> list[Stage]:
    """Train a copy of `model` at each of `names` ("zero2"), one after the other: the program of a rank."""
    return [_stage(here, copy.deepcopy(model), objective, batches, settings, name) for name in names]


def _stage(
    here: Here, model: nn.Module, objective: Objective, batches: Batches, settings: dict[str, Any], name: str
) -> Stage:
    chosen, held = Training(**settings), {}
    config = deepspeed_config(chosen, *parse_name(name), rows=batches.batch_size, world=here.world)
    engine = DeepSpeedEngine(model, objective, chosen, config)

    def look(step: int, loss: float) -> None:
        held.update(engine.held())
        here.beat()

    history = fit(model, objective, batches, engine=engine, on_step=look, **settings)
    return Stage(name, here.world, history.losses, **held)
