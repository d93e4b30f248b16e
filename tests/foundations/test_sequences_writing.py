"""Models that write: a uniform one's perplexity, the written-out step, characters, attention, what is refused."""

from __future__ import annotations

import collections
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from labkit.errors import DataError, UsageError
from labkit.evaluation import answers
from labkit.foundations.language import LanguageModel
from labkit.foundations.pretraining import micro_model
from labkit.foundations.sequences.attention import SCORES, Rewriting, Seq2Seq
from labkit.foundations.sequences.language_model import character_tokenizer, language_model, passages, write
from labkit.foundations.sequences.recurrent import KINDS
from labkit.training import Batches, fit

TEXT = "to be, or not to be:\nthat is the question.\n"


@pytest.fixture(scope="module")
def tokenizer():
    return character_tokenizer(TEXT)


def perplexity(model, tokenizer, rows, length=128):
    method = LanguageModel(tokenizer, causal=True, max_length=length)
    return method.score(rows, answers(model, method, rows))["perplexity"]


# Language model


@pytest.mark.parametrize("reader", KINDS)
def test_a_uniform_model_has_the_vocabulary_for_its_perplexity(tokenizer, reader):
    model = language_model(len(tokenizer), reader, size=8)
    for values in model.out.parameters():
        values.data.zero_()
    assert perplexity(model, tokenizer, passages(TEXT, 10)) == pytest.approx(len(tokenizer), rel=1e-5)


def test_perplexity_is_that_of_the_cross_entropy_by_hand(tokenizer):
    model, ids = language_model(len(tokenizer), "lstm", size=8).eval(), torch.tensor([tokenizer(TEXT)["input_ids"]])
    with torch.no_grad():
        nats = F.cross_entropy(model(ids).logits[0, :-1], ids[0, 1:])
    assert perplexity(model, tokenizer, [{"text": TEXT}]) == pytest.approx(math.exp(nats), rel=1e-5)


@settings(max_examples=30, deadline=None)
@given(st.text(alphabet=sorted(set(TEXT)), min_size=2, max_size=60), st.integers(1, 70))
def test_passages_ask_for_each_character_once(text, length):
    rows = passages(text, length)
    assert "".join(row["text"][1:] for row in rows) == text[1:]
    assert rows[0]["text"][0] == text[0] and all(2 <= len(row["text"]) <= length + 1 for row in rows)


def test_characters_come_back_and_unknown_ones_are_marked(tokenizer):
    ids = tokenizer(TEXT)["input_ids"]
    assert len(ids) == len(TEXT) and tokenizer.decode(ids) == TEXT
    assert tokenizer.convert_ids_to_tokens(tokenizer("b中e")["input_ids"]) == ["b", "[UNK]", "e"]


@pytest.mark.parametrize("reader", ["rnn", "gru", "lstm"])
def test_writing_the_likeliest_is_reading_it_all_again(tokenizer, reader):
    """Step by step with a memory, or the whole text at once by torch's layer."""
    model, ids = language_model(len(tokenizer), reader, size=8), tokenizer("to be")["input_ids"]
    text = write(model, tokenizer, ids, 12, temperature=1e-6)
    with torch.no_grad():
        for _ in range(12):
            ids = [*ids, int(model(torch.tensor([ids])).logits[0, -1].argmax())]
    assert tokenizer.decode(ids[5:]) == text


def test_draws_follow_the_probabilities_and_the_seed(tokenizer):
    model, start = language_model(len(tokenizer), "gru", size=8), tokenizer("to")["input_ids"]
    assert write(model, tokenizer, start, 20, seed=3) == write(model, tokenizer, start, 20, seed=3)
    with torch.no_grad():
        wanted = (model(torch.tensor([start])).logits[0, -1] / 0.5).softmax(0)
    seen = collections.Counter(write(model, tokenizer, start, 1, temperature=0.5, seed=s) for s in range(1500))
    likely = int(wanted.argmax())
    assert seen[tokenizer.decode([likely])] / 1500 == pytest.approx(float(wanted[likely]), abs=0.04)
    everything = range(len(tokenizer))
    assert write(model, tokenizer, start, 20, stop=everything) == ""


def test_what_a_language_model_refuses(tokenizer):
    model = language_model(len(tokenizer))
    with pytest.raises(UsageError, match="has seen the answer"):
        language_model(10, bidirectional=True)
    for reader in ("bag", "cnn", "lstmm"):
        with pytest.raises(UsageError, match="unknown kind of recurrent layer"):
            language_model(10, reader)
    for start, temperature in (([], 1.0), ([1], 0)):
        with pytest.raises(UsageError, match="a start and more than 0"):
            write(model, tokenizer, start, 3, temperature=temperature)
    for text, length in ((TEXT, 0), ("a", 3), ("", 3)):
        with pytest.raises(UsageError, match="at least 1 and 2"):
            passages(text, length)
    with pytest.raises(UsageError, match="no characters"):
        character_tokenizer("")
    with pytest.raises(DataError, match="lone surrogate"):
        character_tokenizer("a\ud800")


