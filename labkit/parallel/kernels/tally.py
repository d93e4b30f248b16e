"""Bytes that operators read and write, counted from the real tensors while a program runs.

A kernel reads each of its inputs once and writes each of its results once; `BytesMoved` adds that up over every
operator that PyTorch runs, forward and backward, on any device. Views move nothing; an operator that looks at some
rows of its input, as `index` does, is charged for those. Caches may serve part of it, so this is what is asked of
memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

# writes without reading what was there
FILLS = {"zero_", "fill_", "copy_", "bernoulli_", "normal_", "uniform_", "random_"}
# reads of its first tensor only what it returns
PICKS = {"index", "index_select", "gather", "embedding", "gather_rows", "nll_loss_forward"}


@dataclass(frozen=True)
class Moved:
    """One operator that ran: its name, bytes read and bytes written."""

    name: str
    read: int
    written: int

    @property
    def bytes(self) -> int:
        """Read and written."""
        return self.read + self.written


class BytesMoved(TorchDispatchMode):
    """A context that keeps a `Moved` for every operator that moves bytes, in `operators`; `total` is their sum."""

    def __init__(self) -> None:
        super().__init__()
        self.operators: list[Moved] = []

    @property
    def total(self) -> int:
        """Bytes read and written in all."""
        return sum(one.bytes for one in self.operators)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        changed = list(_changed(func, args, kwargs))
        out = func(*args, **kwargs)
        read, written = _bytes(func, args, kwargs, changed, out)
        if read or written:
            self.operators.append(Moved(func.overloadpacket.__name__, read, written))
        return out


def _bytes(func: Any, args: Any, kwargs: Any, changed: list[Tensor], out: Any) -> tuple[int, int]:
    name = func.overloadpacket.__name__
    inputs = _distinct((args, {key: value for key, value in kwargs.items() if key not in _only_written(func)}))
    stored = {_storage(tensor) for tensor in _distinct((args, kwargs))}
    made = [tensor for tensor in _distinct(out) if _storage(tensor) not in stored]
    if not made and not changed or name.startswith(("empty", "new_empty")):
        return 0, 0  # a view, or memory that nothing is written to yet
    if name in FILLS:
        inputs = [tensor for tensor in inputs if all(tensor is not one for one in changed)]
    read = sum(map(size, inputs))
    if name in PICKS:
        read += _picked(inputs, made) - size(inputs[0])
    return read, sum(map(size, made)) + sum(map(size, changed))


def _picked(inputs: list[Tensor], made: list[Tensor]) -> int:
    """Bytes of the first input that an operator of PICKS looks at: an element for each it returns, or for each
    target.
    """
    count = max(tensor.numel() for tensor in (*made, *inputs[1:2]))
    return min(count * inputs[0].element_size(), size(inputs[0]))


def _changed(func: Any, args: Any, kwargs: Any) -> Iterator[Tensor]:
    """The tensors that the operator says it writes into."""
    for place, argument in enumerate(func._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            value = args[place] if place < len(args) else kwargs.get(argument.name)
            yield from (tensor for tensor in tree_iter(value) if isinstance(tensor, Tensor))


def _only_written(func: Any) -> set[str]:
    """The names of the arguments that a result goes to, as `out`: nothing is read there."""
    return {a.name for a in func._schema.arguments if a.kwarg_only and a.alias_info and a.alias_info.is_write}


def _distinct(values: Any) -> list[Tensor]:
    """The tensors among `values`; one that is given twice is read once."""
    found = {}
    for tensor in tree_iter(values):
        if isinstance(tensor, Tensor):
            key = (_storage(tensor), tensor.storage_offset(), tuple(tensor.shape), tensor.stride())
            found.setdefault(key, tensor)
    return list(found.values())


def size(tensor: Tensor) -> int:
    """Bytes of the elements that a tensor has in memory: an expanded dimension counts once."""
    sizes = [length for length, step in zip(tensor.shape, tensor.stride(), strict=True) if step or not length]
    return torch.Size(sizes).numel() * tensor.element_size()


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata
