"""Tiny models and a task for the tests of PET and of soft prompts."""

from __future__ import annotations

import hashlib

import torch
from transformers import BertConfig, BertForMaskedLM, RobertaConfig, RobertaForMaskedLM

from labkit.tasks import Task

WORDS = (
    "[PAD] [UNK] [CLS] [SEP] [MASK] a the film book was good bad fine it dull great . love hate ! yes no 很 好 坏 差"
).split()
ID = {word: number for number, word in enumerate(WORDS)}
ROWS = [
    {"text": "the film was fine .", "label": 1},
    {"text": "dull", "label": 0},
    {"text": "a great book !", "label": 1},
    {"text": "it was a bad bad film", "label": 0},
]
SIZES = {
    "vocab_size": len(WORDS), "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2,
    "intermediate_size": 64, "max_position_embeddings": 40, "initializer_range": 0.5,
    "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0,
}  # fmt: skip


def bert(kind=BertForMaskedLM, **changes):
    torch.manual_seed(0)
    return kind(BertConfig(**{**SIZES, **changes})).eval()


def roberta():
    torch.manual_seed(0)
    return RobertaForMaskedLM(RobertaConfig(**SIZES, pad_token_id=0)).eval()


def task(**changes):
    given = {"patterns": ("{text} it was {mask} .", "{mask} ! {text}"),
             "words": {"negative": ("bad", "dull"), "positive": ("good", "great", "fine")}}  # fmt: skip
    return Task("world/films", ("text",), ("negative", "positive"), {"train": ROWS}, **{**given, **changes})


@torch.no_grad()
def answers(model, method, rows=ROWS):
    return method.logits(model, method.collate(rows))


def hashes(model):
    """Name -> SHA-256 of every tensor of the model."""
    return {
        name: hashlib.sha256(tensor.detach().numpy().tobytes()).hexdigest()
        for name, tensor in model.state_dict(keep_vars=True).items()
    }


def train(model, method, steps=3, lr=0.1):
    """A few steps; afterwards the model is in eval mode."""
    from labkit.training import Batches, fit

    fit(model, method.loss, Batches(ROWS, method.collate, 2, seed=0), steps=steps, lr=lr, progress=False)
    return model.eval()


def changed(model, method):
    """The names of the tensors that a few steps changed."""
    before = hashes(model)
    after = hashes(train(model, method))
    assert before.keys() == after.keys()
    return {name for name in before if before[name] != after[name]}
