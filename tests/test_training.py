from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, PartialState
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from transformers import get_linear_schedule_with_warmup

from labkit import checkpoints
from labkit.errors import CheckpointError, DataError, LabkitError, TrainingError, UsageError
from labkit.training import Batches, Training, fit, learning_rate
from labkit.training.batches import count_terms, split

ROWS, SIZE = 22, 4  # six batches an epoch, the last of two rows


def new_model(dropout: float = 0.3) -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Embedding(50, 8), nn.Flatten(), nn.Linear(32, 16), nn.LayerNorm(16), nn.Dropout(dropout), nn.Linear(16, 5)
    )


def collate(rows, rng):
    return {"input_ids": torch.from_numpy(rng.integers(0, 50, (len(rows), 4))), "labels": torch.tensor(rows) % 5}


def objective(model, batch):
    return nn.functional.cross_entropy(model(batch["input_ids"]), batch["labels"])


def new_batches(**options) -> Batches:
    return Batches(range(ROWS), collate, SIZE, **options)


def state(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def assert_same(one, other) -> None:
    one, other = (state(x) if isinstance(x, nn.Module) else x for x in (one, other))
    torch.testing.assert_close(one, other, rtol=0, atol=0)


def draws() -> tuple:
    return torch.rand(3).tolist(), np.random.rand(3).tolist(), random.random(), random.gauss(0, 1)


# Batches


@given(
    count=st.integers(1, 60), size=st.integers(1, 20), seed=st.integers(0, 2**40), epoch=st.integers(0, 99),
    shuffle=st.booleans(), grouped=st.booleans(),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_an_epoch_is_a_permutation_in_full_batches(count, size, seed, epoch, shuffle, grouped):
    lengths = [(7 * row) % 11 for row in range(count)] if grouped else None
    batches = Batches(range(count), lambda rows, rng: {"rows": rows}, size, seed=seed, shuffle=shuffle, lengths=lengths)
    made = [batch["rows"] for batch in batches.epoch(epoch)]
    assert len(made) == len(batches) and sorted(sum(made, [])) == list(range(count))
    assert sorted(map(len, made), reverse=True)[:-1] == [size] * (len(made) - 1)
    if not shuffle and not grouped:
        assert sum(made, []) == list(range(count))


@given(start=st.integers(0, 14), world=st.integers(1, 6))
@settings(max_examples=30, deadline=None)
def test_a_stream_goes_on_from_anywhere_and_ranks_share_each_batch(start, world):
    batches = Batches(range(ROWS), lambda rows, rng: {"rows": rows, "draw": rng.random()}, SIZE, seed=5)
    whole = list(batches.stream(0, 15))
    assert list(batches.stream(start, 15)) == whole[start:]
    shares = [list(batches.stream(0, 15, rank=rank, world=world)) for rank in range(world)]
    for number, batch in enumerate(whole):
        parts = [share[number]["rows"] for share in shares]
        if len(batch["rows"]) >= world:
            assert sorted(sum(parts, [])) == sorted(batch["rows"])
        else:
            assert set(sum(parts, [])) == set(batch["rows"]) and all(parts)


def test_content_comes_from_seed_epoch_and_index_alone():
    batches = Batches(range(ROWS), lambda rows, rng: {"draw": rng.integers(1 << 30)}, SIZE, seed=7)
    assert [b["draw"] for b in batches.epoch(2, start=3)] == [
        np.random.default_rng((7, 2, index)).integers(1 << 30) for index in range(3, 6)
    ]
    orders = {tuple(np.concatenate(new_batches(seed=seed).order(epoch))) for seed in (0, 1) for epoch in (0, 1)}
    assert len(orders) == 4


def test_lengths_put_like_rows_together():
    lengths = np.random.default_rng(0).integers(1, 100, 1000)
    spread = {
        grouped: np.mean([np.ptp(lengths[rows]) for rows in Batches(
            range(1000), collate, 10, lengths=lengths if grouped else None).order(0)])
        for grouped in (True, False)
    }  # fmt: skip
    assert spread[True] < spread[False] / 10


def test_drop_last_leaves_out_the_batch_that_is_not_full():
    batches = new_batches(drop_last=True)
    assert len(batches) == 5 and [len(batch["labels"]) for batch in batches.epoch(0)] == [4] * 5


def test_two_workers_make_the_same_batches_and_the_same_weights():
    one, two = new_batches(seed=1), new_batches(seed=1, workers=2)
    for here, there in zip(one.stream(2, 9), two.stream(2, 9), strict=True):
        assert_same(here, there)
    models = new_model(), new_model()
    for model, batches in zip(models, (one, two), strict=True):
        fit(model, objective, batches, steps=8)
    assert_same(*models)


def test_an_error_in_a_worker_is_the_error_of_the_data():
    def bad(rows, rng):
        raise DataError("rows.tsv: line 3: no label")

    with pytest.raises(DataError, match=r"^rows.tsv: line 3: no label$"):
        list(Batches(range(9), bad, 3, workers=1).epoch(0))


def test_a_worker_that_dies_is_named():
    def deadly(rows, rng):
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(TrainingError, match="a loader worker died.*workers=0"):
        list(Batches(range(9), deadly, 3, workers=1).epoch(0))


def test_a_dataset_is_rows_like_a_list():
    datasets = pytest.importorskip("datasets")
    rows = [{"text": f"t{i}", "label": i % 2} for i in range(7)]
    made = [
        list(Batches(r, lambda rows, rng: {"r": rows}, 3).epoch(0)) for r in (rows, datasets.Dataset.from_list(rows))
    ]
    assert made[0] == made[1]


def test_what_makes_no_batches_is_refused():
    for options, message in (
        ({"rows": iter("ab")}, "make a list"),
        ({"rows": []}, "0 rows"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"lengths": [1]}, "1 lengths for 3 rows"),
        ({"batch_size": 4, "drop_last": True}, "3 rows do not make one batch of 4"),
    ):
        with pytest.raises(UsageError, match=message):
            Batches(**{"rows": [1, 2, 3], "collate": collate, "batch_size": 2, **options})
    with pytest.raises(UsageError, match="collate must return a dict"):
        next(Batches([1], lambda rows, rng: rows, 1).epoch(0))
    for wrong in ((batch for batch in ()), [], [1], 3):
        with pytest.raises(UsageError, match="fit takes Batches or a list"):
            fit(new_model(), objective, wrong)


@given(rows=st.integers(1, 20), pieces=st.integers(1, 25))
@settings(max_examples=40, deadline=None)
def test_pieces_of_a_batch_are_the_batch(rows, pieces):
    batch = {"x": torch.arange(2 * rows).reshape(rows, 2), "names": [str(i) for i in range(rows)], "scale": 2.0,
             "words": torch.arange(rows + 1), "count": torch.arange(rows)}  # fmt: skip
    parts = split(batch, pieces)
    assert len(parts) == min(rows, pieces)
    assert torch.equal(torch.cat([part["x"] for part in parts]), batch["x"])
    assert sum((part["names"] for part in parts), []) == batch["names"]
    assert all(part["scale"] == 2.0 and len(part["words"]) == rows + 1 for part in parts)
    assert sum(map(count_terms, parts)) == count_terms(batch)
    whole = split({**batch, "count": 12}, pieces)
    assert sum(map(count_terms, whole)) == pytest.approx(12)


# Settings and the learning rate


@pytest.mark.parametrize(("name", "anneal"), [("onecycle", "cos"), ("triangle", "linear")])
@pytest.mark.parametrize(("total", "warmup"), [(60, 0.1), (50, 0.3), (1000, 0.5)])
def test_one_cycle_is_that_of_torch(name, anneal, total, warmup):
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=total, pct_start=warmup,
                                                anneal_strategy=anneal, cycle_momentum=False)  # fmt: skip
    mine = Training(lr=3e-3, schedule=name, warmup=warmup)
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
    name=st.sampled_from(["linear", "onecycle", "triangle", "constant"]),
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


