"""The roof, the points under it, and what this machine reaches."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from labkit.errors import UsageError
from labkit.parallel.kernels.roofline import Device, Work, measured, plot, product

positive = st.floats(1e-3, 1e15)
A100 = Device("an A100", 312e12, 2039e9)


@settings(deadline=None)
@given(positive, positive, positive, positive)
def test_the_roof_is_what_the_slower_of_two_clocks_allows(flops, bandwidth, operations, size):
    on, work = Device("d", flops, bandwidth), Work("w", operations, size)
    seconds = max(operations / flops, size / bandwidth)
    assert on.attainable(work.intensity) == pytest.approx(operations / seconds)
    if abs(work.intensity / on.ridge - 1) > 1e-9:  # not on the ridge itself, where rounding decides
        assert (work.intensity > on.ridge) == (on.attainable(work.intensity) == flops)


def test_a_large_product_is_bound_by_arithmetic_and_a_single_row_by_memory():
    assert round(A100.ridge) == 153
    assert A100.attainable(1 / 6) == pytest.approx(2039e9 / 6)  # an fp16 addition: one operation on 6 bytes
    assert product(4096, 4096, 4096).intensity > A100.ridge
    assert product(1, 4096, 4096).intensity == pytest.approx(1, abs=1e-3)
    assert product(8, 16, 32, 4).bytes == 4 * (8 * 32 + 32 * 16 + 8 * 16)


def test_the_plot_has_both_marks_of_each_kernel_and_says_what_it_shows():
    add, large = Work("addition", 1, 6), product(4096, 4096, 4096)
    shown = plot(A100, {add: 1 / 1e11, large: large.flops / 312e12})
    share = 100 * 1e11 / A100.attainable(1 / 6)
    assert f"addition at 0.17 operations per byte, {share:.0f} % of what its bytes allow;" in shown.alt
    assert "4,096 at 1,365 operations per byte, 100 % of what its bytes allow." in shown.alt
    axes = shown.figure.axes[0]
    heights = [line.get_ydata()[0] for line in axes.lines if line.get_marker() not in ("None", None, "")]
    assert heights == pytest.approx([A100.attainable(1 / 6), 1e11, 312e12, 312e12])
    assert f"addition: {share:.0f} %" in [text.get_text() for text in axes.texts]


def test_no_two_names_overlap():
    works = {Work(f"kernel {number}", 1.0, 5.0 + number): 1e-9 for number in range(6)}
    shown = plot(A100, works)
    canvas = FigureCanvasAgg(shown.figure)
    canvas.draw()
    names = [text for text in shown.figure.axes[0].texts if re.match("kernel", text.get_text())]
    for text in names:
        text.update_positions(canvas.get_renderer())
    boxes = sorted((Text.get_window_extent(text) for text in names), key=lambda box: box.y0)
    assert len(boxes) == 6 and all(low.y1 < high.y0 for low, high in zip(boxes, boxes[1:], strict=False))


def test_a_machine_can_be_measured():
    here = measured()
    assert here.flops > 1e6 and here.bandwidth > 1e6


def test_what_is_refused():
    with pytest.raises(UsageError, match="positive, not 0 and 3"):
        Work("w", 0, 3)
