"""What does our ZeRO keep and send, and how fast is it, beside DeepSpeed's?

    python benchmarks/zero.py [--worlds 2 4] [--steps 6] [--turns 3]

A small transformer (4 layers, 128 wide, 0.8 million weights) in bf16 with fp32 masters on CPU ranks of one machine, 8
rows a step. Engines and stages take turns in one run, and each turn is a row. Bytes kept: the tensors that a rank holds
when it holds the most of each kind, of rank 0. Bytes sent: what the kernel sent through a rank's connections in a step,
the mean over the ranks. DeepSpeed refuses stage 0 in bf16 here (see `deepspeed_config`). Steps a second say something
about each other only, and little on a busy machine. Writes labkit/results/zero.json.
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import itertools
import os
import socket
import statistics
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

import labkit
from labkit.parallel.data_parallel.accounting import bytes_a_parameter, bytes_sent
from labkit.parallel.data_parallel.collectives import Communicator
from labkit.parallel.data_parallel.workload import batch_of, loss_of, new_model, part_of
from labkit.parallel.data_parallel.zero import Zero
from labkit.parallel.processes import Here, launch
from labkit.report import Report
from labkit.training import Training

RESULTS = Path(labkit.__file__).parent / "results" / "zero.json"
SIZES = {"width": 128, "layers": 4}
KINDS = ("parameters", "gradients", "optimizer")
BYTES_SENT = 200  # where Linux's struct tcp_info has tcpi_bytes_sent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--worlds", type=int, nargs="+", default=[2, 4])
    parser.add_argument("--steps", type=int, default=6, help="steps of one turn, after some for warming up")
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args()
    worlds = " ".join(map(str, options.worlds))
    command = f"python benchmarks/zero.py --worlds {worlds} --steps {options.steps} --turns {options.turns}"
    report = Report(command=command, title="ZeRO")
    make = functools.partial(new_model, 0, torch.bfloat16, **SIZES)
    numbers = sum(parameter.numel() for parameter in make().parameters())
    for turn, world, stage in itertools.product(range(options.turns), options.worlds, range(4)):
        for engine in ("labkit", "deepspeed")[:: 1 if turn % 2 else -1]:
            if engine == "deepspeed" and (stage == 0 or importlib.util.find_spec("deepspeed") is None):
                continue
            found = launch(compared, world, engine, stage, options.steps, make, seconds=120)
            add(report, engine, stage, world, turn, numbers, found)
        theory = {"bytes a parameter": sum(bytes_a_parameter(stage, world).values())}
        theory["bytes sent, × Ψ"] = bytes_sent(stage, world, 2 * numbers) / (2 * numbers)
        for metric, value in theory.items():
            report.add("theory", f"{world} ranks, stage {stage}", value, metric=metric)
    report.save(RESULTS)


def add(report: Report, engine: str, stage: int, world: int, turn: int, numbers: int, found: list[dict]) -> None:
    """The rows of one run; Ψ is the bytes of the weights in bf16."""
    task, held = f"{world} ranks, stage {stage}", found[0]["held"]
    values = {"bytes a parameter": sum(held.values()) / numbers}
    values |= {f"{kind}, bytes a parameter": held[kind] / numbers for kind in KINDS}
    values["bytes sent, × Ψ"] = statistics.mean(one["sent"] for one in found) / (2 * numbers)
    values["steps/s"] = 1 / max(one["seconds"] for one in found)
    values["last loss"] = statistics.mean(one["losses"][-1] for one in found)
    for metric, value in values.items():
        report.add(engine, task, value, seed=turn, metric=metric)
    print(f"{task:18} {engine:10}", {metric: round(value, 3) for metric, value in values.items()}, flush=True)


# What a rank runs


def compared(here: Here, engine: str, stage: int, steps: int, make: Callable[[], nn.Module]) -> dict[str, Any]:
    """Train bf16 with "labkit"'s ZeRO or with "deepspeed"'s, first `steps` // 4 + 1 steps for warming up.

    What comes back: losses, bytes kept by kind (gradients: the most before an update), bytes that the kernel sent for
    this rank and those that labkit counted, a step; seconds a step.
    """
    torch.manual_seed(0)
    own = engine == "labkit"
    built = Zero(make(), loss_of, Communicator(here), stage, "bf16") if own else deepspeed(stage, make())
    losses, gradients, warm = [], 0, steps // 4 + 1
    with built:
        for step in range(warm + steps):
            if step == warm:
                sent, counted, began = tcp_sent(), counted_by(built), time.monotonic()
            here.beat()
            value = built.forward(part_of(batch_of(0, step), here.rank, here.world))
            built.backward(value)
            gradients = max(gradients, built.held()["gradients"] if own else 0)
            built.step()
            losses.append(float(value.detach()))
        seconds, sent, counted = time.monotonic() - began, tcp_sent() - sent, counted_by(built) - counted
        held = built.held()
    held["gradients"] = max(held["gradients"], gradients)
    each = {"sent": sent / steps, "counted": counted / steps, "seconds": seconds / steps}
    return {"losses": losses, "held": held, **each}


def deepspeed(stage: int, model: nn.Module) -> Any:
    from labkit.parallel.deepspeed import DeepSpeedEngine, deepspeed_config

    settings = Training(lr=1e-3, precision="bf16", weight_decay=0.0, clip=None, betas=(0.9, 0.999), device="cpu")
    world = torch.distributed.get_world_size()
    config = deepspeed_config(settings, stage, False, "bf16", rows=8, world=world)
    return DeepSpeedEngine(model.float(), loss_of, settings, config)


def counted_by(engine: Any) -> int:
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


if __name__ == "__main__":
    main()
