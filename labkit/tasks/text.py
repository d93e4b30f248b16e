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
from labkit.files import read_bytes

HIGH = re.compile(rb"[\x80-\xff]+")
LONE_CR = re.compile(r"\r(?!\n)")
HALF = re.compile("[\ud800-\udfff]")  # a lone surrogate: no encoding can write it, no tokenizer reads it
HALF_ESCAPED = re.compile(r"\\u[dD][89a-fA-F]")  # how JSON writes one, and halves of a pair
BOMS = (
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16's, which is its beginning
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
UNPACK, EXPORT = "unpack it first", "export its content as .tsv or .csv in UTF-8"
SIGNS = {  # how files begin that hold no text
    b"\x1f\x8b": f"it is packed with gzip: {UNPACK}",
    b"BZh": f"it is packed with bzip2: {UNPACK}",
    b"\xfd7zXZ": f"it is packed with xz: {UNPACK}",
    b"\x28\xb5\x2f\xfd": f"it is packed with zstd: {UNPACK}",
    b"PK\x03\x04": f"it is a zip archive, or an .xlsx or .docx: {UNPACK}, or {EXPORT}",
    b"\xd0\xcf\x11\xe0": f"it is an .xls or .doc: {EXPORT}",
    b"PAR1": f"it is a Parquet file: {EXPORT}",
    b"%PDF": f"it is a PDF: {EXPORT}",
}


def read_text(path: str | os.PathLike[str], encoding: str = "utf-8") -> str:
    """A file's text without its byte order mark; line ends as they are.

    Raises DataError for a file that is missing, no file, larger than `files.MOST_BYTES`, not in `encoding` or holding
    what no text holds; UsageError for an encoding that Python does not know.
    """
    where = os.path.expanduser(path)  # as it is, where there is no such user
    if not _known(encoding):
        known = "try 'utf-8', 'gb18030', 'latin-1' or 'utf-16'"
        raise UsageError(f"unknown encoding {encoding[:40]!a}: {known}")
    try:
        data = read_bytes(where)
    except (OSError, ValueError) as error:  # ValueError: no path can hold a NUL
        raise DataError(_unreadable(Path(where), error)) from None
    _check_bom(path, data, encoding)
    try:
        text = data.decode(encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: {_undecodable(data, error, encoding)}") from None
    except UnicodeError as error:  # from the few that say no more
        raise DataError(f"{path}: not {encoding.upper()} ({error}); {_mend(data)}") from None
    if "\0" in text:
        found = place(path, text, text.index("\0"), encoding, data)
        raise DataError(f"{found}: a NUL byte, which no text has; {_mend(data, 'it was damaged: export it again')}")
    return text


def _known(encoding: str) -> bool:
    """Whether Python has this encoding of texts ("hex" and the like are of bytes)."""
    try:
        return codecs.lookup(encoding)._is_text_encoding
    except (LookupError, ValueError):
        return False


def check_whole(text: str, where: Any) -> None:
    """Raise DataError beginning with `where` for a text with half a character in it."""
    if not text.isascii() and (found := HALF.search(text)) is not None:
        what = f"character {found.start() + 1}, {found.group()!a}, is half of one (a lone surrogate)"
        raise DataError(f"{where}: {what}, which no file can hold and no model reads: delete it, or write it anew")


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


def guess_encoding(data: bytes) -> str:
    """The likeliest encoding of bytes that are not UTF-8, by trial: Chinese bytes come in runs, accents alone."""
    runs = HIGH.findall(data)
    asian = sum(map(len, runs)) >= 2 * len(runs)
    candidates = [marked] if (marked := _bom(data)) else _wide(data)
    candidates += ["gb18030"] * asian + ["cp1252"] * (re.search(rb"[\x80-\x9f]", data) is not None)
    for name in candidates:
        try:
            data.decode(name)
        except UnicodeDecodeError:
            continue
        return name
    return "latin-1"


def _bom(data: bytes) -> str | None:
    return next((name for mark, name in BOMS if data.startswith(mark)), None)


def _wide(data: bytes) -> list[str]:
    """Encodings of 4 and 2 bytes a character that the places of the zeros speak for."""
    zeros = [data[at:4000:4].count(0) for at in range(4)]  # of every fourth byte
    most = 0.9 * len(data[:4000:4])
    if min(zeros[2:]) > most or min(zeros[:2]) > most:  # no character needs more than two of the four
        return ["utf-32-le" if zeros[3] > zeros[0] else "utf-32-be"]
    if sum(zeros) * 8 < len(data[:4000]):
        return []  # damage, not an alphabet
    return ["utf-16-le" if zeros[1] + zeros[3] > zeros[0] + zeros[2] else "utf-16-be"]


def _check_bom(path: Any, data: bytes, encoding: str) -> None:
    """DataError for a byte order mark of another encoding than the one asked for."""
    marked, asked = _bom(data), codecs.lookup(encoding).name
    if marked is not None and not asked.startswith(marked):
        raise DataError(f"{path}: line 1, byte 0: not {encoding.upper()}; it begins with the byte order mark of "
                        f"{marked.upper()}: {_save(marked)}")  # fmt: skip


def _save(encoding: str) -> str:
    """The mend for text in another encoding; no command has an option for it."""
    if encoding == "utf-8":
        return "leave encoding= out"
    return f"save it as UTF-8 (for a table, load_task also takes encoding={encoding!r})"


def _mend(data: bytes, otherwise: str = "") -> str:
    """What to do about bytes that are not the text that was expected: for what they look like, else `otherwise`."""
    for sign, what in SIGNS.items():
        if data.startswith(sign):
            return what
    guess = guess_encoding(data)
    if otherwise and not guess.startswith(("utf-16", "utf-32")):
        return otherwise
    return f"it looks like {guess}: {_save(guess)}"


def _undecodable(data: bytes, error: UnicodeDecodeError, encoding: str) -> str:
    line = data.count(b"\n", 0, error.start) + 1
    where = f"line {line}, byte {error.start}: not {encoding.upper()} (byte 0x{data[error.start]:02X})"
    if codecs.lookup(encoding).name not in ("utf-8", "utf-8-sig"):
        try:
            data.decode("utf-8")
        except UnicodeDecodeError:
            return f"{where}; {_mend(data)}"
        return f"{where}; it is UTF-8: leave encoding= out"
    if sum(map(len, HIGH.findall(data[: error.start]))) >= 30:
        return f"{where}; what stands before is UTF-8, so the file is damaged or cut here: mend that line"
    return f"{where}; {_mend(data)}"


def _unreadable(path: Path, error: OSError | ValueError) -> str:
    if path.is_dir():
        return f"{path}: is a folder; name a file in it"
    if isinstance(error, FileNotFoundError):
        beside = [item.name for item in path.parent.iterdir()] if path.parent.is_dir() else []
        near = difflib.get_close_matches(path.name, beside, n=1, cutoff=0.6)
        hint = f"did you mean {near[0]!r}?" if near else f"the folder is {path.parent.resolve()}"
        return f"{path}: no such file; {hint if path.parent.is_dir() else 'nor is there a folder of that name'}"
    return f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}"
