"""UnifiedQA's format: what is written is read again, for every kind of question."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import BertForMaskedLM

import labkit
from labkit.errors import DataError
from labkit.foundations.finetuning.questions import FORMS, as_form
from labkit.foundations.finetuning.text_to_text import nearest, parsed, source, to_text
from labkit.foundations.generation import Generation, encoder_decoder
from labkit.training import Batches, fit
from tests.foundations.window_models import encoder, tokenizer

TEXT = st.lists(st.sampled_from(["who", "film", "(a)", "(b)", "\\n", "n", "\\", "店", "?", "(", ""])).map(" ".join)


@settings(max_examples=400, deadline=None)
@given(TEXT, TEXT, st.lists(TEXT, max_size=4))
def test_what_is_written_is_read_again_or_refused(question, text, options):
    try:
        made = source(question, text, options)
    except DataError:
        parts = [question, text, *options]
        assert any(
            part != part.strip() or not part or "\\n" in part or "(a)" in part or "(b)" in part for part in parts
        )
        return
    assert parsed(made) == (question, text, options)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (("who \\n ?", "a"), "question of"),
        (("who", "a", ["b \\n c", "d"]), "option 1 of"),
        (("who", "", ["a", "b (b) c"]), "its parts of"),
        (("who", "(a) film"), "its parts of"),
        (("", "film"), "the empty question of 'film'"),
        (("who", "", list("abcdefghijk")), "its parts of .* 10 options at most"),
    ],
)
def test_what_cannot_be_told_apart_is_named(parts, message):
    with pytest.raises(DataError, match=message):
        source(*parts)


def test_papers_examples():
    assert (
        source("what does a photon carry?", "", ["mass", "energy"])
        == "what does a photon carry? \\n (a) mass (b) energy"
    )
    made = source("was it good ?", "it was not .")
    assert made == "was it good ? \\n it was not ." and parsed(made)[2] == []


def test_every_form_of_the_world_is_text():
    task = labkit.load_task("world/reading")
    for form in ("span", "choice", "yes or no"):
        asked = as_form(task, form, sentences=2)
        for row in asked.splits["test"][:50]:
            made = to_text(row, FORMS[form][1])
            assert parsed(made["text"]) == (row["question"], row["text"], row.get("options", []))
            assert made["label"] in ("no", "yes") if form == "yes or no" else made["label"] == row["answer"]
    none = {"text": "a .", "question": "who ?", "label": {"text": "", "start": -1}}
    assert to_text(none)["label"] == "no answer" and to_text({**none, "label": None})["label"] is None


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"text": "a ."}, "field 'question' must be a text, not None"),
        ({"text": 5, "question": "who"}, "field 'text' must be a text, not 5"),
        ({"text": "a .", "question": "who", "label": 2}, "label 2 of 'who' is the place of none of 2 answers"),
        ({"text": "a .", "question": "who", "label": -1}, "label -1 of 'who'"),
    ],
)
def test_rows_that_cannot_be_written_are_named(row, message):
    with pytest.raises(DataError, match=message):
        to_text(row, ("no", "yes"))


def test_the_nearest_option_is_chosen():
    assert nearest("ulrich drake", ["drake", "ulrich drake", "karen"]) == 1
    assert nearest("karen of drake", ["film", "karen drake"]) == 1
    assert nearest("", ["film", "店"]) == 0


def test_one_model_answers_two_kinds_of_question():
    model, own = encoder(), tokenizer()
    rows = [to_text({"text": "the film was bad", "question": "it", "label": {"text": "film", "start": 4}}),
            to_text({"text": "the film was bad", "question": "good", "label": 1}, ("good", "bad"))]  # fmt: skip
    whole = BertForMaskedLM(model.config)
    whole.bert.load_state_dict(model.state_dict(), strict=False)
    made = encoder_decoder(whole, own, seed=0)
    how = Generation.of(made, own, ("text",), max_decoder_length=8, num_beams=1)
    fit(made, how.loss, Batches(rows, how.collate, 2, seed=0), steps=150, lr=3e-3, seed=0, progress=False)
    made.eval()
    found = how.answers(made, how.collate([{"text": row["text"]} for row in rows]), rows)
    assert [answer[0].replace(" ", "") for answer in found] == ["film", "bad"]
