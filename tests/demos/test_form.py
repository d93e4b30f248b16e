"""What people type: turned into a task, or refused in one sentence that names the field."""

from __future__ import annotations

import dataclasses

import pytest

from labkit.demos.fewshot.form import (
    MAX_NAME,
    MAX_PATTERN,
    MAX_TEXT,
    MAX_TRIED,
    MAX_WORD,
    Class,
    Form,
    sentences,
    to_task,
    unfamiliar,
)
from labkit.demos.fewshot.page import to_form, to_values
from labkit.demos.fewshot.presets import PRESETS, world_task
from labkit.errors import UsageError
from labkit.fewshot.pet import PET
from labkit.zoo import load

GOOD = Class("good", "great", ("the soup was superb .", "a fine film .", "we liked the room ."))
BAD = Class("bad", "awful", ("the soup was dull .", "", "we hated the room ."))
FORM = Form((GOOD, BAD), "{text} it was {mask} .", "the waiter was late .")


@pytest.fixture(scope="module")
def base():
    return load("mini-bert-en")


def changed(**fields):
    return dataclasses.replace(FORM, **fields)


def with_class(**fields):
    return changed(classes=(GOOD, dataclasses.replace(BAD, **fields)))


def refused(form):
    with pytest.raises(UsageError) as error:
        to_task(form)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_form_is_a_task_and_an_empty_example_is_left_out():
    task = to_task(FORM)
    assert task.labels == ("good", "bad")
    assert [(row["text"], row["label"]) for row in task.splits["train"]] == [
        ("the soup was superb .", 0), ("a fine film .", 0), ("we liked the room .", 0),
        ("the soup was dull .", 1), ("we hated the room .", 1),
    ]  # fmt: skip
    assert task.words == {"good": ("great",), "bad": ("awful",)}
    assert task.patterns == (FORM.pattern,)


def test_white_space_and_lines_are_single_spaces():
    task = to_task(with_class(name="  very \n bad ", examples=("the soup\n\t was dull", " ", "")))
    assert task.labels[1] == "very bad"
    assert task.splits["train"][3]["text"] == "the soup was dull"


def test_a_class_without_examples():
    assert refused(with_class(examples=("", "  ", "\n"))) == "class 'bad' has no example: type at least one sentence"


@pytest.mark.parametrize(
    ("form", "field"),
    [
        (with_class(name=" "), "class 2, name"),
        (with_class(word=""), "class 'bad', label word"),
        (changed(pattern="\t"), "pattern"),
    ],
)
def test_what_may_not_be_empty(form, field):
    assert refused(form) == f"{field}: it is empty, type a text"


def test_two_classes_of_one_name():
    assert refused(with_class(name="good ")) == "two classes are called 'good': give each a name of its own"


@pytest.mark.parametrize("count", [0, 1, 5])
def test_too_few_and_too_many_classes(count):
    classes = tuple(dataclasses.replace(GOOD, name=str(number)) for number in range(count))
    assert refused(changed(classes=classes)) == f"{count} classes: choose 2 to 4"


GIANT = "a" * 100_000


@pytest.mark.parametrize(
    ("form", "field", "limit"),
    [
        (with_class(name=GIANT), "class 2, name", MAX_NAME),
        (with_class(word=GIANT), "class 'bad', label word", MAX_WORD),
        (with_class(examples=("", "", GIANT)), "class 'bad', example 3", MAX_TEXT),
        (changed(pattern=GIANT), "pattern", MAX_PATTERN),
    ],
)
def test_a_giant_text_is_refused_by_field_and_limit(form, field, limit):
    assert refused(form) == f"{field}: 100000 characters, at most {limit} are read"


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("{text} it was good .", "no {mask}"),
        ("{text.__class__} {mask}", "{text.__class__} is no field name"),
        ("{0} {mask}", "{0} is no field name"),
        ("{text!r} {mask}", "no '.', '[' or '!'"),
        ("{mask}" * 50, "write {text} into it"),
        ("{mask}" * 100, "600 characters, at most 300"),
        ("{text} {mask} {mask}", "write {mask} once"),
        ("{text} {text} {mask}", "write {text} once"),
        ("it was {mask} .", "write {text} into it"),
        ("{text} {mask", "never closed"),
        ("{texts} {mask}", "did you mean 'text'"),
        ("{text} {soft*3} {mask}", "{soft*3} is not for this demo"),
        ("{text} {meta:label} {mask}", "{meta:label} is not for this demo"),
    ],
)
def test_a_pattern_that_will_not_do(pattern, said):
    message = refused(changed(pattern=pattern))
    assert message.startswith("pattern")
    assert said in message


