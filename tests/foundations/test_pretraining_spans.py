"""Span corruption inverts exactly, hides what it should, and has transformers' own loss."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import BertTokenizer

from labkit.errors import DataError, UsageError
from labkit.foundations.pretraining import (
    IGNORE,
    SpanCorruption,
    corrupt_spans,
    micro_model,
    restore_spans,
    sentinels_of,
    span_mask,
    with_sentinels,
)

WORDS = "[PAD] [UNK] [CLS] [SEP] [MASK] a the film was good bad fine it dull great .".split()
SMALL = {"d": 32, "ffn": 64, "positions": 32}
SENTINELS = list(range(1000, 1400))


@pytest.fixture(scope="module")
def plain():
    return BertTokenizer(vocab={word: number for number, word in enumerate(WORDS)}, model_max_length=512)


@pytest.fixture(scope="module")
def tokenizer(plain):
    return with_sentinels(plain, 5)


texts = st.lists(st.integers(0, 999), min_size=2, max_size=300)
shares, lengths, seeds = st.floats(0.01, 0.99), st.floats(1, 10), st.integers(0, 2**32)


@settings(max_examples=300, deadline=None)
@given(texts, shares, lengths, seeds)
def test_input_and_target_give_the_text_back(text, density, mean_span, seed):
    ids = np.array(text)
    rng = np.random.default_rng(seed)
    inputs, targets = corrupt_spans(ids, rng, SENTINELS, density=density, mean_span=mean_span)
    assert restore_spans(inputs, targets, SENTINELS).tolist() == text
    gaps, marks = inputs[inputs >= 1000], targets[targets >= 1000]
    assert gaps.tolist() == SENTINELS[: len(gaps)] and len(gaps) >= 1  # in order, from the first
    assert marks.tolist() == SENTINELS[: len(gaps) + 1] and targets[-1] == marks[-1] and targets[0] == marks[0]
    assert len(inputs) + len(targets) == len(ids) + 2 * len(gaps) + 1  # every token is on one side
    assert not (np.diff(np.flatnonzero(inputs >= 1000)) == 1).any()  # spans never touch
    assert not (np.diff(np.flatnonzero(targets >= 1000)) == 1).any()  # and none is empty


@settings(max_examples=200, deadline=None)
@given(st.integers(2, 600), shares, lengths, seeds)
def test_as_many_tokens_vanish_as_asked(length, density, mean_span, seed):
    hidden = span_mask(length, np.random.default_rng(seed), density=density, mean_span=mean_span)
    number = min(max(round(density * length), 1), length - 1)
    assert hidden.shape == (length,) and hidden.sum() == number
    spans = int((np.diff(hidden.astype(int), prepend=0) == 1).sum())
    assert spans == min(max(round(number / mean_span), 1), number, length - number + 1)


def test_every_place_is_hidden_as_often_as_asked():
    masks = np.array([span_mask(40, np.random.default_rng(seed)) for seed in range(4000)])
    assert masks.sum() == 4000 * 6
    rates = masks.mean(0)
    assert (rates[5:-5] > 0.11).all() and (rates[5:-5] < 0.19).all()
    assert rates[0] > 0.02 and rates[-1] > 0.02 and rates[-1] < 0.3  # both ends may vanish, neither must
    assert rates[0] == pytest.approx(rates[-1], abs=0.03)


def test_the_example_of_the_paper(monkeypatch):
    text = "thank you for inviting me to your party last week".split()
    hidden = np.isin(text, ["for", "inviting", "last"])
    monkeypatch.setattr("labkit.foundations.pretraining.spans.span_mask", lambda *_, **__: hidden)
    words = dict(enumerate(text)) | {1000: "<X>", 1001: "<Y>", 1002: "<Z>"}
    found = corrupt_spans(np.arange(10), np.random.default_rng(0), SENTINELS)
    inputs, targets = (" ".join(words[token] for token in side) for side in found)
    assert inputs == "thank you <X> me to your party <Y> week" and targets == "<X> for inviting <Y> last <Z>"


def test_sentinels_join_the_vocabulary_and_stay_special(plain, tokenizer):
    assert sentinels_of(tokenizer) == list(range(len(WORDS), len(WORDS) + 5)) and len(tokenizer) == len(WORDS) + 5
    assert len(plain) == len(WORDS)  # the given tokenizer is as it was
    assert len(with_sentinels(tokenizer, 3)) == len(WORDS) + 5  # what is there stays
    assert tokenizer.decode(tokenizer("a film")["input_ids"] + sentinels_of(tokenizer), skip_special_tokens=True) == (
        "a film"
    )


def batch_of(tokenizer, seed=0):
    objective = SpanCorruption(tokenizer, density=0.4, mean_span=2)
    rows = [{"text": "the film was good . it was fine ."}, {"text": "a bad film"}, {"text": "dull . bad . it was"}]
    return objective, rows, objective.collate(rows, np.random.default_rng(seed))


def test_a_batch_restores_its_texts(tokenizer):
    _, rows, batch = batch_of(tokenizer)
    for number, row in enumerate(rows):
        inputs = batch["input_ids"][number][batch["attention_mask"][number] == 1].numpy()
        targets = batch["labels"][number][batch["labels"][number] != IGNORE].numpy()
        assert targets[-1] == tokenizer.sep_token_id and len(targets) == batch["count"][number]
        restored = restore_spans(inputs, targets[:-1], sentinels_of(tokenizer))
        assert restored.tolist() == tokenizer(row["text"])["input_ids"]


def test_the_loss_is_transformers_own(tokenizer):
    objective, _, batch = batch_of(tokenizer)
    model = micro_model("t5", tokenizer, **SMALL).eval()
    theirs = model(
        input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], labels=batch["labels"]
    )  # shifts the labels itself
    assert abs(objective.loss(model, batch) - theirs.loss) < 1e-5


def test_bad_input_is_named(plain, tokenizer):
    rng = np.random.default_rng(0)
    with pytest.raises(UsageError, match=r"has 0 sentinels.*with_sentinels\(tokenizer\)"):
        SpanCorruption(plain)
    objective = SpanCorruption(tokenizer, density=0.5, mean_span=1)
    long = {"text": "the film was good . it was fine . the film was good ."}
    short = {"text": "film"}
    with pytest.raises(UsageError, match=r"row 2 of the batch: field 'input_ids': 7 spans need 8 sentinels, .* has 5"):
        objective.collate([{"text": "a bad film"}, long], rng)
    with pytest.raises(DataError, match="row 1 of the batch: field 'input_ids': a text of 1 tokens.*leave such rows"):
        objective.collate([short], rng)
    with pytest.raises(DataError, match="row 1 .* a text of 0 tokens"):
        objective.collate([{"text": ""}], rng)
    with pytest.raises(DataError, match="holds a sentinel itself"):
        corrupt_spans(np.array([1, 1000, 3]), rng, SENTINELS)
    with pytest.raises(DataError, match="not of one text"):
        restore_spans(np.array([5, 1001]), np.array([1000, 6, 1001]), SENTINELS)
    with pytest.raises(DataError, match="not of one text"):
        restore_spans(np.array([5, 6]), np.array([1000, 6, 1001]), SENTINELS)
    for wrong in ({"density": 0.0}, {"density": 1.0}, {"mean_span": 0.5}):
        with pytest.raises(UsageError, match="density"):
            SpanCorruption(tokenizer, **wrong)
    with pytest.raises(UsageError, match="two sentinels"):
        with_sentinels(plain, 1)
    with pytest.raises(UsageError, match="BertForMaskedLM has no decoder"):
        objective.loss(micro_model("bert", tokenizer, **SMALL), batch_of(tokenizer)[2])
