"""From the text that people edit to the notebook that nbgrader reads.

In the text a cell's part is one word in its first line, and the rest of nbgrader's metadata follows from it:

    # %% answer="fit_row"                          the student writes here
    # %% test="fit_row_visible" points=1           graded by running it
    # %% [markdown] manual="reading" points=4      graded by a person
    # %% locked="setup"                            restored before grading, whatever the student did to it
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from labkit.classroom.course import KINDS, Course, read_notebook
from labkit.course.reading import needed
from labkit.errors import DataError
from labkit.files import write_text


def build(course: Course, assignment: str) -> list[Path]:
    """Write the notebooks of an assignment from their texts; the paths written. UsageError without jupytext."""
    needed("jupytext")
    written = []
    for text in course.texts(assignment):
        target = course.root / "source" / assignment / f"{text.stem}.ipynb"
        write_text(target, notebook_text(text))
        written.append(target)
    return written


def notebook_text(text: Path) -> str:
    """The notebook that a text makes, as JSON."""
    import nbformat

    return nbformat.writes(notebook(text)) + "\n"


def notebook(text: Path) -> Any:
    """The notebook that a text makes: nbgrader's metadata, no outputs, the same cell ids each time."""
    import jupytext
    import nbformat

    found = jupytext.read(text, fmt="py:percent")
    kept = {key: found.metadata[key] for key in ("kernelspec", "labkit") if key in found.metadata}
    clean = nbformat.v4.new_notebook(metadata=kept | {"language_info": {"name": "python"}})
    for number, cell in enumerate(found.cells):
        part = _metadata(cell, text)
        make = nbformat.v4.new_code_cell if cell.cell_type == "code" else nbformat.v4.new_markdown_cell
        new = make(cell.source, id=part.get("grade_id", f"cell-{number:02}").replace("_", "-"))
        if part:
            new.metadata["nbgrader"] = part
        clean.cells.append(new)
    return clean


def _metadata(cell: Any, text: Path) -> dict[str, Any]:
    """nbgrader's metadata of a cell; empty for one that has no part."""
    parts = [part for part in KINDS if part in cell.metadata]
    if not parts:
        return {}
    if len(parts) > 1:
        raise DataError(f"{text}: a cell cannot be {' and '.join(parts)}: {cell.source.splitlines()[0]:.60}")
    name, (grade, solution, locked) = cell.metadata[parts[0]], KINDS[parts[0]]
    found = {"grade": grade, "solution": solution, "locked": locked, "task": False, "grade_id": name}
    if grade:
        found["points"] = cell.metadata.get("points", 0)
    return found | {"schema_version": 3, "cell_type": cell.cell_type}


def in_step(course: Course, assignment: str) -> list[str]:
    """What text and notebook disagree on; empty where they agree, there is no text, or jupytext is not installed."""
    if importlib.util.find_spec("jupytext") is None:
        return []
    apart = []
    for text in course.texts(assignment):
        target = course.root / "source" / assignment / f"{text.stem}.ipynb"
        if not target.is_file() or read_notebook(target) != notebook(text):
            names = f"source/{assignment}/{target.name} is not what text/{assignment}/{text.name} makes"
            apart.append(f"{names}: run labkit assignments build")
    return apart
