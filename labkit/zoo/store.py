"""Where trained micro models live: shipped with the package, or in the cache; each with its recipe's hash and
checksums.

A model is used only if its hash is the recipe's and its files are those that were written. Otherwise it is trained
anew, once, under a lock that other processes wait for.
"""

from __future__ import annotations

import json
import os
import shutil
import warnings
from pathlib import Path
from typing import Any

from labkit import files
from labkit.errors import CheckpointError
from labkit.zoo.recipes import RECIPES, Recipe, recipe, recipe_hash

SHIPPED = Path(__file__).parent / "weights"


def cache() -> Path:
    """The cache folder: `LABKIT_CACHE`, or `~/.cache/labkit`."""
    return Path(os.environ.get("LABKIT_CACHE") or Path.home() / ".cache" / "labkit") / "zoo"


def cached(item: Recipe) -> Path:
    """The folder in which this very recipe is cached."""
    return cache() / f"{item.name}-{recipe_hash(item)}"


def record(folder: Path) -> dict[str, Any]:
    """The folder's `recipe.json`; CheckpointError where it is missing or not JSON."""
    try:
        return json.loads((folder / "recipe.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder / 'recipe.json'}: cannot be read ({error}); run `labkit zoo build`") from error


def check(folder: Path, item: Recipe) -> None:
    """Raise CheckpointError unless `folder` holds the whole, unaltered product of `item`."""
    facts = record(folder)
    if facts.get("hash") != recipe_hash(item):
        raise CheckpointError(f"{folder}: made by another recipe of {item.name}; run `labkit zoo build {item.name}`")
    for name, digest in facts["sha256"].items():
        if not (folder / name).is_file() or files.sha256(folder / name) != digest:
            raise CheckpointError(f"{folder / name}: altered or cut short; run `labkit zoo build {item.name}`")


def find(name: str) -> Path | None:
    """The folder of a good copy, shipped before cached, or None; an altered copy is passed over with a warning."""
    item = recipe(name)
    for folder in (SHIPPED / name, cached(item)):
        if folder.is_dir():
            try:
                check(folder, item)
            except CheckpointError as error:
                warnings.warn(str(error), stacklevel=2)
            else:
                return folder
    return None


def build(name: str, *, into: Path | None = None, progress: bool | None = None) -> Path:
    """Train `name` (and its parents, where missing) and return its folder; one process trains, the others wait.

    `into` puts the result under that folder instead of the cache, whatever is there already.
    """
    from labkit.zoo import building
    from labkit.zoo.loading import load

    item = recipe(name)
    folder = (into / name) if into else cached(item)
    with files.locked(cache() / f"{name}.lock"):
        if into or find(name) is None:
            parent = tuple(load(item.parent, head="mlm", progress=progress)) if item.parent else None
            building.train(item, folder, parent, progress)
            return folder
    return find(name) or folder


def path(name: str, *, progress: bool | None = None) -> Path:
    """The folder of `name`, trained first if there is no good copy."""
    return find(name) or build(name, progress=progress)


def list_models() -> list[dict[str, Any]]:
    """One row a recipe: name, language, about, where it is, its figures."""
    rows = []
    for name, item in RECIPES.items():
        folder = find(name)
        where = "not built" if folder is None else "shipped" if folder.parent == SHIPPED else "cache"
        facts = {} if folder is None else record(folder)
        figures = {key: facts.get(key) for key in ("parameters", "loss", "reviews_zero_shot", "seconds")}
        rows.append({"name": name, "language": item.language, "where": where, **figures, "about": item.about})
    return rows


def verify(name: str, *, tolerance: float = 0.05, progress: bool | None = None) -> dict[str, Any]:
    """Follow the recipe again and compare loss (relative) and zero-shot accuracy (absolute) with the stored figures.

    Raises CheckpointError where either is further off than `tolerance`.
    """
    item, old = recipe(name), record(path(name))
    new_folder = build(name, into=cache() / "verify", progress=progress)
    new = record(new_folder)
    shutil.rmtree(new_folder)
    close = (
        abs(new["loss"] - old["loss"]) <= tolerance * old["loss"]
        and abs(new["reviews_zero_shot"] - old["reviews_zero_shot"]) <= tolerance
    )
    figures = {key: (old[key], new[key]) for key in ("loss", "reviews_zero_shot")}
    if not close:
        raise CheckpointError(f"{item.name}: retrained, its figures differ from the stored ones: {figures}")
    return {"name": name, **figures}


def clean(name: str | None = None) -> list[Path]:
    """Remove cached copies (never shipped ones) of `name`, or of all models; returns what was removed."""
    names = [recipe(name).name] if name else list(RECIPES)
    gone = [folder for each in names for folder in cache().glob(f"{each}-" + "?" * 16) if folder.is_dir()]
    for folder in gone:
        shutil.rmtree(folder)
    return gone
