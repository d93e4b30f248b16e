"""The writing demo without its page: what is typed becomes a text with each choice, or a sentence that says why not."""

from __future__ import annotations

import dataclasses
import math
import re

import pytest
import torch

from labkit.demos.foundations import showing, writing
from labkit.demos.foundations.form import FIELDS, LIMITS, MAX_BLANKS, MAX_TEXT, Decoding, checked, parts_around_blanks
from labkit.demos.foundations.page import (
    SIDES,
    TO_COMPLETE,
    TO_FILL,
    TO_TRANSLATE,
    on_complete,
    on_fill,
    on_translate,
)
from labkit.demos.foundations.writing import TRANSLATING, Models, complete, fill, translate
from labkit.errors import DataError, LabkitError, UsageError
from labkit.foundations.generation import Steps, prompted
from tests.demos.writers import models
from tests.served import MARKUP


@pytest.fixture(scope="module")
def found():
    return models()


def text(html):
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


EXTREMES = [
    Decoding("greedy", length=1), Decoding("greedy", length=60), Decoding("sample", temperature=0.1, k=1, p=0.05),
    Decoding("sample", temperature=2.0, k=100, p=1.0, seed=9999, length=60), Decoding("beam", beams=1, penalty=0.0),
    Decoding("beam", beams=8, penalty=2.0, length=60), Decoding("beam", beams=8, length=1),
]  # fmt: skip


@pytest.mark.parametrize("how", EXTREMES, ids=[f"{one.way}-{number}" for number, one in enumerate(EXTREMES)])
def test_every_control_at_its_extremes_gives_a_text(found, how):
    for loaded, written in (
        (found.get("mini-gpt-en"), complete(found.get("mini-gpt-en"), "the soup was", how)),
        (found.get(TRANSLATING), translate(found.get(TRANSLATING), "the soup is good .", "en", how)),
    ):
        assert 1 <= len(written.choices) <= how.length
        assert written.ended or len(written.choices) == how.length
        assert bool(written.beams) == (how.way == "beam")
        html = showing.written(written, loaded.tokenizer, "the soup")
        assert html.count("<tr>") == 1 + len(written.choices) + (1 + len(written.beams)) * bool(written.beams)


def test_greedy_and_beam_write_what_transformers_does(found):
    model, tokenizer = found.get("mini-gpt-en")
    batch = prompted(tokenizer, ["the soup was"])
    for how, options in (
        (Decoding("greedy", length=12), {}),
        (Decoding("beam", beams=4, penalty=1.0, length=12), {"num_beams": 4}),
        (Decoding("beam", beams=3, penalty=0.0, length=8), {"num_beams": 3, "length_penalty": 0.0}),
    ):
        wanted = model.generate(**batch, max_new_tokens=how.length, do_sample=False, early_stopping=False, **options)
        ids = [one.chosen for one in complete(found.get("mini-gpt-en"), "the soup was", how).choices]
        assert wanted[0, batch["input_ids"].shape[1] :].tolist() == ids


def test_each_choice_is_the_models_own_probability(found):
    loaded = found.get("mini-gpt-en")
    for how in (Decoding("beam", length=6), Decoding("sample", temperature=0.7, k=5, p=0.9, length=6, seed=3)):
        written = complete(loaded, "the soup was", how)
        steps = Steps(loaded.model, **prompted(loaded.tokenizer, ["the soup was"]))
        for one in written.choices:
            shares = steps.logits[0].softmax(0)
            assert one.probability == pytest.approx(float(shares[one.chosen]), rel=1e-4)
            assert one.tokens[0] == int(shares.argmax())
            assert one.before[0] == pytest.approx(float(shares.max()), rel=1e-4)
            steps.advance(torch.tensor([one.chosen]))
        total = sum(math.log(one.probability) for one in written.choices)
        assert f"log-probability {total:.2f}" in showing.written(written, loaded.tokenizer, "the soup was")


def test_the_beam_that_is_shown_holds_the_text_that_is_written(found):
    written = complete(found.get("mini-gpt-en"), "the soup was", Decoding("beam", beams=3, length=5))
    ids = [one.chosen for one in written.choices]
    for number, step in enumerate(written.beams, start=1):
        assert all(len(one) == number for one, _ in step) and len(step) == 3
        values = [value for _, value in step]
        assert values == sorted(values, reverse=True)
        assert len({tuple(one) for one, _ in step}) == 3
    total = sum(math.log(one.probability) for one in written.choices)
    assert any(one == ids and value == pytest.approx(total, rel=1e-3) for one, value in written.beams[len(ids) - 1])


def test_the_same_seed_draws_the_same_text(found):
    loaded, how = found.get("mini-gpt-en"), Decoding(temperature=1.5, p=1.0, length=12)
    texts = [complete(loaded, "the soup was", dataclasses.replace(how, seed=seed)).text for seed in (1, 2, 1)]
    assert texts[0] == texts[2] != texts[1]


def test_blanks_are_filled_as_the_model_fills_them(found):
    html = on_fill(found, "the [MASK] [mask] was ___ , and i liked the [MASK] .", 4)
    assert re.findall(r"blank \d", text(html)) == ["blank 1", "blank 2", "blank 3", "blank 4"]
    assert "[MASK]" not in html
    assert [text(line)[0] for line in re.findall(r"<p><b>\d</b>&ensp;.*?</p>", html)] == ["1", "2", "3", "4"]
    loaded = found.get("mini-bert-en")
    filled = fill(loaded, ["the soup was", "."], 3)
    assert filled.passes == [filled.passes[0]] * 3  # a lone blank has nothing to wait for
    assert filled.passes[0][0] == filled.likeliest[0][0][0]
    assert len(fill(loaded, [""] * (MAX_BLANKS + 1), 2).passes[-1]) == MAX_BLANKS