@pytest.mark.parametrize(
    "pattern", ["{text} {special:sep} {mask} .", "<script>{text}</script> {mask}", "{{ {text} }} {mask}"]
)
def test_a_pattern_that_will_do(pattern, base):
    PET.for_task(to_task(changed(pattern=pattern)), base.tokenizer)


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("steak", "word 'steak' is 5 pieces"),
        ("很好", "not in the tokenizer's vocabulary"),
        ("😀", "not in the tokenizer's vocabulary"),
        ("\0", "not in the tokenizer's vocabulary"),
        ("great", "labels 'good' and 'bad' share it"),
        ("GREAT", "to this tokenizer the same as 'great'"),
        ("[MASK]", "6 pieces"),
    ],
)
def test_a_label_word_that_will_not_do(word, said, base):
    task = to_task(with_class(word=word))
    with pytest.raises(UsageError) as error:
        PET.for_task(task, base.tokenizer)
    assert "'bad'" in str(error.value)
    assert said in str(error.value)


def test_half_a_character_is_refused():
    for form in (
        with_class(name="a\ud800"),
        with_class(examples=("\udfff", "", "")),
        changed(pattern="{text}\udc00{mask}"),
    ):
        assert "half a character" in refused(form)
    with pytest.raises(UsageError, match="sentences to try: it holds half a character"):
        sentences("fine\nnot \ud83d")


# Sentences to try


def test_sentences_are_lines():
    assert sentences("\n the soup  was good .\n\n这里的汤很好。\r\n") == ["the soup was good .", "这里的汤很好。"]


@pytest.mark.parametrize(
    ("tried", "said"),
    [
        (" \n ", "type at least one sentence"),
        ("", "type at least one sentence"),
        ("a\n" * (MAX_TRIED + 1), f"{MAX_TRIED + 1} lines, at most {MAX_TRIED}"),
        ("fine\n" + "a" * (MAX_TEXT + 1), f"sentence 2 to try: {MAX_TEXT + 1} characters, at most {MAX_TEXT} are read"),
        (GIANT, "sentences to try: 100000 characters, at most 8008 are read"),
        ("\n" * 100_000, "sentences to try: 100000 characters"),
    ],
)
def test_sentences_that_will_not_do(tried, said):
    with pytest.raises(UsageError) as error:
        sentences(tried)
    assert said in str(error.value)


def test_the_longest_sentences_will_do():
    assert len(sentences("\n".join(["a" * MAX_TEXT] * MAX_TRIED))) == MAX_TRIED


# What the model does not know


@pytest.mark.parametrize(
    ("text", "unknown", "spelt"),
    [
        ("the soup was good .", [], []),
        ("这汤 good", ["这", "汤"], []),
        ("😀 steak , steak", ["😀"], ["steak"]),
        ("\0", [], []),
        ("", [], []),
        ("[MASK]", [], ["MASK"]),
    ],
)
def test_unfamiliar_words(text, unknown, spelt, base):
    assert unfamiliar(text, base.tokenizer) == (unknown, spelt)


# The page's fields, and the forms to start from


def test_fields_and_form_are_inverse():
    for form in (FORM, changed(classes=(GOOD, BAD, Class("c", "w", ("1", "2", "3")))), changed(classes=(GOOD,) * 4)):
        assert to_form(*to_values(form)) == form


def test_missing_values_are_empty_texts():
    assert to_form(2, *[None] * 22) == Form((Class(), Class()), "", "")


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_fits_its_model(name, language):
    tokenizer = load(f"mini-bert-{language}").tokenizer
    reference = world_task(language)
    forms = [PRESETS[name].form(reference, draw) for draw in (0, 0, 1)]
    PET.for_task(to_task(forms[0]), tokenizer)
    assert forms[0] == forms[1]
    assert (forms[0] != forms[2]) == PRESETS[name].drawn
    texts = [*sentences(forms[0].tried), *(text for c in forms[0].classes for text in c.examples if text)]
    assert [words for text in texts for words in unfamiliar(text, tokenizer) if words] == []
