"""ProtoVerb: its loss against the paper's sums written out, its start, and what it leaves of the model."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from labkit.errors import DataError, UsageError
from labkit.evaluation import predict
from labkit.fewshot.prompts.at_the_blank import states_at_the_blank
from labkit.fewshot.prompts.prototypical import ProtoVerb, contrast
from labkit.training import Batches, fit
from tests.fewshot.tiny_prompts import LABELS, ROWS, TEMPLATE, tiny_bert, tiny_tokenizer


@pytest.fixture(scope="module")
def tokenizer():
    return tiny_tokenizer()


def proto(tokenizer):
    return ProtoVerb(TEMPLATE, tuple(LABELS), tokenizer, size=8)


def test_the_loss_is_the_papers_sums():
    generator = torch.Generator().manual_seed(0)
    n, k = 3, 2  # classes, examples each
    vectors = F.normalize(torch.randn(n * k, 5, generator=generator), dim=1)
    points = F.normalize(torch.randn(n, 5, generator=generator), dim=1)
    labels = torch.tensor([0, 1, 2, 2, 0, 1])

    def s(a, b):
        return math.exp(float(a @ b))

    instances = prototypes = 0.0
    for i in range(n * k):
        below = sum(s(vectors[i], vectors[j]) for j in range(n * k))
        for j in range(n * k):
            if labels[i] == labels[j]:
                instances -= math.log(s(vectors[i], vectors[j]) / below)
        prototypes -= math.log(s(vectors[i], points[labels[i]]) / sum(s(vectors[i], c) for c in points))
    # The paper divides by N²K² and N²K; ours are means over N·K² pairs and N·K examples: N times that.
    paper = instances / (n * k) ** 2 * n + prototypes / (n * n * k) * n
    assert float(contrast(vectors, points, labels)) == pytest.approx(paper, rel=1e-5)


@torch.no_grad()
def test_before_training_it_is_the_nearest_class_mean(tokenizer):
    model, how = tiny_bert(), proto(tokenizer)
    states = states_at_the_blank(model, how.collate(ROWS))  # (rows, d)
    how.attach(model, ROWS)
    projected = F.normalize(states @ model.prototypes.projection.t(), dim=1)
    labels = torch.tensor([row["label"] for row in ROWS])
    means = torch.stack([projected[labels == label].mean(0) for label in (0, 1)])
    wanted = 10 * F.cosine_similarity(projected[:, None], means[None], dim=2)
    torch.testing.assert_close(how.logits(model, how.collate(ROWS)), wanted, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_the_state_is_what_the_decoder_reads(tokenizer):
    model, how = tiny_bert(), proto(tokenizer)
    batch = how.collate(ROWS)
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "token_type_ids")}
    hidden = model.cls.predictions.transform(model.bert(**inputs).last_hidden_state)
    wanted = hidden[torch.arange(len(ROWS)), batch["mask_positions"][:, 0]]
    torch.testing.assert_close(states_at_the_blank(model, batch), wanted, rtol=1e-4, atol=1e-5)


def test_it_trains_and_comes_off(tokenizer):
    model, how = tiny_bert(), proto(tokenizer)
    names = [name for name, _ in model.named_parameters()]
    how.attach(model, ROWS)
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    history = fit(model, how.loss, Batches(ROWS, how.collate, 4), steps=20, lr=1e-2, progress=False)
    assert history.losses[-1] < history.losses[0]
    moved = {name for name, value in model.named_parameters() if not torch.equal(value, before[name])}
    assert {"prototypes.projection", "prototypes.points"} <= moved
    assert "cls.predictions.bias" not in moved  # it comes after the vector at the blank
    trained = predict(model, how, ROWS)
    assert trained.argmax(1).tolist() == [row["label"] for row in ROWS]
    how.fitted(model, ROWS)
    assert [name for name, _ in model.named_parameters()] == names
    again = ProtoVerb.from_description(how.describe(), tokenizer)
    np.testing.assert_allclose(predict(model, again, ROWS), trained, rtol=1e-5, atol=1e-6)


def test_what_cannot_be_is_said(tokenizer):
    model, how = tiny_bert(), proto(tokenizer)
    with pytest.raises(DataError, match="no labelled example of 'positive': a prototype is learned from at least one"):
        how.attach(model, [ROWS[1], {"text": "good"}])
    with pytest.raises(UsageError, match="no prototypes: call attach"):
        how.logits(model, how.collate(ROWS))
    with pytest.raises(UsageError, match="has no prototypes"):
        how.detach(model)
    with pytest.raises(UsageError, match="attach.model, rows. before training"):
        how.fitted(model)
    how.attach(model, ROWS)
    with pytest.raises(UsageError, match="has prototypes already"):
        how.attach(model, ROWS)
    wrong = {"template": TEMPLATE, "labels": list(LABELS), "projection": [[1.0, 2.0]], "points": [[1.0]]}
    with pytest.raises(UsageError, match="one point of the projection's width"):
        ProtoVerb.from_description(wrong, tokenizer)
