"""The grid against the seed's table, against brute force, and against DeepSpeed's own numbering."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.errors import UsageError
from labkit.parallel.model_parallel.topology import AXES, Topology

# The rank table of the Noah's Ark talk (4 × 2 × 4 devices), row by row as it is printed.
TABLE = """
(0, 0, 0)	0	(1, 0, 0)	8	(2, 0, 0)	16	(3, 0, 0)	24
(0, 0, 1)	1	(1, 0, 1)	9	(2, 0, 1)	17	(3, 0, 1)	25
(0, 0, 2)	2	(1, 0, 2)	10	(2, 0, 2)	18	(3, 0, 2)	26
(0, 0, 3)	3	(1, 0, 3)	11	(2, 0, 3)	19	(3, 0, 3)	27
(0, 1, 0)	4	(1, 1, 0)	12	(2, 1, 0)	20	(3, 1, 0)	28
(0, 1, 1)	5	(1, 1, 1)	13	(2, 1, 1)	21	(3, 1, 1)	29
(0, 1, 2)	6	(1, 1, 2)	14	(2, 1, 2)	22	(3, 1, 2)	30
(0, 1, 3)	7	(1, 1, 3)	15	(2, 1, 3)	23	(3, 1, 3)	31
"""


def printed():
    cells = [cell for line in TABLE.strip().splitlines() for cell in line.split("\t")]
    return {
        int(rank): tuple(map(int, place.strip("()").split(",")))
        for place, rank in zip(cells[::2], cells[1::2], strict=True)
    }


def test_ranks_stand_where_the_talks_table_has_them():
    grid, table = Topology(pipe=4, data=2, model=4), printed()
    assert len(table) == grid.world == 32
    assert {rank: tuple(grid.coordinate(rank)) for rank in range(32)} == table
    assert all(grid.rank(*place) == rank for rank, place in table.items())
    assert [tuple(place) for place in grid] == [table[rank] for rank in range(32)]


sizes = st.tuples(*[st.integers(1, 6)] * 3)


@given(sizes)
def test_ranks_and_coordinates_are_one_to_one(sizes):
    grid = Topology(*sizes)
    places = [grid.coordinate(rank) for rank in range(grid.world)]
    assert len(set(places)) == grid.world
    assert [grid.rank(*place) for place in places] == list(range(grid.world))


@given(sizes, st.sampled_from(AXES))
def test_groups_share_out_the_ranks_and_differ_along_their_axis_only(sizes, axis):
    grid = Topology(*sizes)
    groups = grid.groups(axis)
    assert sorted(rank for group in groups for rank in group) == list(range(grid.world))
    for group in groups:
        places = [grid.coordinate(rank) for rank in group]
        assert [getattr(place, axis) for place in places] == list(range(getattr(grid, axis)))
        assert len({place._replace(**{axis: 0}) for place in places}) == 1
        assert all(grid.group(axis, rank) == group for rank in group)


def test_the_groups_are_deepspeeds():
    theirs = pytest.importorskip("deepspeed.runtime.pipe.topology", reason="deepspeed is not installed")
    peer, ours = theirs.PipeModelDataParallelTopology(num_pp=3, num_dp=2, num_mp=4), Topology(3, 2, 4)
    for axis in AXES:
        assert sorted(map(tuple, peer.get_axis_comm_lists(axis))) == ours.groups(axis)
    assert all(peer.get_rank(**place._asdict()) == rank for rank, place in enumerate(ours))


@pytest.mark.parametrize(
    ("do", "message"),
    [
        (lambda: Topology(0, 1, 1), "pipe must be a whole number of ranks, 1 or more, not 0"),
        (lambda: Topology(1, 1.5, 1), "data must be a whole number"),
        (lambda: Topology(1, 1, True), "model must be a whole number"),
        (lambda: Topology(2, 2, 2).rank(0, 2, 0), "data = 2 lies outside this grid: 0 to 1"),
        (lambda: Topology(2, 2, 2).rank(-1, 0, 0), "pipe = -1 lies outside"),
        (lambda: Topology(2, 2, 2).coordinate(8), "rank 8 lies outside this grid of 8 ranks: 0 to 7"),
        (lambda: Topology(2, 2, 2).group("modle", 0), "did you mean 'model'"),
    ],
)
def test_what_makes_no_sense_is_refused(do, message):
    with pytest.raises(UsageError, match=message):
        do()
