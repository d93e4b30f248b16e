"""Files of text read a block at a time, so that one larger than memory is read as strictly as one that fits.

A path is a file, a file packed by gzip (`.gz`), or "-", the standard input. What is wrong is named by line and byte,
counted from the file's beginning.
"""

from __future__ import annotations

import codecs
import contextlib
import difflib
import gzip
import os
import sys
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from labkit import files
from labkit.errors import DataError, UsageError
from labkit.tasks.encodings import check_bom, known, mend, undecodable

BLOCK = 1 << 20  # bytes read at once
MOST_RECORD = 1 << 26  # characters of one record: what is longer has lost its line ends, or a quote


def bare_name(path: str | os.PathLike[str]) -> Path:
    """The path less the `.gz` of a packed file, so that its ending says what it holds; standard input is a .tsv."""
    if os.fspath(path) == "-":
        return Path("-.tsv")
    return Path(path).with_suffix("") if Path(path).suffix.lower() == ".gz" else Path(path)


def text_blocks(path: str | os.PathLike[str], encoding: str = "utf-8", most: int | None = None) -> Iterator[str]:
    """A file's text in pieces, without its byte order mark; line ends as they are. `most` bounds its bytes.

    Raises DataError for a file that is missing, no file, too large, not in `encoding` or holding what no text holds;
    UsageError for an encoding that Python does not know.
    """
    if not known(encoding):
        raise UsageError(f"unknown encoding {encoding[:40]!a}: try 'utf-8', 'gb18030', 'latin-1' or 'utf-16'")
    decoder = codecs.getincrementaldecoder(encoding)()
    lines, start, mark = 0, 0, "\ufeff"  # line ends and bytes before the block; what its text may begin with
    for data, last in _byte_blocks(path, most):
        if not start:
            check_bom(path, data, encoding)
        kept, _ = decoder.getstate()  # the beginning of a character that the block before ended in
        try:
            text = decoder.decode(data, last)
        except UnicodeDecodeError as error:
            raise DataError(f"{path}: {undecodable(error, encoding, lines, start - len(kept))}") from None
        except UnicodeError as error:  # from the few that say no more
            raise DataError(f"{path}: not {encoding.upper()} ({error}); {mend(data)}") from None
        if "\0" in text:
            at = text.index("\0")
            byte = start - len(kept) + len(text[:at].encode(encoding))
            found = f"{path}: line {lines + text.count(chr(10), 0, at) + 1}, byte {byte}"
            raise DataError(f"{found}: a NUL byte, which no text has; {mend(data, 'it was damaged: export it again')}")
        lines, start = lines + text.count("\n"), start + len(data)
        yield text.removeprefix(mark)
        mark = ""


def _byte_blocks(path: str | os.PathLike[str], most: int | None) -> Iterator[tuple[bytes, bool]]:
    """(bytes, whether they are the last) of a file; at least one."""
    try:
        with _opened(path, most) as stream:
            data, read = stream.read(BLOCK), 0
            while True:
                read += len(data)
                if most is not None and read > most:
                    raise files.too_large(read, path, most)
                following = stream.read(BLOCK) if data else b""
                yield data, not following
                if not following:
                    return
                data = following
    except (OSError, EOFError, zlib.error, ValueError) as error:  # ValueError: no path can hold a NUL
        raise DataError(_unreadable(Path(path), error)) from None


def _opened(path: str | os.PathLike[str], most: int | None) -> contextlib.AbstractContextManager[IO[bytes]]:
    if os.fspath(path) == "-":
        if sys.stdin is None:
            raise OSError("there is no standard input")
        return contextlib.nullcontext(sys.stdin.buffer)
    where = os.path.expanduser(path)  # as it is, where there is no such user
    files.check_plain(where, most)
    return gzip.open(where) if Path(where).suffix.lower() == ".gz" else open(where, "rb")


def _unreadable(path: Path, error: Exception) -> str:
    where = Path(os.path.expanduser(path))
    if where.is_dir():
        return f"{path}: is a folder; name a file in it"
    if isinstance(error, FileNotFoundError):
        beside = [item.name for item in where.parent.iterdir()] if where.parent.is_dir() else []
        near = difflib.get_close_matches(where.name, beside, n=1, cutoff=0.6)
        hint = f"did you mean {near[0]!r}?" if near else f"the folder is {where.parent.resolve()}"
        return f"{path}: no such file; {hint if where.parent.is_dir() else 'nor is there a folder of that name'}"
    if isinstance(error, gzip.BadGzipFile | EOFError | zlib.error):
        return f"{path}: not what gzip packs, damaged, or cut short ({error}): copy it again, or unpack it"
    return f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}"


def pieces(blocks: Iterable[str], path: Any, quoted: bool = False) -> Iterator[tuple[int, str]]:
    """(line, text): the text of whole records, the first of which begins on that line; joined they are the file.

    A record ends with a line, and where it may be `quoted` only with a line outside quotes: after an even number of
    them. Raises DataError naming the line of a record longer than MOST_RECORD.
    """
    line, kept, length, odd = 1, [], 0, False
    for block in blocks:
        end = _last_end(block, odd) if quoted else block.rfind("\n") + 1
        if end:
            text = "".join([*kept, block[:end]])
            yield line, text
            line, kept, length, odd = line + text.count("\n"), [], 0, False
        rest = block[end:]
        kept, length = [*kept, rest] if rest else kept, length + len(rest)
        odd ^= quoted and rest.count('"') % 2 == 1
        if length > MOST_RECORD:
            if odd:
                yield line, "".join(kept)  # the parser says which quote it is
            what = "is a line end missing, or a quote never closed?"
            raise DataError(f"{path}: line {line}: a record of more than {MOST_RECORD >> 20} Mi characters: {what}")
    if kept:
        yield line, "".join(kept)


def _last_end(text: str, odd: bool) -> int:
    """The place behind the last line end outside quotes, 0 for none; `odd`: the text begins inside."""
    end, inside = len(text), (odd + text.count('"')) % 2 == 1
    while True:
        quote = text.rfind('"', 0, end)
        if not inside and (found := text.rfind("\n", quote + 1, end)) >= 0:
            return found + 1
        if quote < 0:
            return 0
        end, inside = quote, not inside
