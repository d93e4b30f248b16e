"""PET against a plain forward pass of the same model, its training, its auxiliary loss, and its description."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from transformers import BertTokenizer

from labkit.errors import UsageError
from labkit.fewshot.pet import PET
from labkit.fewshot.prompts.template import Template
from labkit.fewshot.prompts.verbalizer import Verbalizer
from labkit.foundations.pretraining import IGNORE
from tests.fewshot import soft_prompt_models
from tests.fewshot.soft_prompt_models import ID, WORDS, bert, roberta, task

ROWS = soft_prompt_models.ROWS[:3]


@pytest.fixture(scope="module")
def tokenizer():
    return BertTokenizer(vocab=ID, model_max_length=32)


def test_probabilities_are_the_language_models_own(tokenizer):
    model, pet = bert(), PET.for_task(task(), tokenizer)
    with torch.no_grad():
        found = pet.logits(model, pet.collate(ROWS, None)).softmax(-1)
        for row, line in zip(ROWS, found, strict=True):
            inputs = tokenizer(f"{row['text']} it was [MASK] .", return_tensors="pt")
            at = (inputs["input_ids"][0] == ID["[MASK]"]).nonzero().item()
            p = model(**inputs).logits[0, at].softmax(-1)[[ID["bad"], ID["good"]]]
            torch.testing.assert_close(line, p / p.sum(), rtol=1e-4, atol=1e-6)
    assert found[:, 0].std() > 1e-3


def test_roberta_too(tokenizer):
    model, pet = roberta(), PET.for_task(task(), tokenizer)
    batch = pet.collate(ROWS, None)
    with torch.no_grad():
        whole = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
        wanted = whole[torch.arange(3), batch["mask_positions"][:, 0]][:, [ID["bad"], ID["good"]]].softmax(-1)
        torch.testing.assert_close(pet.logits(model, batch).softmax(-1), wanted)


def test_the_loss_is_cross_entropy_and_wants_labels(tokenizer):
    model, pet = bert(), PET.for_task(task(), tokenizer, words=2)
    batch = pet.collate(ROWS, None)
    picked = pet.logits(model, batch).log_softmax(-1)[torch.arange(3), torch.tensor([1, 0, 1])]
    torch.testing.assert_close(pet.loss(model, batch), -picked.mean())
    with pytest.raises(UsageError, match="no label"):
        pet.loss(model, pet.collate([{"text": "dull", "label": None}], None))


def test_the_head_runs_at_the_blanks_only(tokenizer):
    model, pet, seen = bert(), PET.for_task(task(), tokenizer), []
    model.cls.register_forward_hook(lambda _, __, out: seen.append(out.shape[:-1].numel()))
    pet.loss(model, pet.collate(ROWS, None))
    assert seen == [3]


def test_for_task_takes_the_tasks_own_patterns_and_words(tokenizer):
    pet = PET.for_task(task(), tokenizer, pattern=1, words=2, aggregate="max", max_length=20)
    assert str(pet.template) == "{mask} ! {text}" and pet.max_length == 20 and pet.verbalizer.aggregate == "max"
    assert pet.verbalizer.words == {"negative": ("bad", "dull"), "positive": ("good", "great")}
    assert PET.for_task(task(), tokenizer, words=9).verbalizer.words["positive"] == ("good", "great", "fine")
    assert str(PET.for_task(task(), tokenizer, pattern="I {mask} {text}").template) == "I {mask} {text}"
    with pytest.raises(UsageError, match="it has 2"):
        PET.for_task(task(), tokenizer, pattern=2)
    with pytest.raises(UsageError, match="did you mean 'text'"):
        PET.for_task(task(), tokenizer, pattern="{texts} {mask}")
    with pytest.raises(UsageError, match="label 'negative' has no label words"):
        PET.for_task(task(words={"positive": ("good",)}), tokenizer)
    with pytest.raises(UsageError, match="at least one word"):
        PET.for_task(task(), tokenizer, words=0)


def test_words_of_two_characters_widen_the_blank(tokenizer):
    words = {"negative": ("很坏",), "positive": ("很好",)}
    pet = PET.for_task(task(words=words, patterns=("{text}{mask}。",)), tokenizer)
    assert str(pet.template) == "{text}{mask*2}。" and pet.collate(ROWS, None)["mask_positions"].shape == (3, 2)
    model, batch = bert(), pet.collate(ROWS, None)
    with torch.no_grad():
        inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "token_type_ids")}
        p = model(**inputs).logits.softmax(-1)
        rows, (first, second) = torch.arange(3), batch["mask_positions"].t()
        both = [p[rows, first, ID["很"]] * p[rows, second, ID[last]] for last in ("坏", "好")]
        torch.testing.assert_close(pet.logits(model, batch).exp(), torch.stack(both, 1), rtol=1e-4, atol=1e-8)
    with pytest.raises(UsageError, match="'很坏' is 2 pieces"):  # lengths differ: nothing to guess
        PET.for_task(task(words={**words, "positive": ("好",)}), tokenizer)
    with pytest.raises(UsageError, match=r"blanks: 2, pieces of a label word: 1; write \{mask\*1\}"):
        PET("{mask} {mask}", Verbalizer({"a": "good", "b": "bad"}, tokenizer), tokenizer)


def test_a_few_steps_lower_the_loss(tokenizer):
    model, pet = bert(initializer_range=0.02).train(), PET.for_task(task(), tokenizer)
    rng = np.random.default_rng(0)
    nouns = ["film", "book"]
    rows = [{"text": f"the {rng.choice(nouns)} I {('hate', 'love')[label]}", "label": label} for label in [0, 1] * 8]
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(30):
        loss = pet.loss(model, pet.collate(rows, rng))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(np.log(2), abs=0.1) and losses[-1] < 0.1
    with torch.no_grad():
        answers = pet.logits(model.eval(), pet.collate(rows, None)).argmax(-1)
    assert answers.tolist() == [0, 1] * 8


def test_the_auxiliary_loss_reads_unlabelled_text(tokenizer):
    unlabelled = [{"text": "the film was good . " * 3}, {"text": "a book a book a book"}]
    options = {"mlm_weight": 0.25, "unlabelled": unlabelled}
    model, plain, pet = bert(), PET.for_task(task(), tokenizer), PET.for_task(task(), tokenizer, **options)
    batch = pet.collate(ROWS, np.random.default_rng(1))
    labels = batch["mlm_labels"]
    assert (labels != IGNORE).any() and "mlm_labels" not in pet.collate(ROWS, None)
    assert len(labels) == 3  # as many unlabelled rows as labelled ones, so that a batch can be split along its rows
    assert not torch.isin(
        labels, torch.tensor(tokenizer.all_special_ids)
    ).any()  # the template's own blank asks nothing
    inputs = {name: batch[f"mlm_{name}"] for name in ("input_ids", "attention_mask", "token_type_ids")}
    wanted = 0.75 * plain.loss(model, batch) + 0.25 * model(**inputs, labels=labels).loss
    torch.testing.assert_close(pet.loss(model, batch), wanted)
    for wrong in ({"mlm_weight": 0.1}, {"mlm_weight": 2.0, "unlabelled": unlabelled}):
        with pytest.raises(UsageError, match="mlm_weight"):
            PET.for_task(task(), tokenizer, **wrong)


def test_calibration_makes_the_answers_even(tokenizer):
    model, pet = bert().train(), PET.for_task(task(), tokenizer)
    with torch.no_grad():  # a model that says "good" whatever it reads
        model.cls.predictions.bias[ID["good"]] += 20
    rows = [{"text": f"the {noun} was {word}"} for noun in ("film", "book") for word in WORDS[5:18]]
    batch = pet.collate(rows, None)
    with torch.no_grad():
        assert (pet.logits(model, batch).argmax(-1) == 1).all()
        even = pet.calibrated(model, rows, batch_size=5)
        assert model.training
        share = even.logits(model, batch).argmax(-1).float().mean()
    assert 0.1 < share < 0.9
    assert pet.verbalizer.prior is None
    with pytest.raises(UsageError, match="at least one row"):
        pet.calibrated(model, [])


def test_a_description_makes_the_same_method(tokenizer):
    model, pet = bert(), PET.for_task(task(), tokenizer, words=2, aggregate="sum", max_length=24)
    for method in (pet, pet.calibrated(model, ROWS)):
        description = json.loads(json.dumps(method.describe()))
        again = PET.from_description(description, tokenizer)
        assert again.describe() == method.describe()
        with torch.no_grad():
            old, new = (m.logits(model, m.collate(ROWS, None)) for m in (method, again))
        torch.testing.assert_close(old, new)
    for wrong in (
        {"tempalte": "{mask}"},
        {"words": {"a": ["good"], "b": ["bad"]}},
        {"template": 3},
        {"template": "{mask}"},
    ):
        with pytest.raises(UsageError):
            PET.from_description(wrong, tokenizer)


def test_a_template_may_be_given_parsed(tokenizer):
    verbalizer = Verbalizer({"a": "good", "b": "bad"}, tokenizer)
    template = Template.parse("{text} {mask}")
    assert PET(template, verbalizer, tokenizer).template == template
