from __future__ import annotations

import json

import numpy as np
import pytest

from labkit.errors import UsageError
from labkit.evaluation import predict
from labkit.fewshot.auto_prompts import with_demonstrations
from labkit.fewshot.cp_tuning import CPTuning
from labkit.fewshot.describing import KINDS, describe, restore
from labkit.fewshot.pet import PET
from labkit.fewshot.pet.fuzzy import FuzzyPET
from labkit.fewshot.prompts.generative import GenerativePET
from labkit.fewshot.soft_prompts import WARP, PTuning
from labkit.tasks import load_task
from labkit.zoo import load


@pytest.fixture(scope="module")
def base():
    return load("micro-bert-en")


@pytest.fixture(scope="module")
def task():
    return load_task("world/reviews").few_shot(2, 0)


def made(base, task):
    pet = PET.for_task(task, base.tokenizer)
    return {
        "pet": pet,
        "generative": GenerativePET.for_task(task, base.tokenizer),
        "cp-tuning": CPTuning.for_task(task, base.tokenizer).fitted(base.model, task.splits["train"]),
        "fuzzy": FuzzyPET.for_task(task, base.tokenizer),
        "p-tuning": PTuning(pet.template, pet.verbalizer, base.tokenizer),
    }


@pytest.mark.parametrize(
    ("name", "kind"),
    [("pet", "pet"), ("generative", "generative"), ("cp-tuning", "cp-tuning"), ("fuzzy", "pet"), ("p-tuning", "pet")],
)
def test_a_method_comes_back_as_what_describes_it_and_answers_the_same(base, task, name, kind):
    method, rows = made(base, task)[name], task.splits["test"][:6]
    description = json.loads(json.dumps(describe(method)))
    assert description["kind"] == kind
    again = restore(description, base.tokenizer)
    assert type(again) is KINDS[kind]
    there, here = (predict(base.model, how, rows, progress=False) for how in (again, method))
    assert np.allclose(there, here, atol=1e-6)


def test_a_warp_is_no_pet(base, task):
    pet = PET.for_task(task, base.tokenizer)
    assert describe(WARP(pet.template, pet.verbalizer, base.tokenizer))["kind"] == "warp"


def test_a_method_that_says_more_than_its_class_can_read_is_refused(base, task):
    pet = PET.for_task(task, base.tokenizer)
    shown = with_demonstrations(pet, base.model, task.splits["train"])
    for method in (shown, object()):
        with pytest.raises(UsageError, match="cannot be saved as an app; savable methods: head, pet, "):
            describe(method)
    with pytest.raises(UsageError, match="pet"):
        restore({"kind": "pett"}, base.tokenizer)
