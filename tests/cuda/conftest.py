"""Every check of a kernel runs in the emulator, and on a GPU where there is one: `how` says where."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch

from labkit.cuda.build import find_cxx

# Of the largest value: what one rounding to the type may cost, and a few float32 operations.
TOLERANCES = {torch.float32: 3e-5, torch.float16: 2e-3, torch.bfloat16: 1.6e-2}


@dataclass(frozen=True)
class How:
    """A backend, its device, and the comparison with a float64 reference."""

    backend: str
    device: str

    def close(self, got, wanted, dtype, floor: float = 0.0):
        """`got` is `wanted` to the precision of `dtype`, relative to the largest value, or to `floor`."""
        got, wanted = got.detach().cpu().double(), wanted.detach().cpu().double()
        assert got.shape == wanted.shape
        assert torch.equal(got.isnan(), wanted.isnan())
        if wanted.numel():
            error, largest = (got - wanted).nan_to_num(0).abs().max(), wanted.nan_to_num(0).abs().max()
            assert error <= TOLERANCES[dtype] * max(float(largest), floor), f"off by {error} of {largest}"


@pytest.fixture(scope="session", params=["emulate", "emulate-falling", pytest.param("cuda", marks=pytest.mark.gpu)])
def how(request) -> How:
    if request.param != "cuda" and find_cxx() is None:
        pytest.skip("the emulator needs g++, which is not here")
    return How(request.param, "cuda" if request.param == "cuda" else "cpu")
