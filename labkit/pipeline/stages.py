"""The stages, seed by seed. A *run* is one method with one seed: trained, measured, recorded, never done twice."""

from __future__ import annotations

import json
import math
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedModel

from labkit import files, measure
from labkit.apps import load_app, save_app
from labkit.compression import distill, int8
from labkit.compression.shrink import shrink
from labkit.compression.tinybert import TinyBert
from labkit.config import to_dict
from labkit.errors import DataError, UsageError
from labkit.evaluation import evaluate
from labkit.fewshot import methods
from labkit.fewshot.soft_tokens import plain
from labkit.foundations.heads import HeadClassifier, add_head
from labkit.foundations.pretraining import MaskedLM, tokenize_corpus
from labkit.lab import quietly
from labkit.pipeline.settings import PipelineSettings, few_shot_task
from labkit.report import Report
from labkit.tasks import Task
from labkit.training import Batches, fit
from labkit.zoo import Loaded, load, recipe
from labkit.zoo.building import pretrain

BATCH = 32  # sentences a batch, where the small model is trained and where latency is measured
BASELINES = ("fine-tune [CLS]", "fine-tune [mean]")  # what the few-shot method is compared with


@dataclass(frozen=True)
class Trained:
    """What a run produced: enough to evaluate, measure and save it."""

    model: PreTrainedModel
    tokenizer: Any
    method: Any
    quantised: str | None = None


