from __future__ import annotations

import contextlib
import io
import os
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import labkit
from labkit.errors import DataError, TrainingError, UsageError, say
from labkit.evaluation import answers, evaluate, predict
from labkit.lab import Bar, best_precision, generator, seeded, setup, wants_progress, without_imitation
from labkit.pipeline import Pipeline
from labkit.tasks import Task


class Counting:
    """A method whose answer is the number of letters a, b and c, and which writes down what it was given."""

    def __init__(self):
        self.seen: list[list[str]] = []

    def collate(self, rows, rng):
        assert rng is None
        self.seen.append([row["text"] for row in rows])
        return {"counts": torch.tensor([[row["text"].count(c) for c in "abc"] for row in rows]).float(), "count": 3}

    def logits(self, model, batch):
        assert not model.training and torch.is_inference_mode_enabled() and "count" not in batch
        return model(batch["counts"])


def new_model() -> nn.Module:
    model = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Dropout(0.9))
    nn.init.eye_(model[0].weight)
    return model


def rows_of(texts) -> list[dict]:
    return [{"text": text, "label": int(np.argmax([text.count(c) for c in "abc"]))} for text in texts]


@given(st.lists(st.text("abc", max_size=12), max_size=30), st.integers(1, 9))
@settings(max_examples=40, deadline=None)
def test_probabilities_come_in_the_order_of_the_rows(texts, size):
    method, rows = Counting(), rows_of(texts)
    found = predict(new_model(), method, rows, batch_size=size)
    if not texts:
        assert found.shape == (0, 0)
        return
    counts = torch.tensor([[text.count(c) for c in "abc"] for text in texts]).float()
    np.testing.assert_allclose(found, counts.softmax(-1), rtol=1e-5)
    assert found.dtype == np.float32 and all(len(texts) <= size for texts in method.seen)
    lengths = [len(text) for batch in method.seen for text in batch]
    assert lengths == sorted(lengths, reverse=True)


@pytest.mark.parametrize("mode", [True, False])
def test_the_models_modes_are_left_as_they_were(mode):
    model = new_model().train(mode)
    model[1].train(not mode)
    predict(model, Counting(), rows_of(["ab", "c"]))
    assert [module.training for module in model.modules()] == [mode, mode, not mode]

    class Broken(Counting):
        def logits(self, model, batch):
            raise ValueError

    with pytest.raises(ValueError):
        predict(model, Broken(), rows_of(["ab", "c"]))
    assert [module.training for module in model.modules()] == [mode, mode, not mode]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_answers_that_are_no_numbers_are_refused_and_not_scored(value):
    model, rows = new_model(), rows_of(["aab", "b", "cc", "bbb"])
    task = Task("t", ("text",), ("a", "b", "c"), {"test": rows})
    assert evaluate(model, Counting(), task) == {"accuracy": 1.0, "n": 4}
    with torch.no_grad():
        model[0].weight[2, 2] = value  # all texts without a c answer 0 · NaN, or 0 · ∞
    for ask in (lambda: predict(model, Counting(), rows, batch_size=1), lambda: evaluate(model, Counting(), task)):
        with pytest.raises(
            TrainingError, match=r"row [13]: the model's answer is no number: its '0.weight' holds NaN or"
        ):
            ask()


def test_answers_that_overflow_are_refused_and_impossible_classes_are_not():
    class Sharp(Counting):
        value = float("inf")

        def logits(self, model, batch):
            return super().logits(model, batch).masked_fill(batch["counts"] == 0, self.value)

    with pytest.raises(TrainingError, match="row 1: .* numbers overflow in it; run it in float32"):
        predict(new_model(), Sharp(), rows_of(["a"]))
    Sharp.value = -float("inf")
    assert predict(new_model(), Sharp(), rows_of(["a"])).tolist() == [[1, 0, 0]]


def test_rows_may_be_a_dataset_and_several_texts_and_lists():
    datasets = pytest.importorskip("datasets")
    rows = rows_of(["a", "bbb", "cc"])
    plain = predict(new_model(), Counting(), rows, batch_size=2)
    np.testing.assert_array_equal(
        predict(new_model(), Counting(), datasets.Dataset.from_list(rows), batch_size=2), plain
    )


def test_logits_of_another_shape_are_explained():
    class Flat(Counting):
        def logits(self, model, batch):
            return batch["counts"].sum(1)

    with pytest.raises(UsageError, match=r"logits must be \(2, classes\), the method gave \(2,\)"):
        predict(new_model(), Flat(), rows_of(["a", "b"]))
    with pytest.raises(UsageError, match="batch_size"):
        predict(new_model(), Counting(), rows_of(["a"]), batch_size=0)


def task_of(texts, metric="accuracy", **splits) -> Task:
    return Task("toy/letters", ("text",), ("a", "b", "c"), {"test": rows_of(texts), **splits}, metric=metric)


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1"])
def test_the_score_is_that_of_scikit_learn(metric):
    from sklearn import metrics

    task = task_of(["aab", "bbc", "cca", "abb", "c"], metric)
    for row in task.splits["test"][:2]:
        row["label"] = 2
    want = {"accuracy": metrics.accuracy_score([2, 2, 2, 1, 2], [0, 1, 2, 1, 2]),
            "macro_f1": metrics.f1_score([2, 2, 2, 1, 2], [0, 1, 2, 1, 2], average="macro")}  # fmt: skip
    assert evaluate(new_model(), Counting(), task, batch_size=2) == pytest.approx({metric: want[metric], "n": 5})


