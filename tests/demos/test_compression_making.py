"""The models of the compression demo: made by their lines, kept, made again where damaged; and answers as shown."""

from __future__ import annotations

import dataclasses
import re
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from labkit import files
from labkit.compression import exporting
from labkit.compression.compose import Material, compress, parse
from labkit.compression.distill import join_teacher, teacher_logits
from labkit.compression.pruning import sparsity_of
from labkit.demos.compression import making, showing
from labkit.demos.compression.making import TEACHER, TURNS, Answer, Workshop, ask, cache, lines_for
from labkit.demos.compression.page import on_compare, read
from labkit.demos.compression.showing import HEADS, ORDERS
from labkit.errors import LabkitError, UsageError
from labkit.evaluation import predict
from labkit.zoo import load
from tests.demos.compressions import TEXTS, short, tiny, workshop

MARKUP = "<img src=x onerror=window.hit=1>"
TEXT = "the film was good ."


@pytest.fixture(autouse=True)
def cached(tmp_path_factory, monkeypatch):
    """The same cache for all tests of this file; `fresh` gives an empty one."""
    folder = tmp_path_factory.getbasetemp() / "compressions"
    monkeypatch.setenv("LABKIT_CACHE", str(folder))


@pytest.fixture
def fresh(tmp_path, monkeypatch, cached):
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path))


def models_of(parts):
    work = workshop(parts)
    return work.models(short(work.base.model))


@pytest.fixture
def models(tiny_parts):
    return models_of(tiny_parts)


def answers_of(made):
    return predict(made.app.model, made.app.method, [{"text": text} for text, _ in TEXTS])


def named(models, name):
    return next(one for one in models if one.name == name)


def folder_of(parts, made):
    return cache() / making.fingerprint(workshop(parts).origin, made.line)


def text_of(html):
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", html)).strip()


def test_every_model_is_what_its_whole_line_makes_of_the_teacher(models, tiny_parts):
    """In `_make` a line goes on where a shorter one ended, from its file."""
    work, teacher = workshop(tiny_parts), models[0].app
    rows = join_teacher(work.rows, teacher_logits(teacher.model, work.method, work.rows))
    assert len(models) == 7 and [one.name for one in models] == list(lines_for(work.base.model))
    for made in models[1:]:
        material = Material(work.method, rows, lr=making.RATE, batch_size=making.BATCH)
        whole = compress(teacher.model, parse(made.line), material).model
        asked = [{"text": text} for text, _ in TEXTS]
        np.testing.assert_array_equal(predict(whole, work.method, asked), answers_of(made))


def test_the_models_have_the_forms_and_costs_that_their_names_promise(models, tiny_parts):
    forms = {one.name: exporting.form_of(one.app.model) for one in models}
    assert [name for name, form in forms.items() if form == "int8"] == ["Teacher in int8", "Small in int8"]
    assert [name for name, form in forms.items() if form == "ternary"] == ["Small, ternary"]
    small, zeros = named(models, "Small student"), named(models, "Small, half its weights 0")
    assert sparsity_of(zeros.app.model.bert.encoder) == pytest.approx(0.5, abs=0.02)
    assert sparsity_of(small.app.model.bert.encoder) < 0.02
    assert len(named(models, "Half the layers").app.model.bert.encoder.layer) == 1
    assert small.app.model.config.hidden_size == 16 and small.parameters < models[0].parameters / 2
    for one in models:
        assert one.bytes == sum(file.stat().st_size for file in folder_of(tiny_parts, one).glob("*.safetensors"))
        assert one.parameters == (models[0] if "Teacher" in one.name else one).parameters
    assert named(models, "Small in int8").bytes < small.bytes
    assert abs(zeros.bytes - small.bytes) < 200  # zeros are numbers like others


def test_scores_are_those_of_the_test_split(models, tiny_parts):
    test = tiny(tiny_parts)[1].splits["test"]
    labels = [row["label"] for row in test]
    found = {one.name: predict(one.app.model, one.app.method, test).argmax(1) for one in models}
    for one in models:
        facts = one.app.card.metrics
        assert facts["accuracy"] == pytest.approx(np.mean(found[one.name] == labels))
        assert facts["agreement"] == pytest.approx(np.mean(found[one.name] == found[TEACHER]))
        assert facts["rows"] == len(test) and facts["seconds"] >= 0


def test_the_second_start_makes_nothing(models, tiny_parts, monkeypatch, capsys):
    before = [answers_of(one) for one in models]
    monkeypatch.setattr(Workshop, "_make", None)  # so that making would fail
    again = models_of(tiny_parts)
    assert capsys.readouterr().err == ""
    for one, wanted in zip(again, before, strict=True):
        np.testing.assert_array_equal(answers_of(one), wanted)


def cut(folder):
    weights = next(folder.glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-100])


def flip(folder):
    weights = next(folder.glob("*.safetensors"))
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)


def empty(folder):
    for file in folder.iterdir():
        file.unlink()


