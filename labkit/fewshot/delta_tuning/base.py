"""What every delta is: a few trained tensors on a frozen model, put in place by key, taken off again, or merged.

The verbs are those of OpenDelta (Hu et al. 2023): `attach` addresses modules of the backbone by their names, never by
editing its code, freezes all weights but the delta's, and keeps the model's class, so that whatever worked on the
model works on it still. `detach` gives back the model bit for bit. `merge` writes the delta into the weights, where it
is linear in them.

A delta keeps nothing of the model it sits on: what detaching needs (which weights were trained before, the values of
those that the delta trains in place) stands on the model, under names, so that a deep copy of a model with a delta is a
model with a delta.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, TypeVar

import torch
from torch import Tensor, nn

from labkit.checkpoints import digest
from labkit.errors import UsageError
from labkit.fewshot.delta_tuning.places import resolve
from labkit.foundations.quantised import keep_float, refuse_to_train, set_training_flags, training_flags
from labkit.lab import seeded

RECORD = "labkit_delta"  # the attribute under which a model carries its delta
ALSO = ("classifier", "pre_classifier", "score", "qa_outputs", "soft")  # new heads and soft tokens: nothing to keep

Model = TypeVar("Model", bound=nn.Module)


@dataclass(frozen=True, kw_only=True)
class Delta:
    """Settings of a delta. `targets` are keys of modules: the end of a name ("attention.self.value"), or "re:" with a
    regular expression; None takes the method's usual places in BERT, RoBERTa, ALBERT and DistilBERT.

    `also` are keys of modules that train besides; None takes a new head and soft tokens, where the model has them.
    `seed` draws what starts at random.
    """

    targets: tuple[str, ...] | None = None
    also: tuple[str, ...] | None = None
    seed: int = 0

    DEFAULTS: ClassVar[tuple[str, ...]] = ()  # keys, of which those that fit are taken
    MERGES: ClassVar[bool] = False

    def attach(self, model: Model) -> Model:
        """Put the delta on `model`, in place: only it, and `also`, require gradients afterwards.

        UsageError for a key that fits nothing, a setting that the model's sizes do not allow, a module to train besides
        that cannot, and a model that carries a delta already; the model is then as it was.
        """
        if (before := getattr(model, RECORD, None)) is not None:
            name = type(before.delta).__name__
            raise UsageError(
                f"this model carries a delta already ({name}): detach it first, or attach Combined((…, …)) to have both"
            )
        own, modules = dict(model.named_parameters()), set(model.modules())
        beside = beside_of(model, self.also)
        _check_beside(model, beside, given=self.also is not None)
        record = Attached(self.spelled_out(model), fingerprint(model, beside), training_flags(model))
        try:
            with seeded(self.seed):
                trained = list(self._insert(model))
        except BaseException:
            self._remove(model)
            set_training_flags(model, record.flags, otherwise=False)
            raise
        trained += [parameter for name, parameter in own.items() if within(name, beside)]
        record.beside = tuple(beside)
        mark(model, trained)
        keep_float(module for module in model.modules() if module not in modules)
        keep_float(_beside(model, record))
        ids = {id(parameter) for parameter in trained}
        record.originals = {name: p.detach().clone() for name, p in own.items() if id(p) in ids}
        setattr(model, RECORD, record)
        return model

    def detach(self, model: Model) -> Model:
        """Take the delta off: names, weights and what is trained are as before `attach`, bit for bit."""
        record = self._own(model)
        self._remove(model)
        own = dict(model.named_parameters())
        with torch.no_grad():
            for name, value in record.originals.items():
                own[name].copy_(value)
                own[name].grad = None
        return self._finish(model, record)

    def merge(self, model: Model) -> Model:
        """Write the delta into the weights: a plain model of the same answers, without the delta's cost.

        UsageError for a delta that no weight of the backbone could stand for.
        """
        record = self._own(model)
        self.check_merges(model)
        self._merge(model)
        return self._finish(model, record)

    def check_merges(self, model: nn.Module) -> None:
        """UsageError unless this delta can be merged into the weights of the model that carries it."""
        if not self.MERGES:
            raise UsageError(
                f"{type(self).__name__} cannot be merged: no weights of the backbone alone compute the same; keep it "
                "attached, or save it with save_delta"
            )

    def keys(self) -> tuple[str, ...]:
        """The keys in force."""
        return self.DEFAULTS if self.targets is None else self.targets

    def places(self, model: nn.Module) -> list[str]:
        """The names of the modules it goes to, in the model's order."""
        return resolve(model, self.keys(), every=self.targets is not None)

    def spelled_out(self, model: nn.Module) -> Delta:
        """The same with names for regular expressions: what is written to a file, where none may stand."""
        changes = {}
        for name in ("targets", "also"):
            keys = getattr(self, name)
            if keys is not None and any(key.startswith("re:") for key in keys):
                changes[name] = tuple(resolve(model, keys, every=True))
        return replace(self, **changes)

    # What a kind of delta is: these three.

    def _insert(self, model: nn.Module) -> Iterable[nn.Parameter]:
        """Change the model; give the parameters that train."""
        raise NotImplementedError

    def _remove(self, model: nn.Module) -> None:
        """Undo `_insert`, also where it stopped half-way."""

    def _merge(self, model: nn.Module) -> None:
        """Write into the weights and undo the rest."""

    def _own(self, model: nn.Module) -> Attached:
        record = attached(model)
        if type(record.delta) is not type(self):
            raise UsageError(f"this model carries {type(record.delta).__name__}, not {type(self).__name__}")
        return record

    def _finish(self, model: Model, record: Attached) -> Model:
        set_training_flags(model, record.flags, otherwise=False)
        keep_float(_beside(model, record), keep=False)
        delattr(model, RECORD)
        return model


