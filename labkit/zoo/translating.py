"""A T5 for both directions between the world's two languages (Raffel et al. 2020, §2.4).

Which language is wanted is said in words before the text, so that one model does both, and could do other tasks:

    translate english to chinese : the soup was very good .     ->  汤非常好。

A tokenizer of whole English words and single Chinese characters, one table of embeddings for both.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from labkit.foundations.generation import Generation
from labkit.foundations.pretraining import micro_model
from labkit.training import Batches
from labkit.world.parallel import Pair, pairs
from labkit.zoo.recipes import TranslatorRecipe
from labkit.zoo.tokenizer import build_tokenizer

ASKED = {"en": "translate english to chinese :", "zh": "translate chinese to english :"}  # by the language of the text


def asked(text: str, language: str) -> str:
    """What the model reads for a text in `language`, "en" or "zh"."""
    return f"{ASKED[language]} {text}"


def rows(some: Sequence[Pair]) -> list[dict[str, str]]:
    """Two rows a pair, `{text, label}`: from English, then from Chinese."""
    both = (((asked(en, "en"), zh), (asked(zh, "zh"), en)) for en, zh in some)
    return [{"text": text, "label": label} for two in both for text, label in two]


def unseen(item: TranslatorRecipe, count: int) -> list[Pair]:
    """`count` pairs that the recipe's model is not trained on, at least if it has them all different."""
    seen = set(pairs(item.world, item.documents))
    found = [pair for pair in dict.fromkeys(pairs(item.world, 2 * count, "held out")) if pair not in seen]
    return found[:count]


def method(item: TranslatorRecipe, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, **options: Any) -> Any:
    """How the model reads and writes, for `fit` and `evaluate`."""
    sizes = {"max_encoder_length": item.max_length, "max_decoder_length": item.max_length}
    return Generation.of(model, tokenizer, ["text"], **(sizes | options))


def prepared(item: TranslatorRecipe) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, Generation, Batches]:
    """A new model, its tokenizer, its objective and batches, rows of like length together."""
    told = list(dict.fromkeys(pairs(item.world, item.documents)))
    words = [side for pair in told for side in pair]
    tokenizer = build_tokenizer([*words, *list(ASKED.values()) * 3], positions=item.positions)
    model = micro_model(
        "t5", tokenizer, layers=item.layers, d=item.hidden, heads=item.heads, ffn=item.ffn, positions=item.positions,
        seed=item.seed,
    )  # fmt: skip
    for settings in (model.config, model.generation_config):
        settings.decoder_start_token_id = tokenizer.cls_token_id  # with which the tokenizer begins every text
    objective, both = method(item, model, tokenizer), rows(told)
    tokens = [len(ids) for ids in tokenizer(words)["input_ids"]]
    lengths = np.repeat(np.add(tokens[0::2], tokens[1::2]), 2)  # of both sides of a pair, for its two rows
    batches = Batches(both, objective.collate, item.batch_size, seed=item.seed, lengths=lengths)
    return model, tokenizer, objective, batches