# The arithmetic


def by_hand(model, batches, steps, lr=5e-4, decay=0.01, clip=1.0):
    """The same training in plain torch."""
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    vectors = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": matrices, "weight_decay": decay}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.98), fused=True)
    losses, warm = [], int(0.1 * steps)
    torch.manual_seed(0)
    for step, batch in enumerate(batches.stream(0, steps)):
        for group in optimizer.param_groups:
            group["lr"] = lr * ((step + 1) / warm if step < warm else (steps - step) / (steps - warm))
        optimizer.zero_grad()
        loss = objective(model, batch)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
        losses.append(loss.item())
    return losses


def test_fit_is_the_loop_one_would_write():
    mine, theirs = new_model(), new_model()
    history = fit(mine, objective, new_batches(), steps=30)
    assert history.losses == by_hand(theirs, new_batches(), 30)
    assert_same(mine, theirs)
    assert history.steps == 30 and history.tokens == (5 * 4 + 2) * 4 * 5
    assert history.tokens_per_second == pytest.approx(history.tokens / history.seconds)


def test_epochs_count_batches_and_the_last_step_takes_what_is_left():
    seen = []

    def watched(model, batch):
        seen.append(len(batch["labels"]))
        return objective(model, batch)

    history = fit(new_model(), watched, new_batches(), epochs=2, accumulate=5)
    assert history.steps == 3 and len(seen) == 12 and sum(seen) == 2 * ROWS
    assert fit(new_model(), objective, new_batches()).steps == 6  # one epoch


