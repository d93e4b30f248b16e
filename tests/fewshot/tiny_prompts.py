"""A vocabulary and random models of a few kilobytes, for the tests of prompts."""

from __future__ import annotations

import torch
from transformers import BertConfig, BertForMaskedLM, BertTokenizerFast, GPT2Config, GPT2LMHeadModel

WORDS = (
    "[PAD] [UNK] [CLS] [SEP] [MASK] a the film was good bad fine it dull great . terr ##ible ##ific ##ly so very n / "
    "red blue sad news about"
).split()
ID = {word: number for number, word in enumerate(WORDS)}
ROWS = [
    {"text": "the film was good .", "label": 1},
    {"text": "a dull film", "label": 0},
    {"text": "it was so very great , the red film was fine .", "label": 1},
    {"text": "bad .", "label": 0},
]
TEMPLATE = "{text} it was {mask} ."
LABELS = {"negative": "bad", "positive": "good"}


def tiny_tokenizer() -> BertTokenizerFast:
    return BertTokenizerFast(vocab=ID, model_max_length=64)


def tiny_bert(seed: int = 0) -> BertForMaskedLM:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = BertConfig(
            vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
            max_position_embeddings=64, initializer_range=0.5, hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        )  # fmt: skip
        return BertForMaskedLM(config).eval()


def tiny_gpt(seed: int = 0) -> GPT2LMHeadModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = GPT2Config(
            vocab_size=len(WORDS), n_embd=16, n_layer=2, n_head=2, n_positions=64, initializer_range=0.5,
            bos_token_id=ID["[CLS]"], eos_token_id=ID["[SEP]"],
        )  # fmt: skip
        return GPT2LMHeadModel(config).eval()


def text_of(ids, mask) -> str:
    return " ".join(WORDS[number] for number in ids[mask == 1].tolist())


def fingerprints(model) -> dict[str, bytes]:
    return {name: value.detach().numpy().tobytes() for name, value in model.named_parameters()}
