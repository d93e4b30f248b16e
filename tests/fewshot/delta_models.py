"""Tiny random models of four kinds, and how the tests look at them."""

from __future__ import annotations

import copy
import hashlib

import torch
from torch.nn import functional as F
from transformers import (
    AlbertConfig,
    AlbertForMaskedLM,
    BertConfig,
    BertForMaskedLM,
    DistilBertConfig,
    DistilBertForMaskedLM,
    RobertaConfig,
    RobertaForMaskedLM,
)

from labkit.fewshot.delta_tuning import (
    IA3,
    BitFit,
    Combined,
    Compacter,
    Intrinsic,
    Ladder,
    LoRA,
    Parallel,
    Prefix,
    Prompt,
    Serial,
)
from labkit.foundations.heads import add_head

SIZES = {"vocab_size": 50, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 64}
SIZES |= {"max_position_embeddings": 40, "initializer_range": 0.2, "pad_token_id": 0}
DISTIL = {"vocab_size": 50, "dim": 32, "n_layers": 3, "n_heads": 2, "hidden_dim": 64, "max_position_embeddings": 40}
MAKERS = {
    "bert": lambda: BertForMaskedLM(BertConfig(**SIZES)),
    "roberta": lambda: RobertaForMaskedLM(RobertaConfig(**SIZES)),
    "albert": lambda: AlbertForMaskedLM(AlbertConfig(embedding_size=16, **SIZES)),
    "distilbert": lambda: DistilBertForMaskedLM(DistilBertConfig(initializer_range=0.2, **DISTIL)),
}
SILENT = {  # their answers at attach are the model's own, bit for bit
    "serial": Serial(bottleneck=8),
    "parallel": Parallel(bottleneck=8),
    "lora": LoRA(rank=4),
    "ia3": IA3(),
    "bitfit": BitFit(),
    "compacter": Compacter(bottleneck=8),
    "ladder": Ladder(reduction=4),
    "combined": Combined(deltas=(LoRA(rank=2), IA3(), Serial(bottleneck=4), BitFit())),
    "intrinsic lora": Intrinsic(inner=LoRA(rank=2), dimension=3),
}
SPEAKING = {"prompt": Prompt(tokens=3), "prefix": Prefix(tokens=3), "intrinsic": Intrinsic(inner=Prompt(tokens=3))}
EVERY = SILENT | SPEAKING
BATCH = {"input_ids": torch.randint(5, 50, (3, 9), generator=torch.Generator().manual_seed(1))}
BATCH["attention_mask"] = (torch.arange(9) < torch.tensor([[9], [6], [4]])).long()


def make(kind="bert", head=False):
    torch.manual_seed(0)
    model = MAKERS[kind]().eval()
    return add_head(model, 3, pooling="mean", seed=1) if head else model


def outputs(model):
    """Logits where there is text."""
    with torch.no_grad():
        logits = model(**BATCH).logits
    return logits if logits.ndim == 2 else logits[BATCH["attention_mask"].bool()]


def digest(tensors):
    """SHA-256 of tensors by name."""
    found = hashlib.sha256()
    for name, tensor in tensors.items():
        found.update(name.encode() + tensor.detach().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def train(model, steps=3, lr=0.05):
    """A few steps of AdamW on what requires a gradient; the model, for chaining."""
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=lr)
    for _ in range(steps):
        optimizer.zero_grad()
        logits = model(**BATCH).logits
        logits = logits if logits.ndim == 2 else logits[:, 1]
        F.cross_entropy(logits, torch.tensor([0, 2, 1])).backward()
        optimizer.step()
    return model


def trained(delta, kind="bert", head=False):
    """A tiny model with this delta after a few steps."""
    return train(delta.attach(make(kind, head)))


copied = copy.deepcopy
