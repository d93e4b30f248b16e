"""The state of every random generator that a training step may draw from: kept, put back, saved as tensors.

Exact resume needs it (dropout draws from torch's generator), and so does good manners: a training run that seeds the
process's generators puts them back as they were.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor


class RandomState(NamedTuple):
    """One moment of the four generators."""

    cpu: Tensor  # (5056,) bytes of torch's Mersenne twister
    device: Tensor | None  # seed and offset of the accelerator's generator, as bytes; None on a CPU
    numpy: tuple[Any, ...]
    python: tuple[Any, ...]


def capture(device: torch.device) -> RandomState:
    """The generators as they are now; costs some 80 µs and waits for no device."""
    accelerator = None if device.type == "cpu" else torch.get_device_module(device).get_rng_state(*_which(device))
    return RandomState(torch.get_rng_state(), accelerator, np.random.get_state(), random.getstate())


def restore(state: RandomState, device: torch.device) -> None:
    """Put the generators back."""
    torch.set_rng_state(state.cpu)
    if state.device is not None and device.type != "cpu":
        torch.get_device_module(device).set_rng_state(state.device, *_which(device))
    np.random.set_state(state.numpy)
    random.setstate(state.python)


def _which(device: torch.device) -> tuple[torch.device, ...]:
    """The argument that names a device; Apple's has none, being the only one."""
    return () if device.type == "mps" else (device,)


def seed_all(seed: int, device: torch.device) -> None:
    """Seed the four generators; other devices than `device` are left alone."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)
    elif device.type != "cpu":
        torch.get_device_module(device).manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)


@contextlib.contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Inside, everything is drawn from `seed`; outside, nothing has changed."""
    before = capture(device)
    try:
        seed_all(seed, device)
        yield
    finally:
        restore(before, device)


def to_tensors(state: RandomState) -> dict[str, Tensor]:
    """The state as tensors for a safetensors file."""
    kind, keys, position, has_gauss, gauss = state.numpy
    version, words, spare = state.python
    tensors = {
        "cpu": state.cpu,
        "numpy": torch.from_numpy(np.array([*keys.tolist(), position, has_gauss], dtype=np.int64)),
        "python": torch.tensor([version, *words], dtype=torch.int64),
        "gauss": torch.tensor([gauss, float("nan") if spare is None else spare], dtype=torch.float64),
    }
    return tensors if state.device is None else {**tensors, "device": state.device}


def from_tensors(tensors: dict[str, Tensor]) -> RandomState:
    """The inverse of `to_tensors`. Raises KeyError or ValueError for tensors that hold no such state."""
    *keys, position, has_gauss = tensors["numpy"].tolist()
    version, *words = tensors["python"].tolist()
    gauss, spare = tensors["gauss"].tolist()
    numpy_state = ("MT19937", np.array(keys, dtype=np.uint32), position, has_gauss, gauss)
    python_state = (version, tuple(words), None if np.isnan(spare) else spare)
    device = tensors.get("device")
    return RandomState(tensors["cpu"].clone(), None if device is None else device.clone(), numpy_state, python_state)
