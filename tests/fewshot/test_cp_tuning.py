from __future__ import annotations

import copy
import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F
from transformers import AutoModel

from labkit.errors import DataError, UsageError
from labkit.evaluation import evaluate, predict
from labkit.fewshot.cp_tuning import CPTuning, pccl, similarities, universal_template
from labkit.fewshot.prompts.soft_tokens import attach_soft_tokens
from labkit.tasks import load_task
from labkit.training import Batches, fit
from labkit.zoo import load

M, GAMMA = 0.4, 64.0


@pytest.fixture(scope="module")
def base():
    return load("micro-bert-en")


@pytest.fixture(scope="module")
def task():
    return load_task("world/reviews").few_shot(16, 0)


def unit(*angles: float) -> torch.Tensor:
    return torch.tensor([[math.cos(a), math.sin(a)] for a in angles], dtype=torch.float64)


# The loss


def test_two_examples_of_two_classes_have_the_closed_form():
    for angle in (0.0, 0.5, 1.3, 2.5):
        s = math.cos(angle)
        right = math.log1p(math.exp(GAMMA * max(s + M, 0) * (s - M)))
        assert pccl(unit(0, angle), torch.tensor([0, 1])).item() == pytest.approx(right, rel=1e-9)


def test_three_examples_have_the_closed_form_with_both_kinds_of_pairs():
    features, labels = unit(0, 0.4, 1.1), torch.tensor([1, 1, 0])
    same, other, third = math.cos(0.4), math.cos(1.1), math.cos(0.7)
    push = math.log(sum(math.exp(GAMMA * (s + M) * (s - M)) for s in (other, third)))
    for k in (1.0, 2.0):
        pull = -GAMMA * (1 + M - same) / k * (same - (1 - M))
        assert pccl(features, labels, k=k).item() == pytest.approx(math.log1p(math.exp(push + pull)), rel=1e-9)


def test_the_gradient_is_that_with_the_weights_held_fixed():
    features = F.normalize(torch.randn(7, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64), dim=1)
    labels, gamma = torch.tensor([0, 1, 2, 0, 1, 2, 0]), 4.0
    first, second = torch.triu_indices(7, 7, offset=1)
    positive = labels[first] == labels[second]
    at = (features @ features.t())[first, second]
    a_n, a_p = (at + M).clamp(min=0)[~positive], (1 + M - at).clamp(min=0)[positive]

    def frozen(x: torch.Tensor) -> torch.Tensor:
        s = (x @ x.t())[first, second]
        push = (gamma * a_n * (s[~positive] - M)).exp().sum()
        pull = (-gamma * a_p * (s[positive] - (1 - M))).exp().sum()
        return (1 + push * pull).log()

    x = features.clone().requires_grad_()
    (found,) = torch.autograd.grad(pccl(x, labels, gamma=gamma), x)
    for row, column in ((0, 0), (3, 2), (6, 4)):
        step = torch.zeros_like(features)
        step[row, column] = 1e-6
        slope = (frozen(features + step) - frozen(features - step)) / 2e-6
        assert found[row, column].item() == pytest.approx(slope.item(), rel=1e-5, abs=1e-8)


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 9), st.integers(2, 4), st.integers(0, 10_000))
def test_the_order_of_the_examples_and_a_rotation_of_the_space_change_nothing(n, classes, seed):
    rng = torch.Generator().manual_seed(seed)
    features = F.normalize(torch.randn(n, 6, generator=rng, dtype=torch.float64), dim=1)
    labels = torch.randint(classes, (n,), generator=rng)
    turn, _ = torch.linalg.qr(torch.randn(6, 6, generator=rng, dtype=torch.float64))
    order = torch.randperm(n, generator=rng)
    value = pccl(features, labels)
    assert value >= 0 and torch.isfinite(value)
    assert pccl(features[order] @ turn, labels[order]).item() == pytest.approx(value.item(), rel=1e-9, abs=1e-12)


