"""Filters keep what brute force keeps and what transformers keeps; tokens come as often as they should."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import LogitsProcessorList, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from labkit.errors import UsageError
from labkit.foundations.generation import Sampler, Steps, decode, filtered, trace
from tests.foundations.generation_models import IDS, MASK, writer

# Different values, and none of their sums near the p's below.
logits = st.lists(st.integers(-40, 40), min_size=2, max_size=30, unique=True).map(lambda some: [x / 8.03 for x in some])


@settings(max_examples=200, deadline=None)
@given(logits, st.sampled_from([0.5, 1.0, 1.7]), st.integers(1, 35), st.sampled_from([0.03, 0.31, 0.77, 0.99, 1.0]))
def test_filters_keep_what_brute_force_and_transformers_keep(values, temperature, k, p):
    found = filtered(torch.tensor([values]), temperature=temperature, k=k, p=p)[0].tolist()
    powers = {place: math.exp(value / temperature) for place, value in enumerate(values)}
    kept, reached = set(), 0.0
    best = sorted(powers, key=powers.get, reverse=True)[:k]
    for place in best:
        if reached < p * sum(powers[one] for one in best):
            kept.add(place)
            reached += powers[place]
    assert {place for place, value in enumerate(found) if value > -math.inf} == kept
    theirs = LogitsProcessorList([TemperatureLogitsWarper(temperature), TopKLogitsWarper(k), TopPLogitsWarper(p)])
    torch.testing.assert_close(torch.tensor([found]), theirs(None, torch.tensor([values])))


def test_equal_logits_keep_exactly_k():
    assert (filtered(torch.zeros(2, 9), k=3) > -math.inf).sum(1).tolist() == [3, 3]


@pytest.mark.parametrize("p", [0.3, 0.9, 0.9999])
def test_a_nucleus_of_a_large_vocabulary_is_that_of_transformers(p):
    """Rows of which one is sure, and one needs more tokens than are looked at first."""
    values = torch.randn(3, 5000, generator=torch.Generator().manual_seed(0)) * torch.tensor([[9.0], [2.0], [0.1]])
    found, theirs = filtered(values, p=p), TopPLogitsWarper(p)(None, values)
    assert ((found > -math.inf).sum(1) - (theirs > -math.inf).sum(1)).abs().max() <= 1  # sums of float32 end nearby
    torch.testing.assert_close(found.softmax(-1), theirs.softmax(-1), atol=1e-5, rtol=1e-3)


def test_a_nucleus_that_is_reached_exactly_takes_no_more():
    shares = torch.tensor([[0.5, 0.25, 0.125, 0.125]])
    assert (filtered(shares.log(), p=0.75) > -math.inf).tolist() == [[True, True, False, False]]


def test_tokens_come_as_often_as_they_should():
    values, n = torch.tensor([[2.0, 1.0, 0.5, 0.0, -1.0, -3.0]]), 20_000
    options = {"temperature": 1.3, "k": 5, "p": 0.9}
    drawn = Sampler(**options, seed=1)(values.expand(n, -1))
    wanted = filtered(values, **options).softmax(-1)[0] * n
    counts = drawn.bincount(minlength=6)
    assert not counts[wanted == 0].any()
    some = wanted > 0
    chi = ((counts[some] - wanted[some]) ** 2 / wanted[some]).sum().item()
    assert chi < 16.27  # 3 degrees of freedom, p = 0.001
    assert some.sum() == 4


def test_the_seed_decides():
    def written(seed):
        return decode(Steps(writer("gpt2"), IDS, MASK), Sampler(seed=seed, temperature=3.0), 8).tolist()

    assert written(1) == written(1) != written(2)


def test_a_trace_tells_what_was_chosen_and_from_what():
    model, options = writer("gpt2", 1), {"temperature": 2.0, "k": 6, "p": 0.8}
    choices = trace(Steps(model, IDS[1:2]), 6, Sampler(**options, seed=3), shown=7)
    written = decode(Steps(model, IDS[1:2]), Sampler(**options, seed=3), 6)
    assert [one.chosen for one in choices] == written[0].tolist()
    first, shares = choices[0], model(IDS[1:2]).logits[0, -1].softmax(0)
    assert list(first.tokens) == shares.topk(7).indices.tolist() and first.kept == sum(x > 0 for x in first.after)
    assert first.probability == pytest.approx(shares[first.chosen].item(), rel=1e-4)
    assert sum(first.after) == pytest.approx(1) and first.before == pytest.approx(shares.topk(7).values.tolist())
    with pytest.raises(UsageError, match="3 rows: a trace is of one text"):
        trace(Steps(model, IDS, MASK), 6, Sampler())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"k": 0}, "k=0: at least one"),
        ({"p": 0.0}, "p=0.0"),
        ({"p": 1.5}, "p=1.5"),
        ({"p": math.nan}, "p=nan"),
        ({"temperature": 0.0}, "temperature=0.0: it must be above 0; near 0 is greedy"),
        ({"temperature": -1.0}, "temperature=-1.0"),
        ({"temperature": math.nan}, "temperature=nan"),
        ({"seed": -1}, "seed"),
    ],
)
def test_what_cannot_be_sampled_is_said_before_the_model_runs(options, said):
    with pytest.raises(UsageError, match=said):
        Sampler(**options)
