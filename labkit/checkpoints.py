"""Checkpoints: folders `step-000123` that are whole or absent, checked byte for byte, and free of pickle.

    model.safetensors      the weights (tied ones once) and buffers
    optimizer.safetensors  the optimizer's tensors
    state.safetensors      random generators, losses
    state.json             step, settings, counts
    config.json            the model's own, where it has one: `from_pretrained` opens the folder
    manifest.json          size and SHA-256 of each file above

A folder is filled beside its place, flushed, and renamed (`files.writing_folder`), so a kill at any moment leaves the
checkpoints before it as they were. Reading takes the newest one that its manifest confirms.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from labkit import files
from labkit.errors import CheckpointError, LabkitError

TENSORS = ("model", "optimizer", "state")
SUM = "labkit.sha256"  # in the header of a safetensors file: the checksum of its tensors
REQUIRED = {*(f"{name}.safetensors" for name in TENSORS), "state.json"}
FOLDER = re.compile(r"step-(\d{6,})")
MANIFEST, AGAIN = "manifest.json", "save it again"


@dataclass
class Snapshot:
    """What a checkpoint holds: tensors by name in three files, plain facts, the model's config as JSON text."""

    step: int
    model: dict[str, Tensor]
    optimizer: dict[str, Tensor] = field(default_factory=dict)
    state: dict[str, Tensor] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    config: str | None = None


@contextlib.contextmanager
def reading(where: object, mend: str = AGAIN) -> Iterator[None]:
    """Inside, whatever a folder that is not whole makes a library raise becomes a CheckpointError of one sentence.

    The one place that says what that may be: anything. Beside errors of the system, of values, types, keys, shapes and
    imports, safetensors and strict configurations raise classes of their own, tokenizers plain `Exception`.
    """
    try:
        yield
    except LabkitError:
        raise
    except Exception as error:
        said = next(iter(str(error).splitlines()), "")
        raise CheckpointError(f"{where}: cannot be loaded ({type(error).__name__}: {said:.300}); {mend}") from error


def shapes(path: str | os.PathLike[str]) -> dict[str, tuple[int, ...]]:
    """Name → shape of the tensors in a safetensors file, from its header alone, which must fit the file's size."""
    with reading(path, "copy or save it again"), safe_open(path, framework="pt") as file:
        return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118


def save(folder: str | os.PathLike[str], snapshot: Snapshot, keep: int = 2) -> Path:
    """Write `folder/step-…` whole or not at all, then remove all but the newest `keep`.

    Raises LabkitError where the system refuses (disk full, no permission); what was there before stays.
    """
    target = Path(folder) / f"step-{snapshot.step:06d}"
    with files.writing_folder(target) as temporary:
        for part in TENSORS:
            plain = {name: tensor.detach().cpu().contiguous() for name, tensor in getattr(snapshot, part).items()}
            save_file(plain, temporary / f"{part}.safetensors", metadata={"format": "pt"})
        (temporary / "state.json").write_text(json.dumps({**snapshot.facts, "step": snapshot.step}), encoding="utf-8")
        if snapshot.config is not None:
            (temporary / "config.json").write_text(snapshot.config, encoding="utf-8")
        made = {f.name: {"size": f.stat().st_size, "sha256": files.sha256(f)} for f in temporary.iterdir()}
        (temporary / MANIFEST).write_text(json.dumps({"files": made}, indent=1), encoding="utf-8")
    _prune(Path(folder), snapshot.step, keep)
    return target


def load(folder: str | os.PathLike[str]) -> tuple[Path, Snapshot] | None:
    """The newest whole checkpoint in `folder` and its path; None where there is no checkpoint at all.

    Each newer one that is cut short or altered is named in a warning. Raises CheckpointError when none is usable.
    """
    refused = []
    for path in steps(folder):
        try:
            snapshot = read(path)
        except CheckpointError as error:
            refused.append(error)
            continue
        for error in refused:
            warnings.warn(f"{error}; going on from {path.name}", RuntimeWarning, stacklevel=2)
        return path, snapshot
    if refused:
        reasons = "; ".join(map(str, refused))
        raise CheckpointError(f"{folder}: no checkpoint is usable ({reasons}); remove them to start again")
    return None


def steps(folder: str | os.PathLike[str]) -> list[Path]:
    """The checkpoint folders in `folder`, newest first, whether whole or not."""
    found = [path for path in Path(folder).glob("step-*") if FOLDER.fullmatch(path.name)]
    return sorted(found, key=_step, reverse=True)


