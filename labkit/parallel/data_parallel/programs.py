"""What lesson 06/03 runs on its ranks; see `labkit.parallel.processes.launch`."""

from __future__ import annotations

from typing import Any

import torch

from labkit.parallel.data_parallel.ddp import train as train_ddp
from labkit.parallel.data_parallel.older import one_layer, parameter_server
from labkit.parallel.data_parallel.workload import batch_of, loss_of, new_model
from labkit.parallel.data_parallel.zero import train
from labkit.parallel.processes import Here


def beside_each_other(here: Here, sizes: dict[str, int]) -> dict[str, dict[str, int]]:
    """Bytes that this rank sends: a step of a parameter server and of all-reduce; one layer handed out and gathered."""
    server = parameter_server(here, steps=1, rows=here.world, sizes=sizes)
    ring = train_ddp(here, steps=1, rows=here.world, sizes=sizes)
    step = {"parameter server": server["sent"], "ring all-reduce": sum(ring["sent"].values())}
    return {"a step": step, "one layer": one_layer(here, sizes)}


def stages(here: Here, steps: int, precision: str, sizes: dict[str, int]) -> dict[int, dict[str, Any]]:
    """`zero.train` under each stage; weights stay behind."""
    found = {stage: train(here, stage, steps, precision, sizes=sizes) for stage in (0, 1, 2, 3)}
    return {stage: {key: value for key, value in one.items() if key != "weights"} for stage, one in found.items()}


def alone(steps: int, rows: int = 8, lr: float = 1e-3, sizes: dict[str, int] | None = None) -> list[float]:
    """Losses of the same training by plain PyTorch in one process, in float64."""
    model = new_model(**(sizes or {}))
    optimizer, losses = torch.optim.Adam(model.parameters(), lr=lr), []
    for step in range(steps):
        loss = loss_of(model, batch_of(0, step, rows))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses
