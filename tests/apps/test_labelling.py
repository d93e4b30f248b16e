"""The applications that find things in a text: their examples are learnt, their cells are EasyNLP's."""

from __future__ import annotations

import json

import pytest
from transformers import AutoModelForQuestionAnswering, AutoModelForTokenClassification

import labkit
from labkit.apps import labelling
from labkit.errors import DataError, UsageError
from labkit.evaluation import answers, evaluate
from labkit.fewshot.methods import Start
from labkit.foundations.heads import HeadClassifier
from labkit.foundations.native import native_head
from labkit.tasks import Task
from labkit.training import Batches, fit

APPLICATIONS = {
    one.name: one
    for one in (
        labelling.SEQUENCE_LABELING,
        labelling.INFORMATION_EXTRACTION,
        labelling.MACHINE_READING_COMPREHENSION,
    )
}
LEAST = {"sequence_labeling": 0.8, "information_extraction": 0.8, "machine_reading_comprehension": 0.2}
CLASSES = {
    "sequence_labeling": AutoModelForTokenClassification,
    "information_extraction": AutoModelForTokenClassification,
    "machine_reading_comprehension": AutoModelForQuestionAnswering,
}


@pytest.fixture(scope="module")
def start():
    model, tokenizer = labkit.load_model("micro-bert-en")
    return lambda task: Start(model, tokenizer, task, 0)


@pytest.mark.parametrize("name", APPLICATIONS)
def test_an_example_is_learnt_and_loads_in_transformers(name, start, tmp_path):
    app = APPLICATIONS[name]
    task = app.example()
    assert {split: len(rows) for split, rows in task.splits.items()} == {"train": 400, "dev": 100, "test": 100}
    before = {key: value.clone() for key, value in start(task).model.state_dict().items()}
    adapted = app.prepare(start(task), app.settings({}))
    batches = Batches(task.splits["train"], adapted.method.collate, 16, seed=0)
    fit(adapted.model, adapted.method.loss, batches, steps=60, lr=app.rate, seed=0, progress=False)
    found = evaluate(adapted.model, adapted.method, task, progress=False)
    assert found[app.metric] > LEAST[name]
    assert all((before[key] == value).all() for key, value in start(task).model.state_dict().items())
    adapted.model.save_pretrained(tmp_path)
    again, rows = CLASSES[name].from_pretrained(tmp_path), task.splits["dev"][:9]
    ours, theirs = (answers(model, adapted.method, rows, progress=False) for model in (adapted.model, again))
    assert ours == theirs
    assert all(isinstance(cell, str) for one in ours for cell in app.cells(one, task.labels).values())
    assert json.loads(json.dumps(ours)) == ours


def test_the_cells_of_tags(start):
    row = {"text": "anna lives in north cedar", "label": [1, 0, 0, 3, 4]}
    labels = ("O", "B-person", "I-person", "B-city", "I-city")
    answer = {"tags": row["label"], "probabilities": [1.0, 0.5, 1, 1, 0.25],
              "spans": [{"type": "city", "text": "north cedar", "start": 14}]}  # fmt: skip
    assert labelling.SEQUENCE_LABELING.cells(answer, labels) == {
        "output": '[{"type": "city", "text": "north cedar", "start": 14}]',
        "predictions": "B-person O O B-city I-city",
        "probabilities": "1 0.5 1 1 0.25",
    }


def test_an_answers_cell_is_a_label_of_extraction(start):
    spans = [{"type": "city", "text": "北“京”\t市", "start": 0}]
    cell = labelling.INFORMATION_EXTRACTION.cells(spans, ())["output"]
    task = Task("t", ("text",), (), {"train": [{"text": "北“京”\t市", "label": cell}]}, answer="text")
    adapted = labelling.INFORMATION_EXTRACTION.prepare(start(task), {"max_length": 64})
    assert adapted.method.types == ("city",) and len(adapted.model.config.id2label) == 3


def test_a_label_that_is_no_list_of_spans_is_named_by_its_row(start):
    def prepare(train, dev="[]"):
        rows = {"train": [{"text": "a", "label": "[]"}, {"text": "a b", "label": train}]}
        task = Task("t", ("text",), (), {**rows, "dev": [{"text": "b", "label": dev}]}, answer="text")
        return labelling.INFORMATION_EXTRACTION.prepare(start(task), {"max_length": 64})

    with pytest.raises(DataError, match="task t: split 'train', row 2: field 'label': 'no' is no JSON"):
        prepare("no")
    with pytest.raises(DataError, match="split 'dev' has spans of type 'y', which 'train' has not"):
        prepare('[{"type": "x", "text": "b"}]', '[{"type": "y", "text": "b"}]')
    with pytest.raises(UsageError, match="at least one type"):
        prepare("[]")


def test_the_parameters_of_reading(start):
    app = labelling.MACHINE_READING_COMPREHENSION
    rows = [{"text": "a b", "question": "c", "label": {"text": "b", "start": 2}}]
    task = Task("t", ("text", "question"), (), {"train": rows}, answer="span")
    given = {"doc_stride": "7", "max_query_length": "5", "max_answer_length": "3", "n_best_size": "2", "language": "zh"}
    method = app.prepare(start(task), app.settings(given)).method
    assert {name: str(getattr(method, name)) for name in given} == given and not method.unanswerable
    rows.append({"text": "a b", "question": "d", "label": {"text": "", "start": -1}})
    method = app.prepare(start(task), app.settings({})).method
    assert method.unanswerable and method.language == "en"
    with pytest.raises(UsageError, match="doc_stride='x': a whole number"):
        app.settings({"doc_stride": "x"})
    with pytest.raises(UsageError, match="a text and a question, not text"):
        app.prepare(start(Task("t", ("text",), (), {"train": []}, answer="span")), app.settings({}))


def test_three_hundred_subjects(start):
    task = labelling.subjects_task()
    assert len(task.labels) == 300 and {name: len(rows) for name, rows in task.splits.items()} == {
        "train": 3000, "dev": 600, "test": 600,
    }  # fmt: skip
    for split, each in (("train", 10), ("test", 2)):
        assert sorted(row["label"] for row in task.splits[split]) == sorted([*range(300)] * each)
    assert all(task.labels[row["label"]] in row["text"] for row in task.splits["test"])


@pytest.mark.slow
def test_three_hundred_subjects_are_learnt(start):
    task = labelling.subjects_task()
    model = native_head(start(task).model, "sequence", task.labels, seed=0)
    method = HeadClassifier(start(task).tokenizer)
    lengths = [len(row["text"]) for row in task.splits["train"]]
    batches = Batches(task.splits["train"], method.collate, 64, seed=0, lengths=lengths)
    fit(model, method.loss, batches, steps=200, lr=3e-3, seed=0, progress=False)
    assert evaluate(model, method, task, progress=False)["accuracy"] > 0.8
