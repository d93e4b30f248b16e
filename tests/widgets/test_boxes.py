"""The pieces of HTML: text is text, colours can be read, bars have the length they say."""

from __future__ import annotations

import re

import pytest

from labkit.widgets import boxes


def luminance(colour):
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("fill", [*map(boxes.colour, range(6)), boxes.GREY])
def test_text_on_a_fill_has_enough_contrast(fill):
    high, low = sorted((luminance(fill), luminance(boxes.ink(fill))), reverse=True)
    assert (high + 0.05) / (low + 0.05) >= 4.5  # WCAG 2, AA


def test_no_two_of_many_classes_share_mark_and_colour():
    assert len({(boxes.colour(n), boxes.shape(n)) for n in range(24)}) == 24


@pytest.mark.parametrize(
    "html",
    [boxes.chip("<u>", "#56B4E9", title='"<i>'), boxes.heading("<u>"), boxes.alert("<u>"), boxes.axis("<u>", "<u>")],
)
def test_markup_is_shown_as_text(html):
    assert "<u>" not in html and "<i>" not in html and "&lt;u&gt;" in html


def test_a_bar_is_as_long_as_its_segments_and_no_longer_than_itself():
    html = boxes.bar([(0.25, "#000000"), (0.5, "#ffffff")], width=200)
    assert re.findall(r"display:inline-block;width:([\d.]+)px", html) == ["50.0", "100.0"]
    assert re.search(r'aria-hidden="true">(█{5}▒{10})<', html)  # what is seen where styles are stripped
    assert "width:200.0px" in boxes.bar([(7.0, "#000000")], width=200)


@pytest.mark.parametrize(
    ("share", "text"),
    [(0, "0.0 %"), (0.00001, "< 0.01 %"), (0.0052, "0.52 %"), (0.345, "34.5 %"), (1, "100.0 %")],
)
def test_percent(share, text):
    assert boxes.percent(share).replace("\u00a0", " ") == text


@pytest.mark.parametrize(("largest", "whole"), [(0.0004, 0.001), (0.011, 0.02), (0.02, 0.02), (0.33, 0.5), (0.7, 1.0)])
def test_the_scale_of_bars(largest, whole):
    assert boxes.whole_bar(largest) == pytest.approx(whole)


def test_sizes_and_counts():
    assert [boxes.size(n) for n in (0, 12, 2460, 2459728)] == ["0 bytes", "12 bytes", "2.46 kB", "2.46 MB"]
    assert [boxes.size(n) for n in (999_600_000, 28.4e9, 1.13e12)] == ["1 GB", "28.4 GB", "1.13 TB"]
    assert boxes.size(5.2e16) == "52,000 TB"
    assert [boxes.count(n, "module") for n in (1, 1200)] == ["1 module", "1,200 modules"]
