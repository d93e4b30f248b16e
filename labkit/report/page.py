"""One measured table as a page: what it is about, what a paper reports of the same; and the document of all pages."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from labkit.report.figure import Plot
from labkit.report.rows import Report, results
from labkit.report.table import Reference, Table

HEAD = """\
# Results

Every table that this project has measured, made from its rows, one a seed, by `labkit results build`. Cells are mean ±
standard deviation over seeds, `n` is the number of seeds, accuracies are in per cent. `labkit results NAME` prints one.
"""
LONGEST = 60  # characters of a task's name that may head a column


@dataclass(frozen=True)
class Page:
    """One measured table: file, heading, what was measured; what a paper reports of it, and which."""

    name: str
    title: str
    about: str
    paper: Reference = field(default_factory=dict)
    source: str = ""

    @functools.cached_property
    def report(self) -> Report:
        """The rows."""
        return results(self.name)

    @property
    def table(self) -> Table:
        """Methods by tasks; of several metrics, a line for each method on each task, and a column for each metric."""
        rows = [replace(row, task=heading(row.task), extra={}) for row in self.report.rows]
        if len({row.metric for row in rows}) > 1:
            several = len({row.task for row in rows}) > 1
            rows = [replace(r, method=f"{r.task}: {r.method}" if several else r.method, task="all") for r in rows]
        shown = Report(rows)
        shown.bounds = {heading(task): ends for task, ends in self.report.bounds.items()}
        return shown.table(self.paper, source=self.source)

    def plot(self) -> Plot:
        """Its methods from the best to the worst, as dots, with the paper's figures beside them."""
        return self.report.plot(reference=self.paper, title=self.title, ranked=True)

    def markdown(self) -> str:
        """Its section of docs/results.md."""
        origin = self.report.origin
        rows = f"[{len(self.report.rows)} rows](../labkit/results/{self.name}.json)"
        made = f"{origin['date'][:10]}, {origin['device']}, {rows}:"
        return f"## {self.title}\n\n{self.about}\n{made} `{self.report.command}`\n\n{self.table.markdown()}"


def heading(task: str) -> str:
    """A task's name without the world's, for a narrow column; "own tables" for one that is a list of files."""
    return task.removeprefix("world/").removeprefix("fewclue/") if len(task) <= LONGEST else "own tables"


def anchor(title: str) -> str:
    """The link to a heading, as GitHub makes it."""
    kept = "".join(character for character in title.lower() if character.isalnum() or character in " -_")
    return kept.replace(" ", "-")


def document(pages: Sequence[Page]) -> str:
    """docs/results.md: every table that was measured, with how to measure it again."""
    listed = "\n".join(f"- [{one.title}](#{anchor(one.title)})" for one in pages)
    return f"{HEAD}\n{listed}\n\n" + "\n".join(one.markdown() for one in pages)