def counted(rows, rng):
    """Of each row's four labels some do not count, as in masked language modelling."""
    labels = (torch.tensor(rows)[:, None] * torch.tensor([3, 5, 7, 11])) % 5
    labels = labels.where(torch.arange(4) <= torch.tensor(rows)[:, None] % 4, -100)
    return {"input_ids": torch.tensor(rows)[:, None].repeat(1, 4), "labels": labels, "count": (labels >= 0).sum(1)}


def token_objective(model, batch):
    assert "count" not in batch
    hidden = model[0](batch["input_ids"])  # (batch, tokens, 8)
    return nn.functional.cross_entropy(hidden[..., :5].flatten(0, 1), batch["labels"].flatten(), ignore_index=-100)


@pytest.mark.parametrize("accumulate", [2, 4])
def test_accumulated_micro_batches_are_one_big_batch(accumulate):
    results = []
    for size, times in ((16, 1), (16 // accumulate, accumulate)):
        model = new_model()
        history = fit(
            model, token_objective, Batches(range(48), counted, size, shuffle=False), steps=9, accumulate=times, lr=0.01
        )
        results.append((history.losses, state(model)))
    torch.testing.assert_close(*results, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("CUDA out of memory. Tried"), torch.OutOfMemoryError("no")]
)
def test_out_of_memory_halves_the_micro_batch_and_not_the_step(error):
    plain, cramped = new_model(0.0), new_model(0.0)

    def greedy(model, batch):
        loss = objective(model, batch)
        if len(batch["labels"]) > 1:
            loss.backward(retain_graph=True)  # gradients of a failed attempt must not stay
            raise error
        return loss

    expected = fit(plain, objective, new_batches(), steps=8)
    with pytest.warns(RuntimeWarning) as said:
        history = fit(cramped, greedy, new_batches(), steps=8)
    texts = [str(warning.message) for warning in said]
    assert texts == [
        f"step 1: out of memory; going on with {n} rows at once, the effective batch unchanged" for n in (2, 1)
    ]
    torch.testing.assert_close(history.losses, expected.losses)
    torch.testing.assert_close(state(plain), state(cramped), rtol=1e-4, atol=1e-5)


def test_no_memory_for_one_row_is_an_error():
    def greedy(model, batch):
        raise MemoryError("2 GB asked for")

    with (
        pytest.warns(RuntimeWarning),
        pytest.raises(TrainingError, match="step 1: out of memory even with 1 row.*2 GB"),
    ):
        fit(new_model(), greedy, new_batches(), steps=3)


def test_other_errors_are_left_alone():
    def broken(model, batch):
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes do not match"):
        fit(new_model(), broken, new_batches(), steps=3)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda model, batch: model(batch["input_ids"]).sum(1), "returned a tensor of shape"),
        (lambda model, batch: 1.0, "returned float"),
        (lambda model, batch: objective(model, batch).detach(), "depends on no trainable parameter"),
    ],
)
def test_an_objective_that_gives_no_loss_is_explained(wrong, message):
    with pytest.raises(UsageError, match=message):
        fit(new_model(), wrong, new_batches(), steps=1)


