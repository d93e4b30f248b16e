from __future__ import annotations

import os
import signal
import warnings

import pytest
import torch
from torch import nn

from labkit import checkpoints
from labkit.errors import CheckpointError, LabkitError
from labkit.training import Batches, fit, resuming
from tests.training.toy import (
    ROWS,
    SIZE,
    assert_same,
    collate,
    fixed,
    interrupt_at,
    new_batches,
    new_model,
    objective,
    run,
)


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


class Method:
    """An objective that is a method of an object with settings."""

    def __init__(self, **fields):
        self.__dict__ |= fields

    def loss(self, model, batch):
        return objective(model, batch)


def _rows(count=ROWS, **changed):
    return [{"number": at, "text": f"text {at}", "label": at % 5, **changed} for at in range(count)]


def _read(rows, rng):
    return fixed([row["label"] for row in rows], rng)


def _read_otherwise(rows, rng):
    return fixed([row["label"] + 1 for row in rows], rng)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rows": [{**row, "label": 4 - row["label"]} for row in _rows()]}, "other rows; use the same"),
        ({"rows": _rows()[:-1] + [{**_rows()[-1], "text": "another"}]}, "other rows"),
        ({"collate": _read_otherwise}, "rows that were read in another way"),
        ({"method": Method(alpha=0.6, words={"a": ("x",)})}, "a method of other settings"),
        ({"method": Method(alpha=0.5, words={"a": ("y",)})}, "a method of other settings"),
        ({"frozen": True}, "other parameters trainable"),
        ({"identity": {"model": "other"}}, "identity.model='one', this run has identity.model='other'"),
    ],
)
def test_what_decides_the_result_must_be_the_same(tmp_path, change, message):
    def go(rows=None, collate=_read, method=None, frozen=False, identity=None, **options):
        model = new_model()
        model[0].weight.requires_grad_(not frozen)
        method = method or Method(alpha=0.5, words={"a": ("x",)})
        batches = Batches(rows or _rows(), collate, SIZE, seed=4)
        return fit(model, method.loss, batches, folder=tmp_path, resume=True, steps=6, lr=0.01,
                   identity=identity or {"model": "one"}, **options)  # fmt: skip

    go(on_step=lambda step, loss: step == 2)
    with pytest.raises(CheckpointError, match=f"step-000002: was made with .*{message}"):
        go(**change)
    assert go().resumed == 2


def test_a_checkpoint_from_before_these_were_kept_is_taken_up(tmp_path, monkeypatch):
    monkeypatch.setattr(resuming, "identity", lambda *_: {})
    run(tmp_path, lambda step, loss: step == 2)
    monkeypatch.undo()
    assert run(tmp_path)[1].resumed == 2


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
