from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit.errors import DataError, UsageError
from labkit.tasks import Task
from labkit.tasks.metrics import score
from labkit.tasks.rows import text_key


def make(sizes, **options):
    """A task with `sizes[split]` rows of each label."""
    splits = {
        split: [{"text": f"{split} {at}", "label": at % 2} for at in range(2 * size)] for split, size in sizes.items()
    }
    return Task(options.pop("name", "toy"), ("text",), ("bad", "good"), splits, **options)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"label": 0}, "split 'train', row 2: field 'text' must be a text"),
        ({"text": 5, "label": 0}, "field 'text' must be a text; it holds 5"),
        ({"text": "x", "label": 2}, "row 2: field 'label' must be an index from 0 to 1"),
        ({"text": "x", "label": -1}, "field 'label'"),
        ({"text": "x", "label": "good"}, "field 'label'"),
        ({"text": "x", "label": True}, "field 'label'"),
        (["x"], "must be a dictionary"),
    ],
)
def test_a_bad_row_is_named(row, message):
    with pytest.raises(DataError, match=message):
        Task("toy", ("text",), ("bad", "good"), {"train": [{"text": "a", "label": None}, row]})


@pytest.mark.parametrize(
    "options",
    [
        {"labels": ()},
        {"labels": ("a", "a")},
        {"labels": ("a", "")},
        {"fields": ()},
        {"fields": "text"},
        {"fields": ("label",)},
        {"metric": "acuracy"},
        {"chance": 50.0},
        {"ceiling": -0.1},
        {"words": {"fine": ("good",)}},
        {"patterns": ("it was {mask} .",)},
        {"patterns": ("{text} it was {mask} .", "{{text}} {mask} {texts}")},
        {"words": {"good": "great"}},
        {"words": {"good": ()}},
    ],
)
def test_settings_that_make_no_sense(options):
    with pytest.raises(UsageError):
        replace(make({"train": 2}), **options)


def test_unknown_metric_and_label_offer_the_nearest():
    with pytest.raises(UsageError, match="did you mean 'accuracy'"):
        make({"train": 1}, metric="acuracy")
    with pytest.raises(UsageError, match="did you mean 'good'"):
        make({"train": 1}, words={"god": ("x",)})


@pytest.mark.parametrize(
    "name, title",
    [
        ("world/fewclue/eprstmt", "world/fewclue/eprstmt"),
        ("table:train.tsv,dev.tsv", "table:train.tsv,dev.tsv"),
        ("table:/data/anne/train.tsv, ../anne/dev.csv,~/test.tsv", "table:train.tsv,dev.csv,test.tsv"),
        (r"table:C:\Users\anne\train.tsv", "table:train.tsv"),
        ("hub:owner/name:config", "hub:owner/name:config"),
        ("hub:/data/anne/set", "hub:set"),
        ("hub:~/anne/set", "hub:set"),
        (r"C:\Users\anne\set", "set"),
        ("/data/anne/set", "set"),
        ("a:b/c", "a:b/c"),
        ("../anne/set", "set"),
    ],
)
def test_the_title_is_the_name_without_folders_of_the_machine(name, title):
    assert make({"train": 1}, name=name).title == title


@settings(max_examples=60, deadline=None)
@given(shots=st.integers(1, 9), seed=st.integers(0, 10**6), dev=st.booleans(), extra=st.integers(0, 5))
def test_few_shot_is_balanced_disjoint_complete_and_deterministic(shots, seed, dev, extra):
    task = make({"train": 2 * shots + extra, "dev": 3, "test": 4, "unlabelled": 2})
    drawn = task.few_shot(shots, seed, dev)
    assert drawn == task.few_shot(shots, seed, dev)
    parts = {split: {text_key(row, task.fields) for row in rows} for split, rows in drawn.splits.items()}
    assert Counter(row["label"] for row in drawn.splits["train"]) == {0: shots, 1: shots}
    assert ("dev" in drawn.splits) == dev
    if dev:
        assert Counter(row["label"] for row in drawn.splits["dev"]) == {0: shots, 1: shots}
        assert not parts["dev"] & parts["train"]
    assert not parts["unlabelled"] & (parts["train"] | parts.get("dev", set()))
    assert all(row["label"] is None for row in drawn.splits["unlabelled"][4:])
    everything = {text_key(row, task.fields) for split in ("train", "unlabelled") for row in task.splits[split]}
    assert parts["train"] | parts.get("dev", set()) | parts["unlabelled"] == everything
    assert drawn.splits["test"] is task.splits["test"]
    assert all(row["label"] is not None for row in task.splits["train"]), "the task itself is unchanged"


def test_fewer_shots_are_part_of_more_and_seeds_differ():
    task = make({"train": 40})
    few, many = ({row["text"] for row in task.few_shot(k, 3).splits["train"]} for k in (4, 16))
    assert few < many
    assert few != {row["text"] for row in task.few_shot(4, 4).splits["train"]}


def test_dev_comes_from_the_dev_split_when_train_is_too_small():
    task = make({"train": 3, "dev": 5, "test": 5})
    drawn = task.few_shot(2, 0)
    assert {row["text"].split()[0] for row in drawn.splits["dev"]} == {"dev"}
    assert len(drawn.splits["unlabelled"]) == 2
    shared = replace(task, splits={**task.splits, "test": task.splits["dev"]}).few_shot(2, 0)
    assert "4 of the 4 dev rows are test rows too" in shared.note


