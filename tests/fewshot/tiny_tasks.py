"""Two or three tasks of a few rows over a vocabulary of forty words, for the tests of learning from many tasks."""

from __future__ import annotations

import torch
from transformers import BertConfig, BertForMaskedLM, BertTokenizerFast

from labkit.tasks import Task

WORDS = (
    "[PAD] [UNK] [CLS] [SEP] [MASK] a the film was good bad fine it dull great . , ? : yes no true false right wrong "
    "maybe so do they say same news about sport art is that fact opinion in this read and or "
    "是 不 好 差 很 的 书 ， 。 ？"
).split()
ID = {word: number for number, word in enumerate(WORDS)}


def tokenizer() -> BertTokenizerFast:
    return BertTokenizerFast(vocab=ID, model_max_length=64)


def bert(seed: int = 0) -> BertForMaskedLM:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = BertConfig(
            vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
            max_position_embeddings=64, initializer_range=0.5, hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        )  # fmt: skip
        return BertForMaskedLM(config).eval()


def rows(*texts: tuple[str, int]) -> list[dict]:
    return [{"text": text, "label": label} for text, label in texts]


def sentiment(name: str = "made/films", extra: str = "") -> Task:
    some = rows((f"the film was good {extra}", 1), (f"a dull film {extra}", 0), (f"great {extra} .", 1), ("bad .", 0))
    splits = {"train": some, "test": some, "unlabelled": [{"text": "it was so fine", "label": None}]}
    return Task(
        name, ("text",), ("negative", "positive"), splits, patterns=("{text} it was {mask} .",),
        words={"negative": ("bad", "dull"), "positive": ("great", "good")},
    )  # fmt: skip


def topic() -> Task:
    some = rows(("read this film", 1), ("the same news", 0), ("say so", 2))
    return Task(
        "made/topics", ("text",), ("sport", "art", "news"), {"train": some, "test": some},
        patterns=("{mask} news : {text}", "{text} is that about {mask} ."),
        words={"art": ("art",), "sport": ("sport",)},
    )  # fmt: skip


def pairs(name: str = "made/pairs", swapped: bool = False) -> Task:
    some = [
        {"text_a": "the film was good", "text_b": "it was great", "label": 1},
        {"text_a": "the film was bad", "text_b": "it was fine", "label": 0},
        {"text_a": "they say so ?", "text_b": "do they say that", "label": 1},
    ]
    labels, words = ("different", "same"), {"different": ("no",), "same": ("yes",)}
    if swapped:
        labels, some = labels[::-1], [{**row, "label": 1 - row["label"]} for row in some]
    splits = {"train": some, "test": some}
    return Task(name, ("text_a", "text_b"), labels, splits, patterns=("{text_a} ? {mask} , {text_b} .",), words=words)


def inference() -> Task:
    some = [
        {"text_a": "the film was good", "text_b": "it was great", "label": 0},
        {"text_a": "the film was bad", "text_b": "it was fine", "label": 2},
        {"text_a": "they say so", "text_b": "it was fine", "label": 1},
    ]
    words = {"entailment": ("yes",), "neutral": ("maybe",), "contradiction": ("no",)}
    return Task("made/nli", ("text_a", "text_b"), tuple(words), {"train": some, "test": some}, words=words)


def chinese() -> Task:
    some = rows(("书很好。", 1), ("书很差。", 0))
    return Task(
        "made/zh", ("text",), ("差评", "好评"), {"train": some, "test": some}, language="zh",
        patterns=("{text}的书很{mask}。",), words={"差评": ("差",), "好评": ("好",)},
    )  # fmt: skip
