"""What may be kept of a cell's outputs, and when an old output stays."""

from __future__ import annotations

import pytest

from labkit.course.outputs import Refused, same_but_times, tidied, timeless, times
from tests.course.small import shown, stream

PIXEL = "data:image/png;base64,iVBORw0KGgo="
OTHER = "data:image/png;base64,AAAABBBBCCCC"


def test_streams_of_one_name_are_joined_only_side_by_side():
    parts = [stream("a"), stream("b\n"), shown(plain="c"), stream("d"), stream("e")]
    assert [part.get("text") for part in tidied(parts)] == ["ab\n", None, "de"]
    assert parts[0]["text"] == "a"  # the caller's outputs are not touched


def test_a_widget_leaves_its_picture():
    (kept,) = tidied([shown(view="x", html="<b>static</b>", plain="words")])
    assert set(kept["data"]) == {"text/html", "text/plain"}


def test_a_widget_without_a_picture_is_refused():
    with pytest.raises(Refused, match=r"widget without a picture \(IntSlider.*wrap it in labkit.widgets.Shown"):
        tidied([shown(view="x", plain="IntSlider(value=3)")])


def test_a_notebook_s_progress_bar_vanishes():
    assert tidied([shown(view="x", plain="  0%|          | 0/10 [00:00<?, ?it/s]")]) == []


@pytest.mark.parametrize(
    ("output", "said"),
    [
        (stream("careful\n", "stderr"), "stderr is not empty: .*: careful"),
        (stream("\x1b[31mcareful\x1b[0m", "stderr"), ": careful$"),
        (stream("\r 50%|█████     | 5/10 [00:01<00:01]"), "progress bar"),
        (stream("step 1\rstep 2"), "progress bar"),
        (shown(plain="<function f at 0x7f3a2b1c0d0e>"), "address of an object .at 0x7f3a2b1c0d0e"),
        (shown(html="&lt;object at 0x7f3a2b1c0d0e&gt;", plain="fine"), "address of an object"),
        (
            {"output_type": "error", "ename": "E", "evalue": "v", "traceback": []},
            "E: v: a cell of a lesson may not fail",
        ),
    ],
)
def test_what_cannot_be_kept_is_refused(output, said):
    with pytest.raises(Refused, match=said):
        tidied([output])


@pytest.mark.parametrize("text", ["look at 0x12", "rows 1\r\nrows 2\r\n", "60 % done", "a | b | 3/4"])
def test_what_only_looks_like_it_passes(text):
    assert tidied([stream(text)])[0]["text"] == text


def test_bytes_of_a_picture_are_no_text():
    html = f'<img src="{PIXEL[:-1]}/at+0x7f3a2b1c0d0e" alt="a picture">'
    assert tidied([shown(html=html)])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("took 3.2 s", "took 11.7 s"),
        ("took   3.2 s", "took  11.7 s"),
        ("1,234 tokens/s", "999 tokens/s"),
        ("22.8 k tokens/s", "9 k tokens/s"),
        ("1.12 ± 0.03 ms a row", "1.5 ± 0.4 ms a row"),
        ("0.3 ms/row", ".28 ms/row"),
        ("7 rows a second", "8 rows a second"),
        ("9.4× faster", "8.1× faster"),
        ("2 minutes", "3 minutes"),
        ("5.1 µs, then 40 GB/s", "4 µs, then 41.5 GB/s"),
    ],
)
def test_times_and_rates_do_not_count(old, new):
    assert same_but_times([stream(new)], [stream(old)])
    assert same_but_times([shown(plain=new)], [shown(plain=old)])
    assert times(new)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("81.0 %", "82.0 %"),
        ("3 sentences", "4 sentences"),
        ("16 shots", "17 shots"),
        ("2 s.d.", "3 s.d."),
        ("3 samples in 2 s", "4 samples in 2 s"),
        ("took 3.2 s", "took 3.2 ms or so"),
        ("a", "b"),
    ],
)
def test_everything_else_does(old, new):
    assert not same_but_times([stream(new)], [stream(old)])


def test_another_number_of_outputs_is_another_output():
    assert not same_but_times([stream("a"), shown(plain="b")], [stream("a")])


def table(*rows):
    lines = "".join("<tr>" + "".join(f'<td style="x">{cell}</td>' for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr><th>method</th><th>accuracy</th><th>ms/row</th></tr></thead>{lines}</table>"


def test_a_column_of_times_does_not_count_but_its_neighbour_does():
    old, new = (
        table(("PET", "87.0", "0.27"), ("head", "81.1", "")),
        table(("PET", "87.0", "0.31"), ("head", "81.1", "")),
    )
    assert same_but_times([shown(html=new, plain="b")], [shown(html=old, plain="a")])
    assert not same_but_times(
        [shown(html=table(("PET", "87.1", "0.27")))], [shown(html=table(("PET", "87.0", "0.27")))]
    )
    empty = table(("PET", "87.0", ""), ("head", "81.1", ""))
    assert not same_but_times([shown(html=empty)], [shown(html=old)])


def image(data, alt):
    return [shown(html=f'<img src="{data}" alt="{alt}">')]


def test_a_picture_of_times_stays_and_any_other_is_new():
    assert same_but_times(image(PIXEL, "bars: 3.2 s and 4 s"), image(OTHER, "bars: 3.3 s and 5 s"))
    assert not same_but_times(image(PIXEL, "bars of 3 and 4"), image(OTHER, "bars of 3 and 4"))
    assert same_but_times(image(PIXEL, "bars of 3 and 4"), image(PIXEL, "bars of 3 and 4"))


def test_bytes_that_look_like_a_time_are_kept():
    assert timeless(PIXEL + "/3s/") == PIXEL + "/3s/"
