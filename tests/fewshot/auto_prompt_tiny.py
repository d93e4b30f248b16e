"""A random BERT, a random ALBERT and a few rows, small enough to try everything."""

from __future__ import annotations

import torch
from transformers import AlbertConfig, AlbertForMaskedLM, BertConfig, BertForMaskedLM, BertTokenizerFast

from labkit.tasks import Task

WORDS = (
    "[PAD] [UNK] [CLS] [SEP] [MASK] a the film was good bad fine it dull great . love hate very ##s ##ing , so !"
).split()
PLAIN = [word for word in WORDS if word[0] not in "[#"]  # what may stand in a template


def tokenizer():
    return BertTokenizerFast(vocab={word: number for number, word in enumerate(WORDS)}, model_max_length=48)


def bert(seed=0):
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=48, initializer_range=0.6,
    )  # fmt: skip
    return BertForMaskedLM(config).train()  # with dropout, which must not be felt


def albert(seed=0):
    torch.manual_seed(seed)
    config = AlbertConfig(
        vocab_size=len(WORDS), embedding_size=8, hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=48, initializer_range=0.6,
    )  # fmt: skip
    return AlbertForMaskedLM(config).train()


TEXTS = ["the film was good", "a dull film", "love it", "hate it so", "it was fine , very good", "the bad film"]


def task(**changes):
    rows = [{"text": text, "label": number % 2} for number, text in enumerate(TEXTS)]
    dev = [{"text": text + " .", "label": number % 2} for number, text in enumerate(TEXTS)]
    options = {
        "name": "tiny", "fields": ("text",), "labels": ("negative", "positive"), "splits": {"train": rows, "dev": dev},
        "patterns": ("{text} it was {mask} .",), "words": {"negative": ("bad",), "positive": ("good",)},
    }  # fmt: skip
    return Task(**{**options, **changes})