@dataclass
class Attached:
    """What a model remembers of its delta: the settings, the backbone's fingerprint, which weights trained before,
    what stood in those of them that the delta trains, and the names of the modules that train besides.
    """

    delta: Delta
    backbone: str
    flags: dict[str, bool]
    originals: dict[str, Tensor] = field(default_factory=dict)
    beside: tuple[str, ...] = ()


def attached(model: nn.Module) -> Attached:
    """What the model remembers of its delta; UsageError where it carries none."""
    record = getattr(model, RECORD, None)
    if record is None:
        raise UsageError(f"this {type(model).__name__} carries no delta: attach one, LoRA(rank=4).attach(model)")
    return record


def detach(model: Model) -> Model:
    """Take off whatever delta the model carries."""
    return attached(model).delta.detach(model)


def merge(model: Model) -> Model:
    """Merge whatever delta the model carries."""
    return attached(model).delta.merge(model)


def trained_tensors(model: nn.Module) -> dict[str, nn.Parameter]:
    """The tensors that train, each once, under their names."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def fingerprint(model: nn.Module, without: Sequence[str] = ()) -> str:
    """SHA-256 over the names, types, shapes and bytes of the state, modules named in `without` left out."""
    kept, seen = {}, set()
    for name, tensor in sorted(model.state_dict().items()):
        place = (tensor.data_ptr(), tensor.shape, tensor.stride())
        if within(name, without) or (tensor.numel() and place in seen):  # a tied tensor counts once
            continue
        seen.add(place)
        kept[name] = tensor
    return digest(kept)


def mark(model: nn.Module, trained: Iterable[nn.Parameter]) -> None:
    """Freeze everything but `trained`."""
    set_training_flags(model, {}, otherwise=False)
    for parameter in trained:
        parameter.requires_grad_(True)
    for parameter in model.parameters():
        parameter.grad = None


def _beside(model: nn.Module, record: Attached) -> Iterator[nn.Module]:
    """The modules that train besides, and all that is in them."""
    return (module for name in record.beside for module in model.get_submodule(name).modules())


def beside_of(model: nn.Module, keys: tuple[str, ...] | None) -> list[str]:
    """The names of the modules that train besides a delta whose `also` is `keys`."""
    return resolve(model, ALSO if keys is None else keys, every=keys is not None, some=keys is not None and bool(keys))


def _check_beside(model: nn.Module, names: Iterable[str], *, given: bool) -> None:
    """UsageError where one of the modules that are to train could not: quantised, or tied to a weight elsewhere."""
    own = [name for name, _ in model.named_parameters()]
    for name in names:
        refuse_to_train(model.get_submodule(name), name)
        if given and not any(within(weight, [name]) for weight in own):
            raise UsageError(
                f"also: {name!r} has no weight of its own to train (it is tied to another, or has none): give it one, "
                "or name another module"
            )


def within(name: str, modules: Iterable[str]) -> bool:
    """Whether the tensor or module called `name` is one of `modules`, or in one."""
    return any(name == module or name.startswith(module + ".") for module in modules)
