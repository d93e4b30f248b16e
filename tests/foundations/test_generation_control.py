"""Steering with weight 0 changes nothing; the sum is the sum; mask-predict is what its paper says."""

from __future__ import annotations

import pytest
import torch

from labkit.errors import UsageError
from labkit.foundations.generation import Sampler, Steered, Steps, beam_search, decode, greedy, mask_predict
from tests.foundations.generation_models import EOS, IDS, MASK, PAD, writer

END = {"eos": EOS, "pad": PAD}


def steered(alpha, **prompts):
    parts = [Steps(writer(kind, seed), IDS, MASK) for kind, seed in (("gpt2", 0), ("gpt2", 1), ("llama", 2))]
    return Steered(*parts, alpha)


@pytest.mark.parametrize("way", ["greedy", "sampling", "beam"])
def test_without_weight_it_is_the_base(way):
    ways = {
        "greedy": lambda steps: decode(steps, greedy, 15, **END),
        "sampling": lambda steps: decode(steps, Sampler(seed=4, p=0.9), 15, **END),
        "beam": lambda steps: beam_search(steps, 15, 4, **END),
    }
    assert ways[way](steered(0.0)).tolist() == ways[way](Steps(writer("gpt2", 0), IDS, MASK)).tolist()
    assert ways[way](steered(2.0)).tolist() != ways[way](steered(0.0)).tolist()


def test_the_logits_are_the_weighted_sum_at_each_step():
    steps, ids = steered(1.5), IDS[1:2]
    steps.keep(torch.tensor([1]))
    for token in (4, 9):
        z, wanted, unwanted = (one.model(ids).logits[:, -1] for one in steps.parts)
        torch.testing.assert_close(steps.logits, z + 1.5 * (wanted - unwanted), atol=1e-4, rtol=1e-4)
        steps.advance(torch.tensor([token]))
        ids = torch.cat([ids, torch.tensor([[token]])], 1)


def test_an_expert_against_itself_changes_nothing():
    model = writer("gpt2", 1)
    both = [Steps(model, IDS, MASK) for _ in range(2)]
    found = decode(Steered(Steps(writer("gpt2"), IDS, MASK), *both, 7.0), greedy, 9, **END)
    assert found.tolist() == decode(Steps(writer("gpt2"), IDS, MASK), greedy, 9, **END).tolist()


def test_models_that_do_not_fit_together_are_refused():
    base = Steps(writer("gpt2"), IDS, MASK)
    with pytest.raises(UsageError, match=r"logits of shapes \[\(3, 40\), \(1, 40\), \(3, 40\)\]"):
        Steered(base, Steps(writer("gpt2"), IDS[1:2]), base, 1.0)
    with pytest.raises(UsageError, match="alpha=nan"):
        Steered(base, base, base, float("nan"))


# Mask-predict


@pytest.fixture
def masked(tiny_parts):
    model, tokenizer, *_ = tiny_parts("pet")
    ids = tokenizer(["the film was good", "a film"], return_tensors="pt", padding=True)
    blanks = ids["input_ids"].clone()
    blanks[0, 1:5], blanks[1, 2] = tokenizer.mask_token_id, tokenizer.mask_token_id
    return model, tokenizer.mask_token_id, blanks, ids["attention_mask"]


def shares_of(model, ids, mask, hide):
    shares = model(input_ids=ids, attention_mask=mask).logits
    shares[..., hide] = -torch.inf
    return shares.softmax(-1)


@pytest.mark.parametrize("passes", [1, 2, 4, 10])
def test_mask_predict_is_the_algorithm_of_the_paper(masked, passes):
    model, blank, start, mask = masked
    found = mask_predict(model, start, blank, passes, mask)
    for row in range(2):  # one text at a time, in plain loops
        ids, places = start[row].clone(), (start[row] == blank).nonzero().flatten().tolist()
        sure, hidden = {}, places
        for number in range(1, passes + 1):
            ids[hidden] = blank
            shares = shares_of(model, ids[None], mask[row : row + 1], blank)[0]
            for place in hidden:
                sure[place], ids[place] = shares[place].max(0)
            again = len(places) * (passes - number) // passes
            hidden = sorted(places, key=lambda place: sure[place].item())[:again]
            if not again:
                break
        assert found[row].tolist() == ids.tolist()


def test_one_pass_fills_every_blank_with_its_likeliest_word(masked):
    model, blank, start, mask = masked
    best = shares_of(model, start, mask, blank).argmax(-1)
    assert mask_predict(model, start, blank, 1, mask).tolist() == torch.where(start == blank, best, start).tolist()


def test_mask_predict_wants_a_blank_and_a_pass(masked):
    model, blank, start, _ = masked
    for ids, passes in ((start, 0), (start.clamp(max=blank - 1), 3)):
        with pytest.raises(UsageError, match="in every row a blank to fill"):
            mask_predict(model, ids, blank, passes)
