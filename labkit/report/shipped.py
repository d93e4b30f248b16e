"""The measurements that come with labkit: what `benchmarks/` wrote, for lessons and pages to show."""

from __future__ import annotations

from pathlib import Path

from labkit.errors import unknown
from labkit.report.rows import Report

FOLDER = Path(__file__).parents[1] / "results"


def results(name: str) -> Report:
    """The report `labkit/results/NAME.json`, with the command, the date and the device that made it.

    UsageError, with the nearest name, where there is none.
    """
    known = sorted(path.stem for path in FOLDER.glob("*.json"))
    if name not in known:
        raise unknown("results", name, known)
    return Report.load(FOLDER / f"{name}.json")
