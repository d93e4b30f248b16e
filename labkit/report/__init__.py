"""Results, one row a seed: a table with mean ± std, a paired comparison, a picture, a file.

A row says what was measured (method, task, metric, seed, value) and what it cost (trainable and total parameters, bytes
on disk, milliseconds a row, seconds of training). Everything shown is computed from the rows; nothing is typed in but
what papers report, which stands in a column of its own with its source.
"""

from __future__ import annotations

from labkit.report.comparison import Comparison
from labkit.report.figure import Plot
from labkit.report.lines import accuracy_of_the_surest, against, coverage, scatter
from labkit.report.result import Result
from labkit.report.rows import Report, results
from labkit.report.table import Table

__all__ = [
    "Comparison", "Plot", "Report", "Result", "Table",
    "accuracy_of_the_surest", "against", "coverage", "results", "scatter",
]  # fmt: skip
