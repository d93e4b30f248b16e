"""From one text to another: an encoder, a decoder, and attention between them.

Without attention the encoder's last state is all that the decoder knows of the source (Sutskever et al. 2014). With it,
it looks at all states, anew for each token (Bahdanau et al. 2015, Neural machine translation by jointly learning to
align and translate); as in Luong et al. 2015 *after* its step, so that one call of torch's kernel reads all steps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedTokenizerBase

from labkit.errors import DataError, UsageError, unknown
from labkit.foundations.encoder import padding, texts_of, to_batch
from labkit.foundations.pretraining.shapes import IGNORE
from labkit.foundations.sequences.recurrent import Recurrent
from labkit.lab import seeded

SCORES = ("dot", "additive", "none")


class Seq2Seq(nn.Module):
    """A bidirectional GRU reads, a GRU writes; `attention` is one of SCORES.

    "dot": q · k, of the decoder's state q and an encoder's k (Luong et al., §3.1); "additive": v · tanh(W q + U k)
    (Bahdanau et al., appendix A.1.2); "none": the encoder's end in place of the mean. UsageError for another score, or
    an odd size.
    """

    def __init__(self, vocab_size: int, size: int = 64, attention: str = "dot", *, seed: int = 0) -> None:
        super().__init__()
        if attention not in SCORES:
            raise unknown("attention", attention, SCORES)
        if size % 2:
            raise UsageError(f"size={size} is odd, and each of the encoder's two directions has half of it")
        self.attention = attention
        with seeded(seed):
            self.embeddings = nn.Embedding(vocab_size, size)
            self.encoder = Recurrent("gru", size, size // 2, bidirectional=True)
            self.decoder = Recurrent("gru", size, size)
            self.query, self.key, self.score = (nn.Linear(size, n, bias=False) for n in (size, size, 1))
            self.join, self.out = nn.Linear(2 * size, size), nn.Linear(size, vocab_size)

    def weigh(self, queries: Tensor, keys: Tensor, mask: Tensor) -> Tensor:
        """How much each query (batch, target, d) looks at each key (batch, source, d) that `mask` counts: distributions
        (batch, target, source).
        """
        if self.attention == "dot":
            scores = queries @ keys.transpose(1, 2)
        else:
            scores = self.score(torch.tanh(self.query(queries)[:, :, None] + self.key(keys)[:, None]))[..., 0]
        return scores.masked_fill(mask[:, None] == 0, -torch.inf).softmax(-1)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, written: Tensor) -> tuple[Tensor, Tensor | None]:
        """Source (batch, source) and n tokens written (batch, n) → the logits of tokens 0 … n (batch, n + 1,
        vocabulary) and the weights (batch, n + 1, source) or None. Before the first token the encoder's end is read.
        """
        states, last = self.encoder(self.embeddings(input_ids), attention_mask)
        queries, _ = self.decoder(torch.cat([last[:, None], self.embeddings(written)], 1))
        weights = None if self.attention == "none" else self.weigh(queries, states, attention_mask)
        context = last[:, None].expand_as(queries) if weights is None else weights @ states
        return self.out(torch.tanh(self.join(torch.cat([queries, context], -1)))), weights


class Rewriting:
    """The method of rewriting "source" as "target": it is trained by teacher forcing, and answers by itself.

    In training the decoder reads the right beginning; later what it wrote, mistakes included (exposure bias). The token
    for padding ends a target.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, most: int = 32) -> None:
        self.tokenizer, self.most, self.end = tokenizer, most, padding(tokenizer)

    def collate(self, rows: Sequence[Mapping[str, Any]], rng: np.random.Generator | None = None) -> dict[str, Tensor]:
        """`input_ids`, `attention_mask` (batch, source), and of rows with a target `labels` (batch, target), its end
        included, −100 at padding. DataError for an empty source.
        """
        if [] in (sources := self.tokenizer(texts_of(rows, "source"))["input_ids"]):
            raise DataError(f"row {sources.index([]) + 1} of the batch: field 'source' is empty: leave such rows out")
        batch = to_batch(sources, self.end)
        if all("target" in row for row in rows):
            targets = self.tokenizer(texts_of(rows, "target"))["input_ids"]
            found = to_batch([[*ids, self.end] for ids in targets], self.end)
            batch["labels"] = np.where(found["attention_mask"], found["input_ids"], IGNORE)
        return {name: torch.from_numpy(np.asarray(value)) for name, value in batch.items()}

    def loss(self, model: Seq2Seq, batch: Mapping[str, Tensor]) -> Tensor:
        """Cross-entropy per target token, its end included: a scalar in nats."""
        written = batch["labels"][:, :-1].clamp(min=0)  # padding may be any token: nothing is asked for after it
        logits, _ = model(batch["input_ids"], batch["attention_mask"], written)
        return F.cross_entropy(logits.flatten(0, 1), batch["labels"].flatten(), ignore_index=IGNORE)

    def answers(self, model: Seq2Seq, batch: Mapping[str, Tensor], rows: Sequence[Any]) -> list[str]:
        """A text for each row: always the likeliest token, until the end or for `most` tokens."""
        written = batch["input_ids"][:, :0]
        for _ in range(self.most):
            logits, _ = model(batch["input_ids"], batch["attention_mask"], written)
            written = torch.cat([written, logits[:, -1:].argmax(-1)], 1)
            if (written == self.end).any(1).all():
                break
        return [self.tokenizer.decode(ids[: (ids + [self.end]).index(self.end)]) for ids in written.tolist()]

    def score(self, rows: Sequence[Mapping[str, Any]], answers: Sequence[str]) -> dict[str, float]:
        """`accuracy`: the share of answers that are the target in every token."""
        return {"accuracy": sum(row["target"] == text for row, text in zip(rows, answers, strict=True)) / len(rows)}
