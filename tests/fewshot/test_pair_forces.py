"""Forces against derivatives on paper, and what the picture says."""

from __future__ import annotations

import math

import pytest

from labkit.checks.cp_tuning import contrastive_loss
from labkit.fewshot.pair_forces import UNLIKE, forces, pair_forces
from labkit.report import Plot

M, GAMMA = 0.4, 64.0
loss = contrastive_loss.answer


@pytest.mark.parametrize(("s_p", "s_n"), [(0.3, 0.0), (0.6, 0.4), (0.5, 0.45), (-0.5, 0.2)])
def test_a_force_is_the_derivative_with_the_costs_held_fixed(s_p, s_n):
    z = GAMMA * (s_n**2 + (1 - s_p) ** 2 - 2 * M**2) + math.log(2)
    share = 1 / (1 + math.exp(-z))  # softplus'
    found, pull, push = forces(loss, s_p, s_n)
    assert found == pytest.approx(math.log1p(math.exp(z)))
    assert pull == pytest.approx(share * GAMMA * (1 + M - s_p))
    assert push == pytest.approx(share * GAMMA * (s_n + M))


def test_the_picture_has_both_curves_and_says_what_they_show():
    shown = pair_forces(loss)
    assert isinstance(shown, Plot)
    left, right = shown.figure.axes[:2]
    named = {line.get_label(): line for line in left.lines}
    assert len({line.get_linestyle() for line in named.values()}) == len(named) == 4  # told apart without colour
    pushed = named["unlike pairs, pushed apart"].get_ydata()
    assert len(pushed) == len(UNLIKE) and pushed[0] == pytest.approx(0, abs=0.01)
    assert right.get_legend() is not None
    assert "unlike pairs are pushed with 0.00 at -0.88 and 82 at 0.88" in shown.alt
