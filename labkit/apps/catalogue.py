"""All applications by name. A new one is one description, and one line here."""

from __future__ import annotations

from labkit.apps.application import Application
from labkit.apps.classifying import TEXT_CLASSIFY, TEXT_MATCH
from labkit.errors import unknown

APPLICATIONS: dict[str, Application] = {one.name: one for one in (TEXT_CLASSIFY, TEXT_MATCH)}


def application(name: str) -> Application:
    """The application called `name`; UsageError with the nearest name otherwise."""
    if name not in APPLICATIONS:
        raise unknown("application", name, APPLICATIONS)
    return APPLICATIONS[name]
