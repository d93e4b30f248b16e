"""The beam as it grows: its figures are the library's, each control changes the picture."""

from __future__ import annotations

import pytest

from labkit.errors import UsageError
from labkit.fewshot.auto_prompts.candidates import whole_words
from labkit.fewshot.auto_prompts.infilling import Layout, masked_fillings, with_words
from labkit.widgets import template_search
from labkit.widgets.template_search import compute, draw
from tests.fewshot.auto_prompt_tiny import WORDS, bert, task
from tests.fewshot.auto_prompt_tiny import tokenizer as tiny_tokenizer


@pytest.fixture(scope="module")
def tokenizer():
    return tiny_tokenizer()


def test_the_last_step_is_what_the_search_finds(tokenizer):
    model, few = bert(), task()
    growth = compute(model, tokenizer, few, blanks=(2, 1), beam=4)
    assert model.training and [len(beam) for beam in growth.steps] == [4, 4, 4]
    model.eval()
    rows = with_words(few.splits["train"], {"negative": ("bad",), "positive": ("good",)})
    found = masked_fillings(model, tokenizer, Layout("{text}"), (2, 1), rows, whole_words(tokenizer, len(WORDS)), 4)
    assert [one.template for one in growth.steps[-1]] == [f"{{text}} {one.left} {{mask}} {one.right}" for one in found]
    assert [one.log_probability * len(rows) for one in growth.steps[-1]] == pytest.approx(
        [one.log_probability for one in found]
    )


def test_a_template_goes_on_if_a_later_one_begins_with_it(tokenizer):
    growth = compute(bert(), tokenizer, task(), blanks=(3, 0), beam=4)
    for beam, after in zip(growth.steps, growth.steps[1:], strict=False):
        begun = [one.template.split()[1:-2] for one in after]
        for one in beam:
            assert one.kept == (one.template.split()[1:-1] in begun)
    assert not all(one.kept for beam in growth.steps for one in beam)


def test_every_control_changes_the_picture(tokenizer):
    shown = template_search(bert(), tokenizer, task())
    pictures = {shown.view.value}
    for control, value in ((shown.step, 1), (shown.beam, 5), (shown.where, shown.where.options[1])):
        control.value = value
        assert shown.message.value == ""
        pictures.add(shown.view.value)
    assert len(pictures) == 4
    assert repr(shown).startswith("Beam after blank 1 of 3, 5 templates. Likeliest: ")
    assert "{text} it was {mask} ." in shown.view.value


@pytest.mark.parametrize(
    ("options", "said"),
    [({"beam": 50}, "beam=50"), ({"blanks": (0, 0)}, "1 to 5 blanks"), ({"blanks": (9, 0)}, "blanks=")],
)
def test_what_cannot_be_shown_is_refused(tokenizer, options, said):
    with pytest.raises(UsageError, match=said):
        compute(bert(), tokenizer, task(), **options)


def test_a_task_without_dev_rows_and_a_step_that_is_none(tokenizer):
    few = task(splits={"train": task().splits["train"]})
    with pytest.raises(UsageError, match="needs rows in 'dev'"):
        template_search(bert(), tokenizer, few)
    with pytest.raises(UsageError, match="no pattern"):
        compute(bert(), tokenizer, task(patterns=()))
    with pytest.raises(UsageError, match="step 4"):
        draw(compute(bert(), tokenizer, task(), blanks=(1, 1), beam=2), 4)


def test_markup_in_words_is_text(tokenizer):
    growth = compute(bert(), tokenizer, task(patterns=("<b> {text} {mask}",)), blanks=(1, 0), beam=2)
    assert "&lt;b&gt;" in draw(growth, 1).html and "<b> {text}" not in draw(growth, 1).html
