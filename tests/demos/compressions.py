"""Models of the compression demo for tests: a tiny teacher, and passes of a few steps."""

from __future__ import annotations

import re

from labkit.demos.compression.making import Workshop, lines_for
from labkit.tasks import Task
from labkit.zoo import Loaded

GOOD, BAD = ("good", "great", "fine"), ("bad", "dull")
ENDS = (".", "a film .", "it was the film .")
TEXTS = [(f"the film was {word} {end}", int(word in GOOD)) for word in GOOD + BAD for end in ENDS]


def tiny(parts):
    """(backbone with its tokenizer, task) of the tests' random app, `tiny_parts`."""
    model, tokenizer, _, _ = parts()
    rows = [{"text": text, "label": label} for text, label in TEXTS]
    splits = {"train": rows, "unlabelled": [{"text": "it was fine", "label": None}] * 3, "test": rows[::2]}
    return Loaded(model.bert, tokenizer), Task("world/films", ("text",), ("negative", "positive"), splits)


def short(model):
    """The demo's own lines with 3 steps a pass."""
    return {name: re.sub(r"(distill:|,)\d{3}", r"\g<1>3", line) for name, line in lines_for(model).items()}


def workshop(parts) -> Workshop:
    """One whose teacher trains for 3 steps."""
    return Workshop(*tiny(parts), steps=3)
