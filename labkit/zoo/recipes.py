"""The course's own models, in two tiers: *micro* ones, which two cores train in at most four minutes, for what starts
from nothing; and *mini* ones, trained once for up to 90 minutes, which have learned to compare two texts.

A recipe is data: corpus, architecture, schedule. Its fingerprint covers the recipe, the world and the parent's
fingerprint, so a model on disk is known to be the one the recipe makes, or not.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field

from labkit.config import fingerprint
from labkit.errors import unknown
from labkit.world import VERSION, World, corpus
from labkit.world.parallel import pairs


@dataclass(frozen=True)
class Recipe:
    """How one BERT is pre-trained: frequency-weighted masked language modelling on the world's text."""

    name: str
    language: str
    about: str
    parent: str | None = None  # start from this model's weights, its layers stacked to fill `layers`
    layers: int = 2
    hidden: int = 128
    heads: int = 2
    ffn: int = 256
    documents: int = 60_000
    max_length: int = 64  # tokens, [CLS] and [SEP] included
    positions: int = 128  # longest input the model accepts, in tokens
    steps: int = 1500
    batch_size: int = 128
    lr: float = 3e-3
    warmup: float = 0.3  # share of the steps up to the peak learning rate
    mask_mean: float = 0.2  # average share of tokens masked, rare tokens more often
    drill: tuple[int, int] = (0, 0)  # between these steps the text is `labkit.world.drill`
    selective: float = 0.0  # share of texts that are asked for their judging words and little else
    precision: str = "auto"  # as `fit` has it; "bf16" halves the time, and is "fp32" on a CPU that would imitate it
    seed: int = 0
    world: World = field(default_factory=World)


@dataclass(frozen=True)
class AlbertRecipe(Recipe):
    """The same for an ALBERT (Lan et al. 2020, §3.1): every layer is the same one, and words have a narrow embedding
    that one matrix widens to `hidden`. A class of its own, so that the fingerprints of the BERTs stay as they are.
    """

    embedding: int = 64  # width of the table of words; the LM head goes back to it


@dataclass(frozen=True)
class WriterRecipe(Recipe):
    """The same for a model that writes: a GPT, which goes on with a text (Radford et al. 2018, §3.1)."""

    kind: str = "gpt"


@dataclass(frozen=True)
class SpanRecipe(WriterRecipe):
    """The same for a T5 that fills gaps (Raffel et al. 2020, §3.1.4). Half the text is hidden, where the paper hides
    15 %: of short texts and few steps, that leaves too few tokens to learn from.
    """

    kind: str = "t5"
    density: float = 0.5  # share of the tokens that are hidden


@dataclass(frozen=True)
class TranslatorRecipe(WriterRecipe):
    """The same for a T5 that translates, both ways: `documents` pairs of `labkit.world.parallel`, each read in English
    and in Chinese; words before a text say into which language (Raffel et al. 2020, §2.4).
    """

    kind: str = "t5"


@dataclass(frozen=True)
class KnowledgeRecipe(Recipe):
    """The same for a BERT that goes on from `parent`, of its size, and is also asked for facts of the graph about the
    things that are spoken of rarely: DKPLM (Zhang et al. 2022), which never puts stand-ins into the text (lesson
    02/03).
    """

    rare: float = 0.0005  # R: the share of all mentions below which an entity counts as rare
    inject: float = 0.0


MINI = {
    "layers": 4, "hidden": 160, "heads": 5, "ffn": 448, "documents": 300_000, "steps": 8_000, "lr": 2e-3,
    "warmup": 0.1, "precision": "bf16", "selective": 0.5, "drill": (2_400, 4_000),
}  # fmt: skip

KNOWING = MINI | {"documents": 100_000, "steps": 1_500, "batch_size": 64, "lr": 1e-3, "drill": (0, 0)}

# Of four minutes, none is left for text that is hard to read: polarity from plain reviews alone.
MICRO = {"selective": 0.5, "precision": "bf16", "world": World(plain=1.0)}

RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe("mini-bert-en", "en", "4-layer English BERT, 160 wide: the course's default", **MINI),
        Recipe("mini-bert-zh", "zh", "4-layer Chinese BERT by character, 160 wide", max_length=96,
               **MINI | {"steps": 9_000, "drill": (2_400, 4_200)}),
        KnowledgeRecipe("mini-dkplm-en", "en", "mini-bert-en, asked for the facts of rare things too",
                        parent="mini-bert-en", **KNOWING),
        KnowledgeRecipe("mini-dkplm-zh", "zh", "mini-bert-zh, asked for the facts of rare things too",
                        parent="mini-bert-zh", max_length=96, **KNOWING),
        AlbertRecipe("mini-albert-en", "en", "English ALBERT: one layer, run four times",
                     **MINI | {"steps": 4_000, "drill": (1_200, 2_000)}),
        WriterRecipe("mini-gpt-en", "en", "English GPT, 4 layers, 160 wide: writes left to right",
                     **MINI | {"steps": 5_000, "drill": (0, 0), "selective": 0.0}),
        SpanRecipe("mini-t5-en", "en", "English T5, 2 + 2 layers, 128 wide: fills gaps, writes a text from a text",
                   **MINI | {"layers": 2, "hidden": 128, "heads": 4, "ffn": 384, "steps": 6_000, "batch_size": 64,
                      "drill": (0, 0), "selective": 0.0}),
        TranslatorRecipe("mini-t5-en-zh", "en, zh", "T5 that translates, English to Chinese and back, 128 wide",
                         layers=2, heads=4, ffn=384, documents=100_000, max_length=80, steps=4_000, batch_size=64,
                         lr=2e-3, warmup=0.1),
        Recipe("micro-bert-en", "en", "2-layer English BERT, 128 wide, from nothing in minutes", **MICRO),
        Recipe("micro-bert-zh", "zh", "2-layer Chinese BERT by character", max_length=96, steps=1800, **MICRO),
        Recipe("micro-bert-en-large", "en", "4-layer English teacher, grown from micro-bert-en", parent="micro-bert-en",
               layers=4, steps=500, lr=1e-3, warmup=0.1, seed=1, **MICRO),
    )
}  # fmt: skip


def with_knowledge(item: Recipe, steps: int) -> KnowledgeRecipe:
    """The recipe that goes on from `item`'s model with the graph, for `steps` steps of 64 texts."""
    kept = ("language", "layers", "hidden", "heads", "ffn", "max_length", "selective", "world")
    return KnowledgeRecipe(
        f"{item.name}-knowing", about=f"{item.name}, asked for the facts of rare things too", parent=item.name,
        documents=64 * steps, steps=steps, batch_size=64, lr=1e-3, warmup=0.1,
        **{name: getattr(item, name) for name in kept},
    )  # fmt: skip


def recipe(name: str) -> Recipe:
    """The recipe called `name`; UsageError with the nearest name otherwise."""
    if name not in RECIPES:
        raise unknown("recipe", name, RECIPES)
    return RECIPES[name]


def recipe_hash(item: Recipe) -> str:
    """What the weights depend on, as 16 hexadecimal digits: the recipe, the world's text, the parent."""
    parent = recipe_hash(recipe(item.parent)) if item.parent else None
    sample = pairs(item.world, 300) if isinstance(item, TranslatorRecipe) else _sample(item.world, item.language)
    return fingerprint(item, VERSION, sample, parent)


@functools.cache
def _sample(world: World, language: str) -> str:
    """A fingerprint of some of the text, so that weights trained on other text are known even where the dials agree."""
    return fingerprint(corpus(world, language, 300))
