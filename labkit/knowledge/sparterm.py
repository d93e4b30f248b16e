"""SparTerm: a masked language model writes the terms of a passage, and what each is worth (Bai et al. 2020).

The passage becomes a vector over the *vocabulary* with few entries, so an inverted index can search it, and each entry
is a word that can be read. Two copies of the pre-trained model make it, from the logits of their LM heads:

- the importance predictor: Σ over the tokens of max(0, logit) for each term (§3.2),
- the gating controller: which terms the passage has at all. Its own words are always there; others, with which a query
  may ask, join where the gate's probability is above a threshold (§3.3). This is what closes a mismatch of words.

The gate learns which terms the queries of a passage have; the importance learns to rank the right passage before
another. Queries go through the importance predictor alone, with their own words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from labkit.evaluation import over_rows
from labkit.foundations.encoder import model_inputs
from labkit.knowledge.dense import DualEncoder
from labkit.knowledge.lexical import inverted

Row = Mapping[str, Any]
SCALE = 20.0  # of inner products, so that the softmax over passages begins soft


class SparTermModel(nn.Module):
    """The two copies, each a model with a masked-LM head, and the level that a gate's logit is compared with."""

    def __init__(self, importance: PreTrainedModel, gate: PreTrainedModel) -> None:
        super().__init__()
        self.importance, self.gate = importance, gate
        self.level = nn.Parameter(torch.tensor(5.0))

    def weigh(self, batch: Mapping[str, Tensor]) -> Tensor:
        """What each term is worth, the sum over the tokens of max(0, logit): (batch, vocabulary)."""
        logits = self.importance(**model_inputs(self.importance, batch)).logits  # (batch, tokens, vocabulary)
        return (logits.relu() * batch["attention_mask"][..., None]).sum(1)

    def open(self, batch: Mapping[str, Tensor]) -> Tensor:
        """How surely each term may join, as a logit: the highest of the tokens, less the level. (batch, vocabulary)"""
        logits = self.gate(**model_inputs(self.gate, batch)).logits
        return logits.masked_fill(batch["attention_mask"][..., None] == 0, -torch.inf).amax(1) - self.level


class SparTerm(DualEncoder):
    """The method: `rows` are `{text, positive}`; what the queries of a passage ask with, its gate learns to let in.

    `expand` False keeps to the passage's own words ("literal only", §3.3). `threshold` is the gate's probability from
    which a term joins.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, passages: Sequence[str], rows: Sequence[Row] = (),
        max_length: int = 64, threshold: float = 0.3, expand: bool = True,
    ) -> None:  # fmt: skip
        super().__init__(tokenizer, passages, max_length)
        self.threshold, self.expand = threshold, expand
        self.asked: dict[int, set[int]] = {}
        for row in rows:
            pieces = tokenizer(row["text"], add_special_tokens=False)["input_ids"]
            self.asked.setdefault(row["positive"], set()).update(pieces)

    def collate(self, rows: Sequence[Row], rng: np.random.Generator) -> dict[str, Tensor]:
        """As a dual encoder's, with `asked` (batch, vocabulary): the terms that ask for each right passage."""
        asked = torch.zeros(len(rows), len(self.tokenizer))
        for number, row in enumerate(rows):
            asked[number, list(self.asked.get(row["positive"], ()))] = 1
        return {**super().collate(rows, rng), "asked": asked}

    def own(self, batch: Mapping[str, Tensor]) -> Tensor:
        """1 for each term that stands in the text, special tokens left out: (batch, vocabulary)."""
        ids = batch["input_ids"]
        words = torch.zeros(len(ids), len(self.tokenizer), device=ids.device).scatter_(1, ids, 1.0)
        words[:, self.tokenizer.all_special_ids] = 0
        return words

    def vectors(self, model: SparTermModel, batch: Mapping[str, Tensor]) -> Tensor:
        """The passages' sparse vectors: importance times gate, (batch, vocabulary)."""
        has = self.own(batch)
        if self.expand:
            has = torch.maximum(has, (model.open(batch).sigmoid() > self.threshold).float())
        return model.weigh(batch) * has

    def loss(self, model: SparTermModel, batch: Mapping[str, Tensor]) -> Tensor:
        """The ranking's cross-entropy over the batch's passages, and the gate's over the terms: a scalar."""
        passages = {"input_ids": batch["passage_ids"], "attention_mask": batch["passage_mask"]}
        own, queries = self.own(passages), self.queries(model, batch)
        opened = model.open(passages)
        has = torch.maximum(own, (opened.detach().sigmoid() > self.threshold).float()) if self.expand else own
        scores = queries @ (model.weigh(passages) * has).T / SCALE
        ranking = F.cross_entropy(scores, torch.arange(len(queries), device=scores.device))
        if not self.expand:
            return ranking
        right, new = opened[: len(queries)], own[: len(queries)] == 0  # the gate decides on words that are not there
        gate = F.binary_cross_entropy_with_logits(right, batch["asked"], weight=new.float(), reduction="sum")
        return ranking + gate / (batch["asked"] * new).sum().clamp(min=1)

    __call__ = loss

    def queries(self, model: SparTermModel, batch: Mapping[str, Tensor]) -> Tensor:
        """The queries' vectors: the importance of their own words, (batch, vocabulary)."""
        return model.weigh(batch) * self.own(batch)


class SparTermIndex:
    """The inverted index of a method's passages; its terms are the tokenizer's pieces."""

    def __init__(self, model: SparTermModel, method: SparTerm) -> None:
        self.model, self.method = model, method
        vectors = over_rows(model, method.passages, method.read, method.vectors)
        self.lists = inverted(method.tokenizer.get_vocab(), sparse.csr_matrix(vectors.numpy()))

    def asked(self, queries: Sequence[str]) -> list[dict[str, float]]:
        """Each query as its pieces with their weights."""
        weights = over_rows(self.model, list(queries), self.method.read, self.method.queries)
        names = self.method.tokenizer.convert_ids_to_tokens
        return [dict(zip(names(row.nonzero()[:, 0].tolist()), row[row > 0].tolist(), strict=True)) for row in weights]

    def rankings(self, queries: Sequence[str], k: int = 50) -> list[list[int]]:
        """The k best passages of each query."""
        return self.lists.rankings(self.asked(queries), k)

    def search(self, query: str, k: int = 10) -> tuple[np.ndarray, np.ndarray]:
        """The k best passages that share a term with the query, and their scores. Errors as `Inverted.search`."""
        return self.lists.search(self.asked([query])[0], k)

    def fired(self, query: str, passage: int) -> dict[str, float]:
        """The terms that query and passage share, with what each adds to the score, the greatest first."""
        return self.lists.fired(self.asked([query])[0], passage)
