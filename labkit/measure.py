"""What a model costs: parameters, bytes on disk, arithmetic, milliseconds, memory.

Each figure is counted where it can be counted and timed only where it must be. A tensor that two modules share (an MLM
decoder tied to the word embeddings) costs once. A module that stores weights as something other than parameters (int8,
packed bits) says how many it holds in `stands_for`, a mapping from the name of a buffer to a number of weights.
"""

from __future__ import annotations

import inspect
import os
import statistics
import time
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from labkit.checkpoints import weights
from labkit.errors import DataError, UsageError
from labkit.evaluation import eval_mode, evaluating
from labkit.training.batches import to_device


def parameters(model: nn.Module) -> int:
    """Number of weights, shared ones once; weights that are stored in another form count by what they stand for."""
    counted = {parameter.data_ptr() or id(parameter): parameter.numel() for parameter in model.parameters()}
    for module in model.modules():
        for name, number in getattr(module, "stands_for", {}).items():
            counted[module._buffers[name].data_ptr()] = number
    return sum(counted.values())


def trainable(model: nn.Module) -> int:
    """Number of weights that training may change (`requires_grad`), shared ones once."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def saved_tensors(model: nn.Module) -> dict[str, Tensor]:
    """The state dict as safetensors can hold it: contiguous, and each shared tensor once, under its first name."""
    # Copied, since a view must not share storage.
    return {name: value.clone(memory_format=torch.contiguous_format) for name, value in weights(model).items()}


def bytes_on_disk(model: nn.Module | str | os.PathLike[str]) -> int:
    """Bytes of the weights as safetensors, header included: of a model, of a file, or of a folder's weight files.

    DataError where the path holds no safetensors file.
    """
    if isinstance(model, nn.Module):
        return len(save(saved_tensors(model)))
    path = Path(model)
    files = [path] if path.is_file() else sorted(path.glob("*.safetensors"))
    if not files:
        raise DataError(f"{path}: no .safetensors file here; give a saved model's folder, or the model itself")
    return sum(file.stat().st_size for file in files)


def flops(model: nn.Module, batch: Mapping[str, Tensor], method: Any = None) -> int:
    """Floating-point operations of one forward pass over `batch`, a multiply-add counting two.

    Matrix products, convolutions and attention are counted (integer products of int8 layers too); element-wise work and
    look-ups are not. With a `method`, its `logits(model, batch)` is the pass; else the model gets the batch's tensors
    that it has arguments for, labels left out. A linear layer costs 2 · in · out a token.
    """
    counter = FlopCounterMode(display=False, custom_mapping=_extra_formulas())
    with eval_mode(model), torch.no_grad(), counter:
        if method is not None:
            method.logits(model, batch)
        else:
            accepted = inspect.signature(model.forward).parameters
            model(**{name: value for name, value in batch.items() if name in accepted and name != "labels"})
    return int(counter.get_total_flops())


def _extra_formulas() -> dict[Any, Callable[..., int]]:
    """Two operators that torch's own counter passes over: the CPU's fused attention and the int8 product."""

    def attention(q: Sequence[int], k: Sequence[int], v: Sequence[int], *_: Any, **__: Any) -> int:
        return sdpa_flop_count(q, k, v)

    def product(a: Sequence[int], b: Sequence[int], *_: Any, **__: Any) -> int:
        return 2 * a[0] * a[1] * b[1]  # (m, k) times (k, n)

    aten = torch.ops.aten
    return {aten._scaled_dot_product_flash_attention_for_cpu: attention, aten._int_mm: product}


def storage_bytes(tensors: Iterable[Tensor | None]) -> int:
    """Bytes of the memory behind `tensors`, each piece once; None stands for a tensor that is not there."""
    storages = [tensor.untyped_storage() for tensor in tensors if tensor is not None]
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())


def latency(
    model: nn.Module,
    method: Any,
    rows: Sequence[Mapping[str, Any]],
    batch_size: int = 1,
    repeats: int = 5,
    warm_up: int = 3,
) -> float:
    """Median milliseconds a row for `method.logits(model, batch)`, rows collated beforehand, gradients off.

    Every batch is timed `repeats` times after `warm_up` untimed ones; on a GPU the clock stops when the GPU is done.
    A median, because other programs on the machine only ever add time. UsageError for no rows.
    """
    if not rows or batch_size < 1 or repeats < 1:
        raise UsageError(
            f"{len(rows)} rows, batch_size {batch_size}, repeats {repeats}: latency needs 1 or more of each"
        )
    device = next((tensor.device for tensor in (*model.parameters(), *model.buffers())), torch.device("cpu"))
    parts = [rows[start : start + batch_size] for start in range(0, len(rows), batch_size)]
    batches = [to_device(method.collate(part, None), device) for part in parts]
    timed = []
    with evaluating(model):
        for number in range(warm_up):
            method.logits(model, batches[number % len(batches)])
        for _ in range(repeats):
            for part, batch in zip(parts, batches, strict=True):
                _finish(device)
                start = time.perf_counter()
                method.logits(model, batch)
                _finish(device)
                timed.append((time.perf_counter() - start) * 1000 / len(part))
    return statistics.median(timed)


def peak_memory(function: Callable[[], Any]) -> int:
    """The most bytes of tensors that were alive at once and were made by `function()`, a call without arguments.

    Counts storages as operators return them and until they are freed, backward passes included, on any device; what was
    alive before is not counted, nor a kernel's private scratch space or Python's own objects.
    """
    with _Storages() as storages:
        function()
    return storages.peak


class _Storages(TorchDispatchMode):
    """Watches every operator's results: bytes rise when a new storage appears and fall when it is freed."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self.alive: dict[int, weakref.finalize] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        before = {_key(tensor) for tensor in tree_iter((args, kwargs)) if isinstance(tensor, Tensor)}
        out = func(*args, **(kwargs or {}))
        for tensor in tree_iter(out):
            # a view or an in-place result lives in a storage that came in: counted when made, or older than this watch
            if isinstance(tensor, Tensor) and (key := _key(tensor)) not in before and key not in self.alive:
                storage = tensor.untyped_storage()
                self.now += storage.nbytes()
                self.peak = max(self.peak, self.now)
                self.alive[key] = weakref.finalize(storage, self._freed, key, storage.nbytes())
        return out

    def _freed(self, key: int, size: int) -> None:
        self.now -= size
        self.alive.pop(key, None)

    def __exit__(self, *exception: Any) -> None:
        super().__exit__(*exception)
        for watch in list(self.alive.values()):
            watch.detach()


def _key(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