def test_frozen_parameters_stay_and_nothing_to_train_is_an_error():
    model = new_model()
    model[0].requires_grad_(False)
    before = state(model)
    fit(model, objective, new_batches(), steps=4)
    assert_same(before["0.weight"], model[0].weight.data)
    assert not torch.equal(before["2.weight"], model[2].weight)
    with pytest.raises(UsageError, match="nothing to train"):
        fit(model.requires_grad_(False), objective, new_batches(), steps=1)


class Projected(nn.Module):
    """An objective with a parameter of its own."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(5))

    def forward(self, model, batch):
        return nn.functional.cross_entropy(model(batch["input_ids"]) * self.scale, batch["labels"])

    loss = forward


@pytest.mark.parametrize("method", [False, True])
def test_parameters_of_the_objective_are_trained_and_resumed(tmp_path, method):
    def run(folder, resume, stop):
        model, mine = new_model(), Projected()
        fit(
            model,
            mine.loss if method else mine,
            new_batches(),
            steps=9,
            lr=0.01,
            folder=folder,
            resume=resume,
            on_step=stop,
        )
        return {**state(model), "scale": mine.scale.detach().clone()}

    whole = run(None, False, None)
    assert not torch.equal(whole["scale"], torch.ones(5))
    run(tmp_path, False, lambda step, loss: step == 4)
    assert_same(run(tmp_path, True, None), whole)
    assert sum(tensor.requires_grad for tensor in whole.values()) == 0


# Good manners


def test_a_run_leaves_the_process_as_it_was(capsys):
    model = new_model()
    model.eval()
    model[2].train()
    torch.manual_seed(11), np.random.seed(11), random.seed(11)
    expected = draws()
    torch.manual_seed(11), np.random.seed(11), random.seed(11)
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    fit(model, objective, new_batches(), steps=3)
    assert draws() == expected
    assert [module.training for module in model] == [False, False, True, False, False, False] and not model.training
    assert all(parameter.grad is None for parameter in model.parameters())
    assert handlers == (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM))
    assert capsys.readouterr() == ("", "")


def test_runs_of_several_precisions_in_one_process_and_the_callers_accelerator():
    mine = Accelerator(mixed_precision="bf16", cpu=True)
    try:
        losses = [
            fit(new_model(0.0), objective, new_batches(), steps=2, precision=p).losses for p in ("fp32", "bf16", "fp32")
        ]
        assert losses[0] == losses[2] != losses[1]
        torch.testing.assert_close(losses[0], losses[1], rtol=0.05, atol=0.05)
        assert AcceleratorState().mixed_precision == "bf16" == mine.mixed_precision
    finally:
        AcceleratorState._reset_state(reset_partial_state=True)
    fit(new_model(), objective, new_batches(), steps=1)
    assert not AcceleratorState._shared_state and not PartialState._shared_state


def test_seed_decides_dropout_and_nothing_else_does():
    models = []
    for noise, seed in ((1, 5), (2, 5), (1, 6)):
        models.append(new_model())
        torch.manual_seed(noise)
        fit(models[-1], objective, new_batches(), steps=3, seed=seed)
    assert_same(models[0], models[1])
    assert not torch.equal(models[0][2].weight, models[2][2].weight)


def test_whoever_looks_on_changes_nothing():
    def nosy(step, loss):
        draws()
        watched.eval()

    plain, watched = new_model(), new_model()
    fit(plain, objective, new_batches(), steps=5)
    seen = fit(watched, objective, new_batches(), steps=5, on_step=nosy)
    assert_same(plain, watched)
    stopped = fit(new_model(), objective, new_batches(), steps=5, on_step=lambda step, loss: step == 2)
    assert stopped.steps == 2 and stopped.losses == seen.losses[:2]


def test_progress_goes_to_standard_error_and_only_when_asked(capsys):
    fit(new_model(), objective, new_batches(), steps=3)
    assert capsys.readouterr() == ("", "")
    fit(new_model(), objective, new_batches(), steps=3, progress=True)
    out, err = capsys.readouterr()
    assert not out and "3/3" in err and "loss" in err and "tokens/s" in err


def test_training_in_a_thread_needs_no_signals(tmp_path):
    found = []
    thread = threading.Thread(
        target=lambda: found.append(fit(new_model(), objective, new_batches(), steps=2, folder=tmp_path))
    )
    thread.start()
    thread.join()
    assert found[0].steps == 2 and checkpoints.load(tmp_path)[1].step == 2


class Plain:
    """The three verbs of an engine and no more."""

    def __init__(self, model):
        self.model, self.calls = model, ""
        self.optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def forward(self, batch):
        self.calls += "f"
        return objective(self.model, batch)

    def backward(self, loss):
        self.calls += "b"
        loss.backward()

    def step(self):
        self.calls += "s"
        self.optimizer.step()
        self.optimizer.zero_grad()


def test_an_engine_needs_three_verbs(tmp_path):
    model, expected = new_model(0.0), new_model(0.0)
    engine, optimizer = Plain(model), torch.optim.SGD(expected.parameters(), lr=0.1)
    history = fit(model, None, new_batches(), engine=engine, steps=3, accumulate=2, folder=tmp_path)
    assert engine.calls == "fbfbs" * 3 and history.steps == 3
    stream = new_batches().stream(0, 6)
    for pair in zip(stream, stream, strict=True):
        optimizer.zero_grad()
        total = sum(len(batch["labels"]) for batch in pair)
        sum(objective(expected, batch) * len(batch["labels"]) / total for batch in pair).backward()
        optimizer.step()
    torch.testing.assert_close(state(model), state(expected))
    with pytest.raises(CheckpointError, match="no load_state_dict"):
        fit(model, None, new_batches(), engine=engine, steps=3, accumulate=2, folder=tmp_path, resume=True)


# Stops and resumes


def run(folder=None, stop=None, resume=True, **more):
    """12 steps of 2 micro-batches, 6 micro-batches an epoch: steps 3, 6, 9 and 12 end an epoch."""
    model = new_model()
    options = {"steps": 12, "accumulate": 2, "lr": 0.01, **more}
    history = fit(model, objective, new_batches(seed=4), folder=folder, resume=resume, on_step=stop, **options)
    return model, history


def interrupt_at(*steps):
    def stop(step, loss):
        if step in steps:
            raise KeyboardInterrupt

    return stop


@pytest.fixture(scope="module")
def uninterrupted():
    return run()


@pytest.mark.parametrize("stops", [(2,), (3,), (4, 9), (6, 7), (1, 11), (12,)])
def test_resumed_runs_end_in_the_same_bits(tmp_path, uninterrupted, stops):
    """In mid-epoch, at an epoch's end, just after it; and a second time."""
    for stop in stops:
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, interrupt_at(stop))
        assert checkpoints.load(tmp_path)[1].step == stop
    model, history = run(tmp_path)
    assert_same(model, uninterrupted[0])
    assert history.losses == uninterrupted[1].losses and history.tokens == uninterrupted[1].tokens
    assert history.resumed == stops[-1] and history.steps == 12 and history.seconds > 0


