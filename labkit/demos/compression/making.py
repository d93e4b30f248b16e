"""The models of the compression demo: a teacher and what passes make of it, each made once and kept as an app.

The folder of a model is named by what the model depends on. One that is missing, damaged or half-written is made again.
"""

from __future__ import annotations

import functools
import shutil
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import labkit
from labkit import files, measure
from labkit.apps import App, load_app, save_app
from labkit.compression.compose import Material, compress, parse
from labkit.compression.distill import join_teacher, teacher_logits
from labkit.compression.tinybert import bert_encoder
from labkit.config import fingerprint
from labkit.errors import CheckpointError, say
from labkit.evaluation import predict
from labkit.foundations.heads import HeadClassifier, add_head
from labkit.lab import quietly, wants_progress
from labkit.tasks import Task
from labkit.training import Batches, fit
from labkit.training.identity import content
from labkit.zoo import Loaded

TEACHER = "Teacher"
STEPS, TEACHER_RATE, RATE, BATCH, SEED = 300, 5e-4, 1e-3, 32, 0
UNLABELLED, HELD_OUT = 2000, 400  # rows that only the teacher labels, and rows of the test split to score on
TURNS = 15  # times that every model is asked, one after the other, for the median of its milliseconds


def lines_for(model: Any) -> dict[str, str]:
    """Each model's name and its passes, none for the teacher's. UsageError for a model that is not of BERT's family."""
    encoder = bert_encoder(model)
    heads = encoder.config.num_attention_heads
    small = f"shrink:1,{heads * max(1, encoder.config.hidden_size // heads // 2)} distill:600"
    return {
        TEACHER: "",
        "Teacher in int8": "quantize:int8",
        "Half the layers": f"droplayers:{max(1, len(encoder.encoder.layer) // 2)} distill:150",
        "Small student": small,
        "Small, half its weights 0": f"{small} prune:0.5,200",
        "Small in int8": f"{small} quantize:int8",
        "Small, ternary": f"{small} quantize:ternary,200",
    }


@dataclass(frozen=True)
class Made:
    """A model that is ready: its name and passes, the app, and bytes of its file of weights."""

    name: str
    line: str
    app: App
    bytes: int

    @property
    def parameters(self) -> int:
        """Weights, in whatever form."""
        return measure.parameters(self.app.model)


@dataclass
class Workshop:
    """Makes models of a backbone (the bare encoder) and a task with the splits train and test."""

    base: Loaded
    task: Task
    steps: int = STEPS  # of the teacher
    made: dict[str, Made] = field(default_factory=dict, init=False)  # by their lines

    def __post_init__(self) -> None:
        self.method = HeadClassifier(self.base.tokenizer, self.task.fields)
        self.rows = [*self.task.splits["train"], *self.task.splits.get("unlabelled", [])[:UNLABELLED]]
        self.test = self.task.splits["test"][:HELD_OUT]
        numbers = [labkit.__version__, self.steps, TEACHER_RATE, RATE, BATCH, SEED, list(self.task.labels), self.method]
        self.origin = content([numbers, self.base.model.state_dict(), self.rows, self.test])

    def models(self, lines: Mapping[str, str]) -> list[Made]:
        """The model of each line, the teacher's first: as it is kept, or else made now and kept.

        One process makes, others wait. LabkitError where the cache cannot be written.
        """
        with files.locked(cache() / "lock"), quietly():
            for number, (name, line) in enumerate(lines.items(), start=1):
                folder = cache() / fingerprint(self.origin, line)
                app = _kept(folder)
                if app is None:
                    told = f"model {number} of {len(lines)} (once; all take a minute or two)"
                    say(f"labkit: making {told}: {name} ({line or 'fine-tuned'})")
                    app = self._make(folder, line)
                self.made[line] = Made(name, line, app, measure.bytes_on_disk(folder))
        return list(self.made.values())

    def _make(self, folder: Path, line: str) -> App:
        """Train or compress, score, and keep."""
        began = time.perf_counter()
        model = self._compressed(line.split()) if line else self._teacher()
        found, wanted = predict(model, self.method, self.test).argmax(1), [row["label"] for row in self.test]
        metrics = {
            "accuracy": float(np.mean(found == wanted)),
            "agreement": float(np.mean(found == self.taught)) if line else 1.0,
            "rows": len(self.test), "seconds": round(time.perf_counter() - began, 1),
        }  # fmt: skip
        shutil.rmtree(folder, ignore_errors=True)  # what is damaged may hold other files than an app
        save_app(folder, model, self.base.tokenizer, self.method, self.task, metrics=metrics)
        return load_app(folder)

    def _teacher(self) -> Any:
        model = add_head(self.base.model, self.task.labels, pooling="mean", seed=SEED)
        batches = Batches(self.method.read(self.task.splits["train"]), self.method.collate, BATCH, seed=SEED)
        fit(model, self.method.loss, batches, steps=self.steps, lr=TEACHER_RATE, seed=SEED)
        return model

    def _compressed(self, words: Sequence[str]) -> Any:
        """By the passes that are left after the longest beginning of the line that is made already."""
        beginnings = (done.split() for done in self.made if words[: len(done.split())] == done.split())
        start = max(beginnings, key=len)
        passes = parse(" ".join(words[len(start) :]))
        return compress(self.made[" ".join(start)].app.model, passes, self.material).model

    @functools.cached_property
    def material(self) -> Material:
        """The rows with the teacher's answers, which are asked for once."""
        logits = teacher_logits(self.made[""].app.model, self.method, self.rows, progress=wants_progress(None))
        return Material(self.method, join_teacher(self.rows, logits), lr=RATE, batch_size=BATCH, progress=None)

    @functools.cached_property
    def taught(self) -> np.ndarray:
        """What the teacher answers to the rows to score on, (rows,)."""
        return predict(self.made[""].app.model, self.method, self.test).argmax(1)


def cache() -> Path:
    """Where the models are kept."""
    return files.cache_folder() / "demos" / "compression"


def _kept(folder: Path) -> App | None:
    """The app in `folder`; None where there is none, or what is there is damaged."""
    try:
        return load_app(folder)
    except CheckpointError as error:
        if folder.exists():
            say(f"labkit: {error}: making it again")
        return None


@dataclass(frozen=True)
class Answer:
    """What a model makes of a text: the probability of each class, (classes,), and milliseconds."""

    made: Made
    probabilities: np.ndarray
    milliseconds: float


def ask(models: Sequence[Made], text: str) -> list[Answer]:
    """Every model's answer; they are timed in turns, so that what else the machine does meets all alike."""
    rows, turns = [{"text": text}], []
    for turn in range(TURNS):
        turns.append([
            measure.latency(one.app.model, one.app.method, rows, repeats=1, warm_up=int(turn == 0)) for one in models
        ])  # fmt: skip
    medians = map(statistics.median, zip(*turns, strict=True))
    return [Answer(one, one.app.answers(rows)[0], ms) for one, ms in zip(models, medians, strict=True)]
