"""A long result that is written piece by piece, and goes on after whatever ended its writer.

`TARGET.part` grows by whole pieces. After each, a small sealed journal beside it says how far it is true: rows and
bytes, the SHA-256 of the bytes, that of the rows that were read for them, and what they were made by. Who goes on cuts
the part back to that, and reads the same rows again to know that they are the same. At the end the part becomes TARGET.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from labkit import files
from labkit.errors import CheckpointError, LabkitError, UsageError

AGAIN = "remove it to start anew, or say --replace"
Row = TypeVar("Row")


class Part:
    """The part of `target` that is finished, `rows` rows of it, open for more. `opened` makes one."""

    def __init__(self, target: Path, maker: Mapping[str, Any], anew: bool) -> None:
        self.target, self.maker = target, json.loads(json.dumps(maker))
        self.path, self.journal = (target.with_name(f"{target.name}.part{more}") for more in ("", ".json"))
        self.rows, self.size, self.begun = 0, 0, False
        self.read, self.written = hashlib.sha256(), hashlib.sha256()
        self._expected = self._find(anew)

    def _find(self, anew: bool) -> str | None:
        """Take up what is there; the digest that the rows read for it must have, None where nothing is."""
        if not self.path.exists():
            return None  # a journal alone has nothing to tell
        try:
            found = files.read_json(self.journal, AGAIN)
            if found["maker"] != self.maker:
                odd = next(name for name in self.maker if found["maker"].get(name) != self.maker[name])
                raise UsageError(f"{self.path}: was begun with another {odd}: {AGAIN}")
            self._take(found["rows"], found["size"], found["written"])
            return found["read"]
        except (KeyError, AttributeError, TypeError, StopIteration):
            if not anew:
                raise CheckpointError(f"{self.journal}: lacks what it should hold; {AGAIN}") from None
        except LabkitError:
            if not anew:
                raise
        return None

    def _take(self, rows: int, size: int, digest: str) -> None:
        """Go on after `size` bytes, if they are those that were written."""
        written = hashlib.sha256()
        with open(self.path, "rb") as stream:
            left = size
            while block := stream.read(min(left, 1 << 20)):
                written.update(block)
                left -= len(block)
        if left or written.hexdigest() != digest:
            raise CheckpointError(f"{self.path}: altered or cut short since it was written; {AGAIN}")
        self.rows, self.size, self.written, self.begun = rows, size, written, True

    def unread(self, rows: Iterable[Row]) -> Iterator[Row]:
        """The rows that are still to be done. UsageError where those that are done were others."""
        running, skipped = iter(rows), 0
        for _ in range(self.rows):
            if (row := next(running, None)) is None:
                break
            self._count(row)
            skipped += 1
        if self._expected is not None and (skipped < self.rows or self.read.hexdigest() != self._expected):
            raise UsageError(f"{self.path}: was made of other rows than the input has now: remove it to start anew")
        return running

    def _count(self, row: Any) -> None:
        self.read.update(json.dumps(row, default=str).encode())

    def add(self, text: str, rows: Sequence[Any]) -> None:
        """Add the text made of these rows: all of it or, whatever happens, nothing."""
        data = text.encode()
        data = gzip.compress(data, mtime=0) if self.target.suffix.lower() == ".gz" else data
        try:
            if not self.begun:
                self._note()
            with open(self.path, "r+b" if self.begun else "wb") as stream:
                stream.seek(self.size)
                stream.truncate()
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as error:
            raise files.describe_os_error(error, self.path) from error
        self.written.update(data)
        for row in rows:
            self._count(row)
        self.rows, self.size, self.begun = self.rows + len(rows), self.size + len(data), True
        self._note()

    def _note(self) -> None:
        digests = {"read": self.read.hexdigest(), "written": self.written.hexdigest()}
        files.write_sealed(self.journal, {"maker": self.maker, "rows": self.rows, "size": self.size, **digests})

    def finish(self) -> None:
        """Make the part the target."""
        try:
            with open(self.path, "r+b") as stream:
                stream.truncate(self.size)
                os.fsync(stream.fileno())
            os.replace(self.path, self.target)
            files.sync_directory(self.target.parent)
            self.journal.unlink()
        except OSError as error:
            raise files.describe_os_error(error, self.target) from error


class Pipe:
    """As `Part`, for the standard output, which cannot be taken back: nothing is kept."""

    def __init__(self) -> None:
        self.rows = 0

    def unread(self, rows: Iterable[Row]) -> Iterator[Row]:
        """All of the rows."""
        return iter(rows)

    def add(self, text: str, rows: Sequence[Any]) -> None:
        """Write the text made of these rows."""
        self.rows += len(rows)
        sys.stdout.buffer.write(text.encode())
        sys.stdout.buffer.flush()


@contextlib.contextmanager
def opened(target: str | os.PathLike[str], maker: Mapping[str, Any], replace: bool = False) -> Iterator[Part | Pipe]:
    """The part of `target` (or the standard output, "-"), which becomes the target when the block ends without an
    error.

    `maker` says in plain JSON values what the pieces depend on beside the rows. Raises UsageError for a target that is
    there already, unless it is to be replaced, and for a part that other settings made, which `replace` throws away, or
    other rows; CheckpointError for a damaged part, LabkitError where another process writes it, or the system refuses.
    """
    if os.fspath(target) == "-":
        yield Pipe()
        return
    path = Path(target)
    files.refuse_apps(path)
    if path.is_dir():
        raise UsageError(f"{path}: is a folder; name a file in it")
    if path.exists() and not replace:
        raise UsageError(f"{path}: is there already: choose another name, or say --replace")
    lock = path.with_name(f"{path.name}.part.lock")
    with files.locked(lock, 0):
        try:
            part = Part(path, maker, replace)
            yield part
            part.finish()
        finally:
            with contextlib.suppress(OSError):
                lock.unlink()
