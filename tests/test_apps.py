"""Saved apps: what goes in comes out, what was altered is refused, nothing in the folder is run, files are labelled."""

from __future__ import annotations

import csv
import dataclasses
import errno
import html
import json
import os
import pickle
import re
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from labkit import evaluation, files
from labkit.apps import load_app, predict_table, read_card, save_app
from labkit.apps.folder import CARD, _plain
from labkit.compression import int8
from labkit.compression.exporting import FORMS
from labkit.compression.pruning import remove_heads
from labkit.errors import CheckpointError, DataError, LabkitError, TrainingError, UsageError
from labkit.fewshot.delta_tuning import detach, merge, trained_tensors
from labkit.fewshot.prompts.soft_tokens import attach_soft_tokens
from labkit.fewshot.prompts.verbalizer import Verbalizer
from labkit.fewshot.soft_prompts import Prefix, PromptTuning
from labkit.foundations.pretraining import tokenize_corpus
from labkit.zoo import folders
from tests.fewshot.delta_models import EVERY

TEXTS = ["the film was good", "a dull film .", "it was", "<b> & the film"]


@pytest.fixture
def app(tiny_app):
    return load_app(tiny_app)


@pytest.fixture
def folder(tiny_app, tmp_path):
    """A copy of the app that a test may spoil."""
    return shutil.copytree(tiny_app, tmp_path / "app")


def spoil_card(folder, **changes):
    card = json.loads((folder / CARD).read_text(encoding="utf-8"))
    card.pop("seal", None)
    (folder / CARD).write_text(json.dumps({**card, **changes}), encoding="utf-8")


def probabilities(app, inputs):
    return np.array([list(answer["probabilities"].values()) for answer in app.predict(inputs)])


# What goes in comes out


@pytest.mark.parametrize("kind", ["head", "pet"])
@pytest.mark.parametrize("quantised", [None, "int8", "ternary", "binary", "cut"])
def test_a_loaded_app_answers_as_the_model_did(tiny_parts, tmp_path, kind, quantised):
    model, tokenizer, method, task = tiny_parts(kind)
    if quantised == "cut":
        model = remove_heads(model, {1: [0]})
    elif quantised:
        model = FORMS[quantised].apply(model)
    before = evaluation.predict(model, method, [{"text": text} for text in TEXTS])
    app = load_app(save_app(tmp_path / "app", model, tokenizer, method, task))
    assert app.card.quantised == quantised
    np.testing.assert_allclose(probabilities(app, TEXTS), before, rtol=0, atol=1e-6)
    assert before.std(axis=0).min() > 1e-3  # the texts are told apart, so that the comparison means something


def test_eight_weights_in_a_byte_are_not_taken_for_too_few(tiny_parts, tmp_path, monkeypatch):
    model, tokenizer, method, task = tiny_parts("head")
    save_app(tmp_path / "app", FORMS["binary"].apply(model), tokenizer, method, task)
    monkeypatch.setattr(folders, "SPARE", 0)
    load_app(tmp_path / "app")


def test_an_answer_names_the_likeliest_label(app):
    for answer in app.predict(TEXTS):
        assert set(answer["probabilities"]) == {"negative", "positive"}
        assert sum(answer["probabilities"].values()) == pytest.approx(1)
        assert answer["probabilities"][answer["label"]] == max(answer["probabilities"].values())


def test_a_text_a_row_and_a_tuple_are_one_input(app):
    assert (
        app.predict("a dull film .")
        == app.predict([{"text": "a dull film .", "id": 3}])
        == app.predict([("a dull film .",)])
    )
    assert app.predict([]) == []


def test_two_fields(tiny_parts, tmp_path):
    app = load_app(save_app(tmp_path / "app", *tiny_parts("head", ("text_a", "text_b"))))
    assert app.predict([("a film", "dull")]) == app.predict([{"text_b": "dull", "text_a": "a film"}])
    with pytest.raises(DataError, match="input 1: 1 texts given, 2 needed: text_a, text_b"):
        app.predict(["a film"])


@pytest.mark.parametrize("item", [{"words": "a"}, {"text": 3}, {"text": None}, 7])
def test_an_input_that_is_no_text_is_named(app, item):
    with pytest.raises(DataError, match="input 2"):
        app.predict(["a film", item])


def test_plain_transformers_loads_an_app_that_is_not_quantised(app, tiny_app):
    from transformers import AutoModel

    found = AutoModel.from_pretrained(tiny_app, add_pooling_layer=False).state_dict()
    expected = app.model.base_model.state_dict()
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(value, found[name]), name


