"""The swaps read from rows, the line that does not move, the picture, the words in it, and the controls."""

from __future__ import annotations

import pytest

from labkit.errors import UsageError
from labkit.report import Report
from labkit.widgets import label_words
from labkit.widgets.label_words import compute, draw

DRAWS = 3


def value(method: str, quality: str, choice: int, number: int) -> float:
    """CP-Tuning's depends on the draw alone; PET falls with the quality, Fuzzy-PET half as much."""
    fall = {"natural": 0.0, "rare": 0.04, "arbitrary": 0.1}[quality] * {"PET": 1, "Fuzzy-PET": 0.5}.get(method, 0)
    return 0.8 + 0.01 * number - fall - (0 if method == "CP-Tuning" else 0.01 * choice)


def rows(tasks=("world/cr", "world/mr"), draws=True, words="negative: bad{}; positive: great{}"):
    """As benchmarks/fewshot.py writes them, worst words first."""
    report = Report()
    for task in tasks:
        report.bounds[task] = ("accuracy", 0.5, 0.88)
        for quality in ("arbitrary", "rare", "natural"):
            for choice in range(2):
                for number in range(DRAWS):
                    for method in ("PET", "Fuzzy-PET", "CP-Tuning"):
                        extra = {"draw": number} if draws else {}
                        report.add(
                            f"{method}, {quality}", task, value(method, quality, choice, number),
                            seed=choice * DRAWS + number, quality=quality, choice=choice,
                            words=words.format(choice, choice), **extra,
                        )  # fmt: skip
    return report


def test_the_choices_are_in_order_and_hold_the_rows():
    swaps = compute(rows(), "world/cr")
    assert [place.name for place in swaps.places] == [
        "natural 1", "natural 2", "rare 1", "rare 2", "arbitrary 1", "arbitrary 2",
    ]  # fmt: skip
    assert list(swaps.scores) == ["PET", "Fuzzy-PET"]
    for method, found in swaps.scores.items():
        for place, scores in zip(swaps.places, found, strict=True):
            wanted = [100 * value(method, place.quality, place.choice, number) for number in range(DRAWS)]
            assert scores == pytest.approx(wanted)
            assert place.words[method] == f"negative: bad{place.choice}; positive: great{place.choice}"
    assert swaps.ends == pytest.approx({"chance": 50, "ceiling": 88})


def test_what_does_not_look_at_the_words_is_one_number_a_draw():
    swaps = compute(rows(), "world/cr")
    assert list(swaps.steady) == ["CP-Tuning"]
    assert swaps.steady["CP-Tuning"] == pytest.approx((80, 81, 82))


def test_one_changed_score_is_enough_to_move():
    report = rows()
    report.add("CP-Tuning, rare", "world/cr", 0.1, seed=0, quality="rare", choice=0, words="", draw=0)
    swaps = compute(report, "world/cr")
    assert list(swaps.scores) == ["PET", "Fuzzy-PET", "CP-Tuning"] and not swaps.steady
    assert "CP-Tuning" in compute(report, "world/mr").steady


def test_rows_without_words_stand_for_all_choices():
    report = rows(draws=False)
    for number, score in enumerate((0.7, 0.9)):
        report.add("head", "world/cr", score, seed=number)
    swaps = compute(report, "world/cr")
    assert swaps.steady == {"head": pytest.approx((70, 90))}
    assert "CP-Tuning" in swaps.scores  # nothing says which examples its rows share


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: compute(rows(), "world/c"), "did you mean 'world/cr'"),
        (lambda: label_words(Report()), "no rows yet"),
        (lambda: draw(compute(rows(), "world/cr"), 6), "no choice of words number 7: world/cr has 6"),
    ],
)
def test_what_is_not_there_is_refused(call, message):
    with pytest.raises(UsageError, match=message):
        call()


def test_a_report_of_other_rows_is_refused():
    report = Report()
    report.add("PET", "world/cr", 0.8)
    with pytest.raises(UsageError, match="no method changed with its label words"):
        label_words(report)


def test_the_picture_says_in_words_what_it_shows():
    said = draw(compute(rows(), "world/cr"), 4).alt
    assert said.startswith("Accuracy (%) on world/cr over 6 choices of label words")
    assert "PET: 80.5 ± 1.0 with natural words" in said and "70.5 ± 1.0 with arbitrary words" in said
    assert "CP-Tuning, without words: 81.0 ± 1.0" in said
    assert "Marked: arbitrary 1 (negative: bad0; positive: great0)." in said


def test_the_steady_line_is_level_and_the_others_are_broken_between_qualities():
    from labkit.widgets.label_words import _figure

    (axes,) = _figure(compute(rows(), "world/cr"), 0).axes
    named = {line.get_label(): line for line in axes.lines if not line.get_label().startswith("_")}
    assert set(named) == {"PET", "Fuzzy-PET", "CP-Tuning (no words)"}
    assert set(named["CP-Tuning (no words)"].get_ydata()) == {81.0}
    assert len(named["PET"].get_xdata()) == 2  # natural 1 and 2; rare and arbitrary are lines of their own
    assert named["PET"].get_linestyle() != named["Fuzzy-PET"].get_linestyle()
    assert {text.get_text() for text in axes.texts} == {"natural", "rare", "arbitrary", "ceiling 88"}  # chance: far


def test_every_control_changes_the_picture():
    report = rows()
    report.add("PET, rare", "world/mr", 0.6, seed=0, quality="rare", choice=0, words="x", draw=0)
    shown = label_words(report)
    pictures = {shown.view.value}
    for control, to in ((shown.choice, 5), (shown.task, "world/mr")):
        control.value = to
        assert shown.message.value == ""
        pictures.add(shown.view.value)
    assert len(pictures) == 3 and shown.choice.value == 5  # the choice stays where the other task has it too
    assert "world/mr" in repr(shown) and "arbitrary 2" in repr(shown)


def test_a_task_with_fewer_choices_shows_its_first():
    report = rows(("world/cr",))
    for choice, score in enumerate((0.7, 0.6)):
        report.add("PET, rare", "world/mr", score, seed=choice, quality="rare", choice=choice, words="w", draw=0)
    shown = label_words(report)
    shown.choice.value = 5
    shown.task.value = "world/mr"
    assert shown.choice.value == 0 and len(shown.choice.options) == 2 and shown.message.value == ""


def test_markup_is_text_wherever_it_comes_from():
    shown = label_words(rows(words="<script>{}; <b>{}"))
    assert "<script" not in shown.view.value and "&lt;script&gt;0" in shown.view.value
