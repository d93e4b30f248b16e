from __future__ import annotations

import json
import shutil
from collections import Counter

import pytest

from labkit.errors import DataError, UsageError
from labkit.tasks import FEWCLUE, load_task

ROWS = {
    "eprstmt": {"id": 1, "sentence": "很好", "label": "Positive"},
    "tnews": {"id": 1, "sentence": "球赛", "keywords": "", "label": 103, "label_desc": "news_sports"},
    "csldcp": {"id": 1, "content": "论文", "label": "数学"},
    "iflytek": {"id": 1, "sentence": "应用", "label": 8, "label_des": "公共交通"},
    "ocnli": {"id": 1, "sentence1": "甲", "sentence2": "乙", "label": "neutral", "level": "easy"},
    "bustm": {"id": 1, "sentence1": "甲", "sentence2": "乙", "label": "1"},
    "csl": {"id": 1, "abst": "摘要", "keyword": ["词", "语"], "label": "1"},
    "chid": {"id": 1, "content": "他#idiom#了", "candidates": list("甲乙丙丁戊己庚"), "answer": 3},
    "cluewsc": {
        "idx": 0, "text": "小马说他来", "label": "true",
        "target": {"span1_text": "小马", "span1_index": 0, "span2_text": "他", "span2_index": 3},
    },
}  # fmt: skip


def write(folder, name, rows):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


@pytest.mark.parametrize("name", FEWCLUE)
def test_every_task_reads_its_shape(tmp_path, name):
    folder = tmp_path / name
    raw = ROWS[name]
    key = "answer" if name == "chid" else "label"
    hidden = {field: value for field, value in raw.items() if field != key}
    write(folder, "train_2.json", [raw])
    write(folder, "dev_2.json", [raw])
    write(folder, "test_public.json", [raw])
    write(folder, "test.json", [hidden])
    write(folder, "unlabeled.json", [hidden])
    task = load_task(f"fewclue:{folder}", split=2)
    row = task.splits["train"][0]
    known = {"tnews": "体育", "iflytek": "公共交通", "chid": "3"}.get(name, raw[key])
    assert task.labels[row["label"]] == known
    assert task.chance == 1 / len(task.labels)
    assert task.splits["submission"][0]["raw"] == hidden
    assert task.splits["submission"][0]["label"] is task.splits["unlabelled"][0]["label"] is None
    assert "raw" not in task.splits["unlabelled"][0]
    assert set(task.words) == set(task.labels)
    for pattern in task.patterns:
        assert "{mask}" in pattern and all(f"{{{field}}}" in pattern for field in task.fields)
        pattern.format(mask="_", **dict.fromkeys(task.fields, "x"))
    assert "1 of 1 test rows also stand in train" in task.note


def test_what_the_pairs_hold(tmp_path):
    for name in ("csl", "chid", "cluewsc"):
        write(tmp_path / name, "train_0.json", [ROWS[name]])
    rows = {name: load_task(f"fewclue:{tmp_path}/{name}").splits["train"][0] for name in ("csl", "chid", "cluewsc")}
    assert rows["csl"] == {"text_a": "摘要", "text_b": "词，语", "id": 1, "label": 1}
    assert rows["chid"]["candidates"] == list("甲乙丙丁戊己庚") and rows["chid"]["text_b"].startswith("0、甲；1、乙")
    assert rows["cluewsc"]["text_b"] == "“他”指的是“小马”"
    assert rows["cluewsc"]["target"]["span1_index"] == 0


def test_undecided_ocnli_rows_are_dropped_and_counted(tmp_path):
    folder = tmp_path / "ocnli"
    write(folder, "train_0.json", [ROWS["ocnli"], {**ROWS["ocnli"], "label": "-"}])
    write(
        folder, "dev_0.json", [{**ROWS["ocnli"], "sentence1": "丙", "label": "-"}, {**ROWS["ocnli"], "sentence1": "丁"}]
    )
    task = load_task(f"fewclue:{folder}")
    assert (len(task.splits["train"]), len(task.splits["dev"])) == (1, 1)
    assert task.note.startswith("missing: test_public.json; 2 rows with label '-'")


def test_labels_are_the_same_for_every_split(tmp_path):
    folder = tmp_path / "iflytek"
    rows = [{**ROWS["iflytek"], "label": code, "label_des": name} for code, name in ((10, "丙"), (9, "乙"), (2, "甲"))]
    for at, row in enumerate(rows):
        write(folder, f"train_{at}.json", [row])
    assert {load_task(f"fewclue:{folder}", split=at).labels for at in range(3)} == {("甲", "乙", "丙")}
    write(folder, "test_public.json", [{**rows[0], "label": 11}])
    assert load_task(f"fewclue:{folder}").labels == ("甲", "乙", "丙 (10)", "丙 (11)")


