"""Meta-KD on tables: first a meta-teacher of all their domains, then a student of one of them (Pan et al. 2021).

Beside its app a meta-teacher leaves `domain_reader.safetensors`, what reads a text's domain: its students learn that
feature too.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labkit.apps.folder import load_app
from labkit.checkpoints import load_tensors, reading, save_tensors
from labkit.compression.meta_kd import DOMAIN, READER, TYPICAL, DomainReader, MetaDistill, MetaTeacher, described
from labkit.errors import DataError, UsageError, unknown
from labkit.fewshot.methods import Adapted
from labkit.tasks import Task

FILE = f"{READER}.safetensors"
ALL, AGAIN = "all", "train the teacher again"
STAGES = {"first": ("embedding", "hidden", "attention", "transfer"), "second": ("prediction",)}  # the losses of each
Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class MetaKD:
    """How a meta-teacher is trained, or with `teacher`, the folder of one, how its student is."""

    teacher: str | None = None
    stage: str | None = None  # of STAGES; None: all losses at once
    genre: str = ALL  # the domain that the student is for
    domain: str = "domain"  # the columns
    weight: str = "weight"  # prototype scores; where the tables have none, they are computed
    corruption: float = 0.5  # weight of the wrong domain's loss in the teacher, of the feature's in the student
    weighted: bool = True  # a meta-teacher weighs its rows by their prototype scores
    temperature: float = 1.0

    @contextlib.contextmanager
    def taught(self, adapted: Adapted, task: Task, out: Path, world: int) -> Iterator[tuple[Adapted, Rows]]:
        """Inside: what is trained, and the rows. Afterwards the model is as plain as it was.

        UsageError for several processes, a task without classes, an unknown genre, a teacher that is none or does not
        fit; DataError for rows without a domain or with a weight that is no number.
        """
        if world > 1:
            raise UsageError("type=metakd trains in one process: leave torchrun out")
        if task.answer != "class":
            raise UsageError("Meta-KD is for classes: text_classify or text_match")
        if self.teacher is None:
            with self._teacher(adapted, task, out) as found:
                yield found
        else:
            with self._student(adapted, task, Path(self.teacher)) as found:
                yield found

    @contextlib.contextmanager
    def _teacher(self, adapted: Adapted, task: Task, out: Path) -> Iterator[tuple[Adapted, Rows]]:
        rows = self._scored(adapted, task)
        domains = sorted({row[self.domain] for row in rows})
        objective = MetaTeacher(adapted.method, len(domains), self.corruption)
        with objective.attached(adapted.model) as reader:
            yield Adapted(adapted.model, objective), self._numbered(rows, domains)
        delattr(adapted.model, READER)
        tensors = {name: tensor.cpu() for name, tensor in reader.state_dict().items()}
        save_tensors(out / FILE, tensors, domains=json.dumps(domains))

    @contextlib.contextmanager
    def _student(self, adapted: Adapted, task: Task, folder: Path) -> Iterator[tuple[Adapted, Rows]]:
        (reader, domains), app = _reader(folder), load_app(folder)
        if app.card.labels != tuple(task.labels):
            raise UsageError(f"{folder}: the teacher's labels are {', '.join(app.card.labels)}, the tables' "
                             f"{', '.join(task.labels)}: name them in its order")  # fmt: skip
        if app.tokenizer.get_vocab() != adapted.method.tokenizer.get_vocab():
            raise UsageError(f"{folder}: teacher and student have different vocabularies: start the student from a "
                             "model with the teacher's tokenizer")  # fmt: skip
        if self.genre not in (ALL, *domains):
            raise unknown("genre", self.genre, [*domains, ALL])
        rows = self._numbered(self._scored(Adapted(app.model, adapted.method), task), domains)
        rows = [row for row in rows if self.genre in (ALL, row[self.domain])]
        if not rows:
            raise DataError(f"{task.title}: no training row of the genre {self.genre!r}")
        setattr(app.model, READER, reader)
        weights = {"transfer": self.corruption}
        if self.stage is not None:
            others = set().union(*STAGES.values()) - set(STAGES[self.stage])
            weights |= dict.fromkeys(others, 0.0)
        objective = MetaDistill(adapted.method, app.model, temperature=self.temperature, **weights)
        with objective.attached(adapted.model):
            yield Adapted(adapted.model, objective), rows

    def _scored(self, scorer: Adapted, task: Task) -> Rows:
        """The training rows with prototype scores: the table's own, or by the scorer's features."""
        rows = task.splits["train"]
        if self.domain not in rows[0]:
            raise DataError(f"{task.title}: no column {self.domain!r}: add it to the schema, as {self.domain}:str:1")
        for number, row in enumerate(rows, start=1):
            if row[self.domain] == "":
                raise DataError(f"{task.title}: row {number}: the column {self.domain!r} is empty: name a domain")
        if not self.weighted:
            return [{**row, TYPICAL: 1.0} for row in rows]
        if self.weight not in rows[0]:
            return described(scorer.model, scorer.method, rows, field=self.domain)
        scores = [_number(row[self.weight], f"{task.title}: row {at}") for at, row in enumerate(rows, start=1)]
        return [{**row, TYPICAL: score} for row, score in zip(rows, scores, strict=True)]

    def _numbered(self, rows: Rows, domains: list[str]) -> Rows:
        """The rows with their domains' numbers; DataError for a domain that is none of `domains`."""
        for row in rows:
            if row[self.domain] not in domains:
                raise DataError(str(unknown("domain of the teacher", row[self.domain], domains)))
        return [{**row, DOMAIN: domains.index(row[self.domain])} for row in rows]


def _number(cell: Any, where: str) -> float:
    """A prototype score; DataError where it is none."""
    try:
        found = float(cell)
    except ValueError:
        found = float("nan")
    if not -1 <= found <= 1:
        raise DataError(f"{where}: a prototype score from −1 to 1 is expected, not {cell!r:.60}")
    return found


def _reader(folder: Path) -> tuple[DomainReader, list[str]]:
    """What reads the teacher's domains, and their names; UsageError for a folder without, CheckpointError where it is
    damaged.
    """
    path = folder / FILE
    if not path.is_file():
        raise UsageError(f"{folder}: no {FILE} there: not a meta-teacher's folder; train one with type=metakd and "
                         "without teacher_model_path")  # fmt: skip
    tensors, notes = load_tensors(path, AGAIN)
    with reading(path, AGAIN):
        domains = json.loads(notes["domains"])
        reader = DomainReader(tensors["dense.weight"].shape[0], len(domains))
        reader.load_state_dict(tensors)
    return reader, domains
