"""`labkit.setup()`: the first cell of every lesson."""

from __future__ import annotations

import contextlib
import random
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from labkit import progress as learner
from labkit.config import SEED
from labkit.errors import UsageError


@dataclass(frozen=True)
class Lab:
    """Where and how a lesson runs: device, seed, whether to show progress bars, the device's best precision."""

    device: torch.device
    seed: int
    progress: bool
    precision: str
    lesson: str | None = None


def setup(lesson: str | None = None, seed: int = 0, progress: bool | None = None) -> Lab:
    """Choose the device, and seed Python's, NumPy's and torch's generators with `seed`.

    `lesson` is "module/number", as "03/04", and is noted as opened. `progress` None shows bars on a terminal only.
    Raises UsageError for a lesson or a seed that is none.
    """
    if lesson is not None and not re.fullmatch(r"\d\d/\d\d", lesson):
        raise UsageError(f"lesson {lesson!r}: write module and number with two digits each, as '03/04'")
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise UsageError(f"seed must be a whole number, not {seed!r}")
    SEED.check(seed, "seed")
    if lesson is not None:
        learner.opened(lesson)
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    device = best_device()
    return Lab(device, seed, wants_progress(progress), best_precision(device), lesson)


def best_device() -> torch.device:
    """A CUDA GPU, else Apple's, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def best_precision(device: torch.device) -> str:
    """What `device` trains in: "bf16" on GPUs that compute in it (8.0 on), "fp16" on older ones (T4), else "fp32".

    `torch.cuda.is_bf16_supported` says yes for a T4 too, which only imitates bf16, slowly; so the capability decides.
    """
    if device.type != "cuda":
        return "fp32"
    capability = torch.cuda.get_device_capability(device)
    return "bf16" if capability >= (8, 0) else "fp16" if capability >= (7, 0) else "fp32"


def wants_progress(progress: bool | None) -> bool:
    """`progress` where it is given; else whether standard error is a terminal."""
    return sys.stderr.isatty() if progress is None else progress


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Without transformers' bars and reports on loading and saving: a micro model is there before they are read."""
    from transformers.utils import logging

    shown, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if shown:
            logging.enable_progress_bar()
