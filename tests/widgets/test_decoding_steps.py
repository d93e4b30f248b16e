"""The text is what the sampler writes, the bars are its choices, and what is wrong is said above the picture."""

from __future__ import annotations

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from labkit.errors import UsageError
from labkit.foundations.generation import Sampler, Steps, decode, prompted
from labkit.widgets import decoding_steps
from labkit.widgets.decoding_steps import MOST, compute, draw

SETTINGS = {"temperature": 1.0, "k": 0, "p": 0.9, "seed": 7}


@pytest.fixture(scope="module")
def parts(tiny_parts):
    tokenizer = tiny_parts()[1]
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=len(tokenizer), n_embd=32, n_layer=2, n_head=2, n_positions=64, initializer_range=0.4
    )
    tokenizer.eos_token = "[SEP]"
    return GPT2LMHeadModel(config).eval(), tokenizer


def test_the_choices_are_the_samplers(parts):
    model, tokenizer = parts
    choices = compute(model, tokenizer, "the film", **SETTINGS)
    sampler = Sampler(temperature=1.0, p=0.9, seed=7)
    wanted = decode(Steps(model, **prompted(tokenizer, ["the film"])), sampler, MOST, eos=tokenizer.eos_token_id)
    assert [one.chosen for one in choices] == wanted[0].tolist()


def test_the_picture_shows_one_step_and_its_words_say_it(parts):
    model, tokenizer = parts
    choices = compute(model, tokenizer, "the film", **SETTINGS)
    picture = draw(choices, tokenizer, "the film", 2)
    word = tokenizer.convert_ids_to_tokens(choices[1].chosen)
    assert f"Step 2, {choices[1].kept} token" in picture.alt and f"drawn {word}." in picture.alt
    assert picture.html.count("refused") == sum(share == 0 for share in choices[1].after)
    assert "<b> ◀" not in picture.html and "<script" not in picture.html
    assert draw(choices, tokenizer, "the film", 99).alt.count(f"Step {len(choices)}, ") == 1  # the last there is
    with pytest.raises(UsageError, match="step 0"):
        draw(choices, tokenizer, "the film", 0)


def test_controls_redraw_and_errors_are_said(parts):
    shown = decoding_steps(*parts, ["the film", ""])
    first = shown.view.value
    shown.temperature.value = 0.1
    assert shown.view.value != first and not shown.message.value
    shown.prompt.options = ["the film " * 80]
    assert "this model reads at most 64" in shown.message.value
    with pytest.raises(UsageError, match="no prompts"):
        decoding_steps(*parts, [])
