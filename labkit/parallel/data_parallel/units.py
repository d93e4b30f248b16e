"""A model cut into units (layers, and the rest), and each unit's parameters laid out as one row of numbers.

The row is padded to a multiple of the ranks, so that every rank owns an equal part of it, wherever parameters begin and
end: fewer than N numbers a unit are padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from labkit.errors import UsageError
from labkit.parallel.data_parallel.adam import State


@dataclass
class Unit:
    """Parameters that are gathered, reduced and freed together. A rank's own part is `part` of `padded` numbers.

    Tensors that may be absent are None: `weights` (padded,) is the whole unit, `shard` (padded/N,) the own part of it
    (ZeRO-3); `gradients` (padded,) and `gradient` (the own part) likewise; `state` is the optimizer's of the own part.
    """

    name: str
    module: nn.Module
    parameters: dict[str, nn.Parameter]  # by their names in the model
    world: int
    owner: int  # the part of this rank
    weights: Tensor | None = None
    shard: Tensor | None = None
    gradients: Tensor | None = None
    gradient: Tensor | None = None
    state: State | None = None
    missing: set[str] = field(default_factory=set)  # parameters whose gradient has not come in this backward pass

    def __post_init__(self) -> None:
        self.size = sum(parameter.numel() for parameter in self.parameters.values())
        self.padded = -(-self.size // self.world) * self.world
        self.part = slice(self.owner * self.padded // self.world, (self.owner + 1) * self.padded // self.world)
        self.shapes = {name: tuple(parameter.shape) for name, parameter in self.parameters.items()}
        self.places, start = {}, 0
        for name, parameter in self.parameters.items():
            self.places[name] = slice(start, start + parameter.numel())
            start += parameter.numel()

    def lay_out(self) -> None:
        """Copy the parameters into one row, of which they become views."""
        example = next(iter(self.parameters.values()))
        self.weights = torch.zeros(self.padded, dtype=example.dtype, device=example.device)
        for name, parameter in self.parameters.items():
            self.weights[self.places[name]].copy_(parameter.detach().reshape(-1))
        self.show()

    def show(self) -> None:
        """Let the module's parameters be views of `weights`."""
        for name, parameter in self.parameters.items():
            parameter.data = self.weights[self.places[name]].view(self.shapes[name])

    def hide(self) -> None:
        """Let go of the whole unit: its parameters are empty until it is gathered again."""
        self.weights = None
        for parameter in self.parameters.values():
            parameter.data = parameter.data.new_empty(0)

    def take(self, name: str) -> None:
        """Add a parameter's gradient to the row of gradients, and let go of it."""
        parameter = self.parameters[name]
        if self.gradients is None:
            self.gradients = parameter.grad.new_zeros(self.padded)
        self.gradients[self.places[name]].add_(parameter.grad.reshape(-1))
        parameter.grad = None
        self.missing.discard(name)


def layers_of(model: nn.Module) -> list[nn.Module]:
    """The items of the model's longest `ModuleList`; none where there is no list."""
    lists = [list(module) for module in model.modules() if isinstance(module, nn.ModuleList)]
    return max(lists, key=len, default=[])


def units_of(model: nn.Module, layers: Sequence[nn.Module], world: int, owner: int) -> list[Unit]:
    """A unit for the parameters outside `layers`, then one for each layer.

    UsageError for a frozen parameter, for several dtypes, and for a parameter that two units share.
    """
    _check(dict(model.named_parameters()))
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    inner = {id(module) for layer in layers for module in layer.modules()}
    rest = [p for module in model.modules() if id(module) not in inner for p in module.parameters(recurse=False)]
    found, taken = [], set()
    for number, (module, some) in enumerate([(model, rest), *((layer, layer.parameters()) for layer in layers)]):
        parameters = {names[id(parameter)]: parameter for parameter in some}
        if both := taken & parameters.keys():
            raise UsageError(
                f"parameter {min(both)!r} is shared by two layers, or by one and the rest: name other layers"
            )
        taken |= parameters.keys()
        if parameters:
            found.append(Unit(f"layer {number - 1}" if number else "rest", module, parameters, world, owner))
    return found


def _check(named: dict[str, nn.Parameter]) -> None:
    if not named:
        raise UsageError("the model has no parameters: there is nothing to train")
    for name, parameter in named.items():
        if not parameter.requires_grad:
            raise UsageError(f"parameter {name!r} is frozen: ZeRO here shards models that are trained whole")
    kinds = {str(parameter.dtype).removeprefix("torch.") for parameter in named.values()}
    if len(kinds) > 1:
        raise UsageError(f"the model mixes {', '.join(sorted(kinds))}: bring it to one dtype first")