def half(folder):
    (folder / "labkit.json").unlink()
    (folder / "config.json").unlink()


def other(folder):
    shutil.rmtree(folder)
    folder.mkdir()
    (folder / "strange.bin").write_text("x")


@pytest.mark.parametrize("damage", [cut, flip, empty, half, other, shutil.rmtree])
@pytest.mark.parametrize("which", [0, 3])
def test_what_is_damaged_or_half_written_is_made_again_and_nothing_else(damage, which, models, tiny_parts, monkeypatch):
    before, line = [answers_of(one) for one in models], models[which].line
    made = []
    make = Workshop._make
    monkeypatch.setattr(Workshop, "_make", lambda self, folder, line: made.append(line) or make(self, folder, line))
    work = workshop(tiny_parts)
    damage(folder_of(tiny_parts, models[which]))
    for one, wanted in zip(work.models(short(work.base.model)), before, strict=True):
        np.testing.assert_array_equal(answers_of(one), wanted)
    assert made == [line]


def test_a_start_that_was_stopped_goes_on(tiny_parts, fresh, monkeypatch):
    work, make, made = workshop(tiny_parts), Workshop._make, []

    def stopping(self, folder, line):
        if len(made) == 2:
            raise KeyboardInterrupt
        made.append(line)
        return make(self, folder, line)

    monkeypatch.setattr(Workshop, "_make", stopping)
    with pytest.raises(KeyboardInterrupt):
        work.models(short(work.base.model))
    monkeypatch.setattr(Workshop, "_make", lambda self, folder, line: made.append(line) or make(self, folder, line))
    assert [one.line for one in models_of(tiny_parts)] == made


def test_progress_is_told_once_a_model(tiny_parts, fresh, capsys):
    models = models_of(tiny_parts)
    told = capsys.readouterr().err.splitlines()
    assert told[0] == "labkit: making model 1 of 7 (once; all take a minute or two): Teacher (fine-tuned)"
    assert [line.split("(")[-1] for line in told[1:]] == [f"{one.line})" for one in models[1:]]


def test_other_makings_are_kept_elsewhere(tiny_parts, monkeypatch):
    (base, task), origins = tiny(tiny_parts), []
    for change in (
        {}, {"steps": 4}, {"task": dataclasses.replace(task, labels=("no", "yes"))},
        {"task": dataclasses.replace(task, splits={**task.splits, "train": task.splits["train"][1:]})},
        {"task": dataclasses.replace(task, splits={**task.splits, "test": task.splits["test"][1:]})},
        {"task": dataclasses.replace(task, splits={**task.splits, "unlabelled": []})},
    ):  # fmt: skip
        origins.append(Workshop(**{"base": base, "task": task, "steps": 3} | change).origin)
    with torch.no_grad():
        next(base.model.parameters()).add_(1)
    origins.append(Workshop(base, task, 3).origin)
    monkeypatch.setattr(making, "RATE", 1e-2)
    origins.append(Workshop(base, task, 3).origin)
    assert len(set(origins)) == len(origins)
    assert workshop(tiny_parts).origin != origins[0]  # of the rate
    monkeypatch.undo()
    assert workshop(tiny_parts).origin == origins[0]


def test_a_cache_that_cannot_be_written_is_one_sentence(tiny_parts, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path / "file"))
    with pytest.raises(LabkitError, match="a folder was expected|stands where a folder is needed"):
        models_of(tiny_parts)
    assert files.cache_folder() == tmp_path / "file"


@pytest.mark.parametrize("name", ["mini-bert-en", "micro-bert-en", "mini-bert-zh"])
def test_the_lines_fit_the_courses_models(name):
    model = load(name, head=None).model
    for line in lines_for(model).values():
        for one in parse(line):
            if hasattr(one, "hidden"):
                assert one.hidden % model.config.num_attention_heads == 0
                assert 0 < one.hidden <= model.config.hidden_size / 2
            if type(one).__name__ == "DropLayers":
                assert one.layers == model.config.num_hidden_layers // 2


# Asking


def test_models_are_timed_in_turns_and_answer_as_they_are(models, monkeypatch):
    asked, clock = [], iter(range(1000))

    def latency(model, method, rows, **options):
        asked.append((model, rows, options["repeats"], options["warm_up"]))
        return float(next(clock))

    monkeypatch.setattr(making.measure, "latency", latency)
    found = ask(models, TEXT)
    own = [one.app.model for one in models]
    assert [model for model, *_ in asked] == own * TURNS  # one after the other, not one many times
    assert {(rows[0]["text"], repeats) for _, rows, repeats, _ in asked} == {(TEXT, 1)}
    assert [warm for *_, warm in asked] == [1] * len(own) + [0] * len(own) * (TURNS - 1)
    middle = TURNS // 2 * len(own)
    assert [one.milliseconds for one in found] == [middle + number for number in range(len(own))]
    for one in found:
        rows = predict(one.made.app.model, one.made.app.method, [{"text": TEXT}])
        np.testing.assert_array_equal(one.probabilities, rows[0])


