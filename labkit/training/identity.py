"""What decides a run beside its settings, as a few hashes: whoever resumes it must have the same.

Two runs may agree in every number, and yet one has its labels flipped, another template, or other weights frozen; the
checkpoint of the one would go on in the other without a word.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from types import FunctionType
from typing import Any

import numpy as np
import torch
from torch import nn

from labkit.training.batches import Batches, take

LOOKED_AT = 4096  # rows of a lazy sequence, which may have to be read or decoded; of a list all are looked at
CHANGED = {
    "run.rows": "other rows",
    "run.seen": "rows that were read in another way: another template, tokenizer or collate",
    "run.method": "a method of other settings",
    "run.trainable": "other parameters trainable",
}


def identity(model: nn.Module, objective: Any, data: Batches) -> dict[str, str]:
    """The keys of CHANGED, and a hash for each: 16 hexadecimal digits."""
    trainable = sorted(name for name, parameter in model.named_parameters() if parameter.requires_grad)
    found = (_some(data.rows), data.make(0), _settings(objective), trainable)
    return {name: content(value) for name, value in zip(CHANGED, found, strict=True)}


def content(value: Any) -> str:
    """A hash of plain values, arrays, tensors and what is made of them: 16 hexadecimal digits, the same everywhere.

    Of other objects their `describe()` counts where they have one, else their class alone.
    """
    digest = hashlib.sha256()
    _feed(digest, value)
    return digest.hexdigest()[:16]


def _feed(digest: Any, value: Any) -> None:
    if torch.is_tensor(value):
        value = value.detach().cpu()
        value = (value.float() if value.dtype == torch.bfloat16 else value).numpy()
    if isinstance(value, np.ndarray) and value.dtype != object:
        digest.update(f"{value.dtype}{value.shape}".encode())
        digest.update(np.ascontiguousarray(value).tobytes())
    elif isinstance(value, Mapping):
        _feed(digest, [part for key in sorted(value, key=str) for part in (str(key), value[key])])
    elif isinstance(value, list | tuple | np.ndarray):
        digest.update(f"[{len(value)}".encode())
        for item in value:
            _feed(digest, item)
    elif isinstance(value, str | bytes | int | float | np.generic | None):
        digest.update(f"{value!r},".encode("utf-8", "backslashreplace"))
    elif isinstance(value, set | frozenset):
        _feed(digest, sorted(map(repr, value)))
    else:
        digest.update(getattr(value, "__qualname__", type(value).__qualname__).encode())
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            _feed(digest, [getattr(value, field.name) for field in dataclasses.fields(value)])
        elif hasattr(value, "describe") and not isinstance(value, nn.Module):
            _feed(digest, value.describe())


def _some(rows: Sequence[Any]) -> list[Any]:
    """All rows of a list, and of anything else some from all over it, and how many there are."""
    count = len(rows)
    most = count if isinstance(rows, list | tuple) else min(count, LOOKED_AT)
    return [count, *take(rows, np.linspace(0, count - 1, most).astype(np.int64))]


def _settings(objective: Any) -> dict[str, Any]:
    """The fields of the object that an objective is, or is a method of; of a plain function nothing is known."""
    owner = getattr(objective, "__self__", objective)
    if owner is None or isinstance(owner, FunctionType) or not hasattr(owner, "__dict__"):
        return {}
    fields = {name: value for name, value in vars(owner).items() if not name.startswith("_") and name != "training"}
    return {"class": type(owner).__qualname__, **fields}
