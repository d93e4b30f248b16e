"""Who is to blame, from what the ranks wrote into the store."""

from __future__ import annotations

import json
import socket
import threading
import time
from datetime import timedelta

import pytest
import torch.distributed as dist

from labkit.errors import TrainingError
from labkit.training import watch
from labkit.training.watch import Watch

LOST = RuntimeError("[gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]:4242")


@pytest.fixture
def store(monkeypatch):
    """A store as torchrun keeps one; pulses ten times as fast."""
    server = dist.TCPStore("127.0.0.1", 0, is_master=True, timeout=timedelta(seconds=20))
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", str(server.port))
    monkeypatch.setattr(watch, "PULSE", 0.05)
    return server


def seen(store, rank, step, pulses, end="", attempt=0):
    store.set(f"labkit/{attempt}/watch/{rank}", json.dumps([step, pulses, end]))


def blamed(error=LOST, world=3, steps=5):
    with pytest.raises(type(error) if error is not LOST else TrainingError) as caught, Watch(0, world, 30.0) as one:
        one.reached(steps)
        raise error
    return str(caught.value)


def test_a_rank_without_a_pulse_is_named_with_its_step(store):
    with Watch(1, 3, 30.0) as other:
        other.reached(5)
        seen(store, 2, 4, 17)
        assert blamed() == "rank 2 has died, or not answered for 30 s; it was last seen at step 5"


def test_a_rank_that_lags_behind_with_a_pulse_is_named(store):
    with Watch(1, 2, 30.0) as other:
        other.reached(3)
        assert blamed(world=2) == "rank 1 has not answered for 30 s; it was last seen at step 4"


def test_a_rank_that_failed_is_quoted(store):
    with pytest.raises(ValueError, match="no such row"), Watch(1, 2, 30.0) as other:
        other.reached(4)
        raise ValueError("no such row\nand more")
    assert blamed(world=2) == "rank 1 failed: no such row (at step 5); rank 0 stopped at step 6"


def test_when_all_are_alive_and_equally_far_nobody_is_blamed(store):
    with Watch(1, 2, 30.0) as other:
        other.reached(5)
        assert "though all are alive" in blamed(world=2)


def test_other_errors_pass_and_an_earlier_attempt_is_forgotten(store, monkeypatch):
    assert blamed(RuntimeError("shapes differ")) == "shapes differ"
    assert blamed(KeyError("x")) == "'x'"
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    with Watch(1, 2, 30.0) as other:
        other.reached(0)
        assert blamed(world=2, steps=1) == "rank 1 has not answered for 30 s; it was last seen at step 1"


def test_alone_or_without_a_store_it_does_nothing(monkeypatch):
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for world in (1, 2):
        with pytest.raises(RuntimeError, match="Connection closed"), Watch(0, world, 30.0) as one:
            one.reached(1)
            raise LOST


@pytest.fixture
def mute(monkeypatch):
    """Where the store of a frozen process is: the system takes the connection, nobody answers."""
    monkeypatch.setattr(watch, "ANSWER", 0.2)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        for name, value in {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": listener.getsockname()[1],
                            "RANK": 1, "LOCAL_RANK": 1, "WORLD_SIZE": 2}.items():  # fmt: skip
            monkeypatch.setenv(name, str(value))
        monkeypatch.delenv("TORCHELASTIC_USE_AGENT_STORE", raising=False)
        yield


def test_a_run_does_not_wait_for_a_frozen_store(mute):
    began = time.monotonic()
    with Watch(1, 2, 30.0) as one:
        assert one.store is None
    assert time.monotonic() - began < 5


def test_ranks_that_do_not_meet_are_told_where(mute):
    with pytest.raises(TrainingError, match=r"did not meet at 127.0.0.1:\d+, where rank 0 should answer: no answer"):
        watch.join("gloo", 0.3)
    assert not dist.is_initialized()


def test_the_rank_that_keeps_a_silent_store_is_named(mute):
    class Frozen:
        def check(self, keys):
            threading.Event().wait(20)

    one = Watch(1, 2, 30.0)
    one.store, one.step = Frozen(), 4
    blamed = (
        "rank 0, which keeps the ranks' meeting point, has died, or not answered for 30 s; rank 1 stopped at step 5"
    )
    assert one._blame() == blamed


def test_a_store_that_is_gone_is_said(store):
    one = Watch(0, 2, 30.0)

    class Gone:
        def check(self, keys):
            raise RuntimeError("connection lost")

    one.store = Gone()
    assert "the ranks' meeting point is gone" in one._blame()
