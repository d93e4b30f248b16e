"""The pipeline end to end on a tiny scale: its artefacts, its table, interruption and resumption, its refusals."""

import json
from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest
import torch

from labkit import pipeline
from labkit.apps import load_app
from labkit.errors import DataError, UsageError
from labkit.evaluation import evaluate
from labkit.fewshot.methods import method_name
from labkit.pipeline import Pipeline, PipelineSettings, run
from labkit.pipeline.settings import SHRUNK, few_shot_task
from labkit.report import Report, results
from labkit.world import World
from labkit.zoo import RECIPES, Recipe, load

METHODS = {
    "fine-tune [CLS]", "fine-tune [mean]", "PET", "student, fine-tuned", "student, KD", "student, composed",
    "PET + int8",
}  # fmt: skip
TINY = Recipe("micro-bert-en", "en", "for tests", hidden=32, ffn=32, documents=400, steps=6, batch_size=16)


@pytest.fixture
def tiny(monkeypatch):
    """The recipe behind the first stage, made tiny."""
    monkeypatch.setitem(RECIPES, "micro-bert-en", TINY)


def settings(tmp_path, **changes) -> PipelineSettings:
    small = {"shots": 2, "seeds": 1, "few_shot_steps": 2, "student_hidden": 15, "student_layers": 1, "distil_epochs": 1,
             "unlabelled_rows": 40, "test_rows": 40, "out": str(tmp_path / "out")}  # fmt: skip
    return PipelineSettings(**{**small, **changes})


def test_all_stages_leave_artefacts_that_load(tiny, tmp_path):
    report = run(settings(tmp_path), progress=False, command="labkit pipeline --seeds 1")
    out = tmp_path / "out"
    assert {row.method for row in report.rows} == METHODS
    assert all(0 <= row.value <= 1 and row.bytes > 0 and row.latency_ms > 0 for row in report.rows)
    sizes = {row.method: row.bytes for row in report.rows}
    assert sizes["PET + int8"] < 0.5 * sizes["PET"]
    assert sizes["student, composed"] < 0.3 * sizes["student, KD"]
    assert load_app(out / "app").card.quantised == "ternary"
    assert (out / "report.png").stat().st_size > 10_000
    saved = json.loads((out / "report.json").read_text())
    assert saved["command"] == "labkit pipeline --seeds 1" and len(saved["rows"]) == len(METHODS)
    assert not load(str(out / "1-pretrained")).fresh
    answer = load_app(out / "app").predict("the soup was superb .")[0]
    assert answer["label"] in ("negative", "positive")
    assert "PET" in str(report.table()) and "90.6" in str(pipeline.table(report)), "the article's figures stand beside"


def test_knowledge_steps_end_the_pre_training_and_leave_a_plain_bert(monkeypatch, tmp_path):
    world = World(entities=60, facts=180)
    monkeypatch.setitem(RECIPES, "micro-bert-en", replace(TINY, documents=2000, world=world))
    knowing = Pipeline(settings(tmp_path, knowledge_steps=3), False, "").pretrained()
    plain = Pipeline(settings(tmp_path / "plain"), False, "").pretrained()
    assert list(knowing.model.state_dict()) == list(plain.model.state_dict())
    pairs = zip(knowing.model.parameters(), plain.model.parameters(), strict=True)
    moved = [not torch.equal(one, other) for one, other in pairs]
    assert sum(moved) > len(moved) / 2
    again = load(str(tmp_path / "out/1-pretrained")).model
    assert all(map(torch.equal, again.parameters(), knowing.model.parameters()))
    with pytest.raises(UsageError, match="not mini-bert-en"):
        settings(tmp_path, knowledge_steps=3, model="mini-bert-en")


