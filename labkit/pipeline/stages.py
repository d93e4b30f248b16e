"""The stages, seed by seed. A *run* is one method with one seed: trained, measured, recorded, never done twice."""

from __future__ import annotations

import math
import shutil
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from labkit import files, measure
from labkit.apps import load_app, save_app
from labkit.compression import distill, int8
from labkit.compression.compose import Material, compress, parse
from labkit.compression.shrink import shrink
from labkit.config import fingerprint, to_dict
from labkit.errors import DataError, say
from labkit.evaluation import evaluate
from labkit.fewshot import methods
from labkit.fewshot.delta_tuning import LoRA, merge
from labkit.fewshot.prompts.soft_tokens import plain
from labkit.foundations.encoder import reads_left_to_right
from labkit.foundations.heads import HeadClassifier, add_head
from labkit.foundations.pretraining import MaskedLM, tokenize_corpus
from labkit.lab import quietly, wants_progress
from labkit.pipeline.landing import ALONE, BATCH, TAUGHT
from labkit.pipeline.ledger import CHECKPOINTS, Ledger
from labkit.pipeline.own_student import own_student
from labkit.pipeline.settings import PipelineSettings, check_cloze, few_shot_task, has_own_student, origin, student_size
from labkit.report import Report
from labkit.tasks import Task
from labkit.training import Batches, fit
from labkit.zoo import Loaded, Recipe, load, recipe
from labkit.zoo.building import pretrain
from labkit.zoo.recipes import with_knowledge

# What the few-shot method is compared with; of a model that reads left to right only the last state knows the text.
BASELINES, LEFT_TO_RIGHT = ("fine-tune [CLS]", "fine-tune [mean]"), ("fine-tune [last]",)
COMPOSED = "student, composed"
# A model that reads left to right is large: it trains by LoRA, for all its weights' gradients would fill the memory.
LORA, LORA_RATE = LoRA(rank=8, alpha=16, targets=("q_proj", "k_proj", "v_proj", "o_proj")), 2e-4


@dataclass(frozen=True)
class Trained:
    """What a run produced: enough to evaluate, measure and save it."""

    model: PreTrainedModel
    tokenizer: Any
    method: Any
    trainable: int | None = None


