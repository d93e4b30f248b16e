"""What a message shows of names that somebody else made."""

from __future__ import annotations

import time

import pytest

from labkit.errors import LONG, listed, unknown


def test_a_short_list_is_whole_and_a_long_one_says_how_many_more():
    assert listed(["a", 2]) == "a, 2"
    assert listed([]) == "none"
    assert listed(iter("abcd"), most=2) == "a, b and 2 more"
    assert listed(["电影", "\x1b[2J", "a\nb\u2028"]) == "电影, \\x1b[2J, a\\nb\\u2028"
    assert listed(["x" * 10_000]) == "x" * (LONG - 1) + "…"


@pytest.mark.parametrize("name", ["lable 7", "x" * 1_000_000])
def test_a_hundred_thousand_names_make_a_short_message_at_once(name):
    known = [f"label {number}" for number in range(100_000)]
    start = time.process_time()
    said = str(unknown("label", name, known))
    assert time.process_time() - start < 1
    assert len(said) < 2000 and said.endswith("label 39 and 99960 more")
    assert ("did you mean 'label 7'?" in said) == (name == "lable 7")
