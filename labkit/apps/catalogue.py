"""All applications by name. A new one is one description, and one line here."""

from __future__ import annotations

from labkit.apps.application import Application
from labkit.apps.labelling import INFORMATION_EXTRACTION, MACHINE_READING_COMPREHENSION, SEQUENCE_LABELING
from labkit.apps.texts import MULTI_LABEL, TEXT_CLASSIFY, TEXT_MATCH, TWO_TOWER, VECTORIZATION
from labkit.apps.writing import DATA_AUGMENTATION, LANGUAGE_MODELING, SEQUENCE_GENERATION
from labkit.errors import unknown

APPLICATIONS: dict[str, Application] = {
    one.name: one
    for one in (
        TEXT_CLASSIFY, MULTI_LABEL, TEXT_MATCH, TWO_TOWER, VECTORIZATION, SEQUENCE_LABELING,
        MACHINE_READING_COMPREHENSION, INFORMATION_EXTRACTION, LANGUAGE_MODELING, SEQUENCE_GENERATION,
        DATA_AUGMENTATION,
    )
}  # fmt: skip


def application(name: str) -> Application:
    """The application called `name`; UsageError with the nearest name otherwise."""
    if name not in APPLICATIONS:
        raise unknown("application", name, APPLICATIONS)
    return APPLICATIONS[name]
