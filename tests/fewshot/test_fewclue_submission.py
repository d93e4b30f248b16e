"""The nine-task mean, answer files and their score, against scikit-learn and FewCLUE's own examples of lines."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score

from labkit.errors import DataError, UsageError
from labkit.fewshot.fewclue import (
    PREDICTIONS,
    nine_task_mean,
    read_submission,
    score_submission,
    write_submission,
)
from labkit.tasks import FEWCLUE, load_task
from labkit.tasks.fewclue import label_codes
from labkit.world.fewclue import write_fewclue
from tests.tasks.test_fewclue import ROWS, write

# Lines as in the examples that come with the benchmark (resources/fewclue_submit_example/ of its repository).
LINES = {
    "eprstmt": {"id": 1, "label": "Positive"},
    "tnews": {"id": "1", "label": "103"},
    "csldcp": {"id": 1, "label": "数学"},
    "iflytek": {"id": 1, "label": "8"},
    "ocnli": {"id": 1, "label": "neutral"},
    "bustm": {"id": 1, "label": "1"},
    "csl": {"id": 1, "label": "1"},
    "chid": {"id": 1, "answer": 3},
    "cluewsc": {"id": 0, "label": "true"},
}


def folder_of(path, name, count=1):
    """A task's folder with one training row, and `count` test rows with the same label and without."""
    raw, key = ROWS[name], "answer" if name == "chid" else "label"
    mark = "idx" if name == "cluewsc" else "id"
    other = {"csldcp": "物理", "iflytek": 9}.get(name)
    more = [{**raw, "label": other, **({"label_des": "买房"} if name == "iflytek" else {})}] if other else []
    rows = [{**raw, mark: str(at + 1) if name == "tnews" else raw[mark] + at} for at in range(count)]
    hidden = [{field: value for field, value in row.items() if field != key} for row in rows]
    for file, some in (("train_0", [raw, *more]), ("test_public", rows), ("test", hidden)):
        write(path / name, f"{file}.json", some)
    return path / name


@pytest.mark.parametrize("name", FEWCLUE)
def test_a_line_is_as_the_benchmark_shows_it(tmp_path, name):
    folder = folder_of(tmp_path, name)
    task = load_task(f"fewclue:{folder}")
    right = [row["label"] for row in task.splits["test"]]
    path = write_submission(tmp_path / "out", str(folder), task, right)
    assert path.name == PREDICTIONS[name]
    assert [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] == [LINES[name]]
    assert score_submission(path, folder / "test_public.json") == 1.0


@pytest.fixture(scope="module")
def micro(tmp_path_factory):
    names = ("chid", "cluewsc", "tnews", "iflytek")
    return write_fewclue(tmp_path_factory.mktemp("fewclue"), tasks=names)


@pytest.mark.parametrize("name", ["chid", "cluewsc", "tnews", "iflytek"])
def test_the_score_of_a_file_is_the_accuracy_of_its_answers(micro, tmp_path, name):
    folder = micro[name]
    task = load_task(f"fewclue:{folder}", split=3)
    gold = np.array([row["label"] for row in task.splits["test"]])
    answers = np.where(np.random.default_rng(0).random(len(gold)) < 0.6, gold, 0)
    public = type(task)(**{**vars(task), "splits": {**task.splits, "submission": task.splits["test"]}})
    if name == "cluewsc":
        for row in public.splits["submission"]:
            row.setdefault("raw", {"idx": None})
        numbers = [json.loads(line)["idx"] for line in (folder / "test_public.json").read_text("utf-8").splitlines()]
        public.splits["submission"][:] = [
            {**row, "id": number} for row, number in zip(public.splits["submission"], numbers, strict=True)
        ]
    path = write_submission(tmp_path / "mine.json", str(folder), public, answers)
    found = score_submission(path, folder / "test_public.json")
    assert found == pytest.approx(accuracy_score(gold, answers))
    assert 0.5 < found < 0.9


def test_the_labels_are_written_as_the_files_write_them(micro):
    assert label_codes(str(micro["tnews"]))["体育"] == "103"
    assert list(label_codes(str(micro["chid"])).values()) == list("0123456")
    codes = label_codes(str(micro["iflytek"]))
    assert tuple(codes) == load_task(f"fewclue:{micro['iflytek']}").labels and set(codes.values()) == {
        str(code) for code in range(36)
    }
    with pytest.raises(UsageError, match="unknown FewCLUE task 'tnew': did you mean 'tnews'"):
        label_codes("some/tnew")


