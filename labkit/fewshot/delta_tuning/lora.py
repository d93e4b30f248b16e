"""LoRA and IA3, by `peft`, which puts its layers into the model that it is given and leaves the model's class alone.

*LoRA* (Hu et al. 2022, §4.1): a frozen W gets an update of low rank, h = W x + (α/r)·B A x, with A (r, d_in) drawn at
random and B (d_out, r) zero. *(IA)³* (Liu et al. 2022, §3.3): keys, values and the feed-forward layer's inner
activations are multiplied by learned vectors that start at 1. Both are linear in the frozen weights: they merge.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn
from torch.nn.utils import skip_init

from labkit.errors import UsageError
from labkit.fewshot.delta_tuning.base import Delta
from labkit.fewshot.delta_tuning.places import AFTER_FFN, KEY, QUERY, VALUE, positive, resolve
from labkit.foundations.quantised import UNDO, is_quantised, refuse_quantised


@contextlib.contextmanager
def _quiet_import() -> Iterator[None]:
    """peft imports bitsandbytes where it is installed, which then reports kernels that it could have; none is used."""
    logger = logging.getLogger("bitsandbytes")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


class _ByPeft(Delta):
    """What the two share: injection, and taking peft's layers out again."""

    PREFIX: ClassVar[str] = ""  # of peft's parameters
    MERGES: ClassVar[bool] = True

    def _config(self, model: nn.Module, names: list[str]) -> Any:
        raise NotImplementedError

    def _insert(self, model: nn.Module) -> Iterable[nn.Parameter]:
        with _quiet_import():
            from peft import inject_adapter_in_model

        names = self.places(model)
        for name in names:
            if not hasattr(model.get_submodule(name), "in_features"):
                kind = type(model.get_submodule(name)).__name__
                raise UsageError(f"{type(self).__name__}: target {name!r} is a {kind}; it needs linear layers")
        with _quiet_import(), _shown_as_linear(model, names):
            inject_adapter_in_model(self._config(model, names), model, adapter_name=self.PREFIX)
        if hasattr(model, "peft_config"):
            del model.peft_config  # the layers do without, and a second injection would warn
        for name in names:
            yield from (p for n, p in model.get_submodule(name).named_parameters() if f"{self.PREFIX}_" in n)

    def check_merges(self, model: nn.Module) -> None:
        """UsageError where a layer's weight is quantised, or serves another place too, which would change."""
        for name, layer in self._layers(model):
            what = f"{type(self).__name__} cannot be merged"
            refuse_quantised(_innermost(layer), what, name, f"keep the delta attached, or {UNDO}")
            if (other := _elsewhere(model, layer)) is not None:
                raise UsageError(
                    f"{what}: {name!r} shares its weight with {other!r}, which would change with it; keep the delta "
                    "attached, or give the layer a weight of its own before attaching"
                )

    def _layers(self, model: nn.Module) -> list[tuple[str, Any]]:
        kind = self._layer()
        return [(name, module) for name, module in model.named_modules() if isinstance(module, kind)]

    def _remove(self, model: nn.Module) -> None:
        for name, layer in self._layers(model):
            model.set_submodule(name, layer.base_layer)

    def _merge(self, model: nn.Module) -> None:
        for _, layer in self._layers(model):
            layer.merge()
        self._remove(model)

    def _layer(self) -> type:
        raise NotImplementedError


def _innermost(layer: nn.Module) -> nn.Module:
    """The backbone's layer below all of peft's."""
    while "base_layer" in layer._modules:
        layer = layer._modules["base_layer"]
    return layer


@contextlib.contextmanager
def _shown_as_linear(model: nn.Module, names: list[str]) -> Iterator[None]:
    """Inside, an nn.Linear of its size stands for each quantised layer: peft wraps no other, and then only calls."""
    layers = [_innermost(model.get_submodule(name)) for name in names]
    shown = {
        layer: skip_init(nn.Linear, layer.in_features, layer.out_features, bias=False, device=weight.device,
                         dtype=weight.dtype)
        for layer in layers if is_quantised(layer) for weight in [layer.weight]
    }  # fmt: skip
    _exchange(model, shown)
    try:
        yield
    finally:
        _exchange(model, {new: old for old, new in shown.items()})


def _exchange(model: nn.Module, new: Mapping[nn.Module, nn.Module]) -> None:
    for parent in list(model.modules()):
        parent._modules.update({name: new[child] for name, child in parent._modules.items() if child in new})


def _elsewhere(model: nn.Module, layer: nn.Module) -> str | None:
    """The name of a module outside `layer` with the weight that `layer` changes, or with the layer itself in it."""
    base, own = _innermost(layer), set(layer.modules())
    for name, module in model.named_modules():
        weights = (weight for weight in module._parameters.values() if weight is not None)
        holds = base in module._modules.values() or any(w.data_ptr() == base.weight.data_ptr() for w in weights)
        if holds and module not in own:
            return name or type(module).__name__
    return None


@dataclass(frozen=True, kw_only=True)
class LoRA(_ByPeft):
    """Low-rank updates of linear layers, by default of the queries and values.

    `rank` r; `alpha` α scales the update by α/r; `dropout` acts on its input. r·(d_in + d_out) weights a layer.
    """

    rank: int = 8
    alpha: float = 16.0
    dropout: float = 0.0

    DEFAULTS: ClassVar[tuple[str, ...]] = QUERY + VALUE
    PREFIX: ClassVar[str] = "lora"

    def __post_init__(self) -> None:
        positive(self, "rank")

    def _config(self, model: nn.Module, names: list[str]) -> Any:
        from peft import LoraConfig

        for name in names:
            layer = model.get_submodule(name)
            if self.rank > (least := min(layer.in_features, layer.out_features)):
                raise UsageError(
                    f"LoRA: rank={self.rank} is more than {name!r} can have: choose a rank from 1 to {least}"
                )
        return LoraConfig(r=self.rank, lora_alpha=self.alpha, lora_dropout=self.dropout, target_modules=names)

    def _layer(self) -> type:
        from peft.tuners.lora import LoraLayer

        return LoraLayer


@dataclass(frozen=True, kw_only=True)
class IA3(_ByPeft):
    """Learned scales: of the outputs of keys and values, and of the input of the feed-forward layer's second half.

    `scale_input` are keys of the targets that are scaled at their input; d weights a target.
    """

    scale_input: tuple[str, ...] | None = None

    DEFAULTS: ClassVar[tuple[str, ...]] = KEY + VALUE + AFTER_FFN
    PREFIX: ClassVar[str] = "ia3"

    def _config(self, model: nn.Module, names: list[str]) -> Any:
        from peft import IA3Config

        keys = AFTER_FFN if self.scale_input is None else self.scale_input
        given = self.scale_input is not None
        inner = [name for name in resolve(model, keys, every=given, some=given and bool(keys)) if name in names]
        return IA3Config(target_modules=names, feedforward_modules=inner)

    def _layer(self) -> type:
        from peft.tuners.ia3 import IA3Layer

        return IA3Layer
