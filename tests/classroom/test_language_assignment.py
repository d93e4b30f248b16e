"""Assignment 01_foundations, language: each mistake is named, run here without nbgrader."""

from __future__ import annotations

import pytest
import torch

from tests.classroom.attempts import Attempts

pytest.importorskip("nbformat", reason="needs labkit[classroom]")
LANGUAGE = Attempts("01_foundations")
REFERENCE, PLANTED = LANGUAGE.planted["reference"].answers, LANGUAGE.planted

# planted submission -> test cell -> part of what the student is told
TOLD = {
    "slips": {
        "attention_blind": "a query that sees nothing should get zeros",
        "merges_ties": "should be [",
        "spell_order": "an empty word is ▁",
        "sampling_repeats": "do the slopes of a word that stands twice add up?",
        "sampling_large": "the loss is not finite",
        "beam_narrow": "is wanted, not",
    },
    "first_draft": {
        "attention_visible": "divide by the root of d",
        "attention_slopes_visible": "the softmax's own slope",
        "attention_blind": "put zeros there",
        "merges_visible": "the first four joins",
        "spell_visible": "was learnt first",
        "sampling_loss_visible": "summed, not averaged",
        "sampling_slopes_visible": "divide the slopes by n",
        "beam_visible": "this goes on with the likeliest token",
        "beam_penalty_visible": "without a penalty",
    },
}


@pytest.mark.parametrize("name", [name for name in PLANTED if name != "untouched"])
def test_planted_submissions_lose_what_they_should(name):
    LANGUAGE.check_planted(name, TOLD.get(name, {}))


def test_an_untouched_answer_is_told_to_be_one():
    LANGUAGE.check_untouched()


def test_points_add_up():
    LANGUAGE.check_points(20)


HEAD = "def attention(q, k, v, seen):\n"
FIT = "def sampling_loss(inputs, outputs, center, right, drawn):\n    read = inputs[center]\n"
LOSS = "(F.softplus(-(read * outputs[right]).sum(1)) + F.softplus((read[:, None] * outputs[drawn]).sum(2)).sum(1))"
BEAM = REFERENCE["beam"]


@pytest.mark.parametrize(
    ("name", "answer", "test", "words"),
    [
        ("attention", f"{HEAD}    pass", "attention_visible", "is the `return` missing?"),
        ("attention", f"{HEAD}    return (q @ k.mT / 2).softmax(-1) @ v", "attention_visible", "the mask is not used"),
        ("attention", f"{HEAD}    return ((q @ k.mT / 2).softmax(-1) * seen) @ v", "attention_visible",
         "the mask comes after the softmax"),
        ("attention", f"{HEAD}    return (q @ k.mT / 4).masked_fill(~seen, -math.inf).softmax(-1) @ v",
         "attention_visible", "it is the root of d"),
        ("learn_merges", REFERENCE["learn_merges"].replace("+= counts[word]", "+= 1"), "merges_visible",
         "the first four joins"),
        ("learn_merges", REFERENCE["learn_merges"].replace("numbers[pair[0]], numbers[pair[1]])", "pair)"),
         "merges_visible", "▁ is a character, and comes before lo"),
        ("sampling_loss", f"{FIT}    return {LOSS}.mean()", "sampling_loss_visible", "is the right word itself"),
        ("sampling_loss", f"{FIT}    return -{LOSS}.mean()", "sampling_loss_visible", "the sign is wrong"),
        ("sampling_slopes", REFERENCE["sampling_slopes"].replace("slopes / len(center)", "slopes"),
         "sampling_slopes_visible", "divide the slopes by n"),
        ("beam", BEAM.replace("length**alpha", "1"), "beam_penalty_visible", "alpha is not used"),
        ("beam", BEAM.replace("length**alpha", "max(length - 1, 1) ** alpha"), "beam_penalty_visible",
         "the length counts all tokens"),
        ("beam", BEAM.replace("one[1][-1] != 0 and length", "length"), "beam_narrow", "is wanted, not"),
        ("beam", BEAM.replace("-one[0], one[1]))[:beams]", "one[0], one[1]))[:beams]"), "beam_narrow", "is wanted"),
    ],
)  # fmt: skip
def test_likely_mistakes_are_named(name, answer, test, words):
    part = {"attention": "attention", "learn_merges": "merges", "beam": "beam"}.get(name, "sampling")
    told = LANGUAGE.run(REFERENCE | {name: answer}, only=(part,))
    assert words in told[test]


def test_overwriting_a_function_of_torch_wins_nothing(monkeypatch):
    monkeypatch.setattr(torch, "allclose", torch.allclose)  # put back afterwards
    code = f"torch.allclose = lambda *a, **k: True\n{HEAD}    return torch.zeros(*q.shape[:-1], v.shape[-1])"
    told = LANGUAGE.run(REFERENCE | {"attention": code}, only=("attention",))
    assert "the comparison itself has been changed" in told["attention_blind"]
    assert "the comparison itself has been changed" in told["attention_shapes"]
