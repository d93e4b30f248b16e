"""The ablation table: its figures against plain arithmetic, its words, its controls."""

from __future__ import annotations

import numpy as np
import pytest

from labkit.errors import UsageError
from labkit.report import Report
from labkit.widgets import ablation_table
from labkit.widgets.ablation_table import compute, draw, said

STAGES = ("base", "more", "most")
VALUES = {  # stage -> task -> accuracy of each split
    "base": {"a": (0.50, 0.54, 0.52), "b": (0.70, 0.72, 0.74)},
    "more": {"a": (0.60, 0.64, 0.63), "b": (0.69, 0.74, 0.73)},
    "most": {"a": (0.61, 0.64, 0.62), "b": (0.60, 0.62, 0.64)},
}


@pytest.fixture
def report():
    made = Report()
    for stage, tasks in VALUES.items():
        for task, values in tasks.items():
            for split, value in enumerate(values):
                made.add(stage, f"world/fewclue/{task}", value, seed=split)
    return made


def test_accuracies_and_their_mean(report):
    grid = compute(report, STAGES)
    assert grid.columns == ("a", "b", "mean") and grid.chosen == "most" and grid.splits == 3
    for stage, line in zip(STAGES, grid.cells, strict=True):
        means = [100 * np.mean(values) for values in VALUES[stage].values()]
        assert [cell.value for cell in line] == pytest.approx([*means, np.mean(means)])
        assert not any(cell.clear for cell in line)


def test_changes_are_taken_split_by_split(report):
    grid = compute(report, STAGES, "before")
    assert grid.cells[0] == (None, None, None)
    a = 100 * (np.array(VALUES["more"]["a"]) - np.array(VALUES["base"]["a"]))
    cell = grid.cells[1][0]
    assert cell.value == pytest.approx(a.mean()) and cell.error == pytest.approx(a.std(ddof=1) / 3**0.5)
    assert cell.clear and grid.cells[1][1].clear is False
    drop = grid.cells[2][1]
    assert drop.value == pytest.approx(-10.0, abs=1e-6) and said(drop).startswith("▼ -10.0")
    both = [[np.mean([VALUES[stage][task][split] for task in "ab"]) for split in range(3)] for stage in STAGES[:2]]
    assert grid.cells[1][2].value == pytest.approx(100 * np.mean(np.subtract(both[1], both[0])))
    chosen = compute(report, STAGES, "chosen", "base")
    assert chosen.cells[2][0].value == pytest.approx(
        100 * np.mean(np.subtract(VALUES["most"]["a"], VALUES["base"]["a"]))
    )


def test_one_split_has_no_error_and_nothing_is_clear(report):
    few = Report([row for row in report.rows if row.seed == 0])
    cell = compute(few, STAGES, "before").cells[1][0]
    assert np.isnan(cell.error) and not cell.clear


def test_the_picture_says_every_figure(report):
    picture = draw(compute(report, STAGES, "accuracy", "more"))
    assert "more: a 62.3, b 72.0, mean 67.2" in picture.alt and "62.3" in picture.html and "▸ more" in picture.html
    changes = draw(compute(report, STAGES, "before"))
    assert "▲ +10.3 ●" in changes.html and "base: nothing to compare with" in changes.alt
    assert "points against the line above" in changes.html
    hostile = Report()
    hostile.add("<b>", "<i>", 0.5)
    assert "<b>&lt;" not in draw(compute(hostile, ["<b>"])).html and "&lt;i&gt;" in draw(compute(hostile, ["<b>"])).html


def test_the_controls_change_the_table(report):
    shown = ablation_table(report, STAGES, "accuracy")
    first = shown.static.alt
    shown.shown.value = "chosen"
    shown.stage.value = "base"
    assert shown.static.alt != first and "base: nothing to compare with" in shown.static.alt
    assert "▲" in shown.view.value and shown.message.value == ""
    bundle = shown._repr_mimebundle_()
    assert "text/html" in bundle and "Table of stages by tasks" in bundle["text/plain"]


def test_what_cannot_be_shown(report):
    with pytest.raises(UsageError, match="unknown stage 'mor': did you mean 'more'"):
        ablation_table(report, ("base", "mor"))
    with pytest.raises(UsageError, match="unknown view 'accurac': did you mean 'accuracy'"):
        compute(report, STAGES, "accurac")
    report.add("else", "world/fewclue/c", 0.5)
    with pytest.raises(UsageError, match="no task in common"):
        compute(report, ("base", "else"))
