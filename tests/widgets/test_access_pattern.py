"""The drawn sectors and banks against the closed forms, the words, the controls."""

from __future__ import annotations

from math import gcd

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit.errors import UsageError
from labkit.widgets import access_pattern
from labkit.widgets.access_pattern import compute, draw


@settings(deadline=None)
@given(st.integers(0, 34), st.sampled_from([2, 4, 8, 16]), st.integers(0, 7))
def test_what_is_touched_holds_what_is_asked_for(stride, each, offset):
    found = compute(stride, each, offset)
    assert found.access.offset == offset * each and min(found.touched) == found.access.offset // 32
    assert sum(found.touched.values()) == each * (32 if stride else 1)


@settings(deadline=None)
@given(st.integers(0, 34), st.integers(0, 4))
def test_padding_changes_the_banks_alone(stride, padding):
    found, plain = compute(stride, padding=padding), compute(stride)
    assert found.passes == gcd(stride + padding, 32 if stride + padding else 1) == max(found.queues)
    assert found.touched == plain.touched


def test_the_picture_draws_every_sector_and_says_it():
    pattern = compute(2, 4, offset=1)
    plot = draw(pattern)
    memory, banks = plot.figure.axes
    assert len(memory.patches) == 64 + 8  # all that are drawn, and the part asked for of the eight touched
    asked = sum(patch.get_width() for patch in memory.patches[1:] if patch.get_linewidth() == 0)
    assert asked == pytest.approx(0.92 * 128 / 32)
    assert [bar.get_height() for bar in banks.patches] == list(pattern.queues)
    assert "128 bytes asked for, 8 sectors = 256 bytes moved: 50 % of use" in plot.alt
    assert "16 of 32 banks give, 2 passes: 2 times the least" in plot.alt


def test_the_controls():
    shown = access_pattern()
    assert "4 sectors = 128 bytes moved: 100 %" in repr(shown) and "1 pass: no conflict" in repr(shown)
    shown.stride.value = 32
    assert "32 sectors" in repr(shown) and "1 of 32 banks give, 32 passes: 32 times" in repr(shown)
    shown.padding.value = 1
    assert "padded by 1 word." in repr(shown) and "32 of 32 banks give, 1 pass: no conflict" in repr(shown)
    shown.each.value = 16
    assert "where they may not begin" in shown.message.value and "32 of 32 banks" in repr(shown)
    shown.padding.value, shown.stride.value = 0, 1
    assert "4 passes: no conflict" in repr(shown) and not shown.message.value
    shown.stride.value = 0
    assert "16 bytes asked for, 1 sector = 32 bytes moved: 50 %" in repr(shown)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"stride": 35}, "stride 35: 0 to 34"),
        ({"offset": 8}, "offset 8: 0 to 7"),
        ({"padding": -1}, "padding -1: 0 to 4"),
        ({"each": 3}, "1, 2, 4, 8 or 16 bytes, not 3"),
    ],
)
def test_what_cannot_be_drawn_is_refused(settings, message):
    with pytest.raises(UsageError, match=message):
        compute(**{"stride": 1, **settings})
