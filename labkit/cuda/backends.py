"""Which implementation runs: the choice behind `backend=`, and the one notice where the reference stands in."""

from __future__ import annotations

import functools
import warnings

import torch
from torch import Tensor

from labkit.cuda import build
from labkit.errors import UsageError, unknown

BACKENDS = ("auto", "reference", "emulate", "emulate-falling", "cuda")
TYPES = (torch.float32, torch.float16, torch.bfloat16)  # in the order of common.cuh's codes


def choose(backend: str, tensor: Tensor) -> str:
    """The backend that runs for `tensor`: "auto" becomes "cuda" or "reference".

    UsageError for an unknown name, or where the wished backend cannot take the tensor.
    """
    if backend not in BACKENDS:
        raise unknown("backend", backend, BACKENDS)
    if backend == "auto":
        reason = _no_kernels(tensor)
        if reason:
            _notice(reason)
        return "reference" if reason else "cuda"
    if backend == "reference":
        return backend
    if tensor.dtype not in TYPES:
        raise UsageError(f"the kernels take float32, float16 and bfloat16, not {tensor.dtype}: use backend='reference'")
    device = "cuda" if backend == "cuda" else "cpu"
    if tensor.device.type != device:
        raise UsageError(f"backend={backend!r} takes {device} tensors, and was given one on {tensor.device}")
    return backend


def _no_kernels(tensor: Tensor) -> str:
    """Why a kernel cannot run on `tensor`; empty where it can."""
    if not tensor.is_cuda:
        return "no CUDA device is here" if not torch.cuda.is_available() else "the tensors are on the CPU"
    if tensor.dtype not in TYPES:
        return f"the kernels do not take {tensor.dtype}"
    return _cannot_build()


@functools.cache
def _cannot_build() -> str:
    if build.find_nvcc() is None:
        return "nvcc, the CUDA compiler, is not on PATH"
    if torch.cuda.get_device_capability() < build.OLDEST:
        return f"{torch.cuda.get_device_name()} is older than compute capability 7.0"
    return ""


@functools.cache
def _notice(reason: str) -> None:
    """Say once why the reference runs."""
    warnings.warn(f"labkit.cuda: {reason}: plain PyTorch stands in for the kernels", UserWarning, stacklevel=2)
