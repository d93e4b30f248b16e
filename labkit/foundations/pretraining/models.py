"""Micro models for each objective, all of one width and depth, so that objectives can be compared.

Two layers, d = 128, feed-forward 256, no dropout: the size of the course's `micro-bert-en`. An objective brings parts
of its own (a generator, a decoder, a query layer), which are pre-training's and are left behind afterwards.
"""

from __future__ import annotations

import copy
from typing import Any

from torch import nn
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertForPreTraining,
    ElectraConfig,
    ElectraForMaskedLM,
    ElectraForPreTraining,
    GPT2Config,
    GPT2LMHeadModel,
    GPT2Model,
    PreTrainedTokenizerBase,
    T5Config,
    T5ForConditionalGeneration,
)

from labkit.errors import unknown
from labkit.foundations.encoder import backbone
from labkit.foundations.pretraining.causal import QueryLM
from labkit.foundations.pretraining.electra import Electra
from labkit.lab import seeded

Tokenizer = PreTrainedTokenizerBase
MICRO = ("bert", "bert-nsp", "gpt", "query", "electra", "t5")


def micro_model(
    kind: str, tokenizer: Tokenizer, *, layers: int = 2, d: int = 128, heads: int = 2, ffn: int = 256,
    positions: int = 128, seed: int = 0,
) -> nn.Module:  # fmt: skip
    """A new model of `kind` (one of MICRO) with random weights from `seed`; torch's own random state is not touched.

    "electra" is a pair of one width (the paper's generator has a quarter to a half of it); "query" has its query layer
    on top of `layers` others; "t5" has as many decoder as encoder layers. UsageError for an unknown kind.
    """
    if kind not in MICRO:
        raise unknown("micro model", kind, MICRO)
    sizes = {"layers": layers, "d": d, "heads": heads, "ffn": ffn, "positions": positions}
    with seeded(seed):
        if kind == "electra":
            return _electra(tokenizer, **sizes)
        if kind == "t5":
            return _t5(tokenizer, **sizes)
        if kind in ("gpt", "query"):
            config = _gpt_config(tokenizer, **sizes)
            return GPT2LMHeadModel(config) if kind == "gpt" else QueryLM(GPT2Model(config))
        config = _bert_config(BertConfig, tokenizer, **sizes)
        return BertForMaskedLM(config) if kind == "bert" else BertForPreTraining(config)


def reader(model: nn.Module) -> Any:
    """What reads a text after pre-training, for `add_head`: BERT's, GPT's or the discriminator's body, T5's encoder.

    The weights are the model's own, not copies.
    """
    if not getattr(getattr(model, "config", None), "is_encoder_decoder", False):
        return backbone(model)
    encoder = copy.copy(model.get_encoder())
    encoder.config = copy.deepcopy(encoder.config)
    encoder.config.is_encoder_decoder = False  # it stands alone from here on
    return encoder


def _bert_config(kind: type, tokenizer: Tokenizer, layers: int, d: int, heads: int, ffn: int, positions: int, **own):
    return kind(
        vocab_size=len(tokenizer), hidden_size=d, num_hidden_layers=layers, num_attention_heads=heads,
        intermediate_size=ffn, max_position_embeddings=positions, hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0, pad_token_id=tokenizer.pad_token_id, **own,
    )  # fmt: skip


def _electra(tokenizer: Tokenizer, *, d: int, **sizes: int) -> nn.Module:
    config = _bert_config(ElectraConfig, tokenizer, embedding_size=d, d=d, **sizes)
    return Electra(ElectraForMaskedLM(config), ElectraForPreTraining(copy.deepcopy(config)))


def _gpt_config(tokenizer: Tokenizer, layers: int, d: int, heads: int, ffn: int, positions: int) -> GPT2Config:
    # One segment: GPT-2 would add a *word's* embedding for a segment id.
    return GPT2Config(
        vocab_size=len(tokenizer), n_embd=d, n_layer=layers, n_head=heads, n_inner=ffn, n_positions=positions,
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, type_vocab_size=1, use_cache=False,
        pad_token_id=tokenizer.pad_token_id, bos_token_id=_first(tokenizer.bos_token_id, tokenizer.cls_token_id),
        eos_token_id=_first(tokenizer.eos_token_id, tokenizer.sep_token_id),
    )  # fmt: skip


def _first(*tokens: int | None) -> int | None:
    return next((token for token in tokens if token is not None), None)


def _t5(tokenizer: Tokenizer, *, layers: int, d: int, heads: int, ffn: int, positions: int) -> nn.Module:
    return T5ForConditionalGeneration(
        T5Config(
            vocab_size=len(tokenizer), d_model=d, num_layers=layers, num_decoder_layers=layers, num_heads=heads,
            d_kv=d // heads, d_ff=ffn, dropout_rate=0.0, relative_attention_max_distance=positions, use_cache=False,
            pad_token_id=tokenizer.pad_token_id, decoder_start_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.sep_token_id,
        )
    )  # fmt: skip
