"""Landing on real text: MiniLM with all labels of a task, and small students that learn its answers.

    python benchmarks/landing.py DATA SST-2 Amazon     every row that is missing  -> labkit/results/landing_minilm.json

DATA holds `sst2`, `mr` and `amazon4` (three domains; of each 1 600 reviews are for training and 400 for the test, title
and text as one). The teacher is fine-tuned for EPOCHS. A student learns the teacher's answers on the training rows and
on sentences without labels, of MR and of the training reviews of Amazon, that hold no dev or test row. "from the
labels" is a student of that size on the labels alone. Texts are cut after LENGTH tokens. Bytes are those of the file;
"speedup" is in batches of 32, over the teacher's, all models of a task in turns on one thread. "read as numbers" is a
file of codes that becomes floats when it is read.
"""

from __future__ import annotations

import argparse
import json
import random
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from compressing import accuracy, add_rows, trained
from few_shot_runs import opened

from labkit.compression.compose import Material, compress, parse
from labkit.compression.distill import join_teacher, teacher_logits
from labkit.foundations.heads import HeadClassifier, add_head
from labkit.pipeline.overlap import clean
from labkit.tasks import Task
from labkit.tasks.rows import Row
from labkit.zoo import load

RESULTS, COMMAND = Path("labkit/results/landing_minilm.json"), "python benchmarks/landing.py DATA SST-2 Amazon"
DOMAINS, TEST, LABELS = ("books", "dvd", "electronics"), 400, ("negative", "positive")
LENGTH, EPOCHS = {"SST-2": 48, "Amazon": 64}, {"SST-2": 2, "Amazon": 1}  # tokens; of the teacher
ONLY = {"Amazon": "two layers"}  # students of this name alone
ALONE_EPOCHS, TEXTS = 4, 20_000  # of a student without a teacher; sentences without labels
TEACHER, TEACHER_RATE, RATE, STEPS = "teacher", 1e-4, 5e-4, 3000
# name of the row -> the row that it goes on from, passes
CHAINS = {
    "one layer kept, distilled": (TEACHER, f"droplayers:1 distill:{STEPS}"),
    "one layer kept, distilled, ternary": ("one layer kept, distilled", "quantize:ternary,1000"),
    "two layers of width 192, distilled": (TEACHER, f"shrink:2,192 distill:{STEPS}"),
    "two layers of width 192, distilled, int8": ("two layers of width 192, distilled", "quantize:int8"),
}
ALONE = {"one layer kept, from the labels": "droplayers:1", "two layers of width 192, from the labels": "shrink:2,192"}
AGAIN = {f"{name}, read as numbers": name for name in CHAINS if name.endswith(("ternary", "int8"))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("tasks", nargs="+", choices=TASKS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    report = opened(RESULTS, COMMAND)
    for name in options.tasks:
        if name not in {row.task for row in report.rows}:
            land(name, options.data)
    print(opened(RESULTS, COMMAND).table())


def land(name: str, data: Path) -> None:
    """All models of a task, then their times in turns; the rows are saved together."""
    task, base, models = TASKS[name](data), load("minilm"), {}
    method = HeadClassifier(base.tokenizer, task.fields, max_length=LENGTH[name])
    models[TEACHER], train = add_head(base.model, task.labels, pooling="mean", seed=0), task.splits["train"]
    trained(models[TEACHER], method, train, steps=EPOCHS[name] * len(train) // 32, lr=TEACHER_RATE)
    print(name, TEACHER, f"{100 * accuracy(models[TEACHER], method, task):.1f}", flush=True)
    more = unlabelled(data, task)
    print(name, new_to(method, train, more, set(films(data))), flush=True)
    rows = [*train, *more]
    material = Material(method, join_teacher(rows, teacher_logits(models[TEACHER], method, rows)), lr=RATE)
    for student, passes in chosen(ALONE, name):
        models[student] = compress(models[TEACHER], parse(passes), material).model
        trained(models[student], method, train, steps=ALONE_EPOCHS * len(train) // 32, lr=RATE)
    for student, (start, passes) in chosen(CHAINS, name):
        models[student] = compress(models[start], parse(passes), material).model
        print(name, student, f"{100 * accuracy(models[student], method, task):.1f}", flush=True)
    report = opened(RESULTS, COMMAND)
    add_rows(report, task, method, models, dict(chosen(AGAIN, name)))
    report.save(RESULTS)


def chosen(students: Mapping[str, Any], task: str) -> list[tuple[str, Any]]:
    """Those that a task has."""
    return [(name, how) for name, how in students.items() if name.startswith(ONLY.get(task, ""))]


def sst2(data: Path) -> Task:
    """The sentences of SST-2."""
    splits = {part: [{"label": int(label), "text": text} for label, text in labelled(data / f"sst2/stsa.binary.{part}")]
              for part in ("train", "dev", "test")}  # fmt: skip
    return Task("SST-2", ("text",), LABELS, splits)


def amazon(data: Path) -> Task:
    """The reviews of three domains."""
    splits: dict[str, list[dict[str, Any]]] = {"train": [], "test": []}
    for text, label, part in reviews(data):
        splits[part].append({"text": text, "label": label})
    return Task("Amazon", ("text",), LABELS, splits)


TASKS = {"SST-2": sst2, "Amazon": amazon}


def reviews(data: Path) -> Iterator[tuple[str, int, str]]:
    """Title and text, label, and whether it is for training or the test."""
    for domain in DOMAINS:
        lines = (data / f"amazon4/{domain}.jsonl").read_text(encoding="utf-8").splitlines()
        random.Random(0).shuffle(lines)
        for number, line in enumerate(lines):
            row = json.loads(line)
            yield f"{row['title']} . {row['text']}", int(row["label"]), "test" if number < TEST else "train"


def labelled(path: Path) -> Iterator[tuple[str, str]]:
    """Label and text of each line."""
    for line in path.read_text(encoding="latin-1").split("\n"):
        if line.strip():
            yield tuple(line.strip().split(" ", 1))  # type: ignore[misc]


def films(data: Path) -> list[str]:
    """The sentences of MR."""
    return sorted({text for _, text in labelled(data / "mr/rt-polarity.all")})


def new_to(method: HeadClassifier, train: Sequence[Row], more: Sequence[Row], about_films: Collection[str]) -> str:
    """How much of the text without labels the training rows do not hold, up to where these are cut."""
    words = method.tokenizer
    pieces = words([row["text"] for row in train], truncation=True, max_length=method.max_length)["input_ids"]
    read = [{"text": text} for text in words.batch_decode(pieces, skip_special_tokens=True)]
    new = clean(more, read, ("text",))[0]
    own = [sum(row["text"] in about_films for row in rows) for rows in (new, more)]
    return f"new without labels: {own[0]} of {own[1]} of MR, {len(new) - own[0]} of {len(more) - own[1]} of Amazon"


def unlabelled(data: Path, task: Task) -> list[Row]:
    """Sentences of MR, then others of Amazon's training reviews in any order; none holds a dev or test row."""
    wares = sorted({one for text, _, part in reviews(data) if part == "train"
                    for one in re.split(r"(?<=[.!?])\s+", text) if 4 <= len(one.split()) <= 40})  # fmt: skip
    random.Random(0).shuffle(wares)
    held = [row for part in ("dev", "test") for row in task.splits.get(part, ())]
    return clean([{"text": text} for text in (*films(data), *wares)], held, task.fields)[0][:TEXTS]


if __name__ == "__main__":
    main()
