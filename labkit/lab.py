"""`labkit.setup()`: the first cell of every lesson."""

from __future__ import annotations

import contextlib
import random
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from tqdm.auto import tqdm

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


def without_imitation(precision: str, device: torch.device) -> str:
    """`precision`, but for bf16 on a device that only imitates it, twenty times slower: what suits it instead."""
    if precision != "bf16":
        return precision
    if device.type == "cpu":
        able = getattr(torch.cpu, "get_capabilities", dict)()
        return "bf16" if any(able.get(name) for name in ("amx_bf16", "avx512_bf16", "bf16")) else "fp32"
    return best_precision(device)


def wants_progress(progress: bool | None) -> bool:
    """`progress` where it is given; else whether standard error is a terminal."""
    if progress is not None:
        return progress
    return sys.stderr is not None and not getattr(sys.stderr, "closed", False) and sys.stderr.isatty()


class Bar(tqdm):
    """A progress bar on stderr, if `wants_progress`. Where it cannot be drawn, on a full disk, the work goes on."""

    def __init__(self, total: int | None, progress: bool | None, **options: Any) -> None:
        shown = wants_progress(progress)
        try:
            super().__init__(total=total, disable=not shown, file=sys.stderr, **options)
        except OSError:
            super().__init__(total=total, disable=True, **options)

    def display(self, *args: Any, **options: Any) -> Any:
        """Draw it."""
        try:
            return super().display(*args, **options)
        except OSError:
            self.disable = True
            return False

    def close(self) -> None:
        """Draw it a last time."""
        with contextlib.suppress(OSError):
            super().close()


def generator(seed: int) -> torch.Generator:
    """A new generator on the CPU. UsageError for a seed that is none."""
    SEED.check(seed, "seed")
    return torch.Generator().manual_seed(seed)


@contextlib.contextmanager
def seeded(seed: int | None) -> Iterator[None]:
    """Inside, the CPU's random numbers follow the seed, or UsageError if it is none; outside, nothing was drawn. None
    changes nothing.
    """
    if seed is None:
        yield
        return
    SEED.check(seed, "seed")
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


@contextlib.contextmanager
def modes_kept(model: nn.Module) -> Iterator[None]:
    """Outside, each module is in train or eval mode as it was, whatever is done inside."""
    before = [(module, module.training) for module in model.modules()]
    try:
        yield
    finally:
        for module, mode in before:
            module.training = mode


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
