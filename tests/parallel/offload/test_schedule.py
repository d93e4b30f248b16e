"""Even spreading against every placement, closed forms against simulation, paging against what is known of it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit.errors import UsageError
from labkit.parallel.offload.paging import best_faults
from labkit.parallel.offload.schedule import best, clumped, moving_layers, spread, steady_pass

LOADS = (0.3, 0.7, 1.0, 1.3, 1.9, 2.5, 4.0)


def least(layers, moving, load):
    """All computing, a second a layer, or all loading; two moving layers stay in their slots."""
    return max(layers, moving * load) if moving > 2 else layers


@given(st.integers(1, 60).flatmap(lambda n: st.tuples(st.just(n), st.integers(1, n))))
def test_evenly_means_gaps_that_differ_by_one_at_most(numbers):
    layers, moving = numbers
    places = spread(layers, moving)
    gaps = [(b - a - 1) % layers + 1 for a, b in zip(places, [*places[1:], places[0]], strict=True)]
    assert len(set(places)) == moving and sum(gaps) == layers
    assert max(gaps) - min(gaps) <= 1 and min(gaps) == layers // moving


@pytest.mark.parametrize(("layers", "moving"), [(n, k) for n in range(3, 9) for k in range(3, n + 1)])
def test_no_placement_beats_the_even_one(layers, moving):
    for load in LOADS:
        shortest, placements = best(layers, moving, 1.0, load)
        even = steady_pass(layers, spread(layers, moving), 1.0, load)
        assert even.total == pytest.approx(shortest) and spread(layers, moving) in placements
        assert shortest >= least(layers, moving, load) - 1e-9
        if layers >= 2 * moving or load >= 1.9 or load <= 1:
            assert shortest == pytest.approx(least(layers, moving, load))


def test_where_the_bound_is_out_of_reach():
    """Of four layers three move, and a load takes 1.3 layers: no placement computes all the time."""
    assert best(4, 3, 1.0, 1.3)[0] == pytest.approx(4.3) and least(4, 3, 1.3) == 4


@given(st.integers(3, 30).flatmap(lambda n: st.tuples(st.just(n), st.integers(1, n))), st.sampled_from(LOADS))
@settings(deadline=None, max_examples=60)
def test_the_closed_form_of_a_clump(numbers, load):
    """Two loads hide behind the pinned layers, the others cannot."""
    layers, moving = numbers
    found = steady_pass(layers, clumped(layers, moving), 1.0, load)
    waiting = max(moving - 2, 0) * max(load - 1, 0)
    assert found.total == pytest.approx(max(layers + waiting, least(layers, moving, load)))
    assert found.stall == pytest.approx(found.total - layers)
    assert found.total >= steady_pass(layers, spread(layers, moving), 1.0, load).total - 1e-9


def test_how_many_move():
    assert [moving_layers(10, 100, budget) for budget in (200, 399, 950, 1000, 5000)] == [10, 9, 3, 0, 0]
    with pytest.raises(
        UsageError, match="budget of 199 bytes is too small: two layers.*need 200 bytes; raise the budget"
    ):
        moving_layers(10, 100, 199)
    assert moving_layers(1, 100, 150) == 0
    with pytest.raises(UsageError, match="both must be 1 or more"):
        moving_layers(0, 1, 1)


@given(st.integers(1, 25), st.integers(2, 25))
def test_paging_a_scan(layers, frames):
    wise = best_faults(layers, frames, 40)
    faults = [layers] + [layers if layers > frames else 0] * 39  # of LRU
    assert wise[0] == layers and all(b <= a for a, b in zip(faults, wise, strict=True))
    if frames < layers:
        assert moving_layers(layers, 1, frames) <= faults[-1]
        assert sum(wise[1:]) / 39 == pytest.approx((layers - frames) * layers / (layers - 1), rel=0.05, abs=0.1)
    with pytest.raises(UsageError, match="in 1 frames"):
        best_faults(layers, 1, 1)
