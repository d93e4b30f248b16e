"""Intrinsic subspaces: a delta's D weights are steered by k numbers (Aghajanyan et al. 2021; prompts: Qin et al. 2022).

θ = θ₀ + P z with P (D, k) fixed, and only z (k) trained. P is drawn at random, which measures how many dimensions a
task needs (`Intrinsic`), or learnt from several tasks: θ₀ the mean of the deltas tuned for them, the columns of P the
directions in which these differ most (`learn_subspace`). Qin et al. learn it with an auto-encoder; a linear one with
squared error has its optimum there, in the principal components.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from labkit.checkpoints import load_tensors, save_tensors
from labkit.errors import CheckpointError, DataError, UsageError
from labkit.fewshot.delta_tuning.base import Delta
from labkit.fewshot.delta_tuning.places import like, positive, unhook
from labkit.fewshot.delta_tuning.prompts import Prompt
from labkit.files import sha256

MEAN, BASIS = "mean", "basis"


class Subspace(nn.Module):
    """The k numbers `z`, which start at zero, and what they move: (module, parameter's name, rows of P) each.

    A parameter keeps θ₀. While the model runs, the module's attribute of that name is θ₀ + P z instead, which lies in
    front of the parameter. P is not saved: it is drawn or read anew.
    """

    def __init__(self, k: int) -> None:
        super().__init__()
        self.z = nn.Parameter(torch.zeros(k))
        self.moved: list[tuple[nn.Module, str, Tensor]] = []

    def move(self) -> None:
        """Put θ₀ + P z in front of each parameter."""
        for module, name, rows in self.moved:
            start = module._parameters[name]
            module.__dict__[name] = start + (rows.to(start) @ self.z).view_as(start)

    def settle(self) -> None:
        """Leave the values without their history, so that the model can be copied."""
        for module, name, _ in self.moved:
            if name in module.__dict__:
                module.__dict__[name] = module.__dict__[name].detach()

    def leave(self, *, keep: bool) -> None:
        """Show the parameters again; `keep` writes θ₀ + P z into them."""
        with torch.no_grad():
            self.move()
            values = [module.__dict__.pop(name) for module, name, _ in self.moved if name in module.__dict__]
            for (module, name, _), value in zip(self.moved, values, strict=False):
                if keep:
                    module._parameters[name].copy_(value)


def _move(model: nn.Module, args: object) -> None:
    model.intrinsic.move()


def _settle(model: nn.Module, args: object, out: object) -> None:
    model.intrinsic.settle()


@dataclass(frozen=True, kw_only=True)
class Intrinsic(Delta):
    """`inner`, with only `dimension` numbers trained. `basis` is a file that `learn_subspace` wrote; without it the
    subspace is drawn with `seed`, entries from N(0, 1/k).
    """

    inner: Delta = field(default_factory=Prompt)
    dimension: int = 5
    basis: str | None = None
    basis_sha256: str | None = None

    def __post_init__(self) -> None:
        positive(self, "dimension")
        if not isinstance(self.inner, Delta) or isinstance(self.inner, Intrinsic) or self.targets is not None:
            raise UsageError("Intrinsic needs an inner delta, and takes its targets: Intrinsic(inner=Prompt(tokens=8))")

    def places(self, model: nn.Module) -> list[str]:
        """Those of the inner delta."""
        return self.inner.places(model)

    def spelled_out(self, model: nn.Module) -> Intrinsic:
        """The same with names for regular expressions, and with the basis file's checksum."""
        changes = {"inner": self.inner.spelled_out(model)}
        if self.basis is not None:
            changes["basis_sha256"] = self._checked()
        return replace(super().spelled_out(model), **changes)

    def check_merges(self, model: nn.Module) -> None:
        """UsageError unless the inner delta can be merged."""
        self.inner.check_merges(model)

    def _checked(self) -> str:
        """The basis file's checksum; DataError where it is missing or another one."""
        if not Path(self.basis).is_file():
            raise DataError(f"{self.basis}: no such file: this delta needs the subspace that learn_subspace wrote")
        found = sha256(self.basis)
        if self.basis_sha256 not in (None, found):
            raise DataError(f"{self.basis}: another subspace than the one this delta was trained in")
        return found

    def _insert(self, model: nn.Module) -> Iterable[nn.Parameter]:
        places = _places(model, {id(parameter) for parameter in self.inner._insert(model)})
        parameters = [holders[0][0]._parameters[holders[0][1]] for holders in places]
        start, rows = self._subspace(sum(parameter.numel() for parameter in parameters))
        model.add_module("intrinsic", like(Subspace(self.dimension), model))
        sizes = [parameter.numel() for parameter in parameters]
        starts = [None] * len(sizes) if start is None else start.split(sizes)
        for holders, parameter, begin, part in zip(places, parameters, starts, rows.split(sizes), strict=True):
            if begin is not None:
                parameter.data.copy_(begin.view_as(parameter))
            model.intrinsic.moved += [(module, name, part.to(parameter)) for module, name in holders]
        model.register_forward_pre_hook(_move)
        model.register_forward_hook(_settle, always_call=True)
        return [model.intrinsic.z]

    def _subspace(self, total: int) -> tuple[Tensor | None, Tensor]:
        """θ₀ (D,), if the basis has one, and P (D, k)."""
        if self.basis is None:
            if self.dimension > total:
                raise UsageError(f"Intrinsic: dimension={self.dimension} is more than the {total} weights it steers")
            return None, torch.randn(total, self.dimension) / self.dimension**0.5
        self._checked()
        mean, basis = read_subspace(self.basis)
        if basis.shape[0] != total or self.dimension > basis.shape[1]:
            raise UsageError(
                f"{self.basis}: a subspace of {basis.shape[1]} dimensions for {basis.shape[0]} weights; dimension="
                f"{self.dimension} for {total} weights was asked for: set dimension, or inner, as it was learnt"
            )
        return mean, basis[:, : self.dimension]

    def _remove(self, model: nn.Module) -> None:
        self._unwind(model, keep=False)
        self.inner._remove(model)

    def _merge(self, model: nn.Module) -> None:
        self._unwind(model, keep=True)
        self.inner._merge(model)

    def _unwind(self, model: nn.Module, *, keep: bool) -> None:
        if "intrinsic" in model._modules:
            model.intrinsic.leave(keep=keep)
            del model.intrinsic
            unhook(model, _move, _settle)


def _places(model: nn.Module, wanted: set[int]) -> list[list[tuple[nn.Module, str]]]:
    """For each of the wanted parameters, in the model's order, everywhere it is held: (module, name)."""
    found: dict[int, list[tuple[nn.Module, str]]] = {}
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None and id(parameter) in wanted:
                found.setdefault(id(parameter), []).append((module, name))
    return list(found.values())


# A subspace learnt from several tasks


def learn_subspace(
    path: str | os.PathLike[str], deltas: Sequence[Mapping[str, Tensor]], dimension: int
) -> tuple[Tensor, Tensor]:
    """Write to `path` the mean and the first `dimension` principal directions of deltas tuned for several tasks.

    Each delta is its tensors by name, as `delta_tensors` gives them, all of the same names and shapes. The directions
    are scaled by the spread along them, so that z counts in standard deviations. Returns (D,) and (D, k). UsageError
    where names or shapes differ, or the deltas are not more than `dimension`.
    """
    if not deltas:
        raise UsageError("no delta to learn a subspace from")
    shapes = {name: tensor.shape for name, tensor in deltas[0].items()}
    for number, delta in enumerate(deltas, start=1):
        if {name: tensor.shape for name, tensor in delta.items()} != shapes:
            raise UsageError(f"delta {number} has other tensors than the first: tune the same delta for every task")
    flat = torch.stack([torch.cat([delta[name].detach().float().flatten() for name in shapes]) for delta in deltas])
    if not 1 <= dimension < len(flat):
        raise UsageError(
            f"{len(flat)} deltas span at most {len(flat) - 1} dimensions around their mean, not {dimension}"
        )
    mean = flat.mean(0)  # of (tasks, D)
    _, spread, directions = torch.linalg.svd(flat - mean, full_matrices=False)
    basis = directions[:dimension].T * (spread[:dimension] / (len(flat) - 1) ** 0.5)
    save_tensors(path, {MEAN: mean.contiguous(), BASIS: basis.contiguous()})
    return mean, basis


def read_subspace(path: str | os.PathLike[str]) -> tuple[Tensor, Tensor]:
    """The mean (D,) and the directions (D, k) in a file; DataError for anything else."""
    try:
        found, _ = load_tensors(path, "write one with learn_subspace")
    except CheckpointError as error:
        raise DataError(f"no subspace to read here: {error}") from error
    mean, basis = found.get(MEAN), found.get(BASIS)
    if mean is None or basis is None or basis.ndim != 2 or mean.shape != basis.shape[:1]:
        raise DataError(f"{path}: a subspace has a mean (D,) and a basis (D, k); write one with learn_subspace")
    return mean, basis
