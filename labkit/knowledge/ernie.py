"""ERNIE (Zhang et al. 2019, *ERNIE: enhanced language representation with informative entities*): a BERT that is told
which entity a name means.

    text        anna   reed   was    born   in   [MASK]          a state per token, and
    entities    v(anna reed)                                     a vector of a graph's per mention, at its first token

The last layers are *knowledge layers*. In each, tokens attend to tokens and entities to entities; then a token and its
entity meet inside the feed-forward layer, σ(W_t h + W_e e + b), and part again. A token without an entity passes
through BERT's own layer: without entities, Ernie is BERT, bit for bit the same weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import BertForMaskedLM
from transformers.modeling_outputs import MaskedLMOutput

from labkit.errors import DataError, UsageError
from labkit.foundations.pretraining import IGNORE, MaskedLM
from labkit.knowledge.dkplm import check_mentions
from labkit.knowledge.linking import longest_first
from labkit.training.batches import weight_of

NONE = -1  # the entity of a token that has none
HEADS = 4  # of the attention among entities


def fused(h: Tensor, e: Tensor, w_t: Tensor, w_e: Tensor, b: Tensor, act: Callable[[Tensor], Tensor]) -> Tensor:
    """σ(W_t h + W_e e + b), (…, f): tokens `h` (…, d) and their entities `e` (…, k), 0 where a token has none; `w_t`
    (f, d), `w_e` (f, k), `b` (f,) (equation 4).
    """
    return act(h @ w_t.T + e @ w_e.T + b)


class KnowledgeLayer(nn.Module):
    """What a knowledge layer has besides a BERT layer: attention among entities (of `k` numbers), W_e from them into
    the feed-forward layer (0 at first, so that nothing is changed), and the way back.
    """

    def __init__(self, k: int, inner: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(k, HEADS, batch_first=True)
        self.into, self.back = nn.Linear(k, inner, bias=False), nn.Linear(inner, k)
        self.norms = nn.ModuleList([nn.LayerNorm(k), nn.LayerNorm(k)])
        nn.init.zeros_(self.into.weight)

    def forward(
        self, bert: Any, h: Tensor, mask: Tensor | None, e: Tensor, there: Tensor, fuse: Callable[..., Tensor]
    ) -> tuple[Tensor, Tensor]:
        """The next states of tokens (batch, tokens, d) and entities (batch, tokens, k), by the BERT layer `bert`, its
        attention mask, and `there` (batch, tokens), where a token has an entity.
        """
        h = bert.attention(h, mask)[0]
        alone = ~there.any(1, keepdim=True)  # a text without entities: let it attend somewhere, and forget the result
        e = self.norms[0](e + self.attention(e, e, e, key_padding_mask=~(there | alone), need_weights=False)[0])
        e, dense = e * there[..., None], bert.intermediate.dense
        z = fuse(h, e, dense.weight, self.into.weight, dense.bias, bert.intermediate.intermediate_act_fn)
        return bert.output(z, h), self.norms[1](e + self.back(z)) * there[..., None]


class Ernie(BertForMaskedLM):
    """A masked language model with an entity stream in its last `layers` layers; `model` is a BERT, which is copied.

    `vectors` is a module that gives entities (n,) their vectors (n, k); `names` are token ids -> entity, by which
    mentions are found where a batch does not say. `fuse` may be your own.
    """

    def __init__(
        self, model: BertForMaskedLM, vectors: nn.Module, names: Mapping[tuple[int, ...], int], *, layers: int = 2,
        fuse: Callable[..., Tensor] = fused,
    ) -> None:  # fmt: skip
        super().__init__(model.config)
        if not 1 <= layers <= self.config.num_hidden_layers:
            raise UsageError(f"layers={layers}: of its {self.config.num_hidden_layers} layers, 1 or more know entities")
        self.load_state_dict(model.state_dict())
        with torch.no_grad():
            k = vectors(torch.zeros(1, dtype=torch.long)).shape[1]
        self.vectors, self.names, self.fuse = vectors, dict(names), fuse
        self.knowledge = nn.ModuleList(KnowledgeLayer(k, self.config.intermediate_size) for _ in range(layers))
        self.train(model.training)

    def link(self, input_ids: Tensor) -> Tensor:
        """The entity of every token that a mention begins with, else −1: (batch, tokens), of ids (batch, tokens)."""
        rows = [longest_first(row, self.names) for row in input_ids.tolist()]
        return aligned(rows, input_ids.shape[1]).to(input_ids.device)

    def streams(self, input_ids: Tensor, attention_mask: Tensor | None, entities: Tensor | None) -> tuple[Tensor, ...]:
        """The last states of the tokens (batch, tokens, d) and of their entities (batch, tokens, k), 0 for none."""
        entities = self.link(input_ids) if entities is None else entities
        there, h = entities != NONE, self.bert.embeddings(input_ids)
        e = h.new_zeros(*there.shape, self.knowledge[0].into.in_features)
        if there.any():
            which, place = entities[there].unique(return_inverse=True)
            e = e.masked_scatter(there[..., None], self.vectors(which)[place])
        mask = self.bert._create_attention_masks(attention_mask, None, h, None, None)[0]
        body, first = self.bert.encoder.layer, len(self.bert.encoder.layer) - len(self.knowledge)
        for layer in body[:first]:
            h = layer(h, mask)
        for layer, knowing in zip(body[first:], self.knowledge, strict=True):
            h, e = knowing(layer, h, mask, e, there, self.fuse)
        return h, e

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, entities: Tensor | None = None
    ) -> MaskedLMOutput:
        """`.logits` (batch, tokens, vocabulary). `entities` (batch, tokens) as of `link`, which is asked without."""
        return MaskedLMOutput(logits=self.cls(self.streams(input_ids, attention_mask, entities)[0]))


def aligned(mentions: Sequence[Sequence[tuple[int, int, int]]], tokens: int) -> Tensor:
    """Each text's entities at the first token of their mentions, −1 elsewhere: (texts, tokens)."""
    found = torch.full((len(mentions), tokens), NONE)
    for row, some in enumerate(mentions):
        for start, _, entity in some:
            found[row, start] = entity
    return found