def bigram_bits(train, test, known):
    """Bits per character of counts + 1 of pairs: the best that the character before can tell, nearly."""
    pairs, single = collections.Counter(zip(train, train[1:], strict=False)), collections.Counter(train[:-1])
    log = [math.log2((pairs[a, b] + 1) / (single[a] + known)) for a, b in zip(test, test[1:], strict=False)]
    return -sum(log) / len(log)


@pytest.mark.real
@pytest.mark.parametrize(("kind", "read", "lr"), [("lstm", 50, 1e-2), ("gpt", 64, 3e-3)])
def test_a_language_model_beats_a_bigram_on_shakespeare(real_data, kind, read, lr):
    text = (real_data / "tinyshakespeare" / "input.txt").read_text(encoding="utf-8")
    train, test, tokenizer = text[:200_000], text[-20_000:], character_tokenizer(text)
    if kind == "lstm":
        model = language_model(len(tokenizer), "lstm", size=128)
    else:
        model = micro_model("gpt", tokenizer, positions=read + 1)
    method = LanguageModel(tokenizer, causal=True, max_length=101)
    batches = Batches(passages(train, read), method.collate, 32)
    history = fit(model, method.loss, batches, steps=400, lr=lr, progress=False)
    bits = math.log2(perplexity(model, tokenizer, passages(test, 2 * read if kind == "lstm" else read)))
    assert history.losses[-1] < 0.7 * history.losses[0]
    assert bits < bigram_bits(train, test, len(tokenizer)) - 0.1


# Attention


PAIRS = [{"source": "abc", "target": "cba"}, {"source": "b", "target": "b"}, {"source": "caab", "target": "baac"}]


@pytest.fixture(scope="module")
def letters():
    return character_tokenizer("abcd")


@pytest.mark.parametrize("attention", SCORES[:2])
def test_weights_are_the_formulas_and_pass_over_padding(letters, attention):
    model, method = Seq2Seq(len(letters), 6, attention), Rewriting(letters)
    batch = method.collate(PAIRS)
    _, weights = model(batch["input_ids"], batch["attention_mask"], batch["labels"][:, :2].clamp(min=0))
    torch.testing.assert_close(weights.sum(-1), torch.ones(3, 3))
    assert not weights[1, :, 1:].any() and (weights[0, :, :3] > 0).all()
    q, k = torch.randn(1, 2, 6), torch.randn(1, 4, 6)
    found = model.weigh(q, k, torch.ones(1, 4))
    for i in range(2):
        if attention == "dot":
            scores = [float(q[0, i] @ k[0, j]) for j in range(4)]
        else:
            scores = [float(model.score(torch.tanh(model.query(q[0, i]) + model.key(k[0, j])))) for j in range(4)]
        torch.testing.assert_close(found[0, i], torch.tensor(scores).softmax(0))


@pytest.mark.parametrize("attention", SCORES)
def test_what_comes_later_changes_nothing_and_a_batch_is_its_rows(letters, attention):
    model, method = Seq2Seq(len(letters), 6, attention), Rewriting(letters)
    batch = method.collate(PAIRS)
    full, _ = model(batch["input_ids"], batch["attention_mask"], batch["labels"][:, :-1].clamp(min=0))
    for row, one in enumerate(PAIRS):
        alone = method.collate([one])
        logits, _ = model(alone["input_ids"], alone["attention_mask"], alone["labels"][:, :-1])
        torch.testing.assert_close(logits[0], full[row, : len(one["target"]) + 1])
    start, _ = model(batch["input_ids"], batch["attention_mask"], batch["labels"][:, :0])
    torch.testing.assert_close(start[:, 0], full[:, 0])


def test_it_learns_to_turn_words_round(letters):
    """By itself it writes what it was taught, and stops."""
    torch.manual_seed(0)
    texts = ["".join("abcd"[i] for i in torch.randint(4, (int(n),))) for n in torch.randint(1, 5, (300,))]
    rows = [{"source": text, "target": text[::-1]} for text in texts]
    model, method = Seq2Seq(len(letters), 32), Rewriting(letters, most=6)
    fit(model, method.loss, Batches(rows, method.collate, 32), steps=200, lr=1e-2, progress=False)
    assert method.score(rows, answers(model, method, rows))["accuracy"] > 0.9
    assert answers(model, method, [{"source": "abca"}]) == ["acba"]


def test_what_rewriting_refuses(letters):
    with pytest.raises(DataError, match="row 2 of the batch: field 'source' is empty"):
        Rewriting(letters).collate([PAIRS[0], {"source": "", "target": "a"}])
    with pytest.raises(DataError, match="field 'source' must be a text"):
        Rewriting(letters).collate([{"text": "a"}])
    with pytest.raises(UsageError, match="did you mean 'dot'"):
        Seq2Seq(5, 6, "dots")
    with pytest.raises(UsageError, match="is odd"):
        Seq2Seq(5, 7)
