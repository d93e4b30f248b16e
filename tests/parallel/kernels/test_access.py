"""Closed forms of sectors and banks against every byte and word of every lane."""

from __future__ import annotations

import re
from math import gcd

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit.errors import UsageError
from labkit.parallel.kernels.access import SIZES, WARP, Access, bank_words, passes, sectors_touched

accesses = st.builds(
    lambda stride, each, start: Access(stride, each, start * each),
    st.integers(0, 70),
    st.sampled_from(SIZES),
    st.integers(0, 100),
)


@settings(deadline=None)
@given(accesses)
def test_the_sectors_that_bytes_lie_in_are_those_of_the_closed_form(access):
    """Steps of up to a sector leave none out between the first and the last; longer steps reach one with every lane."""
    touched, step = sectors_touched(access), access.stride * access.each
    assert len(touched) == (WARP if step >= 32 else (access.offset % 32 + (WARP - 1) * step) // 32 + 1)
    assert sum(touched.values()) == access.each * (WARP if access.stride else 1) and list(touched) == sorted(touched)


@pytest.mark.parametrize(
    ("access", "count"),
    [
        (Access(1, 4), 4),
        (Access(1, 2), 2),
        (Access(1, 16), 16),
        (Access(2, 4), 8),
        (Access(8, 4), 32),
        (Access(1000, 4), 32),
        (Access(0, 4), 1),
        (Access(1, 4, offset=4), 5),
        (Access(1, 16, offset=16), 17),
    ],
)
def test_sectors_that_one_can_count_by_hand(access, count):
    assert len(sectors_touched(access)) == count


@settings(deadline=None)
@given(st.integers(0, 200), st.integers(0, 64))
def test_bank_conflicts_in_closed_form_are_those_of_the_words(stride, first):
    starts = [4 * (first + lane * stride) for lane in range(WARP)]
    assert passes(starts) == (gcd(stride, 32) if stride else 1)
    assert sum(map(len, bank_words(starts))) == (WARP if stride else 1)


def test_halves_share_words_and_wide_loads_take_their_passes():
    assert passes([2 * lane for lane in range(WARP)], 2) == 1  # two lanes a word
    assert passes([64 * lane for lane in range(WARP)], 2) == 16
    assert passes([8 * lane for lane in range(WARP)], 8) == 2
    assert passes([16 * lane for lane in range(WARP)], 16) == 4


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"each": 3}, "1, 2, 4, 8 or 16 bytes, not 3"),
        ({"each": 8, "offset": 4}, "begins at a multiple of 8, not at 4"),
        ({"stride": -1}, "0 or more, not -1 and 0"),
    ],
)
def test_what_a_gpu_cannot_load_is_refused(settings, message):
    with pytest.raises(UsageError, match=re.escape(message)):
        Access(**settings)
