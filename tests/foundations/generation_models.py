"""Small random models that write: sharp distributions, so that no two tokens are nearly equal."""

from __future__ import annotations

import torch
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)

WORDS, PAD, EOS, POSITIONS = 40, 39, 2, 48
# Three prompts of different lengths, padded on the left.
IDS = torch.tensor([[PAD, PAD, 5, 6], [1, 7, 8, 9], [PAD, 3, 3, 4]])
MASK = (IDS != PAD).long()
SPECIAL = {"pad_token_id": PAD, "bos_token_id": 1, "eos_token_id": EOS}


def writer(kind: str, seed: int = 0):
    """A random model in eval mode: "gpt2", "llama" or "t5"."""
    torch.manual_seed(seed)
    if kind == "gpt2":
        return GPT2LMHeadModel(GPT2Config(
            vocab_size=WORDS, n_embd=32, n_layer=2, n_head=2, n_positions=POSITIONS, initializer_range=0.3, **SPECIAL
        )).eval()  # fmt: skip
    if kind == "llama":
        return LlamaForCausalLM(LlamaConfig(
            vocab_size=WORDS, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
            num_key_value_heads=1, max_position_embeddings=POSITIONS, initializer_range=0.3, **SPECIAL,
        )).eval()  # fmt: skip
    return T5ForConditionalGeneration(T5Config(
        vocab_size=WORDS, d_model=32, num_layers=2, num_heads=2, d_kv=16, d_ff=64, dropout_rate=0.0,
        initializer_factor=3.0, decoder_start_token_id=PAD, pad_token_id=PAD, eos_token_id=EOS,
    )).eval()  # fmt: skip


def inputs_of(kind: str):
    """(ids, mask): prompts padded on the left, or for an encoder on the right."""
    return (IDS.flip(1), MASK.flip(1)) if kind == "t5" else (IDS, MASK)
