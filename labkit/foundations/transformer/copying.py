"""The weights of transformers' BERT, GPT-2 and T5 in the models of this package, which then give the same logits.

A list per family says what to write, in this order, for what in the names of their weights; the three functions set the
dials.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeVar

from torch import Tensor, nn
from transformers import BertForMaskedLM, GPT2LMHeadModel, T5ForConditionalGeneration

from labkit.errors import UsageError
from labkit.foundations.transformer.positions import BUCKETS, FAR
from labkit.foundations.transformer.transformer import Decoder, Encoder, EncoderDecoder, Settings

Model = TypeVar("Model", bound=nn.Module)
BERT = {
    "bert.embeddings.word_embeddings": "words", "bert.embeddings.position_embeddings": "stack.positions.table",
    "bert.embeddings.LayerNorm": "stack.norm", "bert.encoder.layer": "stack.layers", "attention.self": "attend",
    "attention.output.dense": "attend.out", "attention.output.LayerNorm": "norm_attend", "intermediate.dense": "mlp.0",
    "output.dense": "mlp.2", "output.LayerNorm": "norm_mlp", "cls.predictions.transform.dense": "head.0",
    "cls.predictions.transform.LayerNorm": "head.2", "cls.predictions.decoder": "head.3",
}  # fmt: skip
GPT2 = {
    "transformer.wte": "words", "transformer.wpe": "stack.positions.table", "transformer.ln_f": "stack.norm",
    r"transformer.h\b": "stack.layers", "attn.c_proj": "attend.out", "ln_1": "norm_attend", "ln_2": "norm_mlp",
    "mlp.c_fc": "mlp.0", "mlp.c_proj": "mlp.2",
}  # fmt: skip
T5 = {
    "shared": "words", r"block.0.layer.0.\w+.relative_attention_bias": "positions.table", "final_layer_norm": "norm",
    r"(encoder.*)layer.1.layer_norm": r"\1norm_mlp", "layer.0.layer_norm": "norm_attend", "layer.1.layer_norm":
    "norm_cross", "layer.2.layer_norm": "norm_mlp", r"layer.\d.DenseReluDense.wi": "mlp.0",
    r"layer.\d.DenseReluDense.wo": "mlp.2", "layer.0.SelfAttention": "attend", "layer.1.EncDecAttention": "cross",
    "block": "layers", r"\bq\b": "query", r"\bk\b": "key", r"\bv\b": "value", r"\bo\b": "out",
}  # fmt: skip


def from_bert(theirs: BertForMaskedLM) -> Encoder:
    """Our encoder with BERT's weights and its head, for texts of one segment."""
    c, state = theirs.config, theirs.state_dict()
    ours = Encoder(Settings(
        c.vocab_size, c.hidden_size, c.num_attention_heads, c.num_hidden_layers, c.intermediate_size,
        c.max_position_embeddings, "learned", norm_first=False, eps=c.layer_norm_eps, activation=c.hidden_act,
    ))  # fmt: skip
    words, norm = nn.Linear(c.hidden_size, c.vocab_size), nn.LayerNorm(c.hidden_size, eps=c.layer_norm_eps)
    words.weight = ours.words.weight
    ours.head = nn.Sequential(nn.Linear(c.hidden_size, c.hidden_size), nn.GELU(), norm, words)
    segment = state["bert.embeddings.token_type_embeddings.weight"][0]
    state["bert.embeddings.position_embeddings.weight"] = state["bert.embeddings.position_embeddings.weight"] + segment
    return _filled(ours, state, BERT, theirs.training)


def from_gpt2(theirs: GPT2LMHeadModel) -> Decoder:
    """Our decoder with GPT-2's weights."""
    c, state = theirs.config, theirs.state_dict()
    ours = Decoder(Settings(
        c.vocab_size, c.n_embd, c.n_head, c.n_layer, c.n_inner or 0, c.n_positions, "learned",
        eps=c.layer_norm_epsilon, activation="gelu_tanh",
    ))  # fmt: skip
    for name in [name for name in state if re.search(r"(c_attn|c_proj|c_fc)\.", name)]:
        weight = state.pop(name).t()  # their matrices are (in, out); one holds queries, keys and values
        thirds = zip(("query", "key", "value"), weight.chunk(3), strict=True) if "c_attn" in name else ()
        state |= {name.replace("attn.c_attn", f"attend.{part}"): third for part, third in thirds} or {name: weight}
    return _filled(ours, state, GPT2, theirs.training)


def from_t5(theirs: T5ForConditionalGeneration) -> EncoderDecoder:
    """Our encoder–decoder with T5's weights; UsageError for T5s of another build (1.1, long ones)."""
    c = theirs.config
    sizes = (c.d_kv * c.num_heads, c.num_layers, c.relative_attention_num_buckets, c.relative_attention_max_distance)
    if sizes != (c.d_model, c.num_decoder_layers, BUCKETS, FAR) or c.feed_forward_proj != "relu":
        must = "d_kv · heads = d_model, as many layers in the decoder, ReLU, 32 buckets up to 128"
        raise UsageError(f"this T5 is not of the first build ({must}): take t5-small or one like it")
    return _filled(EncoderDecoder(Settings(
        c.vocab_size, c.d_model, c.num_heads, c.num_layers, c.d_ff, positions="bucketed", norm="rms",
        eps=c.layer_norm_epsilon, activation="relu", bias=False, scaled=False, scaled_head=True,
    )), theirs.state_dict(), T5, theirs.training)  # fmt: skip


def _filled(ours: Model, state: Mapping[str, Tensor], names: Mapping[str, str], training: bool) -> Model:
    found = {}
    for name, weight in state.items():
        for theirs, own in names.items():
            name = re.sub(theirs, own, name)
        found[name] = weight
    ours.load_state_dict({name: found[name] for name in ours.state_dict()})
    return ours.train(training)