def test_a_finished_run_is_loaded_and_not_repeated(tmp_path, uninterrupted):
    run(tmp_path)
    model, history = run(tmp_path, stop=interrupt_at(*range(20)))
    assert_same(model, uninterrupted[0])
    assert history.losses == uninterrupted[1].losses and history.resumed == 12


def test_the_first_run_of_a_folder_resumes_from_nothing_and_saves_as_told(tmp_path):
    seen = []
    run(
        tmp_path,
        lambda step, loss: seen.append([path.name for path in checkpoints.steps(tmp_path)]),
        save_every=5,
        keep=1,
    )
    assert seen[-1] == ["step-000010"] and seen[4] == []
    assert [path.name for path in checkpoints.steps(tmp_path)] == ["step-000012"]


@pytest.mark.parametrize("where", ["forward", "data"])
def test_an_interruption_inside_a_step_goes_back_to_the_last_whole_one(tmp_path, uninterrupted, where):
    calls = 0

    def falls(what):
        def wrapped(*arguments):
            nonlocal calls
            result = what(*arguments)
            torch.rand(5)  # randomness that the resumed run must not miss
            calls += 1
            if calls == 10:  # the second micro-batch of step 5
                raise KeyboardInterrupt
            return result

        return wrapped

    make, loss = (falls(collate), objective) if where == "data" else (collate, falls(objective))
    with pytest.raises(KeyboardInterrupt):
        fit(
            new_model(),
            loss,
            Batches(range(ROWS), make, SIZE, seed=4),
            folder=tmp_path,
            steps=12,
            accumulate=2,
            lr=0.01,
        )
    found = checkpoints.load(tmp_path)[1]
    assert found.step == 4 and len(found.state["losses"]) == 4
    if where == "data":  # it drew no extra randomness before step 5
        found_facts = found.facts
        assert found_facts["epoch"] == 1 and found_facts["batch"] == 2


