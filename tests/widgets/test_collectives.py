"""The widget's schedule against sums, and the shell's controls."""

from __future__ import annotations

import pytest

from labkit.errors import UsageError
from labkit.widgets import collectives
from labkit.widgets.collectives import ABOUT, compute, draw


@pytest.mark.parametrize("ranks", [2, 3, 4, 8])
def test_every_collective_ends_where_it_should(ranks):
    everyone = frozenset(range(ranks))
    last = {name: compute(name, ranks)[-1] for name in ABOUT}
    assert all(cell == everyone for row in last["all-reduce"].cells for cell in row)
    for rank, row in enumerate(last["reduce-scatter"].cells):
        assert row == tuple(everyone if chunk == rank else frozenset() for chunk in range(ranks))
    assert all(row == tuple(frozenset({c}) for c in range(ranks)) for row in last["all-gather"].cells)
    assert all(cell == {0} for row in last["broadcast"].cells for cell in row)
    assert last["all-reduce"].sent == (2 * (ranks - 1),) * ranks
    assert last["reduce-scatter"].sent == last["all-gather"].sent == (ranks - 1,) * ranks
    assert last["broadcast"].sent == (ranks,) * (ranks - 1) + (0,)


def test_no_step_sends_what_is_not_there_or_twice_from_one_rank():
    for name in ABOUT:
        for step in compute(name, 5):
            assert all(step.cells[move.source][move.chunk] for move in step.moves)
            sources = [move.source for move in step.moves]
            assert len(set(sources)) == len(sources)


def test_the_picture_says_what_moves():
    picture = draw("all-reduce", compute("all-reduce", 4), 1)
    assert "rank 0 sends chunk 2 → rank 1" in picture.alt
    assert "rank 0 holds chunk 0: 0, chunk 1: 0, chunk 2: 0+3" in picture.alt
    assert "1/4 Ψ" in picture.html
    assert "↘ 0+3 ▶" in picture.html
    assert "nothing is sent any more" in draw("broadcast", compute("broadcast", 3), 4).alt


def test_the_controls():
    widget = collectives("all-reduce", 4, 6)
    assert "step 6 of 6" in widget.static.alt
    widget.name.value = "all-gather"
    play = widget.widget.children[0].children[-1]
    assert (widget.step.value, widget.step.max, play.value, play.max) == (0, 3, 0, 3)
    assert "all-gather among 4 ranks, step 0 of 3" in widget.static.alt
    widget.step.value = 3
    widget.ranks.value = 2
    assert "all-gather among 2 ranks, step 0 of 1" in widget.static.alt
    assert not widget.message.value


def test_bad_input():
    with pytest.raises(UsageError, match="unknown collective 'all-reduse': did you mean 'all-reduce'"):
        collectives("all-reduse")
    with pytest.raises(UsageError, match="ranks=9: a number from 2 to 8"):
        compute("broadcast", 9)
