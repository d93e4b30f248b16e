"""Deltas in files: the trained tensors alone, the settings that put them back, and the backbone they belong to.

    delta.safetensors   the trained tensors, and nothing else
    delta.json          settings, shapes, the tensors' SHA-256, its own, the fingerprint of the backbone

A delta is useless, and worse, wrong, on another backbone: loading compares fingerprints.
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save_file
from torch import Tensor, nn

from labkit.checkpoints import reading
from labkit.config import strict
from labkit.errors import CheckpointError, UsageError, unknown
from labkit.fewshot.delta_tuning.adapters import Parallel, Serial
from labkit.fewshot.delta_tuning.base import (
    RECORD,
    Delta,
    Model,
    attached,
    beside_of,
    fingerprint,
    trained_tensors,
    within,
)
from labkit.fewshot.delta_tuning.bitfit import BitFit
from labkit.fewshot.delta_tuning.combine import Combined
from labkit.fewshot.delta_tuning.compacter import Compacter
from labkit.fewshot.delta_tuning.intrinsic import Intrinsic
from labkit.fewshot.delta_tuning.ladder import Ladder
from labkit.fewshot.delta_tuning.lora import IA3, LoRA
from labkit.fewshot.delta_tuning.prompts import Prefix, Prompt
from labkit.files import read_json, sha256, write_sealed, writing_folder

TENSORS, FACTS = "delta.safetensors", "delta.json"
MAX_HEADER, FORMAT = 4_000_000, 1
SIZES = ("rank", "bottleneck", "tokens", "dimension", "factors")  # settings that become the size of a tensor
MANY = 1000  # which may be so large whatever the file holds: an inner delta's tensors are not in it
AGAIN = "copy the delta again, or save it again"
KINDS = {"backbone": str, "sha256": str, "bytes": int, "tensors": dict}
DELTAS: dict[str, type[Delta]] = {
    "serial": Serial,
    "parallel": Parallel,
    "lora": LoRA,
    "ia3": IA3,
    "bitfit": BitFit,
    "compacter": Compacter,
    "ladder": Ladder,
    "prompt": Prompt,
    "prefix": Prefix,
    "intrinsic": Intrinsic,
    "combined": Combined,
}


def describe(delta: Delta) -> dict[str, Any]:
    """The settings as plain JSON values, "kind" first; `from_description` reads them."""
    name = next(name for name, kind in DELTAS.items() if kind is type(delta))
    return {"kind": name, **{f.name: _plain(getattr(delta, f.name)) for f in dataclasses.fields(delta)}}


def _plain(value: Any) -> Any:
    if isinstance(value, Delta):
        return describe(value)
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def from_description(description: Mapping[str, Any], depth: int = 0) -> Delta:
    """The delta that `describe` described. UsageError for an unknown kind, key or value, and for regular expressions,
    which a file that came from elsewhere must not bring along.
    """
    if not isinstance(description, Mapping) or not isinstance(description.get("kind"), str) or depth > 3:
        raise UsageError('a delta\'s description is an object with its "kind"')
    values = dict(description)
    kind = DELTAS.get(values.pop("kind"))
    if kind is None:
        raise unknown("delta", description["kind"], DELTAS)
    for name in ("targets", "also"):
        if any("re:" in str(key) for key in values.get(name) or ()):
            raise UsageError(f"a delta's description: {name} may hold names only, no regular expression")
    for name in ("deltas", "inner"):
        if name in values:
            many = isinstance(values[name], list)
            inner = [from_description(one, depth + 1) for one in (values[name] if many else [values[name]])]
            values[name] = tuple(inner) if many else inner[0]
    return strict(kind, values, where="a delta's description")


def delta_tensors(model: nn.Module) -> dict[str, Tensor]:
    """The trained tensors under their names, copied; UsageError for a model without a delta."""
    attached(model)
    return {name: tensor.detach().cpu().clone().contiguous() for name, tensor in trained_tensors(model).items()}


def save_delta(model: nn.Module, folder: str | os.PathLike[str], **notes: str) -> Path:
    """Write the delta that `model` carries to `folder`, whole or not at all; `notes` (task="…") are kept with it.

    UsageError for a model without a delta, LabkitError where the system refuses.
    """
    record, tensors = attached(model), delta_tensors(model)
    facts = {
        "format": FORMAT, "delta": describe(record.delta), "backbone": record.backbone, "model": type(model).__name__,
        "tensors": {name: [str(t.dtype).removeprefix("torch."), list(t.shape)] for name, t in tensors.items()},
        "notes": {name: str(value) for name, value in notes.items()},
    }  # fmt: skip
    with writing_folder(folder) as temporary:
        save_file(tensors, temporary / TENSORS)
        facts |= {"bytes": (temporary / TENSORS).stat().st_size, "sha256": sha256(temporary / TENSORS)}
        write_sealed(temporary / FACTS, facts)
    return Path(folder)


def load_delta(model: Model, folder: str | os.PathLike[str]) -> Model:
    """Attach the delta in `folder` with its trained tensors, in place.

    CheckpointError for a folder that is missing, damaged, larger than it says or of another backbone; UsageError where
    the model carries a delta already. The model is then as it was.
    """
    return _load(model, folder, heads=True)


def transfer(model: Model, folder: str | os.PathLike[str]) -> Model:
    """Attach a delta that starts from another task's, in `folder`; a new head starts from the model's own.

    Raises as `load_delta` does.
    """
    return _load(model, folder, heads=False)


def _load(model: Model, folder: str | os.PathLike[str], *, heads: bool) -> Model:
    facts, delta, tensors = read_delta(folder)
    beside = beside_of(model, delta.also)
    mine = fingerprint(model, beside)
    if getattr(model, RECORD, None) is None and mine != facts["backbone"]:
        raise CheckpointError(
            f"{folder}: this delta belongs to another backbone ({facts.get('model')} {facts['backbone'][:12]}, this is "
            f"{type(model).__name__} {mine[:12]}): load the model, weights and number format that it was trained on"
        )
    with reading(folder, AGAIN):
        delta.attach(model)
    if not heads:  # the model's own in place of the file's
        own = {name: tensor for name, tensor in trained_tensors(model).items() if within(name, beside)}
        tensors = {**{name: tensor for name, tensor in tensors.items() if not within(name, beside)}, **own}
    try:
        put(model, tensors, folder)
    except CheckpointError:
        delta.detach(model)
        raise
    return model


def put(model: nn.Module, tensors: Mapping[str, Tensor], where: object) -> None:
    """Copy `tensors` into what trains. CheckpointError where names, shapes or types differ; nothing is then changed."""
    places = trained_tensors(model)
    if missing := sorted(places.keys() ^ tensors.keys()):
        raise CheckpointError(f"{where}: {len(missing)} tensors do not match the delta's, first {missing[0]!r}")
    for name, tensor in tensors.items():
        if tensor.shape != places[name].shape or tensor.dtype != places[name].dtype:
            wanted = f"{tuple(places[name].shape)} of {places[name].dtype}"
            raise CheckpointError(f"{where}: tensor {name!r} is {tuple(tensor.shape)} of {tensor.dtype}, not {wanted}")
    with torch.no_grad():
        for name, tensor in tensors.items():
            places[name].copy_(tensor)


def read_facts(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """What delta.json says, checked for its form. CheckpointError otherwise."""
    path = Path(folder) / FACTS
    if not path.exists():
        raise CheckpointError(f"{folder}: no delta here: give a folder of save_delta")
    facts = read_json(path, AGAIN)
    if facts.get("format") != FORMAT:
        raise CheckpointError(f"{path}: not a delta's description of format {FORMAT}; save the delta again")
    given = all(isinstance(facts.get(name), kind) for name, kind in KINDS.items())
    if not given or not all(map(_sound, facts["tensors"].values())):
        raise CheckpointError(f"{path}: {', '.join(KINDS)}: one is missing or malformed; save the delta again")
    return facts


def _sound(entry: Any) -> bool:
    """Whether a tensor is described as [type, shape]."""
    if not (isinstance(entry, list) and len(entry) == 2 and isinstance(entry[1], list)):
        return False
    kind = getattr(torch, str(entry[0]), None)
    return isinstance(kind, torch.dtype) and all(type(size) is int and 0 <= size < 2**40 for size in entry[1])


def _bytes(entry: Any) -> int:
    return math.prod(entry[1]) * getattr(torch, entry[0]).itemsize


def read_delta(folder: str | os.PathLike[str]) -> tuple[dict[str, Any], Delta, dict[str, Tensor]]:
    """Facts, settings and tensors of a saved delta, verified. CheckpointError otherwise, before much is read."""
    facts, path = read_facts(folder), Path(folder) / TENSORS
    try:
        with reading(Path(folder) / FACTS, AGAIN):
            delta = from_description(facts.get("delta"))
    except UsageError as error:
        raise CheckpointError(f"{Path(folder) / FACTS}: {error}") from error
    _check_sizes(facts, Path(folder) / FACTS)
    payload = sum(map(_bytes, facts["tensors"].values()))
    try:
        size, most = path.stat().st_size, payload + MAX_HEADER
        if size != facts["bytes"] or size > most:
            raise CheckpointError(
                f"{path}: {size:,} bytes where {min(facts['bytes'], most):,} belong: cut short or altered"
            )
        data = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror or error}; save the delta again") from error
    if sha256(path) != facts["sha256"]:
        raise CheckpointError(f"{path}: altered (its SHA-256 is not the one in {FACTS}); save the delta again")
    with reading(path, AGAIN):
        return facts, delta, load(data)


def _check_sizes(facts: Mapping[str, Any], path: Path) -> None:
    """Raise CheckpointError where the settings ask for larger tensors than there are: attaching would make them."""
    largest = max([MANY, *(size for _, shape in facts["tensors"].values() for size in shape)])

    def check(values: Any) -> None:
        for key, value in values.items() if isinstance(values, dict) else enumerate(values):
            if isinstance(value, dict | list):
                check(value)
            elif key in SIZES and isinstance(value, int) and value > largest:
                raise CheckpointError(f"{path}: {key} = {value:.4g}, but no tensor is so large; {AGAIN}")

    check(facts["delta"])
