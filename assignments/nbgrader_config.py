"""How nbgrader releases and grades this course; see docs/teaching.md."""

from nbconvert.preprocessors import ClearMetadataPreprocessor
from nbgrader.preprocessors import (
    AssignLatePenalties,
    CheckCellMetadata,
    ClearOutput,
    IgnorePattern,
    LimitOutput,
    OverwriteCells,
    OverwriteKernelspec,
    SaveAutoGrades,
)

from labkit.classroom.guard import BoundedExecute, KnownCells, OnlyRun, StatementsOnly

c = get_config()  # noqa: F821  nbgrader provides it

c.CourseDirectory.course_id = "labkit"
# Seconds: one cell, all cells of a notebook, and an interrupted kernel's time to answer.
c.Execute.timeout = 60
c.BoundedExecute.max_seconds = 600
c.BoundedExecute.patience = 10
c.BoundedExecute.max_characters = 200_000
# nbgrader's own steps, with KnownCells for DeduplicateIds, BoundedExecute for Execute, and two steps more
# before scores are read.
c.Autograde.sanitize_preprocessors = [ClearOutput, KnownCells, OverwriteKernelspec, OverwriteCells, CheckCellMetadata]
c.Autograde.autograde_preprocessors = [
    BoundedExecute,
    IgnorePattern,
    ClearMetadataPreprocessor,
    LimitOutput,
    StatementsOnly,
    OnlyRun,
    SaveAutoGrades,
    AssignLatePenalties,
    CheckCellMetadata,
]
