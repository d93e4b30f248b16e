"""BERT as published: masked language modelling and next-sentence prediction, together (Devlin et al. 2019, §3.1).

Two stretches of text, "[CLS] A [SEP] B [SEP]" with segments 0 and 1. Half the time B is what followed A, half the time
it comes from another text; the state of [CLS] must tell. The loss is the sum of both parts. RoBERTa (Liu et al. 2019,
§4.2) found that the second part does not help: two short stretches teach less than one long one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedTokenizerBase

from labkit.errors import DataError, UsageError
from labkit.foundations.encoder import model_inputs, to_batch, unwrapped, usable_length
from labkit.foundations.pretraining.masked import MaskedLM
from labkit.foundations.pretraining.shapes import IGNORE, hidden_places
from labkit.training.batches import weight_of

IS_NEXT, RANDOM = 0, 1  # as transformers' next_sentence_label
ENDS = (".", "!", "?", "。", "！", "？")


def next_sentence(
    seconds: Sequence[np.ndarray], rng: np.random.Generator, share: float = 0.5
) -> tuple[np.ndarray, np.ndarray]:
    """For each row, which row's second stretch stands there, and the label: two arrays (rows,).

    A row keeps its own (label 0), or, with probability `share`, gets that of another row (label 1), never one that
    reads like its own: neither may begin with the other. DataError where no other row will do.
    """
    chosen, labels = np.arange(len(seconds)), np.full(len(seconds), IS_NEXT)
    for row in np.flatnonzero(rng.random(len(seconds)) < share):
        others = rng.permutation(len(seconds))
        found = next((other for other in others if other != row and not _alike(seconds[other], seconds[row])), None)
        if found is None:
            raise DataError(
                f"row {row + 1} of the batch: no other row's second stretch differs from its own, so none can be the "
                "random next sentence: use larger batches of different texts"
            )
        chosen[row], labels[row] = found, RANDOM
    return chosen, labels


def _alike(a: np.ndarray, b: np.ndarray) -> bool:
    size = min(len(a), len(b))
    return np.array_equal(a[:size], b[:size])


def split_sentences(ids: np.ndarray, ends: Iterable[int]) -> list[np.ndarray]:
    """Token ids (tokens,) cut after each id in `ends`, without empty parts; together they are the text again."""
    cuts = np.flatnonzero(np.isin(ids, list(ends))) + 1
    return [part for part in np.split(ids, cuts) if len(part)]


def sentence_rows(rows: Iterable[Mapping[str, Any]], tokenizer: PreTrainedTokenizerBase) -> list[dict[str, Any]]:
    """Rows of `tokenize_corpus` as `{"sentences": [ids, …]}`, special tokens taken off; one-sentence texts left out."""
    ends = [at for mark in ENDS if (at := tokenizer.convert_tokens_to_ids(mark)) not in (None, tokenizer.unk_token_id)]
    special = [tokenizer.cls_token_id, tokenizer.sep_token_id]
    found = []
    for row in rows:
        ids = np.asarray(row["input_ids"])
        found.append({"sentences": split_sentences(ids[~np.isin(ids, special)], ends)})
    return [row for row in found if len(row["sentences"]) > 1]


class NextSentence:
    """MLM + NSP: `.collate(rows, rng)` for Batches, `.loss(model, batch)` for fit; the model a `BertForPreTraining`.

    Rows are `{"sentences": [ids, ids, …]}` of `sentence_rows`: each time a row is read it is cut in two at random. The
    random next comes from another row of the batch, which therefore needs at least two. Other settings: `MaskedLM`'s.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, *, max_length: int = 128, **masking: Any) -> None:
        if tokenizer.cls_token_id is None or tokenizer.sep_token_id is None:
            raise UsageError(f"{type(tokenizer).__name__} has no [CLS] or [SEP]: next-sentence prediction needs both")
        self.masked = MaskedLM(tokenizer, max_length=max_length, **masking)
        self.tokenizer, self.max_length = tokenizer, usable_length(tokenizer, max_length)

    def collate(self, rows: Sequence[Mapping[str, Any]], rng: np.random.Generator | None = None) -> dict[str, Tensor]:
        """`input_ids`, `attention_mask`, `token_type_ids` (segments), `labels` (batch, tokens), and
        `next_sentence_label` (batch,): 0 where B follows A, 1 where it is random.

        DataError for a row of fewer than two sentences.
        """
        rng = np.random.default_rng(0) if rng is None else rng
        firsts, seconds = zip(*(_cut(number, row, rng) for number, row in enumerate(rows, start=1)), strict=True)
        chosen, labels = next_sentence(seconds, rng)
        pairs = [self._pair(first, seconds[other]) for first, other in zip(firsts, chosen, strict=True)]
        batch = to_batch([ids for ids, _ in pairs], self.tokenizer.pad_token_id)
        batch["token_type_ids"] = to_batch([segments for _, segments in pairs], 0)["input_ids"]
        batch["input_ids"], batch["labels"] = self.masked.hide(batch["input_ids"], batch["attention_mask"], rng)
        batch |= {"next_sentence_label": labels, "count:masked": (batch["labels"] != IGNORE).sum(1)}
        return {name: torch.from_numpy(value) for name, value in batch.items()}

    def _pair(self, first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """ "[CLS] A [SEP] B [SEP]" and its segments; where it is too long, the longer stretch loses its end."""
        room = self.max_length - 3
        keep = min(len(first), max(room - len(second), room - room // 2))
        first, second = first[:keep], second[: room - keep]
        cls, sep = self.tokenizer.cls_token_id, self.tokenizer.sep_token_id
        ids = np.concatenate([[cls], first, [sep], second, [sep]])
        return ids, np.repeat([0, 1], [len(first) + 2, len(second) + 1])

    def losses(self, model: nn.Module, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """(MLM, NSP), each a mean cross-entropy in nats. The LM head runs at hidden positions only."""
        bare = unwrapped(model)
        body, head = getattr(bare, "base_model", None), getattr(bare, "cls", None)
        if body is None or not hasattr(head, "seq_relationship"):
            raise UsageError(f"{type(bare).__name__} has no next-sentence head: use BertForPreTraining")
        out = body(**model_inputs(body, batch))
        rows, columns, wanted = hidden_places(batch["labels"])
        logits = head.predictions(out.last_hidden_state[rows, columns]).float()  # (hidden, vocabulary)
        masked = F.cross_entropy(logits, wanted) if len(wanted) else logits.sum()
        following = head.seq_relationship(out.pooler_output).float()  # (batch, 2)
        return masked, F.cross_entropy(following, batch["next_sentence_label"])

    def loss(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """L_MLM + L_NSP, a scalar in nats."""
        masked, following = self.losses(model, batch)
        return weight_of(batch, "masked") * masked + following

    __call__ = loss


def _cut(number: int, row: Mapping[str, Any], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A row's sentences in two stretches, neither empty."""
    parts = row.get("sentences") or ()
    if len(parts) < 2:
        raise DataError(
            f"row {number} of the batch: field 'sentences' has {len(parts)}, two that follow each other are needed: "
            "make rows with sentence_rows(), which leaves such texts out"
        )
    at = int(rng.integers(1, len(parts)))
    return np.concatenate(parts[:at]), np.concatenate(parts[at:])
