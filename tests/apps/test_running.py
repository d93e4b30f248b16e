"""Trainings and scores of any application, and what they refuse."""

from __future__ import annotations

import json

import pytest
import torch

from labkit.apps import App, load_app, prediction, running
from labkit.apps.request import Here, Request
from labkit.cli import main
from labkit.zoo import load

SHORT = ["--steps", "4", "--test-rows", "20"]


def train(folder, *options):
    return main(["train", *options, "--out", str(folder)])


def test_a_delta_trains_and_is_merged(tmp_path, capsys):
    assert train(tmp_path / "out", "--delta", "lora", *SHORT) == 0
    app = load_app(tmp_path / "out")
    base, tuned = load("mini-bert-en").model.state_dict(), app.model.state_dict()
    changed = {name for name, value in base.items() if name.startswith("bert.") and not torch.equal(value, tuned[name])}
    assert changed and all("attention.self." in name and name.endswith("weight") for name in changed)  # LoRA's places
    assert train(tmp_path / "not", "--delta", "serial", *SHORT) == 2
    assert "Serial cannot be merged" in capsys.readouterr().err
    assert train(tmp_path / "not", "--delta", "lara", *SHORT) == 2
    assert "unknown delta 'lara': did you mean 'lora'" in capsys.readouterr().err


def test_columns_keep_their_names_from_training_to_answers(tmp_path, capsys):
    rows = "the film was great\tthe film was good\tyes\nthe film was great\tthe dog slept\tno\n"
    (tmp_path / "pairs.tsv").write_text("sent1\tsent2\tlabel\n" + 10 * rows, encoding="utf-8")
    table = str(tmp_path / "pairs.tsv")
    assert train(tmp_path / "out", "text_match", "--tables", table, *SHORT) == 0
    assert main(["predict", str(tmp_path / "out"), "--input", table, "--output", str(tmp_path / "out.csv")]) == 0
    assert main(["evaluate", str(tmp_path / "out"), "--tables", table]) == 0
    header = (tmp_path / "out.csv").read_text(encoding="utf-8").splitlines()[0]
    assert header == "sent1,sent2,label,predictions,probabilities"


def test_cards_say_what_the_model_is_for(tmp_path):
    assert train(tmp_path / "out", "sequence_labeling", *SHORT) == 0
    card = (tmp_path / "out/app/README.md").read_text(encoding="utf-8")
    assert "pipeline_tag: token-classification" in card and "a tag for each word of a text" in card


def test_a_prediction_is_not_taken_up_with_another_model():
    digests = set()
    for model in ("micro-bert-en", "micro-bert-en-large"):
        request = Request(application="vectorization", model=model)
        task, base, adapted = running.prepared(request, Here())
        app = App.of("vectorization", adapted.model, base.tokenizer, adapted.method, task)
        digests |= {prediction._digest(app), prediction._digest(app)}
    assert len(digests) == 2


def test_tensorboard_gets_the_loss_of_every_step(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert train(tmp_path / "out", "--tensorboard", str(tmp_path / "logs"), *SHORT) == 0
    events = EventAccumulator(str(tmp_path / "logs")).Reload().Scalars("loss")
    losses = json.loads((tmp_path / "out/train.json").read_text(encoding="utf-8"))["losses"]
    assert [event.step for event in events] == [1, 2, 3, 4]
    assert [event.value for event in events] == pytest.approx(losses)


def test_a_model_that_needs_no_training_is_saved_and_has_no_score(tmp_path, capsys):
    assert train(tmp_path / "out", "vectorization") == 0
    assert "has nothing to train" in capsys.readouterr().err
    vectors = load_app(tmp_path / "out").predict([("a film", "a book")])[0]
    assert len(vectors["pooler_output"]) == 160
    (tmp_path / "pairs.tsv").write_text("one\ttwo\na film\ta book\n", encoding="utf-8")
    assert main(["evaluate", str(tmp_path / "out"), "--tables", str(tmp_path / "pairs.tsv")]) == 2
    assert "vectorization has no score" in capsys.readouterr().err
    files = ["--input", str(tmp_path / "pairs.tsv"), "--output", str(tmp_path / "out.tsv")]
    chosen = ["--fields", "one,two", "--output-schema", "pooler_output"]
    assert main(["predict", str(tmp_path / "out"), *files, *chosen]) == 0
    cell = (tmp_path / "out.tsv").read_text(encoding="utf-8").splitlines()[1].split("\t")[2]
    assert [float(part) for part in cell.split(",")] == pytest.approx(vectors["pooler_output"], abs=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["text_match", "--task", "world/reviews"], "text_match reads 2 text columns, these are 1: text"),
        (["sequence_labeling", "--method", "PET"], "sequence_labeling has a method of its own"),
        (["sequence_labeling", "--shots", "4"], "sequence_labeling has none: give a smaller table"),
        (["text_clasify"], "unknown application 'text_clasify': did you mean 'text_classify'"),
        (["text_classify_multi_label", "--teacher", "logits"], "distil text_classify or text_match"),
        (["--method", "PET", "--set", "max_length=64"], "parameter max_length is of text_classify's own method"),
        (["--words", "bad"], "1 label words for 2 labels"),
        (["--teacher", "logits"], "no column 'logits' of the teacher's logits"),
        (["text_classify_multi_label", "--set", "threshold=high"], "threshold='high': a number is expected"),
    ],
)
def test_it_refuses_in_one_sentence(tmp_path, options, message, capsys):
    assert train(tmp_path / "out", *options, *SHORT) in (1, 2)
    said = capsys.readouterr().err
    assert message in said and len(said.splitlines()) == 1
    assert not (tmp_path / "out/app").exists()


def test_a_table_of_other_labels_is_not_scored(tmp_path, capsys):
    assert train(tmp_path / "out", *SHORT) == 0
    (tmp_path / "odd.tsv").write_text("text\tlabel\nfine\tgreat\n", encoding="utf-8")
    assert main(["evaluate", str(tmp_path / "out"), "--tables", str(tmp_path / "odd.tsv")]) == 1
    assert "line 2, field 'label': unknown label 'great'" in capsys.readouterr().err
