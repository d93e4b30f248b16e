"""Files of text, read strictly: an error names the file, the line and the byte, and how to mend it.

Only "\\n" and "\\r\\n" end a line. U+2028, U+0085, vertical tabs and form feeds are text, though `str.splitlines` cuts
there.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from typing import Any

from labkit.errors import DataError
from labkit.files import MOST_BYTES
from labkit.tasks.streaming import pieces, text_blocks

LONE_CR = re.compile(r"\r(?!\n)")
HALF = re.compile("[\ud800-\udfff]")  # a lone surrogate: no encoding can write it, no tokenizer reads it
HALF_ESCAPED = re.compile(r"\\u[dD][89a-fA-F]")  # how JSON writes one, and halves of a pair


def read_text(path: str | os.PathLike[str], encoding: str = "utf-8") -> str:
    """A file's text without its byte order mark; line ends as they are.

    Raises as `text_blocks`; a file may have `files.MOST_BYTES`.
    """
    return "".join(text_blocks(path, encoding, MOST_BYTES))


def check_whole(text: str, where: Any) -> None:
    """Raise DataError beginning with `where` for a text with half a character in it."""
    if not text.isascii() and (found := HALF.search(text)) is not None:
        what = f"character {found.start() + 1}, {found.group()!a}, is half of one (a lone surrogate)"
        raise DataError(f"{where}: {what}, which no file can hold and no model reads: delete it, or write it anew")


def read_lines(path: str | os.PathLike[str], encoding: str = "utf-8") -> list[str]:
    """The lines of a file without their ends; a last empty one is none. Raises as `read_text`, and on a lone CR."""
    return split_lines(read_text(path, encoding), path)


def split_lines(text: str, path: Any, line: int = 1) -> list[str]:
    """`text`, which begins on that line, cut at "\\n" and "\\r\\n" alone. Raises DataError at a carriage return that
    ends no line.
    """
    if "\r" in text:
        stray = LONE_CR.search(text)
        if stray:
            raise stray_return(path, line + text.count("\n", 0, stray.start()))
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
    blocks = pieces(text_blocks(path, encoding), path)
    for number, line in (one for first, text in blocks for one in enumerate(text.split("\n"), start=first)):
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
        if HALF_ESCAPED.search(line):
            _check_fields(value, f"{path}: line {number}")
        yield number, value


def _check_fields(value: dict[str, Any], where: str) -> None:
    """Raise DataError naming the field that holds half a character, at whatever depth."""
    for name, entry in value.items():
        check_whole(name, f"{where}, the name of a field")
        check_whole(entry if isinstance(entry, str) else _spelt(entry), f"{where}, field {name!r:.60}")


def _spelt(entry: Any) -> str:
    try:
        return json.dumps(entry, ensure_ascii=False)
    except RecursionError:
        return ""  # no loader takes a field nested so deep
