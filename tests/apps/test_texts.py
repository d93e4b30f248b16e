"""Several labels, two towers and vectors as applications: they learn, and their folders are plain transformers'."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoModelForSequenceClassification

import labkit
from labkit.apps.application import Application
from labkit.apps.texts import MULTI_LABEL, TWO_TOWER, VECTORIZATION
from labkit.errors import UsageError
from labkit.evaluation import answers, evaluate
from labkit.fewshot.describing import describe, restore
from labkit.fewshot.methods import Adapted, Start
from labkit.tasks import Task
from labkit.training import Batches, fit


@pytest.fixture(scope="module")
def bert():
    return labkit.load_model("mini-bert-en")


def prepared(app: Application, bert, task: Task, **given) -> Adapted:
    return app.prepare(Start(bert.model, bert.tokenizer, task), app.settings(given))


def trained(app: Application, bert, task: Task, steps: int = 60, **given) -> Adapted:
    made, rows = prepared(app, bert, task, **given), task.splits["train"]
    batches = Batches(rows, made.method.collate, 16)
    fit(made.model, made.method.loss, batches, steps=steps, lr=app.rate, progress=False)
    if hasattr(made.method, "fitted"):
        made.method.fitted(made.model, rows)
    return made


def again(made: Adapted, tokenizer, auto, folder) -> Adapted:
    """What a program with nothing but transformers, and the description, has of it."""
    made.model.save_pretrained(folder)
    return Adapted(
        auto.from_pretrained(folder).eval(), restore(json.loads(json.dumps(describe(made.method))), tokenizer)
    )


def test_several_labels_are_learnt_and_the_folder_is_a_plain_classifier(bert, tmp_path):
    task = MULTI_LABEL.example()
    made = trained(MULTI_LABEL, bert, task)
    score = evaluate(made.model, made.method, task, progress=False)
    assert list(score) == ["micro_f1", "macro_f1", "exact_match", "n"]
    every = made.method.score(task.splits["test"], [{"labels": range(5)}] * 100)["micro_f1"]
    assert score[MULTI_LABEL.metric] > every + 0.15  # 0.80, saying yes to all gets 0.45
    rows = task.splits["test"][:9]
    other = again(made, bert.tokenizer, AutoModelForSequenceClassification, tmp_path)
    assert other.model.config.problem_type == "multi_label_classification"
    assert list(other.model.config.id2label.values()) == list(task.labels)
    one, two = (answers(it.model, it.method, rows, progress=False) for it in (made, other))
    assert [answer["labels"] for answer in one] == [answer["labels"] for answer in two]


def test_the_cells_of_several_labels():
    cells = MULTI_LABEL.cells({"labels": [0, 2], "probabilities": [0.9, 0.25, 1.0]}, ["a", "b", "c"])
    assert cells["predictions"] == "a,c" and cells["probabilities"] == "0.9,0.25,1"
    logits = [float(number) for number in cells["logits"].split(",")]
    assert logits[:2] == pytest.approx([np.log(9), -np.log(3)], abs=1e-4) and np.isfinite(logits[2])
    assert json.loads(cells["output"]) == {"a": 0.9, "b": 0.25, "c": 1.0}
    assert MULTI_LABEL.cells({"labels": [], "probabilities": [0.1]}, ["a"])["predictions"] == ""


@pytest.mark.parametrize("loss_type", ["hinge_loss", "contrastive"])
def test_two_towers_learn_to_match_and_the_folder_is_a_plain_encoder(bert, tmp_path, loss_type):
    task = TWO_TOWER.example()
    before = prepared(TWO_TOWER, bert, task)
    before.method.fitted(before.model, task.splits["train"])
    made = trained(TWO_TOWER, bert, task, steps=40, loss_type=loss_type)
    scores = [evaluate(it.model, it.method, task, progress=False) for it in (before, made)]
    assert scores[1]["accuracy"] > scores[0]["accuracy"] + 0.02 and scores[1]["f1"] > 0.75
    other = again(made, bert.tokenizer, AutoModel, tmp_path)
    rows = task.splits["test"][:9]
    one, two = (answers(it.model, it.method, rows, progress=False) for it in (made, other))
    np.testing.assert_allclose(one, two, atol=1e-5)
    cells = TWO_TOWER.cells(one[0], task.labels)
    assert cells["predictions"] == task.labels[int(one[0].argmax())]
    assert [float(number) for number in cells["probabilities"].split(",")] == pytest.approx(one[0].tolist(), abs=1e-5)


def test_two_towers_need_two_labels_and_two_texts(bert):
    task = TWO_TOWER.example()
    three = Task("t", task.fields, ("a", "b", "c"), task.splits)
    with pytest.raises(UsageError, match="two labels"):
        prepared(TWO_TOWER, bert, three)


def test_vectors_are_those_of_transformers_and_there_is_nothing_to_train(bert, tmp_path):
    rows = [{"text": "the match was lost"}, {"text": "rome"}]
    task = Task("t", ("text",), (), {"test": [{**row, "label": None} for row in rows]}, answer="text")
    names = "mean,all_hidden_outputs,pooler_output,first_token_output"
    made = prepared(VECTORIZATION, bert, task, outputs=names)
    assert not hasattr(made.method, "loss")
    found = answers(made.model, made.method, rows, progress=False)
    made.model.save_pretrained(tmp_path)
    plain = AutoModel.from_pretrained(tmp_path).eval()
    for row, answer in zip(rows, found, strict=True):
        with torch.no_grad():
            out = plain(**bert.tokenizer(row["text"], return_tensors="pt"))
        states = out.last_hidden_state[0].numpy()
        wanted = {"mean": states.mean(0), "all_hidden_outputs": states, "first_token_output": states[0]}
        wanted["pooler_output"] = out.pooler_output[0].numpy()
        cells = VECTORIZATION.cells(answer, ())
        for name, value in wanted.items():
            np.testing.assert_allclose(answer[name], value, atol=1e-5)
            written = [[float(one) for one in token.split(",")] for token in cells[name].split(";")]
            np.testing.assert_allclose(written, np.atleast_2d(value), atol=1e-4)
    with pytest.raises(UsageError, match="did you mean 'pooler_output'"):
        prepared(VECTORIZATION, bert, task, outputs="pooled_output")


@pytest.mark.real
def test_feelings_of_goemotions(bert, real_data):
    with open(real_data / "goemotions" / "train.tsv", encoding="utf-8", newline="") as file:
        table = list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))[:400]
    rows = [{"text": text, "label": sorted(map(int, labels.split(",")))} for text, labels, *_ in table]
    assert any(len(row["label"]) > 1 for row in rows)
    task = Task("goemotions", ("text",), tuple(map(str, range(28))), {"train": rows[:300], "test": rows[300:]},
                answer="classes")  # fmt: skip
    made = trained(MULTI_LABEL, bert, task, steps=30, threshold="0.15")
    assert evaluate(made.model, made.method, task, progress=False)["micro_f1"] > 0.2  # most say "neutral"


@pytest.mark.real
def test_paraphrases_of_mrpc_by_two_towers(bert, real_data):
    splits = {}
    for split, file in (("train", "msr-para-train.tsv"), ("test", "msr-para-test.tsv")):
        with open(real_data / "mrpc" / file, encoding="utf-8-sig", newline="") as lines:
            table = list(csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))[1:121]
        splits[split] = [{"a": row[3], "b": row[4], "label": int(row[0])} for row in table]
    task = Task("mrpc", ("a", "b"), ("0", "1"), splits)
    made = trained(TWO_TOWER, bert, task, steps=10)
    score = evaluate(made.model, made.method, task, progress=False)
    often = np.mean([row["label"] for row in splits["test"]])
    assert score["accuracy"] > often - 0.1 and score["f1"] > 0.6
