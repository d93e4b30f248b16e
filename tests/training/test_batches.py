from __future__ import annotations

import multiprocessing
import os
import signal
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit.errors import DataError, TrainingError, UsageError
from labkit.training import Batches, Curriculum, fit
from labkit.training.batches import count_terms, split
from tests.training.toy import (
    ROWS,
    SIZE,
    assert_same,
    collate,
    new_batches,
    new_model,
    objective,
)


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
    one, two = new_batches(seed=2**70), new_batches(seed=2**70, workers=2)
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


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="no SIGSTOP")
@pytest.mark.parametrize("made", [0, 1])
def test_a_worker_that_is_frozen_ends_the_run_and_is_not_left_over(monkeypatch, made):
    def freezing(rows, rng):
        if rows[0] == 3 * made:
            os.kill(os.getpid(), signal.SIGSTOP)
        return {"rows": torch.tensor(rows)}

    monkeypatch.setattr("torch.utils.data._utils.MP_STATUS_CHECK_INTERVAL", 0.1)  # seconds it waits for them to end
    stream = Batches(range(9), freezing, 3, workers=1, shuffle=False).stream(0, 3, seconds=0.5)
    before = set(multiprocessing.active_children())
    with pytest.raises(TrainingError, match=r"a loader worker has made no batch for 0\.5 s: .*workers=0"):
        list(stream)
    assert set(multiprocessing.active_children()) == before


def test_a_worker_that_is_slow_is_waited_for(monkeypatch):
    def slow(rows, rng):
        time.sleep(0.3)
        return {"rows": torch.tensor(rows)}

    monkeypatch.setattr("labkit.training.batches.CHECK", 0.1)
    assert len(list(Batches(range(6), slow, 3, workers=1).stream(0, 2, seconds=60))) == 2


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


def test_a_curriculum_turns_from_one_text_to_another():
    def batches(names, seed):
        return Batches(list(names), lambda rows, rng: {"rows": list(rows), "draw": rng.random()}, 2, seed=seed)

    first, then = batches("abcdef", 0), batches("uvwxyz", 1)
    both = Curriculum(first, then, 4)
    found = list(both.stream(0, 9))
    assert found == [first.make(number) for number in range(4)] + [then.make(number) for number in range(5)]
    assert list(both.stream(3, 6)) == found[3:6]  # resumed before the turn
    assert Curriculum(first, then, 3).settings() != both.settings() != Curriculum(then, first, 4).settings()