def test_bad_folders_rows_and_splits(tmp_path):
    folder = tmp_path / "eprstmt"
    with pytest.raises(UsageError, match="unknown FewCLUE task 'eprstm': did you mean 'eprstmt'"):
        load_task(f"fewclue:{tmp_path}/eprstm")
    with pytest.raises(DataError, match="no such folder"):
        load_task(f"fewclue:{folder}")
    write(folder, "train_0.json", [ROWS["eprstmt"]])
    with pytest.raises(UsageError, match="split must be 0, 1"):
        load_task(f"fewclue:{folder}", split=5)
    with pytest.raises(DataError, match=r"train_1\.json: no such file; training splits in this folder: train_0"):
        load_task(f"fewclue:{folder}", split=1)
    for row, message in (
        ({"label": "Positive"}, "line 2: field 'sentence' is missing"),
        ({"sentence": "x"}, "line 2: field 'label' is missing"),
        ({"sentence": 5, "label": "Positive"}, "line 2: field 'text' must be a text"),
        (
            {"sentence": "x", "label": "Postive"},
            "line 2, field 'label': unknown label 'Postive': did you mean 'Positive'",
        ),
    ):
        write(folder, "dev_0.json", [ROWS["eprstmt"], row])
        with pytest.raises(DataError, match=r"dev_0\.json: " + message):
            load_task(f"fewclue:{folder}")


SPANS = {"span1_text": "小马", "span1_index": 0, "span2_text": "他", "span2_index": 3}


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("chid", {"content": "他来了"}, "field 'content' has no gap: write #idiom# where the idiom goes"),
        (
            "chid",
            {"candidates": list("甲乙丙")},
            "field 'candidates' must be a list of 7 idioms, not .'甲', '乙', '丙'",
        ),
        ("chid", {"candidates": "甲乙丙丁戊己庚"}, "field 'candidates' must be a list of 7 idioms, not '甲乙"),
        ("chid", {"answer": 7}, "field 'answer': unknown label '7'"),
        ("cluewsc", {"target": {**SPANS, "span2_index": 1}}, "span2_text '他' does not stand at span2_index 1 of the"),
        ("cluewsc", {"target": {**SPANS, "span1_text": ""}}, "span1_text '' does not stand at span1_index 0"),
        ("cluewsc", {"target": {"span1_text": "小马"}}, "field 'span1_index' is missing"),
        ("cluewsc", {"target": "小马"}, "is missing or of another shape"),
        ("cluewsc", {"target": {**SPANS, "span1_index": "0"}}, "is missing or of another shape"),
        ("csl", {"label": "2"}, "field 'label': unknown label '2'"),
    ],
)
def test_a_row_without_its_gap_candidates_or_spans(tmp_path, name, changes, message):
    write(tmp_path / name, "train_0.json", [ROWS[name], {**ROWS[name], **changes}])
    with pytest.raises(DataError, match=r"train_0\.json: line 2[:,] .*" + message):
        load_task(f"fewclue:{tmp_path}/{name}")


@pytest.mark.parametrize(("file", "label"), [("test.json", "Positive"), ("unlabeled.json", 0)])
def test_a_label_where_none_belongs(tmp_path, file, label):
    folder, bare = tmp_path / "eprstmt", {"id": 1, "sentence": "好"}
    write(folder, "train_0.json", [ROWS["eprstmt"]])
    write(folder, file, [bare, {**bare, "label": label}])
    with pytest.raises(DataError, match=r"line 2: field 'label' gives a label.*remove the field, or move the row"):
        load_task(f"fewclue:{folder}")
    for empty in (None, ""):
        write(folder, file, [{**bare, "label": empty}])
        part = "submission" if file == "test.json" else "unlabelled"
        assert load_task(f"fewclue:{folder}").splits[part][0]["label"] is None


def test_words_come_in_sets_and_stand_for_one_label_each(tmp_path):
    for name, raw in ROWS.items():
        write(tmp_path / name, "train_0.json", [raw])
        words = load_task(f"fewclue:{tmp_path}/{name}").words
        used = [word for some in words.values() for word in some]
        assert len(set(used)) == len(used)
    assert {len(some) for some in load_task(f"fewclue:{tmp_path}/ocnli").words.values()} == {3}


