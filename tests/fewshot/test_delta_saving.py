"""Deltas in files: exactly what trains, back again to the same bits, and nothing that does not belong."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from labkit.errors import CheckpointError, DataError, LabkitError, UsageError
from labkit.fewshot.delta_tuning import (
    IA3,
    BitFit,
    Centre,
    Combined,
    Compacter,
    Intrinsic,
    LoRA,
    Prompt,
    Serial,
    Served,
    attached,
    delta_tensors,
    detach,
    learn_subspace,
    load_delta,
    save_delta,
    trained_tensors,
    transfer,
)
from labkit.fewshot.delta_tuning.saving import describe, from_description
from labkit.files import sha256
from tests.fewshot.delta_models import EVERY, digest, make, outputs, train, trained


@pytest.mark.parametrize("head", [False, True])
@pytest.mark.parametrize("name", EVERY)
def test_a_saved_delta_brings_the_answers_back(name, head, tmp_path):
    model = trained(EVERY[name], head=head)
    save_delta(model, tmp_path / "d", task="world/news")
    fresh = make(head=head)
    if head:
        torch.nn.init.normal_(fresh.classifier.weight)  # a new head is no part of the backbone
    assert torch.equal(outputs(load_delta(fresh, tmp_path / "d")), outputs(model))
    assert attached(fresh).delta == attached(model).delta
    assert json.loads((tmp_path / "d" / "delta.json").read_text())["notes"] == {"task": "world/news"}


@pytest.mark.parametrize("name", EVERY)
def test_the_file_holds_the_trained_bytes_and_a_header(name, tmp_path):
    model = trained(EVERY[name])
    save_delta(model, tmp_path / "d")
    path = tmp_path / "d" / "delta.safetensors"
    header = 8 + int.from_bytes(path.read_bytes()[:8], "little")
    trainable = {n: p for n, p in model.named_parameters() if p.requires_grad}
    assert path.stat().st_size == header + sum(p.numel() * p.element_size() for p in trainable.values())
    assert load_file(path).keys() == trainable.keys()
    assert sorted(file.name for file in (tmp_path / "d").iterdir()) == ["delta.json", "delta.safetensors"]


@pytest.mark.parametrize("name", EVERY)
def test_a_description_gives_the_same_delta(name):
    assert from_description(json.loads(json.dumps(describe(EVERY[name])))) == EVERY[name]


DELTAS = st.one_of(
    st.builds(LoRA, rank=st.integers(1, 64), alpha=st.floats(0.1, 64), targets=st.none() | st.just(("query", "key"))),
    st.builds(Serial, bottleneck=st.integers(1, 64), activation=st.sampled_from(["gelu", "relu"])),
    st.builds(IA3, scale_input=st.none() | st.just(("dense",))),
    st.builds(Compacter, factors=st.integers(1, 8), also=st.none() | st.just(())),
)


@given(a=DELTAS, dimension=st.integers(1, 9))
def test_any_description_survives_json(a, dimension):
    for delta in (a, Intrinsic(inner=a, dimension=dimension), Combined(deltas=(a, BitFit()))):
        assert from_description(json.loads(json.dumps(describe(delta)))) == delta


@pytest.mark.parametrize(
    ("description", "message"),
    [
        (None, 'an object with its "kind"'),
        ({"rank": 3}, 'an object with its "kind"'),
        ({"kind": "lorra"}, "unknown delta 'lorra': did you mean 'lora'"),
        ({"kind": "lora", "rang": 3}, "unknown LoRA setting 'rang': did you mean 'rank'"),
        ({"kind": "lora", "rank": "3"}, "'rank' must be int"),
        ({"kind": "lora", "rank": 0}, "rank must be a whole number"),
        ({"kind": "lora", "targets": ["re:(a+)+$"]}, "names only, no regular expression"),
        ({"kind": "parallel", "targets": ["query -> re:(a+)+$"]}, "names only, no regular expression"),
        ({"kind": "combined", "deltas": [{"kind": "lora", "also": ["re:x"]}]}, "no regular expression"),
        ({"kind": "combined", "deltas": []}, "needs deltas"),
        ({"kind": "intrinsic", "inner": 3}, 'an object with its "kind"'),
    ],
)
def test_a_description_that_is_none(description, message):
    with pytest.raises(UsageError, match=message):
        from_description(description)


# What must not be loaded


@pytest.fixture
def folder(tmp_path):
    save_delta(trained(LoRA(rank=2)), tmp_path / "d")
    return tmp_path / "d"


def refused(folder, message, model=None, error=CheckpointError):
    model = make() if model is None else model
    before = digest(model.state_dict())
    with pytest.raises(error, match=message):
        load_delta(model, folder)
    assert digest(model.state_dict()) == before and not hasattr(model, "labkit_delta")


def test_another_backbone_is_refused(folder):
    other = make()
    other.bert.encoder.layer[2].output.dense.bias.data[3] += 1e-6
    message = "belongs to another backbone .*: load the model, weights and number format that it was trained on"
    refused(folder, message, other)
    refused(folder, message, make("roberta"))
    refused(folder, message, make().half())
    refused(folder, message, make(head=True))
    with pytest.raises(CheckpointError, match="another backbone"):
        transfer(other, folder)
    carrying = BitFit().attach(make())
    with pytest.raises(UsageError, match="carries a delta already"):
        load_delta(carrying, folder)


def test_a_folder_that_is_missing_or_cut_short(folder, tmp_path):
    refused(tmp_path / "nowhere", "no delta here")
    path = folder / "delta.safetensors"
    data = path.read_bytes()
    path.write_bytes(data[:-5])
    refused(folder, "cut short or altered")
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    refused(folder, "its SHA-256 is not the one in delta.json")
    path.write_bytes(data + b"\0" * 5_000_000)
    refused(folder, "bytes where .* belong")
    path.unlink()
    refused(folder, "No such file")


def test_settings_that_were_altered_are_refused(folder):
    """Another alpha is another scale of everything that was trained."""
    path = folder / "delta.json"
    facts = json.loads(path.read_text())
    facts["delta"]["alpha"] = 99.0
    path.write_text(json.dumps(facts))
    refused(folder, "delta.json: altered since it was written")


def altered(folder, **changes):
    """Write other facts; a value that is a function is given the old one."""
    facts = json.loads((folder / "delta.json").read_text())
    facts.pop("seal")
    facts |= {name: value(facts[name]) if callable(value) else value for name, value in changes.items()}
    (folder / "delta.json").write_text(json.dumps(facts))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 9}, "not a delta's description of format 1"),
        ({"backbone": 3}, "one is missing or malformed"),
        ({"tensors": {"x": ["float32"]}}, "one is missing or malformed"),
        ({"tensors": {"x": ["nn", [2]]}}, "one is missing or malformed"),
        ({"tensors": {"x": ["float32", [-2]]}}, "one is missing or malformed"),
        ({"bytes": 2**39}, "cut short or altered"),
        ({"bytes": 2**39, "tensors": {"x": ["float32", [2**30]]}}, "cut short or altered"),
        ({"delta": {"kind": "lora", "rank": 3}}, "tensor .* is .*, not"),
        ({"delta": {"kind": "lora", "rank": 10**9}}, r"rank = 1e\+09, but no tensor is so large"),
        ({"delta": {"kind": "combined", "deltas": [{"kind": "prompt", "tokens": 10**12}]}}, "no tensor is so large"),
        ({"delta": {"kind": "lora", "targets": 3}}, "delta.json: cannot be loaded"),
        ({"delta": {"kind": "lora", "rank": 2, "targets": ["query"]}}, "tensors do not match the delta's"),
        ({"delta": {"kind": "bitfit"}}, "tensors do not match"),
        ({"delta": {"kind": "lora", "targets": ["re:query"]}}, "no regular expression"),
    ],
)
def test_facts_that_do_not_fit(folder, changes, message):
    altered(folder, **changes)
    refused(folder, message)


def test_facts_that_are_no_json(folder):
    path = folder / "delta.json"
    for text in ("", "[1]", '{"format": 1', "[" * 100_000):
        path.write_text(text)
        refused(folder, "delta.json: (cannot be read as JSON|not a JSON object)")
    path.write_text(" " * 16_000_001)
    refused(folder, "16,000,001 bytes, where 16,000,000 are the most")


def test_tensors_that_do_not_fit(folder):
    path = folder / "delta.safetensors"
    tensors = load_file(path)
    name = next(iter(tensors))
    save_file({**tensors, name: tensors[name].half().repeat(1, 2)}, path)
    altered(folder, sha256=sha256(path))
    refused(folder, "of torch.float16, not")


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, 10_000), value=st.integers(0, 255), which=st.sampled_from(["delta.json", "delta.safetensors"]))
def test_no_altered_byte_gets_in_silently(folder, at, value, which):
    """Any one byte: the delta loads to the same tensors, or is refused in a sentence."""
    path = folder / which
    data = bytearray(path.read_bytes())
    data[at % len(data)] = value
    other = folder.parent / "altered"
    shutil.rmtree(other, ignore_errors=True)
    shutil.copytree(folder, other)
    (other / which).write_bytes(data)
    model = make()
    try:
        load_delta(model, other)
    except LabkitError:
        assert not hasattr(model, "labkit_delta")
    else:
        found, wanted = delta_tensors(model), load_file(folder / "delta.safetensors")
        assert all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_saving_needs_a_delta_and_leaves_the_old_one_where_it_fails(folder, monkeypatch):
    with pytest.raises(UsageError, match="carries no delta"):
        save_delta(make(), folder)
    before = {file.name: file.read_bytes() for file in folder.iterdir()}

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("labkit.fewshot.delta_tuning.saving.save_file", full)
    with pytest.raises(LabkitError, match="disk is full"):
        save_delta(trained(BitFit()), folder)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before
    assert [path.name for path in folder.parent.iterdir()] == ["d"]


# Between tasks, on a shelf, served in turns


def test_transfer_takes_the_delta_and_keeps_the_head(tmp_path):
    source = trained(LoRA(rank=2), head=True)
    save_delta(source, tmp_path / "d")
    target = make(head=True)
    torch.nn.init.constant_(target.classifier.weight, 0.25)
    transfer(target, tmp_path / "d")
    assert (target.classifier.weight == 0.25).all()
    mine, theirs = delta_tensors(target), delta_tensors(source)
    assert mine.keys() == theirs.keys() and {"classifier.weight", "classifier.bias"} < mine.keys()
    assert all(torch.equal(mine[n], theirs[n]) for n in mine if not n.startswith("classifier"))
    assert target.classifier.weight.requires_grad


def test_a_centre_lists_and_gives_by_name_and_backbone(tmp_path):
    centre, model = Centre(tmp_path), trained(LoRA(rank=2))
    centre.put("news", model, task="world/news")
    centre.put("reviews", trained(BitFit()))
    centre.put("news", trained(LoRA(rank=2), "roberta"))
    assert {name: len(found) for name, found in centre.list().items()} == {"news": 2, "reviews": 1}
    assert centre.list(make()) == {n: [attached(model).backbone[:16]] for n in ("news", "reviews")}
    assert centre.list(model).keys() == {"news", "reviews"}  # also while it carries one
    (tmp_path / "broken" / "x").mkdir(parents=True)
    (tmp_path / "broken" / "x" / "delta.json").write_text("[]")
    with pytest.warns(UserWarning, match="broken.*not a JSON object"):  # one that is damaged does not hide the others
        assert centre.list(make()).keys() == {"news", "reviews"}
    shutil.rmtree(tmp_path / "broken")
    assert torch.equal(outputs(centre.get("news", make())), outputs(model))
    with pytest.raises(UsageError, match="unknown delta 'newz': did you mean 'news'"):
        centre.get("newz", make())
    with pytest.raises(UsageError, match="'reviews' is there for backbone .*, not for"):
        centre.get("reviews", make("roberta"))
    for name in ("../x", "", ".x", "a/b", "x" * 81):
        with pytest.raises(UsageError, match="a delta's name has letters"):
            centre.put(name, model)


def test_several_deltas_are_served_from_one_model(tmp_path):
    alone, folders = {}, {}
    for number, name in enumerate(("lora", "lora too", "bitfit", "prompt")):
        delta = {"bitfit": BitFit(), "prompt": Prompt(tokens=2)}.get(name, LoRA(rank=2))
        model = train(delta.attach(make()), steps=2 + number)
        alone[name], folders[name] = outputs(model), tmp_path / name
        save_delta(model, folders[name])
    plain, model = outputs(make()), make()
    served = Served(model, folders)
    assert torch.equal(outputs(model), plain)
    for name in ("lora", "lora too", "bitfit", "lora", "prompt", "bitfit", "bitfit", "lora too"):
        assert served.choose(name) is model
        assert torch.equal(outputs(model), alone[name])
    assert torch.equal(outputs(served.release()), plain) and not hasattr(model, "labkit_delta")
    with pytest.raises(UsageError, match="unknown delta 'lor'"):
        served.choose("lor")
    with pytest.raises(UsageError, match="at least one saved delta"):
        Served(model, {})


# Subspaces


def test_a_random_subspace_is_theta_plus_pz():
    model = make()
    LoRA(rank=2).attach(model)
    start = delta_tensors(model)
    detach(model)
    train(Intrinsic(inner=LoRA(rank=2), dimension=3, seed=4).attach(model))
    z = model.intrinsic.z.detach()
    assert list(trained_tensors(model)) == ["intrinsic.z"] and z.shape == (3,) and z.abs().min() > 1e-3
    answers = outputs(model)
    probe = make()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        list(LoRA(rank=2)._insert(probe))  # draws what attaching draws before P
        own = {n: p for n, p in probe.named_parameters() if n in start}
        p = torch.randn(sum(t.numel() for t in start.values()), 3) / 3**0.5
    with torch.no_grad():
        for (_, tensor), moved in zip(own.items(), (p @ z).split([t.numel() for t in own.values()]), strict=True):
            tensor += moved.view_as(tensor)
    torch.testing.assert_close(outputs(probe), answers, rtol=1e-5, atol=1e-5)


def test_a_learnt_subspace_holds_the_tasks_it_was_learnt_from(tmp_path):
    """With as many dimensions as tasks less one, every task's own delta lies in it."""
    deltas, models = [], []
    for steps in (1, 3, 6):
        models.append(train(Prompt(tokens=3).attach(make()), steps=steps))
        deltas.append(delta_tensors(models[-1]))
    mean, basis = learn_subspace(tmp_path / "s.safetensors", deltas, 2)
    flat = torch.stack([delta["bert.soft_prompt.weight"].flatten() for delta in deltas])
    torch.testing.assert_close(mean, flat.mean(0))
    model = Intrinsic(inner=Prompt(tokens=3), dimension=2, basis=str(tmp_path / "s.safetensors")).attach(make())
    for one, row in zip(models, flat, strict=True):
        z = torch.linalg.lstsq(basis, (row - mean)[:, None]).solution[:, 0]
        model.intrinsic.z.data.copy_(z)
        torch.testing.assert_close(outputs(model), outputs(one), rtol=1e-4, atol=1e-4)
    save_delta(model, tmp_path / "d")
    assert torch.equal(outputs(load_delta(make(), tmp_path / "d")), outputs(model))
    learn_subspace(tmp_path / "s.safetensors", deltas[::-1][:2] + deltas[:1], 1)
    with pytest.raises(DataError, match="another subspace than the one this delta was trained in"):
        load_delta(make(), tmp_path / "d")


