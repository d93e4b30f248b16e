"""What nbgrader lacks against a submission that runs wild: steps for its configuration.

They run in the grader, outside the kernel, so a submission cannot switch them off. They bound time and output and see
to it that every submission gets a score; they do not make running strangers' code safe: that takes a container.
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbformat import NotebookNode, ValidationError, from_dict
from nbformat.v4 import new_code_cell, new_output
from nbformat.validator import isvalid
from nbgrader.api import Gradebook
from nbgrader.preprocessors import Execute, NbGraderPreprocessor
from nbgrader.utils import is_grade, is_solution
from traitlets import Integer

# What reading a message raises that is not as the protocol has it: a submission can send what it likes.
ODD = (LookupError, TypeError, AttributeError, ValueError, RecursionError, ValidationError)
CUT = "\n… more output was dropped, and the cell interrupted …\n"


class KnownCells(NbGraderPreprocessor):
    """Make a submission's graded cells those of the release, whatever was done to their metadata.

    Of several cells with one id the last counts, as in nbgrader's DeduplicateIds, which it replaces: that leaves
    metadata behind that ends the grading of the whole class (nbgrader 0.9). An id that the release does not have, or
    flags and points that were changed, mean nothing. A test cell that was deleted comes back at the end. Sources are
    left to OverwriteCells; halves of characters in them, which no kernel and no file takes, become question marks.
    """

    def preprocess(self, nb: Any, resources: Any) -> Any:
        """The notebook with the gradebook's metadata."""
        nb = from_dict(json.loads(json.dumps(nb, ensure_ascii=False).encode("utf-8", "replace")))
        where = resources["nbgrader"]
        with Gradebook(where["db_url"]) as book:
            release = book.find_notebook(where["notebook"], where["assignment"])
            known = {cell.name: _metadata(cell, release) for cell in release.source_cells}
        seen = set()
        for cell in reversed(nb.cells):
            if cell.cell_type == "code":
                _sound(cell)  # outputs that came along are read where nothing is run
            found = cell.metadata.pop("nbgrader", None)
            name = found.get("grade_id") if isinstance(found, dict) else None
            if isinstance(name, str) and name in known and name not in seen:
                cell.metadata["nbgrader"] = known[name]
                seen.add(name)
        for name, metadata in known.items():
            if name not in seen and metadata["grade"] and metadata["locked"]:
                nb.cells.append(new_code_cell("", metadata={"nbgrader": metadata}))
        return nb, resources


def _metadata(cell: Any, release: Any) -> dict[str, Any]:
    """nbgrader's metadata of a released cell, from the gradebook."""
    points = {grade.name: grade.max_score for grade in release.grade_cells}
    found = {
        "grade": cell.name in points,
        "solution": cell.name in {solution.name for solution in release.solution_cells},
        "locked": bool(cell.locked),
        "task": False,
        "grade_id": cell.name,
        "schema_version": 3,
        "cell_type": cell.cell_type,
        "checksum": cell.checksum,
    }
    return found | ({"points": points[cell.name]} if cell.name in points else {})


