"""What bytes are that are not the text they should be, and what to do about it: the errors of `labkit.tasks.text`."""

from __future__ import annotations

import codecs
import re
from typing import Any

from labkit.errors import DataError

HIGH = re.compile(rb"[\x80-\xff]+")
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


def known(encoding: str) -> bool:
    """Whether Python has this encoding of texts ("hex" and the like are of bytes)."""
    try:
        return codecs.lookup(encoding)._is_text_encoding
    except (LookupError, ValueError):
        return False


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


def check_bom(path: Any, data: bytes, encoding: str) -> None:
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


def mend(data: bytes, otherwise: str = "") -> str:
    """What to do about bytes that are not the text that was expected: for what they look like, else `otherwise`."""
    for sign, what in SIGNS.items():
        if data.startswith(sign):
            return what
    guess = guess_encoding(data)
    if otherwise and not guess.startswith(("utf-16", "utf-32")):
        return otherwise
    return f"it looks like {guess}: {_save(guess)}"


def undecodable(error: UnicodeDecodeError, encoding: str, lines: int = 0, start: int = 0) -> str:
    """Where and why bytes cannot be decoded; `lines` and `start` bytes of the file stand before those of the error."""
    data, at = error.object, error.start
    line = lines + data.count(b"\n", 0, at) + 1
    where = f"line {line}, byte {start + at}: not {encoding.upper()} (byte 0x{data[at]:02X})"
    if codecs.lookup(encoding).name not in ("utf-8", "utf-8-sig"):
        try:
            data.decode("utf-8")
        except UnicodeDecodeError:
            return f"{where}; {mend(data)}"
        return f"{where}; it is UTF-8: leave encoding= out"
    if sum(map(len, HIGH.findall(data[:at]))) >= 30:
        return f"{where}; what stands before is UTF-8, so the file is damaged or cut here: mend that line"
    return f"{where}; {mend(data)}"
