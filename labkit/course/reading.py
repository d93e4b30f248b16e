"""A lesson's text (jupytext's percent format) as the notebook that it stands for, before it is run."""

from __future__ import annotations

import hashlib
import importlib
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from labkit.course import bootstrap
from labkit.course.lessons import LESSONS, lesson
from labkit.errors import DataError, UsageError, unknown

INDEX = "index"
PAGES = ("glossary", "help", INDEX)  # notebooks beside the lessons, at the top of the course folder
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
LANGUAGE = {"file_extension": ".py", "mimetype": "text/x-python", "name": "python", "pygments_lexer": "ipython3"}
KEPT = ("tags", "jupyter", "cellView")  # of a cell's metadata; the rest is jupytext's own


@dataclass(frozen=True)
class Source:
    """One notebook to build or check: its key ("03/02", or one of PAGES) and the course folder it lies in."""

    key: str
    root: Path

    @property
    def notebook(self) -> Path:
        """The notebook's file."""
        return self.root / (f"{self.key}.ipynb" if self.key in PAGES else lesson(self.key).notebook)

    @property
    def text(self) -> Path:
        """The file of its text."""
        return self.root / (f"text/{self.key}.py" if self.key in PAGES else lesson(self.key).text)

    @property
    def extras(self) -> tuple[str, ...]:
        """The extras of labkit that it needs."""
        return () if self.key in PAGES else lesson(self.key).extras


def needed(name: str, extra: str = "dev") -> ModuleType:
    """A package of an extra, which only those who make the course need; UsageError with the mend where it is absent."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UsageError(f"this needs the package {name}: pip install 'labkit[{extra}]'") from error


def source(name: str, root: Path) -> Source:
    """The notebook that a person means: "03/02", "help", or a path of its text or notebook. UsageError for neither."""
    path = Path(name)
    parts = (path.parent.name, path.stem)
    if path.suffix in (".py", ".ipynb"):
        for item in LESSONS:
            if parts == (item.module, item.slug):
                return Source(item.key, root)
        if path.stem in PAGES:
            return Source(path.stem, root)
    known = [*PAGES, *(item.key for item in LESSONS)]
    if name in known:
        return Source(name, root)
    raise unknown("lesson", name, known)


def sources(names: list[str], root: Path) -> list[Source]:
    """The named notebooks, or else all that have a text or a notebook; the index last, for it links to the others."""
    if names:
        return [source(name, root) for name in names]
    every = [Source(key, root) for key in (*(item.key for item in LESSONS), *PAGES)]
    return [item for item in every if item.text.is_file() or item.notebook.is_file()]


def assemble(item: Source) -> Any:
    """The notebook of a text, not yet run: its cells with fixed ids, the set-up cell after the title, the badge.

    Raises DataError where the text cannot be read, or does not begin with a title.
    """
    notebook, address = _read(item.text), bootstrap.source_of(item.root.parent)
    cells = notebook.cells
    if not cells or cells[0].cell_type != "markdown" or not cells[0].source.startswith("# "):
        raise DataError(f"{item.text}: its first cell must be markdown and begin with the title, `# …`")
    if badge := bootstrap.badge(address, item.notebook.relative_to(item.root.parent).as_posix()):
        cells[0].source += f"\n\n{badge}"
    setup = needed("nbformat").v4.new_code_cell(bootstrap.cell(address, item.extras), metadata=bootstrap.METADATA)
    cells.insert(1, setup)
    seen: dict[str, int] = {}
    for cell in cells:
        cell.id = _id(cell, seen)
        cell.metadata = {key: cell.metadata[key] for key in KEPT if key in cell.metadata}
    notebook.metadata = {"kernelspec": notebook.metadata.get("kernelspec", KERNEL), "language_info": LANGUAGE}
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    return notebook


def _read(path: Path) -> Any:
    jupytext = needed("jupytext")
    try:
        return jupytext.reads(path.read_text(encoding="utf-8"), fmt="py:percent")
    except FileNotFoundError as error:
        raise DataError(
            f"{path}: no such file: write the lesson's text first (`labkit new lesson` begins one)"
        ) from error
    except (OSError, ValueError, SyntaxError) as error:
        raise DataError(f"{path}: cannot be read as a lesson's text: {error}") from error


def read_notebook(path: Path) -> Any:
    """The notebook at `path`, in nbformat 4. OSError where it cannot be read, DataError with the reason for none."""
    nbformat = needed("nbformat")
    try:
        notebook = nbformat.read(path, as_version=4)
        nbformat.validate(notebook)
    except (ValueError, LookupError, TypeError, AttributeError, nbformat.ValidationError) as error:
        raise DataError(str(error).strip().partition("\n")[0] or type(error).__name__) from error
    return notebook


def _id(cell: Any, seen: dict[str, int]) -> str:
    """An id that depends on the source, and on the place only among cells of the same source: an edit elsewhere
    leaves it as it is.
    """
    digest = hashlib.sha256(f"{cell.cell_type}\n{cell.source}".encode()).hexdigest()[:12]
    seen[digest] = seen.get(digest, 0) + 1
    return digest if seen[digest] == 1 else f"{digest}-{seen[digest]}"
