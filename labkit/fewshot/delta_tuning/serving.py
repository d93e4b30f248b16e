"""A shelf of deltas for one backbone: kept in a folder under names, and served from one model, a delta at a time.

The backbone is loaded once; a delta is a few kilobytes. `Centre` finds those that fit a model; `Served` holds several
in memory and changes from one to the next between two batches.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Mapping
from pathlib import Path

from torch import nn

from labkit.errors import CheckpointError, UsageError, unknown
from labkit.fewshot.delta_tuning.base import Model, attached, beside_of, detach, fingerprint
from labkit.fewshot.delta_tuning.saving import FACTS, delta_tensors, load_delta, put, read_facts, save_delta

NAME = re.compile(r"[\w][\w.-]{0,79}")


class Centre:
    """A folder of deltas: `folder/NAME/FINGERPRINT`, one a name and backbone."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)

    def put(self, name: str, model: nn.Module, **notes: str) -> Path:
        """Keep the delta that `model` carries; an older one of this name and backbone is replaced."""
        return save_delta(model, self._named(name) / attached(model).backbone[:16], **notes)

    def list(self, model: nn.Module | None = None) -> dict[str, list[str]]:
        """Name → the backbones (16 characters of their fingerprints) there is a delta for; with a `model`, those that
        fit it.
        """
        found: dict[str, list[str]] = {}
        mine = None if model is None else _mine(model)
        for path in sorted(self.folder.glob(f"*/*/{FACTS}")):
            try:
                fits = mine is None or read_facts(path.parent)["backbone"] == mine
            except CheckpointError as error:  # one that is damaged must not hide the others
                warnings.warn(str(error), stacklevel=2)
                continue
            if fits:
                found.setdefault(path.parent.parent.name, []).append(path.parent.name)
        return found

    def get(self, name: str, model: Model) -> Model:
        """Attach the delta called `name` that belongs to this backbone. UsageError where there is none."""
        folder = self._named(name) / _mine(model)[:16]
        if folder.is_dir():
            return load_delta(model, folder)
        names = self.list()
        if name not in names:
            raise unknown("delta", name, names)
        raise UsageError(
            f"{self.folder}: {name!r} is there for backbone {', '.join(names[name])}, not for {folder.name}: load that "
            "backbone, or train the delta for this one"
        )

    def _named(self, name: str) -> Path:
        if not NAME.fullmatch(name):
            raise UsageError(f"a delta's name has letters, digits, '.', '_', '-', at most 80 of them, not {name!r:.60}")
        return self.folder / name


def _mine(model: nn.Module) -> str:
    record = getattr(model, "labkit_delta", None)
    return fingerprint(model, beside_of(model, None)) if record is None else record.backbone


class Served:
    """Several saved deltas on one model. The model carries none when this is made, and the chosen one afterwards.

    Deltas of the same settings change places by copying their tensors, others are detached and attached.
    """

    def __init__(self, model: nn.Module, folders: Mapping[str, str | os.PathLike[str]]) -> None:
        if not folders:
            raise UsageError("Served needs at least one saved delta: Served(model, {'reviews': 'deltas/reviews'})")
        self.model, self.current = model, ""
        self.shelf = {}
        for name, folder in folders.items():
            load_delta(model, folder)  # every check, once
            self.shelf[name] = (attached(model).delta, delta_tensors(model), folder)
            detach(model)

    def choose(self, name: str) -> nn.Module:
        """The model with the delta called `name`."""
        if name not in self.shelf:
            raise unknown("delta", name, self.shelf)
        delta, tensors, folder = self.shelf[name]
        if name == self.current:
            return self.model
        if not self.current or self.shelf[self.current][0] != delta:
            self.release()
            delta.attach(self.model)
        put(self.model, tensors, folder)
        self.current = name
        return self.model

    def release(self) -> nn.Module:
        """The model without a delta."""
        if self.current:
            detach(self.model)
            self.current = ""
        return self.model
