"""What a learner has opened and solved: one small JSON file on their own machine, no account.

It is a convenience and never stands in a lesson's way: a file that cannot be read is put aside and begun anew, one that
cannot be written is done without, each with one warning.
"""

from __future__ import annotations

import json
import os
import warnings
from pathlib import Path
from typing import Any

from labkit import files
from labkit.errors import LabkitError


def path() -> Path:
    """`progress.json` in `files.cache_folder()`: LabkitError for a user without a home."""
    return files.cache_folder() / "progress.json"


def read() -> dict[str, dict[str, Any]]:
    """Lesson -> `{"opened": bool, "passed": [names of exercises]}`; empty where there is no file yet.

    A file that is damaged is renamed to `progress.json.damaged`, and a RuntimeWarning says so.
    """
    try:
        return _read()
    except (OSError, LabkitError):
        return {}


def opened(lesson: str) -> None:
    """Note that a lesson ("03/02") was opened."""
    _note(lesson, None)


def passed(lesson: str, exercise: str) -> None:
    """Note that an exercise of a lesson was solved."""
    _note(lesson, exercise)


def forget() -> None:
    """Begin anew: remove the file."""
    path().unlink(missing_ok=True)


def _note(lesson: str, exercise: str | None) -> None:
    """Add to the file, one process at a time, and only what is not there yet."""
    try:
        entry = _read().get(lesson, {})
        if entry.get("opened") and (exercise is None or exercise in entry["passed"]):
            return
        with files.locked(path().with_suffix(".lock"), seconds=5):
            known = _read()
            solved = known.get(lesson, {}).get("passed", [])
            if exercise is not None and exercise not in solved:
                solved = [*solved, exercise]
            known[lesson] = {"opened": True, "passed": solved}
            files.write_json(path(), known)
    except (OSError, LabkitError) as error:
        warnings.warn(f"your progress is not kept: {error}", RuntimeWarning, stacklevel=3)


def _read() -> dict[str, dict[str, Any]]:
    file = path()
    try:
        text = file.read_bytes()
    except FileNotFoundError:
        return {}
    try:
        return _checked(json.loads(text.decode("utf-8")))
    except (ValueError, RecursionError) as error:
        aside = file.with_name("progress.json.damaged")
        os.replace(file, aside)
        message = f"{file} was damaged ({error}); it is now {aside.name}, and your progress begins anew"
        warnings.warn(message, RuntimeWarning, stacklevel=4)
        return {}


def _checked(value: Any) -> dict[str, dict[str, Any]]:
    """`value`, if it has the form that `read` promises; else ValueError."""
    if not isinstance(value, dict):
        raise ValueError("it is no table of lessons")
    for lesson, entry in value.items():
        good = isinstance(entry, dict) and isinstance(entry.get("opened"), bool)
        solved = entry.get("passed") if good else None
        if not isinstance(solved, list) or not all(isinstance(name, str) for name in solved):
            raise ValueError(f"lesson {lesson!r:.20} has no such entry")
    return value