BAD = [
    ("", "type a text first"),
    ("  \n ", "type a text first"),
    (None, "type a text first"),
    (3, "type a text first"),
    ("a" * 601, "601 characters: at most 600 are read"),
    ("a " * 127, "129 tokens: the models read at most 128; shorten the text"),
    ("half \ud83d", "is half of one"),
    ("!!! ... 12 😀", "there is no word in it: type a sentence of a review"),
]


@pytest.mark.parametrize(("text", "said"), BAD)
def test_texts_that_cannot_be_asked_are_one_sentence(text, said, models):
    with pytest.raises(LabkitError) as error:
        on_compare(models, text, "file")
    assert said in str(error.value) and "\n" not in str(error.value)


def test_an_order_that_is_none_is_refused(models):
    with pytest.raises(UsageError, match="unknown order 'tiem': did you mean 'time'"):
        on_compare(models, TEXT, "tiem")


def test_lines_become_one_and_a_text_at_the_limit_is_read(models):
    assert read(" the film\n\twas  good . ", models) == TEXT
    assert read("a " * 126, models)  # 128 tokens with [CLS] and [SEP]
    assert read("这部电影", models)


@pytest.mark.parametrize("text", [MARKUP, "汤 soup شوربة", "[SEP] [CLS] [MASK]", "a\x00b", "{{text}} $x$"])
def test_strange_texts_are_answered_and_shown_as_they_are(text, models):
    html = on_compare(models, text, "file")
    assert "<img" not in html and html.count('<td data-name="Model">') == 7


# Showing: by hand


def by_hand():
    """Teacher (positive, 0.9; 2 ms; 1 MB; 100 weights), one that agrees, one that does not."""
    app = SimpleNamespace(tokenizer=SimpleNamespace(is_fast=False))

    def one(name, line, share, ms, size, weights, right, agreement):
        metrics = {"accuracy": right, "agreement": agreement, "rows": 900, "seconds": 2.0}
        card = SimpleNamespace(labels=("negative", "positive"), metrics=metrics)
        own = SimpleNamespace(**{**vars(app), "card": card})
        made = SimpleNamespace(name=name, line=line, app=own, bytes=size, parameters=weights)
        return Answer(made, np.array([1 - share, share]), ms)

    return [
        one(TEACHER, "", 0.9, 2.0, 1_000_000, 100, 0.9, 1.0),
        one("Half", "droplayers:2", 0.6, 3.0, 500_000, 50, 0.8, 0.87),
        one("Small", "shrink:1,80", 0.01, 0.5, 250_000, 25, 0.85, 0.7),
    ]


def rows_of(html):
    return [[text_of(cell) for cell in re.findall(r"<td[^>]*>(.*?)</td>", row)]
            for row in re.findall(r"<tr class.*?</tr>", html)]  # fmt: skip


def test_the_table_by_hand():
    html = showing.compared(by_hand(), TEXT, "file")
    assert rows_of(html) == [
        ["Teacher fine-tuned on labelled reviews", "positive 90 %", "–", "2.00 ms", "1.00 MB", "100", "90.0 % of 900"],
        ["Half droplayers:2", "positive 60 %", "✓ same 87 % of 900", "3.00 ms 150 %", "0.50 MB 50 %", "50 50 %",
         "80.0 % of 900"],
        ["Small shrink:1,80", "negative 99 %", "✗ other 70 % of 900", "0.50 ms 25 %", "0.25 MB 25 %", "25 25 %",
         "85.0 % of 900"],
    ]  # fmt: skip
    assert "The teacher says positive ; 1 of the 2 others say so too." in text_of(html)
    assert "Of 900: reviews" in html and "about 1.0 points" in html
    assert re.findall(r"width:([\d.]+)%;background:(#\w+)", html) == [
        ("90.0", "#D55E00"), ("60.0", "#D55E00"), ("99.0", "#0072B2"),
    ]  # fmt: skip
    assert html.count("data-name") == 3 * len(HEADS)


@pytest.mark.parametrize(
    ("order", "names"),
    [
        ("file", ["Teacher", "Half", "Small"]),
        ("time", ["Half", "Teacher", "Small"]),
        ("right answers", ["Teacher", "Small", "Half"]),
        ("how sure", ["Small", "Teacher", "Half"]),
    ],
)
def test_sorted_as_asked(order, names):
    assert list(ORDERS) == ["file", "time", "right answers", "how sure"]
    for answers in (by_hand(), by_hand()[::-1]):
        shown = rows_of(showing.compared(answers, TEXT, order))
        assert [row[0].split()[0] for row in shown] == names


def test_where_the_models_came_from_is_said(tmp_path):
    said = text_of(showing.origin([one.made for one in by_hand()], tmp_path / "a&b"))
    assert said.startswith("These 3 models were made on this machine in 6 s, once, and are kept in")
    assert "a&amp;b" in said
