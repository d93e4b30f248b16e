"""The real files: four tasks through every stage from their folder, five that load and collate. Marked `real`."""

from __future__ import annotations

import json

import numpy as np
import pytest
from transformers import BertTokenizer

from labkit.evaluation import predict
from labkit.fewshot.fewclue import (
    STAGES,
    FewClueSystem,
    Rates,
    Settings,
    cloze_for,
    read_submission,
    training_view,
    write_submission,
)
from labkit.foundations.heads import HeadClassifier
from labkit.tasks import load_task
from labkit.zoo import load

pytestmark = pytest.mark.real
QUICK = Settings(steps=8, multitask_steps=4, unlabelled=64)


@pytest.fixture(scope="module")
def base():
    return load("micro-bert-zh")


def cut(task, rows=120):
    """The task with its first rows of each large split."""
    splits = {split: some if split == "train" else some[:rows] for split, some in task.splits.items()}
    return type(task)(**{**vars(task), "splits": splits})


@pytest.mark.parametrize("name", ["eprstmt", "bustm", "ocnli", "tnews"])
def test_every_stage_runs_from_the_folder(real_data, base, tmp_path, name):
    spec = f"{real_data}/fewclue/{name}"
    task = cut(load_task(f"fewclue:{spec}", split=1))
    system = FewClueSystem(base.model, base.tokenizer, {name: task}, {name: Rates(1e-3, 3e-4)}, settings=QUICK, seed=1)
    for stage in STAGES:
        assert 0 <= system.score(name, stage) <= 1
    assert ("no unlabelled rows" in system.note(name, "+ self-training")) == (name == "ocnli")
    answers = system.answers(name, "+ self-training")
    path = write_submission(tmp_path, spec, task, answers)
    assert list(read_submission(path, spec)) == [str(row["id"]) for row in task.splits["submission"]]
    assert json.loads(path.read_text(encoding="utf-8").splitlines()[0])["id"] == task.splits["submission"][0]["id"]


def test_a_head_learns_something_of_real_reviews(real_data, base):
    """EPRSTMT, the rows of all five training files: a model that has never seen real text beats chance."""
    task = load_task(f"fewclue:{real_data}/fewclue/eprstmt", split="few_all") if (
        real_data / "fewclue" / "eprstmt" / "train_few_all.json").is_file() else _union(real_data)  # fmt: skip
    system = FewClueSystem(base.model, base.tokenizer, {"it": task}, {"it": Rates(1e-3)}, settings=Settings(steps=60))
    rows = task.splits["test"]
    found = system.score("it", "fine-tune [mean]")
    print(f"EPRSTMT, {len(task.splits['train'])} rows, a new head: {100 * found:.1f} %")
    assert found > 0.5 + 2 * (0.25 / len(rows)) ** 0.5


def _union(real_data):
    parts = [load_task(f"fewclue:{real_data}/fewclue/eprstmt", split=split) for split in range(5)]
    rows = {row["text"]: row for part in parts for row in part.splits["train"]}
    held = {row["text"] for row in parts[0].splits["test"]}
    splits = {**parts[0].splits, "train": [row for text, row in rows.items() if text not in held]}
    return type(parts[0])(**{**vars(parts[0]), "splits": splits})


def test_the_multi_task_stage_of_real_files_reads_nothing_that_is_judged(real_data):
    for name in ("eprstmt", "bustm", "ocnli", "tnews"):
        task = load_task(f"fewclue:{real_data}/fewclue/{name}", split=0)
        view, fields = training_view(task), task.fields
        held = {tuple(row[f] for f in fields) for part in ("dev", "test", "submission") for row in task.splits[part]}
        assert not held & {tuple(row[f] for f in fields) for row in view.splits.get("unlabelled", [])}


@pytest.mark.parametrize("name", ["csldcp", "iflytek", "csl", "chid", "cluewsc"])
def test_the_samples_of_the_others_load_and_collate(real_data, base, name):
    """Twenty rows each, read by a model of the micro model's size and a tokenizer that knows their characters."""
    task = load_task(f"fewclue:{real_data}/fewclue/{name}")
    rows = task.splits["train"]
    batch = HeadClassifier(base.tokenizer, task.fields).collate(rows)
    assert batch["input_ids"].shape[0] == len(rows) == 20
    signs = sorted({sign for row in rows for value in row.values() for sign in str(value)})
    words = sorted({sign for some in task.words.values() for word in some for sign in word})
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary = dict.fromkeys([*special, *words, *signs])
    known = dict(zip(vocabulary, range(len(vocabulary)), strict=True))
    tokenizer = BertTokenizer(vocab=known, model_max_length=128)
    from transformers import BertConfig, BertForMaskedLM

    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 16}
    model = BertForMaskedLM(BertConfig(vocab_size=len(known), max_position_embeddings=128, **sizes))
    for count in (1, 3):
        found = predict(model, cloze_for(task, tokenizer, words=count), rows)
        assert found.shape == (20, len(task.labels)) and np.isfinite(found).all()
