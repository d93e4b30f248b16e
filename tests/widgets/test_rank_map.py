"""The map against the topology, its words, its controls."""

from __future__ import annotations

import re

import pytest

from labkit.errors import UsageError
from labkit.parallel.model_parallel.topology import AXES, Topology
from labkit.widgets import rank_map
from labkit.widgets.rank_map import compute, draw


def test_every_rank_stands_in_its_cell_and_the_group_is_marked():
    found = compute((2, 3, 4), 8, "data", 5)
    html = draw(found).html
    assert [int(rank) for rank in re.findall(r"<b>(\d+)</b> <small>", html)] == list(range(24))
    assert re.findall(r"★ <b>(\d+)</b>", html) == ["5"]
    assert re.findall(r"● <b>(\d+)</b>", html) == ["1", "9"]
    assert [int(m) for m in re.findall(r"<small>m(\d+)</small>", html)] == [rank // 8 for rank in range(24)]
    assert "<b>pipe 0</b>" in html and "<b>pipe 1</b>" in html and "<b>pipe 2</b>" not in html


@pytest.mark.parametrize("sizes", [(4, 2, 4), (2, 2, 2), (1, 3, 5)])
@pytest.mark.parametrize("per_machine", [1, 2, 4, 16])
def test_which_groups_reach_over_machines_is_counted_by_hand(sizes, per_machine):
    found, grid = compute(sizes, per_machine, "pipe", 0), Topology(*sizes)
    for axis in AXES:
        over = [group for group in grid.groups(axis) if group[0] // per_machine != group[-1] // per_machine]
        assert found.crossing(axis) == (len(over), grid.world // getattr(grid, axis))


def test_the_seeds_grid_keeps_its_loudest_talk_within_machines_of_four():
    found = compute((4, 2, 4), 4, "model", 6)
    assert [found.crossing(axis) for axis in AXES] == [(8, 8), (16, 16), (0, 8)]
    picture = draw(found)
    assert "Rank 6 is at (pipe, data, model) = (0, 1, 2)" in picture.alt and "model: 4, 5, 6, 7" in picture.alt
    assert "no group leaves its machine" in picture.html and "16 of 16 groups reach over machines" in picture.html


def test_the_controls():
    shown = rank_map(2, 2, 2, rank=7)
    assert "(1, 1, 1)" in repr(shown)
    shown.axis.value = "pipe"
    assert re.findall(r"● <b>(\d+)</b>", shown.view.value) == ["3"]
    shown.sizes["pipe"].value = 1  # rank 7 is gone: the last one there is takes its place
    assert shown.rank.value == shown.rank.max == 3 and not shown.message.value and "Map of 4 ranks" in repr(shown)
    shown.sizes["model"].value = 8
    shown.rank.value = 15
    shown.per_machine.value = 8
    assert "on 2 machines" in shown.view.value and "nothing: it is alone" in shown.view.value


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pipe": 0}, "pipe must be a whole number of ranks"),
        ({"model": 9}, "at most 8 ranks along an axis can be shown here, not 4 × 2 × 9"),
        ({"rank": 32}, "rank 32 lies outside this grid of 32 ranks"),
        ({"per_machine": 0}, "room for 1 rank or more, not 0"),
        ({"per_machine": 17}, "at most 16 ranks a machine"),
    ],
)
def test_what_cannot_be_drawn_is_refused(settings, message):
    with pytest.raises(UsageError, match=message):
        rank_map(**settings)


def test_an_unknown_axis_is_refused():
    with pytest.raises(UsageError, match="did you mean 'pipe'"):
        compute((2, 2, 2), 4, "pip", 0)
