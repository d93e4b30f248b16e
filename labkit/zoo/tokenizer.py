"""Tokenizers of the micro models: whole words in English, characters in Chinese, with single letters to fall back on.

The vocabulary is counted, not learned by merges: in a world of a few hundred words the words themselves are the
right pieces. Numbers are spelled by their digits.
"""

from __future__ import annotations

import string
import unicodedata
from collections import Counter
from collections.abc import Iterable

from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing
from transformers import BertTokenizer, PreTrainedTokenizerFast

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
BEGIN, END = "[CLS]", "[SEP]"  # what stands before and after a text; a tokenizer that goes on writes but the first


def is_cjk(character: str) -> bool:
    """Is it a Chinese character, which BERT makes a token of its own?"""
    return "CJK UNIFIED" in unicodedata.name(character, "")


def words(text: str) -> list[str]:
    """BERT's basic tokens: white space splits, each Chinese character and punctuation mark stands alone."""
    spaced = "".join(f" {c} " if is_cjk(c) or unicodedata.category(c)[0] in "PS" else c for c in text)
    return spaced.split()


def build_tokenizer(texts: Iterable[str], *, least: int = 3, positions: int = 128) -> BertTokenizer:
    """A WordPiece tokenizer whose vocabulary is every word seen at least `least` times, commonest first.

    Letters and digits are there singly and as continuations (`##a`), so that any Latin word can be spelled.
    """
    counts = Counter(word for text in texts for word in words(text.lower()))
    spelled = string.ascii_lowercase + string.digits
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    known = [word for word, count in ranked if count >= least and (len(word) == 1 or not word.isdigit())]
    pieces = [*SPECIAL, *known, *spelled, *string.punctuation, *(f"##{letter}" for letter in spelled)]
    vocabulary = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
    return BertTokenizer(vocab=vocabulary, do_lower_case=True, model_max_length=positions)


def going_on(reading: BertTokenizer) -> PreTrainedTokenizerFast:
    """The same words for a model that goes on with a text: a begin before it, and no end, which the model writes."""
    words = Tokenizer.from_str(reading.backend_tokenizer.to_str())
    words.post_processor = TemplateProcessing(
        single=f"{BEGIN} $A", special_tokens=[(BEGIN, words.token_to_id(BEGIN))]
    )  # fmt: skip
    names = {"bos_token": BEGIN, "eos_token": END, "pad_token": "[PAD]", "unk_token": "[UNK]"}
    return PreTrainedTokenizerFast(
        tokenizer_object=words, model_max_length=reading.model_max_length, padding_side="left", **names
    )
