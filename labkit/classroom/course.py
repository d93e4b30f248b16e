"""Where a course of assignments keeps what, and what stands in its notebooks."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labkit.errors import DataError, LabkitError, UsageError, unknown
from labkit.files import describe_os_error

SOLUTION = re.compile(r"^[ \t]*### BEGIN SOLUTION\n(.*?)^[ \t]*### END SOLUTION$", re.DOTALL | re.MULTILINE)
# What a cell can be to nbgrader -> its flags grade, solution, locked.
KINDS = {
    "answer": (False, True, False),
    "test": (True, False, True),
    "manual": (True, True, False),
    "locked": (False, False, True),
}
HIDDEN = re.compile(r"^[ \t]*### BEGIN HIDDEN TESTS\n(.*?)^[ \t]*### END HIDDEN TESTS$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Course:
    """The folder of a course; UsageError where there is none."""

    root: Path

    @classmethod
    def at(cls, folder: str | os.PathLike[str] = "assignments") -> Course:
        """The course in `folder`, which must have an nbgrader_config.py."""
        root = Path(folder)
        if not (root / "nbgrader_config.py").is_file():
            raise UsageError(
                f"{folder}: no course of assignments (nbgrader_config.py is missing); name its folder with --course DIR"
            )
        return cls(root.resolve())

    def assignments(self, name: str | None = None) -> list[str]:
        """The names of all assignments, or just `name`; UsageError with the nearest for one that is not there."""
        folders = [path for kind in ("text", "source") for path in (self.root / kind).glob("*") if path.is_dir()]
        found = sorted({path.name for path in folders if any(path.glob("*.py")) or any(path.glob("*.ipynb"))})
        if name is not None and name not in found:
            raise unknown("assignment", name, found)
        return found if name is None else [name]

    def texts(self, assignment: str) -> list[Path]:
        """The texts that people edit, one a notebook."""
        return sorted((self.root / "text" / assignment).glob("*.py"))

    def source(self, assignment: str) -> Path:
        """The assignment's notebook with solutions and tests; DataError unless it is exactly one."""
        found = sorted((self.root / "source" / assignment).glob("*.ipynb"))
        if len(found) != 1:
            where = self.root / "source" / assignment
            raise DataError(f"{where}: {len(found)} notebooks, 1 is wanted; run labkit assignments build")
        return found[0]

    def planted(self, assignment: str) -> list[Path]:
        """The planted submissions, see `labkit.classroom.planted`."""
        return sorted((self.root / "planted" / assignment).glob("*.py"))


def read_notebook(path: Path) -> Any:
    """The notebook at `path`, in nbformat 4; DataError where it is none."""
    import nbformat

    try:
        return nbformat.read(path, as_version=4)
    except OSError as error:
        raise describe_os_error(error, path) from error
    except (ValueError, nbformat.reader.NotJSONError, nbformat.ValidationError) as error:
        raise DataError(f"{path}: no notebook: {str(error).splitlines()[0]:.200}") from error


def graded(cell: Mapping[str, Any]) -> dict[str, Any]:
    """The cell's nbgrader metadata; empty for a cell that is nbgrader's in no way."""
    return dict(cell.get("metadata", {}).get("nbgrader", {}))


def kind(cell: Mapping[str, Any]) -> str | None:
    """What a cell is to nbgrader: one of KINDS, or None; "unknown" for any other flags."""
    found = graded(cell)
    flags = tuple(bool(found.get(flag)) for flag in ("grade", "solution", "locked", "task"))
    if not any(flags):
        return None
    return next((name for name, wanted in KINDS.items() if flags == (*wanted, False)), "unknown")


def cells(notebook: Any, *kinds: str) -> Iterator[tuple[str, Any]]:
    """(grade_id, cell) of the cells of these kinds, in order."""
    for cell in notebook.cells:
        if kind(cell) in kinds:
            yield str(graded(cell).get("grade_id", "")), cell


def points(notebook: Any, *kinds: str) -> dict[str, float]:
    """Points of each cell of these kinds, by grade_id."""
    return {name: float(graded(cell).get("points", 0)) for name, cell in cells(notebook, *kinds)}


def need_nbgrader() -> None:
    """UsageError naming the extra, where nbgrader is not installed."""
    import importlib.util

    missing = [name for name in ("nbgrader", "alembic", "nbformat") if importlib.util.find_spec(name) is None]
    if missing:
        how = "pip install 'nbgrader>=0.9.5' 'alembic>=1.13'"
        raise UsageError(f"assignments need {', '.join(missing)}, of the extra labkit[classroom]: {how}")


class GradingError(LabkitError):
    """nbgrader itself failed; the message holds the end of what it said."""
