"""The measurements that come with labkit: what `benchmarks/` wrote, for lessons and pages to show."""

from __future__ import annotations

from pathlib import Path

from labkit.errors import unknown
from labkit.report.rows import Report

FOLDER = Path(__file__).parents[1] / "results"


def names() -> list[str]:
    """The names of all reports, in the order of the alphabet."""
    return sorted(path.stem for path in FOLDER.glob("*.json"))


def results(name: str) -> Report:
    """The report `labkit/results/NAME.json`, with the command, the date and the device that made it.

    UsageError, with the nearest name, where there is none.
    """
    if name not in names():
        raise unknown("results", name, names())
    return Report.load(FOLDER / f"{name}.json")
