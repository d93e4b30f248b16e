"""Scores without running anything: nbgrader reads them off notebooks that a container has run.

Copied as nbgrader_config.py into the folder that holds the gradebook; see docs/teaching.md.
"""

from nbgrader.preprocessors import AssignLatePenalties, CheckCellMetadata, LimitOutput, OverwriteCells, SaveAutoGrades

from labkit.classroom.guard import KnownCells, OnlyRun, StatementsOnly

c = get_config()  # noqa: F821  nbgrader provides it

c.CourseDirectory.course_id = "labkit"
# As in nbgrader_config.py, but outputs are kept and no step executes.
c.Autograde.sanitize_preprocessors = [KnownCells, OverwriteCells, CheckCellMetadata]
c.Autograde.autograde_preprocessors = [
    LimitOutput,
    StatementsOnly,
    OnlyRun,
    SaveAutoGrades,
    AssignLatePenalties,
    CheckCellMetadata,
]
