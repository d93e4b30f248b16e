"""The stages: what each changes, what none may see, and what they say where they can do nothing."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pytest
import torch

from labkit.errors import DataError, UsageError
from labkit.fewshot.fewclue import (
    LESS_ONE,
    STAGES,
    FewClueSystem,
    Rates,
    RowCandidates,
    Settings,
    Stage,
    cloze_for,
    training_view,
)
from labkit.fewshot.fewclue import system as module
from labkit.fewshot.fewclue.clozes import is_fuzzy
from labkit.fewshot.instruction.multitask import continue_pretraining
from labkit.fewshot.pet import PET
from labkit.fewshot.pet.fuzzy import FuzzyPET
from labkit.fewshot.prompts.generative import GenerativePET
from labkit.tasks import FEWCLUE, Task, load_task
from labkit.zoo import load

QUICK = Settings(steps=3, multitask_steps=2, unlabelled=40)
WORDS = {"Negative": ("差", "坏"), "Positive": ("好", "棒")}


@pytest.fixture(scope="module")
def base():
    return load("micro-bert-zh")


def small(name, rows=24, shots=4):
    task = load_task(f"world/fewclue/{name}").few_shot(shots, 0, dev=False)
    cut = {split: some if split == "train" else some[:rows] for split, some in task.splits.items()}
    return replace(task, splits=cut)


@pytest.fixture(scope="module")
def tasks():
    return {name: small(name) for name in ("eprstmt", "chid", "bustm")}


def digest(model):
    total = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        total.update(name.encode() + value.numpy().tobytes())
    return total.hexdigest()


# Clozes


@pytest.mark.parametrize("name", FEWCLUE)
def test_every_shape_becomes_a_cloze_that_can_be_trained(base, name):
    task = small(name, 8)
    for words in (1, 3):
        method = cloze_for(task, base.tokenizer, words=words)
        batch = method.collate(task.splits["train"][:4])
        assert method.logits(base.model, batch).shape == (4, len(task.labels))
        assert torch.isfinite(method.loss(base.model, batch))
        assert is_fuzzy(task, words) == (words > 1 and any(len(some) > 1 for some in task.words.values()))


def test_which_method_reads_which_shape(base):
    tokenizer = base.tokenizer
    assert type(cloze_for(small("eprstmt"), tokenizer)) is PET
    assert type(cloze_for(small("eprstmt"), tokenizer, words=2)) is FuzzyPET
    assert type(cloze_for(small("ocnli"), tokenizer)) is PET
    mixed = replace(small("ocnli"), words={**small("ocnli").words, "entailment": ("是", "没错")})
    assert type(cloze_for(mixed, tokenizer, words=3)) is GenerativePET, "是 has one piece, 没错 two"
    assert type(cloze_for(small("chid"), tokenizer, words=3)) is RowCandidates
    names = replace(small("csldcp"), words={name: (name,) for name in small("csldcp").labels})
    longer = replace(names, words={**names.words, names.labels[0]: ("数学物理",)})
    assert type(cloze_for(longer, tokenizer)) is GenerativePET


def test_the_authors_own_pattern_for_ocnli(base):
    """Their sets of words ("relevant / irrelevant / opposite", "containing / neutral / reverse"), said in Chinese."""
    words = {"entailment": ("相关", "包含"), "neutral": ("无关", "中性"), "contradiction": ("相反", "反向")}
    task = replace(small("ocnli"), words=words)
    method = cloze_for(task, base.tokenizer, "“{text_a}”和“{text_b}”的关系是{mask*2}。", words=2)
    assert type(method) is FuzzyPET and len(method.sets) == 2
    assert method.logits(base.model, method.collate(task.splits["test"][:4])).shape == (4, 3)


def test_words_and_patterns_that_are_not_there(base):
    with pytest.raises(UsageError, match="words=0: at least one word"):
        cloze_for(small("eprstmt"), base.tokenizer, words=0)
    for name in ("eprstmt", "ocnli"):
        with pytest.raises(UsageError, match="no pattern number 9"):
            cloze_for(small(name), base.tokenizer, 9, words=3)


# Stages


def test_stages_add_one_part_each():
    parts = ("knowledge", "multitask", "fuzzy", "self_training")
    cumulative = [stage for stage in STAGES if not stage.head]
    for before, after in zip(cumulative, cumulative[1:], strict=False):
        assert sum(getattr(after, part) - getattr(before, part) for part in parts) == 1
    assert all(sum(getattr(stage, part) for part in parts) == 3 for stage in LESS_ONE)


def test_the_stages_start_from_the_models_they_say(base, tasks):
    before = digest(base.model)
    system = FewClueSystem(base.model, base.tokenizer, tasks, settings=QUICK)
    assert system.backbone("PET") is base.model
    assert system.backbone("+ knowledge") is base.model, "without a hook there is no knowledge"
    continued = system.backbone("+ multi-task")
    assert continued is system.backbone("+ self-training") and digest(continued) != before
    assert system.fit("eprstmt", "+ knowledge") is system.fit("eprstmt", "PET")
    for stage in STAGES:
        assert 0 <= system.score("eprstmt", stage) <= 1
    assert digest(base.model) == before, "the backbone itself is never trained"


def test_knowledge_is_a_model_in_the_backbones_place(base, tasks):
    known = load("micro-bert-zh").model
    with torch.no_grad():
        known.bert.embeddings.word_embeddings.weight.add_(0.1)
    system = FewClueSystem(base.model, base.tokenizer, tasks, hook=known, settings=QUICK)
    assert system.backbone("PET") is base.model and system.backbone("+ knowledge") is known
    assert system.fit("eprstmt", "+ knowledge") is not system.fit("eprstmt", "PET")
    assert digest(system.backbone("+ multi-task")) not in (digest(known), digest(base.model))
    assert system.note("eprstmt", "+ knowledge") == ""


def test_the_multi_task_stage_sees_no_row_that_is_judged(base, tasks, monkeypatch):
    seen = []

    def spy(model, tokenizer, views, **options):
        seen.extend(views)
        return continue_pretraining(model, tokenizer, views, **options)

    planted = tasks["eprstmt"].splits["test"][0]
    leaky = {
        **tasks["eprstmt"].splits,
        "unlabelled": [*tasks["eprstmt"].splits["unlabelled"], {**planted, "label": None}],
    }
    given = {**tasks, "eprstmt": replace(tasks["eprstmt"], splits=leaky)}
    monkeypatch.setattr(module, "continue_pretraining", spy)
    FewClueSystem(base.model, base.tokenizer, given, settings=QUICK).backbone("+ multi-task")
    assert [view.name for view in seen] == [task.name for task in tasks.values()]
    for view, task in zip(seen, given.values(), strict=True):
        assert set(view.splits) <= {"train", "unlabelled"}
        held = {row[task.fields[0]] for row in task.splits["test"]}
        assert not held & {row[task.fields[0]] for row in view.splits["unlabelled"]}
        assert view.splits["train"] == task.splits["train"]
    assert len(seen[0].splits["unlabelled"]) == len(leaky["unlabelled"]) - 1
    assert training_view(replace(given["eprstmt"], splits={"train": leaky["train"]})).splits.keys() == {"train"}


def test_self_training_adds_the_surest_rows_of_each_class(base, tasks, monkeypatch):
    rows = []
    settings = replace(QUICK, rounds=1, growth=2)
    system = FewClueSystem(base.model, base.tokenizer, tasks, settings=settings)
    original = FewClueSystem._cloze

    def spy(self, task, name, stage, fuzzy, given):
        rows.append(given)
        return original(self, task, name, stage, fuzzy, given)

    monkeypatch.setattr(FewClueSystem, "_cloze", spy)
    system.fit("eprstmt", "+ self-training")
    labelled, grown = rows
    assert labelled == tasks["eprstmt"].splits["train"] and grown[: len(labelled)] == labelled
    more = grown[len(labelled) :]
    texts = {row["text"] for row in tasks["eprstmt"].splits["unlabelled"]}
    assert 0 < len(more) <= len(labelled) and {row["text"] for row in more} <= texts
    assert np.bincount([row["label"] for row in more], minlength=2).max() <= 4
    system.fit("eprstmt", "+ Fuzzy-PET")
    assert len(rows) == 2, "the model trained first is the stage before"


def test_what_a_stage_cannot_do_is_said(base, tasks):
    bare = {name: replace(task, splits={"train": task.splits["train"], "test": task.splits["test"]})
            for name, task in tasks.items()}  # fmt: skip
    bare["bustm"] = replace(bare["bustm"], words={label: some[:1] for label, some in bare["bustm"].words.items()})
    system = FewClueSystem(base.model, base.tokenizer, bare, settings=QUICK)
    assert system.note("eprstmt", "PET") == ""
    assert system.note("chid", "+ self-training") == "hook: none; no label words; no unlabelled rows"
    assert system.note("bustm", "+ Fuzzy-PET") == "hook: none; one word a label"
    assert system.fit("chid", "+ self-training") is system.fit("chid", "+ multi-task")


def test_fewer_unlabelled_rows_come_from_all_over_the_split(base, tasks, monkeypatch):
    """A file may be sorted: its first rows would be of one class. And the note says how many they are."""
    given, seen = tasks["eprstmt"], []
    monkeypatch.setattr(module, "self_training", lambda train, rows, unlabelled, *_, **__: seen.append(unlabelled))
    system = FewClueSystem(base.model, base.tokenizer, tasks, settings=replace(QUICK, unlabelled=6))
    system._taught(given, "eprstmt", None, STAGES[-1], True)
    texts = [row["text"] for row in given.splits["unlabelled"]]
    places = [texts.index(row["text"]) for row in seen[0]]
    assert len(set(places)) == 6 and max(places) >= 12, "from both halves of the 24"
    assert system.note("eprstmt", "+ self-training") == "hook: none; 6 of 24 unlabelled rows"


def test_answers_are_for_the_rows_that_are_asked(base, tasks):
    system = FewClueSystem(base.model, base.tokenizer, tasks, {"chid": Rates(cloze=1e-3)}, settings=QUICK)
    found = system.answers("chid", "PET", "test")
    assert found.shape == (24,) and set(found) <= set(range(7))
    right = np.mean(found == [row["label"] for row in tasks["chid"].splits["test"]])
    assert system.score("chid", "PET") == pytest.approx(right)
    with pytest.raises(UsageError, match="unknown split 'submission'"):
        system.answers("chid", "PET")
    with pytest.raises(UsageError, match="unknown task 'chidd': did you mean 'chid'"):
        system.score("chidd", "PET")
    with pytest.raises(UsageError, match="unknown stage 'PETT': did you mean 'PET'"):
        system.score("chid", "PETT")
    assert system.fit("chid", Stage("mine")) is system.fit("chid", "PET")
    kept = system.fit("chid", "PET")
    system.forget()
    assert system.fit("chid", "PET") is not kept


def test_too_few_examples(base):
    row = {"text": "很好", "label": 1}

    def task(rows):
        return Task("fewclue/eprstmt", ("text",), ("Negative", "Positive"), {"train": rows}, words=WORDS,
                    patterns=("{text}很{mask}。",), language="zh")  # fmt: skip

    def system(rows):
        return FewClueSystem(base.model, base.tokenizer, {"eprstmt": task(rows)})

    with pytest.raises(
        DataError, match="task fewclue/eprstmt: split 'train', field 'label': 0 rows of label 'Negative'; add some"
    ):
        system([row])
    with pytest.raises(DataError, match="split 'train' has no rows"):
        system([])
    with pytest.raises(UsageError, match="at least one task"):
        FewClueSystem(base.model, base.tokenizer, {})


# Behaviour: what the stages are for


def test_the_gap_itself_is_a_better_blank_than_a_number(base):
    """Without an example: idioms scored in the gap are above chance, a number of a list is not."""
    task = replace(small("chid", 300), splits={"test": small("chid", 300).splits["test"]})
    gold = np.array([row["label"] for row in task.splits["test"]])
    from labkit.evaluation import predict

    right = {}
    for name, method in (("gap", cloze_for(task, base.tokenizer)), ("number", PET.for_task(task, base.tokenizer))):
        right[name] = np.mean(predict(base.model, method, task.splits["test"]).argmax(1) == gold)
    chance, error = 1 / 7, (1 / 7 * 6 / 7 / len(gold)) ** 0.5
    assert right["gap"] > chance + 3 * error and right["gap"] > right["number"] + 3 * error
