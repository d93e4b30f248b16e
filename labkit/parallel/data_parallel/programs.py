"""What lesson 06/03 and `benchmarks/zero.py` run on their ranks; see `labkit.parallel.processes.launch`."""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from labkit.parallel.data_parallel.adam import Adam
from labkit.parallel.data_parallel.collectives import Communicator
from labkit.parallel.data_parallel.ddp import train as train_ddp
from labkit.parallel.data_parallel.older import one_layer, parameter_server
from labkit.parallel.data_parallel.workload import batch_of, loss_of, new_model, part_of
from labkit.parallel.data_parallel.zero import Zero, train
from labkit.parallel.processes import Here
from labkit.training import Training

BYTES_SENT = 200  # where Linux's struct tcp_info has tcpi_bytes_sent


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


# Beside DeepSpeed


def compared(
    here: Here, engine: str, stage: int, steps: int, make: Callable[[], nn.Module], loss: Any
) -> dict[str, Any]:
    """Train bf16 with "labkit"'s ZeRO or with "deepspeed"'s, first `steps` // 4 + 1 steps for warming up.

    What comes back: losses, bytes kept by kind (gradients: the most before an update), bytes that the kernel sent for
    this rank and those that labkit counted, a step; seconds a step.
    """
    torch.manual_seed(0)
    built = _labkit(here, stage, make(), loss) if engine == "labkit" else _deepspeed(stage, make(), loss)
    losses, gradients, warm = [], 0, steps // 4 + 1
    with built:
        for step in range(warm + steps):
            if step == warm:
                sent, counted, began = tcp_sent(), _counted(built), time.monotonic()
            here.beat()
            value = built.forward(part_of(batch_of(0, step), here.rank, here.world))
            built.backward(value)
            gradients = max(gradients, built.held()["gradients"] if engine == "labkit" else 0)
            built.step()
            losses.append(float(value.detach()))
        seconds, sent, counted = time.monotonic() - began, tcp_sent() - sent, _counted(built) - counted
        held = built.held()
    held["gradients"] = max(held["gradients"], gradients)
    each = {"sent": sent / steps, "counted": counted / steps, "seconds": seconds / steps}
    return {"losses": losses, "held": held, **each}


def _labkit(here: Here, stage: int, model: nn.Module, loss: Any) -> Zero:
    return Zero(model, loss, Communicator(here), stage, "bf16", Adam(lr=1e-3))


def _deepspeed(stage: int, model: nn.Module, loss: Any) -> Any:
    from labkit.parallel.deepspeed import DeepSpeedEngine, deepspeed_config

    settings = Training(lr=1e-3, precision="bf16", weight_decay=0.0, clip=None, betas=(0.9, 0.999), device="cpu")
    world = torch.distributed.get_world_size()
    config = deepspeed_config(settings, stage, False, "bf16", rows=8, world=world)
    return DeepSpeedEngine(model.float(), loss, settings, config)


def _counted(engine: Any) -> int:
    return engine.group.sent if isinstance(engine, Zero) else 0


def tcp_sent() -> int:
    """Bytes that the kernel has sent through this process's TCP connections (Linux)."""
    total = 0
    for name in os.listdir("/proc/self/fd"):
        try:
            end = socket.socket(fileno=os.dup(int(name)))
        except OSError:  # not a socket, or closed meanwhile
            continue
        with end:
            if end.family in (socket.AF_INET, socket.AF_INET6) and end.type == socket.SOCK_STREAM:
                info = end.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
                total += struct.unpack_from("Q", info, BYTES_SENT)[0] if len(info) >= BYTES_SENT + 8 else 0
    return total
