"""Label vectors: they start as PET's words, they train with the model, and they come off again."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from labkit.errors import UsageError
from labkit.evaluation import predict
from labkit.fewshot.pet import PET
from labkit.fewshot.prompts.soft_verbalizer import SoftVerbalizer
from labkit.fewshot.prompts.verbalizer import Verbalizer
from labkit.training import Batches, fit
from tests.fewshot.tiny_prompts import ID, LABELS, ROWS, TEMPLATE, fingerprints, tiny_bert, tiny_tokenizer


@pytest.fixture(scope="module")
def tokenizer():
    return tiny_tokenizer()


def soft(tokenizer, words=None):
    return SoftVerbalizer(TEMPLATE, tuple(LABELS), tokenizer, words=words)


@torch.no_grad()
def test_with_the_words_vectors_it_is_pet(tokenizer):
    model, how, pet = tiny_bert(), soft(tokenizer, LABELS), PET(TEMPLATE, Verbalizer(LABELS, tokenizer), tokenizer)
    torch.nn.init.normal_(model.cls.predictions.bias)
    how.attach(model)
    found, wanted = (one.logits(model, one.collate(ROWS)).softmax(1) for one in (how, pet))
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-6)


def test_a_vector_is_the_mean_of_its_words_pieces(tokenizer):
    model = tiny_bert()
    words = {"negative": ("bad", "terrible")}
    soft(tokenizer, words).attach(model)
    table = model.get_output_embeddings().weight
    torch.testing.assert_close(
        model.label_vectors.weight[0], table[[ID["bad"], ID["terr"], ID["##ible"]]].mean(0), check_stride=False
    )
    other, again = tiny_bert(), tiny_bert()
    soft(tokenizer).attach(other, seed=1), soft(tokenizer).attach(again, seed=1)
    torch.testing.assert_close(other.label_vectors.weight, again.label_vectors.weight)
    assert (other.label_vectors.weight - model.label_vectors.weight).abs().max() > 0.01


def test_what_trains(tokenizer):
    model, how = tiny_bert(), soft(tokenizer, LABELS)
    before = fingerprints(model)
    how.attach(model)
    start = model.label_vectors.weight.detach().clone()
    history = fit(model, how.loss, Batches(ROWS, how.collate, 4), steps=30, lr=1e-2, progress=False)
    assert history.losses[-1] < 0.5 * history.losses[0]
    assert not torch.equal(model.label_vectors.weight, start)
    trained = predict(model, how, ROWS)
    how.fitted(model, ROWS)
    assert not hasattr(model, "label_vectors") and fingerprints(model) != before
    np.testing.assert_allclose(predict(model, how, ROWS), trained, rtol=1e-5, atol=1e-6)
    again = SoftVerbalizer.from_description(how.describe(), tokenizer)
    np.testing.assert_allclose(predict(model, again, ROWS), trained, rtol=1e-5, atol=1e-6)


def test_what_cannot_be_is_said(tokenizer):
    model, how = tiny_bert(), soft(tokenizer)
    with pytest.raises(UsageError, match="no label vectors: call attach"):
        how.logits(model, how.collate(ROWS))
    with pytest.raises(UsageError, match="attach.model. before training, fitted"):
        how.fitted(model)
    with pytest.raises(UsageError, match="has no label vectors"):
        how.detach(model)
    how.attach(model)
    with pytest.raises(UsageError, match="has label vectors already"):
        how.attach(model)
    with pytest.raises(UsageError, match="has no LM head"):
        soft(tokenizer).attach(tiny_bert().bert)
    with pytest.raises(UsageError, match="words for 'good': the labels are negative, positive"):
        soft(tokenizer, {"good": "good"})
    with pytest.raises(UsageError, match="one blank is read here, it has 2"):
        SoftVerbalizer("{text} {mask*2}", tuple(LABELS), tokenizer)
    with pytest.raises(UsageError, match="at least two labels"):
        SoftVerbalizer(TEMPLATE, ("one",), tokenizer)
    described = soft(tokenizer).describe()
    for wrong, message in [({"vectors": [[1.0]], "bias": [0.0]}, "one vector and one bias"),
                           ({"vectors": [["x"]]}, "lists of numbers"), ({"vectors": 3}, "cannot be 3")]:  # fmt: skip
        with pytest.raises(UsageError, match=message):
            SoftVerbalizer.from_description({**described, **wrong}, tokenizer)
    with pytest.raises(UsageError, match="'labels' is missing"):
        SoftVerbalizer.from_description({"template": TEMPLATE}, tokenizer)
