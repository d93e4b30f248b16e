"""Tables of text: tab-separated without any quoting, comma-separated after RFC 4180, both read strictly.

`.tsv`: a tab parts two cells and nothing else has a meaning, so a leading `"` is text. `.csv`: a cell is either bare or
wholly between quotes, a quote inside being doubled; anything else is an error, since a stray quote swallows rows.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from labkit.errors import DataError, UsageError, listed, unknown
from labkit.tasks.delimited import comma_records, tab_records
from labkit.tasks.text import read_text
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


class Table(NamedTuple):
    """What `read_table` read: `rows[i]` maps column names to values and stood on line `lines[i]` of `path`."""

    path: Path
    columns: tuple[Column, ...]
    rows: list[dict[str, Any]]
    lines: list[int]


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


def read_records(path: str | os.PathLike[str], encoding: str = "utf-8") -> Iterator[Record]:
    """(line number, cells) of each record of a .csv, .tsv or tab-separated .txt. Raises DataError as `read_table`."""
    ending = Path(path).suffix.lower()
    text = read_text(path, encoding)
    if ending in (".csv", ".tsv"):
        records = comma_records(text, path) if ending == ".csv" else tab_records(text, path)
        return ((line, [_restored(cell) for cell in cells]) for line, cells in records)
    if ending == ".txt":
        return tab_records(text, path)
    raise UsageError(f"{path}: name it .tsv (tabs, no quoting) or .csv (commas, quotes), so that its form is plain")


def read_table(
    path: str | os.PathLike[str],
    schema: str | Sequence[Column] | None = None,
    header: bool | None = None,
    encoding: str = "utf-8",
) -> Table:
    """Read a table with a schema, or with a first line that names the columns (all of type str then).

    With a schema a first line equal to the column names is a header and skipped; `header=True` skips the first line
    whatever it says, `header=False` never. The mark that `write_table` puts before a formula is taken off.
    Raises DataError naming file, line and field.
    """
    records = list(read_records(path, encoding))
    if not records:
        raise DataError(f"{path}: the table is empty")
    columns = parse_schema(schema) if isinstance(schema, str) else tuple(schema) if schema else None
    first = [cell.strip() for cell in records[0][1]]
    if columns is None:
        columns = _named(path, records[0][0], first, header)
        records = records[1:]
    elif header or (header is None and first == [column.name for column in columns]):
        records = records[1:]
    if len(columns) > 1:
        while records and records[-1][1] == [""]:
            records.pop()  # blank lines at the end
    if not records:
        raise DataError(f"{path}: the table is empty: there is no row under its header")
    return Table(Path(path), columns, [_row(path, columns, *record) for record in records], [r[0] for r in records])


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