@pytest.mark.parametrize(("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
def test_a_signal_leaves_a_checkpoint_of_a_whole_step(tmp_path, uninterrupted, number, error):
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    calls = 0

    def struck(model, batch):
        nonlocal calls
        calls += 1
        if calls == 9:  # inside step 5, which is finished first
            os.kill(os.getpid(), number)
        return objective(model, batch)

    with pytest.raises(error) as caught:
        fit(new_model(), struck, new_batches(seed=4), folder=tmp_path, steps=12, accumulate=2, lr=0.01)
    assert handlers == (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM))
    if error is SystemExit:
        assert caught.value.code == 143
    assert checkpoints.load(tmp_path)[1].step == 5
    assert_same(run(tmp_path)[0], uninterrupted[0])


def test_a_second_ctrl_c_does_not_wait(tmp_path):
    calls = []

    def stuck(model, batch):
        calls.append(1)
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError("not reached")

    with pytest.raises(KeyboardInterrupt):
        fit(new_model(), stuck, new_batches(), folder=tmp_path, steps=3)
    assert len(calls) == 1 and checkpoints.load(tmp_path)[1].step == 0


def test_ignored_signals_stay_ignored(tmp_path):
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        history = run(tmp_path, lambda step, loss: os.kill(os.getpid(), signal.SIGTERM) if step == 2 else None)[1]
        assert history.steps == 12 and signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)


def test_resume_survives_a_change_of_memory(tmp_path):
    def greedy(model, batch):
        if len(batch["labels"]) > 2:
            raise MemoryError
        return objective(model, batch)

    models = []
    for stop in (None, 2):
        models.append(new_model())
        for part in range(1 if stop is None else 2):
            on_step = None if stop is None or part else lambda step, loss: step == 2
            with warnings.catch_warnings():
                warnings.simplefilter("error" if part else "ignore")
                fit(
                    models[-1],
                    greedy,
                    new_batches(),
                    steps=5,
                    folder=tmp_path / str(stop),
                    resume=bool(part),
                    on_step=on_step,
                )
    assert_same(*models)


