"""Fuzzy-PET against its definition, and against PET where there is one set."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.nn import functional as F

from labkit.apps import load_app, save_app
from labkit.errors import UsageError
from labkit.evaluation import predict
from labkit.fewshot.pet import PET
from labkit.fewshot.pet.fuzzy import FuzzyPET
from labkit.fewshot.prompts.verbalizer import Verbalizer

SETS = [{"negative": "bad", "positive": "good"}, {"negative": "dull", "positive": "great"}]
TEMPLATE = "{text} it was {mask} ."
ROWS = [{"text": "the film was fine", "label": 1}, {"text": "a film", "label": 0}, {"text": "it was dull", "label": 0}]


@pytest.fixture(scope="module")
def parts(tiny_parts):
    model, tokenizer, _, task = tiny_parts("pet")
    return model, tokenizer, task


def test_one_set_is_pet_in_loss_answer_and_gradient(parts):
    model, tokenizer, _ = parts
    fuzzy, pet = FuzzyPET(TEMPLATE, SETS[:1], tokenizer), PET(TEMPLATE, Verbalizer(SETS[0], tokenizer), tokenizer)
    batch = pet.collate(ROWS)
    torch.testing.assert_close(fuzzy.logits(model, batch), pet.logits(model, batch))
    gradients = []
    for method in (fuzzy, pet):
        twin = copy.deepcopy(model)
        loss = method.loss(twin, batch)
        loss.backward()
        gradients.append([loss.detach(), *(p.grad for p in twin.parameters() if p.grad is not None)])
    torch.testing.assert_close(*gradients)


def test_answers_add_up_probabilities_and_losses_are_averaged(parts):
    model, tokenizer, _ = parts
    fuzzy = FuzzyPET(TEMPLATE, SETS, tokenizer)
    batch = fuzzy.collate(ROWS)
    logits = fuzzy.mask_logits(model, batch)[:, 0]
    ids = torch.tensor([[tokenizer.convert_tokens_to_ids(one[label]) for one in SETS] for label in SETS[0]])
    mass = logits.softmax(1)[:, ids].sum(2)  # (batch, classes)
    torch.testing.assert_close(fuzzy.logits(model, batch).softmax(1), mass / mass.sum(1, keepdim=True))
    by_hand = sum(F.cross_entropy(logits[:, ids[:, n]], batch["labels"]) for n in range(2)) / 2
    torch.testing.assert_close(fuzzy.loss(model, batch), by_hand)


def test_a_class_with_more_words_has_their_sum_not_their_mean(parts):
    model, tokenizer, _ = parts
    fuzzy = FuzzyPET(TEMPLATE, [SETS[0], {"negative": "dull", "positive": "good"}], tokenizer)
    batch = fuzzy.collate(ROWS)
    p = fuzzy.mask_logits(model, batch)[:, 0].softmax(1)
    bad, dull, good = (p[:, tokenizer.convert_tokens_to_ids(word)] for word in ("bad", "dull", "good"))
    torch.testing.assert_close(fuzzy.logits(model, batch).softmax(1)[:, 0], (bad + dull) / (bad + dull + good))


def test_a_word_in_two_sets_counts_once(parts):
    model, tokenizer, _ = parts
    twice = FuzzyPET(TEMPLATE, [SETS[0], SETS[0]], tokenizer)
    once = FuzzyPET(TEMPLATE, SETS[:1], tokenizer)
    batch = once.collate(ROWS)
    torch.testing.assert_close(twice.logits(model, batch), once.logits(model, batch))
    torch.testing.assert_close(twice.loss(model, batch), once.loss(model, batch))


def test_a_tasks_words_become_sets(parts):
    _, tokenizer, task = parts
    words = {"negative": ("bad", "dull", "film"), "positive": ("good",)}
    fuzzy = FuzzyPET.for_task(type(task)(**{**vars(task), "words": words}), tokenizer, words=3)
    assert [dict(one.words) for one in fuzzy.sets] == [
        {"negative": (word,), "positive": ("good",)} for word in words["negative"]
    ]


def test_a_saved_one_answers_as_before(parts, tmp_path):
    model, tokenizer, task = parts
    fuzzy = FuzzyPET(TEMPLATE, SETS, tokenizer)
    app = load_app(save_app(tmp_path / "app", model, tokenizer, fuzzy, task))
    (found,) = app.predict("the film was fine")
    assert list(found["probabilities"].values()) == pytest.approx(predict(model, fuzzy, ROWS[:1])[0].tolist(), abs=1e-5)


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        ([], "at least one set"),
        ([SETS[0], {"positive": "good", "negative": "bad"}], "set 2 of label words is for positive, negative"),
        ([SETS[0], {"negative": "good", "positive": "bad"}], "share it"),
        ([{"negative": "bad", "positive": "unheard"}], "not in the tokenizer's vocabulary"),
    ],
)
def test_sets_that_cannot_be_are_refused(parts, sets, message):
    with pytest.raises(UsageError, match=message):
        FuzzyPET(TEMPLATE, sets, parts[1])
