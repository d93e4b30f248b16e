"""Assignments for a class: written as text, released, collected and graded with nbgrader, and proved before release.

A course is a folder that nbgrader understands, with two folders more:

    nbgrader_config.py              how nbgrader grades here, see `labkit.classroom.guard`
    text/03_fewshot/pet.py          what people edit: tasks, solutions and tests, as jupytext percent text
    source/03_fewshot/pet.ipynb     the same as nbgrader wants it; `labkit assignments build` writes it
    planted/03_fewshot/NAME.py      submissions that must lose exactly the points they say

`labkit assignments check` grades the reference, the untouched release and the planted submissions, and compares.
"""

from __future__ import annotations

from labkit.classroom.checking import check
from labkit.classroom.course import Course
from labkit.classroom.writing import build

__all__ = ["Course", "build", "check"]
