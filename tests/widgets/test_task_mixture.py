"""The mixture against its formula, what is held out, the picture's words, and the controls."""

from __future__ import annotations

import math

import pytest

from labkit.errors import UsageError
from labkit.widgets import task_mixture
from labkit.widgets.task_mixture import compute, draw

SIZES = {"topic": {"news": 240}, "feel": {"films": 32, "shows": 32}, "same": {"pairs": 96}}
MEASURED = {"feel": (0.62, 0.705), "same": (0.5, 0.4)}


def shown(**options):
    return {line.task: line.share for line in compute(SIZES, **options)}


def test_shares_are_in_proportion_to_a_power_of_the_rows():
    assert shown(temperature=1) == pytest.approx({"news": 0.6, "films": 0.08, "shows": 0.08, "pairs": 0.24})
    assert shown(temperature=math.inf) == pytest.approx(dict.fromkeys(shown(), 0.25))
    root = [240**0.5, 32**0.5, 32**0.5, 96**0.5]
    assert list(shown(temperature=2).values()) == pytest.approx([value / sum(root) for value in root])


def test_what_is_held_out_is_never_read_and_the_others_share_the_rest():
    lines = compute(SIZES, "topic", 1, draws=1600)
    assert [line.share for line in lines] == pytest.approx([0, 0.2, 0.2, 0.6])
    assert [line.times for line in lines] == pytest.approx([0, 10, 10, 10])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: task_mixture(SIZES, held="topics"), "unknown task type 'topics': did you mean 'topic'"),
        (lambda: task_mixture({"a": {"x": 3}}, held="a"), "'a' is all there is"),
        (lambda: task_mixture({}), "0 tasks"),
    ],
)
def test_what_cannot_be_shown_is_refused(call, message):
    with pytest.raises(UsageError, match=message):
        call()


def test_the_picture_says_in_words_what_it_shows():
    drawn = draw(compute(SIZES, "feel", 1), "feel", 1, MEASURED)
    assert repr(drawn) == (
        "At temperature 1 the tasks' shares are: news 71.4\u00a0%, pairs 28.6\u00a0%. Held out: films, shows. "
        "Zero-shot accuracy of feel: 62.0\u00a0% before, 70.5\u00a0% after."
    )
    page = drawn._repr_html_()
    assert "<s>films</s>" in page and "<s>news</s>" not in page and "held out" in page and "never" in page
    assert "+8.5 points" in page and "-10.0 points" in page


def test_names_are_text():
    page = draw(compute({"<b>": {"<i>x": 3}}), "nothing", 2)._repr_html_()
    assert "&lt;i&gt;x" in page and "<i>x" not in page


def test_controls_change_the_picture_and_an_error_leaves_it():
    widget = task_mixture(SIZES, MEASURED)
    assert "Nothing is held out" in repr(widget)
    widget.held.value = "same"
    assert "<s>pairs</s>" in widget.view.value and "40.0\u00a0% after" in repr(widget)
    before = widget.view.value
    widget.temperature.value = math.inf
    assert widget.view.value != before and "temperature inf" in repr(widget)
    widget.steps.value = 50
    assert "times" in widget.view.value
    one = task_mixture({"a": {"x": 3}})
    picture = one.view.value
    one.held.value = "a"
    assert "is all there is" in one.message.value and one.view.value == picture
