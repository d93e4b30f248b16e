from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from labkit import cli, doctor, threads

BUSY, QUIET = (9.0, 0.0, 0.0), (0.1, 9.0, 9.0)


@pytest.fixture
def machine(monkeypatch):
    """Four cores and a load of the test's choice; torch as if it were not there yet."""

    def make(load, imported=False):
        monkeypatch.setattr(os, "getloadavg", lambda: load, raising=False)
        monkeypatch.setattr(threads, "cores", lambda: 4)
        if not imported:
            monkeypatch.delitem(sys.modules, "torch", raising=False)

    return make


def test_passive_on_a_busy_machine_and_the_librarys_own_way_on_a_quiet_one(machine):
    machine(BUSY)
    environment = {}
    chosen = threads.choose(environment)
    assert environment == {"OMP_WAIT_POLICY": "passive"} and chosen.policy == "passive"
    assert str(chosen) == "passive: the machine is busy (load 9.0 on 4 cores)"
    machine(QUIET)
    environment = {}
    assert str(threads.choose(environment)) == "spin a while: the machine is quiet (load 0.1 on 4 cores)"
    assert environment == {}


@pytest.mark.parametrize(
    "name, value", [("OMP_WAIT_POLICY", "active"), ("GOMP_SPINCOUNT", "1000"), ("KMP_BLOCKTIME", "0")]
)
def test_the_users_own_setting_stays(machine, name, value):
    machine(BUSY)
    environment = {name: value}
    assert str(threads.choose(environment)) == f"{value}: {name} is set" and environment == {name: value}


def test_too_late_is_said_and_nothing_is_set(machine):
    import torch  # noqa: F401

    machine(BUSY, imported=True)
    environment = {}
    found = threads.choose(environment)
    assert environment == {} and "torch was imported before" in found.why
    assert found.advice == "set OMP_WAIT_POLICY=passive before Python starts"


def test_doctor_says_it(machine, capsys, monkeypatch):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    machine(BUSY, imported=True)
    rows = {row["what"]: row for row in doctor.examine(threads.Waiting("passive", "because"))}
    assert rows["waiting threads"]["value"] == "passive: because" and not rows["waiting threads"]["advice"]
    assert cli.main(["doctor", "--json"]) == 0
    rows = {row["what"]: row for row in json.loads(capsys.readouterr().out)}
    assert "before Python starts" in rows["waiting threads"]["advice"]


@pytest.mark.skipif(sys.platform != "linux", reason="asks GNU's OpenMP, which torch has on Linux")
@pytest.mark.parametrize("load, spins", [(BUSY, "0"), (QUIET, "300000")])
def test_torchs_own_library_hears_it_where_the_command_line_starts_first(load, spins):
    """In a process of its own: importing labkit's command line loads no torch, and what it chooses comes in time."""
    code = f"""if True:
        import os, sys
        os.getloadavg = lambda: {load}
        os.sched_getaffinity = lambda process: range(4)
        from labkit import cli, threads
        assert "torch" not in sys.modules
        threads.choose()
        import torch
    """
    free = {name: value for name, value in os.environ.items() if name not in (threads.POLICY, *threads.OTHERS)}
    done = subprocess.run(
        [sys.executable, "-c", code], env={**free, "OMP_DISPLAY_ENV": "VERBOSE", "OMP_NUM_THREADS": "4"},
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert f"GOMP_SPINCOUNT = '{spins}'" in done.stderr
