"""Micro-FewCLUE: nine Chinese tasks of this world in FewCLUE's own file format (Xu et al. 2021, arXiv 2107.07498).

Keys, their order and the way a label is written are those of the published files: what reads one reads the other.
`Positive`/`Negative`, codes 100 to 116 for news, "0"/"1" as texts, `answer` as a number, `#idiom#` for the gap.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from labkit.errors import UsageError, unknown
from labkit.files import write_text
from labkit.world import abstracts, idioms, news, pairs, reviews, winograd
from labkit.world.examples import FEWCLUE, Row, finish_task
from labkit.world.settings import World, randomness

SEEDS = 5  # train_0..4 and dev_0..4
SMALL = 32  # rows of a training file where shots are not counted by class
SHOTS = {"tnews": 16, "csldcp": 8, "iflytek": 8, "chid": 6}  # rows of each class in a training file
TNEWS_CODES = (100, 101, 102, 103, 104, 106, 107, 108, 109, 110, 112, 113, 114, 115, 116)
TNEWS_NAMES = (
    "news_story", "news_culture", "news_entertainment", "news_sports", "news_finance", "news_house", "news_car",
    "news_edu", "news_tech", "news_military", "news_travel", "news_world", "news_stock", "news_agriculture",
    "news_game",
)  # fmt: skip


def eprstmt(world: World) -> dict[str, Any]:
    """Reviews in Chinese as eprstmt: Negative or Positive."""
    rows = reviews.task_rows(world, "zh", sum(FEWCLUE.values()), randomness(world, "task", "eprstmt"))
    for row in rows:
        del row["domain"]
    return finish_task(
        rows, ("Negative", "Positive"), FEWCLUE, language="zh",
        patterns=("{text}总之很{mask}。", "{text}整体很{mask}。", "{text}一句话，很{mask}。"),
        words={"Negative": ("差", "坏", "糟"), "Positive": ("好", "棒", "妙")},
        note=f"each opinion contradicts its label with probability {world.label_noise:g}; exact posterior, averaged",
    )  # fmt: skip


SOURCES: Mapping[str, Callable[[World], dict[str, Any]]] = {
    "eprstmt": eprstmt,
    "csldcp": abstracts.TASKS["csldcp"],
    "tnews": news.TASKS["tnews"],
    "iflytek": abstracts.TASKS["iflytek"],
    "ocnli": pairs.TASKS["ocnli"],
    "bustm": pairs.TASKS["bustm"],
    "chid": idioms.TASKS["chid"],
    "csl": abstracts.TASKS["csl"],
    "cluewsc": winograd.TASKS["cluewsc"],
}
NAMES = tuple(SOURCES)
VOTES = tuple(f"label{place}" for place in range(5))
# what a row without a label lacks
HIDDEN = {"label", "label_desc", "label_des", "answer", *VOTES, "level", "genre", "prem_id"}


def encode(name: str, row: Row, number: int, labels: Sequence[str], votes: bool = False) -> Row:
    """A row of task `name` as FewCLUE's files write it; without its label where the row has none.

    `number` becomes its id; `votes` gives ocnli's rows five annotators' labels, which the training files lack.
    """
    label = row.get("label")
    full = ENCODERS[name](row, number, labels, -1 if label is None else label)
    if name == "ocnli" and votes:
        full |= dict.fromkeys(VOTES, full["label"])
    return full if label is not None else {key: value for key, value in full.items() if key not in HIDDEN}


ENCODERS: Mapping[str, Callable[[Row, int, Sequence[str], int], Row]] = {
    "eprstmt": lambda row, number, labels, label: {"id": number, "sentence": row["text"], "label": labels[label]},
    "csldcp": lambda row, number, labels, label: {"content": row["text"], "label": labels[label], "id": number},
    "tnews": lambda row, number, labels, label: {
        "label": TNEWS_CODES[label], "label_desc": TNEWS_NAMES[label], "sentence": row["text"],
        "keywords": row["keywords"], "id": number,
    },
    "iflytek": lambda row, number, labels, label: {
        "label": label, "label_des": labels[label], "sentence": row["text"], "id": number,
    },
    "ocnli": lambda row, number, labels, label: {
        "level": row.get("level", "na"), "sentence1": row["text_a"], "sentence2": row["text_b"], "label": labels[label],
        **dict.fromkeys(VOTES), "genre": row.get("genre", "news"),
        "prem_id": f"{row.get('genre', 'news')}_{number}", "id": number,
    },
    "bustm": lambda row, number, labels, label: {
        "id": number, "sentence1": row["text_a"], "sentence2": row["text_b"], "label": str(label),
    },
    "chid": lambda row, number, labels, label: {
        "id": number, "candidates": row["candidates"], "content": row["text_a"], "answer": label,
    },
    "csl": lambda row, number, labels, label: {
        "id": number, "abst": row["text_a"], "keyword": row["keyword"], "label": str(label),
    },
    "cluewsc": lambda row, number, labels, label: {
        "target": row["target"], "idx": number, "label": labels[label], "text": row["text_a"],
    },
}  # fmt: skip


def write_fewclue(
    folder: str | os.PathLike[str],
    world: World | None = None,
    tasks: Iterable[str] | None = None,
    *,
    replace: bool = False,
) -> dict[str, Path]:
    """Write micro-FewCLUE, one folder a task, and give each task's folder. The same world gives the same bytes.

    Files: train_0..4, dev_0..4 and their unions `few_all`, test_public, test (no labels), unlabeled.

    Raises UsageError for an unknown task, or where a task's folder holds something already and `replace` is not set.
    """
    chosen = NAMES if tasks is None else tuple(tasks)
    for name in chosen:
        if name not in SOURCES:
            raise unknown("FewCLUE task", name, NAMES)
        target = Path(folder) / name
        if not replace and target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise UsageError(f"{target}: there is something here already; choose another folder, or pass replace=True")
    world = world or World()
    for name in chosen:
        for file, rows in files(name, SOURCES[name](world), randomness(world, "fewclue", name)).items():
            lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            write_text(Path(folder) / name / f"{file}.json", "".join(lines))
    return {name: Path(folder) / name for name in chosen}


def files(name: str, task: Mapping[str, Any], rng: random.Random) -> dict[str, list[Row]]:
    """The rows of each file of a task, by the file's name without ".json".

    Training and development files are drawn from halves of the task's "train" that share no row; the task's "dev"
    becomes the unlabelled `test`, its "test" `test_public`. Without unlabelled rows, the training rows left serve.
    """

    def write(rows: Iterable[tuple[int, Row]], votes: bool = False) -> list[Row]:
        return [encode(name, row, number, task["labels"], votes) for number, row in rows]

    train, splits = list(enumerate(task["splits"]["train"])), task["splits"]
    rng.shuffle(train)
    done, drawn = {}, {}
    for part, pool in (("train", train[0::2]), ("dev", train[1::2])):
        chosen = [_shots(name, pool, len(task["labels"]), rng) for _ in range(SEEDS)]
        union = {number: row for rows in chosen for number, row in rows}
        for seed, rows in enumerate(chosen):
            done[f"{part}_{seed}"] = write(rows, votes=part == "dev")
        done[f"{part}_few_all"] = write(list(union.items()), votes=part == "dev")
        drawn |= union
    bulk = splits.get("unlabelled") or [row for number, row in train if number not in drawn]
    done["test_public"] = write(list(enumerate(splits["test"])), votes=True)
    done["test"], done["unlabeled"] = write(_bare(splits["dev"])), write(_bare(bulk))
    if name == "tnews":  # whose published test has texts for ids and no keywords
        done["test"] = [{"id": str(row["id"]), "sentence": row["sentence"]} for row in done["test"]]
        done["label_index2en2zh"] = [
            {"label": str(code), "label_desc": english, "label_zh": chinese}
            for code, english, chinese in zip(TNEWS_CODES, TNEWS_NAMES, task["labels"], strict=True)
        ]
    return done


def _bare(rows: Iterable[Row]) -> list[tuple[int, Row]]:
    return [(number, row | {"label": None}) for number, row in enumerate(rows)]


def _shots(name: str, pool: Sequence[tuple[int, Row]], classes: int, rng: random.Random) -> list[tuple[int, Row]]:
    """Rows of one file, in random order: equally many of each class, or `SMALL` in all, as equal as may be."""
    chosen = []
    for label in range(classes):
        of_label = [item for item in pool if item[1]["label"] == label]
        few = SHOTS.get(name) or SMALL // classes + (label < SMALL % classes)
        chosen += rng.sample(of_label, few)
    rng.shuffle(chosen)
    return chosen


TASKS: dict[str, Callable[[World], dict[str, Any]]] = {f"fewclue/{name}": source for name, source in SOURCES.items()}
