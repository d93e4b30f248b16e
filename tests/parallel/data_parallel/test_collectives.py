"""Collectives against sums made in one process, and against theory for the bytes."""

from __future__ import annotations

import pytest
import torch

from labkit.errors import TrainingError
from labkit.parallel.data_parallel.collectives import Communicator, split
from labkit.parallel.processes import Here, launch
from tests.parallel.data_parallel import programs_collectives as programs


@pytest.mark.parametrize("world", [2, 3, 4])
def test_results_and_bytes(world):
    found = launch(programs.everything, world)
    for rank, rows in enumerate(found):
        for name, size, kind, result, _ in rows:
            dtype = getattr(torch, kind.removeprefix("torch."))
            mine = [programs.own(other, size, dtype) for other in range(world)]
            total, sizes = sum(one.double() for one in mine).to(dtype), split(size, world)
            start = sum(sizes[:rank])
            if name == "all_reduce":
                wanted = total
            elif name == "reduce_scatter":
                wanted = total[start : start + sizes[rank]]
            elif name == "all_gather":
                wanted = torch.cat([one[:part] for one, part in zip(mine, sizes, strict=True)])
            else:
                wanted = mine[0] if name == "broadcast" else mine[rank] if rank else total
            assert result.dtype == dtype
            assert torch.equal(result, wanted), (name, size, kind, rank)
    check_bytes(found, world)


def check_bytes(found, world):
    """Over all ranks exactly the formula; on one, within an element of it for each half."""
    times = {"all_reduce": 2 * (world - 1), "reduce_scatter": world - 1, "all_gather": world - 1}
    for rows in zip(*found, strict=True):
        name, size, kind, _, _ = rows[0]
        width = getattr(torch, kind.removeprefix("torch.")).itemsize
        sent = [row[-1] for row in rows]
        assert sum(sent) == times.get(name, world - 1) * size * width
        if name in times:
            halves = times[name] / world
            assert all(abs(one - halves * size * width) <= 2 * width for one in sent)
            assert size % world or set(sent) == {halves * size * width}
        else:
            assert sorted(sent) == [0] + [size * width] * (world - 1) if world > 1 else sent == [0]


@pytest.mark.parametrize("world", [2, 3])
def test_shapes_messages_and_events(world):
    found = launch(programs.shapes, world)
    for rank, one in enumerate(found):
        assert max(one["scattered"], one["gathered"], one["turned"]) < 1e-14
        assert one["number"] == world * (world - 1) / 2
        assert one["message"]
        assert one["last"] == ([0, 1, 2] if rank == world - 1 else None)
        assert one["sent"]["send"] == 2 * world * 3 * 8 + 24 * (rank == 0)
        assert "barrier" not in one["sent"]
        names = [name for name, *_ in one["events"]]
        assert names[:3] == ["reduce_scatter", "all_reduce", "all_reduce"]
        assert {"send", "recv", "barrier", "all_gather"} <= set(names)
        assert {lane for _, lane, _, _ in one["events"]} == {"communicate"}
        assert all(forward for *_, forward in one["events"])
        assert sum(size for _, _, size, _ in one["events"]) == sum(one["sent"].values())


def test_groups_that_cross_and_refusals():
    found = launch(programs.groups, 4)
    assert [rank for rank, *_ in found] == [0, 1, 1, 0]
    assert [first for _, first, *_ in found] == [11.0, 11.0, 1100.0, 1100.0]
    assert [second for _, _, second, *_ in found] == [101.0, 1010.0, 101.0, 1010.0]
    assert [root for *_, root, _ in found] == [1.0, 1.0, 1000.0, 1000.0]
    said = found[0][-1]
    assert "group 'odd': ranks [0, 0]: different numbers below 4 are needed" in said
    assert "group 'odd': rank 0 is not among its ranks [1]" in said
    assert "all_gather: the shard of rank 0 is (5,), not (2,)" in said
    assert len(said) == 4


@pytest.mark.parametrize("seconds", [0.0, 1.0])
def test_a_rank_that_is_gone_is_named(seconds):
    with pytest.raises(TrainingError, match=r"all_reduce: rank 0 lost rank 1"):
        launch(programs.one_leaves, 2, seconds)


def test_alone_nothing_is_sent():
    group = Communicator(Here(0, 1))
    tensor = torch.arange(5.0)
    assert torch.equal(group.all_reduce(tensor.clone()), tensor)
    part = group.reduce_scatter(tensor)
    part += 1  # not a view of what was given
    assert torch.equal(tensor, torch.arange(5.0))
    assert torch.equal(group.all_gather(tensor), tensor)
    group.barrier()
    assert group.sent == 0
    assert group.rank == 0


def test_split_covers_everything():
    for size in range(12):
        for parts in range(1, 6):
            sizes = split(size, parts)
            assert sum(sizes) == size
            assert max(sizes) - min(sizes) <= 1
            assert sizes == sorted(sizes, reverse=True)


def shifted(here):
    group = Communicator(here)
    mine = torch.full((2, 3), float(here.rank)).T  # not contiguous
    return mine, group.shift(mine), group.sent


def test_a_shift_brings_the_left_neighbour_s_tensor():
    found = launch(shifted, 3)
    for rank, (mine, came, sent) in enumerate(found):
        assert torch.equal(mine, torch.full((3, 2), float(rank))), "what is sent stays"
        assert torch.equal(came, torch.full((3, 2), float((rank - 1) % 3)))
        assert sent == 24
