"""`labkit assignments build | check`."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from labkit.cli.parser import command, group, progress, show, tell
from labkit.errors import LabkitError

HELP = """\
examples:
  labkit assignments check                  grade reference, untouched release and planted mistakes; 2 to 4 minutes
  labkit assignments check 03_fewshot       one assignment
  labkit assignments build                  write source/…/*.ipynb from text/…/*.py
"""


def add_assignments(commands: Any) -> None:
    """`labkit assignments build | check`."""
    actions = group(commands, "assignments", "build and prove the assignments for a class", HELP)
    build = command(actions, "build", _build, "write the assignments' notebooks from their texts", HELP)
    check = command(actions, "check", _check, "grade submissions whose scores are known", HELP, as_json=True)
    for parser in (build, check):
        parser.add_argument("name", nargs="?", metavar="NAME", help="an assignment (default: all)")
        parser.add_argument("--course", default="assignments", metavar="DIR", help="the course (default: assignments)")


def _build(arguments: argparse.Namespace) -> None:
    from labkit.classroom import Course, build

    course = Course.at(arguments.course)
    for name in course.assignments(arguments.name):
        for path in build(course, name):
            print(path)


def _check(arguments: argparse.Namespace) -> None:
    from labkit.classroom import Course, check
    from labkit.classroom.course import need_nbgrader

    need_nbgrader()
    course, rows, problems = Course.at(arguments.course), [], []
    for name in course.assignments(arguments.name):
        found = check(course, name, tell if progress() else lambda _: None)
        rows += found.rows
        problems += [f"{name}: {problem}" for problem in found.problems]
    if rows or arguments.json:
        show(rows, arguments.json)
    sys.stdout.flush()
    if problems:
        raise LabkitError("\n  ".join([f"{len(problems)} problems with the assignments:", *problems]))
