"""WKLM (Xiong et al. 2020, *Pretrained encyclopedia: weakly supervised knowledge-pretrained language model*): names are
exchanged for others of the same type, and a BERT says which ones.

    anna reed was born in north cedar .    ->    anna reed was born in great candle .      "great candle": exchanged

Grammar and topic stay as they are, so only who knows the fact can tell. Nothing is added to the BERT: the classifier
lives in the objective.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from labkit.errors import UsageError
from labkit.foundations.encoder import backbone, unwrapped
from labkit.foundations.pretraining import IGNORE, MaskedLM
from labkit.knowledge.dkplm import Mention, check_mentions
from labkit.training.batches import weight_of


def exchanged(entities: Sequence[int], types: Sequence[str], rng: np.random.Generator, share: float) -> list[int]:
    """A text's entities in their order, each exchanged with the chance `share` for another of its type, all of these
    being as likely; never two neighbours, and none that is the only one of its type (§3.2). `types` (all entities,).
    """
    found: list[int] = []
    for nth, entity in enumerate(entities):
        others = [one for one, kind in enumerate(types) if kind == types[entity] and one != entity]
        before = nth > 0 and found[-1] != entities[nth - 1]
        take = bool(others) and not before and rng.random() < share
        found.append(others[rng.integers(len(others))] if take else entity)
    return found


def rewritten(
    ids: np.ndarray, mentions: Sequence[Mention], names: Sequence[tuple[int, ...]], entities: Sequence[int]
) -> tuple[np.ndarray, list[Mention]]:
    """A text's token ids with its mentions naming `entities` instead, and where these stand; `names` are the token ids
    of every entity's name.
    """
    parts, found, at, length = [], [], 0, 0
    for (start, stop, old), new in zip(mentions, entities, strict=True):
        name = ids[start:stop] if new == old else np.asarray(names[new], ids.dtype)
        parts += [ids[at:start], name]
        length += start - at
        found.append((length, length + len(name), int(new)))
        at, length = stop, length + len(name)
    return np.concatenate([*parts, ids[at:]]), found


class WKLM(nn.Module):
    """The objective: `.collate(rows, rng)` for Batches, `.loss(model, batch)` for fit, the model a `BertForMaskedLM`.

    L = L_MLM + L_ER, in nats: hidden words, and for each mention whether it was exchanged, told from the states of the
    tokens before and behind it. Rows are of `linked`. No word of a text with an exchange is hidden, or the model would
    learn to say what is false. `types` and `names` (token ids -> entity) are of all entities; `exchange` may be yours.
    """

    def __init__(
        self, model: nn.Module, masked: MaskedLM, types: Sequence[str], names: Mapping[tuple[int, ...], int], *,
        share: float = 0.3, exchange: Callable[..., Sequence[int]] = exchanged,
    ) -> None:  # fmt: skip
        super().__init__()
        if not 0 < share < 1:
            raise UsageError(f"share={share}: the chance of an exchange must lie between 0 and 1")
        named = {entity: ids for ids, entity in names.items()}
        if len(named) != len(types):
            raise UsageError(f"{len(types)} types and {len(named)} names: give every entity one of each")
        self.masked, self.types, self.share, self.exchange = masked, list(types), share, exchange
        self.names = [named[entity] for entity in range(len(types))]
        self.tell = nn.Linear(2 * unwrapped(model).config.hidden_size, 1)

    def collate(self, rows: Sequence[Mapping[str, Any]], rng: np.random.Generator | None = None) -> dict[str, Tensor]:
        """What `MaskedLM` has, of the rewritten texts; "changed" (batch, tokens) at the first token of each mention, 1
        where it was exchanged, else 0, and −1 elsewhere; "after", the token behind it; "count:mentions" (batch,).
        DataError as `check_mentions`.
        """
        rng = np.random.default_rng(0) if rng is None else rng
        written = []
        for number, row in enumerate(rows):
            check_mentions(row, number + 1, len(self.types))
            old = [entity for _, _, entity in row["mentions"]]
            new = self.exchange(old, self.types, rng, self.share)
            written.append((*rewritten(row["input_ids"], row["mentions"], self.names, new), np.not_equal(old, new)))
        batch = self.masked.collate([{"input_ids": ids} for ids, _, _ in written], rng)
        changed, after = torch.full_like(batch["labels"], -1), torch.zeros_like(batch["labels"])
        for number, (ids, mentions, flags) in enumerate(written):
            for (start, stop, _), flag in zip(mentions, flags, strict=True):
                changed[number, start], after[number, start] = int(flag), stop
            if flags.any():
                batch["input_ids"][number, : len(ids)] = torch.from_numpy(ids).long()
                batch["labels"][number] = IGNORE
        batch["count"] = (batch["labels"] != IGNORE).sum(1)
        return batch | {"changed": changed, "after": after, "count:mentions": (changed >= 0).sum(1)}

    def loss(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """L of a batch, a scalar in nats."""
        states = backbone(model)(batch["input_ids"], batch["attention_mask"]).last_hidden_state
        asked = batch["labels"] != IGNORE
        logits = unwrapped(model).cls(states[asked])
        said = F.cross_entropy(logits, batch["labels"][asked]) if len(logits) else logits.sum()
        there = batch["changed"] >= 0
        if not there.any():
            return said
        told = F.binary_cross_entropy_with_logits(self.doubts(states, batch), batch["changed"][there].float())
        return said + weight_of(batch, "mentions") * told

    __call__ = loss

    def doubts(self, states: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        """The logit of each mention's having been exchanged, (mentions,), of states (batch, tokens, d)."""
        row, start = (batch["changed"] >= 0).nonzero(as_tuple=True)
        ends = states[row, start - 1], states[row, batch["after"][row, start]]
        return self.tell(torch.cat(ends, -1))[:, 0]
