"""What happens to whoever loads a damaged folder: a sentence, an announced fallback, or the very answer of before.

A folder with checksums notices every damage. One without cannot know that a weight was another, and neither can a
loader whose manifest was signed anew; there a sentence or a usable model is asked for, and no other exception.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from labkit import files
from labkit.apps.folder import CARD, load_app, save_app
from labkit.compression import int8
from labkit.errors import LabkitError
from labkit.fewshot.delta_tuning import load_delta, save_delta
from labkit.zoo import RECIPES, Recipe, load, store
from labkit.zoo.recipes import recipe_hash
from tests.damage import outcomes
from tests.fewshot.delta_models import EVERY, make, outputs, trained

TEXTS = ["the film was good", "a dull film .", "it"]
COUNTS = [pytest.param(16, id="a few"), pytest.param(2000, id="many", marks=pytest.mark.slow)]
TINY = Recipe("tiny", "en", "for tests", documents=300)


@pytest.fixture(autouse=True)
def _bounded_memory():
    """Whoever asks for gigabytes gets a MemoryError, and not the machine."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_AS)
    try:
        size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (size + 4 * 2**30, before[1]))
        yield
    except FileNotFoundError:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def signed(folder):
    """Write the record that makes a model's folder one of the zoo's."""
    sums = {path.name: files.sha256(path) for path in folder.iterdir()}
    facts = {"name": "tiny", "hash": recipe_hash(TINY), "parameters": 1, "loss": 1.0, "reviews_zero_shot": 0.5}
    (folder / "recipe.json").write_text(json.dumps({**facts, "sha256": sums}), encoding="utf-8")


def model_answer(folder):
    model, tokenizer = load(str(folder))
    with torch.no_grad():
        return model(
            **tokenizer([f"{text} [MASK]" for text in TEXTS], padding=True, return_tensors="pt")
        ).logits.numpy()


def zoo_answer(folder):
    store.list_models()
    found = store.find("tiny")
    return None if found is None else model_answer(found)


def app_answer(folder):
    return [list(answer["probabilities"].values()) for answer in load_app(folder).predict(TEXTS)]


def delta_answer(folder):
    with torch.no_grad():
        return outputs(load_delta(make(), folder)).numpy()


def resigned(folder, rng):
    """What someone does who spoils a folder and knows of its checksums."""
    for name in (CARD, "delta.json"):
        try:
            values = json.loads((folder / name).read_text(encoding="utf-8"))
            values.pop("seal", None)
            if name == CARD:
                values["files"] = {p.name: files.sha256(p) for p in sorted(folder.iterdir()) if p.name != CARD}
            else:
                path = folder / "delta.safetensors"
                values |= {"sha256": files.sha256(path), "bytes": path.stat().st_size}
            (folder / name).write_text(json.dumps(values), encoding="utf-8")
        except (OSError, ValueError, AttributeError, TypeError, RecursionError):
            continue  # too badly damaged to be signed


@pytest.fixture
def made(tmp_path, tiny_parts, monkeypatch):
    """The function that makes a folder of a kind and gives it with the function that answers from it."""

    def make_folder(kind):
        folder, (model, tokenizer, method, task) = tmp_path / "whole", tiny_parts("head" if "head" in kind else "pet")
        if kind.startswith("app"):
            model = int8.apply(model) if "int8" in kind else model
            return save_app(folder, model, tokenizer, method, task), app_answer
        if kind.startswith("delta"):
            return save_delta(trained(EVERY["combined"]), folder), delta_answer
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        if kind != "model":
            signed(folder)
        if kind != "zoo":
            return folder, model_answer
        monkeypatch.setitem(RECIPES, "tiny", TINY)
        cached, here = store.cached, lambda: next(tmp_path.glob("copy"), folder)
        monkeypatch.setattr(store, "cached", lambda item: here() if item.name == "tiny" else cached(item))
        return folder, zoo_answer

    return make_folder


def outcome(answer, folder):
    """What is answered, None where the answer is refused in a sentence or another is announced."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            found = answer(folder)
        except LabkitError as error:
            assert "\n" not in str(error) and len(str(error)) > 30, str(error)
            return None
    announced = any("labkit zoo build" in str(one.message) or "random" in str(one.message) for one in said)
    assert announced or found is not None
    return None if announced else found


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("kind", ["model with a record", "zoo", "app of a head", "app of pet", "app in int8", "delta"])
def test_damage_to_what_has_checksums_never_changes_an_answer(made, tmp_path, kind, count):
    folder, answer = made(kind)
    before, same = np.array(answer(folder)), 0

    def check(copy, done):
        nonlocal same
        found = outcome(answer, copy)
        assert found is None or np.array_equal(before, np.array(found)), done
        same += found is not None

    outcomes(folder, tmp_path, count, 1, check)
    assert same < count / 2  # most of it matters, and is noticed


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("kind", ["model", "app of a head", "app of pet", "app in int8", "delta"])
def test_damage_that_no_checksum_shows_is_a_sentence_or_a_usable_model(made, tmp_path, kind, count):
    folder, answer = made(kind)
    assert np.isfinite(np.array(answer(folder))).all()
    refused = 0

    def check(copy, done):
        nonlocal refused
        refused += outcome(answer, copy) is None

    outcomes(folder, tmp_path, count, 2, check, after=resigned if kind != "model" else None)
    assert refused > count / 4


def test_the_damages_are_many_kinds(made, tmp_path):
    folder, _ = made("model with a record")
    done = []
    outcomes(folder, tmp_path, 80, 1, lambda copy, what: done.append(what.split()[2]))
    assert set(done) == {"flip", "cut", "blank", "stuff", "remove", "swap", "stray", "document", "header"}
