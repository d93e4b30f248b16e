from __future__ import annotations

import errno
import hashlib
import json
import multiprocessing
import os
import signal
import sys
from pathlib import Path

import pytest
from safetensors import SafetensorError

from labkit import files
from labkit.errors import CheckpointError, LabkitError, UsageError


def disk_full(*_):
    raise OSError(errno.ENOSPC, "No space left on device")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_writing_replaces_the_target_and_leaves_nothing_else(tmp_path):
    target = tmp_path / "new" / "a.txt"
    files.write_text(target, "one\n")
    files.write_text(target, "zwei: 二\n")
    assert target.read_bytes() == "zwei: 二\n".encode()
    assert names(target.parent) == ["a.txt"]
    assert target.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("error", [ValueError("mine"), KeyboardInterrupt()])
def test_an_error_while_writing_changes_nothing(tmp_path, error):
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(type(error)), files.writing(target) as temporary:
        temporary.write_text("half of the n")
        raise error
    assert target.read_text() == "old" and names(tmp_path) == ["a.txt"]


def test_a_full_disk_is_one_clear_sentence_and_the_old_file_stays(tmp_path, monkeypatch):
    target = tmp_path / "a.json"
    files.write_json(target, {"old": 1})
    monkeypatch.setattr(os, "fsync", disk_full)
    with pytest.raises(LabkitError, match=r"a\.json: the disk is full: free some space"):
        files.write_json(target, {"new": 2})
    assert target.read_text() == '{\n "old": 1\n}\n' and names(tmp_path) == ["a.json"]


def test_a_full_disk_leaves_the_old_folder(tmp_path, monkeypatch):
    with files.writing_folder(tmp_path / "model") as temporary:
        (temporary / "weights").write_text("old")
    monkeypatch.setattr(os, "fsync", disk_full)
    with pytest.raises(LabkitError, match="disk is full"), files.writing_folder(tmp_path / "model") as temporary:
        (temporary / "weights").write_text("new")
    assert (tmp_path / "model" / "weights").read_text() == "old" and names(tmp_path) == ["model"]


def write_model(folder: Path, content: str) -> None:
    with files.writing_folder(folder) as temporary:
        (temporary / "config").write_text(content)
        (temporary / content).mkdir()
        (temporary / content / "file").write_text(content)
        assert not (folder / content).exists()


