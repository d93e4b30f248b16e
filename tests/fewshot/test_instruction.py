"""Instruction tuning: nothing of the type that is held out is trained on, and the mixed batch is PET row by row."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from labkit.errors import DataError, UsageError
from labkit.evaluation import predict
from labkit.fewshot.instruction import task_types
from labkit.fewshot.instruction.tuning import (
    Instructed,
    Split,
    TaskType,
    Wording,
    ask,
    check_split,
    held_out,
    instruction_tune,
    leaks,
    stack,
    texts_of,
    zero_shot,
)
from labkit.tasks import load_task
from labkit.zoo import load
from tests.fewshot import tiny_tasks as tiny

NO_YES = {"negative": "no", "positive": "yes", "different": "no", "same": "yes"}
FEEL = TaskType(
    "feel",
    ("made/films", "made/shows"),
    (
        Wording("{text} it was {mask} .", {"negative": "bad", "positive": "great"}),
        Wording("{text} so ? {mask} .", NO_YES),
    ),
)  # fmt: skip
ABOUT = TaskType("about", ("made/topics",), (Wording("{text} is that about {mask} .", None),))
SAME = TaskType("same", ("made/pairs",), (Wording("{text_a} ? {mask} , {text_b} .", NO_YES),))
TYPES = (FEEL, ABOUT, SAME)


def tasks():
    topic = tiny.topic()
    topic = replace(topic, words={label: (label,) for label in topic.labels})
    some = (tiny.sentiment(), tiny.sentiment("made/shows", "so"), topic, tiny.pairs())
    return {task.name: task for task in some}


@pytest.fixture(scope="module")
def tokenizer():
    return tiny.tokenizer()


# Nothing leaks


@pytest.mark.parametrize("name", ["feel", "about", "same"])
def test_neither_task_nor_wording_nor_text_of_the_held_out_type_is_trained_on(name, tokenizer):
    split = held_out(TYPES, name, tasks())
    objective = Instructed(split.types, split.tasks, tokenizer)
    held = {str(ask(split.held_tasks[t], w, tokenizer).template) for t in split.held.tasks for w in split.held.wordings}
    assert name not in [one.name for one in split.types] and not set(split.tasks) & set(split.held.tasks)
    assert not {str(how.template) for how in objective.hows} & held
    seen = texts_of(split.held_tasks.values())
    for row in objective.rows(200, np.random.default_rng(0)):
        texts = tuple(row[field] for field in ("text", "text_a", "text_b") if field in row)
        assert tuple("".join(c for c in text.lower() if c.isalnum()) for text in texts) not in seen


def test_a_text_that_stands_in_both_is_dropped_whatever_its_case_and_stops():
    given = tasks()
    given["made/topics"].splits["train"].append({"text": "The FILM, was good!", "label": 1})
    split = held_out(TYPES, "feel", given)
    assert split.dropped == 1 and len(split.tasks["made/topics"].splits["train"]) == 3
    assert len(given["made/topics"].splits["train"]) == 4  # what was given stays
    check_split(split)


def test_a_test_row_of_a_training_task_may_stay_for_nobody_trains_on_it():
    given = tasks()
    given["made/topics"].splits["test"] = [{"text": "bad", "label": 1}]
    assert held_out(TYPES, "feel", given).tasks["made/topics"].splits["test"] == [{"text": "bad", "label": 1}]


def leaky_task():
    return (FEEL, replace(ABOUT, tasks=("made/topics", "made/shows")))


def leaky_wording():
    return (FEEL, replace(ABOUT, wordings=(*ABOUT.wordings, Wording("{text} IT was, {mask}", None))))


@pytest.mark.parametrize(
    ("types", "message"),
    [
        (leaky_task(), "type 'feel' is held out, but type 'about' has its task made/shows"),
        (leaky_wording(), r"type 'feel' is held out, but type 'about' has its wording '\{text\} IT was, \{mask\}'"),
    ],
)
def test_a_split_that_leaks_is_refused(types, message, tokenizer):
    with pytest.raises(UsageError, match=message):
        held_out(types, "feel", tasks())
    by_hand = Split(types[1:], FEEL, tasks(), {name: tasks()[name] for name in FEEL.tasks})
    with pytest.raises(UsageError, match=message):
        instruction_tune(tiny.bert(), tokenizer, by_hand, steps=1)
    assert leaks([ABOUT, SAME], FEEL) == []


def test_a_row_that_leaks_is_refused_before_training(tokenizer):
    given = tasks()
    held = {name: given.pop(name) for name in FEEL.tasks}
    given["made/topics"].splits["train"].append({"text": "great so.", "label": 1})
    with pytest.raises(DataError, match=r"task made/topics: a row of the held-out type 'feel'.*great so"):
        instruction_tune(tiny.bert(), tokenizer, Split((ABOUT, SAME), FEEL, given, held), steps=1)


def test_the_worlds_types_do_not_leak():
    """All five English types, each held out in turn; the made types ask in words of their own."""
    for held in task_types.ENGLISH:
        rest = [one for one in (*task_types.ENGLISH, task_types.CONTAINS, task_types.ACCEPTABLE) if one is not held]
        assert leaks(rest, held) == []
    names = [name for one in task_types.ENGLISH for name in one.tasks]
    assert len(names) == len(set(names)) == 12


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda t: held_out(TYPES, "feeling", tasks()), "unknown task type 'feeling': did you mean 'feel'"),
        (lambda t: held_out(TYPES, "feel", {}), "unknown task 'made/films'"),
        (lambda t: ask(tasks()["made/pairs"], FEEL.wordings[0], t), "no word for label 'different' of task made/pairs"),
        (lambda t: Instructed((), tasks(), t), "0 task types"),
        (lambda t: task_types.contains_task([], np.random.default_rng(0), 3), "need unlabelled texts"),
    ],
)
def test_what_makes_no_sense_is_refused(call, message, tokenizer):
    with pytest.raises(UsageError, match=message):
        call(tokenizer)


# The mixed batch


def test_a_mixed_batch_is_pet_row_by_row(tokenizer):
    """Tasks of 2 and 3 labels, one text and two, in one batch: each row's answer is its own PET's."""
    given, model = tasks(), tiny.bert()
    objective = Instructed(TYPES, given, tokenizer)
    rows = objective.rows(23, np.random.default_rng(0))
    batch = objective.collate(rows)
    with torch.no_grad():
        found, loss = objective.logits(model, batch).softmax(1), objective.loss(model, batch)
    order = np.argsort([row["how"] for row in rows], kind="stable")
    losses = []
    for line, number in zip(found, order, strict=True):
        row, how = rows[number], objective.hows[rows[number]["how"]]
        wanted = torch.from_numpy(predict(model, how, [row], progress=False))[0]
        torch.testing.assert_close(line[: len(wanted)], wanted, rtol=1e-4, atol=1e-5)
        assert line[len(wanted) :].sum() == 0
        losses.append(-wanted[row["label"]].log())
    torch.testing.assert_close(loss, torch.stack(losses).mean(), rtol=1e-4, atol=1e-5)
    assert len({row["how"] for row in rows}) > 3


def test_wordings_come_alike(tokenizer):
    objective = Instructed((FEEL,), tasks(), tokenizer)
    rows = objective.rows(2000, np.random.default_rng(0), temperature=1)
    counts = np.bincount([row["how"] for row in rows], minlength=4)
    assert objective.names == ["made/films"] * 2 + ["made/shows"] * 2 and (abs(counts - 500) < 5 * np.sqrt(375)).all()


def test_stacked_batches_are_padded_on_the_right():
    parts = [
        {
            "input_ids": torch.tensor([ids]),
            "attention_mask": torch.ones(1, len(ids)).long(),
            "labels": torch.tensor([y]),
        }
        for ids, y in (([5, 6], 1), ([7, 8, 9], 0))
    ]
    found = stack(parts, 4)
    assert found["input_ids"].tolist() == [[5, 6, 4], [7, 8, 9]]
    assert found["attention_mask"].tolist() == [[1, 1, 0], [1, 1, 1]] and found["labels"].tolist() == [1, 0]


def test_tuning_trains_a_copy_and_is_deterministic(tokenizer):
    split, model = held_out(TYPES, "about", tasks()), tiny.bert()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    a, b = (instruction_tune(model, tokenizer, split, steps=80, lr=1e-2, batch_size=8) for _ in range(2))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))
    learned = zero_shot(a, tokenizer, FEEL, split.tasks)
    assert [(row["task"], row["wording"]) for row in learned] == [(t, n) for t in FEEL.tasks for n in (0, 1)]
    assert np.mean([row["accuracy"] for row in learned]) > 0.8


# Types made of any text


def test_made_tasks_are_what_they_say():
    texts = ["the film was good", "it was so dull and bad", "they say it", "do read this"]
    rng = np.random.default_rng(0)
    for row in task_types.contains_task(texts, rng, 60).splits["train"]:
        assert (row["text_b"] in row["text_a"].split()) == bool(row["label"]) and row["text_a"] in texts
    rows = task_types.acceptable_task(texts, rng, 60).splits["train"]
    assert all((row["text"] in texts) == bool(row["label"]) for row in rows)
    assert 20 < sum(row["label"] for row in rows) < 40
    assert {" ".join(sorted(row["text"].split())) for row in rows} == {" ".join(sorted(t.split())) for t in texts}


def test_made_types_use_the_training_tasks_texts_only():
    split = held_out(TYPES, "same", tasks())
    more = task_types.with_made(split, count=40)
    assert [one.name for one in more.types[2:]] == ["made: contains", "made: acceptable"]
    rows = more.tasks["made/contains"].splits["train"]
    own = {row["text"] for task in split.tasks.values() for row in task.splits.get("unlabelled", [])}
    assert len(rows) == 40 and {row["text_a"] for row in rows} <= own
    check_split(more)


def test_every_wording_of_the_world_fits_its_tasks_and_vocabulary():
    _, tokenizer = load("micro-bert-en")
    for one in task_types.ENGLISH:
        for name in one.tasks:
            task = load_task(name)
            for wording in one.wordings:
                how = ask(task, wording, tokenizer)
                ids = how.collate(task.splits["test"][:2])["input_ids"]
                template = wording.template.replace("{mask}", " ").replace("{", " {")
                plain = " ".join(part for part in template.split() if not part.startswith("{"))
                assert tokenizer.unk_token_id not in tokenizer(plain)["input_ids"], wording.template
                assert all(len(tokenizer.tokenize(word)) == 1 for word in plain.split()), wording.template
                assert len(ids) == 2
