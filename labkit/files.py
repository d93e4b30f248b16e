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
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from labkit.errors import CheckpointError, LabkitError

# What people leave beside a model and no loader reads.
HARMLESS = {".md", ".png", ".svg", ".html", ".log"}
SEAL = "seal"  # the key of a JSON document that holds the checksum of the others
MOST_JSON = 16_000_000  # bytes: no description of a model has more, and a damaged one must not fill the memory


def describe_os_error(error: OSError, path: str | os.PathLike[str]) -> LabkitError:
    """One sentence for what the system refused, with the mend."""
    full = "free some space, then run the same command again (nothing was half-written)"
    mend = {
        errno.ENOSPC: f"the disk is full: {full}",
        errno.EDQUOT: f"your share of the disk is full: {full}",
        errno.EFBIG: "larger than a file may be here: choose another folder, or raise the limit (`ulimit -f`)",
        errno.EACCES: "permission denied: choose a folder you may write to",
        errno.EROFS: "the file system is read-only: choose another folder",
        errno.EPERM: "operation not permitted: choose a folder you may write to",
        errno.EISDIR: "it is a folder, a file was expected",
        errno.ENOTDIR: "part of the path is a file, a folder was expected",
        errno.EEXIST: "a file of that name stands where a folder is needed",
        errno.ENOENT: "no such file or folder",
    }
    return LabkitError(f"{path}: {mend.get(error.errno or 0, error.strerror or str(error))}")


def refused(error: Exception) -> OSError | None:
    """What the system refused, where `error` is that, or a library's wrapping of it: safetensors and tokenizers, which
    write in Rust, raise errors of their own that end in "(os error 28)".
    """
    if isinstance(error, OSError):
        return error
    number = None if isinstance(error, LabkitError) else re.search(r"\(os error (\d+)\)", str(error))
    return OSError(int(number[1]), os.strerror(int(number[1]))) if number else None


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
    except Exception as error:
        if (found := refused(error)) is None:
            raise
        raise describe_os_error(found, _blamed(found, target)) from error
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
    except Exception as error:
        if (found := refused(error)) is None:
            raise
        raise describe_os_error(found, _blamed(found, target)) from error
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


def write_sealed(path: str | os.PathLike[str], values: Mapping[str, Any]) -> None:
    """Write a JSON object together with a checksum of itself, which `read_json` compares."""
    write_json(path, {**values, SEAL: _seal(values)})


def read_json(path: str | os.PathLike[str], mend: str) -> dict[str, Any]:
    """The JSON object in `path`, which is no list or number, and the one that was written where it is sealed.

    Raises CheckpointError, which ends in `mend`, for a file that is missing, too large, or something else.
    """
    try:
        if (size := Path(path).stat().st_size) > MOST_JSON:
            raise CheckpointError(f"{path}: {size:,} bytes, where {MOST_JSON:,} are the most; {mend}")
        values = json.loads(Path(path).read_text(encoding="utf-8"))
        if not isinstance(values, dict):
            raise CheckpointError(f"{path}: not a JSON object; {mend}")
        if SEAL in values and values.pop(SEAL) != _seal(values):
            yours = f"(if you changed it yourself, delete {SEAL!r} in it)"
            raise CheckpointError(f"{path}: altered since it was written; {mend} {yours}")
        return values
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: cannot be read as JSON ({error}); {mend}") from error


def _seal(values: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def verify(folder: Path, sums: Mapping[str, Any], mend: str, *, own: str, whole: bool = True) -> None:
    """Compare the files of `folder` with their SHA-256 in `sums`, which the file `own` in it lists.

    Raises CheckpointError, which ends in `mend`, for one that is missing, altered or, with `whole`, not listed.
    """
    for name, digest in sums.items():
        path = folder / name
        if Path(name).name != name or name == own:
            raise CheckpointError(f"{folder / own}: {name!r} is not the name of a file in this folder; {mend}")
        if not path.is_file():
            raise CheckpointError(f"{path}: missing; {mend}")
        try:
            altered = sha256(path) != digest
        except OSError as error:
            raise CheckpointError(f"{path}: cannot be read ({error.strerror}); {mend}") from error
        if altered:
            raise CheckpointError(f"{path}: altered or cut short (its SHA-256 differs); {mend}")
    for path in sorted(folder.iterdir()) if whole else ():
        if path.name not in {*sums, own} and path.suffix.lower() not in HARMLESS and not path.name.startswith("."):
            raise CheckpointError(f"{path}: not part of the folder as it was saved; remove it, or {mend}")


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
