"""Tokenizers of four kinds and models without attention, for tests of what is read in windows."""

from __future__ import annotations

from functools import cache

import torch
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
CORPUS = [
    "这部电影很好看。",
    "这家店很差，不好。",
    "the film was good .",
    "a bad film, it was bad .",
    'good (bad) "good"',
]
KINDS = ("wordpiece", "bytes", "bytes, led", "pieces", "characters")
INPUTS = ["input_ids", "token_type_ids", "attention_mask"]
TRAINED = {"vocab_size": 400, "special_tokens": SPECIAL, "show_progress": False}


def _backend(kind: str):
    if kind == "wordpiece":  # its trainer numbers the pieces otherwise each time
        words = sorted({word for text in CORPUS for word in text.split() if word.isascii()})
        marks = sorted(set("".join(CORPUS)) - {" "})
        pieces = dict.fromkeys([*SPECIAL, *marks, *words, *(f"##{mark}" for mark in marks)])
        vocabulary = {piece: number for number, piece in enumerate(pieces)}
        own = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
        own.normalizer, own.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
        return own, None
    if kind.startswith("bytes"):
        own = Tokenizer(models.BPE())
        own.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=kind == "bytes, led")
        return own, trainers.BpeTrainer(initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), **TRAINED)
    if kind == "pieces":
        own = Tokenizer(models.Unigram())
        own.pre_tokenizer = pre_tokenizers.Metaspace()
        return own, trainers.UnigramTrainer(unk_token="[UNK]", **TRAINED)
    own = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    own.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    return own, trainers.WordLevelTrainer(**TRAINED)


def tokenizer(kind: str = "wordpiece") -> PreTrainedTokenizerFast:
    """A tokenizer learnt from CORPUS, with BERT's template; RoBERTa's for bytes."""
    return _tokenizer(kind)


@cache
def _tokenizer(kind: str) -> PreTrainedTokenizerFast:
    own, trainer = _backend(kind)
    if trainer is not None:
        own.train_from_iterator(CORPUS * 8, trainer)
    pair = "[CLS] $A [SEP] $B:1 [SEP]:1" if kind != "bytes" else "[CLS] $A [SEP] [SEP] $B [SEP]"
    ids = [(name, own.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
    own.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", pair=pair, special_tokens=ids)
    names = {f"{name.strip('[]').lower()}_token": name for name in SPECIAL}
    return PreTrainedTokenizerFast(tokenizer_object=own, model_max_length=512, model_input_names=INPUTS, **names)


def encoder(kind: str = "wordpiece", **changes) -> BertModel:
    """A random BERT of two layers."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    return BertModel(BertConfig(vocab_size=len(tokenizer(kind)), initializer_range=0.3, **{**sizes, **changes})).eval()


def by_token(kind: str = "wordpiece") -> BertModel:
    """A BERT whose state of a token knows the token alone: neither its place nor its neighbours."""
    model = encoder(kind)
    with torch.no_grad():
        model.embeddings.position_embeddings.weight.zero_()
        model.embeddings.token_type_embeddings.weight.zero_()
        for layer in model.encoder.layer:
            layer.attention.output.dense.weight.zero_()
    return model
