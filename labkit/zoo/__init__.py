"""Named models: the course's own micro models, and the doors to MiniLM, the hub and folders.

model, tokenizer = load("micro-bert-en", head="mlm")
"""

from __future__ import annotations

from labkit.zoo.gemma import PACKAGED, Packaged
from labkit.zoo.loading import load, source
from labkit.zoo.opening import HUB, Loaded
from labkit.zoo.recipes import RECIPES, AlbertRecipe, Recipe, recipe, recipe_hash
from labkit.zoo.store import build, clean, find, list_models, path, verify

__all__ = [
    "HUB", "PACKAGED", "RECIPES", "AlbertRecipe", "Loaded", "Packaged", "Recipe", "build", "clean", "find",
    "list_models", "load", "path", "recipe", "recipe_hash", "source", "verify",
]  # fmt: skip
