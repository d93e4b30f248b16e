"""Files of text, read strictly: an error names the file, the line and the byte, and how to mend it.

Only "\\n" and "\\r\\n" end a line. U+2028, U+0085, vertical tabs and form feeds are text, though `str.splitlines` cuts
there.
"""

from __future__ import annotations

import codecs
import difflib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from labkit.errors import DataError, UsageError

HIGH = re.compile(rb"[\x80-\xff]+")
LONE_CR = re.compile(r"\r(?!\n)")


def read_text(path: str | os.PathLike[str], encoding: str = "utf-8") -> str:
    """A file's text without its byte order mark; line ends as they are.

    Raises DataError for a file that is missing, a folder, not in `encoding` or holding NUL; UsageError for an encoding
    that Python does not know.
    """
    try:
        codecs.lookup(encoding)
        data = Path(path).expanduser().read_bytes()
    except LookupError:
        raise UsageError(f"unknown encoding {encoding!r}: try 'utf-8', 'gb18030', 'latin-1' or 'utf-16'") from None
    except OSError as error:
        raise DataError(_unreadable(Path(path).expanduser(), error)) from None
    try:
        text = data.decode(encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: {_undecodable(data, error, encoding)}") from None
    if "\0" in text:
        raise DataError(
            f"{place(path, text, text.index(chr(0)), encoding, data)}: a NUL byte; this is not a text file, "
            "or it was damaged: export it again"
        )
    return text


def place(path: Any, text: str, at: int, encoding: str = "utf-8", data: bytes = b"") -> str:
    """ "FILE: line 3, byte 27" for the character `at`, counting a byte order mark where `data` has one."""
    line = text.count("\n", 0, at) + 1
    mark = 3 if data.startswith(codecs.BOM_UTF8) else 0
    return f"{path}: line {line}, byte {mark + len(text[:at].encode(encoding))}"


def read_lines(path: str | os.PathLike[str], encoding: str = "utf-8") -> list[str]:
    """The lines of a file without their ends; a last empty one is none. Raises as `read_text`, and on a lone CR."""
    return split_lines(read_text(path, encoding), path)


def split_lines(text: str, path: Any) -> list[str]:
    """`text` cut at "\\n" and "\\r\\n" alone. Raises DataError at a carriage return that ends no line."""
    if "\r" in text:
        stray = LONE_CR.search(text)
        if stray:
            raise stray_return(path, text.count("\n", 0, stray.start()) + 1)
        text = text.replace("\r\n", "\n")
    lines = text.split("\n")
    return lines[:-1] if lines[-1] == "" else lines


def stray_return(path: Any, line: int) -> DataError:
    """The error for a carriage return without a line feed."""
    return DataError(
        f"{path}: line {line}: a carriage return (CR) without a line feed; save the file with LF or CRLF line ends, "
        "or put a cell that holds one between quotes in a .csv"
    )


def read_json_lines(path: str | os.PathLike[str], encoding: str = "utf-8") -> Iterator[tuple[int, dict[str, Any]]]:
    """(line number, object) for every line that is not blank. Raises DataError naming the broken line."""
    for number, line in enumerate(read_text(path, encoding).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(f"{path}: line {number}, column {error.colno}: broken JSON: {error.msg}") from None
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path}: line {number}: broken JSON: {error}") from None
        if not isinstance(value, dict):
            raise DataError(f"{path}: line {number}: one JSON object a line is expected, not {line.strip()[:40]!r}")
        yield number, value


def guess_encoding(data: bytes) -> str:
    """The likeliest encoding of bytes that are not UTF-8, by trial: Chinese bytes come in runs, accents alone."""
    if data[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        return "utf-16"
    runs = HIGH.findall(data)
    asian = sum(map(len, runs)) >= 2 * len(runs)
    candidates = (["gb18030"] if asian else []) + (["cp1252"] if re.search(rb"[\x80-\x9f]", data) else [])
    for name in candidates:
        try:
            data.decode(name)
        except UnicodeDecodeError:
            continue
        return name
    return "latin-1"


def _undecodable(data: bytes, error: UnicodeDecodeError, encoding: str) -> str:
    line = data.count(b"\n", 0, error.start) + 1
    where = f"line {line}, byte {error.start}: not {encoding.upper()} (byte 0x{data[error.start]:02X})"
    if encoding.lower().replace("_", "-") not in ("utf-8", "utf8", "utf-8-sig"):
        return f"{where}; try encoding='utf-8' or encoding={guess_encoding(data)!r}"
    if sum(map(len, HIGH.findall(data[: error.start]))) >= 30:
        return f"{where}; what stands before is UTF-8, so the file is damaged or cut here: mend that line"
    return f"{where}; it looks like {guess_encoding(data)}: pass encoding={guess_encoding(data)!r}, or save it as UTF-8"


def _unreadable(path: Path, error: OSError) -> str:
    if path.is_dir():
        return f"{path}: is a folder; name a file in it"
    if isinstance(error, FileNotFoundError):
        beside = [item.name for item in path.parent.iterdir()] if path.parent.is_dir() else []
        near = difflib.get_close_matches(path.name, beside, n=1, cutoff=0.6)
        hint = f"did you mean {near[0]!r}?" if near else f"the folder is {path.parent.resolve()}"
        return f"{path}: no such file; {hint if path.parent.is_dir() else 'nor is there a folder of that name'}"
    return f"{path}: cannot be read: {error.strerror or error}"
