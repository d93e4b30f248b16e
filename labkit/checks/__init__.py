"""The "your turn" exercises: `from labkit.checks import pet as check`, then `check.fuzzy_scores(fuzzy_scores)`.

One file a lesson, named as the lesson is. An exercise is a function that tries the learner's function on small cases
and raises `Mistake` with what is likely wrong; `exercise` turns it into a check that answers with a `Verdict`.
"""

from __future__ import annotations

import importlib
import pkgutil

from labkit.checks.exercise import Exercise, Mistake, Verdict, exercise

__all__ = ["Exercise", "Mistake", "Verdict", "exercise", "exercises"]


def exercises(lesson: str) -> list[str]:
    """The names of a lesson's exercises ("03/02"), as written there; empty for a lesson without any."""
    names = []
    for module in pkgutil.iter_modules(__path__):
        for value in vars(importlib.import_module(f"{__name__}.{module.name}")).values():
            if isinstance(value, Exercise) and value.lesson == lesson:
                names.append(value.name)
    return names
