"""In-context learning: what is written before the question, what is cut, and what calibration divides by."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit.errors import DataError, UsageError
from labkit.evaluation import predict
from labkit.fewshot.pet import PET
from labkit.fewshot.prompts.in_context import InContext, content_free, demonstrations, orders, with_demonstrations
from labkit.fewshot.prompts.template import Field, Template
from labkit.fewshot.prompts.verbalizer import Verbalizer
from tests.fewshot.tiny_prompts import ID, LABELS, ROWS, TEMPLATE, text_of, tiny_bert, tiny_tokenizer

TOKENIZER = tiny_tokenizer()


def in_context(shown=(), template=TEMPLATE, words=LABELS, masks=1, **options):
    return InContext(template, Verbalizer(words, TOKENIZER, masks=masks), TOKENIZER, shown, **options)


def written(how, row) -> str:
    batch = how.collate([row])
    return text_of(batch["input_ids"][0], batch["attention_mask"][0])


def test_demonstrations_stand_before_the_question():
    how = in_context(ROWS[:2])
    assert written(how, ROWS[3]) == (
        "[CLS] the film was good . it was good . a dull film it was bad . bad . it was [MASK] . [SEP]"
    )
    split = in_context(ROWS[:1], separator=" news ")
    assert written(split, ROWS[3]) == "[CLS] the film was good . it was good . news bad . it was [MASK] . [SEP]"


def test_meta_values_and_special_tokens_are_shown_too():
    template = "{meta:kind} {text} {special:sep} {mask*2} ."
    words = {"a": "terrible", "b": "terrific"}
    how = in_context([{**ROWS[0], "kind": "news"}], template, words, 2)
    assert written(how, {"text": "dull", "kind": "film"}) == (
        "[CLS] news the film was good . [SEP] terr ##ific . film dull [SEP] [MASK] [MASK] . [SEP]"
    )


@torch.no_grad()
def test_without_demonstrations_it_is_pet():
    model, how, pet = tiny_bert(), in_context(), PET(TEMPLATE, Verbalizer(LABELS, TOKENIZER), TOKENIZER)
    torch.testing.assert_close(how.logits(model, how.collate(ROWS)), pet.logits(model, pet.collate(ROWS)))
    torch.testing.assert_close(how.loss(model, how.collate(ROWS)), pet.loss(model, pet.collate(ROWS)))


@torch.no_grad()
def test_with_demonstrations_it_is_the_models_answer_to_the_whole_text():
    model, how = tiny_bert(), in_context(ROWS[:2])
    text = "the film was good . it was good . a dull film it was bad . so fine it was [MASK] ."
    inputs = TOKENIZER(text, return_tensors="pt")
    blank = (inputs["input_ids"][0] == ID["[MASK]"]).nonzero().item()
    wanted = model(**inputs).logits[0, blank, [ID["bad"], ID["good"]]].softmax(0)
    found = how.logits(model, how.collate([{"text": "so fine"}])).softmax(1)[0]
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-6)


WORD = st.sampled_from(["good", "dull", "film", "so", "[MASK]", "{mask}", "{text}"])
TEXT = st.lists(WORD, max_size=30).map(" ".join)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(TEXT, st.integers(0, 1)), max_size=3), TEXT, st.integers(26, 64))
def test_the_blank_is_never_cut_and_texts_are_only_text(shown, text, room):
    how = in_context([{"text": some, "label": label} for some, label in shown], max_length=room)
    batch = how.collate([{"text": text}])
    ids = batch["input_ids"][0].tolist()
    assert len(ids) <= room and ids.count(ID["[MASK]"]) == 1
    assert batch["mask_positions"].tolist() == [[len(ids) - 3]]  # before ". [SEP]"
    assert text_of(batch["input_ids"][0], batch["attention_mask"][0]).endswith("it was [MASK] . [SEP]")


def test_the_copies_fields_are_their_own():
    template = Template.parse("{text} {b|whole} {mask}")
    rows = [{"text": "x", "b": "y", "label": 0}, {"text": "z", "b": "{text}", "label": 1}]
    whole, values = with_demonstrations(template, rows, ["bad", "good"])
    assert whole.fields == ("shown 1 text", "shown 1 b", "shown 2 text", "shown 2 b", "text", "b")
    assert values == {"shown 1 text": "x", "shown 1 b": "y", "shown 2 text": "z", "shown 2 b": "{text}"}
    assert [part.shorten for part in whole.parts if isinstance(part, Field)] == [True, False] * 3
    assert Template.parse(str(whole)) == whole


def test_calibration_is_a_division_by_the_answer_to_nothing():
    model, how = tiny_bert(), in_context(ROWS[:2], words={"negative": "bad", "positive": "good"})
    nothing = content_free(how.question, ["n / a"])
    assert nothing == [{"text": "n / a"}]
    p, p_cf = predict(model, how, ROWS), predict(model, how, nothing)[0]
    wanted = (p / p_cf) / (p / p_cf).sum(1, keepdims=True)  # Zhao et al.: W = diag(p_cf)^-1, b = 0
    np.testing.assert_allclose(predict(model, how.calibrated(model, nothing), ROWS), wanted, rtol=1e-3, atol=1e-5)
    neutral = predict(model, how.calibrated(model, nothing), nothing)
    np.testing.assert_allclose(neutral, [[0.5, 0.5]], atol=1e-4)
    assert how.calibrated(model).verbalizer.prior is not None and how.verbalizer.prior is None
    meta = content_free(Template.parse("{meta:kind} {text} {mask}"), ["."])
    assert meta == [{"text": ".", "kind": "."}]


def test_demonstrations_are_drawn_class_by_class():
    rows = [{"text": str(number), "label": number % 3} for number in range(12)]
    four = demonstrations(rows, 4, 3, seed=5)
    assert len({row["label"] for row in four[:3]}) == 3 and len({row["text"] for row in four}) == 4
    assert demonstrations(rows, 2, 3, seed=5) == four[:2] and demonstrations(rows, 4, 3, seed=6) != four
    with pytest.raises(DataError, match="13 demonstrations are asked for, and 12 labelled rows"):
        demonstrations(rows, 13, 3)


def test_orders_are_different_and_complete():
    shown = [{"text": letter, "label": 0} for letter in "abc"]
    every = orders(shown)
    assert sorted(map(str, every)) == sorted(str(list(one)) for one in itertools.permutations(shown))
    many = orders([{"text": str(n), "label": 0} for n in range(9)], most=20, seed=1)
    assert len({str(one) for one in many}) == 20 and all(len(one) == 9 for one in many)
    assert orders(shown, most=2) == every[:2]


def test_a_description_makes_the_same_method():
    model = tiny_bert()
    how = in_context([{**ROWS[0], "other": object()}, ROWS[1]], separator=" ").calibrated(model)
    again = InContext.from_description(how.describe(), TOKENIZER)
    assert set(how.describe()["demonstrations"][0]) == {"text", "label"}
    np.testing.assert_array_equal(predict(model, again, ROWS), predict(model, how, ROWS))
    with pytest.raises(UsageError, match="'demonstrations' must be a list"):
        InContext.from_description({**how.describe(), "demonstrations": "x"}, TOKENIZER)


def test_what_cannot_be_is_said():
    with pytest.raises(DataError, match="demonstration 2: its label must be 0 to 1, not None"):
        in_context([ROWS[0], {"text": "good"}])
    with pytest.raises(DataError, match="demonstration 1: it lacks 'text', which the template names; it has label"):
        in_context([{"label": 0}])
    with pytest.raises(UsageError, match=r"a demonstration fills one \{mask\}"):
        in_context(ROWS[:1], "{text} {mask} {mask}", {"a": "terrible", "b": "terrific"}, 2)
    with pytest.raises(UsageError, match="shorten the template or raise max_length"):
        in_context(ROWS, max_length=20).collate(ROWS)
