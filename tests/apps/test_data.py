"""Tables of every kind of answer as tasks, and what is said of cells that hold none."""

from __future__ import annotations

import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as some

from labkit.apps.application import EXAMPLE
from labkit.apps.catalogue import APPLICATIONS
from labkit.apps.request import Columns, parse_labels, read_task
from labkit.cli import main
from labkit.errors import DataError, LabkitError, UsageError
from labkit.tasks import Task
from labkit.tasks.rows import text_key
from labkit.tasks.task import ANSWERS

SCHEMA = "text:str:1,label:str:1"


def table(folder, *lines, name="train.tsv"):
    path = folder / name
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


def test_tags_are_one_a_word_and_o_is_the_first(tmp_path):
    task = read_task(table(tmp_path, "to  oslo please\tO B-city O", "rome\tB-city"), "tags", Columns(schema=SCHEMA))
    assert task.labels == ("O", "B-city") and task.answer == "tags"
    assert task.splits["train"][0] == {"text": "to oslo please", "label": [0, 1, 0]}


def test_classes_are_parted_by_commas_and_may_be_none(tmp_path):
    path = table(tmp_path, "a\tred, blue", "b\t", "c\tblue,blue")
    task = read_task(path, "classes", Columns(schema=SCHEMA))
    assert task.labels == ("blue", "red")
    assert [row["label"] for row in task.splits["train"]] == [[1, 0], [], [0]]


def test_spans_by_place_or_where_they_occur_first(tmp_path):
    schema = "text:str:1,question:str:1,label:str:1,at:str:1"
    path = table(tmp_path, "an ox and an ox\twhat?\tox\t13", "an ox\twho?\t\t", "an ox\twhat?\tox\t")
    task = read_task(path, "span", Columns(schema=schema, fields=("text", "question"), start="at"))
    spans = [row["label"] for row in task.splits["train"]]
    assert spans == [{"text": "ox", "start": 13}, {"text": "", "start": -1}, {"text": "ox", "start": 3}]
    assert task.fields == ("text_a", "text_b")


def test_texts_and_nothing(tmp_path):
    path = table(tmp_path, "long\tshort")
    assert read_task(path, "text", Columns(schema=SCHEMA)).splits["train"] == [{"text": "long", "label": "short"}]
    bare = read_task(path, None, Columns(schema=SCHEMA)).splits["train"]
    assert bare == [{"text": "long", "label": None}]


@pytest.mark.parametrize(
    ("answer", "line", "message"),
    [
        ("tags", "a b\tO", "line 1, field 'label': 1 labels for 2 words"),
        ("tags", "a\tB-x", "line 1, field 'label': unknown label 'B-x'"),
        ("classes", "a\tred,blu", "unknown label 'blu': did you mean 'blue'"),
        ("class", "a\tgreen", "unknown label 'green'"),
        ("span", "a b\tc", "'c' does not stand in the text"),
    ],
)
def test_a_bad_cell_is_named(tmp_path, answer, line, message):
    labels = {"tags": ("O", "I"), "classes": ("red", "blue"), "class": ("red", "blue")}.get(answer)
    with pytest.raises(DataError, match=message):
        read_task(table(tmp_path, line), answer, Columns(schema=SCHEMA, labels=labels))


def test_a_place_that_is_no_number_is_named(tmp_path):
    schema = "text:str:1,label:str:1,start:str:1"
    with pytest.raises(DataError, match="line 1, field 'label': its place must be a whole number, not 'two'"):
        read_task(table(tmp_path, "an ox\tox\ttwo"), "span", Columns(schema=schema))


def test_label_names_are_refused_where_there_are_none(tmp_path):
    with pytest.raises(UsageError, match="label names are of classes and tags; the answers here are text"):
        read_task(table(tmp_path, "a\tb"), "text", Columns(schema=SCHEMA, labels=("a", "b")))


