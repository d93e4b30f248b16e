"""What the injection widget says against the graph, and its controls."""

from __future__ import annotations

import pytest

from labkit.errors import UsageError
from labkit.knowledge.dkplm import names_of
from labkit.knowledge.graph import graph_of
from labkit.widgets.injection import compute, draw, injection
from tests.knowledge.test_dkplm import TRIPLES, WORDS, tokenizer_of

KLT = [4.0, 2.0, 0.0, 0.0, 0.0, 0.0]  # anna reed, far cedar, ben cole, soup, ruria, wild moon
TEXT = "anna reed was born in far cedar ."


@pytest.fixture(scope="module")
def given():
    tokenizer, graph = tokenizer_of(WORDS.split()), graph_of(TRIPLES)
    return tokenizer, graph, names_of(tokenizer, graph), KLT


def test_the_rarest_mention_is_taken_with_each_of_its_facts(given):
    seen = {}
    for number in (1, 2, 3):
        found = compute(*given, TEXT, number)
        assert found.tokens == ("[CLS]", *TEXT.split(), "[SEP]")
        assert [one[2] for one in found.mentions] == ["anna reed", "far cedar"] and found.taken == 0
        assert found.fact in TRIPLES and found.fact[0] == "anna reed"
        assert found.said == tuple(found.fact[2].split()) and found.formula == f"{found.fact[2]} − {found.fact[1]}"
        seen[number] = found
    assert seen[1] == seen[3] != seen[2]  # she has two


def test_a_tail_is_its_head_moved_on(given):
    tokenizer, graph, names, _ = given
    found = compute(tokenizer, graph, names, [0, 1, 0, 0, 0, 0], "the far cedar was far .", 1)
    assert found.fact == ("anna reed", "born in", "far cedar") and found.formula == "anna reed + born in"
    assert found.said == ("anna", "reed")


def test_without_a_rare_mention_the_text_stays(given):
    found = compute(*given, "ben cole likes the soup .")
    assert found.taken is None and not found.said
    assert "nothing is decoded" in repr(draw(found)) and "⟨" not in draw(found).html


def test_the_picture_says_all_of_it_and_obeys_no_markup(given):
    picture = draw(compute(*given, TEXT, 1))
    for text in (picture.alt, picture.html):
        assert "⟨soup − likes⟩" in text and "anna reed: 4.0, far cedar: 2.0" in text
    assert picture.html.count("⟨soup − likes⟩") == 2  # one for each token of the name
    graph = graph_of([("soup", "<i>", "anna reed")])
    html = draw(compute(given[0], graph, names_of(given[0], graph), [1, 1], "soup .")).html
    assert "<i>" not in html and "&lt;i&gt;" in html


def test_the_controls_change_the_picture(given):
    shown = injection(*given, [TEXT, "ben cole likes the soup ."])
    assert "⟨soup − likes⟩" in repr(shown)
    shown.fact.value = 2
    assert "⟨far cedar − born in⟩" in repr(shown)  # it stands in the sentence, so it comes last
    shown.sentence.value = "ben cole likes the soup ."
    assert "nothing is decoded" in repr(shown)


def test_a_text_without_mentions_is_refused(given):
    with pytest.raises(UsageError, match="mentions no entity"):
        compute(*given, "the . was .")