@pytest.mark.parametrize("swaps", [True, False])
def test_a_folder_is_replaced_whole(tmp_path, monkeypatch, swaps):
    if not swaps:  # a disk that cannot exchange two names
        monkeypatch.setattr(files, "_exchange", lambda *_: False)
    for content in ("first", "second"):
        write_model(tmp_path / "model", content)
    assert names(tmp_path / "model") == ["config", "second"] and names(tmp_path) == ["model"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux exchanges two names in one step")
def test_the_folder_is_there_at_every_moment(tmp_path, monkeypatch):
    write_model(tmp_path / "model", "first")
    real, seen = os.replace, []

    def watched(*paths):
        real(*paths)
        seen.append((tmp_path / "model").is_dir())

    monkeypatch.setattr(os, "replace", watched)
    write_model(tmp_path / "model", "second")
    assert all(seen) and names(tmp_path / "model") == ["config", "second"]


def test_an_error_between_two_renames_puts_the_old_folder_back(tmp_path, monkeypatch):
    write_model(tmp_path / "model", "first")
    real = os.replace

    def failing(source, target):
        if str(source).endswith(".part"):
            disk_full()
        real(source, target)

    monkeypatch.setattr(files, "_exchange", lambda *_: False)
    monkeypatch.setattr(os, "replace", failing)
    with pytest.raises(LabkitError, match="disk is full"):
        write_model(tmp_path / "model", "second")
    assert names(tmp_path / "model") == ["config", "first"] and names(tmp_path) == ["model"]


def test_a_link_to_a_folder_stays_a_link(tmp_path):
    write_model(tmp_path / "disk" / "model", "first")
    (tmp_path / "model").symlink_to(tmp_path / "disk" / "model")
    write_model(tmp_path / "model", "second")
    assert (tmp_path / "model").is_symlink() and names(tmp_path / "disk" / "model") == ["config", "second"]


def test_a_folder_of_something_else_is_not_replaced(tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("years of work")
    with pytest.raises(LabkitError, match=r"thesis: it holds something else \(chapter\.tex\), which would be lost"):
        write_model(tmp_path / "thesis", "first")
    assert names(tmp_path / "thesis") == ["chapter.tex"] and names(tmp_path) == ["thesis"]


@pytest.mark.parametrize("write", [files.writing, files.writing_folder])
def test_nothing_is_written_into_a_saved_app(tmp_path, write):
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / files.MANIFEST).write_text("{}")
    for place in ("out.tsv", "checkpoints/step-000001"):
        with pytest.raises(UsageError, match="app is a saved app, which one file more would break"):
            with write(tmp_path / "app" / place):
                pass
    assert names(tmp_path / "app") == [files.MANIFEST]
    files.write_text(tmp_path / "app" / "NOTES.md", "no loader reads it")


# What killed writers leave


def killed_while_writing(folder: Path) -> None:
    with files.writing_folder(folder) as temporary, files.writing(folder.parent / "table.tsv"):
        (temporary / "weights").write_text("half")
        os.kill(os.getpid(), signal.SIGKILL)


def killed_between_two_renames(folder: Path) -> None:
    real = os.replace

    def deadly(*paths):
        real(*paths)
        os.kill(os.getpid(), signal.SIGKILL)

    files._exchange, files.os.replace = lambda *_: False, deadly
    write_model(folder, "second")


def run_and_kill(program, folder: Path) -> None:
    child = multiprocessing.get_context("fork").Process(target=program, args=(folder,))
    child.start()
    child.join(30)
    assert child.exitcode == -signal.SIGKILL


def age(folder: Path) -> None:
    for path in folder.glob(".*"):
        os.utime(path, (0, 0))


@pytest.mark.skipif(files.fcntl is None, reason="this system has no such locks")
def test_what_a_killed_writer_left_goes_and_what_a_living_one_has_stays(tmp_path):
    run_and_kill(killed_while_writing, tmp_path / "model")
    (tmp_path / ".mine.part").write_text("not labkit's")
    assert len(names(tmp_path)) == 3
    files.write_text(tmp_path / "a.txt", "soon after: a living writer may not have locked it yet")
    assert len(names(tmp_path)) == 4
    with files.writing(tmp_path / "b.txt") as temporary:
        temporary.write_text("alive")
        age(tmp_path)
        files.write_text(tmp_path / "a.txt", "later")
    assert names(tmp_path) == [".mine.part", "a.txt", "b.txt"]


@pytest.mark.skipif(files.fcntl is None, reason="this system has no such locks")
def test_a_folder_that_a_killed_writer_moved_away_comes_back(tmp_path):
    write_model(tmp_path / "model", "first")
    run_and_kill(killed_between_two_renames, tmp_path / "model")
    assert not (tmp_path / "model").exists()
    files.sweep(tmp_path)
    assert names(tmp_path / "model") == ["config", "first"]
    age(tmp_path)
    write_model(tmp_path / "model", "second")
    assert names(tmp_path / "model") == ["config", "second"] and names(tmp_path) == ["model"]


# Text, bytes, the cache


def test_half_a_character_is_written_as_json_writes_it(tmp_path):
    value = {"half \ud83d": ["whole 😀", "\udce9"]}
    files.write_json(tmp_path / "a.json", value)
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == value


def test_what_never_ends_is_not_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/zero"):
        with pytest.raises(OSError, match="it is a pipe or a device"):
            files.read_bytes(path)
    with open(tmp_path / "giant", "wb") as stream:
        stream.truncate(files.MOST_BYTES + 1)
    with pytest.raises(OSError, match="1 GiB are read at most"):
        files.read_bytes(tmp_path / "giant")


def test_a_user_without_a_home_is_told_of_the_cache(monkeypatch, tmp_path):
    monkeypatch.setattr(Path, "home", homeless)
    assert files.cache_folder() == Path(os.environ["LABKIT_CACHE"])
    monkeypatch.delenv("LABKIT_CACHE")
    with pytest.raises(LabkitError, match="no home folder .*: set LABKIT_CACHE"):
        files.cache_folder()


def homeless():
    raise RuntimeError("Could not determine home directory.")  # pathlib's words


def test_a_path_below_a_file_is_refused_with_the_mend(tmp_path):
    (tmp_path / "file").write_text("")
    for write in (files.writing, files.writing_folder, files.locked):
        with pytest.raises(LabkitError, match="a folder"), write(tmp_path / "file" / "below"):
            pass


def test_a_missing_source_is_not_blamed_on_the_target(tmp_path):
    missing = tmp_path / "elsewhere" / "source.txt"
    with (
        pytest.raises(LabkitError, match=r"source\.txt: no such file"),
        files.writing(tmp_path / "out" / "a") as temporary,
    ):
        temporary.write_text(missing.read_text())


def test_a_lock_is_held_once_and_given_back(tmp_path):
    lock = tmp_path / "cache" / "lock"
    with (
        files.locked(lock),
        pytest.raises(LabkitError, match="another run has held this lock"),
        files.locked(lock, seconds=0),
    ):
        pass
    with files.locked(lock, seconds=0):
        pass


def test_what_happens_under_a_lock_keeps_its_own_error(tmp_path):
    with pytest.raises(FileNotFoundError), files.locked(tmp_path / "lock"):
        raise FileNotFoundError("mine")
    with files.locked(tmp_path / "lock", seconds=0):  # and the lock is free again
        pass


def test_sha256_is_that_of_hashlib(tmp_path):
    content = bytes(range(256)) * 9000  # more than one block
    (tmp_path / "a").write_bytes(content)
    assert files.sha256(tmp_path / "a") == hashlib.sha256(content).hexdigest()


# A full disk, as the system says it


@pytest.mark.parametrize("name", ["tokenizer.json", "config.json"])
def test_a_disk_that_is_really_full_is_named_with_the_mend(tiny_parts, tmp_path, name):
    """/dev/full refuses every byte as a full disk does; libraries in Rust wrap that in errors of their own."""
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full on this system")
    model, tokenizer, *_ = tiny_parts()
    with pytest.raises(LabkitError, match=r"out: the disk is full: free some space, .*nothing was half-written"):
        with files.writing_folder(tmp_path / "out") as temporary:
            (temporary / name).symlink_to("/dev/full")
            model.save_pretrained(temporary)
            tokenizer.save_pretrained(temporary)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", [SafetensorError, Exception])
def test_a_full_disk_in_a_librarys_words_is_one_too(tmp_path, kind):
    with pytest.raises(LabkitError, match="out: the disk is full: free some space"):
        with files.writing_folder(tmp_path / "out"):
            raise kind("Error while serializing: I/O error: No space left on device (os error 28)")
    assert not list(tmp_path.iterdir())


def test_a_limit_on_sizes_is_named_with_the_mend(tiny_parts, tmp_path):
    resource = pytest.importorskip("resource")
    before, (model, *_) = resource.getrlimit(resource.RLIMIT_FSIZE), tiny_parts()
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 12, before[1]))
        with pytest.raises(LabkitError, match="out: larger than a file may be here"):
            with files.writing_folder(tmp_path / "out") as temporary:
                model.save_pretrained(temporary)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(tmp_path.iterdir())


