"""Applications of language models themselves: how likely a text is, writing one from another, or more of a kind."""

from __future__ import annotations

import copy
import itertools
import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from labkit.apps.application import EXAMPLE, LENGTH, Application, Parameter, in_splits
from labkit.errors import unknown
from labkit.fewshot.methods import Adapted, Start
from labkit.foundations.augmentation import Augmentation
from labkit.foundations.encoder import reads_left_to_right
from labkit.foundations.generation import Generation, encoder_decoder
from labkit.foundations.language import LanguageModel
from labkit.tasks import Task
from labkit.world import World, dialogue, news
from labkit.world.settings import randomness

BETWEEN = "||"  # several texts in one cell


def language_modeling(start: Start, settings: Mapping[str, Any]) -> Adapted:
    """The model goes on with its pre-training: masked tokens, or the next one, whichever it was trained for."""
    method = LanguageModel(start.tokenizer, start.task.fields, causal=reads_left_to_right(start.model), **settings)
    return Adapted(copy.deepcopy(start.model), method)


def likelihood_cells(answer: Mapping[str, float], labels: Sequence[str]) -> dict[str, str]:
    """The mean log-probability of a token in nats, what perplexity that is, and how many tokens there are."""
    mean = answer["log_probability"] / max(answer["tokens"], 1)
    numbers = {"log_probability": mean, "perplexity": math.exp(-mean), "tokens": answer["tokens"]}
    return {name: f"{number:.6g}" for name, number in numbers.items()}


def news_texts() -> Task:
    """News of the world, without labels."""
    texts = dict.fromkeys(itertools.islice(news.documents(World(), "en", randomness(World(), "apps", "lm")), 900))
    rows = [{"text": text, "label": None} for text in texts]
    return Task("world/news-texts", ("text",), (), in_splits(rows), answer="text")


LANGUAGE_MODELING = Application(
    name="language_modeling", hub="fill-mask",
    about="going on with a model's pre-training on plain text, without labels",
    answer=None, texts=(1, 1), view="numbers", metric="perplexity", prepare=language_modeling, cells=likelihood_cells,
    example=news_texts,
    parameters={"max_length": LENGTH, "probability": Parameter(0.15, "share of the tokens hidden from a masked model")},
)  # fmt: skip


def sequence_generation(start: Start, settings: Mapping[str, Any]) -> Adapted:
    """An encoder-decoder, or both its halves from an encoder."""
    options = dict(settings)
    if options.pop("copy"):
        why = "the decoder looks at the text by cross-attention, and has no mechanism of its own for copying"
        warnings.warn(f"copy=True is ignored: {why}", stacklevel=2)
    model = encoder_decoder(start.model, start.tokenizer, seed=start.seed)
    return Adapted(model, Generation.of(model, start.tokenizer, start.task.fields, **options))


def text_cells(answer: Sequence[str], labels: Sequence[str]) -> dict[str, str]:
    """The best text, and all of them."""
    return {"predictions": answer[0], "beams": BETWEEN.join(answer)}


def news_titles() -> Task:
    """News with a title each: the topic, and the first word that tells it."""
    names, rows = news.names("en"), []
    for row in news.rows(World(), "en", sum(EXAMPLE.values()), randomness(World(), "apps", "titles")):
        title = f"{names[row['label']][0]} news : {row['keywords'].split(',')[0]}"
        rows.append({"content": row["text"], "label": title})
    return Task("world/news-titles", ("content",), (), in_splits(rows), answer="text", note="scored by words, as ROUGE")


SEQUENCE_GENERATION = Application(
    name="sequence_generation", hub="summarization", about="writing a text from a text, as a title from an article",
    answer="text", texts=(1, 2), metric="rouge_l", prepare=sequence_generation, cells=text_cells, example=news_titles,
    rate=2e-3, backbone="seq2seq",
    parameters={
        "copy": Parameter(False, "EasyNLP's copying; ignored"),
        "max_encoder_length": Parameter(128, "tokens read of the text, special ones included"),
        "min_decoder_length": Parameter(1, "tokens written at least"),
        "max_decoder_length": Parameter(32, "tokens written at most, special ones included"),
        "no_repeat_ngram_size": Parameter(0, "so many tokens in a row are not written twice; 0 allows it"),
        "num_beams": Parameter(4, "texts that are kept while writing"),
        "num_return_sequences": Parameter(1, "texts that are returned, the best first; at most num_beams"),
    },
)  # fmt: skip


def data_augmentation(start: Start, settings: Mapping[str, Any]) -> Adapted:
    """A masked LM that refills hidden words. UsageError for another `type`."""
    options = dict(settings)
    if (kind := options.pop("type")) != "mlm_da":
        raise unknown("type of data augmentation", kind, ["mlm_da"])
    method = Augmentation(start.tokenizer, start.task.fields, seed=start.seed, **options)
    return Adapted(copy.deepcopy(start.model), method)


def augmented_cells(answer: Sequence[str], labels: Sequence[str]) -> dict[str, str]:
    """All new texts of a row."""
    return {"augmented_data": BETWEEN.join(answer)}


def few_intents() -> Task:
    """What customers ask for, with the intent, which new texts keep."""
    rows = dialogue.rows(World(), "en", sum(EXAMPLE.values()), randomness(World(), "apps", "intents"))
    plain = [{"text": row["text"], "label": row["label"]} for row in rows]
    return Task("world/intents-few", ("text",), dialogue.intents(World(), "en").names, in_splits(plain))


DATA_AUGMENTATION = Application(
    name="data_augmentation", hub="fill-mask",
    about="more texts like those there are, by a masked model; nothing to train", view="text",
    answer=None, texts=(1, 1), metric="", prepare=data_augmentation, cells=augmented_cells, example=few_intents,
    parameters={
        "type": Parameter("mlm_da", "how: mlm_da, a masked language model"),
        "expansion_rate": Parameter(2, "new texts of each"),
        "mask_proportion": Parameter(0.1, "share of the words that change"),
        "remove_blanks": Parameter(False, "take blanks out of the new texts, for Chinese"),
        "likeliest": Parameter(20, "a new word is drawn among so many"),
        "max_length": LENGTH,
    },
)  # fmt: skip
