"""The real tasks of `gemma.py`: where they are, how each is asked, and which of their rows are tested on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from labkit.tasks import Task, load_task

TEST_ROWS, CHECK, TUNING_DRAW = 250, 128, 4
SEEDS = (13, 21, 42, 87, 100)  # LM-BFF's names for draws 0 to 4


@dataclass(frozen=True)
class Real:
    """One data set; `labels` maps the file's own to names."""

    name: str
    source: str
    pattern: str
    words: dict[str, str]
    labels: Mapping[str, str] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


PLAIN = {"schema": "label:str:1,text:str:1", "header": False, "encoding": "latin-1"}
POLAR, OPINION = {"0": "negative", "1": "positive"}, {"negative": "negative", "positive": "positive"}
KINDS = ("description", "entity", "abbreviation", "human", "location", "number")  # TREC's labels, 0 to 5
ASKED = ("description", "entity", "abbreviation", "person", "location", "number")
DATA = (
    Real("SST-2", "lmbff_kshot16/SST-2/{}.tsv", "Review: {text}\nSentiment: {mask}", OPINION, POLAR),
    Real("mr", "lmbff_kshot16/mr/{}.csv", "Review: {text}\nSentiment: {mask}", OPINION, POLAR, PLAIN),
    Real("trec", "lmbff_kshot16/trec/{}.csv", "Question: {text}\nType: {mask}",
         dict(zip(KINDS, ASKED, strict=True)), dict(zip("012345", KINDS, strict=True)), PLAIN),
    Real("eprstmt", "fewclue/eprstmt", "{text}总之很{mask}。", {"Negative": "差", "Positive": "好"}),
    Real("bustm", "fewclue/bustm", "{text_a}，{text_b}，这两句话意思{mask}同。", {"0": "不", "1": "相"}),
)  # fmt: skip


def read(folder: Path, data: Real, draw: int, *, check: bool = False) -> Task:
    """One draw of one task; its "test" are TEST_ROWS rows, or with `check` some that no table's draw tests on."""
    if "{}" in data.source:
        parts = [f"16-{SEEDS[draw]}/train", f"16-{SEEDS[draw]}/dev", "test"]
        files = ",".join(str(folder / data.source.format(part)) for part in parts)
        task = load_task(f"table:{files}", labels=data.labels, **data.options)
    else:
        task = load_task(f"fewclue:{folder / data.source}", split=draw)
    rows = task.splits["test"]
    numbers = _unseen(rows) if check else stratified(rows, TEST_ROWS, draw)
    words = {label: (data.words[label],) for label in task.labels}
    splits = {**task.splits, "test": [rows[number] for number in numbers]}
    return replace(task, name=data.name, splits=splits, patterns=(data.pattern,), words=words)


def _unseen(rows: Sequence[Mapping[str, Any]]) -> list[int]:
    """Numbers of CHECK rows that the table tests on in none of its draws."""
    tested = {number for draw in range(TUNING_DRAW) for number in stratified(rows, TEST_ROWS, draw)}
    left = [number for number in range(len(rows)) if number not in tested]
    return [left[number] for number in stratified([rows[number] for number in left], CHECK, TUNING_DRAW)]


def stratified(rows: Sequence[Mapping[str, Any]], count: int, seed: int) -> list[int]:
    """Numbers of about `count` rows, each class as often as in all of them."""
    rng, chosen = np.random.default_rng(seed), []
    labels = np.array([row["label"] for row in rows])
    for label in np.unique(labels):
        places = np.flatnonzero(labels == label)
        chosen += rng.permutation(places)[: round(count * len(places) / len(rows))].tolist()
    return sorted(chosen)
