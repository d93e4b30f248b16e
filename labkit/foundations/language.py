"""Language modelling as an application: going on with a model's own pre-training, and how likely it finds a text.

A model that reads left to right gives each token a probability from what stands before it. A masked model has none of
a whole text; here each token is hidden once, a seventh of the text (about BERT's 15 %) at a time, so that a text costs
seven passes, where hiding one token at a time (Salazar et al. 2020, Masked Language Model Scoring, §2) costs as many as
it has tokens. No randomness is left: a text's answer does not depend on the texts beside it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedTokenizerBase

from labkit.evaluation import numbers_only
from labkit.foundations.encoder import lm_logits, texts_of
from labkit.foundations.heads import Described
from labkit.foundations.pretraining.causal import CausalLM
from labkit.foundations.pretraining.masked import MaskedLM
from labkit.foundations.pretraining.shapes import IGNORE, hidden_places

FOLDS = 7  # parts of a text, hidden one after the other
TOGETHER = 8  # texts that a model which reads left to right scores at once: every token has its vocabulary of logits


class LanguageModel(Described):
    """The method of language modelling on the text `field`; `causal` for a model that reads left to right.

    An answer is {"log_probability": nats of all tokens together, "tokens": how many}; the score is the perplexity of
    them all, a number from 1 on, of which *less* is better.
    """

    labelled = False  # the text itself is the answer

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, fields: Sequence[str] = ("text",), max_length: int = 128,
        probability: float = 0.15, causal: bool = False,
    ) -> None:  # fmt: skip
        self.tokenizer, self.fields, self.causal = tokenizer, tuple(fields), causal
        self.max_length, self.probability = max_length, float(probability)
        options = {} if causal else {"probability": self.probability}
        self.objective = (CausalLM if causal else MaskedLM)(tokenizer, max_length=max_length, **options)

    def collate(self, rows: Sequence[Mapping[str, Any]], rng: np.random.Generator | None = None) -> dict[str, Tensor]:
        """What `MaskedLM` or `CausalLM` makes of the texts; of several fields, the first."""
        return self.objective.collate([{"text": text} for text in texts_of(rows, self.fields[0])], rng)

    def loss(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """Mean cross-entropy of the tokens asked for, a scalar in nats."""
        return self.objective.loss(model, batch)

    __call__ = loss

    def answers(self, model: nn.Module, batch: Mapping[str, Tensor], rows: Sequence[Any]) -> list[dict[str, float]]:
        """One a row; a text without a token has the log-probability 0. TrainingError where one is no number."""
        asked, log_probability = self._asked(batch), torch.zeros(len(rows), dtype=torch.float64)
        for first, wanted, shown in self._parts(batch, asked):
            places, columns, labels = hidden_places(wanted)
            if not len(labels):
                continue
            logits = lm_logits(model, shown, places, columns).float()
            nats = F.cross_entropy(logits, labels, reduction="none", ignore_index=IGNORE)  # 0 where none is asked for
            log_probability.index_add_(0, first + places.cpu(), -nats.double().cpu())
        numbers_only(-log_probability.numpy(), model, np.arange(len(rows)))
        counts = (asked != IGNORE).sum(1).tolist()
        return [
            {"log_probability": nats, "tokens": count}
            for nats, count in zip(log_probability.tolist(), counts, strict=True)
        ]

    def _asked(self, batch: Mapping[str, Tensor]) -> Tensor:
        """The tokens to be scored, IGNORE elsewhere: (batch, tokens)."""
        mask = batch["attention_mask"].bool()
        if self.causal:
            found = torch.where(mask, batch["input_ids"], IGNORE)
            found[:, 0] = IGNORE  # nothing stands before it
            return found
        ids = torch.where(batch["labels"] == IGNORE, batch["input_ids"], batch["labels"])  # before they were hidden
        special = torch.from_numpy(self.objective.special).to(ids.device)[ids]
        return torch.where(mask & ~special, ids, IGNORE)

    def _parts(self, batch: Mapping[str, Tensor], asked: Tensor) -> Iterator[tuple[int, Tensor, dict[str, Tensor]]]:
        """For each pass its first row, what is asked for, (rows, tokens), and the batch that the model sees."""
        bare = {name: value for name, value in batch.items() if name != "labels"}
        if self.causal:
            for first in range(0, len(asked), TOGETHER):
                some = slice(first, first + TOGETHER)
                yield first, asked[some], {name: value[some] for name, value in bare.items()}
            return
        known, place = asked != IGNORE, (asked != IGNORE).cumsum(1)
        ids = torch.where(known, asked, batch["input_ids"])
        for fold in range(FOLDS):
            hidden = known & (place % FOLDS == fold)
            shown = bare | {"input_ids": ids.masked_fill(hidden, self.tokenizer.mask_token_id)}
            yield 0, asked.masked_fill(~hidden, IGNORE), shown

    def score(self, rows: Sequence[Any], answers: Sequence[Mapping[str, float]]) -> dict[str, float]:
        """`perplexity`, from 1 on: less is better."""
        tokens = sum(answer["tokens"] for answer in answers)
        return {"perplexity": math.exp(-sum(answer["log_probability"] for answer in answers) / max(tokens, 1))}
