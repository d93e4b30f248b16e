"""Two towers: the losses and the threshold against their definitions, rows that do not see their neighbours."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

import labkit
from labkit.errors import DataError, UsageError
from labkit.foundations.native import native_head
from labkit.foundations.two_tower import TwoTower, best_threshold, contrast, hinge
from labkit.foundations.vectors import Vectors

ROWS = [
    {"text_a": "the film was good", "text_b": "a good film", "label": 1},
    {"text_a": "boston", "text_b": "the president ratified the veto in oslo on tuesday", "label": 0},
    {"text_a": "who lost the match ?", "text_b": "the match was lost", "label": 1},
]


@pytest.fixture(scope="module")
def encoder():
    model, tokenizer = labkit.load_model("micro-bert-en")
    return native_head(model, "body", seed=0).eval(), tokenizer


def test_the_hinge_is_the_sum_over_all_pairs_and_for_a_large_scale_that_of_the_worst():
    cosines, labels = torch.tensor([0.9, 0.2, 0.7, -0.1]), torch.tensor([1, 0, 1, 0])
    pairs = [(n, p) for n in cosines[labels == 0] for p in cosines[labels == 1]]
    wanted = torch.log(1 + sum(torch.exp(5 * (n - p + 0.6)) for n, p in pairs)) / 5
    torch.testing.assert_close(hinge(cosines, labels, 0.6, 5.0), wanted)
    torch.testing.assert_close(hinge(cosines, labels, 0.6, 5000.0), torch.tensor(0.2 - 0.7 + 0.6), atol=1e-3, rtol=0)


def test_a_batch_of_one_label_teaches_the_hinge_nothing_and_breaks_nothing():
    cosines = torch.tensor([0.3, 0.4], requires_grad=True)
    loss = hinge(cosines, torch.tensor([1, 1]), 0.5, 32.0)
    loss.backward()
    assert loss == 0 and (cosines.grad == 0).all()


def test_the_contrast_is_a_cross_entropy_over_second_texts_that_leaves_out_the_same_text():
    vectors = F.normalize(torch.randn(3, 4, generator=torch.Generator().manual_seed(0)), dim=-1)
    firsts, seconds = vectors, torch.stack([vectors[1], vectors[2], vectors[1]])  # the third's is the first's
    found = contrast(firsts, seconds, torch.tensor([1, 0, 1]), 0.2, 8.0)
    scores = [[(8 * (firsts[a] @ seconds[b] - 0.2 * (a == b))).item() for b in (a, 1)] for a in (0, 2)]
    wanted = np.mean([np.log(np.exp(row).sum()) - row[0] for row in scores])
    assert found.item() == pytest.approx(wanted, abs=1e-5)
    assert contrast(firsts, seconds, torch.tensor([0, 0, 0]), 0.2, 8.0) == 0


@given(st.lists(st.tuples(st.integers(-5, 5), st.integers(0, 1)), min_size=1, max_size=12))
@settings(max_examples=200, deadline=None)
def test_no_threshold_is_better_than_the_best(pairs):
    scores, labels = np.array([score / 5 for score, _ in pairs]), np.array([label for _, label in pairs])

    def right(threshold):
        return int(((scores > threshold) == labels).sum())

    tries = np.concatenate([scores - 1e-6, scores + 1e-6])
    assert right(best_threshold(scores, labels)) == max(map(right, tries))


def test_a_pairs_answer_is_the_cosine_of_the_mean_states_whatever_stands_beside(encoder):
    model, tokenizer = encoder
    method, means = TwoTower(tokenizer, threshold=0.3), Vectors(tokenizer, ["text"], outputs=["mean"])
    one = [labkit.predict(model, method, [row], progress=False)[0] for row in ROWS]
    np.testing.assert_allclose(labkit.predict(model, method, ROWS, progress=False), one, atol=1e-5)
    for row, found in zip(ROWS, one, strict=True):
        sides = [{"text": row[field]} for field in ("text_a", "text_b")]
        with torch.no_grad():
            a, b = (torch.tensor(x["mean"]) for x in means.answers(model, means.collate(sides), sides))
        cosine = F.cosine_similarity(a, b, dim=0).item()
        assert found[1] == pytest.approx(1 / (1 + np.exp(-32 * (cosine - 0.3))), abs=1e-4)


def test_fitting_needs_labels_and_its_threshold_is_saved(encoder):
    model, tokenizer = encoder
    method = TwoTower(tokenizer).fitted(model, ROWS)
    assert method.threshold != 0.5
    again = TwoTower.from_description(method.describe(), tokenizer)
    assert again.describe() == method.describe()
    with pytest.raises(DataError, match="label"):
        method.fitted(model, [{**ROWS[0], "label": None}])


@pytest.mark.parametrize("wrong", [{"fields": ["a"]}, {"loss_type": "hinge"}, {"gamma": 0.0}, {"margin": 3.0}])
def test_settings_that_make_no_sense(encoder, wrong):
    with pytest.raises(UsageError):
        TwoTower(encoder[1], **wrong)