def test_examples_can_be_pressed(found):
    for one in TO_COMPLETE:
        assert on_complete(found, "mini-gpt-en", one, Decoding(length=5))
    for one, passes in TO_FILL:
        assert on_fill(found, one, passes)
    for one, side in TO_TRANSLATE:
        assert "no token for" not in on_translate(found, side, one, Decoding("beam", length=60))


def test_a_translation_reads_from_the_language_that_was_chosen(found):
    loaded = found.get(TRANSLATING)
    for side, language in SIDES.items():
        assert translate(loaded, "a", language, Decoding("greedy", length=3)).choices
        assert side in ("English → Chinese", "Chinese → English")
    with pytest.raises(UsageError, match="choose English → Chinese or Chinese → English"):
        on_translate(found, "to French", "a", Decoding())


BAD = [
    ({"way": "best"}, "choose greedy, sample, beam: 'best' is none of them"),
    ({"way": None}, "'None' is none of them"),
    ({"temperature": 0}, "Temperature: 0, choose 0.1 to 2"),
    ({"temperature": float("nan")}, "Temperature: that is no number"),
    ({"k": -1}, "choose 0 to 100"),
    ({"k": 1.5}, "1.5 is no whole number"),
    ({"p": 0}, "Nucleus p: 0, choose 0.05 to 1"),
    ({"p": 1.01}, "choose 0.05 to 1"),
    ({"beams": 10**9}, "Beams: 1,000,000,000, choose 1 to 8"),
    ({"beams": 0}, "Beams: 0, choose 1 to 8"),
    ({"penalty": -1}, "Length penalty: -1, choose 0 to 2"),
    ({"length": 61}, "choose 1 to 60"),
    ({"seed": -1}, "Seed: -1, choose 0 to 9999"),
    ({"seed": None}, "Seed: it is empty, type a number"),
    ({"seed": True}, "Seed: that is no number"),
    ({"length": "30"}, "that is no number"),
]


@pytest.mark.parametrize(("numbers", "words"), BAD)
def test_numbers_out_of_bounds_are_one_sentence(found, numbers, words):
    with pytest.raises(UsageError) as said:
        checked(dataclasses.replace(Decoding(), **numbers))
    assert words in str(said.value)


@pytest.mark.parametrize("given", ["", "   ", None, 3, "a" * (MAX_TEXT + 1), "half \ud83d a character"])
def test_texts_that_cannot_be_read_are_one_sentence(found, given):
    for ask in (
        lambda: on_complete(found, "mini-gpt-en", given, Decoding()),
        lambda: on_fill(found, given, 1),
        lambda: on_translate(found, next(iter(SIDES)), given, Decoding()),
    ):
        with pytest.raises(LabkitError, match="type a text first|at most 600 are read|is half of one") as said:
            ask()
        assert isinstance(said.value, UsageError | DataError)


@pytest.mark.parametrize("given", ["no blank", "[MASK] " * (MAX_BLANKS + 1)])
def test_no_blank_or_too_many_are_refused(given):
    with pytest.raises(UsageError, match=r"blanks: write \[MASK\] or ___ where a word is missing, 1 to 12 times"):
        parts_around_blanks(given)


@pytest.mark.parametrize(
    "given",
    [MARKUP, "汤 soup 汤 суп شوربة 🍲", "[SEP] [CLS] <extra_id_0> </s> <bos>", "!!! ??? ...", "a\x00b\x07c", "𝔘𝔫𝔦"],
)
def test_strange_texts_are_written_on_and_shown_as_they_are(found, given):
    pages = [
        on_complete(found, "mini-gpt-en", given, Decoding(length=4)),
        on_fill(found, f"{given} [MASK]", 2),
        *(on_translate(found, side, given, Decoding("beam", beams=2, length=4)) for side in SIDES),
    ]
    assert all("<img" not in html and "<bos>" not in html and "<extra" not in html for html in pages)


def test_a_text_longer_than_the_model_is_refused(found):
    long = "soup " * (MAX_TEXT // 5)
    for ask in (
        lambda: on_complete(found, "mini-gpt-en", long + "a b c d e f", Decoding(length=60)),
        lambda: on_complete(found, "mini-gpt-en", "?" * MAX_TEXT, Decoding()),
        lambda: on_fill(found, "?" * (MAX_TEXT - 7) + " [MASK]", 1),
        lambda: on_translate(found, next(iter(SIDES)), "?" * MAX_TEXT, Decoding()),
    ):
        with pytest.raises(UsageError, match="shorten|at most|possible"):
            ask()


def test_only_models_of_the_page_complete(found):
    for name in (TRANSLATING, "mini-bert-en", "/etc/passwd", None, "gpt2"):
        with pytest.raises(UsageError, match="is not on this page"):
            on_complete(found, name, "the soup", Decoding())


def test_a_model_that_is_not_here_is_not_trained_on_demand(monkeypatch):
    monkeypatch.setattr(writing, "here", lambda name: False)
    with pytest.raises(UsageError, match="mini-t5-en-zh is not here yet: `labkit zoo build mini-t5-en-zh` trains it"):
        Models("mini-gpt-en").get(TRANSLATING)
    assert Models("mini-gpt-en").write == ["mini-gpt-en"]  # no gemma where its package is missing


def test_fields_are_those_of_the_form():
    assert FIELDS == ("way", *LIMITS)
    assert checked(Decoding()) == Decoding()