def table_of(vectors: Tensor) -> nn.Embedding:
    """ERNIE's `vectors` (entities, k), which are not trained. DataError for an entity without one (NaN, or all 0)."""
    missing = (~vectors.isfinite().all(1) | (vectors == 0).all(1)).nonzero()
    if len(missing):
        raise DataError(f"entity {missing[0].item()} has no vector: give it one, or link no mention to it")
    return nn.Embedding.from_pretrained(vectors.detach().clone(), freeze=True)


def disturbed(
    entities: np.ndarray, number: int, rng: np.random.Generator, wrong: float = 0.05, hidden: float = 0.15
) -> np.ndarray:
    """What the model is told of mentions' `entities` (n,), out of `number`: in a share `wrong` of all cases another
    entity, in a share `hidden` none (−1), else the right one (§3.4).
    """
    fate = rng.random(len(entities))
    others = (entities + rng.integers(1, number, size=len(entities))) % number  # any but the entity itself
    return np.where(fate < wrong, others, np.where(fate < wrong + hidden, NONE, entities))


class DenoisingEntities(nn.Module):
    """ERNIE's objective: `.collate(rows, rng)` for Batches, `.loss(model, batch)` for fit, the model an `Ernie`.

    L = L_MLM + L_dEA, in nats: hidden words are said, and of each mention, which may come with a wrong entity or none,
    the entity is told from its first token's state, among those of the batch (the paper: of the text). Rows are of
    `linked`. A mention that has a hidden token comes without its entity, as no one could link it.
    `disturb` may be your own.
    """

    def __init__(
        self, model: Ernie, masked: MaskedLM, number: int, disturb: Callable[..., np.ndarray] = disturbed
    ) -> None:
        super().__init__()
        self.masked, self.number, self.disturb = masked, number, disturb
        self.ask = nn.Linear(model.config.hidden_size, model.knowledge[0].into.in_features)

    def collate(self, rows: Sequence[Mapping[str, Any]], rng: np.random.Generator | None = None) -> dict[str, Tensor]:
        """What `MaskedLM` has; "entities" (batch, tokens), as the model is told them, "wanted", the right ones;
        "count:entities" (batch,). DataError as `check_mentions`.
        """
        rng = np.random.default_rng(0) if rng is None else rng
        batch, seen = self.masked.collate(rows, rng), []
        for number, row in enumerate(rows):
            check_mentions(row, number + 1, self.number)
            hidden = batch["labels"][number] != IGNORE
            seen.append([one for one in row["mentions"] if not hidden[one[0] : one[1]].any()])
        wanted = aligned(seen, batch["input_ids"].shape[1])
        told, there = wanted.clone(), wanted != NONE
        told[there] = torch.from_numpy(np.asarray(self.disturb(wanted[there].numpy(), self.number, rng)))
        return batch | {"entities": told, "wanted": wanted, "count:entities": there.sum(1)}

    def loss(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """L of a batch, a scalar in nats."""
        states, _ = model.streams(batch["input_ids"], batch["attention_mask"], batch["entities"])
        asked, there = batch["labels"] != IGNORE, batch["wanted"] != NONE
        logits = model.cls(states[asked])
        said = F.cross_entropy(logits, batch["labels"][asked]) if len(logits) else logits.sum()
        if not there.any():
            return said
        which, place = batch["wanted"][there].unique(return_inverse=True)
        scores = self.ask(states[there]) @ model.vectors(which).T  # (mentions, entities of the batch)
        return said + weight_of(batch, "entities") * F.cross_entropy(scores, place)

    __call__ = loss
