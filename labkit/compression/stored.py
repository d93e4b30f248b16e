"""Weights that are stored as codes: a layer becomes another class in place, is saved and loaded so, and becomes numbers
again.

A *form* (`int8.py`, `ternary.py`, `binary.py`) says how a matrix is encoded and what a layer does with the codes. Here
is what all forms share: which layers are turned, ties that stay ties, files, and the way back.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from labkit.checkpoints import load_tensors, reading, save_tensors
from labkit.compression import addressed
from labkit.errors import CheckpointError, UsageError
from labkit.foundations.quantised import keeps_float
from labkit.measure import saved_tensors

VERSION = "1"  # of how codes lie in a file


class Stored(nn.Module):
    """A matrix (rows, columns) as integers (the buffer `CODES`, in some packing) with a float32 `scale`, (rows, 1) or
    (1, 1).

    The layer itself becomes one, and back: its name, hooks, children and whoever holds it know no difference. `dtype`
    is the type of the weights, which `model.to(dtype)` changes; the scales stay float32, because half precision would
    round them, and with them every weight of their row, or take them for 0.
    """

    integers: Tensor  # int8 (rows, columns): a buffer, or unpacked from one
    scale: Tensor
    FLOAT: ClassVar[type[nn.Module]]
    CODES: ClassVar[str] = "integers"

    def _hold(self, buffers: Mapping[str, Tensor], weight: nn.Parameter) -> None:
        for name, buffer in buffers.items():
            self.register_buffer(name, buffer)
        self.held, self.dtype, self.trains = tuple(buffers), weight.dtype, weight.requires_grad

    @property
    def weight(self) -> Tensor:
        """What the codes stand for, (rows, columns) in `dtype`: made anew each time, so not to be written to."""
        return (self.integers.float() * self.scale).to(self.dtype)

    @property
    def stands_for(self) -> dict[str, int]:
        """How many weights each buffer holds, for `labkit.measure.parameters`."""
        return {self.CODES: self.integers.numel()}

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
        scale = self.scale
        self.dtype = fn(torch.empty(0, dtype=self.dtype, device=scale.device)).dtype
        super()._apply(fn, recurse)
        if self.scale.dtype != torch.float32:
            self.scale = scale.to(self.scale.device)
        return self


class StoredEmbedding(Stored):
    """nn.Embedding whose rows are codes, with a scale each: three quarters of a micro model are embeddings."""

    FLOAT = nn.Embedding

    def forward(self, ids: Tensor) -> Tensor:
        """ids (…) to (…, d), in `dtype`."""
        return (self.rows(ids).float() * F.embedding(ids, self.scale)).to(self.dtype)

    def rows(self, ids: Tensor) -> Tensor:
        """The codes of some rows, (…, d)."""
        return F.embedding(ids, self.integers)


@dataclass(frozen=True)
class Form:
    """How matrices are stored. `encode` takes a weight (rows, columns), and whether each row needs a scale of its own,
    to the buffers, with one called "scale".
    """

    name: str
    linear: type[Stored]
    embedding: type[Stored]
    encode: Callable[[Tensor, bool], dict[str, Tensor]]

    @property
    def key(self) -> str:
        """Under which a file's header names the layers."""
        return f"labkit.{self.name}"

    def holds(self, module: nn.Module) -> bool:
        """Whether the module has been turned into this form."""
        return type(module) in (self.linear, self.embedding)

    def apply(self, model: nn.Module, skip: Sequence[str] = ()) -> nn.Module:
        """Turn `model`'s linear layers and tables of embeddings into this form, in place; returns `model`.

        Keys in `skip` (suffix, or `re:`) stay as they are, and so does what a delta, a prompt or the head beside it is
        to learn. A weight shared by two modules (an MLM decoder tied to the word embeddings) stays shared, if both are
        turned; if one of them is not, neither is: two copies cost more than one. Raises UsageError for a key that
        matches nothing and for weights that are NaN or infinite; nothing is changed then.
        """
        plain = {name: module for name, module in _named(model) if _is_plain(module)}
        skipped, added = {name for key in skip for name in addressed(plain, key)}, set(_added(model))
        turned = {name: module for name, module in plain.items() if module not in added and name not in skipped}
        others = (module for name, module in _named(model) if name not in turned)
        left = {_place(weight) for module in others for weight in module._parameters.values() if weight is not None}
        tables = {_place(module.weight) for module in turned.values() if isinstance(module, nn.Embedding)}
        found: dict[Any, dict[str, Tensor]] = {}
        for name, module in turned.items():
            if (place := _place(module.weight)) not in found and place not in left:
                if not torch.isfinite(module.weight).all():
                    what = f"NaN or infinite weights, which {self.name} cannot hold"
                    raise UsageError(f"{name}: {what}; load an earlier checkpoint")
                found[place] = self.encode(module.weight.detach().float(), place in tables)
        for module in dict.fromkeys(turned.values()):
            if (place := _place(module.weight)) in found:
                weight = module._parameters.pop("weight")
                module.__class__ = self.linear if isinstance(module, nn.Linear) else self.embedding
                module._hold(found[place], weight)
        return model

    def save(self, model: nn.Module, path: str | os.PathLike[str]) -> None:
        """Write the model's tensors, shared ones once, with a checksum, as one safetensors file or not at all."""
        names = [name for name, module in _named(model) if self.holds(module)]
        save_tensors(path, saved_tensors(model), **{self.key: json.dumps(names), f"{self.key}.version": VERSION})

    def load(self, model: nn.Module, path: str | os.PathLike[str]) -> nn.Module:
        """Fill the float32 skeleton `model` from what `save` wrote: `apply`, then the file's tensors, in place.

        CheckpointError where the file is absent, altered, not one of `save`'s, or of another architecture or version.
        """
        tensors, notes = load_tensors(path, "save the model again")
        with reading(path):
            names = json.loads(notes.get(self.key, "null"))
        if not isinstance(names, list):
            what = f"not written by labkit.compression.{self.name}.save"
            raise CheckpointError(f"{path}: {what}; use the model's own loader")
        if (version := notes.get(f"{self.key}.version", VERSION)) != VERSION:
            what = f"its codes are of version {version}, and this labkit reads version {VERSION}"
            raise CheckpointError(f"{path}: {what}; save the model again, or take the labkit that wrote it")
        codes = self.linear.CODES
        for name in names:
            if f"{name}.{codes}" not in tensors and f"{name}.weight" in tensors:  # as files once called them
                tensors[f"{name}.{codes}"] = tensors.pop(f"{name}.weight")
        left = [name for name, module in _named(model) if _is_plain(module) and name not in names]
        self.apply(model, skip=[f"re:^{re.escape(name)}$" for name in left])
        try:
            missing, unexpected = model.load_state_dict(tensors, strict=False)
        except RuntimeError as error:
            said = " ".join(str(error).split())
            raise CheckpointError(f"{path}: the shapes are another model's ({said:.300})") from error
        state = model.state_dict(keep_vars=True)
        filled = {state[key].data_ptr() for key in tensors if key in state}
        lost = [key for key in missing if state[key].data_ptr() not in filled]  # a tied tensor is stored under one name
        if lost or unexpected:
            raise CheckpointError(f"{path}: another architecture; missing {lost[:3]}, unexpected {unexpected[:3]}")
        return model


