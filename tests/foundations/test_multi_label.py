"""Several labels a text: the loss of transformers, the scores of scikit-learn's definitions, thresholds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import classification_report

import labkit
from labkit.errors import TrainingError, UsageError
from labkit.evaluation import answers
from labkit.foundations.multi_label import MultiLabel
from labkit.foundations.native import native_head

NAMES = ("sport", "money", "travel")
ROWS = [
    {"text": "the match was lost", "label": [0]},
    {"text": "the broker went to oslo", "label": [1, 2]},
    {"text": "nothing", "label": []},
]


@pytest.fixture(scope="module")
def parts():
    model, tokenizer = labkit.load_model("micro-bert-en")
    made = native_head(model, "sequence", NAMES, seed=0, problem_type="multi_label_classification")
    return made.eval(), tokenizer, MultiLabel(tokenizer, 3, threshold=0.45)


def test_the_loss_is_the_one_that_transformers_gives_such_a_model(parts):
    model, _, method = parts
    batch = method.collate(ROWS)
    assert batch["labels"].tolist() == [[1, 0, 0], [0, 1, 1], [0, 0, 0]]
    torch.testing.assert_close(method.loss(model, batch), model(**batch).loss)


def test_answers_are_the_labels_above_the_threshold(parts):
    model, tokenizer, method = parts
    found = answers(model, method, ROWS, progress=False)
    for row, answer in zip(ROWS, found, strict=True):
        with torch.no_grad():
            chances = model(**tokenizer(row["text"], return_tensors="pt")).logits.sigmoid()[0]
        assert answer["probabilities"] == pytest.approx(chances.tolist(), abs=1e-5)
        assert answer["labels"] == [at for at, chance in enumerate(chances) if chance > 0.45]
    assert "labels" not in method.collate([{**ROWS[0], "label": None}])


LABELS = st.lists(st.integers(0, 2), unique=True).map(sorted)


@given(st.lists(st.tuples(LABELS, LABELS), min_size=1, max_size=8))
@settings(max_examples=60, deadline=None)
def test_scores_by_hand(parts, pairs):
    rows = [{"label": gold} for gold, _ in pairs]
    score = parts[2].score(rows, [{"labels": given} for _, given in pairs])
    hits = [sum(label in gold and label in given for gold, given in pairs) for label in range(3)]
    both = [sum((label in gold) + (label in given) for gold, given in pairs) for label in range(3)]
    assert score["micro_f1"] == pytest.approx(2 * sum(hits) / sum(both) if sum(both) else 0.0)
    each = [2 * hit / all_ if all_ else 0.0 for hit, all_ in zip(hits, both, strict=True)]
    assert score["macro_f1"] == pytest.approx(np.mean(each))
    assert score["exact_match"] == pytest.approx(np.mean([gold == given for gold, given in pairs]))


def test_scores_of_scikit_learn(parts):
    gold, given = [[0], [1, 2], [], [0, 1]], [[0], [2], [1], [0, 1]]
    score = parts[2].score([{"label": one} for one in gold], [{"labels": one} for one in given])
    hot = [np.array([[int(at in one) for at in range(3)] for one in some]) for some in (gold, given)]
    report = classification_report(*hot, output_dict=True, zero_division=0.0)
    assert score["micro_f1"] == pytest.approx(report["micro avg"]["f1-score"])
    assert score["macro_f1"] == pytest.approx(report["macro avg"]["f1-score"])


def test_a_broken_model_is_no_text_without_labels(parts):
    model, _, method = parts
    broken = native_head(model, "sequence", NAMES, seed=0)
    with torch.no_grad():
        broken.classifier.weight.fill_(float("nan"))
    with pytest.raises(TrainingError, match=r"classifier\.weight"):
        answers(broken, method, ROWS, progress=False)


def test_it_is_saved(parts):
    _, tokenizer, method = parts
    assert MultiLabel.from_description(method.describe(), tokenizer).describe() == method.describe()
    with pytest.raises(UsageError, match="threshold"):
        MultiLabel(tokenizer, 3, threshold=1.0)
