"""Each objective on one text, to look at: what the model reads, and what it is asked for."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from transformers import PreTrainedTokenizerBase

from labkit.foundations.pretraining.causal import next_tokens
from labkit.foundations.pretraining.electra import replaced
from labkit.foundations.pretraining.masked import IGNORE, MaskedLM
from labkit.foundations.pretraining.spans import corrupt_spans, sentinels_of

View = Callable[[np.ndarray, np.random.Generator], tuple[np.ndarray, np.ndarray]]


def views(tokenizer: PreTrainedTokenizerBase, *, probability: float = 0.15) -> dict[str, View]:
    """Name → `view(ids, rng) -> (inputs, targets)` for "GPT", "BERT", "ELECTRA" and, where there are sentinels, "T5".

    `ids` are one text's (tokens,); the functions are pure and change nothing. Targets of GPT and BERT stand below the
    inputs, −100 where nothing is asked; ELECTRA's are 0 (original) or 1 (replaced), its replacements being random words
    where the real one has a generator; T5's are a text of their own. With T5, use a tokenizer `with_sentinels`.
    """
    masked = MaskedLM(tokenizer, probability=probability)

    def electra(ids: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        where = masked.hide(ids, None, rng)[1] != IGNORE
        return replaced(ids, where, rng.choice(masked.random_ids, size=int(where.sum())))

    found: dict[str, View] = {
        "GPT": lambda ids, rng: next_tokens(ids),
        "BERT": lambda ids, rng: masked.hide(ids, None, rng),
        "ELECTRA": electra,
    }
    if tokenizer.get_vocab().get("<extra_id_1>") is not None:
        sentinels = sentinels_of(tokenizer)
        found["T5"] = lambda ids, rng: corrupt_spans(ids, rng, sentinels, density=probability)
    return found
