"""Verbalizers against sums written out, and the errors that name the word and the mend."""

from __future__ import annotations

import math

import pytest
import torch
from transformers import BertTokenizer

from labkit.errors import UsageError
from labkit.fewshot.prompts.verbalizer import Verbalizer

WORDS = "[PAD] [UNK] [CLS] [SEP] [MASK] good fine bad dull awful terr ##ible 很 好 坏 差".split()
ID = {word: number for number, word in enumerate(WORDS)}


@pytest.fixture(scope="module")
def tokenizer():
    return BertTokenizer(vocab=ID, do_lower_case=True)


@pytest.fixture
def logits():
    return torch.randn(6, len(WORDS), generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 3


def probability(logits, word):
    return logits.softmax(-1)[:, ID[word]]


def test_one_word_a_label_is_pets_formula(tokenizer, logits):
    found = Verbalizer({"neg": ("bad",), "pos": ("good",)}, tokenizer).logits(logits)
    pet = logits[:, [ID["bad"], ID["good"]]].softmax(-1)  # softmax over the label words' logits alone
    torch.testing.assert_close(found.softmax(-1).double(), pet, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found.exp().double(), torch.stack([probability(logits, w) for w in ("bad", "good")], 1),
                               rtol=1e-5, atol=1e-7)  # fmt: skip


@pytest.mark.parametrize("aggregate", ["mean", "max", "sum"])
def test_several_words_are_aggregated(tokenizer, logits, aggregate):
    words = {"neg": ("bad", "dull", "awful"), "pos": ("good", "fine"), "none": "terr"}
    found = Verbalizer(words, tokenizer, aggregate).logits(logits).exp()
    for column, some in enumerate([words["neg"], words["pos"], ("terr",)]):
        each = torch.stack([probability(logits, word) for word in some], 1)
        wanted = {"mean": each.mean(1), "max": each.amax(1), "sum": each.sum(1)}[aggregate]
        torch.testing.assert_close(found[:, column].double(), wanted, rtol=1e-5, atol=1e-7)


def test_words_of_two_pieces_multiply(tokenizer):
    verbalizer = Verbalizer({"neg": ("terrible", "很坏"), "pos": ("很好",)}, tokenizer, "sum", masks=2)
    assert verbalizer.word_ids.tolist() == [[ID["terr"], ID["##ible"]], [ID["很"], ID["坏"]], [ID["很"], ID["好"]]]
    logits = torch.randn(4, 2, len(WORDS), generator=torch.Generator().manual_seed(1))
    p = logits.softmax(-1)
    negative = p[:, 0, ID["terr"]] * p[:, 1, ID["##ible"]] + p[:, 0, ID["很"]] * p[:, 1, ID["坏"]]
    found = verbalizer.logits(logits).exp()
    torch.testing.assert_close(found, torch.stack([negative, p[:, 0, ID["很"]] * p[:, 1, ID["好"]]], 1))
    with pytest.raises(UsageError, match="1 blanks for words of 2 pieces"):
        verbalizer.logits(logits[:, 0])


def test_calibration_divides_by_the_mean_probability(tokenizer, logits):
    plain = Verbalizer({"neg": ("bad", "dull"), "pos": ("good",)}, tokenizer)
    calibrated = plain.calibrate(logits)
    ratio = {word: probability(logits, word) / probability(logits, word).mean() for word in ("bad", "dull", "good")}
    wanted = torch.stack([(ratio["bad"] + ratio["dull"]) / 2, ratio["good"]], 1)
    torch.testing.assert_close(calibrated.logits(logits).exp().double(), wanted, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(calibrated.logits(logits).exp().mean(0), torch.ones(2))  # no word is favoured
    assert calibrated.calibrate(logits).prior == pytest.approx(calibrated.prior)  # not divided twice
    assert plain.prior is None


def test_gradients_reach_the_label_words_and_stay_finite(tokenizer):
    logits = torch.zeros(2, len(WORDS), requires_grad=True)
    scores = Verbalizer({"neg": ("bad", "dull"), "pos": ("good",)}, tokenizer).logits(logits * 1e3)
    torch.nn.functional.cross_entropy(scores, torch.tensor([0, 1])).backward()
    assert logits.grad.isfinite().all() and (logits.grad[0, ID["bad"]] < 0) and (logits.grad[0, ID["good"]] > 0)


def test_half_precision_logits_are_summed_in_single(tokenizer, logits):
    verbalizer = Verbalizer({"neg": ("bad",), "pos": ("good",)}, tokenizer)
    assert verbalizer.logits(logits.bfloat16()).dtype == torch.float32


SEVERAL = r"label 'a': word 'terrible' is 2 pieces of this tokenizer \(terr ##ible\), and \{mask\} stands for 1: "
SEVERAL += r"choose another word, or write \{mask\*2\} and only words of 2 pieces"
ABSENT = "is not in the tokenizer's vocabulary"
WRONG = {
    "several pieces": ({"a": ("terrible",), "b": ("good",)}, 1, SEVERAL),
    "too few pieces": ({"a": ("很好",), "b": ("good",)}, 2, r"'good' is 1 piece of .* \{mask\*2\} stands for 2"),
    "unknown": ({"a": ("good",), "b": ("magnifique",)}, 1, rf"'magnifique' {ABSENT} .*\[UNK\]"),
    "empty": ({"a": ("good",), "b": ("",)}, 1, ABSENT),
    "a special token": ({"a": ("good",), "b": ("[MASK]",)}, 1, ABSENT),
    "shared": ({"a": ("good",), "b": ("bad", "good")}, 1, "word 'good': labels 'a' and 'b' share it"),
    "shared by case": ({"a": ("good",), "b": ("Good",)}, 1, "'Good' .*same as 'good'.* labels 'a' and 'b' share it"),
    "twice": ({"a": ("good", "good"), "b": ("bad",)}, 1, "label 'a' has it twice"),
    "no word": ({"a": ("good",), "b": ()}, 1, "a word for each"),
    "one label": ({"a": ("good",)}, 1, "at least two labels"),
}


@pytest.mark.parametrize("case", WRONG)
def test_words_that_cannot_serve_are_refused(tokenizer, case):
    words, masks, message = WRONG[case]
    with pytest.raises(UsageError, match=message):
        Verbalizer(words, tokenizer, masks=masks)


def test_settings_are_checked(tokenizer):
    words = {"a": "good", "b": "bad"}
    with pytest.raises(UsageError, match="did you mean 'mean'"):
        Verbalizer(words, tokenizer, "meen")
    for prior in ((0.1,), (0.1, 0.0), (0.1, math.nan)):
        with pytest.raises(UsageError, match="prior"):
            Verbalizer(words, tokenizer, prior=prior)