class BoundedExecute(Execute):
    """nbgrader's Execute with an end: of a cell's output, of a notebook's time, of a kernel that no longer answers.

    A cell that prints more than `max_characters` is interrupted. A kernel that died, or does not answer `patience`
    seconds after it was interrupted, is ended, and the cells after it count as failed; nbgrader alone would grade
    nothing of that submission.
    """

    max_characters = Integer(200_000, help="characters of output kept of a cell").tag(config=True)
    max_seconds = Integer(600, help="seconds that all cells together may take").tag(config=True)
    patience = Integer(10, help="seconds within which an interrupted kernel must answer").tag(config=True)

    def preprocess(self, nb: Any, resources: Any, km: Any = None) -> Any:
        """Run the notebook."""
        self._over, self._start, self._printed = "", time.monotonic(), {}
        return super().preprocess(nb, resources, km)

    def preprocess_cell(self, cell: Any, resources: Any, index: int) -> Any:
        """Run one cell, or mark it as failed where no more is run."""
        if not self._over and time.monotonic() - self._start > self.max_seconds:
            self._stop(f"the notebook took more than {self.max_seconds} s")
        if cell.cell_type != "code" or self._over:
            return self._failed(cell), resources
        try:
            super().preprocess_cell(cell, resources, index)
        except CellTimeoutError:  # the output of an interrupted cell does not end
            self._failed(cell, "its output did not end")
            self._probe(cell, index)
        except DeadKernelError:
            self._stop("the kernel died")
            self._failed(cell)
        except ODD as error:
            self._stop(f"what came from the kernel was no message ({error!r:.80})")
            self._failed(cell)
        else:
            if any(output.get("ename") == "CellTimeoutError" for output in cell.outputs):
                self._probe(cell, index)
        return _sound(cell), resources

    def process_message(self, msg: Any, cell: Any, cell_index: int) -> Any:
        """Take a message of the kernel; one that is not as it should be, or shows too much anew, means nothing."""
        try:
            again = msg["msg_type"] == "update_display_data"
            if not again or len(str(msg["content"])) <= self.max_characters:
                return super().process_message(msg, cell, cell_index)
        except ODD as error:
            self.log.warning("Dropped a message of the kernel: %r", error)
        return None

    def handle_comm_msg(self, outs: list[Any], msg: Any, cell_index: int) -> None:
        """Keep nothing of what widgets say: it has no part in a score, and no bound."""

    def output(self, outs: list[Any], msg: Any, display_id: Any, cell_index: int) -> Any:
        """Keep an output, as long as the cell has not said too much."""
        said = self._printed.get(cell_index, 0)
        self._printed[cell_index] = said + len(str(msg["content"]))
        if msg["msg_type"] == "error" or self._printed[cell_index] <= self.max_characters:
            return super().output(outs, msg, display_id, cell_index)
        if said <= self.max_characters:  # the message that goes too far
            outs.append(new_output("stream", name="stdout", text=CUT))
            self._interrupting = asyncio.ensure_future(self.km.interrupt_kernel())
        return None

    def _probe(self, cell: Any, index: int) -> None:
        """See whether the kernel answers after an interruption, and end it where it does not."""
        timeout, self.timeout = self.timeout, self.patience
        probe = new_code_cell("None")
        try:
            super().preprocess_cell(probe, self.resources, index)
            if any(output.get("ename") == "CellTimeoutError" for output in probe.outputs):
                self._stop("the kernel did not answer after an interruption")
        except (CellTimeoutError, DeadKernelError, *ODD):
            self._stop("the kernel did not answer after an interruption")
        finally:
            self.timeout, self.nb.cells[index] = timeout, cell

    def _stop(self, why: str) -> None:
        self._over = why
        self.log.warning("No further cells are run: %s", why)

    def _failed(self, cell: Any, why: str = "") -> Any:
        """The cell with an error in place of its outputs, if it is code."""
        if cell.cell_type == "code":
            cell.outputs = [_error(why or f"not run: {self._over}")]
        return cell


class StatementsOnly(NbGraderPreprocessor):
    """Drop the values that test cells seem to end in.

    nbgrader takes such a value for a score. Tests here end in statements, so it can only come from the code under test,
    which may well print a value before the assertion that would have failed it.
    """

    def preprocess_cell(self, cell: Any, resources: Any, cell_index: int) -> Any:
        """Keep all outputs of a test cell but results."""
        if cell.cell_type == "code" and is_grade(cell) and not is_solution(cell):
            cell.outputs = [output for output in cell.outputs if output.output_type != "execute_result"]
        return cell, resources


class OnlyRun(NbGraderPreprocessor):
    """Fail the test cells that were never run: nbgrader gives all points to a cell without outputs."""

    def preprocess_cell(self, cell: Any, resources: Any, cell_index: int) -> Any:
        """Put an error into a test cell without an execution count."""
        if cell.cell_type == "code" and is_grade(cell) and not is_solution(cell) and not cell.get("execution_count"):
            cell.outputs = [*cell.outputs, _error("this test was not run")]
        return cell, resources


def _sound(cell: NotebookNode) -> NotebookNode:
    """The cell with an error for each output that could not be saved, or read by the steps that follow."""
    odd = _error("an output is not as it should be")
    cell.outputs = [output if isvalid(output, "output", 4, 5) else odd for output in cell.get("outputs", [])]
    count = cell.get("execution_count")
    cell.execution_count = count if isinstance(count, int) else None
    return cell


def _error(why: str) -> Any:
    return new_output("error", ename="NotGraded", evalue=why, traceback=[f"NotGraded: {why}"])