def undo(model: nn.Module) -> nn.Module:
    """Make the weights numbers again, in place: what the codes stand for.

    Ties stay tied, and what trained before `apply`, or before a delta that came since, trains again.
    """
    weights: dict[Any, nn.Parameter] = {}
    for module in [module for module in model.modules() if isinstance(module, Stored)]:
        place = _place(getattr(module, module.CODES))
        if place not in weights:
            weights[place] = nn.Parameter(module.weight, requires_grad=module.trains)
        for name in (*module.held, "held", "dtype", "trains"):
            delattr(module, name)
        others = dict(module._parameters)
        module._parameters.clear()
        module._parameters |= {"weight": weights[place], **others}  # first, as it was
        module.__class__ = module.FLOAT
    return model


def _named(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Every path to every module: a layer that is used in two places appears twice."""
    return model.named_modules(remove_duplicate=False)


def _is_plain(module: nn.Module) -> bool:
    """Linear and embedding layers themselves; a subclass computes something else and is left alone."""
    known = type(module) is nn.Linear or (type(module) is nn.Embedding and module.max_norm is None)
    return known and isinstance(module._parameters.get("weight"), nn.Parameter)


def _added(model: nn.Module) -> Iterator[nn.Module]:
    """What is not the model's own: what is marked so, and what `peft` says that it has added."""
    for module in model.modules():
        if keeps_float(module):
            yield module
        for name in getattr(module, "adapter_layer_names", ()):
            yield from module._modules[name].modules() if name in module._modules else ()


def _place(tensor: Tensor) -> tuple[Any, ...]:
    """Where a tensor lies: equal for tensors that are shared."""
    return (tensor.data_ptr() or id(tensor), tensor.shape, tensor.stride())