def read(path: str | os.PathLike[str]) -> Snapshot:
    """One checkpoint, verified. Raises CheckpointError naming the file that is missing, cut short or altered."""
    path = Path(path)
    verify(path)
    with reading(path):
        facts = json.loads((path / "state.json").read_text(encoding="utf-8"))
        parts = {name: load_file(path / f"{name}.safetensors") for name in TENSORS}
        config = (path / "config.json").read_text(encoding="utf-8") if (path / "config.json").exists() else None
        return Snapshot(int(facts["step"]), **parts, facts=facts, config=config)


def verify(path: Path) -> None:
    """Compare every file of a checkpoint with its manifest. Raises CheckpointError naming the first that differs."""
    try:
        sums = {name: entry["sha256"] for name, entry in files.read_json(path / MANIFEST, AGAIN)["files"].items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path / MANIFEST}: malformed ({type(error).__name__}); {AGAIN}") from error
    if lacking := REQUIRED - sums.keys():
        raise CheckpointError(f"{path / MANIFEST}: does not list {', '.join(sorted(lacking))}; {AGAIN}")
    files.verify(path, sums, AGAIN, own=MANIFEST, whole=False)


def digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over the names, types, shapes and bytes of tensors, in hexadecimal."""
    found = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        found.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        found.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def save_tensors(path: str | os.PathLike[str], tensors: Mapping[str, Tensor], **notes: str) -> None:
    """A safetensors file with `notes` and the tensors' checksum in its header, whole or not at all."""
    with files.writing(path) as temporary:
        save_file(dict(tensors), temporary, metadata={"format": "pt", **notes, SUM: digest(tensors)})


def load_tensors(path: str | os.PathLike[str], mend: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and notes of a safetensors file. CheckpointError, which ends in `mend`, where it cannot be read, or has
    a checksum that is not theirs.
    """
    with reading(path, mend), safe_open(path, framework="pt") as file:
        tensors, notes = {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    if notes.pop(SUM, found := digest(tensors)) != found:
        raise CheckpointError(f"{path}: altered since it was written; {mend}")
    return tensors, notes


def sweep(folder: str | os.PathLike[str]) -> None:
    """Remove what writers that were killed left behind. Call it only while no other process writes to `folder`."""
    for left in Path(folder).glob(".step-*"):
        shutil.rmtree(left, ignore_errors=True)


def weights(module: nn.Module) -> dict[str, Tensor]:
    """The module's parameters and buffers by name, each piece of memory once: tied weights under their first name."""
    kept: dict[str, Tensor] = {}
    seen: set[tuple[Any, ...]] = set()
    storages: set[int] = set()
    for name, tensor in module.state_dict().items():
        if _place(tensor) in seen:
            continue
        shares = tensor.numel() and tensor.untyped_storage().data_ptr() in storages  # a view of a tensor kept already
        kept[name] = tensor.clone() if shares else tensor
        seen.add(_place(tensor))
        storages.add(tensor.untyped_storage().data_ptr())
    return kept


def load_weights(module: nn.Module, tensors: dict[str, Tensor], where: object = "checkpoint") -> None:
    """Copy `tensors`, as `weights` gives them, into `module`. Raises CheckpointError naming the tensor that differs."""
    own = module.state_dict()
    expected = weights(module)
    for name in sorted(expected.keys() ^ tensors.keys()):
        raise CheckpointError(f"{where}: tensor {name!r} is {'not in it' if name in expected else 'not in this model'}")
    for name, tensor in tensors.items():
        if own[name].shape != tensor.shape:
            shapes = f"{tuple(tensor.shape)}, in this model {tuple(own[name].shape)}"
            raise CheckpointError(f"{where}: tensor {name!r} has shape {shapes}")
    with torch.no_grad():
        for name, tensor in tensors.items():
            own[name].copy_(tensor)


def _place(tensor: Tensor) -> tuple[Any, ...]:
    """What two tensors share when they are the same memory; an empty tensor is only itself."""
    return (tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype) if tensor.numel() else (id(tensor),)


def _prune(folder: Path, newest: int, keep: int) -> None:
    """Remove older checkpoints, and newer ones: those were refused when this run resumed before them."""
    current = [path for path in steps(folder) if _step(path) <= newest]
    for path in {*steps(folder)} - {*current[:keep]}:
        doomed = path.with_name(f".{path.name}.old")  # renamed first, so that no reader ever sees half of it
        shutil.rmtree(doomed, ignore_errors=True)
        try:
            os.replace(path, doomed)
        except OSError as error:
            warnings.warn(f"{path}: could not be removed: {error}", RuntimeWarning, stacklevel=3)
        shutil.rmtree(doomed, ignore_errors=True)


def _step(path: Path) -> int:
    return int(path.name.removeprefix("step-"))
