"""Models of the writing demo for tests: the shipped ones, and a translator of a few steps where none is there."""

from __future__ import annotations

from dataclasses import replace

from labkit.demos.foundations.writing import TRANSLATING, Models, here
from labkit.zoo import RECIPES, Loaded, translating


def models() -> Models:
    """The page's models; the translator has random weights unless it is shipped or built."""
    found = Models("mini-gpt-en")
    if not here(TRANSLATING):
        found._found[TRANSLATING] = untrained()
    return found


def untrained() -> Loaded:
    """A translator with random weights."""
    model, tokenizer, *_ = translating.prepared(replace(RECIPES[TRANSLATING], documents=2000))
    model.config.use_cache = True
    return Loaded(model.eval(), tokenizer)
