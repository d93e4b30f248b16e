"""Two other ways to the same weights, to see by their bytes why the ring and the even cut are what is used.

A parameter server (Li et al. 2014, "Scaling distributed machine learning with the parameter server") collects all
gradients and hands out the new weights: everything goes through one rank. And a model that is cut *by layers*, where a
layer's owner sends it to everyone, against one where *every* layer is cut into N equal parts, which are all-gathered
(BMTrain, ZeRO-3): the same bytes in all, but no rank has to send them alone.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from labkit.parallel.data_parallel.collectives import Communicator
from labkit.parallel.data_parallel.units import layers_of, units_of
from labkit.parallel.data_parallel.workload import batch_of, loss_of, new_model, part_of
from labkit.parallel.processes import Here


def parameter_server(
    here: Here, steps: int = 2, rows: int = 8, sizes: dict[str, int] | None = None
) -> dict[str, Any]:
    """Train with rank 0 as the server, which also computes; only it has an optimizer. float64.

    What comes back: weights by name, bytes that this rank sent.
    """
    group, model = Communicator(here), new_model(here.rank, **(sizes or {}))
    unit = units_of(model, (), 1, 0)[0]
    unit.lay_out()
    optimizer = torch.optim.Adam([row := nn.Parameter(unit.weights)], lr=1e-3) if group.rank == 0 else None
    _hand_out(group, unit.weights)
    group.reset()
    for step in range(steps):
        loss_of(model, part_of(batch_of(0, step, rows), here.rank, here.world)).backward()
        gradient = torch.cat([parameter.grad.reshape(-1) for parameter in unit.parameters.values()])
        model.zero_grad()
        if optimizer is None:
            group.send(gradient, 0)
        else:
            arrived = [group.recv(gradient.shape, worker, gradient.dtype) for worker in range(1, group.world)]
            row.grad = sum(arrived, gradient) / group.world
            optimizer.step()
        _hand_out(group, unit.weights)
    weights = {name: parameter.detach() for name, parameter in model.named_parameters()}
    return {"weights": weights, "sent": group.sent}


def _hand_out(group: Communicator, tensor: Tensor) -> None:
    """Rank 0's tensor to everyone, in place, from its own hand."""
    if group.rank:
        tensor.detach().copy_(group.recv(tensor.shape, 0, tensor.dtype))
        return
    for handle in [group.isend(tensor, rank) for rank in range(1, group.world)]:
        handle.wait()


def one_layer(here: Here, sizes: dict[str, int] | None = None) -> dict[str, int]:
    """Bytes that this rank sends until all have one layer of rank 0's, by each way of cutting the model."""
    group, model = Communicator(here), new_model(0, **(sizes or {}))
    unit = units_of(model, layers_of(model), group.world, group.rank)[1]
    unit.lay_out()
    whole, sent = unit.weights.clone(), {}
    if group.rank:
        unit.weights.zero_()
    _hand_out(group, unit.weights)
    sent["by layers: the owner sends"], right = group.sent, torch.equal(unit.weights, whole)
    group.reset()
    gathered = group.all_gather(whole[unit.part])
    sent["every layer in N parts: all-gather"] = group.sent
    return sent if right and torch.equal(gathered, whole) else {}
