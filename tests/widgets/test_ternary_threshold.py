"""Errors by brute force, the exact optimum, TWN's mark, and the controls."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from labkit.compression import ternary
from labkit.errors import UsageError
from labkit.widgets import ternary_threshold
from labkit.widgets.ternary_threshold import compute, draw


def relative(weight, codes, scale):
    return float((weight - codes * scale).square().sum() / weight.square().sum())


@pytest.mark.parametrize("seed", range(3))
def test_errors_are_those_of_the_codes(seed):
    w = torch.randn(7, 9, generator=torch.Generator().manual_seed(seed)).double()
    found = compute(w)
    for share in (0.0, 0.3, 0.7, 1.5, 2.9):
        kept = w.abs() > share * w.abs().mean()
        alpha = w.abs()[kept].mean() if kept.any() else w.new_tensor(0.0)
        limit, own, error, zeros = found.at(share)
        assert limit == pytest.approx(share * float(w.abs().mean())) and own == pytest.approx(float(alpha))
        assert error == pytest.approx(relative(w, w.sign() * kept, alpha))
        assert zeros == pytest.approx(1 - float(kept.double().mean()))
    assert found.at(0.7)[2] == pytest.approx(relative(w, *ternary.twn(w)))
    assert found.at(found.best)[2] == pytest.approx(relative(w, *ternary.nearest(w)))
    assert found.at(99.0) == pytest.approx((99 * found.sizes.mean(), 0, 1, 1))
    assert found.errors.min() <= min(found.at(share)[2] for share in np.arange(0, 3, 0.01))


def test_a_matrix_of_one_size_is_kept_whole():
    found = compute(torch.tensor([[1.0, -1.0], [1.0, 1.0]]))
    assert found.at(found.best)[2:] == pytest.approx((0, 0)) and found.best == 0.5


def test_the_picture_marks_three_thresholds():
    found = compute(torch.randn(30, 30, generator=torch.Generator().manual_seed(1)))
    plot = draw(found, 1.0, "layer.0")
    left, right = plot.figure.axes
    marks = {line.get_label(): (line.get_xdata()[0], line.get_ydata()[0]) for line in right.lines[1:]}
    assert marks["this one"] == pytest.approx((1.0, found.at(1.0)[2])) and marks["TWN"][0] == 0.7
    assert marks["optimum"][1] == pytest.approx(found.errors.min())
    assert "layer.0" in plot.alt and "threshold 1.00" in plot.alt and "The exact optimum" not in plot.alt.split(".")[0]
    assert [label.get_text() for label in left.get_legend().get_texts()] == ["become 0", "become −α or α"]


def test_slider_and_choice_change_the_picture():
    torch.manual_seed(0)
    shown = ternary_threshold(nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)))
    assert shown.matrix.options == ("0", "2") and "threshold 0.20" in repr(shown)
    shown.share.value = 0.7
    shown.matrix.value = "2"
    assert repr(shown).startswith("2, threshold 0.70") and not shown.message.value


@pytest.mark.parametrize("given", [nn.ReLU(), {}])
def test_no_matrix_is_refused(given):
    with pytest.raises(UsageError, match="no linear layer"):
        ternary_threshold(given)


@pytest.mark.parametrize("weight", [torch.zeros(3, 3), torch.tensor([[float("nan"), 1.0]])])
def test_weights_without_a_threshold_are_refused(weight):
    with pytest.raises(UsageError, match="finite weights"):
        compute(weight)