def test_what_cannot_be_scored_names_split_and_row():
    task = task_of(["a", "b"], empty=[], unlabelled=[{"text": "a", "label": 0}, {"text": "b", "label": None}])
    for split, error, message in (
        ("tset", UsageError, "unknown split 'tset': did you mean 'test'"),
        ("empty", DataError, "'empty' has no rows"),
        ("unlabelled", DataError, "split 'unlabelled', row 2: no label"),
    ):
        with pytest.raises(error, match=message):
            evaluate(new_model(), Counting(), task, split)


def test_progress_only_when_asked(capsys):
    predict(new_model(), Counting(), rows_of(["a"]))
    assert capsys.readouterr() == ("", "")
    predict(new_model(), Counting(), rows_of(["a"]), progress=True)
    assert "1/1" in capsys.readouterr().err


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_a_bar_that_cannot_be_drawn_stops_nobody(monkeypatch, capsys):
    """From its first line on, or only in the end; also where the stream has gone, or was never there."""
    rows, wanted = rows_of(["a", "b"]), predict(new_model(), Counting(), rows_of(["a", "b"]))
    full = open("/dev/full", "w", buffering=1)  # noqa: SIM115  closing it fails as well
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", full)
        for _ in range(2):  # what could not be written is still in the buffer
            np.testing.assert_array_equal(predict(new_model(), Counting(), rows, progress=True), wanted)
        say("a line")
        Pipeline._say(SimpleNamespace(progress=True), "1/5 a stage")
    with contextlib.suppress(OSError):
        full.close()
    with Bar(2, True) as bar, monkeypatch.context() as patch:
        patch.setattr(bar.fp, "write", raising(OSError(28, "No space left on device")))
        bar.refresh()
        bar.update(2)
    assert "0/2" in capsys.readouterr().err
    closed = io.StringIO()
    closed.close()
    for stream in (closed, None):
        monkeypatch.setattr(sys, "stderr", stream)
        say("a line")
        assert not wants_progress(None) and predict(new_model(), Counting(), rows).shape == (2, 3)
    assert capsys.readouterr().out == ""


def raising(error):
    def raise_it(*_):
        raise error

    return raise_it


# The lab


def test_setup_seeds_and_says_where_a_lesson_runs(monkeypatch):
    lab = labkit.setup(lesson="03/04", seed=7, progress=False)
    first = torch.rand(2), np.random.rand(2)
    again = setup(seed=7)
    torch.testing.assert_close(torch.rand(2), first[0])
    np.testing.assert_array_equal(np.random.rand(2), first[1])
    assert (lab.lesson, lab.seed, lab.progress) == ("03/04", 7, False) and again.progress is sys.stderr.isatty()
    assert lab.precision == best_precision(lab.device)
    for wrong in ({"lesson": "3/4"}, {"seed": -1}, {"seed": True}, {"seed": 1.5}):
        with pytest.raises(UsageError):
            setup(**wrong)


@pytest.mark.parametrize("seed", [2**70, -1, 1.5, "one"])
def test_a_seed_that_is_none_is_refused_by_whatever_draws(seed):
    for draw in (generator, lambda seed: seeded(seed).__enter__()):
        with pytest.raises(UsageError, match="seed must be "):
            draw(seed)


def test_draws_from_a_seed_leave_the_generator_as_it_was():
    before = torch.get_rng_state()
    with seeded(3):
        found = torch.rand(2)
    assert torch.equal(torch.rand(2, generator=generator(3)), found) and torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("capability", "precision"), [((7, 5), "fp16"), ((8, 0), "bf16"), ((9, 0), "bf16"), ((6, 1), "fp32")]
)
def test_precision_is_what_the_device_computes_in(monkeypatch, capability, precision):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert best_precision(torch.device("cuda")) == precision
    assert best_precision(torch.device("cpu")) == "fp32"


def test_bf16_only_where_the_device_multiplies_in_it(monkeypatch):
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    for able, wanted in (({"amx_bf16": True}, "bf16"), ({"avx512_bf16": True}, "bf16"), ({"avx2": True}, "fp32")):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda able=able: able, raising=False)
        assert without_imitation("bf16", cpu) == wanted
        assert without_imitation("auto", cpu) == "auto" and without_imitation("fp32", cpu) == "fp32"
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert without_imitation("bf16", cpu) == "fp32"
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    assert without_imitation("bf16", gpu) == "fp16"


class Letters(Counting):
    """A method whose answers are texts."""

    def answers(self, model, batch, rows):
        return [row["text"].upper() for row in rows]


def test_answers_stand_in_the_order_of_the_rows_whatever_their_lengths():
    texts = ["a", "bbbb", "cc", "", "ddd"]
    found = answers(new_model(), Letters(), [{"text": text} for text in texts], batch_size=2, progress=False)
    assert found == ["A", "BBBB", "CC", "", "DDD"]
