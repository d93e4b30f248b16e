"""A model folder that is not what it claims to be is refused in a sentence, before anything large is made."""

from __future__ import annotations

import json
import shutil
import warnings

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertTokenizerFast

from labkit import files
from labkit.errors import CheckpointError, LabkitError
from labkit.zoo import RECIPES, Recipe, list_models, load, store
from labkit.zoo.recipes import recipe_hash

TINY = Recipe("tiny", "en", "for tests", documents=300)


@pytest.fixture(scope="module")
def saved(tiny_parts, tmp_path_factory):
    model, tokenizer, *_ = tiny_parts("pet")
    folder = tmp_path_factory.mktemp("saved") / "model"
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def folder(saved, tmp_path):
    """A copy that a test may spoil."""
    return shutil.copytree(saved, tmp_path / "model")


def configured(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def renamed(folder, name):
    """The tensors under other names; where `name` gives None, none."""
    path = folder / "model.safetensors"
    tensors = {name(key): value for key, value in load_file(path).items() if name(key)}
    save_file(tensors, path, metadata={"format": "pt"})


def refused(folder, message, **options):
    with pytest.raises(CheckpointError, match=message) as shown:
        load(str(folder), **options)
    assert str(folder) in str(shown.value) and "\n" not in str(shown.value)


def test_a_whole_folder_loads_without_a_word(folder):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not load(str(folder)).fresh


@pytest.mark.parametrize("left", [(), ("tokenizer_config.json",)])
def test_without_the_tokenizers_files_there_is_no_vocabulary(folder, left):
    for path in folder.glob("tokenizer*"):
        if path.name not in left:
            path.unlink()
    refused(folder, "the tokenizer's files are missing: its vocabulary is empty")


def test_a_vocabulary_file_of_the_old_kind_will_do(folder):
    words = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.txt").write_text("".join(f"{word}\n" for word in sorted(words, key=words.get)))
    assert (
        load(str(folder)).tokenizer("good film")["input_ids"] == load(str(folder)).tokenizer("good film")["input_ids"]
    )
    assert load(str(folder)).tokenizer.get_vocab() == words


def test_a_tokenizer_of_another_model_is_refused(folder):
    words = "[PAD] [UNK] [CLS] [SEP] [MASK]".split() + [f"w{number}" for number in range(99)]
    BertTokenizerFast(vocab={word: number for number, word in enumerate(words)}).save_pretrained(folder)
    refused(folder, "has a token number 103, the model 18 embeddings: they do not belong together")


@pytest.mark.parametrize("head", ["lm", "classify", None])
def test_weights_under_other_names_are_no_weights(folder, head):
    renamed(folder, lambda key: f"x.{key}")
    refused(folder, "the weights are not those of a .*: .* is missing", head=head)


@pytest.mark.parametrize("head", ["lm", "classify", None])
@pytest.mark.parametrize(("layers", "message"), [(3, "is missing"), (1, "nothing in the model takes .*layer.1")])
def test_other_layers_than_the_files(folder, head, layers, message):
    configured(folder, num_hidden_layers=layers)
    refused(folder, f"config.json: .*{message}", head=head)


def test_other_shapes_than_the_files(folder):
    configured(folder, intermediate_size=65)
    refused(folder, r"has shape \(64,\), not \(65,\)|has shape \[64\], not \[65\]|has shape .*64.*, not .*65")


def test_an_adapter_beside_the_model_is_not_applied(folder):
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 2, "target_modules": ["query"]}')
    refused(folder, "an adapter .* would be applied unasked; move it elsewhere")


