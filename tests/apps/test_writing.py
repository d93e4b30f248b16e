"""Language modelling, writing and augmenting as applications, on the world's examples."""

from __future__ import annotations

import math

import pytest
from transformers import AutoModelForMaskedLM, EncoderDecoderModel

import labkit
from labkit.apps.application import Application
from labkit.apps.writing import DATA_AUGMENTATION, LANGUAGE_MODELING, SEQUENCE_GENERATION
from labkit.errors import UsageError
from labkit.evaluation import answers, evaluate
from labkit.fewshot.describing import describe, restore
from labkit.fewshot.methods import Adapted, Start
from labkit.foundations.pretraining.models import micro_model
from labkit.tasks import Task
from labkit.training import Batches, fit


@pytest.fixture(scope="module")
def bert():
    return labkit.load_model("micro-bert-en")


@pytest.fixture(scope="module")
def mini():
    return labkit.load_model("mini-bert-en")


def prepared(app: Application, bert, task: Task, model=None, **given) -> Adapted:
    return app.prepare(Start(model or bert.model, bert.tokenizer, task), app.settings(given))


def trained(app: Application, bert, task: Task, steps: int, model=None, **given) -> Adapted:
    made = prepared(app, bert, task, model, **given)
    batches = Batches(task.splits["train"], made.method.collate, 16)
    fit(made.model, made.method.loss, batches, steps=steps, lr=app.rate, progress=False)
    return made


@pytest.mark.parametrize("kind", ["bert", "gpt"])
def test_language_modelling_goes_on_from_where_the_model_is(bert, kind, tmp_path):
    task = LANGUAGE_MODELING.example()
    start = bert.model if kind == "bert" else micro_model("gpt", bert.tokenizer, seed=0).eval()
    made, rows = trained(LANGUAGE_MODELING, bert, task, 30, start), task.splits["test"][:50]
    score = {}
    for name, model in (("before", start), ("after", made.model)):
        found = answers(model, made.method, rows, progress=False)
        score[name] = made.method.score(rows, found)[LANGUAGE_MODELING.metric]
    assert 1 < score["after"] < 0.9 * score["before"]  # less is better
    assert restore(describe(made.method), bert.tokenizer).describe() == made.method.describe()
    if kind == "bert":
        made.model.save_pretrained(tmp_path)
        plain = AutoModelForMaskedLM.from_pretrained(tmp_path).eval()
        found, wanted = (answers(model, made.method, rows[:4], progress=False) for model in (plain, made.model))
        assert found == wanted


def test_a_table_without_labels_can_be_scored(bert):
    task = LANGUAGE_MODELING.example()
    made = prepared(LANGUAGE_MODELING, bert, task)
    assert evaluate(made.model, made.method, task, progress=False)["perplexity"] > 1


def test_the_cells_of_a_likelihood():
    cells = LANGUAGE_MODELING.cells({"log_probability": -6.0, "tokens": 3}, ())
    assert cells == {"log_probability": "-2", "perplexity": f"{math.exp(2):.6g}", "tokens": "3"}
    assert LANGUAGE_MODELING.cells({"log_probability": 0.0, "tokens": 0}, ())["perplexity"] == "1"


def test_titles_are_learnt_and_the_folder_writes_them_alone(mini, tmp_path):
    task = SEQUENCE_GENERATION.example()
    made = trained(
        SEQUENCE_GENERATION, mini, task, 60, num_beams="2", num_return_sequences="2", max_decoder_length="12"
    )
    rows = task.splits["test"][:40]
    score = made.method.score(rows, answers(made.model, made.method, rows, progress=False))
    titles = {row["label"].split()[0]: row["label"] for row in task.splits["train"]}.values()  # one a topic
    same = max(made.method.score(rows, [[title]] * 40)[SEQUENCE_GENERATION.metric] for title in titles)
    assert score[SEQUENCE_GENERATION.metric] > same + 0.05  # better than one title for all
    made.model.save_pretrained(tmp_path)
    plain = EncoderDecoderModel.from_pretrained(tmp_path).eval()
    rows, again = rows[:3], restore(describe(made.method), mini.tokenizer)
    found = answers(made.model, made.method, rows, progress=False)
    assert found == answers(plain, again, rows, progress=False) and [len(texts) for texts in found] == [2, 2, 2]
    written = plain.generate(**mini.tokenizer(rows[0]["content"], return_tensors="pt", return_token_type_ids=False))
    assert mini.tokenizer.batch_decode(written, skip_special_tokens=True) == found[0]


def test_a_t5_writes_as_well(bert):
    task = SEQUENCE_GENERATION.example()
    start = micro_model("t5", bert.tokenizer, seed=0)
    made = trained(SEQUENCE_GENERATION, bert, task, 10, start, num_beams="1")
    assert len(answers(made.model, made.method, task.splits["test"][:2], progress=False)) == 2


def test_copying_is_ignored_aloud_and_cells_hold_all_beams(bert):
    with pytest.warns(UserWarning, match="copy=True is ignored"):
        prepared(SEQUENCE_GENERATION, bert, SEQUENCE_GENERATION.example(), copy="True")
    assert SEQUENCE_GENERATION.cells(["a b", "c"], ()) == {"predictions": "a b", "beams": "a b||c"}


def test_new_texts_ride_on_rows_whose_labels_stay(bert):
    task = DATA_AUGMENTATION.example()
    made = prepared(DATA_AUGMENTATION, bert, task, type="mlm_da", expansion_rate="3", mask_proportion="0.2")
    assert not hasattr(made.method, "loss")
    rows = task.splits["train"][:4]
    found = answers(made.model, made.method, rows, progress=False)
    assert all(len(texts) == 3 and row["text"] not in texts for row, texts in zip(rows, found, strict=True))
    assert DATA_AUGMENTATION.cells(["a b", "c"], ()) == {"augmented_data": "a b||c"}
    with pytest.raises(UsageError, match="'mlm_da'"):
        prepared(DATA_AUGMENTATION, bert, task, type="mlm")