def test_another_run_is_refused_naming_the_setting(tmp_path):
    run(tmp_path, lambda step, loss: step == 2)
    for more, name in (
        ({"lr": 0.02}, "lr=0.01, this run has lr=0.02"),
        ({"steps": 13}, "steps=12"),
        ({"seed": 1}, "seed=0"),
    ):
        with pytest.raises(CheckpointError, match=f"step-000002: was made with {name}"):
            run(tmp_path, **more)
    for batches, name in (
        (Batches(range(ROWS + 1), collate, SIZE, seed=4), "batches.rows=22, this run has batches.rows=23"),
        (Batches(range(ROWS), collate, SIZE + 1, seed=4), "batches.batch_size=4"),
        (new_batches(seed=5), "batches.seed=4"),
        (new_batches(seed=4, lengths=[1] * ROWS), "batches.lengths=None"),
    ):
        with pytest.raises(CheckpointError, match=name):
            fit(new_model(), objective, batches, folder=tmp_path, resume=True, steps=12, accumulate=2, lr=0.01)
    wider = nn.Sequential(*new_model()[:5], nn.Linear(16, 6))
    with pytest.raises(CheckpointError, match="'5.bias' has shape"):
        fit(wider, objective, new_batches(seed=4), folder=tmp_path, resume=True, steps=12, accumulate=2, lr=0.01)
    run(tmp_path, save_every=3, keep=5)  # these do not touch the result


def test_a_folder_with_checkpoints_is_not_overwritten_by_accident(tmp_path):
    run(tmp_path, lambda step, loss: step == 2)
    with pytest.raises(CheckpointError, match="holds step-000002 already; pass resume=True"):
        run(tmp_path, resume=False)


def test_a_damaged_checkpoint_costs_the_steps_since_the_one_before(tmp_path, uninterrupted):
    run(tmp_path, lambda step, loss: step == 8, save_every=4)
    file = tmp_path / "step-000008" / "optimizer.safetensors"
    file.write_bytes(file.read_bytes()[:-4])
    with pytest.warns(RuntimeWarning, match="step-000008/optimizer.safetensors: cut short.*going on from step-000004"):
        model, history = run(tmp_path, save_every=4)
    assert history.resumed == 4
    assert_same(model, uninterrupted[0])
    for path in checkpoints.steps(tmp_path):
        (path / "manifest.json").unlink()
    with pytest.raises(CheckpointError, match="no checkpoint is usable"):
        run(tmp_path)


def test_facts_that_are_none_of_fits_are_refused(tmp_path):
    checkpoints.save(tmp_path, checkpoints.Snapshot(3, {}))
    with pytest.raises(CheckpointError, match="step-000003: is no checkpoint of fit"):
        run(tmp_path)


def test_a_folder_is_for_one_run_at_a_time(tmp_path):
    def second(step, loss):
        run(tmp_path / "run")

    with pytest.raises(LabkitError, match="another run has held this lock"):
        run(tmp_path / "run", second)