def test_pickle_is_no_weights(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    refused(folder, "model.safetensors: missing; only safetensors are read")


def test_a_head_that_is_not_in_the_file_is_announced(folder):
    renamed(folder, lambda key: key if key.startswith("bert.") else None)
    with pytest.warns(UserWarning, match="of its head are not in .* and are random, first cls.predictions"):
        found = load(str(folder))
    assert found.fresh and all(name.startswith("cls.") for name in found.fresh)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load(str(folder), head="classify")


def test_weights_in_several_files_are_all_looked_at(folder):
    tensors = load_file(folder / "model.safetensors")
    names = sorted(tensors)
    parts = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for part, those in parts.items():
        save_file({name: tensors[name] for name in those}, folder / part, metadata={"format": "pt"})
    (folder / "model.safetensors").unlink()
    index = {"metadata": {}, "weight_map": {name: part for part, those in parts.items() for name in those}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert not load(str(folder)).fresh
    (folder / "b.safetensors").unlink()
    refused(folder, "b.safetensors: missing")


@pytest.mark.parametrize(
    "name",
    [
        "num_hidden_layers",
        "num_labels",
        "vocab_size",
        "type_vocab_size",
        "max_position_embeddings",
        "intermediate_size",
    ],
)
def test_a_configuration_of_a_billion_is_not_built(folder, name):
    configured(folder, **{name: 10**9})
    refused(folder, r"config.json: (.* = 1e\+09, but the weights have|asks for .* numbers, but the weights have)")


@pytest.mark.parametrize(
    "content",
    ["", "[]", "null", pytest.param("[" * 100_000, id="deep"), '{"model_type": "bert", "hidden_size": "x"}', "{}"],
)
@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer_config.json"])
def test_a_sidecar_that_is_something_else(folder, name, content):
    (folder / name).write_text(content)
    try:
        load(str(folder))
    except LabkitError as error:
        assert str(folder) in str(error)
    else:
        assert name == "tokenizer_config.json"  # which holds nothing that the tokenizer could not do without


@pytest.mark.parametrize("content", [b"", b"\0" * 8, b"\xff" * 99, b"PK\x03\x04 a zip", b"version https://git-lfs"])
def test_weights_that_are_something_else(folder, content):
    (folder / "model.safetensors").write_bytes(content)
    refused(folder, "model.safetensors: cannot be loaded .*; copy or save it again")


# The zoo's own records


@pytest.fixture
def own(folder, monkeypatch):
    """A model of the zoo in the cache, and the function that changes its record."""
    monkeypatch.setitem(RECIPES, "tiny", TINY)
    cached = store.cached
    monkeypatch.setattr(store, "cached", lambda item: folder if item.name == "tiny" else cached(item))
    sums = {path.name: files.sha256(path) for path in folder.iterdir()}
    facts = {"name": "tiny", "hash": recipe_hash(TINY), "parameters": 1, "sha256": sums}

    def write(**changes):
        (folder / "recipe.json").write_text(json.dumps({**facts, **changes}))

    write()
    return write


@pytest.mark.parametrize("changes", [{}, {"loss": 2.5, "seconds": 3}])
def test_a_good_record_is_found_and_listed(own, folder, changes):
    own(**changes)
    assert store.find("tiny") == folder
    assert next(row for row in list_models() if row["name"] == "tiny")["where"] == "cache"
    assert not load(str(folder)).fresh


@pytest.mark.parametrize(
    "changes",
    [
        {"sha256": {}}, {"sha256": []}, {"sha256": None}, {"sha256": {"model.safetensors": "0"}}, {"loss": {}},
        {"parameters": "many"}, {"seconds": None}, {"sha256": {"../model/config.json": "0"}},
    ],
)  # fmt: skip
def test_a_record_that_checks_nothing_is_none(own, changes):
    own(**changes)
    with pytest.warns(UserWarning, match="recipe.json: .*labkit zoo build"):
        assert store.find("tiny") is None
    with pytest.warns(UserWarning, match="recipe.json"):
        assert next(row for row in list_models() if row["name"] == "tiny")["where"] == "not built"


@pytest.mark.parametrize("text", ["[]", "3", "", pytest.param("[" * 100_000, id="deep"), "null", '"x"'])
def test_a_record_that_is_no_object_does_not_stop_the_list(own, folder, text):
    (folder / "recipe.json").write_text(text)
    with pytest.warns(UserWarning, match="recipe.json: .*labkit zoo build"):
        assert len(list_models()) >= 5
    with pytest.raises(CheckpointError, match="recipe.json"):
        load(str(folder))


def test_what_lies_beside_a_model_of_the_zoo_is_named(own, folder):
    (folder / "notes.md").write_text("harmless")
    assert store.find("tiny") == folder
    (folder / "chat_template.jinja").write_text("{{ x }}")
    with pytest.warns(UserWarning, match="chat_template.jinja: not part of the folder"):
        assert store.find("tiny") is None
    with pytest.raises(CheckpointError, match="chat_template.jinja: not part of the folder"):
        load(str(folder))


def test_the_check_draws_no_random_numbers(folder):
    renamed(folder, lambda key: key if key.startswith("bert.") else None)
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    with pytest.warns(UserWarning, match="random"):
        first, again = load(str(folder), seed=5), load(str(folder), seed=5)
    assert torch.equal(torch.rand(1), expected)
    for one, two in zip(first.model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(one, two)
