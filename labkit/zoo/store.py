"""Where trained micro models live: shipped with the package, or in the cache; each with its recipe's hash and
checksums.

A model is used only if its hash is the recipe's and its files are those that were written. Otherwise it is trained
anew, once, under a lock that other processes wait for.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from labkit import files
from labkit.errors import CheckpointError, unknown
from labkit.zoo import gemma
from labkit.zoo.folders import RECORD
from labkit.zoo.gemma import PACKAGED, Packaged
from labkit.zoo.recipes import RECIPES, Recipe, recipe_hash

SHIPPED = Path(__file__).parent / "weights"
LISTED = {"config.json", "model.safetensors", "tokenizer.json"}  # what the record lists at least
FIGURES = ("parameters", "loss", "held_out_loss", "seconds")


def cache() -> Path:
    """Where models are kept: `LABKIT_CACHE/zoo`, or `~/.cache/labkit/zoo`. LabkitError for a user without a home."""
    return files.cache_folder() / "zoo"


def item_of(name: str) -> Recipe | Packaged:
    """What makes the model called `name`; UsageError with the nearest name otherwise."""
    known = {**RECIPES, **PACKAGED}
    if name not in known:
        raise unknown("model", name, known)
    return known[name]


def hash_of(item: Recipe | Packaged) -> str:
    """What the folder depends on, as 16 hexadecimal digits."""
    return item.fingerprint if isinstance(item, Packaged) else recipe_hash(item)


def cached(item: Recipe | Packaged) -> Path:
    """The folder in which the product of this very item is cached."""
    return cache() / f"{item.name}-{hash_of(item)}"


def record(folder: Path) -> dict[str, Any]:
    """The folder's `recipe.json`; CheckpointError where it is missing or malformed."""
    facts = files.read_json(folder / RECORD, "run `labkit zoo build`")
    sums, figures = facts.get("sha256"), [facts.get(key, 0) for key in FIGURES]
    if not isinstance(sums, dict) or not sums.keys() >= LISTED or not all(type(x) in (int, float) for x in figures):
        raise CheckpointError(f"{folder / RECORD}: checksums or figures are missing or none; run `labkit zoo build`")
    return facts


def whole(folder: Path) -> None:
    """Raise CheckpointError where `folder` has a record, and files other than those that it lists."""
    if (folder / RECORD).exists():
        mend = f"copy the folder again (if you changed it, delete {RECORD} in it)"
        files.verify(folder, record(folder)["sha256"], mend, own=RECORD)


def check(folder: Path, item: Recipe | Packaged) -> None:
    """Raise CheckpointError unless `folder` holds the whole, unaltered product of `item`."""
    facts = record(folder)
    if facts.get("hash") != hash_of(item):
        raise CheckpointError(f"{folder}: made by another recipe of {item.name}; run `labkit zoo build {item.name}`")
    files.verify(folder, facts["sha256"], f"run `labkit zoo build {item.name}`", own=RECORD)


def find(name: str) -> Path | None:
    """The folder of a good copy, shipped before cached, or None; an altered copy is passed over with a warning."""
    item = item_of(name)
    for folder in _places(item):
        if folder.is_dir():
            try:
                check(folder, item)
            except CheckpointError as error:
                warnings.warn(str(error), stacklevel=2)
            else:
                return folder
    return None


def _places(item: Recipe | Packaged) -> Iterator[Path]:
    """One by one: where the shipped copy is good, nobody needs a home to keep a cache in."""
    yield SHIPPED / item.name
    yield cached(item)


def build(name: str, *, into: Path | None = None, progress: bool | None = None) -> Path:
    """Make `name` and return its folder: train it (and its parents, where missing), or convert what a package holds.
    One process does, the others wait.

    `into` puts the result under that folder instead of the cache, whatever is there already.
    """
    from labkit.zoo import building
    from labkit.zoo.opening import open_model

    item = item_of(name)
    folder = (into / name) if into else cached(item)
    with files.locked(cache() / f"{name}.lock"):
        if into or find(name) is None:
            if isinstance(item, Packaged):
                gemma.convert(item, folder, progress)
                return folder
            parent = None
            if item.parent:
                parent = tuple(open_model(item.parent, str(path(item.parent, progress=progress)), "mlm"))
            building.train(item, folder, parent, progress)
            return folder
    return find(name) or folder


