"""Checks of lesson 03/03: the solution that the lesson shows passes, and each planted mistake gets its own message."""

from __future__ import annotations

import re

import pytest
import torch

from labkit.checks import exercises, soft_prompts
from tests.checks.solutions import solutions


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path))


SHOWN = solutions("03_fewshot/03_soft_prompts")


@pytest.mark.parametrize("name", exercises("03/03"))
def test_the_solution_of_the_lesson_passes(name):
    verdict = getattr(soft_prompts, name)(SHOWN[name])
    assert verdict.passed, verdict


def put(place, rows=lambda p: p):
    """A wrong `splice` with the prompt at `place`."""

    def splice(w, p):
        return torch.cat([w[:, :place], rows(p).expand(len(w), -1, -1), w[:, place:]], 1)

    return splice


def attend(q, k, v, scale=2.0, dim=1):
    return (q @ k.T / scale).softmax(dim) @ v


def both(a, b):
    return torch.cat([a, b])


def counts(prompt=None, prefix=None, warp=None):
    """A `trained_weights` with one wrong formula."""

    def right(n, layers, d, c):
        formulas = (prompt, prefix, warp)
        values = (n * d, 2 * layers * n * d, (n + c) * d)
        found = [f(n, layers, d, c) if f else value for f, value in zip(formulas, values, strict=True)]
        return dict(zip(("prompt tuning", "prefix", "WARP"), found, strict=True))

    return right


MISTAKES = {
    "splice": [
        (put(0), "before \\[CLS\\]"),
        (put(5), "at the end"),
        (put(4), "before the last token"),
        (put(1, lambda p: p.flip(0)), "reverse order"),
        (put(1, torch.zeros_like), "zeros stand there"),
        (put(1, lambda p: p.detach()), "no gradient reaches"),
        (put(2), "first token, the prompt, the other tokens"),
        (lambda w, p: w + p.mean(0), "as many tokens as before"),
        (lambda w, p: torch.cat([w[0, :1], p, w[0, 1:]]), r"shape \(7, 4\)"),
        (lambda w, p: torch.cat([w[:, :1], p, w[:, 1:]], 1), "stopped with RuntimeError"),
        (lambda w, p: None, "not attempted"),
    ],
    "prefix_attention": [
        (lambda q, k, v, a, b: attend(q, both(a, k), both(b, v), 1.0), "not divided by √d"),
        (lambda q, k, v, a, b: attend(q, both(a, k), both(b, v), 4.0), "divided by d: the square root"),
        (lambda q, k, v, a, b: attend(q, both(a, k), both(b, v), dim=0), "over the queries"),
        (lambda q, k, v, a, b: attend(q, k, v), "without the prefix"),
        (lambda q, k, v, a, b: attend(q, a, b), "only the prefix is seen"),
        (lambda q, k, v, a, b: attend(q, k, v) + attend(q, a, b), "you added two attentions"),
        (lambda q, k, v, a, b: (attend(q, k, v) + attend(q, a, b)) / 2, "you averaged two"),
        (lambda q, k, v, a, b: attend(q, both(a, k), both(v, b)), "same order"),
        (lambda q, k, v, a, b: attend(q, both(a, k), both(b * 0, v)), "its values are missing"),
        (lambda q, k, v, a, b: attend(both(a, q), both(a, k), both(b, v)), r"shape \(8, 4\)"),
        (lambda q, k, v, a, b: v, r"wanted: softmax"),
    ],
    "trained_weights": [
        (counts(prompt=lambda n, m, d, c: n * m * d), "before the first layer only"),
        (counts(prompt=lambda n, m, d, c: n), "vector of d numbers"),
        (counts(prefix=lambda n, m, d, c: m * n * d), "keys \\*and\\* values"),
        (counts(prefix=lambda n, m, d, c: 2 * n * d), "every layer has a prefix of its own$"),
        (counts(prefix=lambda n, m, d, c: n * d), "of its own, with keys and values"),
        (counts(prefix=lambda n, m, d, c: 3 * m * n * d), "no queries"),
        (counts(warp=lambda n, m, d, c: n * d), "each class has a trained vector"),
        (counts(warp=lambda n, m, d, c: c * d), "prompt's vectors train too"),
        (counts(warp=lambda n, m, d, c: n * c * d), "do not multiply"),
        (counts(warp=lambda n, m, d, c: n * d + c), "a class's vector has d numbers"),
        (counts(warp=lambda n, m, d, c: 1), "count the vectors"),
        (lambda n, m, d, c: n * d, "a dictionary"),
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "number"), [(name, number) for name, some in MISTAKES.items() for number in range(len(some))]
)
def test_each_mistake_is_named(name, number):
    function, message = MISTAKES[name][number]
    verdict = getattr(soft_prompts, name)(function)
    assert not verdict.passed
    assert re.search(message, verdict.message), verdict.message


def test_no_two_mistakes_share_a_message():
    for name, some in MISTAKES.items():
        messages = [getattr(soft_prompts, name)(function).message for function, _ in some]
        assert len(set(messages)) == len(messages), messages


def test_the_lessons_functions_agree_with_labkit():
    """What learners write is what the model computes with a prompt or a prefix attached."""
    from labkit.fewshot.soft_prompt import Prefix, PromptTuning
    from labkit.measure import trainable
    from tests.fewshot.soft_prompt_models import ID, bert, task

    n, model = 4, PromptTuning(4).attach(bert())
    ids = torch.tensor([[2, 6, 7, 3]])
    with torch.no_grad():
        words = bert().bert.embeddings.word_embeddings(ids)
        spliced = bert()(inputs_embeds=SHOWN["splice"](words, model.bert.soft_prompt.weight)).logits
        torch.testing.assert_close(model(ids).logits, torch.cat([spliced[:, :1], spliced[:, 1 + n :]], 1))

    counted = SHOWN["trained_weights"](4, 3, 32, 2)
    assert counted["prompt tuning"] == trainable(model)
    assert counted["prefix"] == trainable(Prefix(4).attach(bert()))
    from transformers import BertTokenizer

    from labkit.fewshot.soft_prompt import WARP

    warp = WARP.for_task(task(), BertTokenizer(vocab=ID), pattern="{text} {soft*4} {mask}")
    assert counted["WARP"] == trainable(warp.attach(bert()))

    model = Prefix(3, std=1.0).attach(bert())
    module, states = model.bert.encoder.layer[0].attention.self, torch.randn(1, 5, 32)
    with torch.no_grad():
        found = module(states)[0][0, :, :16]  # the first head
        own = [linear(states)[0, :, :16] for linear in (module.query, module.key, module.value)]
        prefix = [one[0] for one in model.bert.prefix.layer(0)]
        torch.testing.assert_close(SHOWN["prefix_attention"](*own, *prefix), found)
