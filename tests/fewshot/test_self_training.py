"""Ensembles, soft labels, pseudo-labels and iPET's generations, against brute force and written-out formulas."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from labkit.errors import UsageError
from labkit.fewshot.pet.self_training import (
    Member,
    SoftTargets,
    ipet,
    most_confident,
    self_training,
    soft_labels,
    with_targets,
)


class Scores:
    """A method whose scores are a fixed function of the row's number."""

    def __init__(self, table):
        self.table = torch.tensor(table, dtype=torch.float32)  # (rows, classes)

    def collate(self, rows, rng=None):
        return {"number": torch.tensor([row["number"] for row in rows])}

    def logits(self, model, batch):
        return self.table[batch["number"]]


def rows(count, **more):
    return [{"number": number, **more} for number in range(count)]


def test_soft_labels_are_the_softmax_of_the_weighted_mean_score():
    rng = np.random.default_rng(0)
    tables, weights = rng.normal(size=(3, 7, 4)) * 3, np.array([0.2, 1.5, 0.7])
    members = [Member(nn.Linear(1, 1), Scores(table), weight) for table, weight in zip(tables, weights, strict=True)]
    found = soft_labels(members, rows(7), temperature=2.0)
    mean = np.einsum("m,mrc->rc", weights / weights.sum(), tables) / 2
    wanted = np.exp(mean) / np.exp(mean).sum(1, keepdims=True)
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_one_member_at_temperature_one_speaks_for_itself():
    table = np.random.default_rng(1).normal(size=(5, 3))
    found = soft_labels([Member(nn.Linear(1, 1), Scores(table))], rows(5), temperature=1.0)
    np.testing.assert_allclose(found, torch.tensor(table).softmax(1), atol=1e-6)


@pytest.mark.parametrize(("members", "temperature"), [([], 2.0), ([0.0], 2.0), ([1.0, -0.5], 2.0), ([1.0], 0.0)])
def test_an_ensemble_that_cannot_vote_is_refused(members, temperature):
    with pytest.raises(UsageError):
        soft_labels([Member(nn.Linear(1, 1), Scores([[0, 0]]), weight) for weight in members], rows(1), temperature)


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 30), st.integers(2, 5), st.lists(st.integers(0, 8), min_size=5, max_size=5), st.integers(0, 99))
def test_the_most_confident_are_what_brute_force_finds(count, classes, counts, seed):
    probabilities = np.random.default_rng(seed).dirichlet(np.ones(classes), count).round(1)  # with ties
    found = most_confident(probabilities, counts[:classes])
    for label in range(classes):
        own = [row for row in range(count) if probabilities[row].argmax() == label]
        wanted = sorted(own, key=lambda row: (-probabilities[row, label], row))[: counts[label]]
        assert [row for row, other in found if other == label] == wanted
    assert len({row for row, _ in found}) == len(found)


def test_soft_targets_are_hintons_loss():
    table, target = np.random.default_rng(2).normal(size=(4, 3)), np.random.default_rng(3).dirichlet(np.ones(3), 4)
    objective = SoftTargets(Scores(table), temperature=3.0)
    batch = objective.collate(with_targets(rows(4, label=1), target))
    assert "label" not in with_targets(rows(1, label=1), target[:1])[0]
    log = (torch.tensor(table) / 3).log_softmax(1)
    wanted = -9 * (torch.tensor(target) * log).sum(1).mean()
    torch.testing.assert_close(objective(nn.Linear(1, 1), batch).double(), wanted, rtol=1e-5, atol=1e-6)
    with pytest.raises(UsageError, match="no target"):
        objective(nn.Linear(1, 1), objective.collate(rows(2)))


UNLABELLED = rows(40, label="never read")
TRUTH = np.array([number % 2 for number in range(40)])


def oracle(seen):
    """A trainer that answers rightly, more surely for small numbers, and notes what it was given."""

    def train(given_rows):
        seen.append(list(given_rows))
        table = np.zeros((40, 2))
        table[np.arange(40), TRUTH] = 5 - np.arange(40) / 10
        return Member(nn.Linear(1, 1), Scores(table))

    return train


LABELLED = [{"number": 0, "label": 0}, {"number": 1, "label": 1}, {"number": 3, "label": 1}]


def test_generations_grow_in_the_proportion_of_the_labelled():
    seen: list[list[list]] = [[], [], []]
    members = ipet([oracle(some) for some in seen], LABELLED, UNLABELLED, 2, generations=2, growth=3)
    assert len(members) == 3
    for some in seen:
        assert [len(given_rows) for given_rows in some] == [3, 9, 27]
        assert all(given_rows[:3] == LABELLED for given_rows in some)
        added = some[1][3:]
        assert sum(row["label"] for row in added) == 4 and all(row["label"] == TRUTH[row["number"]] for row in added)


def test_a_model_never_teaches_itself_in_ipet():
    """Two models that call everything by their own class: each is taught the other's."""
    seen: list[list[list]] = [[], []]

    def stubborn(own):
        def train(given_rows):
            seen[own].append(list(given_rows))
            table = np.zeros((40, 2))
            table[:, own] = 4
            return Member(nn.Linear(1, 1), Scores(table))

        return train

    ipet([stubborn(0), stubborn(1)], LABELLED, UNLABELLED, 2, generations=1, growth=3)
    assert {row["label"] for row in seen[0][1][3:]} == {1} and {row["label"] for row in seen[1][1][3:]} == {0}


def test_self_training_adds_rounds_of_its_own_answers():
    seen: list[list] = []
    self_training(oracle(seen), LABELLED, UNLABELLED, 2, rounds=2, growth=2)
    assert [len(given_rows) for given_rows in seen] == [3, 6, 12]


def test_ipet_with_one_pattern_is_refused():
    with pytest.raises(UsageError, match="at least two patterns"):
        ipet([oracle([])], LABELLED, UNLABELLED, 2)