@pytest.mark.parametrize("quantised", [False, True])
@pytest.mark.parametrize("name", EVERY)
def test_an_app_of_a_model_with_a_delta_answers_the_same_or_is_refused(tiny_parts, tmp_path, name, quantised):
    """BitFit adds no weight, so what it trained is saved; of the others the mend works."""
    model, tokenizer, method, task = tiny_parts()
    model = EVERY[name].attach(int8.apply(model, skip=("classifier",)) if quantised else model)
    with torch.no_grad():
        for parameter in trained_tensors(model).values():
            parameter += 0.3
    if name != "bitfit":
        with pytest.raises(UsageError, match="the model carries '.*', which an app, .*: merge or detach the delta"):
            save_app(tmp_path / "app", model, tokenizer, method, task)
        assert not (tmp_path / "app").exists()
        merge(model) if name in ("lora", "ia3") and not quantised else detach(model)
    rows = [{"text": text} for text in TEXTS]
    before = evaluation.predict(model, method, rows)
    app = load_app(save_app(tmp_path / "app", model, tokenizer, method, task))
    np.testing.assert_allclose(evaluation.predict(app.model, app.method, rows), before, atol=1e-6)


@pytest.mark.parametrize("attach", [
    lambda model, method, tokenizer: PromptTuning(tokens=2).attach(model),
    lambda model, method, tokenizer: Prefix(tokens=2).attach(model),
    lambda model, method, tokenizer: attach_soft_tokens(model, "{text} {soft*2} {mask}", tokenizer),
])  # fmt: skip
def test_an_app_of_a_model_with_a_prompt_is_refused(tiny_parts, tmp_path, attach):
    model, tokenizer, method, task = tiny_parts("pet")
    attach(model, method, tokenizer)
    with pytest.raises(UsageError, match="the model carries '.*', which an app, a plain BertForMaskedLM, cannot hold"):
        save_app(tmp_path / "app", model, tokenizer, method, task)


def test_int8_takes_fewer_bytes(tiny_parts, tmp_path):
    model, tokenizer, method, task = tiny_parts()
    whole = save_app(tmp_path / "whole", model, tokenizer, method, task)
    small = save_app(tmp_path / "small", int8.apply(model), tokenizer, method, task)
    assert (small / "int8.safetensors").stat().st_size < 0.6 * (whole / "model.safetensors").stat().st_size
    assert not (small / "model.safetensors").exists()


def test_the_model_card_shows_markup_as_text(tiny_parts, tmp_path):
    model, tokenizer, method, task = tiny_parts()
    task = dataclasses.replace(task, name="a|b\n# <script>", labels=("<img src=x>", "`x`"), words={}, patterns=())
    text = (
        save_app(tmp_path / "app", model, tokenizer, method, task, metrics={"accuracy": 0.5}) / "README.md"
    ).read_text()
    assert "| accuracy | 0.5 |" in text
    assert "<img" not in text
    assert "<script" not in text
    assert text.startswith("---\nlibrary_name: transformers\n")


@pytest.mark.parametrize(
    "name",
    ["www.evil.example", "https://evil.example/a", "a@evil.example", "![x](y)", "**b** _i_ ~s~", "$x$", "&lt;b>"],
)
def test_the_model_card_links_to_nothing(name):
    """It is the name once its entities are read; as it stands it has no mark that Markdown would read."""
    written = _plain(name)
    assert html.unescape(written) == name
    assert not re.search(r"www\.|[:@!*_~$<>`\[\]]", re.sub(r"&#\d+;", "", written))


def test_an_app_does_not_tell_where_its_maker_keeps_the_data(tiny_parts, tmp_path):
    model, tokenizer, method, task = tiny_parts()
    task = dataclasses.replace(task, name="table:/data/anne/secret/train.tsv,/data/anne/secret/dev.tsv")
    folder = save_app(tmp_path / "app", model, tokenizer, method, task)
    assert read_card(folder).task == "table:train.tsv,dev.tsv"
    for file in folder.iterdir():
        assert b"anne" not in file.read_bytes(), file.name


def test_a_method_that_cannot_describe_itself_is_refused(tiny_parts, tmp_path):
    model, tokenizer, _, task = tiny_parts()
    with pytest.raises(UsageError, match="a object cannot be saved as an app; savable methods: head, pet, "):
        save_app(tmp_path / "app", model, tokenizer, object(), task)


