"""`Report`: the rows, how they are added, kept in a file and read back; those that come with labkit."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from labkit.errors import CheckpointError, DataError, UsageError, unknown
from labkit.files import read_json, write_sealed
from labkit.report.comparison import Comparison, paired
from labkit.report.figure import Plot, draw
from labkit.report.lines import lines
from labkit.report.result import Result, result_of
from labkit.report.table import Reference, Table, build

PACKAGES = ("labkit", "torch", "transformers", "numpy")
FOLDER = Path(__file__).parents[1] / "results"  # what `benchmarks/` wrote, for lessons and pages to show


class Report:
    """Rows of results. `bounds` maps a task to (metric, chance, ceiling), fractions, None where unknown.

    >>> report = Report()
    >>> for seed, (a, b) in enumerate([(.80, .88), (.82, .86)]):
    ...     report.add("fine-tune", "world/reviews", a, seed=seed)
    ...     report.add("PET", "world/reviews", b, seed=seed)
    >>> print(report.table())
    method     accuracy    n
    fine-tune  81.0 ± 1.4  2
    PET        87.0 ± 1.4  2
    """

    def __init__(self, rows: Iterable[Result] = (), *, command: str = "", title: str = "") -> None:
        self._rows: dict[tuple[str, str, str, int], Result] = {row.key: row for row in rows}
        self.command, self.title = command, title
        self.bounds: dict[str, tuple[str, float | None, float | None]] = {}
        now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
        self.origin = {"date": now, "device": device(), "versions": versions()}

    @property
    def rows(self) -> list[Result]:
        """The rows, in the order in which they were first added."""
        return list(self._rows.values())

    def add(
        self, method: str, task: Any, value: float, *, seed: int = 0, metric: str | None = None, **costs: Any
    ) -> None:
        """Add one row; adding the same method, task, metric and seed again replaces it, so a cell may be run twice.

        `task` is a name, or a Task, whose metric, chance and ceiling are then noted. `value` is a fraction for
        accuracies. `costs` are Result's fields; any other name becomes an extra column. UsageError for no number.
        """
        if not isinstance(task, str):
            self.bounds[task.name] = (task.metric, task.chance, task.ceiling)
            task, metric = task.name, metric or task.metric
        row = {"method": method, "task": task, "seed": seed, "metric": metric or "accuracy", "value": value, **costs}
        try:
            result = result_of(row)
        except ValueError as error:
            raise UsageError(f"result of {method!r} on {task!r}: {error}") from error
        self._rows[result.key] = result

    def table(
        self,
        reference: Reference | None = None,
        *,
        task: str | None = None,
        metric: str | None = None,
        source: str = "",
    ) -> Table:
        """Methods by rows: mean ± standard deviation over seeds, number of seeds, mean costs, chance and ceiling.

        `reference` maps methods to what a paper reports, as printed there, alone or with its source: `{"PET": 86.9}` or
        `{"PET": (86.9, "Schick & Schütze 2021, Table 1")}`, a number or a text ("≈ 9.4×"); `source` is one for all.
        """
        return build(self._chosen(task, metric), self.bounds, reference or {}, source)

    def compare(self, a: str, b: str, *, task: str | None = None) -> Comparison:
        """Mean of a − b over the seeds that both ran, with its 95 % interval (Student's t on the differences).

        Of several tasks the mean over those that both ran is compared. UsageError where they share no seed.
        """
        return paired(self._chosen(task, self._metrics()[0]), a, b)

    def plot(
        self,
        path: str | os.PathLike[str] | None = None,
        reference: Reference | None = None,
        *,
        task: str | None = None,
        metric: str | None = None,
        title: str = "",
        ranked: bool = False,
    ) -> Plot:
        """Score of each method with its spread, and score against size; saved to `path` where given. See `Plot.alt`.

        `ranked`: the scores alone, from the best method to the worst.
        """
        rows = self._chosen(task, metric or self._metrics()[0])
        plot = draw(rows, self.bounds, reference or {}, title or self.title, ranked)
        if path is not None:
            plot.save(path)
        return plot

    def lines(self, x: str, *, label: str = "", title: str = "") -> Plot:
        """Mean score ± standard deviation over the column `x` ("shots", "parameters"), a line for each method.

        A row's line is its method up to the first comma: "PET, 4-shot" belongs to "PET".
        """
        rows = self._chosen(None, self._metrics()[0])
        return lines(rows, self.bounds, x, label or x, title or self.title)

    def plain(self) -> dict[str, Any]:
        """Command, date, device, versions, bounds and rows, as JSON keeps them."""
        head = {"command": self.command, "title": self.title, **self.origin}
        ends = {task: list(bounds) for task, bounds in self.bounds.items()}
        return {**head, "bounds": ends, "rows": [row.plain() for row in self.rows]}

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write `plain` as JSON with a checksum of itself, whole or not at all."""
        write_sealed(path, self.plain())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Report:
        """Read what `save` wrote; DataError naming file, row and field where it is anything else, or altered since."""
        found = _read(Path(path))
        report = cls(command=str(found.get("command", "")), title=str(found.get("title", "")))
        report.origin = {name: found.get(name, "") for name in report.origin}
        report.bounds = _bounds(found.get("bounds", {}), path)
        for number, row in enumerate(found["rows"], start=1):
            try:
                result = result_of(row)
            except ValueError as error:
                raise DataError(f"{path}: row {number}: {error}") from error
            report._rows[result.key] = result
        return report

    def _metrics(self) -> list[str]:
        if not self._rows:
            raise UsageError("the report has no rows yet: add some first")
        return list(dict.fromkeys(row.metric for row in self.rows))

    def _chosen(self, task: str | None, metric: str | None) -> list[Result]:
        metrics, tasks = self._metrics(), list(dict.fromkeys(row.task for row in self.rows))
        if metric is not None and metric not in metrics:
            raise unknown("metric", metric, metrics)
        if task is not None and task not in tasks:
            raise unknown("task", task, tasks)
        return [row for row in self.rows if task in (None, row.task) and metric in (None, row.metric)]


def _read(path: Path) -> dict[str, Any]:
    mend = "restore it, or run its benchmark again"
    try:
        found = read_json(path, mend)
    except CheckpointError as error:
        raise DataError(str(error)) from error
    if not isinstance(found.get("rows"), list):
        raise DataError(f'{path}: not a report: an object with a list "rows" was expected; {mend}')
    return found


def _bounds(found: Any, path: Any) -> dict[str, tuple[str, float | None, float | None]]:
    def fraction(value: Any) -> bool:
        return value is None or (isinstance(value, int | float) and 0 <= value <= 1)

    def sound(entry: Any) -> bool:
        named = isinstance(entry, list) and len(entry) == 3 and isinstance(entry[0], str)
        return named and all(map(fraction, entry[1:]))

    if not isinstance(found, dict) or not all(sound(entry) for entry in found.values()):
        raise DataError(f'{path}: field "bounds": each task needs [metric, chance, ceiling], fractions or null')
    return {task: (metric, chance, ceiling) for task, (metric, chance, ceiling) in found.items()}


def names() -> list[str]:
    """The names of the reports that come with labkit, in the order of the alphabet."""
    return sorted(path.stem for path in FOLDER.glob("*.json"))


def results(name: str) -> Report:
    """The report `labkit/results/NAME.json`, with the command, the date and the device that made it.

    UsageError, with the nearest name, where there is none.
    """
    if name not in names():
        raise unknown("results", name, names())
    return Report.load(FOLDER / f"{name}.json")


def device() -> str:
    """The hardware in words, without the machine's name: "x86_64, AMD EPYC, 2 cores" or the GPU's name too."""
    import torch

    parts = [platform.machine(), _processor(), f"{os.cpu_count()} cores"]
    if torch.cuda.is_available():
        parts.append(f"{torch.cuda.device_count()} × {torch.cuda.get_device_name()}")
    return ", ".join(part for part in parts if part)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def versions() -> dict[str, str]:
    """Python's version and those of the packages that results depend on."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