class Pipeline:
    """The state of one pipeline: settings, finished rows, and where things are."""

    def __init__(self, settings: PipelineSettings, progress: bool | None, command: str) -> None:
        self.settings, self.progress, self.out = settings, progress, Path(settings.out)
        self.tasks = [few_shot_task(settings, seed) for seed in range(settings.seeds)]
        # What can be wrong with them is said before anything is written.
        self.named = load(settings.model, progress=progress) if settings.model else None
        self.left_to_right = self.named is not None and reads_left_to_right(self.named.model)
        self.own = has_own_student(settings, self.tasks[0], self.named)
        self.best = TAUGHT if self.own and not settings.compose else COMPOSED
        if self.named is not None:
            check_cloze(settings, self.tasks[0], self.named)
        asked = {name: value for name, value in to_dict(settings).items() if name not in ("out", "resume")}
        made_from = origin(self.tasks, self.named)
        self.ledger = Ledger.begin(self.out, asked, made_from, resume=settings.resume, command=command)
        self.report = self.ledger.report

    def run(self) -> Report:
        """All stages, seed by seed; the report is on disk after every run."""
        base = self.pretrained()
        check_cloze(self.settings, self.tasks[0], base)
        for seed, task in enumerate(self.tasks):
            self.adapt(base, task, seed)
            self.distil(base, task, seed)
            self.quantise(task, seed)
            if self.own:
                self.time_in_turn(seed)
        self._say("5/5 table and picture")
        with files.writing_folder(self.out / "app") as temporary:
            small = self._student(0) if self.best == COMPOSED else self.out / "4-quantised/small-seed-0"
            shutil.copytree(small, temporary, dirs_exist_ok=True)
        self.ledger.keep()
        self.report.plot(self.out / "report.png")
        return self.report

    # Stage 1

    def pretrained(self) -> Loaded:
        """The language model that all else starts from: trained here, or named; without an MLM head it gets one."""
        folder = self.out / "1-pretrained"
        if self.ledger.holds(folder):
            return load(str(folder))
        base = self.named or self._from_scratch()
        if self.named is not None:
            self._say(f"1/5 pre-trained model: {self.settings.model}")
            if not base.fresh:
                return base  # its name says where it is
            self._train_head(base)
        self._save(base, folder)
        return base

    def _from_scratch(self) -> Loaded:
        item = recipe(f"micro-bert-{self.tasks[0].language}")
        self._say(f"1/5 pre-train {item.name} from scratch: {item.steps} steps")
        found = self._followed(item, None)
        if self.settings.knowledge_steps:
            knowing = with_knowledge(item, self.settings.knowledge_steps)
            self._say(f"    and go on with the world's graph beside the text: {knowing.steps} steps")
            found = self._followed(knowing, found)
        return found

    def _followed(self, item: Recipe, parent: Loaded | None) -> Loaded:
        """The model of a recipe; a training that was stopped goes on."""
        how = {"folder": self.out / CHECKPOINTS / item.name, "resume": True, "progress": self.progress}
        model, tokenizer, _ = pretrain(item, parent and (parent.model, parent.tokenizer), **how)
        return Loaded(model, tokenizer)

    def _save(self, found: Loaded, folder: Path) -> None:
        with quietly(), files.writing_folder(folder) as temporary:
            found.model.save_pretrained(temporary)
            found.tokenizer.save_pretrained(temporary)
        self.ledger.keep(folder)

    def _train_head(self, base: Loaded) -> None:
        """Train the fresh parameters alone, on unlabelled text; the head's decoder is tied to the embeddings."""
        texts = self._texts()
        if not texts:
            raise DataError("this model has no masked-LM head, and there is no text to train one: add --unlabelled")
        self._say(f"    it has no masked-LM head: training one on {len(texts)} unlabelled texts, body frozen")
        frozen = [p for name, p in base.model.named_parameters() if name not in base.fresh and p.requires_grad]
        objective = MaskedLM(base.tokenizer)
        batches = Batches(tokenize_corpus(texts, base.tokenizer, 64), objective.collate, BATCH)
        for parameter in frozen:
            parameter.requires_grad_(False)
        fit(base.model, objective.loss, batches, steps=self.settings.head_steps, lr=1e-3, progress=self.progress)
        for parameter in frozen:
            parameter.requires_grad_(True)

    def _texts(self) -> list[str]:
        """The unlabelled text, a line a row."""
        task = self.tasks[0]
        return [" ".join(str(row[field]) for field in task.fields) for row in task.splits["unlabelled"]]

    # Stage 2

    def adapt(self, base: Loaded, task: Task, seed: int) -> None:
        """The large model from a few examples: both kinds of head fine-tuning, and the method chosen."""
        self._say(f"2/5 adapt to {task.name} from {self.settings.shots} examples a class, seed {seed}")
        if task.note:
            self._say(f"    {task.note}")
        heads, options = (LEFT_TO_RIGHT, {"delta": LORA, "lr": LORA_RATE}) if self.left_to_right else (BASELINES, {})
        for name in dict.fromkeys([*heads, self.settings.few_shot]):
            folder = self._teacher(seed) if name == self.settings.few_shot else None
            self._once(name, seed, lambda name=name: self._adapted(base, task, seed, name, **options), folder)

    def _adapted(self, start: Loaded, task: Task, seed: int, name: str, **options: Any) -> Trained:
        """A model adapted by one method on the few examples, as one that plain transformers saves."""
        few = methods.Start(start.model, start.tokenizer, task, seed)
        found = methods.adapt(few, name, steps=self.settings.few_shot_steps, progress=self.progress, **options)
        trained = measure.trainable(found.model)
        if "delta" in options:
            merge(found.model)
        return Trained(plain(found.model), start.tokenizer, found.method, trained)

    # Stage 3

    def distil(self, base: Loaded, task: Task, seed: int) -> None:
        """The small model: fine-tuned on the same examples, taught by KD, and by passes of compression, which are
        TinyBERT's stages and two bits a weight if it is of the same kind and the settings name no others.
        """
        layers, hidden = student_size(self.settings, self.own)
        self._say(f"3/5 distil into {layers} layers, {hidden} wide, seed {seed}")
        student = self._own_student() if self.own else self._shrunk(base, seed)
        alone, small = "fine-tune [mean]", self._student(seed)
        self._once(ALONE, seed, lambda: self._adapted(student, task, seed, alone))
        if not task.splits["unlabelled"]:
            self._say("    no unlabelled text: distillation sees the few labelled examples only (add --unlabelled)")
        make = {
            TAUGHT: lambda: self._distilled(student, task, seed),
            COMPOSED: lambda: self._composed(student if self.own else base, task, seed),
        }
        for name in dict.fromkeys([TAUGHT, self.best]):
            self._once(name, seed, make[name], small if name == self.best else None)

    def _shrunk(self, base: Loaded, seed: int) -> Loaded:
        """The teacher's like, with its tokenizer."""
        layers, hidden = self._size(base)
        return Loaded(shrink(base.model, layers=layers, hidden=hidden, seed=seed), base.tokenizer)

    def _size(self, base: Loaded) -> tuple[int, int]:
        """Layers and width of a shrunk student: the heads must divide the width."""
        heads, (layers, hidden) = base.model.config.num_attention_heads, student_size(self.settings, self.own)
        return layers, heads * math.ceil(hidden / heads)

    def _own_student(self) -> Loaded:
        """A BERT with a vocabulary of its own that has read the unlabelled text: one for all seeds."""
        folder, steps = self.out / "3-distilled/untaught", self.settings.student_steps
        if not self.ledger.holds(folder):
            self._say(f"    a student of its own learns its words, and {steps} steps of masked language modelling")
            sizes = dict(zip(("layers", "hidden"), student_size(self.settings, self.own), strict=True))
            vocabulary = self.settings.student_vocabulary
            self._save(
                own_student(self._texts(), **sizes, vocabulary=vocabulary, steps=steps, progress=self.progress), folder
            )
        return load(str(folder))

    def _distilled(self, start: Loaded, task: Task, seed: int) -> Trained:
        """KD from the adapted teacher on all text there is."""
        method = HeadClassifier(start.tokenizer, task.fields)
        objective = distill.Distill(method)
        student = add_head(start.model, task.labels, pooling="mean", seed=seed)
        rows = method.read(self._taught(load_app(self._teacher(seed)), task, seed))
        batches = Batches(rows, objective.collate, BATCH, seed=seed)
        fit(student, objective, batches, epochs=self.settings.distil_epochs, lr=1e-3, seed=seed, progress=self.progress)
        return Trained(student, start.tokenizer, method, measure.trainable(student))

    def _composed(self, start: Loaded, task: Task, seed: int) -> Trained:
        """Passes of compression, each of which learns from the adapted teacher on all text there is."""
        teacher, method = load_app(self._teacher(seed)), HeadClassifier(start.tokenizer, task.fields)
        rows = self._taught(teacher, task, seed)
        # Of a teacher with words of its own only the answers can be learned.
        layers = None if self.own else teacher.model
        material = Material(method, rows, batch_size=BATCH, seed=seed, progress=self.progress, teacher=layers)
        model = add_head(start.model, task.labels, pooling="mean", seed=seed)
        made = compress(
            model, parse(self.settings.compose or self._passes(start, len(rows))), material,
            score=lambda model: evaluate(model, method, task, "test", progress=False)[task.metric],
        )  # fmt: skip
        for step in made.steps:
            said = f"{100 * step.score:5.1f} %   {step.bytes / 1e6:.2f} MB   {step.seconds:5.1f} s"
            self._say(f"    {step.name:<26} {task.metric} {said}")
        return Trained(made.model, start.tokenizer, method)

    def _passes(self, base: Loaded, rows: int) -> str:
        """The best point of the measured front (`benchmarks/front.py`): TinyBERT's stages, then two bits a weight."""
        (layers, hidden), epochs, batches = self._size(base), self.settings.distil_epochs, math.ceil(rows / BATCH)
        inner, last = (max(epochs // part, 1) * batches for part in (4, 3))
        return f"shrink:{layers},{hidden} distill:{epochs * batches},{inner} quantize:ternary,{last}"

    def _taught(self, teacher: Any, task: Task, seed: int) -> list[dict[str, Any]]:
        """All text with the teacher's logits, which are saved as they come and serve the second distillation too."""
        rows = [*task.splits["train"], *task.splits["unlabelled"]]
        texts = [[row[field] for field in teacher.card.fields] for row in rows]
        saved = self.out / f"2-adapted/answers-seed-{seed}-{fingerprint(texts, teacher.card.files)}.safetensors"
        logits = distill.teacher_logits(
            teacher.model, teacher.method, rows, keep=saved, progress=wants_progress(self.progress)
        )
        self.ledger.keep(saved)
        return distill.join_teacher(rows, logits)

    # Stage 4

    def quantise(self, task: Task, seed: int) -> None:
        """What has no codes yet in row-wise int8; a teacher that reads left to right stays as it is."""
        self._say(f"4/5 quantise to int8, seed {seed}")
        both = {} if self.left_to_right else {f"{self.settings.few_shot} + int8": self._teacher(seed)}
        if self.best != COMPOSED:
            both[f"{self.best} + int8"] = self._student(seed)
        for name, folder in both.items():

            def make(folder: Path = folder) -> Trained:
                app = load_app(folder)
                return Trained(int8.apply(app.model), app.tokenizer, app.method)

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
            trainable=trained.trainable, parameters=measure.parameters(trained.model),
            bytes=measure.bytes_on_disk(trained.model), latency_ms=self._latency(trained, task),
        )  # fmt: skip
        if folder is not None:
            save_app(
                folder, trained.model, trained.tokenizer, trained.method, task,
                metrics={task.metric: value}, examples=task.splits["test"][:3],
            )  # fmt: skip
        self.ledger.keep(folder)
        self._say(f"    {method:<26} {task.metric} {100 * value:5.1f} %   {seconds:5.1f} s")

    def _latency(self, trained: Any, task: Task) -> float:
        """Median milliseconds a sentence in batches of 32, of a Trained or an App; of a slow teacher over fewer."""
        rows = task.limited("test", 4 * BATCH).splits["test"]
        often = {"repeats": 1, "warm_up": 1} if self.own else {}
        return measure.latency(trained.model, trained.method, rows, batch_size=min(BATCH, len(rows)), **often)

    def time_in_turn(self, seed: int) -> None:
        """Teacher and student timed in turn on the same sentences, so that what else the machine does slows both."""
        rows = {row.method: row for row in self.report.rows if row.seed == seed}
        large, small = rows[self.settings.few_shot], rows[self.best]
        if "speedup" in small.extra:
            return
        pair = [load_app(folder) for folder in (self._teacher(seed), self._student(seed))]
        turns = [[self._latency(app, self.tasks[seed]) for app in pair] for _ in range(3)]
        slow, fast = (statistics.median(times) for times in zip(*turns, strict=True))
        for row, latency, extra in ((large, slow, {}), (small, fast, {"speedup": slow / fast})):
            self.report.add(**{**row.plain(), "latency_ms": latency, **extra})
        self.ledger.keep()

    def _teacher(self, seed: int) -> Path:
        return self.out / f"2-adapted/seed-{seed}"

    def _student(self, seed: int) -> Path:
        return self.out / f"3-distilled/seed-{seed}"

    def _say(self, line: str) -> None:
        if self.progress is not False:
            say(line)
