"""Metrics agree with the libraries that the field uses, on any lists of words."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from labkit.errors import UsageError
from labkit.foundations.generation import bleu, clipped_matches, distinct, meteor, nist, perplexity, repetition
from tests.foundations.generation_models import writer

words = st.lists(st.sampled_from("the a cat cats sat mat on".split()), min_size=1, max_size=9)
corpora = st.lists(st.tuples(words, st.lists(words, min_size=2, max_size=2)), min_size=1, max_size=4)


@settings(max_examples=150, deadline=None)
@given(corpora, st.integers(1, 4))
def test_bleu_is_that_of_sacrebleu(corpus, n):
    sacrebleu = pytest.importorskip("sacrebleu")
    candidates, references = [one for one, _ in corpus], [refs for _, refs in corpus]
    library = sacrebleu.BLEU(tokenize="none", smooth_method="none", max_ngram_order=n)
    streams = [[" ".join(refs[place]) for refs in references] for place in range(2)]
    wanted = library.corpus_score([" ".join(one) for one in candidates], streams).score
    assert 100 * bleu(candidates, references, n) == pytest.approx(wanted, abs=1e-9)


def test_bleu_by_hand():
    candidate, references = "the the the cat".split(), ["the cat sat".split(), "on the mat the cat".split()]
    assert clipped_matches(candidate, references, 1) == (3, 4)  # "the" twice, "cat" once
    assert clipped_matches(candidate, references, 2) == (1, 3)
    # both references are one word off: the shorter one counts, so there is no penalty
    assert bleu([candidate], [references], 2) == pytest.approx(math.sqrt(3 / 4 * 1 / 3))


@pytest.mark.parametrize("shorter", [1, 2, 3])
def test_a_short_candidate_pays(shorter):
    reference = "a b c d".split()
    found = bleu([reference[:-shorter]], [[reference]], 1)
    assert found == pytest.approx(math.exp(1 - 4 / (4 - shorter)))


@settings(max_examples=60, deadline=None)
@given(corpora)
def test_nist_and_meteor_are_those_of_nltk(corpus):
    nltk = pytest.importorskip("nltk.translate")
    candidates, references = [one for one, _ in corpus], [refs for _, refs in corpus]
    longest = max(map(len, candidates))
    assert nist(candidates, references) == nltk.nist_score.corpus_nist(references, candidates, min(5, longest))
    assert 0 <= meteor(candidates, references) <= 1


def test_meteor_by_hand():
    """Two of three words match, one by its stem, in one run: recall and precision 2/3, penalty ½ · (1/2)³."""
    pytest.importorskip("nltk")
    found = meteor(["the cats ran".split()], [["the cat sat".split()]])
    assert found == pytest.approx(2 / 3 * (1 - 0.5 * (1 / 2) ** 3))


@given(st.lists(words, min_size=1, max_size=4), st.integers(1, 3))
def test_distinct_counts_different_grams(texts, n):
    grams = [tuple(text[at : at + n]) for text in texts for at in range(len(text) - n + 1)]
    assume(grams)
    assert distinct(texts, n) == len(set(grams)) / len(grams)


def test_repetition_is_the_share_that_stood_there_before():
    assert repetition([list("abcabc")], 1) == 0.5 and repetition([list("abab"), list("abcd")], 2) == pytest.approx(
        1 / 6
    )
    assert repetition([["a"]], 4) == 0 and distinct([["a"]], 2) == 0


def test_perplexity_is_that_of_the_model(tiny_parts):
    tokenizer, model = tiny_parts()[1], writer("gpt2")
    texts = ["the film was good .", "bad"]
    nats = count = 0
    for text in texts:
        ids = tokenizer(text, return_tensors="pt")["input_ids"]
        nats += model(ids, labels=ids).loss * (ids.shape[1] - 1)
        count += ids.shape[1] - 1
    assert perplexity(model, tokenizer, texts) == pytest.approx(torch.exp(nats / count).item(), rel=1e-5)


@pytest.mark.parametrize("metric", [bleu, nist, meteor])
def test_a_text_without_a_word_has_nothing_right(metric):
    assert metric([[]], [[["a"]]]) == 0 == metric([["a"]], [[[]]])


@pytest.mark.parametrize("metric", [bleu, nist, meteor])
@pytest.mark.parametrize("wrong", [([], []), ([["a"]], []), ([["a"]], [[]])])
def test_each_candidate_needs_a_reference(metric, wrong):
    with pytest.raises(UsageError, match="each needs one at least"):
        metric(*wrong)