def test_a_folder_that_cannot_be_made_is_refused_before_training(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(LabkitError, match="a folder"):
        run(tmp_path / "file" / "run", interrupt_at(1))


def test_a_full_disk_stops_the_run_and_keeps_the_checkpoint_before(tmp_path, monkeypatch, uninterrupted):
    def fill(step, loss):
        if step == 5:
            monkeypatch.setattr(os, "fsync", full)

    def full(*_):
        raise OSError(28, "No space left on device")

    with pytest.raises(LabkitError, match="step-000006: the disk is full"):
        run(tmp_path, fill, save_every=3)
    monkeypatch.undo()
    assert [path.name for path in checkpoints.steps(tmp_path)] == ["step-000003"]
    assert_same(run(tmp_path, save_every=3)[0], uninterrupted[0])


# A loss that is no number


def test_divergence_stops_names_the_step_and_keeps_the_last_good_checkpoint(tmp_path):
    model = new_model()
    with pytest.raises(TrainingError, match=r"step \d+: .*; lower lr.*the last good checkpoint is .*step-0000"):
        fit(model, lambda m, b: objective(m, b) ** 2, new_batches(), lr=1e20, steps=40, schedule="constant", warmup=0.0,
            folder=tmp_path, save_every=1)  # fmt: skip
    found = checkpoints.load(tmp_path)[1]
    assert all(tensor.isfinite().all() for tensor in found.model.values())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_the_step_whose_loss_is_no_number_is_named_and_not_taken(tmp_path, value):
    calls = 0

    def breaks(model, batch):
        nonlocal calls
        calls += 1
        return objective(model, batch) * (value if calls == 7 else 1.0)

    model, good = new_model(), new_model()
    with pytest.raises(TrainingError, match=rf"step 7: the loss is {value}.*checkpoint is .*step-000006"):
        fit(model, breaks, new_batches(), steps=20, schedule="constant", folder=tmp_path, save_every=2)
    fit(good, objective, new_batches(), steps=20, schedule="constant", on_step=lambda step, loss: step == 6)
    assert_same(model, good)
    with pytest.raises(TrainingError, match="step 1: .*no checkpoint was written"):
        fit(model, lambda m, b: objective(m, b) * value, new_batches(), steps=2)


def test_weights_that_are_no_numbers_are_not_saved(tmp_path):
    def spoil(step, loss):
        if step == 3:
            with torch.no_grad():
                model[2].weight[0, 0] = float("nan")

    model = new_model()
    with pytest.raises(TrainingError, match="step 3: the weight '2.weight' is not finite"):
        fit(model, objective, new_batches(), steps=20, folder=tmp_path, save_every=1, on_step=spoil)
    assert checkpoints.load(tmp_path)[1].step == 2


# Several ranks

RANKS = """
import json, sys, warnings
from pathlib import Path
sys.path.insert(0, {tests!r})
import torch
import test_training as t
torch.set_num_threads(1)
folder, stop = sys.argv[1], int(sys.argv[2])
model = t.new_model(0.0)
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    history = t.fit(model, t.objective, t.Batches(range(t.ROWS), t.fixed, t.SIZE, seed=4), folder=folder, resume=True, steps=12, accumulate=2, lr=0.01,
                    on_step=lambda step, loss: step == stop)
print(json.dumps({{"losses": history.losses, "said": [str(w.message) for w in said if "ranks" in str(w.message)],
                   "sum": sum(p.double().sum().item() for p in model.parameters())}}))
torch.distributed.is_initialized() and torch.distributed.destroy_process_group()
"""


def on_ranks(world: int, folder: Path, stop: int) -> list[dict]:
    port = random.SystemRandom().randrange(20000, 60000)
    common = {**os.environ, "OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    common |= {"WORLD_SIZE": str(world), "LOCAL_WORLD_SIZE": str(world), "PYTHONPATH": str(Path(__file__).parents[1])}
    program = RANKS.format(tests=str(Path(__file__).parent))
    running = []
    for rank in range(world):
        env = {**common, "RANK": str(rank), "LOCAL_RANK": str(rank)}
        command = [sys.executable, "-c", program, str(folder), str(stop)]
        running.append(subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
    results = []
    for process in running:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        results.append(json.loads(out.splitlines()[-1]))
    return results


@pytest.mark.skipif(sys.platform == "win32", reason="gloo")
def test_two_ranks_are_one_and_one_goes_on_from_two(tmp_path):
    model = new_model(0.0)
    alone = fit(model, objective, Batches(range(ROWS), fixed, SIZE, seed=4), steps=12, accumulate=2, lr=0.01)
    two = on_ranks(2, tmp_path, 7)
    assert two[0] == two[1]
    resumed = new_model(0.0)
    with pytest.warns(RuntimeWarning, match="made by 2 ranks, going on with 1: same data order"):
        history = fit(resumed, objective, Batches(range(ROWS), fixed, SIZE, seed=4), steps=12, accumulate=2, lr=0.01,
                      folder=tmp_path, resume=True)  # fmt: skip
    assert history.resumed == 7 and history.tokens == alone.tokens
    torch.testing.assert_close(two[0]["losses"], alone.losses[:7], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(history.losses, alone.losses, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(state(resumed), state(model), rtol=1e-3, atol=1e-5)


def fixed(rows, rng):
    """Without the generator, which is each rank's own."""
    rows = torch.tensor(rows)
    return {"input_ids": (rows[:, None] * torch.tensor([1, 3, 7, 9])) % 50, "labels": rows % 5}
