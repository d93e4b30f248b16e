from __future__ import annotations

import numpy as np
import pytest
import torch

from labkit.errors import UsageError
from labkit.evaluation import predict
from labkit.fewshot.methods import METHODS, Start, adapt, method_name
from labkit.tasks import load_task
from labkit.zoo import load

FROZEN = {"WARP"}


@pytest.fixture(scope="module")
def start():
    base = load("micro-bert-en")
    return Start(base.model, base.tokenizer, load_task("world/reviews").few_shot(2, 0), seed=3)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_leaves_the_backbone_alone_and_is_deterministic(start, name):
    before = {key: value.clone() for key, value in start.model.state_dict().items()}
    rows, answers = start.task.splits["test"][:8], []
    for _ in range(2):
        found = adapt(start, name, steps=2, progress=False)
        answers.append(predict(found.model, found.method, rows, progress=False))
    assert np.array_equal(*answers) and answers[0].shape == (8, 2)
    assert np.allclose(answers[0].sum(1), 1, atol=1e-5)
    assert all(torch.equal(value, before[key]) for key, value in start.model.state_dict().items())
    assert all(parameter.requires_grad for parameter in start.model.parameters())
    trained = {key.replace(".base.", "."): value for key, value in found.model.state_dict().items()}
    moved = [key for key, value in before.items() if key in trained and not torch.equal(trained[key], value)]
    assert bool(moved) != (name in FROZEN)


def test_a_name_may_be_written_in_several_ways():
    for text in ("LM-BFF (T+L)", "lm-bff-t-l", "lm bff t l"):
        assert method_name(text) == "LM-BFF (T+L)"
    assert method_name("fine-tune-mean") == "fine-tune [mean]"
    with pytest.raises(UsageError, match="CP-Tuning"):
        method_name("cp-tunning")


def test_the_rate_depends_on_the_size_of_the_model(start):
    assert METHODS["PET"].rate_for(start.model) == 3e-5
    wide = type("M", (), {"config": type("C", (), {"hidden_size": 768})})()
    assert METHODS["CP-Tuning"].rate_for(wide) == 5e-5 and METHODS["WARP"].rate_for(wide) == 1e-2
