"""The schedule against the model, the events of a steady pass, the picture, and the controls."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit.errors import UsageError
from labkit.widgets import memory_scheduler
from labkit.widgets.memory_scheduler import compute, draw


def test_numbers_of_the_model():
    even, row = compute(12, 10, 2.5), compute(12, 10, 2.5, "all at the end")
    assert even.moving == (0, 3, 6, 9) and even.total == pytest.approx(12) and even.stall == 0
    assert row.moving == (8, 9, 10, 11) and row.total == pytest.approx(12 + 2 * 1.5) and row.stall == 3
    assert compute(8, 9, 2).moving == () and compute(8, 9, 2).total == 8


@settings(deadline=None, max_examples=40)
@given(st.integers(3, 14), st.integers(2, 14), st.sampled_from([0.5, 1.0, 2.5, 4.0]),
       st.sampled_from(["evenly spread", "all at the end"]))  # fmt: skip
def test_the_drawn_pass_is_whole_and_without_overlaps(layers, room, load, place):
    found = compute(layers, room, load, place)
    device = [event for event in found.events if event.lane == "device"]
    computed = [int(event.name.split()[1]) for event in device if event.name.startswith("compute")]
    assert computed == list(range(layers)) and device[0].start == 0
    for lane in ("device", "link"):
        own = [event for event in found.events if event.lane == lane]
        assert all(b.start >= a.end - 1e-9 for a, b in zip(own, own[1:], strict=False))
    loads = {int(event.name.split()[1]) for event in found.events if event.lane == "link"}
    assert loads <= set(found.moving)


def test_the_picture_and_the_controls():
    plot = draw(compute(12, 10, 2.5, "all at the end"))
    assert "8 pinned, 4 take turns in 2 slots; a pass takes 15, of it 3 waiting" in plot.alt
    assert "Moving layers: 8, 9, 10, 11" in plot.alt and plot.png()[:4] == b"\x89PNG"
    shown = memory_scheduler(8, room=6, load=2.0)
    assert "8 layers, room for 6" in shown.view.value
    shown.place.value = "all at the end"
    assert "Moving layers: 4, 5, 6, 7" in shown.view.value
    shown.load.value = 4.0
    assert "4 times as long" in shown.view.value and not shown.message.value
    shown.room.value = 1
    assert "memory budget of 1 bytes is too small" in shown.message.value and "room for 6" in shown.view.value
    shown.room.value = 8
    assert "all 8 layers fit: nothing moves" in shown.view.value and not shown.message.value
    with pytest.raises(UsageError, match="2 to 32 layers"):
        memory_scheduler(1)
    with pytest.raises(UsageError, match="placement 'odd': choose"):
        compute(4, 2, 1, "odd")
