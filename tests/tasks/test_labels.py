"""One place decides what a label cell is."""

from __future__ import annotations

import datasets
import pytest

from labkit.errors import DataError
from labkit.tasks import load_task
from labkit.tasks.hub import from_datasets
from labkit.tasks.labels import LabelIndex, label_name


@pytest.mark.parametrize(
    ("cell", "name"),
    [
        ("good", "good"), (" good\t", "good"), ("good\u200b", "good"), ("\ufeffgood", "good"), ("go\u00adod", "good"),
        ("not\u00a0good", "not good"), ("cafe\u0301", "café"), (1, "1"), (1.0, "1"), (2.5, "2.5"), (-1, "-1"),
        (True, "True"), (None, None), ("", None), (" \u200b ", None), (float("nan"), None),
        ("می\u200cخواهم\u200c", "می\u200cخواهم"),
    ],
)  # fmt: skip
def test_what_nobody_sees_is_not_part_of_a_label(cell, name):
    assert label_name(cell) == name


def test_cells_of_one_word_are_one_class_and_it_is_said(tmp_path):
    cells = ["good", "good ", "good\u200b", "Good", "bad", "BAD", "bad", "bad"]
    (tmp_path / "a.tsv").write_text("text\tlabel\n" + "".join(f"t{at}\t{cell}\n" for at, cell in enumerate(cells)))
    task = load_task(f"table:{tmp_path}/a.tsv")
    assert task.labels == ("bad", "good")
    assert [row["label"] for row in task.splits["train"]] == [1, 1, 1, 1, 0, 0, 0, 0]
    assert "2 labels are read in another case: 'Good' as 'good', 'BAD' as 'bad'; labels= keeps them apart" in task.note
    apart = load_task(f"table:{tmp_path}/a.tsv", labels=("bad", "BAD", "good", "Good"))
    assert [row["label"] for row in apart.splits["train"]] == [2, 2, 2, 3, 0, 1, 0, 0] and "case" not in apart.note


def test_an_empty_looking_cell_is_empty_and_a_number_may_be_a_label(tmp_path):
    (tmp_path / "a.tsv").write_text("text\tlabel\na\t1\nb\t \u200b\n")
    with pytest.raises(DataError, match="a.tsv: line 3, field 'label': the label is empty"):
        load_task(f"table:{tmp_path}/a.tsv")
    (tmp_path / "b.tsv").write_text("a\t1\nb\t0\n")
    (tmp_path / "more.tsv").write_text("c\t0\n")
    with pytest.raises(DataError, match="more.tsv: line 1, field 'label': '0' is a label"):
        load_task(f"table:{tmp_path}/b.tsv", schema="text:str:1,label:int:1", unlabelled=f"{tmp_path}/more.tsv")


def rows(labels, start=0):
    return [{"text": f"text {start + at}", "label": label} for at, label in enumerate(labels)]


@pytest.mark.parametrize(
    ("train", "labels", "found", "names"),
    [
        ([-1, 1, -1], None, [0, 1, 0], ("-1", "1")),  # a sentiment of -1 and 1, not a hidden one
        ([-1, 1, -1], {-1: "bad", 1: "good"}, [0, 1, 0], ("bad", "good")),
        ([-1, 1, 0], ("0", "1"), [None, 1, 0], ("0", "1")),
        ([1.0, None, float("nan"), 0.0], None, [1, None, None, 0], ("0", "1")),
    ],
)
def test_minus_one_is_hidden_only_where_nobody_says_that_it_is_a_label(train, labels, found, names):
    task = from_datasets({"train": rows(train), "test": rows([-1, -1], 9)}, fields=("text",), labels=labels)
    assert [row["label"] for row in task.splits["train"]] == found and task.labels == names
    told = "-1" in names or "bad" in names
    assert ("submission" in task.splits) == (not told)
    assert ("-1 is read as a label" in task.note) == ("-1" in names)
    none = found.count(None)
    assert (f"{none} of {len(found)} train rows have no label" in task.note) == bool(none)


def test_a_declared_class_label_hides_minus_one():
    kinds = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])})
    task = load_task(datasets.Dataset.from_dict({"text": ["a", "b", "c"], "label": [1, -1, 0]}, kinds))
    assert [row["label"] for row in task.splits["train"]] == [1, None, 0]
    assert "1 of 3 train rows have no label" in task.note


def test_a_text_that_is_none_and_a_label_that_is_a_list_are_named():
    with pytest.raises(DataError, match="split 'train', row 2: field 'text' must be a text; it holds None"):
        from_datasets([*rows([0]), {"text": None, "label": 1}], fields=("text",))
    with pytest.raises(DataError, match=r"a label is a text or a number, not \[1\]"):
        from_datasets(rows([0, [1]]), fields=("text",))
    with pytest.raises(DataError, match="row 7: unknown label 'god': did you mean 'good'"):
        LabelIndex(["good"]).index("god", "row 7")


def test_the_language_is_read_from_all_over_a_sorted_table(tmp_path):
    texts = ["a film"] * 100 + ["这部电影真好看，我们都很喜欢它"] * 900
    (tmp_path / "a.tsv").write_text("text\tlabel\n" + "".join(f"{text}\t{at % 2}\n" for at, text in enumerate(texts)))
    assert load_task(f"table:{tmp_path}/a.tsv").language == "zh"
