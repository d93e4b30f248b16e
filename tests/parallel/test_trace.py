import pytest

from labkit.errors import UsageError
from labkit.parallel.trace import Event, Trace, busy
from labkit.report.timeline import timeline


def test_a_span_is_an_event_even_when_it_fails():
    trace = Trace(rank=3)
    with trace.span("forward 0"):
        pass
    with pytest.raises(ValueError), trace.span("send 0", "communicate"):
        raise ValueError
    trace.add("send 1", 0.0, 1.0, "communicate", 8)
    first, second, third = trace.events
    assert (first.rank, first.lane, first.name, first.bytes) == (3, "compute", "forward 0", 0)
    assert (second.lane, second.name) == ("communicate", "send 0")
    assert (third.lane, third.name, third.bytes) == ("communicate", "send 1", 8)
    assert first.start <= first.end <= second.start <= second.end


def test_overlapping_events_are_busy_once():
    def event(start, end):
        return Event(0, "compute", "x", start, end)

    assert busy([]) == 0
    assert busy([event(0, 2), event(1, 3), event(1.2, 1.5), event(5, 6)]) == 4


def test_a_time_line_has_a_row_for_each_rank_and_lane():
    events = [Event(rank, lane, "forward 1", rank, rank + 1) for rank in (1, 0) for lane in ("compute", "communicate")]
    plot = timeline(events, "two ranks")
    (axes,) = plot.figure.axes
    labels = [text.get_text() for text in axes.get_yticklabels()]
    assert labels == ["rank 0 · communicate", "rank 0 · compute", "rank 1 · communicate", "rank 1 · compute"]
    assert [bar.get_width() for bar in axes.patches] == [1000.0] * 4
    assert "rank 1, compute: 1 events until 2000 ms" in plot.alt
    (axes,) = timeline(event for event in events if event.rank == 1).figure.axes
    assert [text.get_text() for text in axes.get_yticklabels()] == ["communicate", "compute"]


def test_no_events_make_no_time_line():
    with pytest.raises(UsageError, match="at least one event"):
        timeline([])
