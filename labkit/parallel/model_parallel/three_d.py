"""3-D parallelism: operators, layers and batch split at once, and still the same losses as one process.

Rank (pipe, data, model) of the grid holds the layers of stage `pipe`, of every large matrix the part `model`, and
computes the rows `data` of the batch. It talks in up to four groups, one an axis and one for a matrix that two stages
share:

- `model`: the sums within every layer, many and large;
- `pipe`: hidden vectors and their gradients from stage to stage;
- `data`: the mean of the gradients over the replicas, once a step;
- `tied`: the first stage's embedding and the last stage's output layer are one matrix; its gradient is the sum of both.

(Narayanan et al. 2021, "Efficient large-scale language model training on GPU clusters using Megatron-LM", §2.)
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from labkit.config import COUNT
from labkit.errors import UsageError
from labkit.parallel.data_parallel.collectives import Communicator
from labkit.parallel.model_parallel import tensor_parallel
from labkit.parallel.model_parallel.model import LanguageModel, Shape, batch, build
from labkit.parallel.model_parallel.pipeline import Stage, equal_parts, stage_of
from labkit.parallel.model_parallel.schedule import Order, actions_of
from labkit.parallel.model_parallel.topology import Topology
from labkit.parallel.processes import Here, joined
from labkit.parallel.trace import Event

WORDS, OUTPUT = "embedding.words.weight", "head.output.weight"


@dataclass(frozen=True)
class Run:
    """What is trained: the model, the rows of a batch, micro-batches a replica, steps of AdamW, stages' order."""

    shape: Shape = field(default_factory=Shape)
    rows: int = 8
    micro_batches: int = 2
    steps: int = 5
    lr: float = 1e-2
    schedule: str | Order = "1f1b"


@dataclass(frozen=True)
class Account:
    """What one rank tells at the end: losses (last stages only), what it held and sent, its weights and its events."""

    losses: list[float]
    parameters: int
    most_live: int
    most_bytes: int
    sent: dict[str, int]
    state: dict[str, Tensor]
    events: list[Event]


def alone(run: Run) -> tuple[list[float], dict[str, Tensor]]:
    """The same training in one process and without any of this: losses and final weights."""
    model = build(run.shape)
    optimizer = torch.optim.AdamW(model.parameters(), lr=run.lr)
    losses = []
    for step in range(run.steps):
        loss = model(*batch(run.shape, run.rows, step))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses, {name: weight.detach() for name, weight in model.state_dict().items()}


def train(here: Here, grid: Topology, run: Run) -> Account:
    """This rank's share of the training. UsageError where grid, ranks, model and batch do not fit one another."""
    place, groups = grid.coordinate(here.rank), groups_of(here, grid, run.shape)
    model = share_of(build(run.shape), grid, groups["model"], place.pipe).to(here.device)
    each = run.rows // grid.data // run.micro_batches  # rows of a micro-batch
    stage = Stage(model, groups["pipe"], (each, run.shape.positions, run.shape.width))
    optimizer = torch.optim.AdamW(model.parameters(), lr=run.lr)
    actions = actions_of(run.schedule, place.pipe, grid.pipe, run.micro_batches)
    losses = []
    for step in range(run.steps):
        whole = batch(run.shape, run.rows, step)
        own = (equal_parts(tensor, grid.data, "shares of replicas")[place.data] for tensor in whole)
        optimizer.zero_grad()
        loss = stage.step(actions, *(equal_parts(rows.to(here.device), run.micro_batches) for rows in own))
        combine(model, groups)
        optimizer.step()
        if loss is not None:
            total = groups["data"].all_reduce(torch.tensor([loss], dtype=torch.float64, device=here.device))
            losses.append(total.item() / grid.data)
    held = sum(weight.numel() for weight in model.parameters())
    sent = {name: group.sent for name, group in groups.items()}
    state = {name: weight.detach().cpu() for name, weight in model.state_dict().items()}
    return Account(losses, held, stage.most_live, stage.most_bytes, sent, state, here.trace.events)


def train_each(here: Here, grid: Topology, runs: Sequence[Run]) -> list[Account]:
    """`train`, for several runs one after the other, in processes that are started once."""
    return [train(here, grid, run) for run in runs]


def groups_of(here: Here, grid: Topology, shape: Shape) -> dict[str, Communicator]:
    """The groups that this rank talks in: one an axis, and "tied" between the ends of a pipeline, if they share one."""
    if grid.world != here.world:
        sizes = "×".join(map(str, grid.sizes))
        raise UsageError(f"a grid of {sizes} = {grid.world} ranks was given {here.world} processes")
    groups = {axis: Communicator(here, grid.group(axis, here.rank), axis) for axis in ("model", "pipe", "data")}
    line = groups["pipe"].ranks
    if shape.tied and len(line) > 1 and here.rank in (line[0], line[-1]):
        groups["tied"] = Communicator(here, [line[0], line[-1]], "tied")
    return groups


def share_of(model: LanguageModel, grid: Topology, group: Communicator, stage: int) -> LanguageModel:
    """The layers of a stage, and of each this rank's part. (A larger model is built share by share.)"""
    return tensor_parallel.split(stage_of(model, stage, grid.pipe), group)


def combine(model: LanguageModel, groups: Mapping[str, Communicator]) -> None:
    """Make the gradients those of the whole batch: add a tied matrix's two, then average over the replicas."""
    if "tied" in groups:
        weight = dict(model.named_parameters())[WORDS if model.embedding is not None else OUTPUT]
        groups["tied"].all_reduce(weight.grad)
    data = groups["data"]
    if data.world == 1:
        return
    gradients = [weight.grad for weight in model.parameters()]
    flat = data.all_reduce(torch.cat([gradient.flatten() for gradient in gradients])) / data.world
    for gradient, mean in zip(gradients, flat.split([gradient.numel() for gradient in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))


def whole_state(grid: Topology, states: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The whole model's weights from those of all ranks, in rank order (replica 0 speaks for all)."""
    whole: dict[str, Tensor] = {}
    for pipe in range(grid.pipe):
        parts = [states[grid.rank(pipe, 0, model)] for model in range(grid.model)]
        whole.update(tensor_parallel.join(parts))
    return whole


def main() -> None:
    """`torchrun --nproc_per_node 8 -m labkit.parallel.model_parallel.three_d --pipe 2 --model 2`."""
    parser = argparse.ArgumentParser(description="Train on a grid of ranks; compare with one process.")
    parser.add_argument("--pipe", type=COUNT, default=1)
    parser.add_argument("--model", type=COUNT, default=1)
    parser.add_argument("--steps", type=COUNT, default=5)
    options = parser.parse_args()
    run = Run(steps=options.steps)
    with joined() as here:
        grid = Topology(options.pipe, here.world // (options.pipe * options.model), options.model)
        account = train(here, grid, run)
        if here.rank == here.world - 1:  # a last stage, which knows the losses
            print(f"pipe {grid.pipe} × data {grid.data} × model {grid.model}; rank {here.rank} sent {account.sent}")
            for step, (ours, single) in enumerate(zip(account.losses, alone(run)[0], strict=True)):
                print(f"step {step}: loss {ours:.12f}, one process {single:.12f}, difference {ours - single:+.1e}")


if __name__ == "__main__":
    main()
