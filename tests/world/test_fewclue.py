"""Micro-FewCLUE: files like the real ones, read back unchanged, the same bytes wherever they are written."""

import functools
import json
from collections import Counter

import pytest

from labkit.errors import UsageError
from labkit.tasks import Task, load_task
from labkit.world import World
from labkit.world.fewclue import NAMES, TASKS, TNEWS_CODES, TNEWS_NAMES, encode, write_fewclue


def read(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def shape(value):
    """What a value is made of: types, and the keys of dictionaries; lists by their first item."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items()}
    return [shape(value[0])] if isinstance(value, list) else type(value).__name__


@functools.cache
def task(name):
    return Task(name=f"world/fewclue/{name}", **TASKS[f"fewclue/{name}"](World()))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("fewclue")
    assert write_fewclue(made) == {name: made / name for name in NAMES}
    return made


def content(row):
    return json.dumps({key: value for key, value in row.items() if key not in ("id", "idx", "prem_id")}, sort_keys=True)


@pytest.mark.parametrize("name", NAMES)
def test_files_are_complete_disjoint_and_as_large_as_the_real_ones(folder, name):
    files = {path.stem: read(path) for path in (folder / name).glob("*.json")}
    wanted = {f"{part}_{seed}" for part in ("train", "dev") for seed in (0, 1, 2, 3, 4, "few_all")}
    wanted |= {"test_public", "test", "unlabeled"} | ({"label_index2en2zh"} if name == "tnews" else set())
    assert set(files) == wanted
    size = {"tnews": 240, "csldcp": 8 * 34, "iflytek": 8 * 36, "chid": 42}.get(name, 32)
    key = "answer" if name == "chid" else "label"
    for seed in range(5):
        for part in ("train", "dev"):
            rows = files[f"{part}_{seed}"]
            counts = Counter(row[key] for row in rows)
            assert len(rows) == size and max(counts.values()) - min(counts.values()) <= 1
    train, dev = ({content(row) for row in files[f"{part}_few_all"]} for part in ("train", "dev"))
    assert train == {content(row) for seed in range(5) for row in files[f"train_{seed}"]}
    text = {"csldcp": "content", "chid": "content", "csl": "abst", "cluewsc": "text"}.get(name, "sentence")
    texts = [
        {(row.get("sentence1", row.get(text)), row.get("sentence2"), str(row.get("candidates"))) for row in files[part]}
        for part in ("train_few_all", "dev_few_all", "test_public", "test", "unlabeled")
    ]
    assert sum(map(len, texts)) == len(set.union(*texts))
    assert train and dev and len(files["test_public"]) == 1000
    assert all(key not in row for part in ("test", "unlabeled") for row in files[part])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("split", [0, 4, "few_all"])
def test_the_loader_reads_back_the_same_rows(folder, name, split):
    loaded = load_task(f"fewclue:{folder / name}", split=split)
    made = task(name)
    assert loaded.fields == made.fields and sorted(loaded.labels) == sorted(made.labels)

    def seen(one, rows):
        labels = [None if row["label"] is None else one.labels[row["label"]] for row in rows]
        return [(tuple(row[field] for field in one.fields), label) for row, label in zip(rows, labels, strict=True)]

    assert seen(loaded, loaded.splits["test"]) == seen(made, made.splits["test"])
    assert set(seen(loaded, loaded.splits["train"])) <= set(seen(made, made.splits["train"]))
    assert set(seen(loaded, loaded.splits["dev"])) <= set(seen(made, made.splits["train"]))
    assert len(loaded.splits["submission"]) == len(made.splits["dev"])
    assert "missing" not in loaded.note and "also stand in train" not in loaded.note


@pytest.mark.parametrize("name", NAMES)
def test_every_task_has_clozes_with_words_for_each_label(name):
    made = task(name)
    assert made.language == "zh" and made.patterns and set(made.words) == set(made.labels)
    assert len(made.few_shot(8, 0).splits["train"]) == 8 * len(made.labels)


@pytest.mark.real
@pytest.mark.parametrize("name", NAMES)
def test_rows_have_the_keys_and_types_of_the_real_ones(folder, real_data, name):
    real = real_data / "fewclue" / name
    compared = 0
    for path in sorted(real.glob("*.json")):
        ours = folder / name / (path.stem.replace("unlabeled_sample4000", "unlabeled") + ".json")
        first = read(path)[0]
        mine = read(ours)[0]
        if "label0" in first:  # present or null, row by row
            votes = {row["label0"] is None for row in read(path)[:15]}
            assert (mine["label0"] is None) in votes
            first, mine = ({key: value for key, value in row.items() if key[:-1] != "label"} for row in (first, mine))
        assert shape(mine) == shape(first), path.name
        compared += 1
    assert compared


@pytest.mark.real
def test_labels_are_written_as_in_the_real_files(folder, real_data):
    for name in ("eprstmt", "tnews", "ocnli", "bustm", "csl", "cluewsc"):
        real, ours = (read(base / name / "train_0.json") for base in (real_data / "fewclue", folder))
        assert {str(row["label"]) for row in ours} == {str(row["label"]) for row in real}
    table = read(real_data / "fewclue" / "tnews" / "label_index2en2zh.json")
    assert read(folder / "tnews" / "label_index2en2zh.json") == table
    codes = {(row["label"], row["label_desc"]) for row in read(folder / "tnews" / "test_public.json")}
    assert codes == {
        (row["label"], row["label_desc"]) for row in read(real_data / "fewclue" / "tnews" / "test_public.json")
    }


def test_labels_codes_and_votes_by_hand():
    row = {"text_a": "甲", "text_b": "乙", "label": 2}
    names = ("entailment", "neutral", "contradiction")
    plain, voted = encode("ocnli", row, 7, names), encode("ocnli", row, 7, names, votes=True)
    assert plain["label"] == "contradiction" and plain["label3"] is None and voted["label3"] == "contradiction"
    assert encode("ocnli", row | {"label": None}, 7, names) == {"sentence1": "甲", "sentence2": "乙", "id": 7}
    assert dict(zip(TNEWS_CODES, TNEWS_NAMES, strict=True))[110] == "news_military" and 105 not in TNEWS_CODES
    assert encode("bustm", row | {"label": 1}, 3, ("0", "1")) == {
        "id": 3,
        "sentence1": "甲",
        "sentence2": "乙",
        "label": "1",
    }


def test_what_is_there_is_not_overwritten_unless_asked(tmp_path):
    (tmp_path / "csl").mkdir()
    (tmp_path / "csl" / "train_0.json").write_text("precious", encoding="utf-8")
    with pytest.raises(UsageError, match="replace=True"):
        write_fewclue(tmp_path, tasks=["tnews", "csl"])
    assert not (tmp_path / "tnews").exists()
    assert (tmp_path / "csl" / "train_0.json").read_text(encoding="utf-8") == "precious"
    write_fewclue(tmp_path, tasks=["csl"], replace=True)
    assert len(read(tmp_path / "csl" / "train_0.json")) == 32
    with pytest.raises(UsageError, match="did you mean 'tnews'"):
        write_fewclue(tmp_path, tasks=["tnew"])
