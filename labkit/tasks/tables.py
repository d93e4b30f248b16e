"""Tables of text: tab-separated without any quoting, comma-separated after RFC 4180, JSON lines, all read strictly.

`.tsv`: a tab parts two cells and nothing else has a meaning, so a leading `"` is text. `.csv`: a cell is either bare or
wholly between quotes, a quote inside being doubled; anything else is an error, since a stray quote swallows rows.
`.jsonl`: one object a line, all with the same names. Each may be packed by gzip (`.tsv.gz`), or come from the standard
input ("-", a .tsv). `open_table` reads row by row, in the memory of a few.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from labkit.errors import DataError, UsageError, listed, unknown
from labkit.files import MOST_BYTES
from labkit.tasks.delimited import comma_records, tab_records
from labkit.tasks.streaming import bare_name, pieces, text_blocks
from labkit.tasks.text import read_json_lines, split_lines
from labkit.tasks.writing import FORMULA

Record = tuple[int, list[str]]  # line number, cells
INTEGER = re.compile(r"[+-]?[0-9]{1,400}")
FLAGS = {"true": True, "1": True, "false": False, "0": False}
MARKED = re.compile(f"'{FORMULA.pattern}")


def _integer(cell: str) -> int:
    # Python's int() also takes 1_000 and digits of other scripts
    if not INTEGER.fullmatch(cell):
        raise ValueError("a whole number is expected")
    return int(cell)


def _number(cell: str) -> float:
    try:
        return float("no" if "_" in cell else cell)
    except ValueError:  # whose words repeat the cell, however long
        raise ValueError("a number is expected") from None


def _flag(cell: str) -> bool:
    if cell.lower() not in FLAGS:
        raise ValueError("true, false, 1 or 0 is expected")
    return FLAGS[cell.lower()]


TYPES: dict[str, Callable[[str], Any]] = {"str": str, "int": _integer, "float": _number, "bool": _flag}


@dataclass(frozen=True)
class Column:
    """One column: its name, the type of its values, and how many stand in a cell (several are parted by commas)."""

    name: str
    type: str = "str"
    count: int = 1

    def read(self, cell: str) -> Any:
        """The value of a cell: one, or a list of `count`. Raises ValueError saying what is expected."""
        if self.count == 1:
            return TYPES[self.type](cell)
        values = [TYPES[self.type](part) for part in cell.split(",")]
        if len(values) != self.count:
            raise ValueError(f"{self.count} values parted by commas are expected, here are {len(values)}")
        return values


def parse_schema(schema: str) -> tuple[Column, ...]:
    """EasyNLP's table schema: `name:type:count` for each column, parted by commas; types str, int, float and bool.

    >>> parse_schema("sent:str:1,label:str:1")[1]
    Column(name='label', type='str', count=1)
    """
    columns = []
    for part in schema.split(","):
        pieces = [piece.strip() for piece in part.rsplit(":", 2)]
        if len(pieces) != 3 or not pieces[0]:
            raise UsageError(
                f"schema {schema!r:.200}: {part!r:.200} is not name:type:count, as in 'sent:str:1,label:str:1'"
            )
        name, kind, count = pieces
        if kind not in TYPES:
            raise UsageError(f"schema {schema!r:.200}: column {name!r:.200}: {unknown('type', kind, TYPES)}")
        if not re.fullmatch("[1-9][0-9]*", count):
            raise UsageError(f"schema {schema!r:.200}: column {name!r:.200}: count must be 1 or more, not {count!r}")
        columns.append(Column(name, kind, int(count)))
    names = [column.name for column in columns]
    if len(set(names)) < len(names):
        raise UsageError(f"schema {schema!r:.200}: two columns have one name")
    return tuple(columns)


def read_records(
    path: str | os.PathLike[str], encoding: str = "utf-8", most: int | None = MOST_BYTES
) -> Iterator[Record]:
    """(line number, cells) of each record of a .csv, .tsv or tab-separated .txt of at most `most` bytes.

    Raises DataError as `read_table`.
    """
    ending = bare_name(path).suffix.lower()
    if ending not in (".csv", ".tsv", ".txt"):
        raise UsageError(f"{path}: name it .tsv (tabs, no quoting) or .csv (commas, quotes), so that its form is plain")
    parse = comma_records if ending == ".csv" else tab_records
    for first, text in pieces(text_blocks(path, encoding, most), path, quoted=ending == ".csv"):
        for line, cells in parse(text, path, first):
            yield line, cells if ending == ".txt" else [_restored(cell) for cell in cells]


class Table(NamedTuple):
    """What `read_table` read: `rows[i]` maps column names to values and stood on line `lines[i]` of `path`."""

    path: Path
    columns: tuple[Column, ...]
    rows: list[dict[str, Any]]
    lines: list[int]


class OpenTable(NamedTuple):
    """What `open_table` opened: `rows` gives (line number, column names to values) one by one, once."""

    path: Path
    columns: tuple[Column, ...]
    rows: Iterator[tuple[int, dict[str, Any]]]


def read_table(
    path: str | os.PathLike[str],
    schema: str | Sequence[Column] | None = None,
    header: bool | None = None,
    encoding: str = "utf-8",
) -> Table:
    """All of the table that `open_table` opens, of at most `files.MOST_BYTES`."""
    table = open_table(path, schema, header, encoding, most=MOST_BYTES)
    found = list(table.rows)
    return Table(table.path, table.columns, [row for _, row in found], [line for line, _ in found])


def open_table(
    path: str | os.PathLike[str],
    schema: str | Sequence[Column] | None = None,
    header: bool | None = None,
    encoding: str = "utf-8",
    *,
    line_field: str | None = None,
    most: int | None = None,
) -> OpenTable:
    """Open a table with a schema, or with a first line that names the columns (all of type str then).

    With a schema a first line equal to the column names is a header and skipped; `header=True` skips the first line
    whatever it says, `header=False` never. The mark that `write_table` puts before a formula is taken off. With a
    `line_field` and no schema, a .txt is no table: each line is a text of that name.
    Raises DataError naming file, line and field, of a row when it comes to it.
    """
    columns = parse_schema(schema) if isinstance(schema, str) else tuple(schema) if schema else None
    ending = bare_name(path).suffix.lower()
    if ending == ".jsonl":
        return _open_json(path, columns, read_json_lines(path, encoding))
    if ending == ".txt" and columns is None and line_field:
        lines = ((line, [text]) for at, piece in pieces(text_blocks(path, encoding, most), path)
                 for line, text in enumerate(split_lines(piece, path, at), start=at))  # fmt: skip
        first = next(lines, None)
        if first is None:
            raise DataError(f"{path}: the file is empty")
        columns, records = (Column(line_field),), itertools.chain([first], lines)
    else:
        columns, records = _headed(path, columns, header, read_records(path, encoding, most))
    return OpenTable(Path(path), columns, ((record[0], _row(path, columns, *record)) for record in records))


def _headed(
    path: Any, columns: tuple[Column, ...] | None, header: bool | None, records: Iterator[Record]
) -> tuple[tuple[Column, ...], Iterator[Record]]:
    """The columns, and the records under the header, if there is one, that are no blank lines at the end."""
    first = next(records, None)
    if first is None:
        raise DataError(f"{path}: the table is empty")
    names = [cell.strip() for cell in first[1]]
    if columns is None:
        columns = _named(path, first[0], names, header)
    elif not header and (header is False or names != [column.name for column in columns]):
        records = itertools.chain([first], records)
    if len(columns) > 1:
        records = _without_end(records)
    under = next(records, None)
    if under is None:
        raise DataError(f"{path}: the table is empty: there is no row under its header")
    return columns, itertools.chain([under], records)


def _without_end(records: Iterator[Record]) -> Iterator[Record]:
    """The records less blank lines at the end."""
    blank: Record | None = None  # the first of some that stand one after the other: an error, if anything follows
    for record in records:
        if record[1] == [""]:
            blank = blank or record
            continue
        if blank:
            yield blank
        yield record


def _open_json(
    path: Any, columns: tuple[Column, ...] | None, objects: Iterator[tuple[int, dict[str, Any]]]
) -> OpenTable:
    first = next(objects, None)
    if first is None:
        raise DataError(f"{path}: the file is empty")
    columns = columns or tuple(Column(name) for name in first[1])
    names = {column.name: None for column in columns}

    def rows() -> Iterator[tuple[int, dict[str, Any]]]:
        for line, row in itertools.chain([first], objects):
            if row.keys() != names.keys():
                odd = next(name for name in (*names, *row) if name not in row or name not in names)
                what = "has no" if odd not in row else "has a"
                raise DataError(f"{path}: line {line}: the object {what} field {odd[:60]!r}; {listed(names)} expected")
            yield line, row

    return OpenTable(Path(path), columns, rows())


def _named(path: Any, line: int, cells: list[str], header: bool | None) -> tuple[Column, ...]:
    """The columns that a header line names."""
    if header is False:
        raise UsageError(f"{path}: without a header the columns need a schema, such as schema='text:str:1,label:str:1'")
    seen: set[str] = set()
    for number, name in enumerate(cells, start=1):
        if not name or name in seen:
            problem = f"names {name[:60]!r} twice" if name else f"leaves column {number} without a name"
            raise DataError(
                f"{path}: line {line}: the header {problem}; where the first line is data, put a line of names above "
                "it, or pass a schema, such as schema='text:str:1,label:str:1'"
            )
        seen.add(name)
    return tuple(Column(name) for name in cells)


def _row(path: Any, columns: tuple[Column, ...], line: int, cells: list[str]) -> dict[str, Any]:
    if len(cells) != len(columns):
        names = listed(column.name for column in columns)
        raise DataError(f"{path}: line {line}: {len(cells)} fields, {len(columns)} expected ({names})")
    row = {}
    for column, cell in zip(columns, cells, strict=True):
        try:
            row[column.name] = column.read(cell)
        except ValueError as error:
            kind = f"{column.type}:{column.count}"
            raise DataError(
                f"{path}: line {line}, field {column.name!r:.200} ({kind}): {cell[:60]!r}: {error}"
            ) from None
    return row


def _restored(cell: str) -> str:
    return cell[1:] if cell.startswith("'") and MARKED.match(cell) else cell
