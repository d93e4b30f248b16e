"""Tasks: rows, label names, a metric, and the loaders that bring them in from files, folders, the hub and the world."""

from __future__ import annotations

from labkit.tasks.fewclue import FEWCLUE
from labkit.tasks.loading import load_task
from labkit.tasks.rows import Row
from labkit.tasks.tables import read_table
from labkit.tasks.task import Task
from labkit.tasks.writing import write_table

__all__ = ["FEWCLUE", "Row", "Task", "load_task", "read_table", "write_table"]
