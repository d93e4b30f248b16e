"""ZeRO from its parts (Rajbhandari et al. 2020, "ZeRO: memory optimizations toward training trillion parameter models",
§5): data parallelism in which a rank keeps only its part of what all would have alike.

Mixed-precision Adam has 16 bytes a parameter: 2 for the weight, 2 for its gradient, 12 for the optimizer (the weight in
fp32, two running means). With N ranks, Ψ parameters:

    stage   kept by a rank                 bytes a parameter    sent by a rank, in units of (N−1)/N · 2Ψ bytes
    0       everything                     16                   2   all-reduce of gradients
    1       part of the optimizer          4 + 12/N             2   reduce-scatter of gradients, all-gather of weights
    2       … and of the gradients         2 + 14/N             2   the same, each layer as soon as backward has left it
    3       … and of the weights           16/N                 3   weights gathered for forward, again for backward

    torchrun --nproc_per_node 2 -m labkit.parallel.data_parallel.zero --stage 2

What it does not do: send in the background (`ddp` does), begin without the whole model on each rank, scale a loss.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from labkit.config import COUNT
from labkit.errors import unknown
from labkit.measure import storage_bytes
from labkit.parallel.data_parallel.accounting import PRECISIONS, dtypes, table
from labkit.parallel.data_parallel.adam import Adam, State
from labkit.parallel.data_parallel.collectives import Communicator
from labkit.parallel.data_parallel.units import Unit, layers_of, units_of
from labkit.parallel.data_parallel.workload import batch_of, loss_of, new_model, part_of
from labkit.parallel.data_parallel.zero_state import load, save
from labkit.parallel.processes import Here, joined


class Zero:
    """Model, gradients and Adam under ZeRO `stage` 0 to 3; an engine for `labkit.fit`, with forward, backward and step.

    `layers` are the modules to gather and free one at a time (None: the model's longest `ModuleList`); what is outside
    them is one more unit. The model is converted to `precision` and broadcast from rank 0. Under stage 3 its parameters
    are empty between steps; `Zero.weights()` gives them whole, and so does leaving `with Zero(…)`. UsageError for an
    unknown stage or precision.
    """

    def __init__(
        self,
        model: nn.Module,
        objective: Callable[[Any, Any], Tensor],
        group: Communicator,
        stage: int = 2,
        precision: str = "bf16",
        adam: Adam | None = None,
        layers: Sequence[nn.Module] | None = None,
    ) -> None:
        if stage not in (0, 1, 2, 3):
            raise unknown("ZeRO stage", stage, (0, 1, 2, 3))
        light, self.full = dtypes(precision)
        self.model, self.objective, self.group = model.to(group.here.device, light), objective, group
        self.stage, self.precision, self.adam, self.steps = stage, precision, adam or Adam(), 0
        self.rank, self.world, self.device = group.rank, group.world, group.here.device
        self.units = units_of(model, layers_of(model) if layers is None else layers, self.world, self.rank)
        self.on_loan: dict[int, Unit] = {}  # address of a gathered unit's memory -> the unit
        self.hooks: list[Any] = []
        for buffer in model.buffers():
            group.broadcast(buffer)
        with torch.no_grad():
            for unit in self.units:
                self._set_up(unit)
        group.reset()

    def _set_up(self, unit: Unit) -> None:
        unit.lay_out()
        if self.stage == 0:
            unit.part = slice(0, unit.padded)
        self.group.broadcast(unit.weights)
        own = unit.weights[unit.part]
        if self.stage == 3:
            unit.shard = own = own.clone()
            unit.hide()
            if unit.module is not self.model:  # what is outside all layers, `forward` gathers
                self.hooks.append(unit.module.register_forward_pre_hook(lambda *_: self._gather(unit)))
                self.hooks.append(unit.module.register_forward_hook(lambda *_: self._free(unit)))
        unit.state = State(own, self.full)
        for name, parameter in unit.parameters.items():
            self.hooks.append(parameter.register_post_accumulate_grad_hook(partial(self._arrived, unit, name)))

    # A step: forward and backward, once or several times, and step

    def forward(self, batch: Any) -> Tensor:
        """The loss of this rank's rows: a scalar."""
        if self.stage < 3:
            return self.objective(self.model, batch)
        rest = [unit for unit in self.units if unit.module is self.model]
        with saved_tensors_hooks(self._pack, self._unpack):
            for unit in rest:
                self._gather(unit)
            loss = self.objective(self.model, batch)
            for unit in rest:
                self._free(unit)
        return loss

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of `loss`; under stages 2 and 3 a unit's go to their owners as soon as all are there."""
        for unit in self.units:
            unit.missing = set(unit.parameters)
        loss.backward()
        for unit in self.units:
            if unit.missing and self.stage >= 2:  # the loss does not use some of it: their gradients are zero
                self._reduce(unit)
            self._free(unit)

    def step(self) -> None:
        """Average the gradients, update the own part, give it to those who need it; clear the gradients."""
        self.steps += 1
        with torch.no_grad():
            for unit in self.units:
                if self.stage < 2:
                    self._reduce(unit)
                self.adam.update(unit.state, unit.gradient, self.steps, 1 / self.world)
                unit.gradient = None
                self.publish(unit)

    @torch.no_grad()
    def publish(self, unit: Unit) -> None:
        """Round the own part's masters to weights; under stages 1 and 2 all ranks exchange them."""
        own = unit.weights[unit.part] if unit.shard is None else unit.shard
        own.copy_(unit.state.master)
        if self.stage in (1, 2):
            self.group.all_gather(own, into=unit.weights)

    def set_lr(self, rate: float) -> None:
        """Set the learning rate."""
        self.adam = dataclasses.replace(self.adam, lr=rate)

    # Gradients

    def _arrived(self, unit: Unit, name: str, _: nn.Parameter) -> None:
        """Called by autograd, as soon as a parameter's gradient is whole."""
        unit.take(name)
        if self.stage >= 2 and not unit.missing:
            self._reduce(unit)

    def _reduce(self, unit: Unit) -> None:
        """The sum over the ranks, of the own part or, under stage 0, of the whole unit."""
        if unit.gradients is None:
            example = next(iter(unit.parameters.values()))
            unit.gradients = torch.zeros(unit.padded, dtype=example.dtype, device=self.device)
        unit.missing = set()
        summed = (self.group.reduce_scatter if self.stage else self.group.all_reduce)(unit.gradients)
        unit.gradients = None
        unit.gradient = summed if unit.gradient is None else unit.gradient.add_(summed)
        self._free(unit)  # all operations that read these weights have been: each also makes a gradient

    # Weights under stage 3

    def _gather(self, unit: Unit) -> None:
        if unit.weights is None:
            unit.weights = self.group.all_gather(unit.shard)
            self.on_loan[_address(unit.weights)] = unit
            unit.show()

    def _free(self, unit: Unit) -> None:
        if self.stage == 3 and unit.weights is not None:
            del self.on_loan[_address(unit.weights)]
            unit.hide()

    def _pack(self, tensor: Tensor) -> Any:
        """What autograd keeps for backward: of gathered weights only where they stand, so that freeing frees them."""
        unit = self.on_loan.get(_address(tensor))
        return tensor.detach() if unit is None else (unit, tensor.shape, tensor.stride(), tensor.storage_offset())

    def _unpack(self, kept: Any) -> Tensor:
        """The tensor again; weights are gathered once more for it, if they are not there."""
        if isinstance(kept, Tensor):
            return kept
        unit, *place = kept
        self._gather(unit)
        return unit.weights.as_strided(*place)

    # What there is

    def total(self, values: list[float]) -> list[float]:
        """Each value summed over the ranks (for `labkit.fit`)."""
        return self.group.all_reduce(torch.tensor(values, dtype=torch.float64, device=self.device)).tolist()

    def weights(self) -> dict[str, Tensor]:
        """Every parameter whole, a copy by name. All ranks must call it; it is not counted as sent."""
        before, found = self.group.sent_by.copy(), {}
        for unit in self.units:
            row = unit.weights if unit.shard is None else self.group.all_gather(unit.shard)
            found |= {name: row[place].view(unit.shapes[name]).clone() for name, place in unit.places.items()}
        self.group.sent_by = before
        return found

    def held(self) -> dict[str, int]:
        """Bytes of the tensors that this rank keeps now, by kind; memory that two share counts once."""
        own = [tensor for unit in self.units for tensor in (unit.weights, unit.shard)]
        gradients = [tensor for unit in self.units for tensor in (unit.gradients, unit.gradient)]
        states = [tensor for unit in self.units for tensor in vars(unit.state).values()]
        parameters, both = storage_bytes(own), storage_bytes([*own, *states])
        return {"parameters": parameters, "gradients": storage_bytes(gradients), "optimizer": both - parameters}

    @property
    def size(self) -> int:
        """Bytes of all weights in the dtype in which they are sent, with the padding."""
        return sum(unit.padded for unit in self.units) * dtypes(self.precision)[0].itemsize

    def close(self) -> None:
        """Take the hooks off the model."""
        for hook in self.hooks:
            hook.remove()

    def __enter__(self) -> Zero:
        """Be used: `fit` enters its engine."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Give the model back, whole; after an error other ranks may be gone, and it stays as it is."""
        if kind is None and self.stage == 3:
            for unit in self.units:
                self._gather(unit)
        self.close()


def _address(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def train(
    here: Here,
    stage: int,
    steps: int = 10,
    precision: str = "fp64",
    rows: int = 8,
    folder: str | None = None,
    sizes: dict[str, int] | None = None,
) -> dict[str, Any]:
    """Train the small transformer (`sizes` are its arguments), resuming from `folder` and saving there at the end.

    What comes back: losses of whole batches, weights by name, bytes kept at the end of the last backward pass by kind,
    bytes sent in all by operation, bytes of the weights.
    """
    zero = Zero(new_model(here.rank, **(sizes or {})), loss_of, Communicator(here), stage, precision)
    if folder is not None:
        load(zero, folder)
    losses, held = [], {}
    for step in range(zero.steps, steps):
        with here.trace.span("forward"):
            loss = zero.forward(part_of(batch_of(0, step, rows), here.rank, here.world))
        with here.trace.span("backward"):
            zero.backward(loss)
        held = zero.held()
        with here.trace.span("step"):
            zero.step()
        losses.append(loss.detach().double())
    sent = dict(zero.group.sent_by)
    mean = zero.total(torch.stack(losses).tolist()) if losses else []
    if folder is not None:
        save(zero, folder)
    answer = {"losses": [value / here.world for value in mean], "held": held, "sent": sent, "size": zero.size}
    answer |= {"weights": zero.weights(), "steps": len(losses)}
    zero.close()
    return answer


def main(arguments: list[str] | None = None) -> None:
    """The torchrun entry: train, and print what rank 0 kept and sent beside what theory says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stage", type=int, default=2, choices=(0, 1, 2, 3))
    parser.add_argument("--steps", type=COUNT, default=10)
    parser.add_argument("--precision", default="bf16", choices=tuple(PRECISIONS))
    parser.add_argument("--rows", type=COUNT, default=8, help="rows of a batch, over all ranks")
    parser.add_argument("--folder", help="resume from its newest checkpoint, save there at the end")
    chosen = parser.parse_args(arguments)
    with joined() as here:
        found = train(here, chosen.stage, chosen.steps, chosen.precision, chosen.rows, chosen.folder)
        if here.rank == 0:
            print(table(found, chosen.stage, here.world, chosen.precision))


if __name__ == "__main__":
    main()
