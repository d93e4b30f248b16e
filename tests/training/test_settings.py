from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from transformers import get_linear_schedule_with_warmup

from labkit.errors import UsageError
from labkit.training import Training, fit, learning_rate
from tests.training.toy import (
    new_batches,
    new_model,
    objective,
)


@pytest.mark.parametrize(("total", "warmup"), [(60, 0.1), (50, 0.3), (1000, 0.5)])
def test_one_cycle_is_that_of_torch(total, warmup):
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=total, pct_start=warmup,
                                                cycle_momentum=False)  # fmt: skip
    mine = Training(lr=3e-3, schedule="onecycle", warmup=warmup)
    for step in range(total):
        assert learning_rate(mine, step, total) == pytest.approx(cycle.get_last_lr()[0], rel=1e-9)
        optimizer.step()
        if step < total - 1:
            cycle.step()


def test_linear_is_that_of_transformers_without_its_first_idle_step():
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = get_linear_schedule_with_warmup(optimizer, 6, 60)
    theirs = []
    for _ in range(60):
        theirs.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    for warmup in (0.1, 6.0):
        mine = [learning_rate(Training(lr=1.0, warmup=warmup), step, 60) for step in range(60)]
        assert mine[:5] == pytest.approx(theirs[1:6]) and mine[6:] == pytest.approx(theirs[6:]) and mine[5] == 1.0


@given(
    total=st.integers(1, 200),
    warmup=st.floats(0, 20),
    name=st.sampled_from(["linear", "onecycle", "constant"]),
)
@settings(max_examples=80, deadline=None)
def test_every_rate_is_positive_and_none_is_above_the_peak(total, warmup, name):
    mine = Training(lr=0.5, schedule=name, warmup=warmup)
    assert all(0 < learning_rate(mine, step, total) <= 0.5 + 1e-12 for step in range(total))


def test_settings_are_strict():
    for wrong, message in (
        ({"step": 3}, "did you mean 'steps'"),
        ({"steps": 3, "epochs": 1}, "not both"),
        ({"steps": 0}, "'steps' must be at least 1"),
        ({"lr": -1.0}, "'lr' must be a number above 0"),
        ({"lr": float("nan")}, "'lr'"),
        ({"betas": (0.9, 1.0)}, "'betas'"),
        ({"warmup": -0.1}, "'warmup'"),
        ({"keep": 0}, "'keep'"),
        ({"precision": "fp8"}, "'precision'"),
        ({"schedule": "cosine"}, "'schedule'"),
    ):
        with pytest.raises(UsageError, match=message):
            fit(new_model(), objective, new_batches(), **wrong)


@pytest.mark.skipif(torch.cuda.is_available(), reason="for machines without a GPU")
def test_what_a_cpu_cannot_do_is_refused():
    for wrong, message in (({"precision": "fp16"}, "needs a GPU"), ({"device": "cuda"}, "no GPU here")):
        with pytest.raises(UsageError, match=message):
            fit(new_model(), objective, new_batches(), steps=1, **wrong)
