"""Template ensembles against `soft_labels`, which averages models as this averages templates."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from labkit.errors import DataError, UsageError
from labkit.evaluation import predict
from labkit.fewshot.pet import PET
from labkit.fewshot.pet.self_training import Member, soft_labels
from labkit.fewshot.prompts.ensemble import TemplateEnsemble
from labkit.fewshot.prompts.verbalizer import Verbalizer
from labkit.tasks import Task
from labkit.training import Batches, fit
from tests.fewshot.tiny_prompts import LABELS, ROWS, TEMPLATE, tiny_bert, tiny_tokenizer

TOKENIZER = tiny_tokenizer()
PATTERNS = (TEMPLATE, "{mask} news : {text}", "{text} so {mask}")


def ensemble(weights=None, words=LABELS):
    return TemplateEnsemble([PET(one, Verbalizer(words, TOKENIZER), TOKENIZER) for one in PATTERNS], weights)


@pytest.mark.parametrize("weights", [None, (0.9, 0.0, 0.3)])
def test_it_is_the_soft_labels_of_its_members(weights):
    model, how = tiny_bert(), ensemble(weights)
    members = [Member(model, one, weight) for one, weight in zip(how.members, how.weights, strict=True)]
    wanted = soft_labels(members, ROWS, temperature=1.0)
    np.testing.assert_allclose(predict(model, how, ROWS), wanted, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_its_loss_is_the_mean_of_its_members():
    model, how = tiny_bert(), ensemble()
    losses = [one.loss(model, one.collate(ROWS)) for one in how.members]
    torch.testing.assert_close(how.loss(model, how.collate(ROWS)), torch.stack(losses).mean())


def test_it_trains_all_templates():
    model, how = tiny_bert(), ensemble()
    fit(model, how.loss, Batches(ROWS, how.collate, 4), steps=40, lr=5e-3, progress=False)
    labels = [row["label"] for row in ROWS]
    assert all(predict(model, one, ROWS).argmax(1).tolist() == labels for one in how.members)


def test_weights_are_accuracies():
    model, how = tiny_bert(), ensemble()
    labels = np.array([row["label"] for row in ROWS])
    right = [float((predict(model, one, ROWS).argmax(1) == labels).mean()) for one in how.members]
    assert how.weighted(model, ROWS).weights == tuple(right) and how.weights == (1, 1, 1)
    wrong = [{**ROWS[0], "label": 1 - int(predict(model, one, ROWS[:1]).argmax())} for one in how.members[:1]]
    assert sum(TemplateEnsemble(how.members[:1]).weighted(model, wrong).weights) == 1  # all wrong: equal
    with pytest.raises(DataError, match="weights need labelled rows"):
        how.weighted(model, [{"text": "good"}])


def test_calibration_and_description():
    model, how = tiny_bert(), ensemble((1, 2, 3))
    calibrated = how.calibrated(model, ROWS)
    assert all(one.verbalizer.prior for one in calibrated.members) and calibrated.weights == (1, 2, 3)
    again = TemplateEnsemble.from_description(calibrated.describe(), TOKENIZER)
    np.testing.assert_array_equal(predict(model, again, ROWS), predict(model, calibrated, ROWS))
    task = Task("own", ("text",), tuple(LABELS), {"train": ROWS}, patterns=PATTERNS,
                words={label: (word,) for label, word in LABELS.items()})  # fmt: skip
    assert [str(one.template) for one in TemplateEnsemble.for_task(task, TOKENIZER).members] == list(PATTERNS)


def test_what_cannot_be_is_said():
    for weights in ((1, 1), (0, 0, 0), (-1, 1, 1)):
        with pytest.raises(UsageError, match="one of at least 0 a member is needed, and not all 0"):
            ensemble(weights)
    with pytest.raises(UsageError, match="members with the same labels; it has 0"):
        TemplateEnsemble([])
    other = PET(TEMPLATE, Verbalizer({"a": "bad", "b": "good"}, TOKENIZER), TOKENIZER)
    with pytest.raises(UsageError, match="members with the same labels"):
        TemplateEnsemble([*ensemble().members, other])
