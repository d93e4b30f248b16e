"""2 × 2 × 2 processes against one: the same loss curve, the same weights in the end."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from labkit.errors import UsageError
from labkit.parallel.model_parallel.model import Shape, build
from labkit.parallel.model_parallel.tensor_parallel import bytes_sent, ring_bytes
from labkit.parallel.model_parallel.three_d import Run, alone, share_of, train, whole_state
from labkit.parallel.model_parallel.topology import Topology
from labkit.parallel.processes import Here, launch
from tests.parallel.model_parallel import programs

SHAPE = Shape(vocabulary=16, positions=4, width=8, heads=2, layers=2, tied=True)
RUN = Run(SHAPE, rows=8, micro_batches=2, steps=4)
CUBE = Topology(2, 2, 2)
FOUR = [
    (Topology(2, 1, 2), RUN),
    (Topology(2, 2, 1), replace(RUN, schedule="gpipe", shape=replace(SHAPE, tied=False), steps=3)),
    (Topology(1, 2, 2), replace(RUN, micro_batches=1, steps=3)),
]


@pytest.fixture(scope="module")
def cube():
    return launch(programs.grids, 8, [(CUBE, RUN)])


def same_training(grid, run, accounts):
    losses, weights = alone(run)
    for rank, account in enumerate(accounts):
        last = grid.coordinate(rank).pipe == grid.pipe - 1
        assert account.losses == (pytest.approx(losses, abs=1e-9) if last else [])
    assert losses[-1] < losses[0]
    found = whole_state(grid, [account.state for account in accounts])
    assert set(found) == set(weights)
    for name, weight in weights.items():
        torch.testing.assert_close(found[name], weight, rtol=0, atol=1e-9)


def test_eight_processes_train_as_one(cube):
    same_training(CUBE, RUN, [found[0] for found in cube])


def test_replicas_and_tied_matrices_stay_the_same(cube):
    states = [found[0].state for found in cube]
    for pipe, model in ((0, 0), (0, 1), (1, 0), (1, 1)):
        one, other = (states[CUBE.rank(pipe, data, model)] for data in (0, 1))
        assert all(torch.equal(one[name], other[name]) for name in one)
    for rank in CUBE.group("model", 0):
        twin = CUBE.group("pipe", rank)[-1]
        assert torch.allclose(
            states[rank]["embedding.words.weight"], states[twin]["head.output.weight"], rtol=0, atol=1e-9
        )


def test_what_each_of_eight_sent_is_the_closed_form(cube):
    tokens = RUN.rows // CUBE.data * SHAPE.positions  # of one replica and step
    hidden = tokens * SHAPE.width
    both = bytes_sent(1, tokens, SHAPE.width, 2)
    embedding = ring_bytes(hidden, 2)
    for rank, (account,) in enumerate(cube):
        stage = CUBE.coordinate(rank).pipe
        block = bytes_sent(1, tokens, SHAPE.width, 2, ends=False)
        model = block + (embedding if stage == 0 else both - block - embedding)
        tied = ring_bytes(SHAPE.vocabulary // 2 * SHAPE.width, 2)
        loss = 0 if stage == 0 else 8  # one number round a ring of two
        sent = dict(account.sent)
        data = sent.pop("data") / RUN.steps
        assert sent == {"model": RUN.steps * model, "pipe": RUN.steps * hidden * 8, "tied": RUN.steps * tied}
        # one number of a ring of two stays or goes as a whole: 16 bytes in one half or none
        assert data == pytest.approx(account.parameters * 8 + loss, abs=16)


@pytest.mark.parametrize("number", range(len(FOUR)))
def test_four_processes_train_as_one_on_every_grid(four, number):
    same_training(*FOUR[number], [found[number] for found in four])


@pytest.fixture(scope="module")
def four():
    return launch(programs.grids, 4, FOUR)


@pytest.mark.parametrize("grid", [Topology(), Topology(2, 1, 2), Topology(2, 3, 1), Topology(1, 2, 2), CUBE])
def test_weights_go_from_one_grid_to_any_other(grid):
    model = build(SHAPE)
    shares = [share_of(model, grid, SimpleNamespace(world=grid.model, rank=at.model), at.pipe) for at in grid]
    whole = whole_state(grid, [share.state_dict() for share in shares])
    assert set(whole) == set(model.state_dict())
    assert all(torch.equal(whole[name], weight) for name, weight in model.state_dict().items())


@pytest.mark.parametrize(
    ("grid", "run", "message"),
    [
        (CUBE, RUN, "a grid of 2×2×2 = 8 ranks was given 6 processes"),
        (Topology(3, 2, 1), RUN, "2 blocks cannot be laid out over 3 stages"),
        (Topology(1, 2, 3), RUN, "2 heads cannot be shared by 3 ranks"),
        (Topology(2, 3, 1), RUN, "a batch of 8 rows cannot be cut into 3 equal shares of replicas"),
        (Topology(1, 6, 1), replace(RUN, rows=12, micro_batches=4), "a batch of 2 rows cannot be cut into 4 equal"),
        (Topology(1, 6, 1), replace(RUN, schedule="zigzag"), "unknown schedule 'zigzag'"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_sent(grid, run, message):
    with pytest.raises(UsageError, match=message):
        train(Here(0, 6), grid, run)
