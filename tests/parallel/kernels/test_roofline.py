"""The roof, the points under it, and the bench that kernels are compiled on."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit.errors import UsageError
from labkit.parallel.kernels import workbench
from labkit.parallel.kernels.roofline import DEVICES, Device, Work, device, measured, plot, product

positive = st.floats(1e-3, 1e15)


@settings(deadline=None)
@given(positive, positive, positive, positive)
def test_the_roof_is_what_the_slower_of_two_clocks_allows(flops, bandwidth, operations, size):
    on, work = Device("d", flops, bandwidth), Work("w", operations, size)
    seconds = max(operations / flops, size / bandwidth)
    assert work.seconds(on) == pytest.approx(seconds)
    assert on.attainable(work.intensity) == pytest.approx(operations / seconds)
    assert work.share(on) == pytest.approx(operations / seconds / flops)
    if abs(work.intensity / on.ridge - 1) > 1e-9:  # not on the ridge itself, where rounding decides
        assert (work.intensity > on.ridge) == (work.share(on) == 1)


def test_the_data_sheets_ridges():
    assert {name: round(on.ridge) for name, on in DEVICES.items()} == {"T4": 203, "V100": 139, "A100": 153, "H200": 206}
    assert device("A100").attainable(1 / 6) == pytest.approx(2039e9 / 6)  # an fp16 addition: one operation on 6 bytes


def test_a_large_product_is_bound_by_arithmetic_and_a_vector_by_memory():
    a100 = device("A100")
    assert product(4096, 4096, 4096).share(a100) == 1
    assert product(1, 4096, 4096).intensity == pytest.approx(1, abs=1e-3)
    assert product(8, 16, 32, 4).bytes == 4 * (8 * 32 + 32 * 16 + 8 * 16)


def test_the_plot_says_what_it_shows():
    works = [Work("addition", 1, 6), product(4096, 4096, 4096)]
    shown = plot(device("A100"), works)
    assert "addition at 0.17 operations a byte, at most 0.11 % of the peak;" in shown.alt
    assert "4,096 at 1,365 operations a byte, at most 100 % of the peak." in shown.alt
    labels = [text.get_text() for text in shown.figure.axes[0].texts]
    assert "addition: at most 0.11 %" in labels and labels[-1].endswith("at most 100 %")


def test_a_machine_can_be_measured():
    here = measured()
    assert here.flops > 1e6 and here.bandwidth > 1e6


def test_what_is_refused():
    with pytest.raises(UsageError, match="did you mean 'H200'"):
        device("H20")
    with pytest.raises(UsageError, match="positive, not 0 and 3"):
        Work("w", 0, 3)


SOURCE = """#include "common.cuh"
__global__ void twice_kernel(const float* x, float* y, int count) {
  int at = blockIdx.x * blockDim.x + threadIdx.x;
  if (at < count) y[at] = 2 * x[at];
}
extern "C" const char* twice(const float* x, float* y, int64_t count, void* stream) {
  LAUNCH(twice_kernel, dim3((count + 63) / 64), dim3(64), 0, stream)(x, y, static_cast<int>(count));
  return finished();
}
"""


def test_the_bench_runs_a_kernel_or_says_that_it_cannot(monkeypatch):
    bench = workbench.workbench()
    if bench.can_compile:
        x, y = torch.arange(100.0, device=bench.device), torch.zeros(100, device=bench.device)
        bench.compile(SOURCE)("twice", x, y, 100)
        assert torch.equal(y, 2 * x)
    monkeypatch.setattr(workbench, "find_cxx", lambda: None)
    monkeypatch.setattr(workbench, "find_nvcc", lambda: None)
    none = workbench.workbench()
    assert (none.how, none.device, none.compile("nonsense")) == ("reference", "cpu", None)
    assert "no g++ is here" in str(none)
