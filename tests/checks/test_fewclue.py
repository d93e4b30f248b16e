"""Checks of lesson 03/08: the solution that the lesson shows passes, and each planted mistake gets its own message."""

from __future__ import annotations

import re

import pytest
import torch

from labkit.checks import exercises, fewclue
from labkit.fewshot.fewclue import nine_task_mean
from labkit.fewshot.fewclue.candidates import mean_log_probability
from tests.checks.solutions import solutions


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path))


SHOWN = solutions("03_fewshot/08_fewclue")


@pytest.mark.parametrize("name", exercises("03/08"))
def test_the_solution_of_the_lesson_passes(name):
    verdict = getattr(fewclue, name)(SHOWN[name])
    assert verdict.passed, verdict


def scored(values, pieces):
    return values.gather(2, pieces.transpose(1, 2)).mean(1)


def nine(how):
    """A wrong mean that still wants nine tasks."""

    def mean(scores):
        if len(scores) != 9:
            raise ValueError
        return how(list(scores.values()))

    return mean


def own(logs, pieces):
    return logs[range(len(pieces)), pieces]


MISTAKES = {
    "idiom_scores": [
        (lambda z, p: scored(z.log_softmax(-1), p) * p.shape[2], "you added the pieces"),
        (lambda z, p: scored(z, p), "log_softmax over the vocabulary first"),
        (lambda z, p: scored(z.softmax(-1), p), "average their logarithms"),
        (lambda z, p: scored(z.softmax(-1), p).log(), "the mean is of the logarithms"),
        (lambda z, p: scored(z.log_softmax(-1), p[:1].expand(3, -1, -1)), "each row brings its own"),
        (lambda z, p: scored(z.log_softmax(1), p), "over the blanks"),
        (lambda z, p: scored(z.log_softmax(-1), p.flip(2)), "reverse order"),
        (lambda z, p: z.log_softmax(-1)[:, 0].gather(1, p[:, :, 0]), "only the first piece"),
        (lambda z, p: scored(z.log_softmax(-1), p).softmax(1), "these are probabilities"),
        (lambda z, p: scored(z.log_softmax(-1), p).T, r"shape \(5, 3\)"),
        (lambda z, p: scored(z.log_softmax(-1), p) + 1, "wanted: score"),
        (lambda z, p: None, "not attempted"),
    ],
    "label_score": [
        (lambda z, p: own(z, p).sum(), "a longer name would always lose"),
        (lambda z, p: own(z, p).exp().mean(), "average the log-probabilities"),
        (lambda z, p: own(z, p).exp().prod(), "product of the probabilities"),
        (lambda z, p: own(z, p).sum() / len(p) ** 0.5, "not by its root"),
        (lambda z, p: own(z, p).sum() / 2, "divided by 2 for every text"),
        (lambda z, p: own(z, p).min(), "unlikeliest piece"),
        (lambda z, p: z.mean(), "whole vocabulary"),
        (lambda z, p: own(z, p).mean() + 1, "for a text of 2 pieces"),
    ],
    "nine_task_mean": [
        (nine(lambda some: sum(map(sum, some)) / sum(map(len, some))), "over all runs"),
        (nine(lambda some: sum(sum(s) / len(s) for s in some)), "divide by their number"),
        (nine(lambda some: sum(s[0] for s in some) / 9), "only the first split"),
        (nine(lambda some: sum(max(s) for s in some) / 9), "best split"),
        (nine(lambda some: sorted(sum(s) / len(s) for s in some)[4]), "median"),
        (nine(lambda some: 100 * sum(sum(s) / len(s) for s in some) / 9), "between 0 and 1"),
        (nine(lambda some: 0.0), "wanted: the mean over the tasks"),
        (lambda scores: sum(sum(s) / len(s) for s in scores.values()) / len(scores), "without chid"),
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "number"), [(name, number) for name, some in MISTAKES.items() for number in range(len(some))]
)
def test_each_mistake_is_named(name, number):
    function, message = MISTAKES[name][number]
    verdict = getattr(fewclue, name)(function)
    assert not verdict.passed
    assert re.search(message, verdict.message), verdict.message


def test_no_two_mistakes_share_a_message():
    for name, some in MISTAKES.items():
        messages = [getattr(fewclue, name)(function).message for function, _ in some]
        assert len(set(messages)) == len(messages), messages


def test_the_lessons_functions_agree_with_labkit():
    scores = {name: [0.1 * place, 0.3] for place, name in enumerate(fewclue.NAMES)}
    assert SHOWN["nine_task_mean"](scores) == pytest.approx(nine_task_mean(scores))
    from transformers import BertConfig, BertForMaskedLM

    torch.manual_seed(0)
    model = BertForMaskedLM(BertConfig(vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=1,
                                       intermediate_size=8, initializer_range=0.5)).eval()  # fmt: skip
    ids, pieces = torch.randint(20, (2, 6)), torch.randint(20, (2, 3, 2))
    at = torch.tensor([[2, 3], [1, 2]])
    with torch.no_grad():
        logits = torch.stack([line[place] for line, place in zip(model(ids).logits, at, strict=True)])
        found = mean_log_probability(model, {"2/input_ids": ids, "2/mask_positions": at}, pieces)
    torch.testing.assert_close(found, SHOWN["idiom_scores"](logits, pieces))
