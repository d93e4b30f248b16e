"""Pre-training objectives, one file an idea: what is hidden from the model, and what it must say.

| file | objective | asks for |
|---|---|---|
| `masked.py` | BERT's masked LM, RoBERTa's dynamic masks | the hidden tokens |
| `selective.py` | selective masking | the words that tell, more often |
| `sentences.py` | BERT as published: masked LM and next sentence | the same, and whether B follows A |
| `causal.py` | GPT; PanGu-α's query layer | the next token, everywhere |
| `electra.py` | ELECTRA | of each token, whether it was replaced |
| `spans.py` | T5 | the hidden spans, in order |
| `translation.py` | TLM | hidden tokens of a sentence and its translation |

Each is a pure function on arrays, `inputs, targets = f(ids, …, rng)`, and an object with `collate(rows, rng)` for
`Batches` and `loss(model, batch)` for `fit`. `models.py` makes micro models for them, `views.py` shows each on one
text.
"""

from __future__ import annotations

from labkit.foundations.pretraining.causal import CausalLM, QueryLayer, QueryLM, next_tokens
from labkit.foundations.pretraining.electra import Electra, ReplacedTokens, detected, replaced
from labkit.foundations.pretraining.masked import (
    BERT,
    CHUNK,
    IGNORE,
    MaskedLM,
    auxiliary,
    frequency_weights,
    hidden_logits,
    mask_tokens,
    mean_loss,
    token_counts,
    tokenize_corpus,
)
from labkit.foundations.pretraining.models import MICRO, micro_model, reader
from labkit.foundations.pretraining.selective import SelectiveLM
from labkit.foundations.pretraining.sentences import NextSentence, next_sentence, sentence_rows, split_sentences
from labkit.foundations.pretraining.spans import (
    SpanCorruption,
    corrupt_spans,
    restore_spans,
    sentinels_of,
    span_mask,
    with_sentinels,
)
from labkit.foundations.pretraining.translation import TranslationLM, concatenate
from labkit.foundations.pretraining.views import views

__all__ = [
    "BERT", "CHUNK", "IGNORE", "MICRO", "CausalLM", "Electra", "MaskedLM", "NextSentence", "QueryLM", "QueryLayer",
    "ReplacedTokens", "SelectiveLM", "SpanCorruption", "TranslationLM", "auxiliary", "concatenate", "corrupt_spans",
    "detected", "frequency_weights", "hidden_logits", "mask_tokens", "mean_loss", "micro_model", "next_sentence",
    "next_tokens", "reader", "replaced", "restore_spans", "sentence_rows", "sentinels_of", "span_mask",
    "split_sentences", "token_counts", "tokenize_corpus", "views", "with_sentinels",
]  # fmt: skip