def test_an_error_of_the_caller_stays_what_it_is(tmp_path):
    with pytest.raises(ZeroDivisionError), files.writing(tmp_path / "out"):
        _ = 1 / 0
    with pytest.raises(CheckpointError, match="mine"), files.writing_folder(tmp_path / "out"):
        raise CheckpointError("mine (os error 28)")
    assert not list(tmp_path.iterdir())


# Sealed documents


def test_a_sealed_document_comes_back_and_no_other(tmp_path):
    path, values = tmp_path / "a.json", {"b": [1, 2.5, None, "é"], "a": {"x": float("inf")}}
    files.write_sealed(path, values)
    assert files.read_json(path, "mend it") == values
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("2.5", "2.6"), encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"a.json: altered since it was written; mend it .*delete 'seal'"):
        files.read_json(path, "mend it")
    path.write_text(json.dumps({"b": 1}), encoding="utf-8")
    assert files.read_json(path, "mend it") == {"b": 1}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"3",
        b"{",
        b"\xff",
        pytest.param(b"[" * 100_000, id="deep"),
        pytest.param(b'{"a": ' + b"9" * 9999 + b"}", id="digits"),
    ],
)
def test_a_document_that_is_no_object(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(CheckpointError, match="a.json: .*; mend it"):
        files.read_json(tmp_path / "a.json", "mend it")
    with pytest.raises(CheckpointError, match="none.json: .*; mend it"):
        files.read_json(tmp_path / "none.json", "mend it")
