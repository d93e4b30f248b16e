"""Trainings and scores of any application, and what they refuse."""

from __future__ import annotations

import json

import pytest

from labkit.apps import load_app
from labkit.cli import main

SHORT = ["--steps", "4", "--test-rows", "20"]


def train(folder, *options):
    return main(["train", *options, "--out", str(folder)])


def test_a_delta_trains_and_is_merged(tmp_path, capsys):
    assert train(tmp_path / "out", "--delta", "lora", *SHORT) == 0
    app = load_app(tmp_path / "out")
    assert not hasattr(app.model, "labkit_delta") and app.card.architecture == "BertForSequenceClassification"
    assert train(tmp_path / "not", "--delta", "serial", *SHORT) == 2
    assert "Serial cannot be merged" in capsys.readouterr().err
    assert train(tmp_path / "not", "--delta", "lara", *SHORT) == 2
    assert "unknown delta 'lara': did you mean 'lora'" in capsys.readouterr().err


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
    assert len(vectors["pooler_output"]) == 128
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
