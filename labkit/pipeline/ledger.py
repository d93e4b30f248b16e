"""What a pipeline's folder holds: `report.json` has the rows of finished runs and, under "run", what vouches for them.

    settings   as they were asked for (`settings.json` has them too, for people)
    origin     hashes of the rows and of the model that it all was made from
    files      the SHA-256 of every file that a stage left

It carries a checksum of itself, and is written anew when an artefact is finished, whole or not at all. So a file that
it does not name was never finished, and is made again; and what it names is compared before a pipeline goes on, for one
wrong bit in a model gives other numbers and no error.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from labkit import files
from labkit.errors import CheckpointError, UsageError
from labkit.report import Report

REPORT, SETTINGS, CHECKPOINTS = "report.json", "settings.json", "checkpoints"
STAGES = ("1-pretrained", "2-adapted", "3-distilled", "4-quantised")
MEND = "put it back as it was, or choose another --out"


class Ledger:
    """The report so far, and the checksums of what stands beside it."""

    def __init__(self, out: Path, settings: Mapping[str, Any], origin: Mapping[str, Any], report: Report) -> None:
        self.out, self.settings, self.origin, self.report = out, dict(settings), dict(origin), report
        self.files: dict[str, dict[str, str]] = {}  # artefact, a folder or a file of `out` -> file in it -> SHA-256

    @classmethod
    def begin(
        cls, out: Path, settings: Mapping[str, Any], origin: Mapping[str, Any], *, resume: bool, command: str
    ) -> Ledger:
        """The ledger of `out`: of the run that it holds when resuming, else a new one.

        A run without a result yet does not hold the folder against other settings: whoever mistyped begins again.
        Raises UsageError where a run is there and `resume` is not asked for, or has other settings; CheckpointError
        for one that was made from other rows or another model, and for a file that is not as its stage left it.
        """
        new, path = cls(out, settings, origin, Report(command=command)), out / REPORT
        if not path.exists():
            if there := next((name for name in (*STAGES, "app") if (out / name).exists()), None):
                raise CheckpointError(f"{out / there}: there is no {REPORT} beside it that vouches for it; {MEND}")
            return new._started()
        old = cls._read(path)
        same = old.settings == new.settings and old.origin == new.origin
        if not same and not old.report.rows:
            return new._started()
        if not resume and (old.report.rows or len(old.files) > 1 or (out / CHECKPOINTS).exists()):
            raise UsageError(f"{out} holds a run already: add --resume to go on with it, or choose another --out")
        old._compare(new)
        old._verify()
        return old

    def _started(self) -> Ledger:
        files.write_json(self.out / SETTINGS, self.settings)
        self.keep(self.out / SETTINGS)
        return self

    def holds(self, artefact: Path) -> bool:
        """Whether a folder or file was finished, and is as it was then."""
        return self._name(artefact) in self.files

    def keep(self, artefact: Path | None = None) -> None:
        """Write the report, and that the artefact, a folder or file, is finished as it stands now."""
        if artefact is not None:
            self.files[self._name(artefact)] = _sums(artefact)
        run = {"settings": self.settings, "origin": self.origin, "files": self.files}
        files.write_sealed(self.out / REPORT, {**self.report.plain(), "run": run})

    def _name(self, artefact: Path) -> str:
        return artefact.relative_to(self.out).as_posix()

    @classmethod
    def _read(cls, path: Path) -> Ledger:
        found = files.read_json(path, MEND)
        try:
            run = found["run"]
            old = cls(path.parent, run["settings"], run["origin"], Report.load(path))
            old.files = run["files"]
        except (KeyError, TypeError) as error:
            raise CheckpointError(f"{path}: of another labkit ({type(error).__name__}: {error}); {MEND}") from error
        return old

    def _compare(self, new: Ledger) -> None:
        """Raise for the first setting, or the input, in which the two runs differ."""
        for name in sorted(self.settings.keys() | new.settings.keys()):
            then, now = self.settings.get(name), new.settings.get(name)
            if then != now:
                raise UsageError(
                    f"{self.out} was begun with other settings ({name}: {then!r}, now {now!r}): choose another --out"
                )
        for name in sorted(self.origin.keys() | new.origin.keys()):
            if self.origin.get(name) != new.origin.get(name):
                raise CheckpointError(f"{self.out} was made from other {name}: use the same, or choose another --out")

    def _verify(self) -> None:
        """Raise CheckpointError naming the first file that is not as its stage left it."""
        for name, wanted in self.files.items():
            found = _sums(self.out / name)
            for file in sorted(wanted.keys() | found.keys()):
                if found.get(file) != wanted.get(file):
                    what = "altered or cut short" if file in found and file in wanted else "missing"
                    what = what if file in wanted else "not part of what the pipeline left"
                    raise CheckpointError(f"{self.out / name / file}: {what}; {MEND}")


def _sums(artefact: Path) -> dict[str, str]:
    """The SHA-256 of each file of a folder, by its path in it; of a file, under no name."""
    try:
        if artefact.is_file():
            return {"": files.sha256(artefact)}
        return {
            file.relative_to(artefact).as_posix(): files.sha256(file)
            for file in sorted(artefact.rglob("*"))
            if file.is_file()
        }
    except OSError as error:
        raise files.describe_os_error(error, artefact) from error