def test_a_full_disk_leaves_the_old_app(folder, tiny_parts, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files, "write_json", full)
    with pytest.raises(LabkitError, match="disk is full"):
        save_app(folder, *tiny_parts("pet"))
    monkeypatch.undo()
    assert load_app(folder).card.method["kind"] == "head"
    assert [path.name for path in folder.parent.iterdir()] == ["app"]


# What was altered is refused


def test_one_flipped_bit_is_found(folder):
    path = folder / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=r"model\.safetensors: altered or cut short"):
        load_app(folder)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json"])
def test_every_file_is_checked(folder, name):
    path = folder / name
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match="altered or cut short"):
        load_app(folder)
    path.unlink()
    with pytest.raises(CheckpointError, match="missing"):
        load_app(folder)


class Marker:
    """Leaves a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize(
    "name",
    ["pytorch_model.bin", "model.pkl", "optimizer.pt", "modeling.py", "chat_template.jinja", "adapter_config.json"],
)
def test_a_file_that_was_not_saved_is_refused(folder, tmp_path, name):
    marker = tmp_path / "ran"
    (folder / name).write_bytes(pickle.dumps(Marker(marker)))
    with pytest.raises(CheckpointError, match=f"{name}: not part of the folder"):
        load_app(folder)
    assert not marker.exists()


def test_pickle_alone_is_not_read_even_if_listed(folder, tmp_path):
    marker = tmp_path / "ran"
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Marker(marker)))
    relist(folder)
    with pytest.raises(CheckpointError):
        load_app(folder)
    assert not marker.exists()


def relist(folder):
    """What someone does who spoils an app and knows of the manifest."""
    names = [path.name for path in folder.iterdir() if path.name not in (CARD, "README.md")]
    spoil_card(folder, files={name: files.sha256(folder / name) for name in names})


def test_code_and_templates_in_sidecars_are_not_run(folder, tmp_path):
    marker = tmp_path / "ran"
    (folder / "evil.py").write_text(f"open({str(marker)!r}, 'w')\nclass Evil: ...\n", encoding="utf-8")
    template = "{{ lipsum.__globals__['os'].system('touch " + str(marker) + "') }}"
    for name in ("config.json", "tokenizer_config.json"):
        values = json.loads((folder / name).read_text(encoding="utf-8"))
        values |= {
            "auto_map": {"AutoConfig": "evil.Evil", "AutoModel": "evil.Evil", "AutoTokenizer": ["evil.Evil", None]}
        }
        (folder / name).write_text(json.dumps({**values, "chat_template": template}), encoding="utf-8")
    relist(folder)
    try:
        load_app(folder).predict(TEXTS)
    except CheckpointError:
        pass  # refused is as good as ignored
    assert not marker.exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 2}, "format 2, this labkit reads 1"),
        ({"format": None}, "format None"),
        ({"architecture": "Trainer"}, "'Trainer' is not a model of transformers"),
        ({"architecture": "../evil"}, "is not a model of transformers"),
        ({"method": {"kind": "pte"}}, "did you mean 'pet'?"),
        ({"quantised": "int3"}, "quantised as 'int3'"),
        ({"lables": []}, "did you mean 'labels'?"),
        ({"labels": "ab"}, "'labels' must be"),
        ({"files": {"../../secret": "0"}}, "is not the name of a file in this folder"),
    ],
)
def test_a_wrong_card_is_named(folder, changes, message):
    spoil_card(folder, **changes)
    with pytest.raises(CheckpointError, match=message.replace("?", r"\?")):
        load_app(folder)


@pytest.mark.parametrize("name", ["labels", "method", "fields"])
def test_a_card_that_was_altered_is_refused(folder, name):
    """Labels in another order, or another word in the pattern, would be wrong answers that nobody notices."""
    card = json.loads((folder / CARD).read_text(encoding="utf-8"))
    value = card[name]
    card[name] = {**value, "max_length": 5} if name == "method" else [*value[1:], value[0] + " "]
    (folder / CARD).write_text(json.dumps(card), encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"labkit.json: altered since it was written; .* delete 'seal' in it"):
        load_app(folder)


@pytest.mark.parametrize("changes", [{"labels": ["a", "b", "c"]}, {"method": {"kind": "head", "fields": []}}])
def test_an_app_that_cannot_answer_is_refused_when_it_is_loaded(folder, changes):
    spoil_card(folder, **changes)
    with pytest.raises(LabkitError):
        load_app(folder)


@pytest.mark.parametrize("quantised", [None, "int8"])
def test_a_configuration_beyond_its_weights_is_not_built(tiny_parts, tmp_path, quantised):
    model, tokenizer, method, task = tiny_parts()
    folder = save_app(tmp_path / "app", int8.apply(model) if quantised else model, tokenizer, method, task)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 10**9}), encoding="utf-8")
    relist(folder)
    with pytest.raises(CheckpointError, match=r"config.json: num_hidden_layers = 1e\+09, but the weights have"):
        load_app(folder)


@pytest.mark.parametrize("content", ["", "{", "[]", pytest.param("[" * 100_000, id="deep"), '{"format": 1}', "\x00"])
def test_a_broken_card_is_named(folder, content):
    (folder / CARD).write_text(content, encoding="utf-8")
    with pytest.raises(CheckpointError, match=CARD):
        load_app(folder)


def test_a_folder_that_is_no_app_is_named(tmp_path):
    with pytest.raises(CheckpointError, match="not an app; `labkit train` and `labkit pipeline` make one"):
        load_app(tmp_path)
    with pytest.raises(CheckpointError, match="not an app"):
        load_app(tmp_path / "nowhere")


def test_weights_of_another_shape_are_refused(folder):
    tensors = load_file(folder / "model.safetensors")
    name = next(name for name, value in tensors.items() if value.ndim == 2)
    save_file({**tensors, name: tensors[name][:1].clone()}, folder / "model.safetensors", metadata={"format": "pt"})
    relist(folder)
    with pytest.raises(CheckpointError):
        load_app(folder)


def test_missing_weights_are_not_made_up(folder):
    tensors = load_file(folder / "model.safetensors")
    tensors.pop(next(name for name in tensors if "encoder" in name))
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    relist(folder)
    with pytest.raises(CheckpointError, match="weights"):
        load_app(folder)


# Whole files


@pytest.mark.parametrize("ending", ["tsv", "csv"])
def test_a_table_is_labelled_row_by_row(app, tmp_path, ending):
    cut = "\t" if ending == "tsv" else ","
    source, target = tmp_path / f"in.{ending}", tmp_path / f"out.{ending}"
    source.write_text(f"id{cut}text\n" + "".join(f"{n}{cut}{text}\n" for n, text in enumerate(TEXTS)), encoding="utf-8")
    assert predict_table(app, source, target) == len(TEXTS)
    with open(target, encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream, delimiter=cut))
    assert [row["text"] for row in rows] == TEXTS
    assert [row["id"] for row in rows] == ["0", "1", "2", "3"]
    answers = app.predict(TEXTS)
    assert [row["predictions"] for row in rows] == [answer["label"] for answer in answers]
    for row, answer in zip(rows, answers, strict=True):
        found = [float(value) for value in row["probabilities"].split(",")]
        assert found == pytest.approx(list(answer["probabilities"].values()), abs=1e-5)


def test_an_app_whose_weights_are_no_numbers_answers_nothing(tiny_app, tmp_path):
    broken = load_app(tiny_app)
    with torch.no_grad():
        next(broken.model.parameters())[:] = float("nan")
    with pytest.raises(TrainingError, match="row 1: the model's answer is no number"):
        broken.predict(TEXTS)
    (tmp_path / "in.txt").write_text("the film was good\n", encoding="utf-8")
    with pytest.raises(TrainingError, match="no number"):
        predict_table(broken, tmp_path / "in.txt", tmp_path / "out.tsv")
    assert not (tmp_path / "out.tsv").exists()


def test_a_text_file_is_labelled_line_by_line(app, tmp_path):
    (tmp_path / "in.txt").write_text("the film was good\n\na dull film\n", encoding="utf-8")
    assert predict_table(app, tmp_path / "in.txt", tmp_path / "out.tsv") == 3
    assert (
        (tmp_path / "out.tsv")
        .read_text(encoding="utf-8")
        .startswith("text\tpredictions\tprobabilities\nthe film was good\t")
    )


def test_formulas_in_the_input_are_harmless_in_the_output(app, tmp_path):
    (tmp_path / "in.txt").write_text("=1+1\n-5\n@sum\n", encoding="utf-8")
    for ending, cut in (("csv", ","), ("tsv", "\t")):
        predict_table(app, tmp_path / "in.txt", tmp_path / f"out.{ending}")
        with open(tmp_path / f"out.{ending}", encoding="utf-8", newline="") as stream:
            assert [row["text"] for row in csv.DictReader(stream, delimiter=cut)] == ["'=1+1", "-5", "'@sum"]


@pytest.mark.parametrize(
    ("name", "content", "target", "error", "message"),
    [
        ("in.tsv", b"id\twords\n1\ta\n", "out.tsv", DataError, "no column 'text'; it has id, words"),
        ("in.tsv", b"text\tid\na\n", "out.tsv", DataError, "line 2: 1 fields, 2 expected"),
        ("in.tsv", b"text\n\xff\xfe\n", "out.tsv", DataError, "not UTF-8"),
        ("in.tsv", b"", "out.tsv", DataError, "the table is empty"),
        ("in.txt", b"", "out.tsv", DataError, "the file is empty"),
        ("in.tsv", b"text\tpredictions\na\tb\n", "out.tsv", UsageError, "has a column 'predictions' already"),
        ("in.tsv", b"text\na\n", "out.json", UsageError, "name the output .tsv, .csv or .jsonl"),
        ("in.json", b"{}", "out.tsv", UsageError, "in.json"),
    ],
)
def test_a_wrong_file_is_named_and_nothing_is_written(app, tmp_path, name, content, target, error, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(error, match=message):
        predict_table(app, tmp_path / name, tmp_path / target)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_the_input_and_the_app_itself_are_not_written_over(app, folder, tmp_path):
    source = tmp_path / "in.tsv"
    source.write_text("text\na film\n")
    (tmp_path / "link.tsv").symlink_to(source)
    for target in (source, tmp_path / "link.tsv"):
        with pytest.raises(UsageError, match="is the input itself, which would be lost"):
            predict_table(app, source, target)
    for target in (folder / "out.tsv", folder / "deeper" / "out.csv"):
        with pytest.raises(UsageError, match="app is a saved app, which one file more would break: write elsewhere"):
            predict_table(app, source, target)
    assert source.read_text() == "text\na film\n"
    load_app(folder)  # as whole as before


def test_training_into_an_app_is_refused_before_it_begins(folder, capsys):
    from labkit.cli import main

    assert main(["train", "--out", str(folder), "--model", "no-such-model"]) == 2
    assert "is a saved app" in capsys.readouterr().err
    load_app(folder)


@pytest.mark.parametrize("kind", ["head", "pet"])
def test_half_an_emoji_is_named_by_its_row(tiny_parts, tmp_path, kind):
    model, tokenizer, method, task = tiny_parts(kind)
    half = "good \ud83d"
    with pytest.raises(DataError, match=r"row \d of the batch.*half of one"):
        evaluation.predict(model, method, [{"text": "a film"}, {"text": half}])
    with pytest.raises(DataError, match="text 2: character 6, .* is half of one"):
        tokenize_corpus(["a film", half], tokenizer, 16)
    with pytest.raises(DataError, match="half of one"):
        Verbalizer({"negative": ("bad",), "positive": (half,)}, tokenizer)
    app = load_app(save_app(tmp_path / "app", model, tokenizer, method, task))
    with pytest.raises(DataError, match="input 2: field 'text': character 6, .* is half of one"):
        app.predict(["a film", half])
    assert app.predict("😀")[0]["label"] in ("negative", "positive")


def test_an_app_that_a_killed_writer_moved_away_is_found(folder):
    folder.rename(folder.with_name(".app.labkit-0a1b2c3d.old"))
    assert load_app(folder).card.labels == ("negative", "positive")


def test_a_missing_file_and_a_folder_are_named(app, tmp_path):
    with pytest.raises(DataError, match="none.tsv"):
        predict_table(app, tmp_path / "none.tsv", tmp_path / "out.tsv")
    (tmp_path / "folder.tsv").mkdir()
    with pytest.raises(DataError, match="folder.tsv"):
        predict_table(app, tmp_path / "folder.tsv", tmp_path / "out.tsv")


def test_the_command_line_labels_a_file(tiny_app, tmp_path, capsys):
    from labkit.cli import main

    (tmp_path / "in.txt").write_text("the film was good\n", encoding="utf-8")
    command = [
        "predict",
        str(tiny_app),
        "--input",
        str(tmp_path / "in.txt"),
        "--output",
        str(tmp_path / "out.csv"),
        "--json",
    ]
    assert main(command) == 0
    assert json.loads(capsys.readouterr().out) == [{"rows": 1, "output": str(tmp_path / "out.csv")}]
    assert main(["predict", str(tmp_path), *command[2:]]) == 1
    assert "not an app" in capsys.readouterr().err
