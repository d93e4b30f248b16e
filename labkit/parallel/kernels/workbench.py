"""Compile and run a kernel of one's own on what is here: a GPU, else the emulator, else nothing but the reference."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from labkit.cuda import Library, compile_source
from labkit.cuda.build import OLDEST, find_cxx, find_nvcc


@dataclass(frozen=True)
class Bench:
    """Where kernels run: `how` is a backend of `labkit.cuda` ("cuda", "emulate" or "reference"), `device` its
    tensors'.
    """

    how: str
    device: str
    said: str

    @property
    def can_compile(self) -> bool:
        """Whether a kernel of one's own can be compiled here."""
        return self.how != "reference"

    def compile(self, source: str) -> Library | None:
        """The library of a `.cu` text; None where nothing here can compile it. LabkitError for a mistake in it."""
        return compile_source(source, emulate=self.how == "emulate") if self.can_compile else None

    def __str__(self) -> str:
        return self.said


def workbench() -> Bench:
    """The best that this machine has, with a sentence about it."""
    if torch.cuda.is_available() and find_nvcc() and torch.cuda.get_device_capability() >= OLDEST:
        return Bench("cuda", "cuda", f"kernels run on {torch.cuda.get_device_name()}, compiled by nvcc")
    if find_cxx():
        return Bench("emulate", "cpu", "kernels run in the emulator: g++ compiles the same source for the CPU")
    said = "no CUDA compiler and no g++ is here: PyTorch's reference stands in, and sources are only read"
    return Bench("reference", "cpu", said)
