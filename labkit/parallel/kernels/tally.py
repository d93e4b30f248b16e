"""Bytes that operators read and write, counted from the real tensors while a program runs.

A kernel reads each of its inputs once and writes each of its results once; `BytesMoved` adds that up over every
operator that PyTorch runs, forward and backward, on any device. Views move nothing; an operator that looks at some
rows of its input, as `index` does, is charged for those. Caches may serve part of it, so this is what is asked of
memory.
"""

from __future__ import annotations

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
        out = func(*args, **kwargs)
        read, written = _bytes(func, args, kwargs, out)
        if read or written:
            self.operators.append(Moved(func.overloadpacket.__name__, read, written))
        return out


def _bytes(func: Any, args: Any, kwargs: Any, out: Any) -> tuple[int, int]:
    name, written = func.overloadpacket.__name__, _written(func)
    targets = [args[place] if place < len(args) else kwargs.get(key) for key, place in written.items()]
    changed = [tensor for tensor in tree_iter(targets) if isinstance(tensor, Tensor)]
    inputs = _distinct((args, {key: value for key, value in kwargs.items() if key not in written}))  # not where it goes
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


def _written(func: Any) -> dict[str, int]:
    """Name -> place of the arguments that the operator says it writes into."""
    arguments = enumerate(func._schema.arguments)
    return {a.name: place for place, a in arguments if a.alias_info is not None and a.alias_info.is_write}


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
