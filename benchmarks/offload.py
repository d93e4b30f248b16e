"""Offloading: what overlap hides, and how long a scheduled model waits for its layers, by where they stand.

    python benchmarks/offload.py      -> labkit/results/offload.json

The link is simulated: bytes are copied, and the copy lasts as long as at the stated bandwidth. Layers are paced to a
stated time, and twice that backward. What is reported are ratios of times within one run, and shares counted from
recorded events; the model is given the mean computing and loading times of the run that it is compared with.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import torch
from torch import nn

from labkit.parallel.offload.link import Paced, SlowLink
from labkit.parallel.offload.optimizer import OffloadedOptimizer, overlapped
from labkit.parallel.offload.schedule import clumped, spread, steady_pass
from labkit.parallel.offload.scheduler import LayerScheduler, layer_bytes
from labkit.parallel.trace import Trace
from labkit.report import Report

RESULTS = Path("labkit/results")
COMPUTE, LAYERS, ROOM, PASSES = 0.020, 12, 10, 7
STEPS, PACE = 6, 0.010


def main() -> None:
    torch.set_num_threads(1)
    report = Report(command="python benchmarks/offload.py")
    for bandwidth in (1e7, 2e7, 4e7):
        overlap(report, bandwidth)
    for load in (COMPUTE * factor for factor in (1, 2, 2.5, 3, 4)):
        for name, place in (("spread", spread), ("clumped", clumped)):
            stall(report, name, place, load)
    report.save(RESULTS / "offload.json")


def overlap(report: Report, bandwidth: float) -> None:
    """A training step with all states on the host, one after the other and overlapped."""
    medians = {}
    for name, on in (("one after the other", False), ("overlapped", True)):
        trace, seconds = Trace(), []
        model = nn.Sequential(*(Paced(nn.Linear(256, 256), PACE) for _ in range(6)))
        with SlowLink(bandwidth, trace=trace) as link:
            optimizer = OffloadedOptimizer(model, adam, link, torch.bfloat16, overlap=on, trace=trace)
            x = torch.randn(16, 256, dtype=torch.bfloat16)
            for _ in range(STEPS):
                start = time.monotonic()
                optimizer.backward(model(x).float().square().mean())
                optimizer.step()
                seconds.append(time.monotonic() - start)
        medians[name] = statistics.median(seconds)
        task = f"optimizer, {bandwidth / 1e6:g} MB/s"
        report.add(name, task, overlapped(trace.events), metric="share of the link's time hidden")
        report.add(name, task, medians[name] / medians["one after the other"], metric="time of a step, ratio")
        print(f"{task}, {name}: {1000 * medians[name]:.0f} ms, hidden {overlapped(trace.events):.2f}", flush=True)


def adam(tensors: list[torch.Tensor]) -> torch.optim.Optimizer:
    return torch.optim.Adam(tensors, lr=1e-4)


def stall(report: Report, name: str, place: object, load: float) -> None:
    """Twelve layers, ten fitting, so four moving: the time of a pass against computing alone."""
    stack = [Paced(nn.Linear(256, 256, bias=False), COMPUTE) for _ in range(LAYERS)]
    each = layer_bytes(stack[0])
    trace = Trace()
    with SlowLink(each / load, trace=trace) as link:
        model = LayerScheduler(stack, ROOM * each, link, place=place, trace=trace)  # type: ignore[arg-type]
        x = torch.randn(4, 256)
        for _ in range(PASSES):
            x = model(x)
    device = [event for event in trace.events if event.lane == "device"]
    last = device[-4 * (len(device) // PASSES) :]  # four steady passes
    computing = sum(event.seconds for event in last if event.name.startswith("compute"))
    waiting = sum(event.seconds for event in last if event.name.startswith("stall"))
    loads = [event.seconds for event in trace.events if event.lane == "link"][-16:]
    mean = computing / (4 * LAYERS)
    said = steady_pass(LAYERS, model.moving, mean, statistics.fmean(loads))
    task = f"load {load / COMPUTE:g} × compute"
    report.add(name, task, waiting / computing, metric="stall, share of computing", load=load / COMPUTE)
    report.add(
        name, task, said.stall / (LAYERS * mean), metric="stall, model of the measured times", load=load / COMPUTE
    )
    print(f"{task}, {name}: stall {waiting / computing:.3f}, model {said.stall / (LAYERS * mean):.3f}", flush=True)


if __name__ == "__main__":
    main()
