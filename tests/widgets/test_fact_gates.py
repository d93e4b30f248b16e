"""What the widget of gates says against KGBERT's own reading, and its controls."""

from __future__ import annotations

import pytest
from transformers import BertConfig, BertForMaskedLM

from labkit.foundations.pretraining import MaskedLM
from labkit.knowledge.dkplm import names_of
from labkit.knowledge.graph import graph_of
from labkit.knowledge.kgbert import KGBERT
from labkit.widgets.fact_gates import Gates, compute, draw, fact_gates
from tests.knowledge.test_dkplm import TRIPLES, WORDS, bert, tokenizer_of
from tests.knowledge.test_kgbert import SAID

TEXT = "anna reed was born in [MASK] [MASK] ."


@pytest.fixture(scope="module")
def given():
    tokenizer, graph = tokenizer_of(WORDS.split()), graph_of(TRIPLES)
    sizes = bert(len(tokenizer)).config.to_dict() | {"max_position_embeddings": 99}  # all facts fit
    model = BertForMaskedLM(BertConfig(**sizes)).eval()
    return KGBERT(model, MaskedLM(tokenizer), graph, SAID, names_of(tokenizer, graph)), model


def test_it_shows_the_gates_that_the_model_reads_with(given):
    own, model = given
    one, read = compute(*given, TEXT, planted=2), own.read(model, [TEXT], planted=2)
    assert one.facts == tuple(
        (SAID[fact], gate, fact in (0, 2))
        for fact, gate in zip(read["facts"][0].tolist(), read["gates"][0].tolist(), strict=True)
    )
    assert len(one.facts) == 4 and [gate for _, gate, _ in one.facts] == sorted((g for _, g, _ in one.facts))[::-1]
    assert one.tokens == ("[CLS]", *TEXT.split(), "[SEP]")
    assert [at for at, inside in enumerate(one.mentioned) if inside] == [1, 2]


def test_the_blank_is_filled_with_the_facts_and_without(given):
    own, model = given
    one, tokenizer = compute(*given, TEXT), own.masked.tokenizer
    plain = model(**tokenizer(TEXT, return_tensors="pt")).logits[0, [6, 7]].argmax(-1)
    assert one.without == " ".join(tokenizer.convert_ids_to_tokens(plain.tolist()))
    read = own.read(model, [TEXT])
    inputs = {name: read[name] for name in ("input_ids", "attention_mask", "position_ids")}
    wanted = model(**inputs).logits[0, [6, 7]].argmax(-1)
    assert one.given == " ".join(tokenizer.convert_ids_to_tokens(wanted.tolist()))
    whole = compute(*given, "anna reed likes soup .")
    assert not whole.without and "blank" not in draw(whole).html


def test_the_picture_says_all_of_it_and_obeys_no_markup(given):
    picture = draw(compute(*given, TEXT, planted=1))
    for text in (picture.alt, picture.html):
        assert "anna reed likes soup" in text and "planted" in text and "without facts" in text
    assert "<i>" not in draw(compute(*given, "anna reed <i> .")).html
    assert "names nobody" in draw(compute(*given, "was the .")).html


def test_the_controls_change_the_picture_and_a_text_may_be_typed(given):
    shown = fact_gates(*given, [TEXT], planted=0)
    assert "planted" not in repr(shown)
    shown.planted.value = 2
    assert repr(shown).count("planted") == 2
    shown.sentence.value = "ben cole likes the [MASK] ."
    assert SAID[1] in repr(shown)
    shown.sentence.value = "a" * 2000
    assert "at most 1000" in shown.message.value and SAID[1] in repr(shown)


def test_a_long_list_is_cut_in_the_picture_and_whole_in_words():
    facts = tuple((f"fact {number}", 0.9 - number / 20, True) for number in range(11))
    picture = draw(Gates(("[CLS]", "[SEP]"), (False, False), facts, "", ""))
    assert picture.html.count("fact ") == 8 and "and 3 more, the widest 0.50" in picture.html
    assert "fact 10 0.40" in picture.alt
