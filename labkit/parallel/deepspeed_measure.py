"""DeepSpeed's stages side by side: the same training at each, its losses, bytes a rank and steps a second."""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass
from typing import Any

from torch import nn

from labkit.parallel.deepspeed import DeepSpeedEngine, deepspeed_config, parse_name
from labkit.parallel.processes import Here, launch
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
    steps_per_second: float

    @property
    def bytes(self) -> int:
        """All that ZeRO can shard, on one rank."""
        return self.parameters + self.gradients + self.optimizer


def stages(
    here: Here, model: nn.Module, objective: Objective, batches: Batches, settings: dict[str, Any], names: list[str]
) -> list[Stage]:
    """Train a copy of `model` at each of `names`, one after the other: the program of a rank."""
    return [_stage(here, copy.deepcopy(model), objective, batches, settings, name) for name in names]


def _stage(
    here: Here, model: nn.Module, objective: Objective, batches: Batches, settings: dict[str, Any], name: str
) -> Stage:
    chosen, held, times = Training(**settings), {}, []
    config = deepspeed_config(chosen, *parse_name(name), rows=batches.batch_size, world=here.world)
    engine = DeepSpeedEngine(model, objective, chosen, config)

    def look(step: int, loss: float) -> None:
        times.append(time.perf_counter())
        held.update(engine.held())
        here.beat()

    history = fit(model, objective, batches, engine=engine, on_step=look, **settings)
    later = times[len(times) // 2 :]  # the first steps set things up
    speed = (len(later) - 1) / (later[-1] - later[0]) if len(later) > 1 else float("nan")
    return Stage(name, here.world, history.losses, **held, steps_per_second=speed)


def measure(stage: int, world: int, model: nn.Module, objective: Objective, batches: Batches, **settings: Any) -> Stage:
    """One stage on `world` processes of this machine, for tables beside other implementations of ZeRO."""
    plain = {"precision": "fp32", "device": "cpu", **settings}
    return launch(stages, world, model, objective, batches, plain, [f"zero{stage}"], seconds=300.0)[0][0]
