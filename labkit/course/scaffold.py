"""`labkit new lesson`: the files of a lesson that is in the course's table, and not written yet."""

from __future__ import annotations

import re
from pathlib import Path

from labkit.course import template_checks, templates
from labkit.course.lessons import LESSONS, Lesson, lesson
from labkit.errors import UsageError
from labkit.files import write_text


def new_lesson(key: str, name: str, project: Path) -> list[Path]:
    """Write a new lesson's text, code, test, check and answers into the project's folder; all of them or none.

    Raises UsageError for a key or a name that is not the course's, and where one of the files is there already.
    """
    item = _planned(key, name)
    files = _files(item, project)
    there = [str(path.relative_to(project)) for path in files if path.exists()]
    if there:
        raise UsageError(f"lesson {key} has begun: {', '.join(there)} is there already; nothing was written")
    written: list[Path] = []
    try:
        for path, text in files.items():
            written.append(path)
            write_text(path, _filled(text, item))
    except BaseException:
        for path in written:
            path.unlink(missing_ok=True)
        raise
    return written


def _planned(key: str, name: str) -> Lesson:
    """The lesson of the table that is meant."""
    if key not in {item.key for item in LESSONS}:
        form = "module and number with two digits each, as 03/09"
        mend = "add it to labkit/course/lessons.py first"
        raise UsageError(f"lesson {key!r} ({form}) is not in the course's table: {mend}")
    item = lesson(key)
    if name != item.name:
        raise UsageError(f"lesson {key} is called {item.name!r}, not {name!r}: labkit new lesson {key} {item.name}")
    return item


def _files(item: Lesson, project: Path) -> dict[Path, str]:
    """The files of a lesson, and what each begins with."""
    return {
        project / "notebooks" / item.text: templates.TEXT,
        project / "labkit" / item.package / f"{item.name}.py": templates.CODE,
        project / "tests" / item.package / f"test_{item.name}.py": templates.TEST,
        project / "labkit" / "checks" / f"{item.name}.py": template_checks.CHECK,
        project / "tests" / "checks" / "answers" / f"{item.name}.py": template_checks.ANSWERS,
    }


def _filled(text: str, item: Lesson) -> str:
    before = [f"{key}, {lesson(key).title}" for key in item.needs] or ["nothing but Python and a little PyTorch"]
    needs = "\n".join(f"# - {name}" for name in before)
    words = {"KEY": item.key, "NAME": item.name, "PACKAGE": item.package, "TITLE": item.title,
             "SYSTEMS": item.systems, "MINUTES": str(item.minutes), "NEEDS": needs}  # fmt: skip
    return re.sub(r"@([A-Z]+)@", lambda found: words[found[1]], text)
