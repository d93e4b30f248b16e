"""From a lesson's text to its notebook, run from top to bottom, with the outputs that a reader sees.

Whatever is run twice gives the same bytes twice, so that a change in a notebook is a change in its lesson: ids come
from sources, nothing is dated, and where measured times are all that differs the committed output stays.
"""

from __future__ import annotations

import contextlib
import copy
import math
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labkit import progress
from labkit.course.outputs import ANSI, Refused, same_but_times, tidied
from labkit.course.reading import LANGUAGE, Source, assemble, needed, read_notebook
from labkit.errors import DataError, LabkitError
from labkit.files import write_text

CELL_TIMEOUT = 300  # seconds
STEP = 10  # seconds that a run is rounded up to
SHOWN_LINES = 6  # of a cell, in an error


@dataclass(frozen=True)
class Built:
    """What came of a build: whether the notebook's file changed, and the seconds of the run as measured."""

    seconds: float
    changed: bool


def build(item: Source, *, fresh: bool = False) -> Built:
    """Run the lesson and write its notebook, whole or not at all; `fresh` forgets the outputs that are there.

    The kernel works in the notebook's folder, without a network, a GPU or the progress of whoever builds. Raises
    LabkitError with lesson, cell and traceback where a cell fails or writes to stderr.
    """
    notebook, began = assemble(item), time.monotonic()
    execute(notebook, item)
    seconds = time.monotonic() - began
    old = None if fresh else _old(item.notebook)
    notebook.metadata["labkit"] = {"seconds": _stable_seconds(seconds, notebook, old)}
    if old is not None:
        _keep_old_times(notebook, old)
    text = needed("nbformat").writes(notebook).rstrip("\n") + "\n"
    changed = not item.notebook.is_file() or item.notebook.read_text(encoding="utf-8") != text
    if changed:
        write_text(item.notebook, text)
    return Built(seconds, changed)


def execute(notebook: Any, item: Source) -> None:
    """Run every cell of `notebook` in place, in the folder of `item`, and tidy what it shows; errors as in `build`."""
    with _folder(item.notebook.parent) as folder, _cache() as cache:
        _run(notebook, item, folder, cache)
        for number, cell in enumerate(notebook.cells):
            try:
                _tidy(cell)
            except Refused as problem:
                raise LabkitError(_told(item, notebook, number, str(problem))) from None
    notebook.metadata["language_info"] = LANGUAGE  # the kernel's own tells the very version of its Python
    for count, cell in enumerate(_code(notebook), 1):
        _number(cell, count)


def _run(notebook: Any, item: Source, folder: Path, cache: str) -> None:
    """Run every cell in a kernel of its own."""
    client, at, log = needed("nbclient"), [0], Path(cache, "kernel.log")
    errors = client.exceptions
    runner = client.NotebookClient(
        notebook, timeout=CELL_TIMEOUT, startup_timeout=120, kernel_name="python3", record_timing=False,
        store_widget_state=False, resources={"metadata": {"path": str(folder)}},
        on_cell_start=lambda cell, cell_index: at.__setitem__(0, cell_index),
    )  # fmt: skip
    try:
        with open(log, "wb") as stream:
            runner.execute(env=_environment(cache), stderr=stream)
    except errors.CellExecutionError as error:
        raise LabkitError(_told(item, notebook, at[0], f"{error.ename}: {error.evalue}")) from None
    except (errors.CellTimeoutError, errors.DeadKernelError) as error:
        said = f"{str(error).strip().splitlines()[0]}\n{log.read_text(encoding='utf-8', errors='replace')[-2000:]}"
        raise LabkitError(_told(item, notebook, at[0], said.strip())) from None


def _environment(cache: str) -> dict[str, str]:
    """What a lesson runs in: as here, but offline, on the CPU, in a cache with nobody's progress."""
    fixed = {"LABKIT_CACHE": cache, "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONHASHSEED": "0"}
    inherited = {key: value for key, value in os.environ.items() if key != "MPLBACKEND"}  # the kernel chooses its own
    return {"TOKENIZERS_PARALLELISM": "false", **inherited, **fixed}


@contextlib.contextmanager
def _cache() -> Iterator[str]:
    """A cache folder that shares everything with the usual one but the learner's progress."""
    usual = progress.path().parent.absolute()
    with tempfile.TemporaryDirectory(prefix="labkit-cache-") as folder:
        with contextlib.suppress(OSError):  # where links are not allowed, models are trained anew
            (usual / "zoo").mkdir(parents=True, exist_ok=True)
            for entry in usual.iterdir():
                if not entry.name.startswith("progress"):
                    Path(folder, entry.name).symlink_to(entry, target_is_directory=entry.is_dir())
        yield folder


@contextlib.contextmanager
def _folder(path: Path) -> Iterator[Path]:
    """The folder to run in, made for the purpose if need be, and then removed again if the run fails."""
    new = not path.exists()
    path.mkdir(parents=True, exist_ok=True)
    try:
        yield path
    except BaseException:
        if new:
            with contextlib.suppress(OSError):  # not empty: the lesson wrote something, which is its author's to judge
                path.rmdir()
        raise


def _tidy(cell: Any) -> None:
    cell.metadata.pop("execution", None)
    if cell.cell_type == "code":
        cell.outputs = [needed("nbformat").from_dict(output) for output in tidied(cell.outputs)]


def _number(cell: Any, count: int) -> None:
    cell.execution_count = count
    for output in cell.outputs:
        if output.output_type == "execute_result":
            output.execution_count = count


def _told(item: Source, notebook: Any, number: int, what: str) -> str:
    """An error of a lesson: where, the first lines of the cell, and its traceback where there is one."""
    cell = notebook.cells[number]
    lines = cell.source.splitlines()
    traceback = "\n".join(line for output in cell.get("outputs", ()) for line in output.get("traceback", ()))
    shown = [f"    | {line}" for line in lines[:SHOWN_LINES]] + ["    | …"] * (len(lines) > SHOWN_LINES)
    head = f"{item.key}: cell {number + 1} of {item.notebook.name}: {ANSI.sub('', what)}"
    return "\n".join([head, *shown, *([ANSI.sub("", traceback).strip()] if traceback else [])])


def _old(path: Path) -> Any:
    """The notebook as it is now, or None where there is none that can be read."""
    try:
        return read_notebook(path)
    except (OSError, DataError):
        return None


def _code(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def _stable_seconds(seconds: float, notebook: Any, old: Any) -> int:
    """`seconds` rounded up to a multiple of STEP; as before, where the code is the same and the step next to it."""
    found = max(STEP, math.ceil(seconds / STEP) * STEP)
    before = old.metadata.get("labkit", {}).get("seconds") if old is not None else None
    if isinstance(before, int) and abs(before - found) <= STEP and max(before, found) <= 60:
        if [cell.source for cell in _code(old)] == [cell.source for cell in _code(notebook)]:
            return before
    return found


def _keep_old_times(notebook: Any, old: Any) -> None:
    """Put the old outputs back where times are all that differs, up to the first cell whose source does."""
    for new, before in zip(_code(notebook), _code(old), strict=False):
        if new.source != before.source:
            return
        if same_but_times(new.outputs, before.outputs):
            new.outputs = copy.deepcopy(before.outputs)
            _number(new, new.execution_count)