def path(name: str, *, progress: bool | None = None) -> Path:
    """The folder of `name`, trained first if there is no good copy."""
    return find(name) or build(name, progress=progress)


def list_models() -> list[dict[str, Any]]:
    """One row a model: name, language, about, where it is, its figures."""
    rows = []
    for name, item in {**RECIPES, **PACKAGED}.items():
        folder = find(name)
        where = "not built" if folder is None else "shipped" if folder.parent == SHIPPED else "cache"
        facts = {} if folder is None else record(folder)
        figures = {key: facts.get(key) for key in ("parameters", "held_out_loss", "seconds")}
        zero_shot = ", ".join(f"{task} {100 * value:.0f}" for task, value in facts.get("zero_shot", {}).items())
        figures["zero-shot cloze, %"] = zero_shot or None
        rows.append({"name": name, "language": item.language, "where": where, **figures, "about": item.about})
    return rows


def verify(name: str, *, metrics: bool = False, progress: bool | None = None) -> dict[str, Any]:
    """Follow the recipe again and compare its figures with the stored ones: losses relatively, accuracies absolutely; a
    packaged model is converted again, and its weights must be the same to the bit.

    `metrics` measures the weights that are there instead of training new ones: minutes become seconds, and the figures
    must come out within a hundredth. Raises CheckpointError where one is further off.
    """
    item, folder = item_of(name), path(name, progress=progress)
    old = record(folder)
    if isinstance(item, Packaged):
        return _converted_again(item, old, progress)
    if not {"loss", "held_out_loss", "zero_shot"} <= old.keys():
        raise CheckpointError(f"{name}: its {RECORD} has no figures to compare; run `labkit zoo build {name}`")
    new, tolerance = (_measured(item, folder), 0.01) if metrics else (_made_again(name, progress), 0.05)
    losses = {key: (old[key], new[key]) for key in ("loss", "held_out_loss") if key in new}
    accuracies = {task: (old["zero_shot"][task], value) for task, value in new["zero_shot"].items()}
    off = [abs(was - now) / was for was, now in losses.values()] + [abs(was - now) for was, now in accuracies.values()]
    if max(off) > tolerance:
        again = "measured" if metrics else "retrained"
        raise CheckpointError(f"{name}: {again} again, its figures differ from the stored: {losses | accuracies}")
    return {"name": name, **losses, **accuracies}


def _made_again(name: str, progress: bool | None) -> dict[str, Any]:
    folder = build(name, into=cache() / "verify", progress=progress)
    new = record(folder)
    shutil.rmtree(folder)
    return new


def _converted_again(item: Packaged, old: dict[str, Any], progress: bool | None) -> dict[str, Any]:
    new = _made_again(item.name, progress)
    sums = tuple(facts["sha256"]["model.safetensors"] for facts in (old, new))
    if sums[0] != sums[1]:
        raise CheckpointError(f"{item.name}: converted again, its weights differ: run `labkit zoo clean {item.name}`")
    return {"name": item.name, "sha256": sums[0]}


def _measured(item: Recipe, folder: Path) -> dict[str, Any]:
    from labkit.zoo import building
    from labkit.zoo.opening import open_model

    return building.figures(item, *open_model(item.name, str(folder), "lm"))


def clean(name: str | None = None) -> list[Path]:
    """Remove cached copies (never shipped ones) of `name`, or of all models; returns what was removed."""
    names = [item_of(name).name] if name else [*RECIPES, *PACKAGED]
    gone = [folder for each in names for folder in cache().glob(f"{each}-" + "?" * 16) if folder.is_dir()]
    for folder in gone:
        shutil.rmtree(folder)
    return gone