def test_passes_in_place_of_the_last_stages(tiny, tmp_path):
    passes = "droplayers:1 cutheads:0.5,1 distill:3 prune:0.5,2 quantize:ternary,2"
    report = run(settings(tmp_path, compose=passes), progress=False)
    rows = {row.method: row for row in report.rows}
    assert set(rows) == METHODS
    app = load_app(tmp_path / "out" / "app")
    assert app.card.quantised == "ternary" and app.card.metrics == {"accuracy": rows["student, composed"].value}
    assert rows["student, composed"].bytes < rows["PET"].bytes / 4
    with pytest.raises(UsageError, match="neither train nor can be cut"):
        settings(tmp_path, compose="quantize distill:3")


@pytest.mark.parametrize("name", ["cp-tuning", "p-tuning", "warp"])
def test_the_few_shot_stage_offers_the_methods_and_saves_what_they_learnt(tiny, tmp_path, name):
    report = run(settings(tmp_path, few_shot=name), progress=False)
    chosen = method_name(name)
    assert {row.method for row in report.rows} == {name.replace("PET", chosen) for name in METHODS}
    app = load_app(tmp_path / "out" / "2-adapted" / "seed-0")
    few = few_shot_task(settings(tmp_path, few_shot=name), 0)
    right = next(row.value for row in report.rows if row.method == chosen)
    assert evaluate(app.model, app.method, few, progress=False)["accuracy"] == right


def test_the_default_is_a_method_that_none_is_ahead_of_on_reviews_without_a_search():
    """The pipeline's own task is one of reviews; LM-BFF searches for its template or words."""
    reviews = ("world/sst2", "world/mr", "world/cr")
    rows = [row for row in results("fewshot_bert").rows if row.task in reviews and "LM-BFF" not in row.method]
    scores = defaultdict(list)
    for row in rows:
        scores[row.method].append(row.value)
    assert {len(some) for some in scores.values()} == {3 * 5}, "every method on every task and draw"
    best, default = max(scores, key=lambda name: np.mean(scores[name])), PipelineSettings().few_shot
    assert best == default or Report(rows).compare(best, default).low <= 0


def test_no_measured_chain_is_both_smaller_and_better_than_the_pipelines_own():
    scores, sizes = defaultdict(list), {}
    for row in results("front").rows:
        scores[row.method].append(row.value)
        sizes[row.method] = row.bytes
    own = f"shrink:{SHRUNK[0]},{SHRUNK[1]} distill:3000,750 quantize:ternary,1000"
    assert len(scores[own]) == 3
    better = [name for name in scores if sizes[name] <= sizes[own] and np.mean(scores[name]) > np.mean(scores[own])]
    assert not better


def test_a_task_without_a_cloze_takes_a_method_without_label_words(tiny, tmp_path):
    rows = [f"{word} film {number}\t{label}" for number in range(6) for label, word in (("0", "bad"), ("1", "good"))]
    (tmp_path / "a.tsv").write_text("\n".join(rows) + "\n")
    chosen = {"task": f"table:{tmp_path}/a.tsv,{tmp_path}/a.tsv", "schema": "sent:str:1,label:str:1"}
    with pytest.raises(UsageError, match="or choose --few-shot cp-tuning, which needs none"):
        run(settings(tmp_path, **chosen), progress=False)
    report = run(settings(tmp_path, **chosen, few_shot="cp-tuning"), progress=False)
    assert "CP-Tuning + int8" in {row.method for row in report.rows}


def test_interrupted_then_resumed_gives_the_same_rows(tiny, tmp_path, monkeypatch):
    whole = run(settings(tmp_path, out=str(tmp_path / "whole")), progress=False)
    real, calls = pipeline.Pipeline._distilled, []

    def interrupted(self, *args, **kwargs):
        calls.append(1)
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline.Pipeline, "_distilled", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(settings(tmp_path), progress=False)
    done = json.loads((tmp_path / "out" / "report.json").read_text())["rows"]
    assert 0 < len(done) < len(METHODS)
    monkeypatch.setattr(pipeline.Pipeline, "_distilled", real)
    with pytest.raises(UsageError, match="--resume"):
        run(settings(tmp_path), progress=False)
    resumed = run(settings(tmp_path, resume=True), progress=False)
    assert [(row.method, row.value) for row in resumed.rows] == [(row.method, row.value) for row in whole.rows]
    assert [row.plain() for row in resumed.rows[: len(done)]] == done, "finished runs are not run again"