@given(st.lists(st.lists(st.floats(0, 1), min_size=1, max_size=5), min_size=9, max_size=9))
def test_the_mean_counts_tasks_not_runs(values):
    scores = dict(zip(FEWCLUE, values, strict=True))
    assert nine_task_mean(scores) == pytest.approx(sum(sum(some) / len(some) for some in values) / 9)


def test_the_mean_needs_the_nine():
    full = dict.fromkeys(FEWCLUE, 0.5)
    assert nine_task_mean(full) == 0.5
    with pytest.raises(UsageError, match="needs every task; no score for tnews, chid"):
        nine_task_mean({name: [] if name == "chid" else 0.5 for name in FEWCLUE if name != "tnews"})
    with pytest.raises(UsageError, match="unknown FewCLUE task 'tnew'"):
        nine_task_mean({**full, "tnew": 0.1})


def test_answers_that_do_not_fit_leave_the_old_file(tmp_path):
    folder = folder_of(tmp_path, "eprstmt", 3)
    task = load_task(f"fewclue:{folder}")
    path = write_submission(tmp_path, str(folder), task, [1, 0, 1])
    before = path.read_bytes()
    for answers, message in (
        ([1, 0], "2 answers for 3 rows of test.json: give one a row"),
        ([1, 0, 2], "answer 3 is 2: an index from 0 to 1 is needed"),
        ([1, 0, -1], "answer 3 is -1"),
        ([1, 0.5, 1], "answer 2 is 0.5"),
    ):
        with pytest.raises(UsageError, match=message):
            write_submission(tmp_path, str(folder), task, answers)
    task.splits["submission"][2]["id"] = 1
    with pytest.raises(DataError, match="test.json, row 3 has the 'id' 1 of an earlier row"):
        write_submission(tmp_path, str(folder), task, [1, 0, 1])
    del task.splits["submission"][2]["id"]
    with pytest.raises(DataError, match="row 3 has no 'id'"):
        write_submission(tmp_path, str(folder), task, [1, 0, 1])
    (folder / "test.json").unlink()
    with pytest.raises(UsageError, match="its folder has no test.json"):
        write_submission(tmp_path, str(folder), load_task(f"fewclue:{folder}"), [1])
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("name", "line", "message"),
    [
        ("eprstmt", {"label": "Positive"}, "line 2: field 'id' is missing; the row has label"),
        ("eprstmt", {"id": 2}, "line 2: field 'label' is missing"),
        ("eprstmt", {"id": 2, "label": "Postive"}, "line 2, field 'label': unknown label 'Postive'.*mean 'Positive'"),
        ("eprstmt", {"id": 1, "label": "Positive"}, "line 2, field 'id': 1 was answered before"),
        ("tnews", {"id": 2, "label": 103}, "line 2, field 'label': 103 is written as \"103\""),
        ("tnews", {"id": 2, "label": "体育"}, "line 2, field 'label': unknown label '体育'"),
        ("chid", {"id": 2, "answer": "3"}, "line 2, field 'answer': '3' is written as 3 in these"),
        ("chid", {"id": 2, "label": 3}, "line 2: field 'answer' is missing"),
        ("chid", {"id": 2, "answer": 7}, "line 2, field 'answer': unknown label '7'"),
    ],
)
def test_a_file_that_is_not_an_answer(tmp_path, name, line, message):
    folder, first = folder_of(tmp_path, name), {**LINES[name], "id": 1}
    write(tmp_path, "mine.json", [first, line])
    with pytest.raises(DataError, match=r"mine\.json: " + message):
        read_submission(tmp_path / "mine.json", str(folder))


def test_every_row_is_answered_once(tmp_path):
    folder = folder_of(tmp_path, "eprstmt", 2)
    gold = folder / "test_public.json"
    write(tmp_path, "mine.json", [{"id": 1, "label": "Positive"}])
    with pytest.raises(DataError, match=r"mine\.json: id '2' has no answer"):
        score_submission(tmp_path / "mine.json", gold)
    write(tmp_path, "mine.json", [{"id": at, "label": "Negative"} for at in (1, 2, 3)])
    with pytest.raises(DataError, match=r"test_public\.json: id '3' is not in this file"):
        score_submission(tmp_path / "mine.json", gold)
    write(tmp_path, "mine.json", [{"id": at, "label": "Negative"} for at in (1, 2)])
    write(folder, "test_public.json", [{**ROWS["eprstmt"], "id": 1, "label": "-"}, {**ROWS["eprstmt"], "id": 2}])
    assert score_submission(tmp_path / "mine.json", gold) == 0.0
    write(folder, "test_public.json", [{**ROWS["eprstmt"], "id": at, "label": "-"} for at in (1, 2)])
    with pytest.raises(DataError, match="no rows to score"):
        score_submission(tmp_path / "mine.json", gold)
