"""Guidance cross-attention: without it the plain encoder–decoder, gradients, what is read, a rule that is learned."""

from __future__ import annotations

import pytest
import torch

from labkit.foundations.generation.guided import Guided, GuidedEncoderDecoder
from labkit.foundations.transformer.transformer import EncoderDecoder, Settings
from labkit.training import Batches, fit
from labkit.zoo.tokenizer import build_tokenizer

WORDS = "red blue green soup hat car is the a"
SIZES = {"d": 32, "heads": 4, "layers": 2, "ffn": 64}


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer([WORDS] * 2, least=1)


def settings(tokenizer, **changes):
    return Settings(len(tokenizer), **{**SIZES, **changes})


def rows_of(count):
    """A thing with a colour, and who is asked about it: the answer is both."""
    colours, things, askers = "red blue green".split(), "soup hat car".split(), "the a is".split()
    found = []
    for n in range(count):
        colour, thing, asker = colours[n % 3], things[n // 3 % 3], askers[n // 9 % 3]
        found.append({"text": f"the {thing} is {colour}", "guide": asker, "label": f"{asker} {colour}"})
    return found


def test_with_the_guidance_shut_out_it_is_the_plain_encoder_decoder(tokenizer):
    torch.manual_seed(0)
    guided, plain = GuidedEncoderDecoder(settings(tokenizer)), EncoderDecoder(settings(tokenizer))
    state = guided.state_dict()
    plain.load_state_dict({name: state[name] for name in plain.state_dict()})
    batch = Guided(tokenizer, guided).collate(rows_of(6))
    inputs = {name: value for name, value in batch.items() if name not in ("labels", "count")}
    open_ = guided(**inputs)
    for layer in guided.decoder.layers:
        torch.nn.init.zeros_(layer.guide.out.weight)
    shut = guided(**inputs)
    kept = {name: value for name, value in inputs.items() if not name.startswith("guide")}
    torch.testing.assert_close(shut, plain(**kept), rtol=0, atol=1e-6)
    assert not torch.allclose(open_, shut, atol=1e-4)


def test_padding_of_the_guidance_changes_nothing(tokenizer):
    torch.manual_seed(0)
    model = GuidedEncoderDecoder(settings(tokenizer)).eval()
    method, (short, long) = Guided(tokenizer, model), rows_of(2)
    alone = method.collate([short])
    beside = method.collate([short, {**long, "guide": "the red soup is a hat", "text": f"{long['text']} and a car"}])
    assert beside["guide_ids"].shape[1] > alone["guide_ids"].shape[1]
    drop = ("labels", "count")
    one = model(**{name: value for name, value in alone.items() if name not in drop})
    two = model(**{name: value for name, value in beside.items() if name not in drop})
    torch.testing.assert_close(one[0], two[0, : one.shape[1]], rtol=0, atol=1e-5)


def test_a_prefix_is_read_before_the_text_and_an_empty_guidance_is_none(tokenizer):
    method = Guided(tokenizer, EncoderDecoder(settings(tokenizer)))
    ids = method.read([{"text": "the soup", "guide": "hat"}, {"text": "the soup", "guide": ""}])["input_ids"]
    assert tokenizer.convert_ids_to_tokens(ids[0]) == ["[CLS]", "hat", "[SEP]", "the", "soup", "[SEP]"]
    assert tokenizer.convert_ids_to_tokens(ids[1]) == ["[CLS]", "the", "soup", "[SEP]", "[PAD]", "[PAD]"]


@pytest.mark.parametrize(("kind", "steps"), [(GuidedEncoderDecoder, 150), (EncoderDecoder, 400)])
def test_it_learns_to_write_what_is_asked_for(tokenizer, kind, steps):
    torch.manual_seed(0)
    model, rows = kind(settings(tokenizer)), rows_of(27)
    method, unseen = Guided(tokenizer, model), rows[::4]
    seen = [row for row in rows if row not in unseen]
    fit(model, method.loss, Batches(seen, method.collate, 20, seed=0), steps=steps, lr=3e-3, seed=0, progress=False)
    assert method.write(model, seen, 3) == [row["label"] for row in seen]
    assert method.write(model, unseen, 3) == [row["label"] for row in unseen]
