"""What lesson 06/03 runs on its ranks; see `labkit.parallel.processes.launch`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from labkit.parallel.data_parallel.collectives import Communicator
from labkit.parallel.data_parallel.ddp import train as train_ddp
from labkit.parallel.data_parallel.older import one_layer, parameter_server
from labkit.parallel.data_parallel.workload import batch_of, loss_of, new_model
from labkit.parallel.data_parallel.zero import train
from labkit.parallel.processes import Here


def collectives(here: Here, numbers: int) -> dict[str, tuple[bool, int]]:
    """Each collective on `numbers` float64: whether every rank has what it should, and the bytes this rank sent."""
    group, mine = Communicator(here), torch.arange(float(numbers), dtype=torch.float64) + here.rank
    total = here.world * torch.arange(float(numbers), dtype=torch.float64) + here.world * (here.world - 1) / 2
    own = torch.arange(numbers).chunk(here.world)[here.rank]
    found = {}

    def note(name: str, result: Tensor, wanted: Tensor) -> None:
        found[name] = bool(torch.equal(result, wanted)), group.sent
        group.reset()

    note("broadcast", group.broadcast(mine.clone()), mine - here.rank)
    note("reduce", group.reduce(mine.clone()), mine if here.rank else total)
    note("reduce-scatter", group.reduce_scatter(mine), total[own])
    note("all-gather", group.all_gather(total[own]), total)
    note("all-reduce", group.all_reduce(mine.clone()), total)
    return found


def beside_each_other(here: Here, sizes: dict[str, int]) -> dict[str, dict[str, int]]:
    """Bytes that this rank sends: a step of a parameter server and of all-reduce; one layer handed out and gathered."""
    server = parameter_server(here, steps=1, rows=here.world, sizes=sizes)
    ring = train_ddp(here, steps=1, rows=here.world, sizes=sizes)
    step = {"parameter server": server["sent"], "ring all-reduce": sum(ring["sent"].values())}
    return {"a step": step, "one layer": one_layer(here, sizes)}


def overlapped(here: Here, steps: int, rows: int, sizes: dict[str, int], bucket: int) -> dict[str, Any]:
    """DDP with buckets of `bucket` bytes: losses, and the events of the last step."""
    found = train_ddp(here, steps, rows, sizes=sizes, bucket=bucket)
    last = [event.start for event in here.trace.events if event.name == "forward"][-1]
    end = [event.end for event in here.trace.events if event.name == "step"][-1]
    events = [event for event in here.trace.events if last <= event.start and event.end <= end]
    return {key: found[key] for key in ("losses", "sent", "buckets")} | {"events": events}


def stages(here: Here, steps: int, precision: str, sizes: dict[str, int]) -> dict[int, dict[str, Any]]:
    """`zero.train` under each stage; weights stay behind."""
    found = {stage: train(here, stage, steps, precision, sizes=sizes) for stage in (0, 1, 2, 3)}
    return {stage: {key: value for key, value in one.items() if key != "weights"} for stage, one in found.items()}


def resumed(here: Here, folder: str, stage: int, steps: int, sizes: dict[str, int]) -> list[float]:
    """Losses from the newest checkpoint in `folder` on, until step `steps`, which is saved."""
    return train(here, stage, steps, folder=folder, sizes=sizes)["losses"]


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
