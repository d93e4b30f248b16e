"""The learner's progress: kept whole, never in the way of a lesson."""

from __future__ import annotations

import json
import warnings
from concurrent.futures import ProcessPoolExecutor

import pytest

import labkit
from labkit import progress


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path))
    return tmp_path


def test_nothing_is_there_at_first():
    assert progress.read() == {}
    assert not progress.path().exists()


def test_what_was_opened_and_solved_is_kept_once():
    labkit.setup(lesson="03/02")
    progress.passed("03/02", "fuzzy")
    progress.passed("03/02", "fuzzy")
    progress.passed("01/04", "mask")
    wanted = {"03/02": {"opened": True, "passed": ["fuzzy"]}, "01/04": {"opened": True, "passed": ["mask"]}}
    assert progress.read() == wanted
    progress.forget()
    assert progress.read() == {}


@pytest.mark.parametrize(
    "damage",
    [b"", b"{", b"[]", b'{"03/02": 3}', b'{"03/02": {"opened": 1, "passed": []}}', b'{"a": {"opened": true}}',
     b'{"a": {"opened": true, "passed": [1]}}', b"\xff\xfe\x00", b"[" * 100_000],
)  # fmt: skip
def test_a_damaged_file_is_put_aside_and_said(damage):
    progress.path().write_bytes(damage)
    with pytest.warns(RuntimeWarning, match="was damaged .* begins anew"):
        assert progress.read() == {}
    assert progress.path().with_name("progress.json.damaged").read_bytes() == damage
    progress.opened("03/02")
    assert progress.read() == {"03/02": {"opened": True, "passed": []}}


def test_a_lesson_goes_on_where_progress_cannot_be_kept(cache, monkeypatch):
    (cache / "file").write_text("")
    monkeypatch.setenv("LABKIT_CACHE", str(cache / "file" / "below"))
    with pytest.warns(RuntimeWarning, match="your progress is not kept"):
        assert labkit.setup(lesson="03/02").lesson == "03/02"
    assert progress.read() == {}


def test_a_user_without_a_home_takes_the_lesson(monkeypatch):
    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("LABKIT_CACHE")
    monkeypatch.setattr("pathlib.Path.home", homeless)
    with pytest.warns(RuntimeWarning, match="your progress is not kept: .* set LABKIT_CACHE"):
        progress.opened("03/02")
    assert progress.read() == {}


def test_half_a_character_in_the_file_is_kept():
    progress.path().write_text('{"\\ud83d": {"opened": true, "passed": ["\\udc00"]}}')
    progress.opened("03/02")
    assert progress.read() == {
        "\ud83d": {"opened": True, "passed": ["\udc00"]},
        "03/02": {"opened": True, "passed": []},
    }


def test_a_second_visit_writes_nothing(cache):
    progress.opened("03/02")
    before = progress.path().stat()
    progress.opened("03/02")
    after = progress.path().stat()
    assert (before.st_mtime_ns, before.st_ino) == (after.st_mtime_ns, after.st_ino)


def solve(number: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        progress.passed(f"03/0{number % 3 + 1}", f"exercise {number}")


def test_notebooks_side_by_side_lose_nothing():
    with ProcessPoolExecutor(3) as pool:
        list(pool.map(solve, range(12)))
    found = json.loads(progress.path().read_text())
    assert sorted(name for entry in found.values() for name in entry["passed"]) == sorted(
        f"exercise {n}" for n in range(12)
    )
