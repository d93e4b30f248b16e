"""What is read off the states of mentions: the type of one (entity typing), the relation of two (classification)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedTokenizerBase

from labkit.errors import DataError
from labkit.foundations.encoder import backbone, to_batch
from labkit.knowledge.ernie import Ernie, aligned
from labkit.knowledge.graph import KnowledgeGraph

HELD = 0.4  # share of the graph's facts that are asked for, not learned from


class MentionHead(nn.Module):
    """A linear layer on the first tokens' states of each row's first `mentions` mentions: an objective for `fit`, and
    with `logits` a method for `predict`. Rows have input_ids, mentions as of `linked`, label. A plain BERT reads the
    names; an `Ernie` has their entities too.
    """

    def __init__(self, width: int, classes: int, pad: int, mentions: int = 2) -> None:
        super().__init__()
        self.mentions, self.pad, self.head = mentions, pad, nn.Linear(mentions * width, classes)

    def collate(self, rows: Sequence[Mapping[str, Any]], rng: np.random.Generator | None = None) -> dict[str, Tensor]:
        """Ids, mask, "entities", "starts" (batch, mentions), "labels"; DataError for a row with too few mentions."""
        for number, row in enumerate(rows, start=1):
            if len(row["mentions"]) < self.mentions:
                raise DataError(f"row {number} of the batch: {self.mentions} mentions are needed, link the text anew")
        made = to_batch([row["input_ids"] for row in rows], self.pad)
        batch = {name: torch.from_numpy(value) for name, value in made.items()}
        batch["entities"] = aligned([row["mentions"] for row in rows], batch["input_ids"].shape[1])
        batch["starts"] = torch.tensor([[one[0] for one in row["mentions"][: self.mentions]] for row in rows])
        return batch | {"labels": torch.tensor([row["label"] for row in rows])}

    def logits(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """(batch, classes)."""
        ids, seen = batch["input_ids"], batch["attention_mask"]
        if isinstance(model, Ernie):
            states = model.streams(ids, seen, batch["entities"])[0]
        else:
            states = backbone(model)(ids, seen).last_hidden_state
        starts = batch["starts"]
        return self.head(states[torch.arange(len(ids))[:, None], starts].flatten(1))

    def loss(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """Cross-entropy, a scalar in nats."""
        return F.cross_entropy(self.logits(model, batch), batch["labels"])

    __call__ = loss


def relation_rows(
    graph: KnowledgeGraph, tokenizer: PreTrainedTokenizerBase, names: Mapping[tuple[int, ...], int], seed: int = 0
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Facts to learn from, and facts to ask for: each as "head and tail .", which does not say how they are related;
    the label is the relation. The graph has all of them.
    """
    ids = {entity: list(name) for name, entity in names.items()}
    middle, end = (tokenizer(word, add_special_tokens=False)["input_ids"] for word in ("and", "."))
    rows = []
    for head, relation, tail in np.random.default_rng(seed).permutation(graph.triples).tolist():
        first, after = 1 + len(ids[head]), 1 + len(ids[head]) + len(middle)
        text = [tokenizer.cls_token_id, *ids[head], *middle, *ids[tail], *end, tokenizer.sep_token_id]
        mentions = [(1, first, head), (after, after + len(ids[tail]), tail)]
        rows.append({"input_ids": np.array(text, np.int32), "mentions": mentions, "label": relation})
    cut = round(HELD * len(rows))
    return rows[cut:], rows[:cut]
