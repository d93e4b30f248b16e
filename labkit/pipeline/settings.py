"""What a pipeline is to do: its settings, the report that it goes on with, and the few-shot task of each seed."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from labkit import files
from labkit.config import to_dict
from labkit.errors import DataError, UsageError
from labkit.fewshot.methods import METHODS, method_name
from labkit.pipeline.overlap import clean
from labkit.report import Report
from labkit.tasks import Task, load_task


@dataclass(frozen=True)
class PipelineSettings:
    """What to run. `model=None` pre-trains a micro BERT from scratch; `splits` fills `{split}` in the task's name, a
    seed each.
    """

    model: str | None = None
    task: str = "world/reviews"
    schema: str | None = None
    unlabelled: str | None = None
    splits: tuple[str, ...] = ()
    pattern: str | None = None  # cloze template, where the task brings none: "{text} it was {mask} ."
    words: tuple[str, ...] = ()  # its label words: ("0=bad", "1=good,great")
    few_shot: str = (
        "PET"  # the method of stage 2, one of labkit.fewshot.methods.METHODS; the default is the best measured
    )
    shots: int = 16
    seeds: int = 3
    out: str = "runs/pipeline"
    resume: bool = False
    few_shot_steps: int = 60
    student: Literal["auto", "shrunk", "own"] = "auto"  # the teacher made small, or a BERT with a vocabulary of its own
    student_layers: int | None = None  # 2, or 3 for an own student
    student_hidden: int | None = None  # 32, or 192 for an own student
    student_vocabulary: int = 8000  # an own student's WordPiece pieces, at most
    student_steps: int = 1500  # an own student's steps of masked language modelling before it is taught
    distil_epochs: int = 12
    unlabelled_rows: int = 8000  # at most this many unlabelled texts are used
    test_rows: int = 1000
    head_steps: int = 400  # for a model without a masked-LM head: steps that train one

    def __post_init__(self) -> None:
        if self.shots < 1 or self.seeds < 1:
            raise UsageError("--shots and --seeds must be at least 1")
        if self.splits and len(self.splits) != self.seeds:
            raise UsageError(f"--splits names {len(self.splits)} splits for --seeds {self.seeds}: give one a seed")
        object.__setattr__(self, "few_shot", method_name(self.few_shot))


def open_report(settings: PipelineSettings, command: str) -> Report:
    """The report so far when resuming, else a new one; refuses to mix two settings in one folder."""
    out = Path(settings.out)
    record, wanted = out / "settings.json", to_dict(replace(settings, resume=False))
    if record.is_file():
        if not settings.resume:
            raise UsageError(f"{out} holds a run already: add --resume to go on with it, or choose another --out")
        if json.loads(record.read_text(encoding="utf-8")) != wanted:
            raise UsageError(f"{out} was begun with other settings ({record}): choose another --out")
    files.write_json(record, wanted)
    saved = out / "report.json"
    return Report.load(saved) if saved.is_file() else Report(command=command)


def few_shot_task(settings: PipelineSettings, seed: int) -> Task:
    """The task of one seed: `shots` examples a class, unlabelled text, a bounded test split, and a cloze."""
    name = settings.task.replace("{split}", settings.splits[seed]) if settings.splits else settings.task
    options: dict[str, Any] = {"schema": settings.schema, "unlabelled": settings.unlabelled}
    if name.startswith("fewclue:"):
        options["split"] = seed % 5
    task = load_task(name, **{key: value for key, value in options.items() if value is not None})
    if "test" not in task.splits:
        raise DataError(f"{name}: the pipeline needs a test split (for tables: TRAIN,DEV or TRAIN,DEV,TEST)")
    few = with_cloze(task, settings).few_shot(settings.shots, seed)
    unlabelled, note = few.splits["unlabelled"], ""
    # Text from elsewhere may hold the test; the world's own, drawn from patterns, only seems to.
    if settings.unlabelled:
        unlabelled, note = clean(unlabelled, few.splits["test"], few.fields)
    splits = {
        "test": _spread(few.splits["test"], settings.test_rows),
        "unlabelled": _spread(unlabelled, settings.unlabelled_rows),
    }
    # One name for all seeds, whichever split each reads: they are one task in the table.
    return replace(few, name=settings.task, splits={**few.splits, **splits}).with_note(note)


def _spread(rows: list[Any], most: int) -> list[Any]:
    """At most `most` rows, from all over the list: a file may be sorted by its labels."""
    return rows if len(rows) <= most else [rows[number * len(rows) // most] for number in range(most)]


def with_cloze(task: Task, settings: PipelineSettings) -> Task:
    """The task with the pattern and label words of the settings, where they are given; UsageError where the few-shot
    method needs some and there are none.
    """
    words = dict(entry.partition("=")[::2] for entry in settings.words)
    task = replace(
        task,
        patterns=(settings.pattern,) if settings.pattern else task.patterns,
        words={label: tuple(text.split(",")) for label, text in words.items()} or task.words,
    )
    if METHODS[settings.few_shot].cloze and (not task.patterns or set(task.words) != set(task.labels)):
        fields = " ".join(f"{{{name}}}" for name in task.fields)
        pairs = " ".join(f"{label}=…" for label in task.labels)
        raise UsageError(
            f"{task.name} has no cloze for {settings.few_shot}: add --pattern '{fields} it was {{mask}} .' "
            f"--words '{pairs}', or choose --few-shot cp-tuning, which needs none"
        )
    return task
