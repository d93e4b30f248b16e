"""Pipeline parallelism: every rank holds some of the layers, and micro-batches run through them like a production line.

A stage receives hidden vectors from the stage before, computes, and sends on; going back it receives the gradient of
what it sent and returns the gradient of what it got. Which micro-batch comes next is the schedule's business
(`schedule.gpipe`, `schedule.one_forward_one_backward`); the arithmetic is that of one process, since gradients of
micro-batches add up (Huang et al. 2019, "GPipe", §2.2).

Sends are started and not waited for, so that two neighbours that send to each other at once do not stand still. Tried
with gloo, on processors; nccl, whose sends wait for their receivers, has not been tried.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from labkit.config import COUNT
from labkit.errors import TrainingError, UsageError
from labkit.measure import storage_bytes
from labkit.parallel.data_parallel.collectives import Communicator, Handle
from labkit.parallel.model_parallel.model import LanguageModel
from labkit.parallel.model_parallel.schedule import Action, Order, actions_of, bubble, bubble_in_theory
from labkit.parallel.processes import Here, joined
from labkit.parallel.trace import Event


def stage_of(model: LanguageModel, stage: int, stages: int) -> LanguageModel:
    """The layers of `stage`: a copy; the first stage has the embedding too, the last the head.

    Weights keep their names. A tied matrix is in both ends, as two parameters. UsageError where the blocks are no
    multiple of the number of stages.
    """
    if len(model.blocks) % stages:
        raise UsageError(f"{len(model.blocks)} blocks cannot be laid out over {stages} stages of equal length")
    each = len(model.blocks) // stages
    own = copy.deepcopy(model)
    own.blocks = nn.ModuleDict(list(own.blocks.items())[stage * each : (stage + 1) * each])
    if stage > 0:
        own.embedding = None
    if stage < stages - 1:
        own.head = None
    return own


def equal_parts(whole: Tensor, count: int, what: str = "micro-batches") -> tuple[Tensor, ...]:
    """A batch cut along its rows into `count` equal parts; UsageError where it cannot be."""
    if count < 1 or len(whole) % count:
        raise UsageError(f"a batch of {len(whole)} rows cannot be cut into {count} equal {what}")
    return whole.chunk(count)


class Stage:
    """One stage at work: `module` between its neighbours in `line`, the communicator of all stages in order.

    `hidden` is the shape of what stages exchange. `step` runs a schedule once; afterwards `most_live` and
    `most_bytes` say how many micro-batches, and how many bytes of their activations, were held at most.
    """

    def __init__(self, module: nn.Module, line: Communicator, hidden: Sequence[int]) -> None:
        self.module, self.line, self.hidden = module, line, tuple(hidden)
        self.first, self.last = line.rank == 0, line.rank == line.world - 1
        self.held: dict[int, tuple[Tensor, Tensor, int]] = {}  # micro-batch -> in, out, bytes that autograd keeps
        self.most_live = self.most_bytes = 0

    def step(self, actions: Sequence[Action], inputs: Sequence[Tensor], targets: Sequence[Tensor]) -> float | None:
        """One batch: gradients are added to the module's. The mean loss on the last stage, None on the others.

        Only the first stage looks at `inputs`, only the last at `targets`. TrainingError where the schedule is that of
        another batch.
        """
        if len(actions) != 2 * len(inputs):
            raise TrainingError(f"a schedule of {len(actions)} actions does not fit {len(inputs)} micro-batches")
        losses: list[float] = []
        sending: list[Handle] = []
        for kind, micro in actions:
            if kind == "F":
                sending += self._forward(micro, inputs, targets, losses)
            else:
                sending += self._backward(micro, len(inputs))
        for handle in sending:
            handle.wait()
        return sum(losses) / len(losses) if self.last else None

    def _forward(
        self, micro: int, inputs: Sequence[Tensor], targets: Sequence[Tensor], losses: list[float]
    ) -> list[Handle]:
        inward = inputs[micro] if self.first else self._receive(self.line.rank - 1).requires_grad_()
        known = [*self.module.parameters(), inputs[micro], targets[micro]]
        kept = list(known)  # and what autograd keeps for the backward pass

        def note(tensor: Tensor) -> Tensor:
            kept.append(tensor)
            return tensor

        with self.line.here.trace.span(Action("F", micro).name), saved_tensors_hooks(note, lambda tensor: tensor):
            outward = self.module(inward, targets[micro])
        self.held[micro] = inward, outward, storage_bytes(kept) - storage_bytes(known)
        self.most_live = max(self.most_live, len(self.held))
        self.most_bytes = max(self.most_bytes, sum(size for _, _, size in self.held.values()))
        if self.last:
            losses.append(outward.item())
            return []
        return [self.line.isend(outward, self.line.rank + 1)]

    def _backward(self, micro: int, count: int) -> list[Handle]:
        inward, outward, _ = self.held.pop(micro)
        gradient = torch.ones_like(outward) / count if self.last else self._receive(self.line.rank + 1)
        with self.line.here.trace.span(Action("B", micro).name):
            outward.backward(gradient)
        return [] if self.first else [self.line.isend(inward.grad, self.line.rank - 1)]

    def _receive(self, source: int) -> Tensor:
        return self.line.recv(self.hidden, source, dtype=next(self.module.parameters()).dtype)


# Stages that only take time


class Sleeper(nn.Module):
    """A stage that sleeps instead of computing: `forward` and `backward` seconds a micro-batch.

    Stages that compute share the cores of this machine; where there are fewer cores than stages they slow one another
    down. Stages that sleep do not, so the time line is that of one device a stage.
    """

    def __init__(self, forward: float, backward: float, last: bool) -> None:
        super().__init__()
        self.seconds, self.last = (forward, backward), last
        self.weight = nn.Parameter(torch.ones((), dtype=torch.float64))

    def forward(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """`hidden`, later; its mean on the last stage."""
        forward, backward = self.seconds
        time.sleep(forward)
        later = hidden * self.weight
        later.register_hook(lambda gradient: time.sleep(backward))  # called on the way back
        return later.mean() if self.last else later


Recorded = tuple[list[Event], int]  # a rank's events, and the most micro-batches that it held


def sleeping(
    here: Here, orders: Sequence[str | Order], count: int, forward: float = 0.01, backward: float = 0.02
) -> dict[str, Recorded]:
    """Run each schedule once, with `count` micro-batches and one sleeping stage a rank; answers by name."""
    line = Communicator(here, name="pipe")
    inputs = equal_parts(torch.zeros(count, 1, dtype=torch.float64, device=here.device), count)

    def run(order: str | Order, count: int, *seconds: float) -> Recorded:
        module = Sleeper(*seconds, last=line.rank == line.world - 1).to(here.device)
        stage = Stage(module, line, (1, 1))
        line.barrier()  # all start together
        here.trace.events.clear()
        stage.step(actions_of(order, line.rank, line.world, count), inputs[:count], inputs[:count])
        return list(here.trace.events), stage.most_live

    run("gpipe", 1, 0.0, 0.0)  # what happens at first use only is not measured
    return {getattr(order, "__name__", order): run(order, count, forward, backward) for order in orders}


def main() -> None:
    """`torchrun --nproc_per_node 4 -m labkit.parallel.model_parallel.pipeline --micro-batches 8`."""
    parser = argparse.ArgumentParser(description="Both schedules with stages that sleep: the bubble, measured.")
    parser.add_argument("--micro-batches", type=COUNT, default=8)
    options = parser.parse_args()
    with joined() as here:
        group = Communicator(here, name="figures")
        for name, (events, most) in sleeping(here, ("gpipe", "1f1b"), options.micro_batches).items():
            computed = [event for event in events if event.lane == "compute"]
            own = [[event.start for event in computed], [event.end for event in computed]]
            every = group.all_gather(
                torch.tensor([own], dtype=torch.float64, device=here.device)
            )  # (stages, 2, actions)
            held = group.all_gather(torch.tensor([most], device=here.device))
            if here.rank == 0:
                spans = [Event(rank, "compute", "", *pair) for rank, one in enumerate(every) for pair in one.T.tolist()]
                print(
                    f"{name:<6} bubble {bubble(spans, here.world):.3f} "
                    f"(closed form {bubble_in_theory(here.world, options.micro_batches):.3f}), "
                    f"micro-batches held by each stage: {held.tolist()}"
                )


if __name__ == "__main__":
    main()