def test_too_few_rows_name_the_label_the_count_and_the_mend():
    task = make({"train": 3})
    with pytest.raises(DataError, match=r"label 'bad' has 3 distinct rows in 'train', 4 are needed; ask for 3 shots"):
        task.few_shot(4, 0)
    with pytest.raises(DataError, match=r"4 are needed for 2 to train on and 2 for dev; .*pass dev=False"):
        task.few_shot(2, 0)
    assert len(task.few_shot(2, 0, dev=False).splits["train"]) == 4
    empty = replace(task, labels=("bad", "good", "odd"))
    with pytest.raises(DataError, match="label 'odd' has 0 distinct rows in 'train', 1 are needed; add rows"):
        empty.few_shot(1, 0)
    for shots in (0, -1, 1.5, True):
        with pytest.raises(UsageError, match="shots"):
            task.few_shot(shots, 0)


def test_a_text_that_occurs_twice_counts_once():
    rows = [{"text": "same", "label": 0}] * 5 + [{"text": f"t{at}", "label": 1, "raw": {"label": 1}} for at in range(3)]
    task = Task("toy", ("text",), ("a", "b"), {"train": rows})
    with pytest.raises(DataError, match="label 'a' has 1 distinct rows"):
        task.few_shot(2, 0, dev=False)
    rest = task.few_shot(1, 0, dev=False).splits["unlabelled"]
    assert len(rest) == 2 and all(row.keys() == {"text", "label"} for row in rest), (
        "the raw row would give the label away"
    )


def test_a_text_under_two_labels_is_drawn_for_neither_and_it_is_said():
    rows = [{"text": f"t{at}", "label": at % 2} for at in range(8)]
    task = Task(
        "toy", ("text",), ("a", "b"), {"train": [*rows, {"text": "t0", "label": 1}, {"text": "t3", "label": 0}]}
    )
    for seed in range(8):
        drawn = task.few_shot(3, seed, dev=False)
        assert {row["text"] for row in drawn.splits["train"]} == {"t1", "t2", "t4", "t5", "t6", "t7"}
        assert "2 texts of train stand under two labels: none of them is an example" in drawn.note
    with pytest.raises(DataError, match="label 'a' has 3 distinct rows"):
        task.few_shot(4, 0, dev=False)


def test_texts_of_train_and_dev_do_not_stay_among_the_unlabelled():
    rows = [{"text": f"t{at}", "label": at % 2} for at in range(20)]
    extra = [{"text": row["text"], "label": None} for row in rows[:10]]
    drawn = Task("toy", ("text",), ("a", "b"), {"train": rows, "unlabelled": extra}).few_shot(3, 0)
    taken = {row["text"] for split in ("train", "dev") for row in drawn.splits[split]}
    assert len(taken) == 12 and taken.isdisjoint(row["text"] for row in drawn.splits["unlabelled"])


@pytest.mark.parametrize("order", ["sorted", "in turn"])
def test_a_limit_keeps_each_label_in_its_share_and_says_so(order):
    labels = sorted([0] * 60 + [1] * 30 + [2] * 9 + [3]) if order == "sorted" else [at % 4 for at in range(100)]
    rows = [{"text": f"t{at}", "label": label} for at, label in enumerate(labels)]
    task = Task("toy", ("text",), ("a", "b", "c", "d"), {"test": rows})
    few = task.limited("test", 20)
    kept = Counter(row["label"] for row in few.splits["test"])
    expected = {0: 12, 1: 6, 2: 2, 3: 1} if order == "sorted" else dict.fromkeys(range(4), 5)
    assert all(abs(kept[label] - count) <= 1 for label, count in expected.items()) and kept[3] and kept.total() == 20
    assert few == task.limited("test", 20) and "20 of the 100 test rows are used" in few.note
    assert {row["text"] for row in few.splits["test"]} < {
        row["text"] for row in task.limited("test", 50).splits["test"]
    }
    places = [int(row["text"][1:]) for row in few.splits["test"]]
    assert places == sorted(places), "in their order"
    assert task.limited("test", 100) is task
    with pytest.raises(UsageError, match="the limit of 'test' must be at least 0, not -5"):
        task.limited("test", -5)


def test_scores_against_hand_counts():
    gold, given_ = [0, 0, 1, 1], [0, 1, 1, 1]
    assert score("accuracy", gold, given_) == 0.75
    assert score("f1", gold, given_) == pytest.approx(0.8)
    assert score("macro_f1", gold, given_) == pytest.approx((2 / 3 + 0.8) / 2)
    assert score("matthews", gold, given_) == pytest.approx((1 * 2 - 1 * 0) / (1 * 2 * 3 * 2) ** 0.5)


def test_scores_refuse_what_cannot_be_scored():
    with pytest.raises(UsageError, match="did you mean 'macro_f1'"):
        score("macrof1", [0], [0])
    with pytest.raises(DataError, match="shape"):
        score("accuracy", [0, 1], [0])
    with pytest.raises(DataError, match="no rows"):
        score("accuracy", [], [])
    with pytest.raises(DataError, match="row 2: the label must be"):
        score("accuracy", [0, None], [0, 1])
    with pytest.raises(DataError, match="two labels"):
        score("f1", [0, 2], [0, 1])
