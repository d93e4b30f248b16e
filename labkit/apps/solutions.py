"""Ready solutions on top of text classification: keywords, control of risky texts.

They are the uses that the EasyNLP toolkit was built for (Wang et al. 2022): each a task in an ordinary shape, so
that any classifier of the course can serve it, and one decision after the model has spoken.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from labkit.errors import DataError, UsageError
from labkit.evaluation import predict
from labkit.tasks import Task
from labkit.tasks.rouge import words_of

Row = Mapping[str, Any]


def keyword_task(splits: Mapping[str, Iterable[Row]], *, seed: int = 0, language: str = "en") -> Task:
    """From rows {"text", "keywords": "a,b"} whether one word is a keyword of a text: fields "word" and "text".

    Each keyword is a row, and as many other words of its text are, drawn with `seed`. A row without keywords adds none.
    """
    rng, made = random.Random(seed), {}
    for split, rows in splits.items():
        made[split] = []
        for row in rows:
            good = [word for word in row["keywords"].split(",") if word]
            rest = sorted({word for word in words_of(row["text"]) if word not in " ".join(good).lower()})
            for word in [*good, *rng.sample(rest, min(len(good), len(rest)))]:
                made[split].append({"word": word, "text": row["text"], "label": int(word in good)})
    return Task("keywords", ("word", "text"), ("other", "keyword"), made, metric="f1", language=language)


def keywords(
    model: Any, method: Any, text: str, *, most: int = 5, least: float = 0.5, candidates: Sequence[str] | None = None
) -> list[tuple[str, float]]:
    """At most `most` keywords of a text, the surest first, with their probabilities, `least` or more each.

    `model` and `method` classify rows of a `keyword_task`. `candidates` are the text's words, unless given: give them
    for Chinese, which a list of terms or a segmenter has.
    """
    words = list(dict.fromkeys(words_of(text) if candidates is None else candidates))
    if not words:
        return []
    chances = predict(model, method, [{"word": word, "text": text} for word in words], progress=False)[:, 1]
    found = sorted(zip(words, chances.tolist(), strict=True), key=lambda pair: -pair[1])
    return [(word, chance) for word, chance in found[:most] if chance >= least]


@dataclass(frozen=True)
class Point:
    """Where a classifier is made to decide: scores from `threshold` on are reported; both shares are in [0, 1]."""

    threshold: float
    precision: float
    recall: float


def at_threshold(scores: Sequence[float], labels: Sequence[int], threshold: float) -> Point:
    """What reporting the rows with `scores` (n,) from `threshold` on means; `labels` are 1 where it is right.

    The precision of no report is 1, the recall 0 where there is nothing to report.
    """
    reported, right = np.asarray(scores) >= threshold, np.asarray(labels) == 1
    hits = int((reported & right).sum())
    precision = hits / reported.sum() if reported.any() else 1.0
    return Point(float(threshold), float(precision), float(hits / right.sum()) if right.any() else 0.0)


def most_recall(scores: Sequence[float], labels: Sequence[int], precision: float = 0.9) -> Point:
    """The threshold with the highest recall among those whose precision is `precision` or more.

    To control risky texts, choose it on "dev" and look at `at_threshold` on "test": chosen where it is reported, it
    would flatter. Raises DataError where no threshold is so precise, or there is nothing to find.
    """
    if not 0 < precision <= 1:
        raise UsageError(f"precision={precision}: a share above 0, at most 1, is needed")
    chances, right = np.asarray(scores, dtype=float), np.asarray(labels) == 1
    order = np.argsort(-chances, kind="stable")
    hits = right[order].cumsum()
    last = np.append(chances[order][1:] != chances[order][:-1], True)  # equal scores are reported together
    good = np.flatnonzero(last & (hits >= precision * np.arange(1, len(hits) + 1)) & (hits > 0))
    if not len(good):
        raise DataError(
            f"no threshold has a precision of {precision:g} on these {len(chances)} rows: train longer, or ask less"
        )
    return at_threshold(chances, labels, chances[order][good[hits[good].argmax()]])
