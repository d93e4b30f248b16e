"""An assignment's cells run in this process, without nbgrader, with any answers: what each failing test says."""

from __future__ import annotations

from pathlib import Path

from labkit.classroom.course import Course, graded, kind, points, read_notebook
from labkit.classroom.planted import submissions

COURSE = Course.at(Path(__file__).resolve().parents[2] / "assignments")


class Attempts:
    """The assignment's source, its planted submissions by name, and `run`; `figures` are cells that only show."""

    def __init__(self, name, figures=()):
        self.source, self.figures = read_notebook(COURSE.source(name)), figures
        self.planted = {one.name: one for one in submissions(self.source, COURSE.planted(name))}

    def run(self, answers, only=None):
        """What each failing test cell says; `only` limits which answers' tests are run, by the tests' beginnings."""
        space, told = {}, {}
        for cell in self.source.cells:
            name = graded(cell).get("grade_id", "")
            if cell.cell_type != "code" or (only and kind(cell) == "test" and not name.startswith(only)):
                continue
            if only and name in self.figures:
                continue
            untouched = f"def {name}(*_, **__): raise NotImplementedError"
            code = answers.get(name, untouched) if kind(cell) == "answer" else cell.source
            try:
                exec(compile(code, name, "exec"), space)  # noqa: S102  the assignment's own cells
            except Exception as error:  # noqa: BLE001  whatever it is, the test has failed
                told[name] = f"{type(error).__name__}: {error}"
        return told

    def check_planted(self, name, words):
        """A planted submission fails the tests that it says, and each of `words` (test: words) is told."""
        told = self.run(self.planted[name].answers)
        assert set(told) == set(self.planted[name].loses), told
        for cell, wanted in words.items():
            assert wanted in told[cell], cell

    def check_untouched(self):
        """Nothing answered: every test says so."""
        told = self.run({})
        assert set(told) == set(points(self.source, "test"))
        assert all("NotImplementedError" in said for said in told.values()), told

    def check_points(self, total):
        """They add up, and the reading has four by hand."""
        assert sum(points(self.source, "test").values()) == total
        assert points(self.source, "manual") == {"reading": 4}
