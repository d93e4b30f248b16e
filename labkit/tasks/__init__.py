"""Tasks: rows, label names, a metric, and the loaders that bring them in from files, folders, the hub and the world."""

from __future__ import annotations

from labkit.tasks.fewclue import FEWCLUE
from labkit.tasks.loading import load_task
from labkit.tasks.metrics import METRICS, score
from labkit.tasks.rows import Row
from labkit.tasks.tables import Column, Table, parse_schema, read_table
from labkit.tasks.task import Task
from labkit.tasks.text import read_json_lines, read_lines, read_text
from labkit.tasks.writing import write_table

__all__ = [
    "FEWCLUE",
    "METRICS",
    "Column",
    "Row",
    "Table",
    "Task",
    "load_task",
    "parse_schema",
    "read_json_lines",
    "read_lines",
    "read_table",
    "read_text",
    "score",
    "write_table",
]
