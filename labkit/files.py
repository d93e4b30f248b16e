"""The one place that writes files: whole or not at all.

A writer fills a temporary neighbour, flushes it to the disk, and renames it over the target. Whoever reads sees the old
file or the new one, never half of either, whatever kills the process in between.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from labkit.errors import LabkitError


def describe_os_error(error: OSError, path: str | os.PathLike[str]) -> LabkitError:
    """One sentence for what the system refused, with the mend."""
    mend = {
        errno.ENOSPC: "the disk is full: free some space, then run the same command again (nothing was half-written)",
        errno.EACCES: "permission denied: choose a folder you may write to",
        errno.EROFS: "the file system is read-only: choose another folder",
        errno.EPERM: "operation not permitted: choose a folder you may write to",
        errno.EISDIR: "it is a folder, a file was expected",
        errno.ENOTDIR: "part of the path is a file, a folder was expected",
        errno.EEXIST: "a file of that name stands where a folder is needed",
        errno.ENOENT: "no such file or folder",
    }
    return LabkitError(f"{path}: {mend.get(error.errno or 0, error.strerror or str(error))}")


def _blamed(error: OSError, target: Path) -> Path:
    """Whose fault it was: a file that the caller read while writing, or else the target."""
    if not isinstance(error.filename, str):
        return target
    path = Path(error.filename).absolute()
    near = path.is_relative_to(target.absolute().parent) or target.absolute().is_relative_to(path)
    return target if near else Path(error.filename)


def sync_directory(folder: Path) -> None:
    """Make a rename inside `folder` survive a power cut (Windows offers no way)."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def writing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path to fill; on success it becomes `path`, on any error nothing changes.

    Raises LabkitError with the mend where the system refuses (disk full, no permission, …).
    """
    target = Path(path)
    temporary: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        with open(temporary, "rb+") as stream:
            os.fsync(stream.fileno())
        temporary.chmod(0o644)
        os.replace(temporary, target)
        sync_directory(target.parent)
    except OSError as error:
        raise describe_os_error(error, _blamed(error, target)) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def writing_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Like `writing`, for a whole folder: fill the temporary one, and it replaces `path` at the end."""
    target = Path(path)
    temporary: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent))
        yield temporary
        for file in [*temporary.rglob("*"), temporary]:
            if file.is_dir():
                sync_directory(file)
            else:
                with open(file, "rb+") as stream:
                    os.fsync(stream.fileno())
        temporary.chmod(0o755)
        if target.exists():
            old = temporary.with_suffix(".old")
            os.replace(target, old)
            os.replace(temporary, target)
            shutil.rmtree(old)
        else:
            os.replace(temporary, target)
        sync_directory(target.parent)
    except OSError as error:
        raise describe_os_error(error, _blamed(error, target)) from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write `text` as UTF-8, whole or not at all."""
    with writing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write `value` as indented JSON, whole or not at all."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=1) + "\n")


def sha256(path: str | os.PathLike[str]) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else _digest(stream)


def _digest(stream: Any) -> str:
    digest = hashlib.sha256()
    for block in iter(lambda: stream.read(1 << 20), b""):
        digest.update(block)
    return digest.hexdigest()


@contextlib.contextmanager
def locked(path: str | os.PathLike[str], seconds: float = 3600.0) -> Iterator[None]:
    """Hold the lock file `path`; others wait for up to `seconds`, then get a LabkitError."""
    target = Path(path)
    lock = FileLock(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=seconds)
    except Timeout as error:
        waited = f" for {seconds:.0f} s" if seconds else ""
        raise LabkitError(f"{path}: another run has held this lock{waited}; wait for it, or end it") from error
    except OSError as error:
        raise describe_os_error(error, target) from error
    try:
        yield
    finally:
        lock.release()
