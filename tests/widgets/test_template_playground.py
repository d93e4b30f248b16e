"""The playground against the encoder's own tokens, what it says of a fault, and its controls."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit.errors import DataError, UsageError
from labkit.fewshot.prompts.encoding import encode
from labkit.fewshot.prompts.template import Template
from labkit.widgets import template_playground
from labkit.widgets.boxes import escape
from labkit.widgets.template_playground import KINDS, compute, draw
from tests.fewshot.tiny_prompts import tiny_tokenizer

TOKENIZER = tiny_tokenizer()
ROW = {"text": "the film was so very good", "kind": "news"}
TEMPLATE = "{meta:kind} {special:sep} {text} {soft:it was} {mask*2} ."


def kept(reading) -> list[str]:
    return [token for part in reading.parts for token in part.tokens[: part.kept]]


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 40), st.integers(0, 40), st.integers(13, 60))
def test_its_tokens_are_the_encoders(first, second, room):
    row = {"a": "good " * first, "b": "dull " * second}
    reading = compute(TOKENIZER, row, "{a} it was {mask} . {special:sep} {b} news", room)
    batch = encode(Template.parse(reading.template), [row], TOKENIZER, room)
    assert kept(reading) == TOKENIZER.convert_ids_to_tokens(batch["input_ids"][0].tolist())
    assert reading.kept <= room and reading.kept + reading.cut == first + second + 8
    assert all(part.kept == len(part.tokens) for part in reading.parts if part.kind != "field")


def test_each_part_is_named():
    reading = compute(TOKENIZER, ROW, TEMPLATE, 32)
    inner = reading.parts[1:-1]
    assert "".join(part.spelling for part in inner) == TEMPLATE
    named = {part.spelling.strip(): (part.kind, part.about) for part in inner if part.spelling.strip()}
    assert named == {
        "{meta:kind}": ("meta", "a value of the row, never cut"),
        "{special:sep}": ("special", "a special token"),
        "{text}": ("field", "a field, cut where room is short"),
        "{soft:it was}": ("soft", "trainable tokens: start as these words"),
        "{mask*2}": ("blank", "2 blanks"),
        ".": ("words", "words of the template"),
    }
    alt = draw(reading).alt
    assert "The model reads 15 of 32 tokens: [CLS] news [SEP] the film" in alt and "Nothing is cut off" in alt
    assert {kind for kind in KINDS if escape(KINDS[kind][1]) in draw(reading).html} == set(KINDS)


@pytest.mark.parametrize(
    ("template", "at", "message"),
    [
        ("{text} it was {msk} .", 15, "did you mean 'mask'"),
        ("{text} it was good", 19, "no {mask}"),
        ("{text} {mask} }", 15, "closes nothing"),
        ("{text.__class__} {mask}", 1, "begins with a letter"),
        ("{mask} <b>{x}</b>", 11, "unknown field 'x'"),
    ],
)
def test_a_fault_is_shown_where_it_is(template, at, message):
    reading = compute(TOKENIZER, ROW, template, 32)
    assert reading.at == at and message in reading.fault
    picture = draw(reading)
    assert f"character {at}: " in picture.html and message in picture.alt
    assert "<b>{" not in picture.html  # what is typed is shown, not obeyed


def test_the_controls_move_it():
    shown = template_playground(TOKENIZER, ROW, TEMPLATE, room=20)
    assert "Nothing is cut off" in repr(shown)
    shown.room.value = 12
    assert "Cut off: so very good." in repr(shown) and "12 of 12 tokens" in repr(shown)
    shown.room.value = 9
    assert "shorten the template or raise max_length" in shown.message.value and "12 of 12" in repr(shown)
    shown.room.value = 12
    shown.values["text"].value = "dull"
    assert shown.message.value == "" and "Nothing is cut off" in repr(shown)
    shown.template.value = "{txet} {mask}"
    assert "refused at 1" in repr(shown) and "did you mean" in shown.view.value
    shown.values["kind"].value = "n" * 1001
    assert "kind: 1001 characters; at most 1000" in shown.message.value


def test_what_cannot_begin_is_raised():
    with pytest.raises(DataError, match="meta value 'kind'"):
        compute(TOKENIZER, {"text": "a"}, "{text} {meta:kind} {mask}", 32)
    with pytest.raises(UsageError, match="at least 4 tokens"):
        compute(TOKENIZER, ROW, TEMPLATE, 3)
