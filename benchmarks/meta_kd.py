"""Meta-KD's table: teachers of one domain or of five, and the students that each of them teaches.

    python benchmarks/meta_kd.py            every row that is missing  -> labkit/results/meta_kd.json
    python benchmarks/meta_kd.py --seconds 160     no new training after so long; run again to go on

Task: the world's reviews of five domains, TRAIN training rows and TEST test rows of each. A teacher of one domain
("single") reads its rows, the others those of all five; "mtl" is one body with a head for each domain. Teachers are
mini-bert-en, students have LAYERS layers of width WIDTH; each student reads the rows of its own domain alone and is
scored on its domain, and all take as many steps. "→ TinyBERT" is all of TinyBERT's losses at once; "MTN-KD" here the
mean of the five single teachers' softened answers (You et al. 2017, without their triplets of layers).

Ablation: the same constant for every prototype score, in teacher and student; a teacher without domain corruption, and
a student without its feature; for every text the mean weight of its batch, as the authors' program has it.
"""

from __future__ import annotations

import argparse
import copy
import functools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from compressing import STUDENT_RATE, TEACHER, TEACHER_RATE, accuracy, method_of, student, trained
from few_shot_runs import opened
from torch import Tensor, nn

from labkit.compression.distill import Distill, join_teacher, teacher_logits
from labkit.compression.meta_kd import DOMAIN, TYPICAL, MetaDistill, MetaTeacher, described, expertise
from labkit.compression.tinybert import TinyBert
from labkit.foundations.heads import HeadClassifier, add_head
from labkit.measure import bytes_on_disk, parameters
from labkit.tasks import Task, load_task
from labkit.world.reviews import task_rows
from labkit.world.settings import World, randomness
from labkit.zoo import load

RESULTS = Path("labkit/results/meta_kd.json")
DOMAINS = ("books", "electronics", "film", "hotel", "kitchen")
TRAIN, TEST = 100, 200  # rows of each domain
LAYERS, WIDTH = 1, 160
BATCH, TEACHING, SINGLE, STEPS = 16, 100, 50, 80  # rows a step; steps of a teacher of all, of one, of a student
TEMPERATURE = 2.0
learnt = functools.partial(trained, batch=BATCH)
Rows = Sequence[Mapping[str, Any]]


