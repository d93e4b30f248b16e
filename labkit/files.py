"""The one place that writes files: whole or not at all.

A writer fills a temporary neighbour, flushes it to the disk, and renames it over the target. Whoever reads sees the old
file or the new one, never half of either, whatever kills the process in between.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import hashlib
import json
import os
import re
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from labkit.errors import CheckpointError, LabkitError, UsageError, listed

try:
    import fcntl
except ImportError:  # Windows: what killed writers leave stays there
    fcntl = None  # type: ignore[assignment]

MANIFEST = "labkit.json"  # an app's manifest, which lists every file of its folder
# What people leave beside a model and no loader reads; anything else must be in the manifest.
HARMLESS = {".md", ".png", ".svg", ".html", ".log"}
LEFT = re.compile(r"\.(?P<target>.+)\.labkit-[a-z0-9_]+\.(?P<kind>part|old)", re.DOTALL)
YOUNG = 60.0  # seconds in which a new neighbour is not taken for a killed writer's
SEAL = "seal"  # the key of a JSON document that holds the checksum of the others
MOST_JSON = 16_000_000  # bytes: no description of a model has more, and a damaged one must not fill the memory
MOST_BYTES = 1 << 30  # of a file that is read whole


def cache_folder() -> Path:
    """The cache: `LABKIT_CACHE`, or `~/.cache/labkit`. LabkitError for a user who has neither."""
    if named := os.environ.get("LABKIT_CACHE"):
        return Path(named)
    try:
        return Path.home() / ".cache" / "labkit"
    except RuntimeError as error:
        mend = "set LABKIT_CACHE to a folder that you may write to"
        raise LabkitError(f"this user has no home folder to keep a cache in: {mend}") from error


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """A file's content. OSError as `open` raises it, and for what would never end: a pipe, a device, a giant file."""
    check_plain(path, MOST_BYTES)
    return Path(path).read_bytes()


def check_plain(path: str | os.PathLike[str], most: int | None = None) -> None:
    """OSError for what is no file or folder, or has more bytes than `most`."""
    facts = os.stat(path)
    if not stat.S_ISREG(facts.st_mode) and not stat.S_ISDIR(facts.st_mode):
        raise OSError(errno.EINVAL, "it is a pipe or a device: save its content as a file first", os.fspath(path))
    if most is not None and facts.st_size > most:
        raise too_large(facts.st_size, path, most)


def too_large(size: int, path: str | os.PathLike[str], most: int) -> OSError:
    """The error for a file of `size` bytes where `most` are read."""
    return OSError(errno.EFBIG, f"{size / 2**30:.1f} GiB, {most >> 30} GiB are read at most: cut it", os.fspath(path))


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

    Raises LabkitError with the mend where the system refuses (disk full, no permission, …), UsageError for a place
    inside a saved app, which it would break.
    """
    target = Path(path)
    with _neighbour(target, lambda **named: _closed(*tempfile.mkstemp(**named))) as temporary:
        yield temporary
        with open(temporary, "rb+") as stream:
            os.fsync(stream.fileno())
        temporary.chmod(0o644)
        os.replace(temporary, target)
        sync_directory(target.parent)


@contextlib.contextmanager
def writing_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Like `writing`, for a whole folder: fill the temporary one, and it replaces `path` at the end.

    What stands there is replaced only if it is of the same kind (has a name in common) or empty: else LabkitError.
    """
    target = Path(os.path.realpath(path))
    with _neighbour(target, tempfile.mkdtemp) as temporary:
        yield temporary
        for file in [*temporary.rglob("*"), temporary]:
            if file.is_dir():
                sync_directory(file)
            else:
                with open(file, "rb+") as stream:
                    os.fsync(stream.fileno())
        temporary.chmod(0o755)
        _replace_folder(temporary, target)
        sync_directory(target.parent)


@contextlib.contextmanager
def _neighbour(target: Path, make: Callable[..., str]) -> Iterator[Path]:
    """A hidden neighbour of `target`, held while this process lives and gone afterwards."""
    temporary: Path | None = None
    held: int | None = None
    try:
        refuse_apps(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        sweep(target.parent)
        temporary = Path(make(prefix=f".{target.name}.labkit-", suffix=".part", dir=target.parent))
        held = _hold(temporary)
        yield temporary
    except Exception as error:
        if (found := refused(error)) is None:
            raise
        raise describe_os_error(found, _blamed(found, target)) from error
    finally:
        if temporary is not None:
            _remove(temporary)
        if held is not None:
            os.close(held)


def _closed(handle: int, name: str) -> str:
    os.close(handle)
    return name


def refuse_apps(target: Path) -> None:
    """UsageError for a place inside a saved app: the app is refused with a file more."""
    for folder in target.absolute().parents:
        beside = folder == target.absolute().parent and target.suffix.lower() in HARMLESS
        if os.path.isfile(folder / MANIFEST) and not beside:
            raise UsageError(f"{target}: {folder} is a saved app, which one file more would break: write elsewhere")


def _replace_folder(temporary: Path, target: Path) -> None:
    """Put `temporary` at `target`, so that at every moment the old folder or the new one stands there."""
    if not target.exists():
        os.replace(temporary, target)
        return
    there = os.listdir(target)
    if there and not set(there) & set(os.listdir(temporary)):
        what = f"it holds something else ({listed(sorted(there), 3)})"
        raise LabkitError(f"{target}: {what}, which would be lost: choose another folder")
    if _exchange(temporary, target):
        return  # what was replaced is now `temporary`, and goes with it
    old, held = temporary.with_suffix(".old"), _hold(target)
    os.replace(target, old)  # a kill before the next line is mended by `sweep`
    try:
        os.replace(temporary, target)
    except OSError:
        os.replace(old, target)
        raise
    finally:
        if held is not None:
            os.close(held)
    _remove(old)


def _exchange(one: Path, other: Path) -> bool:
    """Swap two names in one step: renameat2(…, RENAME_EXCHANGE). False where the system or the disk cannot."""
    if sys.platform != "linux":
        return False
    rename = getattr(ctypes.CDLL(None), "renameat2", None)
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    return rename is not None and rename(here, os.fsencode(one), here, os.fsencode(other), exchange) == 0


def sweep(folder: str | os.PathLike[str]) -> None:
    """Remove what killed writers left in `folder`, and put back what one of them had moved away."""
    with contextlib.suppress(OSError):
        for entry in [entry for entry in os.scandir(folder) if LEFT.fullmatch(entry.name)]:
            _sweep(Path(folder), entry)


def _sweep(folder: Path, entry: os.DirEntry[str]) -> None:
    found = LEFT.fullmatch(entry.name)
    held = _hold(folder / entry.name)
    if held is None or found is None:  # its writer is at work, or nobody can tell
        return
    try:
        if found["kind"] == "old" and not os.path.lexists(folder / found["target"]):
            os.replace(entry.path, folder / found["target"])
        elif found["kind"] == "old" or time.time() - entry.stat(follow_symlinks=False).st_mtime > YOUNG:
            _remove(folder / entry.name)
    except OSError:
        pass  # another process was faster, or it is somebody else's
    finally:
        os.close(held)


def _hold(path: Path) -> int | None:
    """Lock a file or folder while this process lives; None where another holds it, or there is no such lock."""
    if fcntl is None:
        return None
    handle = None
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        if handle is not None:
            os.close(handle)
        return None
    return handle


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write `text` as UTF-8, whole or not at all; half a character, which UTF-8 has not, as JSON writes it: \\ud83d."""
    with writing(path) as temporary:
        temporary.write_bytes(text.encode("utf-8", "backslashreplace"))


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
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
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
