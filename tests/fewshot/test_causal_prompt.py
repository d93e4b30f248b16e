"""Prompts for left-to-right models, against the model's own probabilities of the whole text."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from labkit.errors import UsageError
from labkit.evaluation import predict
from labkit.fewshot.prompts.causal_prompt import CausalPrompt
from labkit.fewshot.prompts.generative import LabelTexts
from labkit.foundations.pretraining import micro_model
from labkit.training import Batches, fit
from tests.fewshot.tiny_prompts import ID, LABELS, ROWS, TEMPLATE, WORDS, tiny_bert, tiny_gpt, tiny_tokenizer

TOKENIZER = tiny_tokenizer()
MIXED = {"negative": ("bad", "terriblely"), "positive": ("good", "terrific")}


def prompt(words=MIXED, shown=(), template=TEMPLATE, max_length=64, **own):
    return CausalPrompt(template, LabelTexts(words, TOKENIZER, **own), TOKENIZER, shown, max_length=max_length)


@torch.no_grad()
def by_hand(model, tokens: str, pieces: list[str]) -> float:
    ids = torch.tensor([[ID.get(token, ID["[UNK]"]) for token in [*tokens.split(), *pieces]]])
    chances = model(input_ids=ids).logits[0].log_softmax(-1)  # (tokens, vocabulary)
    start = len(tokens.split())
    return sum(chances[start + n - 1, ID[piece]].item() for n, piece in enumerate(pieces))


SPELLED = [["bad"], ["terr", "##ible", "##ly"], ["good"], ["terr", "##ific"]]


@torch.no_grad()
@pytest.mark.parametrize("kind", ["gpt", "query"])
def test_texts_are_scored_as_the_continuation(kind):
    model = tiny_gpt() if kind == "gpt" else micro_model("query", TOKENIZER, d=16, heads=2, ffn=32, layers=1).eval()
    how = prompt()
    found = how.log_probabilities(model, how.collate(ROWS))
    for row, scores in zip(ROWS, found, strict=True):
        start = f"[CLS] {row['text']} it was"
        for score, pieces in zip(scores, SPELLED, strict=True):
            assert score.item() == pytest.approx(by_hand(model, start, pieces), rel=1e-3, abs=1e-4)
    sizes = torch.tensor([1.0, 3, 1, 2])
    mean = (found / sizes).exp()
    wanted = torch.stack([mean[:, :2].mean(1), mean[:, 2:].mean(1)], 1).log()
    torch.testing.assert_close(how.logits(model, how.collate(ROWS)), wanted, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_demonstrations_stand_before_the_question_whole():
    model, how = tiny_gpt(), prompt(LABELS, ROWS[:2])
    start = "[CLS] the film was good . it was good . a dull film it was bad . bad . it was"
    batch = how.collate([ROWS[3]])
    assert [WORDS[number] for number in batch["input_ids"][0]] == start.split()
    found = how.log_probabilities(model, batch)[0].tolist()
    assert found == pytest.approx([by_hand(model, start, ["bad"]), by_hand(model, start, ["good"])], rel=1e-3)


def test_label_texts_always_fit():
    how = prompt(max_length=12)
    batch = how.collate([{"text": "good " * 40}, {"text": "dull"}])
    assert batch["input_ids"].shape[1] == 10  # with two of the longest text's three pieces to be read: 12
    assert batch["last"].tolist() == [9, 3]
    assert np.isfinite(predict(tiny_gpt(), how, [{"text": "good " * 40}])).all()
    with pytest.raises(UsageError, match="shorten the template or raise max_length"):
        prompt(max_length=5).collate(ROWS)


def test_it_trains():
    model, how = tiny_gpt(), prompt()
    history = fit(model, how.loss, Batches(ROWS, how.collate, 4), steps=25, lr=1e-2, progress=False)
    assert history.losses[-1] < 0.5 * history.losses[0]


def test_calibration_makes_nothing_neutral():
    model, how = tiny_gpt(), prompt(LABELS, ROWS[:2])
    nothing = [{"text": "n / a"}]
    p, p_cf = predict(model, how, ROWS), predict(model, how, nothing)[0]
    wanted = (p / p_cf) / (p / p_cf).sum(1, keepdims=True)
    np.testing.assert_allclose(predict(model, how.calibrated(model, nothing), ROWS), wanted, rtol=1e-3, atol=1e-5)
    assert how.calibrated(model).texts.prior is not None


def test_what_cannot_be_is_said():
    for template in ("{mask} news : {text}", "{text} {mask*2} {mask}", "{mask} {special:sep} {text}"):
        with pytest.raises(UsageError, match=r"needs one \{mask\}, with nothing but words after it"):
            prompt(template=template)
    with pytest.raises(UsageError, match="BertModel has no language-model head"):
        predict(tiny_bert().bert, prompt(), ROWS)
