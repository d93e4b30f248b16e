"""Facts to text: names out, names in again, and the files of WebNLG."""

from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import T5Config, T5ForConditionalGeneration

from labkit.errors import DataError
from labkit.evaluation import answers
from labkit.foundations.generation import Generation, bleu
from labkit.foundations.generation.data_to_text import (
    ENTITY,
    delexicalised,
    entities,
    lexicalised,
    linearised,
    names,
    read_webnlg,
    template,
    words,
)
from labkit.foundations.generation.math_problems import piece_tokenizer
from labkit.training import Batches, fit

FACTS = [("Aarhus_Airport", "runwayLength", "2702.0"), ("Aarhus_Airport", "cityServed", "Aarhus,_Denmark")]
TEXT = "Aarhus Airport serves the city of Aarhus and has a runway of 2702.0 metres."


def test_an_example_by_hand():
    assert linearised(FACTS) == "ENT0 runway length ENT1 ; ENT0 city served ENT2"
    hidden = delexicalised(TEXT, FACTS)
    assert hidden == "ENT0 serves the city of ENT2 and has a runway of ENT1 metres ."
    full = "aarhus airport serves the city of aarhus , denmark and has a runway of 2702.0 metres ."
    assert lexicalised(hidden, FACTS) == full
    assert template(FACTS[:1]) == "aarhus airport runway length 2702.0 ."


@pytest.mark.parametrize(
    ("entity", "found"),
    [
        ("Adolfo_Suárez_Madrid–Barajas_Airport", [["adolfo", "suarez", "madridbarajas", "airport"]]),
        ("Bolt_(comicsCharacter)", [["bolt"]]),
        ("English_language", [["english", "language"], ["english"]]),
        ('"Washington, D.C."', [["washington", ",", "d", ".", "c", "."], ["washington"]]),
        ("(x)", [["(", "x", ")"]]),
        ("日本", [["?"]]),
    ],
)
def test_names_of_entities(entity, found):
    assert names(entity) == found


NAME = st.lists(st.sampled_from("red blue green old new 12 7.5".split()), min_size=1, max_size=3).map("_".join)
FILLER = st.lists(st.sampled_from("the of is in a , .".split()), max_size=4)


@given(st.lists(st.tuples(NAME, st.just("isPartOf"), NAME), min_size=1, max_size=4), st.data())
def test_names_that_are_taken_out_can_be_put_back(facts, data):
    parts = [data.draw(FILLER)]
    for one in entities(facts):
        parts += [names(one)[0], ["is"], data.draw(FILLER)]  # something between two names
    text = " ".join(word for part in parts for word in part)
    hidden = delexicalised(text, facts)
    assert lexicalised(hidden, facts) == text
    numbers = {int(number) for number in ENTITY.findall(hidden)}
    assert len(numbers) == len({tuple(names(one)[0]) for one in entities(facts)})
    assert not set(hidden.split()) & set("red blue green old new 12 7.5".split())


@given(st.text(max_size=60))
def test_any_text_goes_through(text):
    assert lexicalised(delexicalised(text, []), []) == " ".join(words(text))


def test_an_entity_that_is_not_there_leaves_nothing():
    assert lexicalised("ENT0 is ENT9 .", FACTS) == "aarhus airport is ."


@pytest.mark.parametrize(
    "line", ["{", "[]", '{"triples": [], "texts": ["x"]}', '{"triples": [["a", "b"]], "texts": ["x"]}']
)
def test_a_bad_line_is_named(tmp_path, line):
    path = tmp_path / "facts.jsonl"
    good = json.dumps({"triples": [list(fact) for fact in FACTS], "texts": [TEXT]})
    path.write_text(f"{good}\n{line}\n", encoding="utf-8")
    with pytest.raises(DataError, match="facts.jsonl, line 2"):
        read_webnlg(path)
    path.write_text(good, encoding="utf-8")
    assert read_webnlg(path) == [{"facts": FACTS, "texts": [TEXT]}]


@pytest.mark.real
def test_sentences_about_airports_are_better_than_the_template(real_data):
    """BLEU on unseen facts of one kind, beside "subject property object ."."""
    train, test = (read_webnlg(real_data / "webnlg2017" / f"{part}.jsonl") for part in ("train", "dev"))
    train, test = ([entry for entry in some if len(entry["facts"]) < 3] for some in (train, test))
    rows = [{"text": linearised(one["facts"]), "label": delexicalised(text, one["facts"])}
            for one in train for text in one["texts"]]  # fmt: skip
    tokenizer = piece_tokenizer(rows, 5)
    torch.manual_seed(0)
    special = {"pad_token_id": 0, "decoder_start_token_id": 0, "eos_token_id": tokenizer.eos_token_id}
    sizes = {"d_model": 96, "num_layers": 2, "num_heads": 4, "d_kv": 24, "d_ff": 192, "dropout_rate": 0.0}
    model = T5ForConditionalGeneration(T5Config(vocab_size=len(tokenizer), **sizes, **special))
    method = Generation.of(model, tokenizer, ("text",), num_beams=1, max_decoder_length=40)
    history = fit(model, method.loss, Batches(rows, method.collate, 32, lengths=[len(row["label"]) for row in rows]),
                  steps=250, lr=3e-3, progress=False)  # fmt: skip
    assert sum(history.losses[-20:]) < sum(history.losses[:20]) / 2
    test = test[::3]
    found = answers(model.eval(), method, [{"text": linearised(one["facts"])} for one in test])
    given = [lexicalised(texts[0], one["facts"]).split() for texts, one in zip(found, test, strict=True)]
    wanted = [[words(text) for text in one["texts"]] for one in test]
    plain = [template(one["facts"]).split() for one in test]
    print(bleu(given, wanted), bleu(plain, wanted))
    assert bleu(given, wanted) > bleu(plain, wanted)
