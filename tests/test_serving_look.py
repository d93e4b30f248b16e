"""What all pages share: the heading with its lessons, and a theme whose colours can be read."""

from __future__ import annotations

import pytest

from labkit.report.figure import COLOURS
from labkit.serving import look

gr = pytest.importorskip("gradio", reason="gradio is not installed: pip install -e '.[demos]'")


def heading(*lessons):
    with look.page(gr, "A <b> page", "What it is for.", lessons) as demo:
        gr.Button("Go")
    return next(block.value for block in demo.blocks.values() if isinstance(block, gr.HTML))


def test_a_page_says_what_it_is_and_which_lessons_it_belongs_to():
    html = heading("03/02", "06/01")
    assert "<h1><bdi>A &lt;b&gt; page</bdi></h1><p>What it is for.</p>" in html
    assert "Lessons: 03/02 Asking the model, instead of teaching a head; 06/01 Where the memory goes" in html
    assert "<code>labkit lab</code> opens them" in html and "<a " not in html
    assert "Lessons" not in heading()


def test_lessons_are_links_where_the_project_has_an_address(monkeypatch):
    monkeypatch.setattr(look, "source_of", lambda project: "https://example.org/labkit")
    link = '<a href="https://example.org/labkit/blob/HEAD/notebooks/06_parallel/01_memory.ipynb">06/01 Where the memory'
    assert link in heading("06/01") and "labkit lab" not in heading("06/01")


def test_the_theme_is_the_palettes_and_loads_nothing_from_the_net():
    theme = look.theme(gr)
    assert theme.primary_500 == COLOURS[0]
    assert theme._stylesheets == []
