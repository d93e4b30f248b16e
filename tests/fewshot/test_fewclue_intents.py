"""Intents from a few sentences: ATIS's files, and the world's twelve."""

from __future__ import annotations

import pytest

from labkit.errors import DataError, UsageError
from labkit.fewshot.fewclue import FewClueSystem, Rates, Settings, atis_task
from labkit.tasks import load_task
from labkit.zoo import load


def write(folder, part, pairs):
    (folder / part).mkdir(parents=True, exist_ok=True)
    for name, lines in zip(("seq.in", "label"), zip(*pairs, strict=True), strict=True):
        (folder / part / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


PAIRS = [("a flight", "atis_flight"), ("how much", "atis_airfare"), ("a taxi", "atis_ground_service")]


@pytest.fixture
def folder(tmp_path):
    both = [("a flight and its price", "atis_flight#atis_airfare")]
    for part, pairs in (("train", PAIRS * 2 + both * 2), ("valid", PAIRS), ("test", [*PAIRS, ("?", "atis_meal")])):
        write(tmp_path, part, pairs)
    return tmp_path


def test_atis_becomes_a_task(folder):
    task = atis_task(folder, least=2)
    assert task.labels == ("airfare", "flight", "ground service")
    assert {part: len(rows) for part, rows in task.splits.items()} == {"train": 6, "dev": 3, "test": 3}
    assert task.splits["test"][0] == {"text": "a flight", "label": 1}
    assert task.words["ground service"] == ("ground service",) and task.metric == "macro_f1"
    assert task.note == "3 questions of rarer or several intents left out"


def test_files_that_do_not_match(folder):
    with pytest.raises(UsageError, match="least=3 leaves 0 intents"):
        atis_task(folder, least=3)
    (folder / "valid" / "label").write_text("atis_flight\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"valid/label: line 2 is missing: seq\.in has 3 lines and label 1"):
        atis_task(folder, least=2)
    (folder / "train" / "seq.in").write_text("x\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"train/seq\.in: line 2 is missing"):
        atis_task(folder, least=2)


def test_dozens_of_sentences_teach_intents():
    """Forty-eight labelled sentences, twelve intents: the cloze is far above chance, which is 8 %."""
    base = load("mini-bert-zh")
    task = load_task("world/intents-zh").few_shot(4, 0)
    task.splits["test"][:] = task.splits["test"][:300]
    system = FewClueSystem(base.model, base.tokenizer, {"intents": task}, {"intents": Rates(cloze=3e-4)},
                           settings=Settings(steps=40))  # fmt: skip
    assert len(task.splits["train"]) == 48
    assert system.score("intents", "PET") > 1 / 12 + 5 * (1 / 12 * 11 / 12 / 300) ** 0.5


@pytest.mark.real
def test_real_atis(real_data):
    task = atis_task(real_data / "atis")
    assert task.labels == (
        "abbreviation", "aircraft", "airfare", "airline", "flight", "flight time", "ground service", "quantity",
    )  # fmt: skip
    assert (len(task.splits["train"]), len(task.splits["dev"]), len(task.splits["test"])) == (4349, 485, 800)


@pytest.mark.real
def test_real_intents_from_dozens_of_questions(real_data):
    """Sixteen real questions an intent and a head on a real encoder: most of the real test questions are understood."""
    from labkit.evaluation import evaluate
    from labkit.foundations.heads import HeadClassifier, add_head
    from labkit.tasks.metrics import score
    from labkit.training import Batches, fit

    task = atis_task(real_data / "atis").few_shot(16, 0)
    base = load("minilm")
    model, how = add_head(base.model, task.labels, "mean", seed=0), HeadClassifier(base.tokenizer, task.fields, 48)
    fit(model, how.loss, Batches(task.splits["train"], how.collate, 16), steps=60, lr=1e-3, progress=False)
    gold = [row["label"] for row in task.splits["test"]]
    found = evaluate(model, how, task, progress=False)["macro_f1"]
    blind = score("macro_f1", gold, [task.labels.index("flight")] * len(gold))
    print(f"16 questions an intent: macro-F1 {100 * found:.1f}, always the commonest intent {100 * blind:.1f}")
    assert found > blind + 0.4