class ManyHeads(HeadClassifier):
    """One body and a head for each domain, which the row's number of the domain chooses."""

    def collate(self, rows: Rows, rng: np.random.Generator | None = None) -> dict[str, Tensor]:
        """The batch, with "domain_number" (batch,)."""
        return {**super().collate(rows, rng), DOMAIN: torch.tensor([row[DOMAIN] for row in rows])}

    def logits(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """(batch, classes) of (batch, domains · classes)."""
        inputs = {name: value for name, value in batch.items() if name != DOMAIN}
        every = super().logits(model, inputs).unflatten(1, (len(DOMAINS), -1))
        return every[torch.arange(len(every)), batch[DOMAIN]]


def five_domains(seed: int) -> Task:
    """Reviews of DOMAINS, as many of each; the training rows depend on the seed, the test rows do not."""
    world, splits = World(), {}
    for split, count, more in (("train", TRAIN, (seed,)), ("test", TEST, ())):
        rng = randomness(world, "meta_kd", split, *map(str, more))
        splits[split] = [row for domain in DOMAINS for row in task_rows(world, "en", count, rng, (domain,))]
    return replace(load_task("world/reviews"), splits=splits)


class Bench:
    """The report, the task as a whole and by domain, and every teacher, made when it is first asked for."""

    def __init__(self, seed: int, seconds: float) -> None:
        self.report = opened(RESULTS, "python benchmarks/meta_kd.py")
        self.base, self.seed, self.end = load(TEACHER), seed, time.monotonic() + seconds
        task = five_domains(seed)
        self.method = method_of(self.base, task)
        plain = add_head(self.base.model, task.labels, pooling="mean", seed=seed)
        self.rows = described(plain, self.method, task.splits["train"])
        self.task = replace(task, splits={**task.splits, "train": self.rows})
        self.made: dict[str, Any] = {}

    def of(self, domain: str) -> Task:
        """The task of one domain."""
        parts = {split: [row for row in rows if row["domain"] == domain] for split, rows in self.task.splits.items()}
        return replace(self.task, name=f"world/reviews, {domain}", splits=parts)

    def teacher(self, name: str) -> nn.Module:
        """One of TEACHERS, or "single DOMAIN"."""
        if name not in self.made:
            kind, _, domain = name.partition(" ")
            self.made[name] = TEACHERS[kind](self, domain)
        return self.made[name]

    def add(self, method: str, task: Task, model: nn.Module) -> None:
        """A row, saved at once."""
        value = accuracy(model, self.method, task)
        costs = {"parameters": parameters(model), "bytes": bytes_on_disk(model)}
        self.report.add(method, task, value, seed=self.seed, **costs)
        self.report.save(RESULTS)
        print(f"{method:<36} {task.name:<28} seed {self.seed}  {100 * value:.1f}", flush=True)


def headed(bench: Bench, classes: int = 2) -> nn.Module:
    """mini-bert-en with a new head."""
    return add_head(copy.deepcopy(bench.base.model), classes, pooling="mean", seed=bench.seed)


def taught(bench: Bench, rows: Rows, steps: int, objective: Any = None) -> nn.Module:
    """The same after training."""
    model = headed(bench)
    return learnt(model, bench.method, rows, steps=steps, lr=TEACHER_RATE, seed=bench.seed, objective=objective)


def single(bench: Bench, domain: str) -> nn.Module:
    return taught(bench, bench.of(domain).splits["train"], SINGLE)


def mix(bench: Bench, _: str) -> nn.Module:
    return taught(bench, bench.rows, TEACHING)


def mtl(bench: Bench, _: str) -> nn.Module:
    many = ManyHeads(bench.base.tokenizer, bench.task.fields)
    model = headed(bench, 2 * len(DOMAINS))
    return learnt(model, many, bench.rows, steps=TEACHING, lr=TEACHER_RATE, seed=bench.seed)


def meta(bench: Bench, _: str, corruption: float = 0.5, typical: bool = True) -> nn.Module:
    objective = MetaTeacher(bench.method, len(DOMAINS), corruption)
    model = headed(bench)
    with objective.attached(model):
        rows = bench.rows if typical else constant(bench.rows)
        return learnt(model, bench.method, rows, steps=TEACHING, lr=TEACHER_RATE, seed=bench.seed, objective=objective)


TEACHERS: dict[str, Callable[[Bench, str], nn.Module]] = {
    "single": single, "mix": mix, "mtl": mtl, "meta": meta,
    "constant": lambda bench, _: meta(bench, "", typical=False), "plain": lambda bench, _: meta(bench, "", 0.0),
}  # fmt: skip


def constant(rows: Rows) -> list[dict[str, Any]]:
    """Rows that are all equally typical."""
    return [{**row, TYPICAL: 1.0} for row in rows]


def own_head(model: nn.Module, number: int, classes: int = 2) -> nn.Module:
    """Of a body with a head for each domain, the model of one domain."""
    found = copy.deepcopy(model)
    linear = nn.Linear(found.classifier.in_features, classes)
    part = slice(number * classes, (number + 1) * classes)
    with torch.no_grad():
        linear.weight.copy_(found.classifier.weight[part])
        linear.bias.copy_(found.classifier.bias[part])
    found.classifier = linear
    return found


def expert(bench: Bench, kind: str, domain: str) -> nn.Module:
    """The teacher of that kind for a domain."""
    if kind == "mtl":
        return own_head(bench.teacher("mtl"), DOMAINS.index(domain))
    return bench.teacher(f"single {domain}" if kind == "single" else kind)


# What a student learns by: (bench, domain) -> objective, rows
Lessons = Callable[[Bench, str], tuple[Any, list[Any]]]


def alone(bench: Bench, domain: str) -> tuple[Any, list[Any]]:
    return None, bench.of(domain).splits["train"]


def tiny(kind: str) -> Lessons:
    def lessons(bench: Bench, domain: str) -> tuple[Any, list[Any]]:
        return TinyBert(bench.method, expert(bench, kind, domain)), bench.of(domain).splits["train"]

    return lessons


def several(bench: Bench, domain: str) -> tuple[Any, list[Any]]:
    rows = bench.of(domain).splits["train"]
    answers = [teacher_logits(expert(bench, "single", one), bench.method, rows) for one in DOMAINS]
    mean = torch.from_numpy(np.stack(answers)).div(TEMPERATURE).softmax(-1).mean(0).log() * TEMPERATURE
    return Distill(bench.method, temperature=TEMPERATURE, alpha=0.5), join_teacher(rows, mean.numpy())


def by_meta(kind: str = "meta", typical: bool = True, **options: Any) -> Lessons:
    def lessons(bench: Bench, domain: str) -> tuple[Any, list[Any]]:
        rows = bench.of(domain).splits["train"]
        return MetaDistill(bench.method, expert(bench, kind, domain), **options), rows if typical else constant(rows)

    return lessons


def batch_mean(typical: Tensor, sure: Tensor) -> Tensor:
    """Every text has the mean weight."""
    return expertise(typical, sure).mean().expand_as(typical)


# By the teacher that each needs, so that a run which goes on trains few of them again
STUDENTS: dict[str, dict[str, Lessons]] = {
    "nobody": {"student alone": alone},
    "single": {"BERT-single → TinyBERT": tiny("single"), "multi-teachers → MTN-KD": several},
    "mix": {"BERT-mix → TinyBERT": tiny("mix")},
    "mtl": {"BERT-mtl → TinyBERT": tiny("mtl")},
    "meta": {
        "meta-teacher → TinyBERT": tiny("meta"), "meta-teacher → meta-distillation": by_meta(),
        "… weights: their batch mean": by_meta(weigh=batch_mean),
    },
    "constant": {"… no prototype scores": by_meta("constant", typical=False)},
    "plain": {"… no domain corruption": by_meta("plain", transfer=0.0)},
}  # fmt: skip
NAMES = {"single": "BERT-single", "mix": "BERT-mix", "mtl": "BERT-mtl", "meta": "meta-teacher"}


def taught_student(bench: Bench, lessons: Lessons, domain: str) -> nn.Module:
    """A student of the domain after its training."""
    objective, rows = lessons(bench, domain)
    small = student(bench.base, bench.task, LAYERS, WIDTH, bench.seed)
    settings = {"steps": STEPS, "lr": STUDENT_RATE, "seed": bench.seed, "objective": objective}
    if isinstance(objective, TinyBert):
        with objective.attached(small):
            learnt(small, bench.method, rows, **settings)
    else:
        learnt(small, bench.method, rows, **settings)
    return small


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    bench = Bench(options.seed, options.seconds)
    known = {row.key for row in bench.report.rows}

    def missing(name: str, task: Task) -> bool:
        late = time.monotonic() > bench.end
        return not late and (name, task.name, task.metric, bench.seed) not in known

    for kind, students in STUDENTS.items():
        for domain in DOMAINS:
            task = bench.of(domain)
            if kind in NAMES and missing(NAMES[kind], task):
                bench.add(NAMES[kind], task, expert(bench, kind, domain))
            for name, lessons in students.items():
                if missing(name, task):
                    bench.add(name, task, taught_student(bench, lessons, domain))


if __name__ == "__main__":
    main()
