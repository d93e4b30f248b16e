"""TinyBERT's augmentation: its candidates against plain loops, its texts against their definition."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import labkit
from labkit.compression.augmentation import Augmenter, Place
from labkit.errors import DataError, TrainingError, UsageError
from labkit.foundations.augmentation import whole_words

TEXT = "The president  ratified the quimbleton , in Oslo!"
PLACES = [Place(0, 3, ("a", "some")), Place(5, 8, ("new",)), Place(9, 12, ("dog", "bird", "cow"))]


@pytest.fixture(scope="module")
def bert():
    return labkit.load_model("micro-bert-en")


def test_a_word_of_one_piece_is_what_the_masked_model_would_write(bert):
    model, tokenizer = bert
    whole = torch.from_numpy(whole_words(tokenizer))
    ids = tokenizer(TEXT, return_tensors="pt")["input_ids"]
    places = Augmenter(model, tokenizer, amount=5).places([TEXT])[0]
    assert [TEXT[p.start : p.end] for p in places] == [
        "The",
        "president",
        "ratified",
        "the",
        "quimbleton",
        "in",
        "Oslo",
    ]
    hidden = ids.clone()
    hidden[0, 2] = tokenizer.mask_token_id  # "president"
    with torch.no_grad():
        logits = model(hidden).logits[0, 2]
    order = [int(one) for one in logits.argsort(descending=True) if whole[one] and one != ids[0, 2]]
    assert list(places[1].candidates) == [tokenizer.convert_ids_to_tokens(one) for one in order[:5]]


def test_a_word_of_many_pieces_has_the_nearest_embeddings(bert):
    model, tokenizer = bert
    pieces = tokenizer("quimbleton", add_special_tokens=False)["input_ids"]
    assert len(pieces) > 1
    table = model.get_input_embeddings().weight.detach().double().numpy()
    mean = table[pieces].mean(0)
    cosines = {
        word: table[word] @ mean / np.linalg.norm(table[word]) for word in np.flatnonzero(whole_words(tokenizer))
    }
    order = sorted(set(cosines) - set(pieces), key=lambda word: -cosines[word])
    found = Augmenter(model, tokenizer, amount=4).places([TEXT])[0][4].candidates
    assert list(found) == tokenizer.convert_ids_to_tokens([int(word) for word in order[:4]])


def augmenter(**options) -> Augmenter:
    model, tokenizer = labkit.load_model("micro-bert-en")
    return Augmenter(model, tokenizer, **options)


@settings(max_examples=25, deadline=None)
@given(st.text("ab ,.!é猫\u00a0'ß1", max_size=25), st.sampled_from([0.0, 0.4, 1.0]), st.integers(1, 3))
def test_only_words_change_and_only_to_candidates(text, share, copies):
    own = augmenter(share=share, copies=copies, amount=3)
    places = own.places([text])[0]
    made = own.varied(text, places)
    assert len(made) == copies
    assert made == own.varied(text, own.places(["before", text, "after it"])[1])  # its neighbours do not matter
    for new in made:
        rest, changed, old = new, 0, 0
        for place in places:
            assert text[place.start : place.end].isalnum() and len(place.candidates) == 3
            between, word = text[old : place.start], text[place.start : place.end]
            assert rest.startswith(between)
            rest = rest[len(between) :]
            fitting = [one for one in (word, *place.candidates) if rest.startswith(one)]
            assert fitting
            taken = word if share == 0 else max(fitting, key=len)
            changed += taken != word
            rest, old = rest[len(taken) :], place.end
        assert share != 0 or new == text
        assert share != 1 or changed == len(places)


def test_the_share_is_the_chance_of_each_word_and_candidates_are_alike():
    own = augmenter(share=0.4, copies=4000)
    made = [new.split() for new in own.varied("The  dog eat", PLACES)]
    shares = np.mean([[a != b for a, b in zip(new, ("The", "dog", "eat"), strict=True)] for new in made], 0)
    np.testing.assert_allclose(shares, 0.4, atol=0.04)  # five standard errors
    last = [new[2] for new in made if new[2] != "eat"]
    np.testing.assert_allclose([last.count(one) / len(last) for one in ("dog", "bird", "cow")], 1 / 3, atol=0.06)
    assert own.varied("The  dog eat", PLACES) == own.varied("The  dog eat", PLACES)
    assert own.varied("The  dog eat", PLACES) != augmenter(copies=4000, seed=1).varied("The  dog eat", PLACES)


def test_rows_lose_their_label_and_keep_the_rest():
    rows = [{"text_a": "the dog", "text_b": "?!", "label": 1, "domain": "cars"}, {"text_a": "", "text_b": "a cat"}]
    made = augmenter(share=1, copies=2).rows(rows, ("text_a", "text_b"))
    assert len(made) == 4 and all("label" not in row for row in made)
    assert [row.get("domain") for row in made] == ["cars", "cars", None, None]
    assert made[0]["text_a"] != "the dog" and made[0]["text_b"] == "?!" and made[2]["text_a"] == ""
    assert made[3]["text_b"] != "a cat" and "label" in rows[0]
    assert augmenter().rows([]) == []


@pytest.mark.parametrize(
    "wrong", [{"share": -0.1}, {"share": 1.1}, {"share": float("nan")}, {"copies": 0}, {"amount": 0}]
)
def test_what_cannot_be_is_refused(wrong):
    with pytest.raises(UsageError, match="a share in"):
        augmenter(**wrong)


def test_other_mistakes_are_named(bert):
    model, tokenizer = labkit.load_model("mini-gpt-en")
    with pytest.raises(UsageError, match="no mask token"):
        Augmenter(model, tokenizer)
    with pytest.raises(DataError, match="row 2 of the batch: field 'text'"):
        augmenter().rows([{"text": "a"}, {"text": None}])
    broken = augmenter()
    with torch.no_grad():
        broken.model.get_input_embeddings().weight[:] = float("nan")
    with pytest.raises(TrainingError, match="holds NaN"):
        broken.rows([{"text": "the dog"}])
