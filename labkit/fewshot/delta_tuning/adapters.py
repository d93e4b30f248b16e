"""Adapters: small bottlenecks beside the frozen layers.

*Serial* (Houlsby et al. 2019, §2): behind each sub-layer, h ← h + s·up(act(down(h))). *Parallel* (He et al. 2022, §3):
beside it, fed by the sub-layer's input x: F(x) ← F(x) + s·up(act(down(x))). `up` starts at zero, so that the model's
answers are the old ones until training begins.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from torch import Tensor, nn

from labkit.errors import UsageError, unknown
from labkit.fewshot.delta_tuning.base import Delta
from labkit.fewshot.delta_tuning.places import (
    AFTER_ATTENTION,
    AFTER_FFN,
    BEFORE_FFN,
    like,
    positive,
    remove_children,
    resolve,
    width,
)

ACTIVATIONS = {"gelu": nn.GELU, "relu": nn.ReLU, "tanh": nn.Tanh, "linear": nn.Identity}


class Adapter(nn.Module):
    """s·up(act(down(x))): (…, d_in) → (…, d_out). Of linear layers r·(d_in + d_out) + r + d_out weights."""

    def __init__(self, down: nn.Module, up: nn.Module, activation: str, scale: float) -> None:
        super().__init__()
        self.down, self.activation, self.up, self.scale = down, ACTIVATIONS[activation](), up, scale

    def forward(self, x: Tensor) -> Tensor:
        """What is added: (…, d_out)."""
        return self.scale * self.up(self.activation(self.down(x)))


@dataclass(frozen=True, kw_only=True)
class _Adapters(Delta):
    """What the two kinds share. `bottleneck` r is their inner width, `activation` one of gelu, relu, tanh, linear."""

    bottleneck: int = 16
    activation: str = "gelu"
    scale: float = 1.0

    def __post_init__(self) -> None:
        positive(self, "bottleneck")
        if self.activation not in ACTIVATIONS:
            raise unknown("activation", self.activation, ACTIVATIONS)

    def adapter(self, d_in: int, d_out: int) -> Adapter:
        """A new one of linear layers: `down` from N(0, 1/d_in), `up` zero."""
        down, up = nn.Linear(d_in, self.bottleneck), nn.Linear(self.bottleneck, d_out)
        nn.init.normal_(down.weight, std=d_in**-0.5)
        for tensor in (down.bias, up.weight, up.bias):
            nn.init.zeros_(tensor)
        return Adapter(down, up, self.activation, self.scale)


@dataclass(frozen=True, kw_only=True)
class Serial(_Adapters):
    """Adapters behind sub-layers: by default after attention and after the feed-forward layer, before the residual sum.

    `bottleneck` r is their inner width, `activation` one of gelu, relu, tanh, linear.
    """

    DEFAULTS: ClassVar[tuple[str, ...]] = AFTER_ATTENTION + AFTER_FFN

    def maker(self) -> Callable[[int, int], Adapter]:
        """The function (d_in, d_out) → a new adapter, called once a place."""
        return self.adapter

    def _insert(self, model: nn.Module) -> Iterable[nn.Parameter]:
        make = self.maker()
        for name in self.places(model):
            module = model.get_submodule(name)
            size = width(model, module, "out")
            module.add_module("serial_adapter", like(make(size, size), module))
            module.register_forward_hook(_behind)
            yield from module.serial_adapter.parameters()

    def _remove(self, model: nn.Module) -> None:
        remove_children(model, "serial_adapter", _behind)


def _behind(module: nn.Module, args: Any, out: Any) -> Any:
    """h + adapter(h), where h is what the module gave, or the first of several."""
    if isinstance(out, tuple):
        return (out[0] + module.serial_adapter(out[0]), *out[1:])
    return out + module.serial_adapter(out)


@dataclass(frozen=True, kw_only=True)
class Parallel(_Adapters):
    """Adapters beside sub-layers, by default beside the feed-forward layer.

    A target "a -> b" spans from the input of module a to the output of module b; a plain key spans one module.
    """

    activation: str = "relu"

    DEFAULTS: ClassVar[tuple[str, ...]] = tuple(f"{a} -> {b}" for a, b in zip(BEFORE_FFN, AFTER_FFN, strict=True))

    def spans(self, model: nn.Module) -> list[tuple[str, str]]:
        """(entry, exit) for each adapter."""
        found: dict[str, str] = {}  # exit -> entry
        for key in self.keys():
            first, arrow, last = (part.strip() for part in key.partition("->"))
            given = self.targets is not None
            entries = resolve(model, [first], every=given, some=given)
            exits = resolve(model, [last], every=given, some=given) if arrow else entries
            if len(entries) != len(exits):
                raise UsageError(f"target {key!r}: {len(entries)} modules to start at and {len(exits)} to end at")
            found |= dict(zip(exits, entries, strict=True))
        if not found:
            resolve(model, self.keys(), every=False)
        return [(entry, leave) for leave, entry in found.items()]

    def places(self, model: nn.Module) -> list[str]:
        """Where the adapters' outputs are added."""
        return [leave for _, leave in self.spans(model)]

    def spelled_out(self, model: nn.Module) -> Parallel:
        """The same with names for regular expressions."""
        if self.targets is None or "re:" not in "".join(self.targets):
            return self
        return replace(self, targets=tuple(f"{a} -> {b}" for a, b in self.spans(model)))

    def _insert(self, model: nn.Module) -> Iterable[nn.Parameter]:
        for entry, leave in self.spans(model):
            first, last, memory = model.get_submodule(entry), model.get_submodule(leave), Memory()
            adapter = like(self.adapter(width(model, first, "in"), width(model, last, "out")), last)
            last.add_module("parallel_adapter", adapter)
            first.add_module("parallel_entry", memory)
            last.add_module("parallel_exit", memory)
            first.register_forward_pre_hook(_enter)
            last.register_forward_hook(_leave)
            yield from adapter.parameters()

    def _remove(self, model: nn.Module) -> None:
        for child in ("parallel_adapter", "parallel_entry", "parallel_exit"):
            remove_children(model, child, _enter, _leave)


def _enter(module: nn.Module, args: Any) -> None:
    module.parallel_entry.put(args[0])


def _leave(module: nn.Module, args: Any, out: Any) -> Any:
    added = module.parallel_adapter(module.parallel_exit.take())
    return (out[0] + added, *out[1:]) if isinstance(out, tuple) else out + added


class Memory(nn.Module):
    """What one hook leaves for another within a pass; each thread has its own. Holds no weights."""

    def __init__(self) -> None:
        super().__init__()
        self.held: dict[int, Any] = {}

    def put(self, value: Any) -> None:
        """Keep `value` for this thread."""
        self.held[threading.get_ident()] = value

    def look(self) -> Any:
        """What this thread has kept, or None."""
        return self.held.get(threading.get_ident())

    def take(self) -> Any:
        """What this thread has kept, which is then forgotten."""
        return self.held.pop(threading.get_ident())