def test_one_kind_of_pair_alone_still_has_a_gradient():
    for labels in (torch.tensor([0, 1, 2]), torch.tensor([1, 1, 1])):
        x = unit(0, 0.9, 2.0).requires_grad_()
        pccl(x, labels).backward()
        assert torch.isfinite(x.grad).all() and x.grad.abs().sum() > 0
    x = unit(0.3).requires_grad_()
    pccl(x, torch.tensor([0])).backward()
    assert torch.equal(x.grad, torch.zeros_like(x))


def test_the_loss_is_nothing_where_the_classes_are_apart_and_much_where_they_are_mixed():
    apart = pccl(unit(0, 0.05, math.pi, math.pi + 0.05), torch.tensor([0, 0, 1, 1]))
    mixed = pccl(unit(0, 0.05, math.pi, math.pi + 0.05), torch.tensor([0, 1, 0, 1]))
    assert apart < 1e-3 and mixed > 50
    with pytest.raises(UsageError, match=r"features \(n, d\) and labels \(n,\)"):
        pccl(torch.zeros(3, 2), torch.tensor([0, 1]))


# The answer


def test_the_nearest_example_decides_or_the_nearest_mean():
    support, labels = unit(0.0, 2.0, 1.0).float(), torch.tensor([0, 0, 1])
    text = unit(1.6).float()
    nearest = similarities(text, support, labels, 2)
    assert torch.allclose(nearest, torch.tensor([[math.cos(0.4), math.cos(0.6)]]), atol=1e-6)
    mean = similarities(text, support, labels, 2, "mean")  # class 0's mean direction is at angle 1.0, like class 1's
    assert torch.allclose(mean, torch.tensor([[math.cos(0.6), math.cos(0.6)]]), atol=1e-6)


def test_a_support_text_is_its_own_neighbour_so_training_rows_are_answered_right(base, task):
    how = CPTuning.for_task(task, base.tokenizer).fitted(base.model, task.splits["train"])
    answers = predict(base.model, how, task.splits["train"], progress=False).argmax(1)
    assert [row["label"] for row in task.splits["train"]] == answers.tolist()


# The method


def test_the_features_are_the_inputs_of_the_decoder(base, task):
    how = CPTuning.for_task(task, base.tokenizer)
    batch = how.collate(task.splits["test"][:5])
    with torch.no_grad():
        features = how.features(base.model, batch)
        inputs = {key: batch[key] for key in ("input_ids", "attention_mask", "token_type_ids")}
        hidden = base.model.bert(**inputs).last_hidden_state
        at = hidden[torch.arange(5), batch["mask_positions"][:, 0]]
        right = F.normalize(base.model.cls.predictions.transform(at), dim=1)
    assert torch.allclose(features, right, atol=1e-5)
    assert torch.allclose(features.norm(dim=1), torch.ones(5), atol=1e-5)


def test_hidden_words_are_words_of_the_text_and_their_loss_is_the_models_own(base, task):
    how = CPTuning.for_task(task, base.tokenizer, mlm_weight=0.5, mlm_probability=0.5)
    rows = task.splits["train"][:8]
    plain, hidden = how.collate(rows), how.collate(rows, np.random.default_rng(0))
    named = hidden["mlm_labels"]
    chosen = named >= 0
    assert 0.3 < chosen.sum().item() / plain["attention_mask"].sum().item() < 0.6
    assert torch.equal(named[chosen], plain["input_ids"][chosen])
    assert not (chosen & hidden["soft_mask"]).any()
    assert not chosen[torch.arange(8), hidden["mask_positions"][:, 0]].any()
    with torch.no_grad():
        inputs = {key: hidden[key] for key in ("input_ids", "attention_mask", "token_type_ids")}
        logits = base.model(**inputs).logits
        mlm = F.cross_entropy(logits[chosen], named[chosen])
        right = pccl(how.features(base.model, hidden), hidden["labels"]) + 0.5 * mlm
        assert how.loss(base.model, hidden).item() == pytest.approx(right.item(), rel=1e-4)