class Pipeline:
    """The state of one pipeline: settings, finished rows, and where things are."""

    def __init__(self, settings: PipelineSettings, progress: bool | None, command: str) -> None:
        self.settings, self.progress, self.out = settings, progress, Path(settings.out)
        self.tasks = [few_shot_task(settings, seed) for seed in range(settings.seeds)]
        self.report = self._open_report(command)

    def _open_report(self, command: str) -> Report:
        """The report so far when resuming, else a new one; refuses to mix two settings in one folder."""
        record, wanted = self.out / "settings.json", to_dict(replace(self.settings, resume=False))
        if record.is_file():
            if not self.settings.resume:
                raise UsageError(
                    f"{self.out} holds a run already: add --resume to go on with it, or choose another --out"
                )
            if json.loads(record.read_text(encoding="utf-8")) != wanted:
                raise UsageError(f"{self.out} was begun with other settings ({record}): choose another --out")
        files.write_json(record, wanted)
        saved = self.out / "report.json"
        return Report.load(saved) if saved.is_file() else Report(command=command)

    def run(self) -> Report:
        """All stages, seed by seed; the report is on disk after every run."""
        base = self.pretrained()
        for seed, task in enumerate(self.tasks):
            self.adapt(base, task, seed)
            self.distil(base, task, seed)
            self.quantise(task, seed)
        self._say("5/5 table and picture")
        shutil.copytree(self.out / "4-quantised/small-seed-0", self.out / "app", dirs_exist_ok=True)
        self.report.save(self.out / "report.json")
        self.report.plot(self.out / "report.png")
        return self.report

    # Stage 1

    def pretrained(self) -> Loaded:
        """The language model that all else starts from: trained here, or named; without an MLM head it gets one."""
        folder = self.out / "1-pretrained"
        if folder.is_dir():
            return load(str(folder))
        if self.settings.model is None:
            item = recipe(f"micro-bert-{self.tasks[0].language}")
            self._say(f"1/5 pre-train {item.name} from scratch: {item.steps} steps")
            model, tokenizer, _ = pretrain(item, folder=self.out / "checkpoints", resume=True, progress=self.progress)
            base = Loaded(model, tokenizer)
        else:
            self._say(f"1/5 pre-trained model: {self.settings.model}")
            base = load(self.settings.model, progress=self.progress)
            if base.fresh:
                self._train_head(base)
        with quietly(), files.writing_folder(folder) as temporary:
            base.model.save_pretrained(temporary)
            base.tokenizer.save_pretrained(temporary)
        return base

    def _train_head(self, base: Loaded) -> None:
        """Train the fresh parameters alone, on unlabelled text; the head's decoder is tied to the embeddings."""
        texts = [" ".join(str(row[f]) for f in self.tasks[0].fields) for row in self.tasks[0].splits["unlabelled"]]
        if not texts:
            raise DataError(
                "this model has no masked-LM head, and the task no unlabelled text to train one: add --unlabelled"
            )
        self._say(f"    it has no masked-LM head: training one on {len(texts)} unlabelled texts, body frozen")
        frozen = [p for name, p in base.model.named_parameters() if name not in base.fresh and p.requires_grad]
        objective = MaskedLM(base.tokenizer)
        batches = Batches(tokenize_corpus(texts, base.tokenizer, 64), objective.collate, BATCH)
        for parameter in frozen:
            parameter.requires_grad_(False)
        fit(base.model, objective.loss, batches, steps=self.settings.head_steps, lr=1e-3, progress=self.progress)
        for parameter in frozen:
            parameter.requires_grad_(True)

    # Stage 2

    def adapt(self, base: Loaded, task: Task, seed: int) -> None:
        """The large model from a few examples: both kinds of head fine-tuning, and the method chosen."""
        self._say(f"2/5 adapt to {task.name} from {self.settings.shots} examples a class, seed {seed}")
        for name in dict.fromkeys([*BASELINES, self.settings.few_shot]):
            folder = self._teacher(seed) if name == self.settings.few_shot else None
            self._once(name, seed, lambda name=name: self._adapted(base, base.model, task, seed, name), folder)

    def _adapted(self, base: Loaded, body: PreTrainedModel, task: Task, seed: int, name: str) -> Trained:
        """`body` adapted by one method on the few examples, as a model that plain transformers saves."""
        start, steps = methods.Start(body, base.tokenizer, task, seed), self.settings.few_shot_steps
        found = methods.adapt(start, name, steps=steps, progress=self.progress)
        return Trained(plain(found.model), base.tokenizer, found.method)

    # Stage 3

    def distil(self, base: Loaded, task: Task, seed: int) -> None:
        """The small model: fine-tuned on the same few examples, distilled by KD, distilled by TinyBERT."""
        layers, hidden = self.settings.student_layers, self.settings.student_hidden
        self._say(f"3/5 distil into {layers} layers, {hidden} wide, seed {seed}")
        alone = "fine-tune [mean]"
        self._once(
            "student, fine-tuned", seed, lambda: self._adapted(base, self._student(base, seed), task, seed, alone)
        )
        if not task.splits["unlabelled"]:
            self._say("    no unlabelled text: distillation sees the few labelled examples only (add --unlabelled)")
        self._once("student, KD", seed, lambda: self._distilled(base, task, seed, inner=False))
        small = self.out / f"3-distilled/seed-{seed}"
        self._once("student, TinyBERT", seed, lambda: self._distilled(base, task, seed, inner=True), small)

    def _student(self, base: Loaded, seed: int) -> PreTrainedModel:
        heads = base.model.config.num_attention_heads
        hidden = heads * math.ceil(self.settings.student_hidden / heads)  # the heads must divide the width
        return shrink(base.model, layers=self.settings.student_layers, hidden=hidden, seed=seed)

    def _distilled(self, base: Loaded, task: Task, seed: int, *, inner: bool) -> Trained:
        """KD from the adapted teacher on all text there is; `inner` adds TinyBERT's losses inside the network first."""
        teacher = load_app(self._teacher(seed))
        rows = [*task.splits["train"], *task.splits["unlabelled"]]
        student = add_head(self._student(base, seed), task.labels, pooling="mean", seed=seed)
        method = HeadClassifier(base.tokenizer, task.fields)
        epochs, options = self.settings.distil_epochs, {"lr": 1e-3, "seed": seed, "progress": self.progress}
        if inner:
            tiny = TinyBert(method, teacher.model, prediction=0)
            batches = Batches(rows, method.collate, BATCH, seed=seed)
            with tiny.attached(student):
                fit(student, tiny, batches, epochs=max(epochs // 4, 1), **options)
        objective = distill.Distill(method)
        batches = Batches(self._taught(teacher, rows, seed), objective.collate, BATCH, seed=seed)
        fit(student, objective, batches, epochs=epochs, **options)
        return Trained(student, base.tokenizer, method)

    def _taught(self, teacher: Any, rows: list[dict[str, Any]], seed: int) -> list[dict[str, Any]]:
        """Rows with the teacher's logits, computed once a seed and kept for the second distillation."""
        saved = self.out / f"2-adapted/logits-seed-{seed}.npy"
        if not saved.is_file():
            logits = distill.teacher_logits(teacher.model, teacher.method, rows)
            with files.writing(saved) as temporary, open(temporary, "wb") as stream:
                np.save(stream, logits, allow_pickle=False)
        return distill.join_teacher(rows, np.load(saved, allow_pickle=False))

    # Stage 4

    def quantise(self, task: Task, seed: int) -> None:
        """Both models in row-wise int8."""
        self._say(f"4/5 quantise to int8, seed {seed}")
        for name, folder in (
            (f"{self.settings.few_shot} + int8", self._teacher(seed)),
            ("student, TinyBERT + int8", self.out / f"3-distilled/seed-{seed}"),
        ):

            def make(folder: Path = folder) -> Trained:
                app = load_app(folder)
                return Trained(int8.apply(app.model), app.tokenizer, app.method, quantised="int8")

            place = "small" if name.startswith("student") else "large"
            self._once(name, seed, make, self.out / f"4-quantised/{place}-seed-{seed}")

    # Stage 5 belongs to every run

    def _once(self, method: str, seed: int, make: Callable[[], Trained], folder: Path | None = None) -> None:
        """Run, measure and record one (method, seed), unless an earlier run of this pipeline has."""
        if any(row.method == method and row.seed == seed for row in self.report.rows):
            return
        began, task = time.perf_counter(), self.tasks[seed]
        trained = make()
        seconds = time.perf_counter() - began
        value = evaluate(trained.model, trained.method, task, "test", progress=self.progress)[task.metric]
        self.report.add(
            method, task, value, seed=seed, seconds=seconds,
            trainable=None if trained.quantised else measure.trainable(trained.model),
            parameters=measure.parameters(trained.model), bytes=measure.bytes_on_disk(trained.model),
            latency_ms=self._latency(trained, task),
        )  # fmt: skip
        if folder is not None:
            save_app(
                folder, trained.model, trained.tokenizer, trained.method, task, quantised=trained.quantised,
                metrics={task.metric: value}, examples=task.splits["test"][:3],
            )  # fmt: skip
        self.report.save(self.out / "report.json")
        self._say(f"    {method:<26} {task.metric} {100 * value:5.1f} %   {seconds:5.1f} s")

    def _latency(self, trained: Trained, task: Task) -> float:
        """Median milliseconds a sentence in batches of 32."""
        rows = task.splits["test"][: 4 * BATCH]
        return measure.latency(trained.model, trained.method, rows, batch_size=min(BATCH, len(rows)))

    def _teacher(self, seed: int) -> Path:
        return self.out / f"2-adapted/seed-{seed}"

    def _say(self, line: str) -> None:
        if self.progress is not False:
            print(line, file=sys.stderr, flush=True)
