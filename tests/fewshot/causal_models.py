"""Random models that read left to right, and tokenizers of their three kinds, for the tests of prompts on them."""

from __future__ import annotations

from functools import cache

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

LETTERS = "abcdefghijklmnopqrstuvwxyz,.:"
CHINESE = "这部电影很好差总之，。"
MERGES = [("g", "o"), ("o", "d"), ("go", "od"), ("b", "a"), ("ba", "d")]
ROWS = [
    {"text": "the film is good, go and see it.", "label": 1},
    {"text": "a bad one", "label": 0},
    {"text": "bad.", "label": 0},
    {"text": "so good that we went again and again and again", "label": 1},
]
WORDS = {"negative": "bad", "positive": "good"}
PATTERN = "text: {text}\nit is {mask} ."
KINDS = ("gpt2", "llama", "gemma")


@cache
def tokenizer(kind: str) -> PreTrainedTokenizerFast:
    """GPT-2's bytes with a mark for each space, Llama's pieces with a space before whatever begins, Gemma's without."""
    space = "Ġ" if kind == "gpt2" else "▁"
    merges = [*MERGES, (space, "good"), (space, "bad")]
    pieces = ["<pad>", "<s>", "</s>", "<unk>", space, "\n", "Ċ", *LETTERS]
    pieces += CHINESE if kind != "gpt2" else sorted(set(pre_tokenizers.ByteLevel.alphabet()) - {*pieces})
    pieces += dict.fromkeys("".join(pair) for pair in merges)
    vocab = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
    bpe = Tokenizer(models.BPE(vocab=vocab, merges=merges, unk_token="<unk>"))
    if kind == "gpt2":
        bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    elif kind == "llama":
        bpe.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    else:
        bpe.normalizer = normalizers.Replace(" ", "▁")
    if kind != "gpt2":
        bpe.post_processor = processors.TemplateProcessing(
            single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", vocab["<s>"])]
        )
    names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"} | (
        {} if kind == "gpt2" else {"pad_token": "<pad>"}
    )
    return PreTrainedTokenizerFast(tokenizer_object=bpe, model_max_length=96, **names)


def causal_model(kind: str, seed: int = 0, **own):
    """Two layers of width 16, far from uniform; Gemma's first looks back eight tokens only."""
    size = {"vocab_size": len(tokenizer(kind)), "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    wide = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1,
            "intermediate_size": 32, "max_position_embeddings": 128, "initializer_range": 0.4}  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if kind == "gpt2":
            none = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0)
            config = GPT2Config(n_embd=16, n_layer=2, n_head=2, n_positions=128, initializer_range=0.4, **none, **size)
            return GPT2LMHeadModel(config).eval()
        if kind == "llama":
            return LlamaForCausalLM(LlamaConfig(**wide, **size, **own)).eval()
        layers = ["sliding_attention", "full_attention"]
        own = {"sliding_window": 8, **own}
        config = Gemma3TextConfig(**wide, **size, head_dim=12, layer_types=layers, **own)
        return Gemma3ForCausalLM(config).eval()