@pytest.mark.parametrize("name", ["train.tsv.gz", "train.jsonl"])
def test_packed_tables_and_json_lines(tmp_path, name):
    objects = '{"text": "a", "label": "x"}\n{"text": "b", "label": "y"}\n'
    text = objects if "json" in name else "text\tlabel\na\tx\nb\ty\n"
    (tmp_path / name).write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    assert read_task(str(tmp_path / name), "class", Columns()).labels == ("x", "y")


def test_a_task_of_another_kind_is_refused():
    with pytest.raises(UsageError, match="its answers are of the kind 'class', 'tags' is needed"):
        read_task("world/reviews", "tags", Columns())


def test_labels_of_a_list_or_a_file(tmp_path):
    (tmp_path / "names").write_text("bad\ngood\n", encoding="utf-8")
    assert parse_labels("bad, good") == parse_labels(str(tmp_path / "names")) == ("bad", "good")
    for text in ("bad", "bad,bad", ""):
        with pytest.raises(UsageError, match="name two or more, each once"):
            parse_labels(text)


WORDS = some.text(alphabet="abé很 ", min_size=1, max_size=12).filter(str.strip)


LABELS = some.one_of(
    some.lists(some.integers(-1, 3) | some.booleans() | some.none(), max_size=4),
    some.fixed_dictionaries({"text": some.text(alphabet="abé", max_size=3), "start": some.integers(-2, 12)}),
    some.text(max_size=3),
    some.integers(-1, 3),
)


@given(text=WORDS, label=LABELS, kind=some.sampled_from(ANSWERS))
def test_a_task_takes_the_labels_of_its_kind_and_no_others(text, label, kind):
    def fits():
        if kind == "text":
            return isinstance(label, str)
        if kind == "span":
            found = isinstance(label, dict)
            return found and (not label["text"] if label["start"] == -1 else
                              label["start"] >= 0 and label["text"] and
                              text[label["start"]:].startswith(label["text"]))  # fmt: skip
        values = [label] if kind == "class" else label
        good = isinstance(values, list) and all(type(one) is int and 0 <= one < 3 for one in values)
        if kind == "classes":
            return good and len(set(values)) == len(values)
        return good and (kind == "class" or len(values) == len(text.split(" ")))

    def make():
        return Task("t", ("text",), ("a", "b", "c"), {"train": [{"text": text, "label": label}]}, answer=kind)

    if fits():
        assert make().splits["train"][0]["label"] == label
    else:
        with pytest.raises(DataError, match="field 'label' must be"):
            make()


def test_an_example_is_written_and_read_again(tmp_path, capsys):
    assert main(["apps", "text_match", "--example", str(tmp_path / "data")]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[-1].startswith("labkit train text_match --tables ")
    task = read_task(shown[-1].split()[-1], "class", Columns())
    assert {split: len(rows) for split, rows in task.splits.items()} == {"train": 400, "dev": 100, "test": 100}
    assert main(["apps", "text_match", "--example", str(tmp_path / "data")]) == 2
    assert "is there already" in capsys.readouterr().err


@pytest.mark.parametrize("app", APPLICATIONS.values(), ids=lambda app: app.name)
def test_an_example_is_a_task_of_the_application_with_rows_that_all_differ(app):
    task = app.example()
    assert app.answer in (None, task.answer) and app.texts[0] <= len(task.fields) <= app.texts[1]
    assert all(len(task.splits[split]) >= count for split, count in EXAMPLE.items())
    texts = [text_key(row, task.fields) for split in EXAMPLE for row in task.splits[split]]
    assert len(set(texts)) == len(texts) and task == app.example()


def test_applications_are_listed_and_explained(capsys):
    assert main(["apps"]) == 0 and "text_classify" in capsys.readouterr().out
    assert main(["apps", "text_match"]) == 0 and "text columns: 2" in capsys.readouterr().out
    assert main(["apps", "text_mach"]) == 2 and "did you mean 'text_match'" in capsys.readouterr().err
    with pytest.raises(LabkitError):
        read_task("a.tsv,b.tsv,c.tsv,d.tsv", "tags", Columns())
