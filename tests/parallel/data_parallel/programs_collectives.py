"""What the ranks of test_collectives.py run."""

from __future__ import annotations

import time

import torch
import torch.distributed as dist

from labkit.errors import LabkitError
from labkit.parallel.data_parallel.collectives import Communicator, split

SIZES = (0, 1, 7, 1200)
KINDS = (torch.float64, torch.float32, torch.bfloat16)


def own(rank, size, kind):
    """Whole numbers, so that sums are exact in every dtype and in every order."""
    draw = torch.Generator().manual_seed(1000 * rank + size)
    return torch.randint(-8, 9, (size,), generator=draw).to(kind)


def everything(here):
    """Each collective over sizes and dtypes: (name, size, dtype, result, bytes sent)."""
    group, rows = Communicator(here), []

    def note(name, size, kind, result):
        rows.append((name, size, str(kind), result, group.sent))
        assert group.sent == group.sent_by[name]
        group.reset()

    for kind in KINDS:
        for size in SIZES:
            mine = own(here.rank, size, kind)
            note("all_reduce", size, kind, group.all_reduce(mine.clone()))
            note("reduce_scatter", size, kind, group.reduce_scatter(mine))
            shard = mine[: split(size, group.world)[group.rank]]
            note("all_gather", size, kind, group.all_gather(shard, into=torch.empty_like(mine)))
            note("broadcast", size, kind, group.broadcast(mine.clone()))
            note("reduce", size, kind, group.reduce(mine.clone()))
            assert torch.equal(mine, own(here.rank, size, kind)), "reduce_scatter and all_gather leave their input"
    return rows


def shapes(here):
    """Matrices, transposed ones, single numbers, and messages."""
    group = Communicator(here)
    draw = torch.Generator().manual_seed(here.rank)
    matrix = torch.randn(2 * group.world, 3, generator=draw, dtype=torch.float64)
    theirs = [torch.empty_like(matrix) for _ in range(group.world)]
    dist.all_gather(theirs, matrix)
    whole = sum(theirs)
    scattered = group.reduce_scatter(matrix)
    turned = group.all_reduce(matrix.clone().T).T
    number = group.all_reduce(torch.tensor(float(here.rank)))
    right, left = (group.rank + 1) % group.world, (group.rank - 1) % group.world
    sending, coming = group.isend(matrix.T, right), group.irecv(matrix.T.shape, left, matrix.dtype)
    message = coming.wait()
    sending.wait()
    if group.rank == 0:
        group.send(torch.arange(3), group.world - 1)
    last = group.recv((3,), 0, torch.int64).tolist() if group.rank == group.world - 1 else None
    group.barrier()
    return {
        "scattered": (scattered - whole[2 * here.rank : 2 * here.rank + 2]).abs().max().item(),
        "gathered": (group.all_gather(scattered) - whole).abs().max().item(),
        "turned": (turned - whole).abs().max().item(),
        "number": number.item(),
        "message": torch.equal(message, theirs[left].T),
        "last": last,
        "sent": dict(group.sent_by),
        "events": [(event.name, event.lane, event.bytes, event.seconds >= 0) for event in here.trace.events],
    }


def groups(here):
    """Two groups of two that cross, as data and model parallelism have them; refusals."""
    row = Communicator(here, [0, 1] if here.rank < 2 else [3, 2], "row")
    column = Communicator(here, [here.rank % 2, here.rank % 2 + 2], "column")
    mine = torch.tensor([10.0**here.rank])
    first, second = row.all_reduce(mine.clone()), column.all_reduce(mine.clone())
    said = []
    for ranks in ([here.rank, here.rank], [here.rank, 9], [(here.rank + 1) % here.world]):
        try:
            Communicator(here, ranks, "odd")
        except LabkitError as error:
            said.append(str(error))
    try:
        Communicator(here).all_gather(torch.zeros(5), into=torch.zeros(8))
    except LabkitError as error:
        said.append(str(error))
    return row.rank, first.item(), second.item(), row.broadcast(mine.clone()).item(), said


def one_leaves(here, seconds=0.0):
    """Rank 1 ends early; rank 0 waits for it, or, after `seconds`, finds the line closed before it sends."""
    if here.rank == 0:
        time.sleep(seconds)
        Communicator(here).all_reduce(torch.ones(4))
    return here.rank