def test_subspaces_that_do_not_fit(tmp_path):
    deltas = [delta_tensors(train(Prompt(tokens=2).attach(make()), steps=n)) for n in (1, 2)]
    path = tmp_path / "s.safetensors"
    for wrong in (0, 2):
        with pytest.raises(UsageError, match=f"2 deltas span at most 1 dimensions around their mean, not {wrong}"):
            learn_subspace(path, deltas, wrong)
    other = delta_tensors(trained(Prompt(tokens=3)))
    with pytest.raises(UsageError, match="delta 2 has other tensors than the first"):
        learn_subspace(path, [deltas[0], other], 1)
    with pytest.raises(DataError, match="no such file"):
        Intrinsic(basis=str(path)).attach(make())
    path.write_bytes(b"no")
    with pytest.raises(DataError, match="no subspace to read here"):
        Intrinsic(basis=str(path)).attach(make())
    learn_subspace(path, deltas, 1)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(DataError, match="s.safetensors: altered since it was written; write one with learn_subspace"):
        Intrinsic(inner=Prompt(tokens=2), dimension=1, basis=str(path)).attach(make())
    path.write_bytes(whole)
    with pytest.raises(UsageError, match="a subspace of 1 dimensions for 64 weights; dimension=1 for 96"):
        Intrinsic(inner=Prompt(tokens=3), dimension=1, basis=str(path)).attach(make())
    with pytest.raises(UsageError, match="dimension=65 is more than the 64 weights"):
        Intrinsic(inner=Prompt(tokens=2), dimension=65).attach(make())
    with pytest.raises(UsageError, match="needs an inner delta"):
        Intrinsic(inner=Intrinsic())
