"""The pipeline against one process, with real processes; what stages hold against the closed forms."""

from __future__ import annotations

import pytest
import torch

from labkit.errors import TrainingError, UsageError
from labkit.parallel.data_parallel.collectives import Communicator
from labkit.parallel.model_parallel.model import Shape, batch, build
from labkit.parallel.model_parallel.pipeline import Sleeper, Stage, equal_parts, sleeping, stage_of
from labkit.parallel.model_parallel.schedule import SCHEDULES, Action, live, needs, schedule
from labkit.parallel.processes import Here, launch
from tests.parallel.model_parallel import programs

SHAPE = Shape(vocabulary=16, positions=4, width=8, heads=2, layers=4, tied=False)
ROWS, MICROS = 12, 6


@pytest.fixture(scope="module", params=[2, 4])
def ranks(request):
    return launch(programs.pipelines, request.param, SHAPE, ROWS, MICROS)


@pytest.fixture(scope="module")
def plain():
    model = build(SHAPE)
    loss = model(*batch(SHAPE, ROWS, step=0))
    loss.backward()
    return loss.item(), programs.gradients(model)


@pytest.mark.parametrize("name", sorted(SCHEDULES))
def test_loss_and_gradients_are_those_of_one_process(ranks, plain, name):
    assert [found[name][0] for found in ranks[:-1]] == [None] * (len(ranks) - 1)
    assert ranks[-1][name][0] == pytest.approx(plain[0], abs=1e-9)
    found = {key: gradient for one in ranks for key, gradient in one[name][1].items()}
    assert sum(len(one[name][1]) for one in ranks) == len(found) and set(found) == set(plain[1])
    for key, gradient in plain[1].items():
        torch.testing.assert_close(found[key], gradient, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", sorted(SCHEDULES))
def test_a_stage_holds_what_its_schedule_says_and_nothing_at_the_end(ranks, name):
    p = len(ranks)
    for stage, found in enumerate(ranks):
        _, _, most, _, left, _, _ = found[name]
        assert most == live(schedule(name, p, MICROS)[stage]) == (MICROS if name == "gpipe" else min(MICROS, p - stage))
        assert left == 0


def test_activation_bytes_are_so_many_micro_batches(ranks):
    for found in ranks:
        (_, _, all_of_them, most, *_), (_, _, few, less, *_) = found["gpipe"], found["1f1b"]
        assert most % all_of_them == 0 and most > 0
        assert less == most // all_of_them * few


@pytest.mark.parametrize("name", sorted(SCHEDULES))
def test_recorded_events_follow_the_schedule_and_what_it_needs(ranks, name):
    p, plan = len(ranks), schedule(name, len(ranks), MICROS)
    computed = [[event for event in found[name][5] if event.lane == "compute"] for found in ranks]
    assert [[event.name for event in own] for own in computed] == [[action.name for action in own] for own in plan]
    at = {(event.rank, event.name): event for own in computed for event in own}
    for stage, actions in enumerate(plan):
        for action in actions:
            start = at[stage, action.name].start
            assert all(at[before, need.name].end <= start for before, need in needs(p, stage, action))


def test_bytes_are_those_of_hidden_vectors_and_their_gradients(ranks):
    hidden = ROWS * SHAPE.positions * SHAPE.width * 8
    for stage, found in enumerate(ranks):
        neighbours = (stage > 0) + (stage < len(ranks) - 1)
        assert all(found[name][6] == neighbours * hidden for name in SCHEDULES)


def test_stages_that_sleep_keep_the_order_too():
    found = [rank["1f1b"] for rank in launch(sleeping, 2, ["gpipe", "1f1b"], 3, 0.001, 0.002)]
    assert [most for _, most in found] == [2, 1]
    names = [[event.name for event in events if event.lane == "compute"] for events, _ in found]
    assert names == [[action.name for action in own] for own in schedule("1f1b", 2, 3)]
    assert all(event.seconds >= 0.001 for events, _ in found for event in events if event.name.startswith("forward"))


def test_stages_share_out_the_weights():
    model = build(SHAPE)
    stages = [stage_of(model, stage, 2) for stage in range(2)]
    names = [list(stage.state_dict()) for stage in stages]
    assert names[0] + names[1] == list(model.state_dict())
    assert stages[0].head is None and stages[1].embedding is None and model.head is not None


@pytest.mark.parametrize(
    ("do", "error", "message"),
    [
        (lambda: stage_of(build(SHAPE), 0, 3), UsageError, "4 blocks cannot be laid out over 3 stages"),
        (lambda: equal_parts(torch.zeros(10, 2), 4), UsageError, "a batch of 10 rows cannot be cut into 4 equal"),
        (lambda: equal_parts(torch.zeros(10, 2), 0), UsageError, "into 0 equal"),
    ],
)
def test_what_does_not_divide_is_refused(do, error, message):
    with pytest.raises(error, match=message):
        do()


def test_a_schedule_of_another_batch_is_refused():
    stage = Stage(Sleeper(0, 0, last=True), Communicator(Here(0, 1)), (1, 1))
    one = torch.ones(1, 1, dtype=torch.float64)
    with pytest.raises(TrainingError, match="a schedule of 3 actions does not fit 2 micro-batches"):
        stage.step([Action("F", 0)] * 3, [one, one], [one, one])
    assert stage.step(schedule("1f1b", 1, 2)[0], [one, 3 * one], [one, one]) == 2.0
    assert stage.module.weight.grad == 2.0 and stage.most_live == 1
