"""nbgrader, run in a course folder of its own that is thrown away: nothing of it reaches the real one.

It runs as a program, not in this process: it changes the working folder and the environment, and what it runs may
hang. Its programs are found beside this Python (it calls `alembic` by name), and the user's own Jupyter settings are
not read.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labkit.classroom.course import Course, GradingError, need_nbgrader

COURSE_ID = "labkit"


@dataclass(frozen=True)
class Grades:
    """What nbgrader recorded of one submission: points of each test cell, and the cells that wait for a person."""

    scores: dict[str, float]
    by_hand: tuple[str, ...] = ()

    @property
    def total(self) -> float:
        """Points given by running the tests."""
        return sum(self.scores.values())


@dataclass(frozen=True)
class Workshop:
    """A temporary course with one assignment."""

    root: Path
    assignment: str

    def release(self) -> Path:
        """Make the students' version; its folder."""
        self.nbgrader("generate_assignment", self.assignment, "--create", seconds=120)
        return self.root / "release" / self.assignment

    def submit(self, student: str, name: str, notebook: Any) -> None:
        """Hand in a notebook as `student`."""
        import nbformat

        folder = self.root / "submitted" / student / self.assignment
        folder.mkdir(parents=True)
        nbformat.write(notebook, folder / name)

    def autograde(self, student: str, seconds: float = 600) -> None:
        """Run and grade what `student` handed in, in at most `seconds`."""
        self.nbgrader("autograde", self.assignment, f"--student={student}", seconds=seconds)

    def autograded(self, student: str, name: str) -> Path:
        """The notebook of a student after grading."""
        return self.root / "autograded" / student / self.assignment / name

    def nbgrader(self, *arguments: str, seconds: float) -> None:
        """Run one nbgrader command here; GradingError where it fails or takes longer than `seconds`."""
        command = [sys.executable, "-m", "nbgrader", *arguments]
        process = subprocess.Popen(
            command, cwd=self.root, env=_environment(self.root), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, errors="replace", start_new_session=os.name == "posix",
        )  # fmt: skip
        try:
            said, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired as error:
            raise GradingError(f"nbgrader {arguments[0]} took longer than {seconds:.0f} s and was stopped") from error
        finally:
            _end(process)
        if process.returncode:
            end = "\n".join(said.strip().splitlines()[-15:])
            raise GradingError(f"nbgrader {' '.join(arguments)} failed:\n{end}")

    def grades(self, student: str, notebook: str) -> Grades:
        """What the gradebook holds of a student's notebook."""
        from nbgrader.api import Gradebook

        with Gradebook(f"sqlite:///{self.root / 'gradebook.db'}", COURSE_ID) as book:
            found = book.find_submission_notebook(notebook, self.assignment, student).grades
            scores = {grade.name: grade.auto_score or 0.0 for grade in found if not _manual(grade)}
            waiting = tuple(grade.name for grade in found if _manual(grade) and grade.needs_manual_grade)
        return Grades(scores, waiting)


@contextmanager
def workshop(course: Course, assignment: str) -> Iterator[Workshop]:
    """A temporary course with this assignment's source; removed at the end."""
    need_nbgrader()
    root = Path(tempfile.mkdtemp(prefix="labkit-assignments-"))
    try:
        shutil.copy(course.root / "nbgrader_config.py", root)
        shutil.copytree(course.root / "source" / assignment, root / "source" / assignment)
        yield Workshop(root, assignment)
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _manual(grade: Any) -> bool:
    """Whether a grade's cell is the student's own, to be read by a person."""
    return grade.cell.cell_type == "markdown"


def _environment(root: Path) -> dict[str, str]:
    """This process's environment, with nbgrader's helpers on PATH and no settings of the user's."""
    own = root / ".jupyter"
    own.mkdir(exist_ok=True)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    folders = {name: str(own) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")}
    return os.environ | folders | {"PATH": path, "JUPYTER_PREFER_ENV_PATH": "1", "PYTHONIOENCODING": "utf-8"}


def _end(process: subprocess.Popen[str]) -> None:
    """End the program and, where the system has process groups, whatever it started that still runs."""
    if os.name == "posix":
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass
    elif process.poll() is None:
        process.kill()
    process.wait()