@pytest.mark.real
@pytest.mark.parametrize("split", range(5))
@pytest.mark.parametrize(
    ("name", "test", "submission", "unlabelled"),
    [("eprstmt", 610, 753, 4000), ("tnews", 2010, 1500, 4000), ("bustm", 1772, 2000, 4251), ("ocnli", 1620, 3000, 0)],
)
def test_the_real_files(real_data, name, test, submission, unlabelled, split):
    task = load_task(f"fewclue:{real_data}/fewclue/{name}", split=split)
    sizes = Counter({part: len(rows) for part, rows in task.splits.items()})
    assert (sizes["test"], sizes["submission"], sizes["unlabelled"]) == (test, submission, unlabelled)
    if name == "ocnli":
        lines = (real_data / "fewclue" / name / f"train_{split}.json").read_bytes().count(b"\n")
        assert 10 < sizes["train"] <= lines
    else:
        assert sizes["train"] == sizes["dev"] == (240 if name == "tnews" else 32)


@pytest.mark.real
@pytest.mark.parametrize("name", ["csldcp", "iflytek", "csl", "chid", "cluewsc"])
def test_the_real_samples_of_the_other_tasks(real_data, name):
    task = load_task(f"fewclue:{real_data}/fewclue/{name}")
    assert len(task.splits["train"]) == 20 and "missing: dev_0.json" in task.note


@pytest.mark.real
def test_real_tnews_names_and_shots(real_data, tmp_path):
    task = load_task(f"fewclue:{real_data}/fewclue/tnews")
    assert task.labels[:3] == ("故事", "文化", "娱乐") and len(task.labels) == 15
    shutil.copy(real_data / "fewclue" / "tnews" / "train_0.json", (tmp_path / "tnews").mkdir() or tmp_path / "tnews")
    assert load_task(f"fewclue:{tmp_path}/tnews").labels == task.labels, "the names do not hang on the file beside"
    drawn = task.few_shot(8, seed=0)
    assert len(drawn.splits["train"]) == len(drawn.splits["dev"]) == 120


@pytest.mark.real
@pytest.mark.parametrize(
    ("path", "options", "rows", "fields"),
    [
        ("lmbff_kshot16/SST-2/16-13/train.tsv", {}, 32, 1),
        ("lmbff_kshot16/RTE/16-13/train.tsv", {}, 32, 2),
        ("lmbff_kshot16/MRPC/16-13/train.tsv", {"label": "Quality"}, 32, 2),
        ("lmbff_kshot16/mr/test.csv", {"schema": "label:str:1,text:str:1"}, 2000, 1),
        ("lmbff_kshot16/trec/test.csv", {"schema": "label:str:1,text:str:1"}, 500, 1),
        ("mrpc/msr-para-train.tsv", {"label": "Quality"}, 3576, 2),
        ("trecqa_wang/dev.csv", {}, 1148, 2),
    ],
)
def test_real_tables(real_data, path, options, rows, fields):
    task = load_task(f"table:{real_data / path}", **options)
    assert (len(task.splits["train"]), len(task.fields)) == (rows, fields)
    assert all(all(row[field].strip() for field in task.fields) for row in task.splits["train"])


@pytest.mark.real
def test_real_sst2_with_dev_and_test(real_data):
    folder = real_data / "lmbff_kshot16" / "SST-2"
    task = load_task(f"table:{folder}/16-13/train.tsv,{folder}/16-13/dev.tsv,{folder}/test.tsv")
    assert {split: len(rows) for split, rows in task.splits.items()} == {"train": 32, "dev": 32, "test": 872}
    drawn = task.few_shot(16, seed=1)
    assert len(drawn.splits["dev"]) == 32 and "test rows too" not in drawn.note


@pytest.mark.real
def test_real_latin1_is_named_and_read(real_data, tmp_path):
    lines = (real_data / "mr" / "rt-polarity.all").read_bytes().split(b"\n")
    path = tmp_path / "mr.tsv"
    path.write_bytes(b"".join(line.replace(b" ", b"\t", 1) + b"\n" for line in lines if line))
    with pytest.raises(DataError, match="it looks like cp1252"):
        load_task(f"table:{path}", schema="label:str:1,text:str:1")
    task = load_task(f"table:{path}", schema="label:str:1,text:str:1", encoding="cp1252")
    assert len(task.splits["train"]) == 10662 and task.labels == ("0", "1")
