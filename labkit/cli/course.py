"""`labkit lab` for those who learn; `notebooks`, `new`, `site` for those who write lessons; `assignments` to teach."""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

from labkit.cli.parser import command, group, progress, show, tell
from labkit.errors import LabkitError, UsageError

LAB_HELP = """\
examples:
  labkit lab                        the course's map, in a browser
  labkit lab -- --no-browser        what follows -- goes to JupyterLab
"""
NOTEBOOKS_HELP = """\
examples:
  labkit notebooks build 03/02      run a lesson's text and write its notebook
  labkit notebooks check            what is still wrong with any of them

A lesson is named by its key (03/02) or by the path of its text or notebook, a page beside the lessons as `index`,
`glossary` or `help`. Without a name, all are meant.
"""
SITE_HELP = """\
example:
  labkit site build --out site      then open site/index.html; nothing of it needs a network
"""
NEW_HELP = """\
example:
  labkit new lesson 03/09 neurons

It writes the lesson's text, its code, its test and its check, ready to run, with TODO where you go on.
"""


def add_lab(commands: Any) -> None:
    """`labkit lab`."""
    parser = command(commands, "lab", _lab, "open the lessons: JupyterLab on the course's map", LAB_HELP)
    parser.add_argument("options", nargs="*", metavar="OPTION", help="after --: options of JupyterLab")


def _lab(arguments: argparse.Namespace) -> None:
    from labkit.course.lessons import root

    folder = root().parent
    if importlib.util.find_spec("jupyterlab") is None:
        raise UsageError("JupyterLab is not installed: pip install -e '.[lab]' (in labkit's folder)")
    page = f"--LabApp.default_url=/lab/tree/{root().name}/index.ipynb"
    lab = [sys.executable, "-m", "jupyterlab", f"--notebook-dir={folder}", page, *arguments.options]
    if code := subprocess.run(lab, check=False).returncode:
        raise LabkitError(f"JupyterLab ended with exit code {code}")


def add_notebooks(commands: Any) -> None:
    """`labkit notebooks build | check`."""
    actions = group(
        commands, "notebooks", "build the lessons' notebooks from their texts, and check them", NOTEBOOKS_HELP
    )
    for name, handler, about in (
        ("build", _build, "run lessons and write their notebooks, outputs included"),
        ("check", _check, "tell what is wrong with notebooks; exit code 1 if anything is"),
    ):
        parser = command(actions, name, handler, about, NOTEBOOKS_HELP)
        parser.add_argument("lessons", nargs="*", metavar="LESSON", help="as 03/02, help, or a path (default: all)")
        if name == "build":
            parser.add_argument("--fresh", action="store_true", help="take every output anew, measured times too")


def _build(arguments: argparse.Namespace) -> None:
    from labkit.course.building import build
    from labkit.course.lessons import root
    from labkit.course.reading import sources

    for item in sources(arguments.lessons, root()):
        built = build(item, fresh=arguments.fresh)
        said = "written" if built.changed else "as it was"
        print(f"{item.key}: {item.notebook.relative_to(item.root.parent)} {said}, {built.seconds:.0f} s", flush=True)


def _check(arguments: argparse.Namespace) -> None:
    from labkit.course.checking import problems
    from labkit.course.lessons import root
    from labkit.course.reading import sources

    items = sources(arguments.lessons, root())
    found = [problem for item in items for problem in problems(item.notebook)]
    print("\n".join(found or [f"{len(items)} notebooks, nothing wrong"]))
    if found:
        raise LabkitError(f"{len(found)} problems in {len(items)} notebooks")


def add_new(commands: Any) -> None:
    """`labkit new lesson`."""
    actions = group(commands, "new", "begin a lesson", NEW_HELP)
    parser = command(actions, "lesson", _new_lesson, "write the files that a new lesson begins with", NEW_HELP)
    parser.add_argument("key", metavar="KEY", help="module and number, as 03/09")
    parser.add_argument("name", metavar="NAME", help="the lesson's name in the course's table, as neurons")


def _new_lesson(arguments: argparse.Namespace) -> None:
    from labkit.course.lessons import root
    from labkit.course.scaffold import new_lesson

    for path in new_lesson(arguments.key, arguments.name, root().parent):
        print(path)


def add_site(commands: Any) -> None:
    """`labkit site build`."""
    actions = group(commands, "site", "the course as a web page", SITE_HELP)
    about = "make a page of every lesson as it was run, and of the results"
    parser = command(actions, "build", _build_site, about, SITE_HELP)
    parser.add_argument("--out", type=Path, default=Path("site"), help="its folder (default: site)")


def _build_site(arguments: argparse.Namespace) -> None:
    from labkit.course.lessons import root
    from labkit.course.site import build_site

    print(build_site(root(), arguments.out))


CLASS_HELP = """\
examples:
  labkit assignments check                  grade reference, untouched release and planted mistakes; 4 to 6 minutes
  labkit assignments check 03_fewshot       one assignment
  labkit assignments build                  write source/…/*.ipynb from text/…/*.py
"""


def add_assignments(commands: Any) -> None:
    """`labkit assignments build | check`."""
    actions = group(commands, "assignments", "build and prove the assignments for a class", CLASS_HELP)
    build = command(actions, "build", _build_class, "write the assignments' notebooks from their texts", CLASS_HELP)
    check = command(actions, "check", _check_class, "grade submissions whose scores are known", CLASS_HELP, True)
    for parser in (build, check):
        parser.add_argument("name", nargs="?", metavar="NAME", help="an assignment (default: all)")
        parser.add_argument("--course", default="assignments", metavar="DIR", help="the course (default: assignments)")


def _build_class(arguments: argparse.Namespace) -> None:
    from labkit.classroom import Course, build

    course = Course.at(arguments.course)
    for name in course.assignments(arguments.name):
        for path in build(course, name):
            print(path)


def _check_class(arguments: argparse.Namespace) -> None:
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
