"""The proof of an assignment: the reference gets everything, the untouched release nothing, and each planted mistake
costs exactly what it should.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from labkit.classroom.course import Course, GradingError, points, read_notebook
from labkit.classroom.grading import Grades, Workshop, workshop
from labkit.classroom.planted import Submission, submissions, submitted
from labkit.classroom.validation import errors_on_stderr, release_problems, source_problems
from labkit.classroom.writing import in_step

Say = Callable[[str], None]


@dataclass
class Outcome:
    """Rows of a table, one a submission, and every problem found, a sentence each."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def check(course: Course, assignment: str, say: Say = lambda _: None) -> Outcome:
    """Validate an assignment and grade its reference, its untouched release and its planted submissions.

    `say` hears what is being done. What is wrong is in the outcome; GradingError only where nbgrader cannot run.
    """
    path = course.source(assignment)
    source, outcome = read_notebook(path), Outcome()
    outcome.problems += in_step(course, assignment) + source_problems(source)
    if outcome.problems:  # a source that is wrong is not worth minutes of grading
        return outcome
    given = submissions(source, course.planted(assignment))
    with workshop(course, assignment) as shop:
        say(f"{assignment}: releasing")
        folder = shop.release()
        release = read_notebook(folder / path.name)
        outcome.problems += release_problems(source, release, folder, path.name)
        for number, submission in enumerate(given, start=1):
            say(f"{assignment}: grading {submission.name} ({number} of {len(given)})")
            shop.submit(submission.name, path.name, submitted(release, submission.answers))
            _grade(shop, path, source, submission, outcome)
    return outcome


def _grade(shop: Workshop, path: Path, source: Any, submission: Submission, outcome: Outcome) -> None:
    """Grade one submission; a row, and a problem for each cell whose score is not the one wanted."""
    expected, start = submission.expected(source), time.perf_counter()
    try:
        shop.autograde(submission.name)
        found = shop.grades(submission.name, path.stem)
    except GradingError as error:
        outcome.problems.append(f"{submission.name}: {error}")
        found = Grades({})
    seconds = time.perf_counter() - start
    outcome.problems += _differences(submission, expected, found, points(source, "manual"))
    if submission.name == "reference" and shop.autograded(submission.name, path.name).is_file():
        outcome.problems += errors_on_stderr(read_notebook(shop.autograded(submission.name, path.name)))
    outcome.rows.append(
        {
            "assignment": shop.assignment,
            "submission": submission.name,
            "expected": sum(expected.values()),
            "scored": found.total,
            "of": sum(points(source, "test").values()),
            "by hand": sum(points(source, "manual")[name] for name in found.by_hand),
            "seconds": round(seconds, 1),
            "as it should": "yes" if expected == found.scores else "NO",
        }
    )


def _differences(
    submission: Submission, expected: dict[str, float], found: Grades, by_hand: dict[str, float]
) -> list[str]:
    told = [
        f"{submission.name}: {name} scored {found.scores.get(name, 'nothing')}, {worth:g} was expected"
        for name, worth in expected.items()
        if found.scores.get(name) != worth
    ]
    wanted = tuple(name for name in by_hand if name in submission.answers)
    if set(wanted) != set(found.by_hand):
        told.append(f"{submission.name}: waits for a person: {list(found.by_hand)}, expected: {list(wanted)}")
    return told
