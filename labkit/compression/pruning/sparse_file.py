"""A sparse model in a file: one bit per weight, which says whether it is 0, and the numbers that are not 0.

A plain file keeps every 0 as a number, so leaving out single weights alone makes no file smaller. Here a matrix of n
numbers of b bits takes n + (1 − sparsity) · n · b bits: less than n · b once the sparsity is above 1 / b. For two of
every four that is as much as the form of sparse tensor cores takes, two bits for the place of each number that stays.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from math import prod

import numpy as np
import torch
from torch import Tensor, nn

from labkit.checkpoints import load_tensors, load_weights, save_tensors, weights
from labkit.errors import CheckpointError
from labkit.measure import saved_tensors

FORM = "labkit sparse 1"
BITS, VALUES = "#bits", "#values"  # behind a tensor's name: what is stored in its place
AGAIN = "save the model again with sparse_file.save"


def pack(tensor: Tensor) -> tuple[Tensor, Tensor]:
    """A tensor of n numbers, of any shape, to bits, uint8 (⌈n / 8⌉,), and the numbers that are not 0."""
    flat = tensor.detach().cpu().flatten()
    there = flat != 0
    return torch.from_numpy(np.packbits(there.numpy())), flat[there]


def unpack(bits: Tensor, values: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The tensor again. CheckpointError where bits, values and shape do not belong together."""
    count = prod(shape)
    there = torch.from_numpy(np.unpackbits(bits.numpy())).bool()
    if len(there) != -(-count // 8) * 8 or there[count:].any() or int(there.sum()) != len(values):
        raise CheckpointError(f"{len(values)} numbers and {len(there)} bits are no tensor of shape {shape}; {AGAIN}")
    flat = torch.zeros(count, dtype=values.dtype)
    flat[there[:count]] = values
    return flat.view(shape)


def packed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Each tensor that is smaller so as its bits and values, the others as they are."""
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        bits, values = pack(tensor)
        smaller = bits.nbytes + values.nbytes < tensor.nbytes
        found |= {name + BITS: bits, name + VALUES: values} if smaller else {name: tensor}
    return found


def save(model: nn.Module, path: str | os.PathLike[str]) -> int:
    """Write the weights as a safetensors file in which zeros take one bit; gives its bytes. `finish` masks before."""
    save_tensors(path, packed(saved_tensors(model)), form=FORM)
    return os.path.getsize(path)


def load(model: nn.Module, path: str | os.PathLike[str]) -> nn.Module:
    """Read what `save` wrote into a model of the same shapes, in place, where every 0 is a number again.

    CheckpointError where the file is cut short, altered, of another form, or another model's.
    """
    tensors, notes = load_tensors(path, AGAIN)
    if notes.get("form") != FORM:
        raise CheckpointError(f"{path}: its form is {notes.get('form')!r}, and {FORM!r} is read here; {AGAIN}")
    found = {name: tensor for name, tensor in tensors.items() if not name.endswith((BITS, VALUES))}
    shapes = {name: tuple(tensor.shape) for name, tensor in weights(model).items()}
    for name in (name.removesuffix(BITS) for name in tensors if name.endswith(BITS)):
        if name not in shapes or name + VALUES not in tensors:
            raise CheckpointError(f"{path}: tensor {name!r} is not in this model, or has no values")
        found[name] = unpack(tensors[name + BITS], tensors[name + VALUES], shapes[name])
    load_weights(model, found, path)
    return model