def test_resume_with_other_settings_is_refused(tiny, tmp_path):
    run(settings(tmp_path), progress=False)
    with pytest.raises(UsageError, match="other settings"):
        run(settings(tmp_path, shots=3, resume=True), progress=False)


def test_a_model_without_mlm_head_gets_one(tiny, tmp_path):
    """The encoder alone is saved, so that its head is missing, as MiniLM's is."""
    run(settings(tmp_path), progress=False)
    encoder = load(str(tmp_path / "out" / "1-pretrained"), head=None)
    encoder.model.save_pretrained(tmp_path / "encoder")
    encoder.tokenizer.save_pretrained(tmp_path / "encoder")
    assert load(str(tmp_path / "encoder")).fresh
    second = settings(tmp_path, model=str(tmp_path / "encoder"), out=str(tmp_path / "second"), head_steps=3)
    run(second, progress=False)
    trained = load(str(tmp_path / "second" / "1-pretrained"))
    assert not trained.fresh
    for name, tensor in encoder.model.state_dict().items():
        if not name.startswith("pooler"):
            assert tensor.equal(trained.model.state_dict()[f"bert.{name}"]), f"{name}: the body was not to change"


def test_tables_with_a_split_a_seed_and_no_unlabelled_text(tiny, tmp_path):
    for split in ("a", "b"):
        rows = [
            f"{word} {split} film {number}\t{label}"
            for number in range(6)
            for label, word in (("0", "bad"), ("1", "good"))
        ]
        (tmp_path / f"{split}.tsv").write_text("\n".join(rows) + "\n")
    table = f"table:{tmp_path}/{{split}}.tsv,{tmp_path}/a.tsv"
    chosen = {"task": table, "schema": "sent:str:1,label:str:1", "splits": ("a", "b"), "seeds": 2}
    with pytest.raises(UsageError, match="add --pattern '{text} it was {mask} .' --words '0=… 1=…'"):
        run(settings(tmp_path, **chosen), progress=False)
    cloze = {"pattern": "{text} it was {mask} .", "words": ("0=bad", "1=good,great")}
    report = run(settings(tmp_path, **chosen, **cloze), progress=False)
    assert {row.seed for row in report.rows} == {0, 1}
    assert {row.task for row in report.rows} == {table}, "one task in the table, whichever split a seed reads"


def test_refusals_leave_nothing(tmp_path):
    with pytest.raises(DataError, match="missing.tsv"):
        run(settings(tmp_path, task=f"table:{tmp_path}/missing.tsv", schema="sent:str:1,label:str:1"), progress=False)
    with pytest.raises(UsageError, match="did you mean 'world/reviews'"):
        run(settings(tmp_path, task="world/reviewz"), progress=False)
    with pytest.raises(UsageError, match="--splits"):
        settings(tmp_path, splits=("a",), seeds=2)
    for name, value in (("shots", 0), ("seeds", -1), ("student_hidden", 0), ("test_rows", -5), ("unlabelled_rows", -1)):
        with pytest.raises(UsageError, match=f"'{name}' must be at least"):
            settings(tmp_path, **{name: value})
    with pytest.raises(UsageError, match="--student-layers 3: the large model has 2"):
        run(settings(tmp_path, student_layers=3), progress=False)
    with pytest.raises(UsageError, match="pattern 'it was .*' reads nothing of the row"):
        run(settings(tmp_path, pattern="it was {mask} ."), progress=False)
    assert not (tmp_path / "out").exists()