def test_training_brings_a_class_together_and_answers_better_than_before(task):
    base = load("mini-bert-en")
    model, how = copy.deepcopy(base.model), CPTuning.for_task(task, base.tokenizer, mlm_weight=0)
    attach_soft_tokens(model, how.template, base.tokenizer)
    rows = task.splits["train"]
    before = evaluate(model, how.fitted(model, rows), task, progress=False)["accuracy"]
    fit(model, how.loss, Batches(rows, how.collate, 16, seed=0), steps=60, lr=3e-4, seed=0, progress=False)
    after = evaluate(model, how.fitted(model, rows), task, progress=False)["accuracy"]
    features, labels = how.support
    s = features @ features.t()
    same = labels[:, None] == labels[None]
    assert s[same].mean() > s[~same].mean() + 0.3
    assert after > 0.8 and after >= before


def test_a_model_without_a_language_models_head_gives_its_last_states(task):
    loaded = load("micro-bert-en")
    encoder = AutoModel.from_config(loaded.model.config)
    how = CPTuning.for_task(task, loaded.tokenizer, mlm_weight=0)
    batch = how.collate(task.splits["test"][:3])
    with torch.no_grad():
        inputs = {key: batch[key] for key in ("input_ids", "attention_mask", "token_type_ids")}
        states = encoder.eval()(**inputs).last_hidden_state[torch.arange(3), batch["mask_positions"][:, 0]]
        assert torch.allclose(how.features(encoder, batch), F.normalize(states, dim=1), atol=1e-5)
    wanting = CPTuning.for_task(task, loaded.tokenizer)
    with pytest.raises(UsageError, match="no masked-LM head: set mlm_weight=0"):
        wanting.loss(encoder, wanting.collate(task.splits["train"][:4], np.random.default_rng(0)))


def test_the_mean_of_the_last_states_may_be_compared_instead(base, task):
    how = CPTuning.for_task(task, base.tokenizer, feature="mean", mlm_weight=0)
    rows = task.splits["test"][:4]
    batch = how.collate(rows)
    with torch.no_grad():
        found = how.features(base.model, batch)
        for number, row in enumerate(rows):  # one by one, without padding
            alone = how.collate([row])
            inputs = {key: alone[key] for key in ("input_ids", "attention_mask", "token_type_ids")}
            right = base.model.bert(**inputs).last_hidden_state[0].mean(0)
            assert torch.allclose(found[number], F.normalize(right, dim=0), atol=1e-5)
    with pytest.raises(UsageError, match="set mlm_weight=0"):
        CPTuning.for_task(task, base.tokenizer, feature="mean")


def test_the_template_serves_one_and_two_texts_in_both_languages():
    assert str(universal_template(("text",))) == "{text} {soft:it is} {mask} ."
    both = universal_template(("sentence1", "sentence2"), "zh")
    assert str(both) == "{sentence1} {special:sep} {sentence2} {soft:这是} {mask}。"


def test_a_description_answers_as_the_method_did(base, task):
    how = CPTuning.for_task(task, base.tokenizer, rule="mean").fitted(base.model, task.splits["train"])
    again = CPTuning.from_description(json.loads(json.dumps(how.describe())), base.tokenizer)
    rows = task.splits["test"][:20]
    there, here = (predict(base.model, one, rows, progress=False) for one in (again, how))
    assert np.array_equal(there, here)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": [[1.0]], "examples": [0, 1]}, "one list of numbers for each"),
        ({"features": [[1.0], ["a"]], "examples": [0, 1]}, "numbers are needed"),
        ({"features": [[1.0]], "examples": [7]}, "indices from 0 to 1"),
        ({"rule": "nearst"}, "nearest"),
        ({"nonsense": 1}, "nonsense"),
    ],
)
def test_a_damaged_description_is_refused(base, task, change, message):
    known = CPTuning.for_task(task, base.tokenizer).describe()
    with pytest.raises(UsageError, match=message):
        CPTuning.from_description({**known, **change}, base.tokenizer)


def test_what_cannot_work_says_why(base, task):
    how = CPTuning.for_task(task, base.tokenizer)
    with pytest.raises(UsageError, match=r"call fitted\(model, rows\) after training"):
        predict(base.model, how, task.splits["test"][:2], progress=False)
    with pytest.raises(DataError, match="no labelled example of 'positive'"):
        how.fitted(base.model, [row for row in task.splits["train"] if row["label"] == 0])
    with pytest.raises(UsageError, match="no label"):
        how.loss(base.model, how.collate([{"text": "a fine film"}]))
