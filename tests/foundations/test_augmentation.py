"""Data augmentation: only whole words change, where they stand, and from nothing but the text and the seed."""

from __future__ import annotations

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

import labkit
from labkit.errors import DataError, UsageError
from labkit.evaluation import answers
from labkit.foundations.augmentation import Augmentation, whole_words

ROWS = [
    {"text": "The  president ratified\u00a0the veto , in Oslo on tuesday!"},
    {"text": "who lost the match ?"},
    {"text": "?! ..."},
    {"text": ""},
]


@pytest.fixture(scope="module")
def bert():
    return labkit.load_model("micro-bert-en")


def augmented(bert, rows, **options):
    return answers(bert.model, Augmentation(bert.tokenizer, **options), rows, progress=False)


def test_each_text_changes_in_whole_words_alone(bert):
    found = augmented(bert, ROWS, expansion_rate=3, mask_proportion=0.5)
    for row, texts in zip(ROWS, found, strict=True):
        assert len(texts) == 3
        for text in texts:
            old, new = row["text"].split(), text.split()
            assert len(old) == len(new)
            assert sum(a != b for a, b in zip(old, new, strict=True)) <= max(1, round(0.5 * len(old)))
    assert any(text != ROWS[0]["text"] for text in found[0]) and found[0][0] != found[0][1]
    assert all("\u00a0" in text and "The  " in text.replace(text.split()[0], "The", 1) for text in found[0])
    assert found[2:] == [[ROWS[2]["text"]] * 3, [""] * 3]  # no word to change


def test_it_depends_on_the_text_and_the_seed_alone(bert):
    together = augmented(bert, ROWS, mask_proportion=0.5)
    assert together == [augmented(bert, [row], mask_proportion=0.5)[0] for row in ROWS]
    assert together != augmented(bert, ROWS, mask_proportion=0.5, seed=1)


def test_the_likeliest_word_alone_is_the_models_first_choice(bert):
    model, tokenizer = bert
    method = Augmentation(tokenizer, expansion_rate=1, mask_proportion=0.01, likeliest=1)
    batch = method.collate(ROWS[1:2])
    place = int(batch["hidden"][0].nonzero())
    logits = model(input_ids=batch["input_ids"]).logits[0, place]
    logits = logits.masked_fill(~torch.from_numpy(method.words), -1e9)
    start, end = batch["spans"][0, place].tolist()
    text = ROWS[1]["text"]
    wanted = text[:start] + tokenizer.convert_ids_to_tokens(int(logits.argmax())) + text[end:]
    assert answers(model, method, ROWS[1:2], progress=False) == [[wanted]]


def test_chinese_keeps_its_length_and_blanks_go_on_request():
    zh = labkit.load_model("micro-bert-zh")
    row = {"text": "今天 天气很好，我们去公园。"}
    plain, bare = (augmented(zh, [row], mask_proportion=0.3, remove_blanks=remove)[0] for remove in (False, True))
    assert all(len(text) == len(row["text"]) and " " in text and "，" in text for text in plain)
    assert [text.replace(" ", "") for text in plain] == bare


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
@example("O\x08R")  # one token, whose control character is none of it
@settings(max_examples=60, deadline=None)
def test_any_text_at_all(bert, text):
    (found,) = augmented(bert, [{"text": text}], mask_proportion=1.0, expansion_rate=1)
    assert len(found) == 1 and [c for c in found[0] if not c.isalnum()] == [c for c in text if not c.isalnum()]


def test_whole_words_of_each_kind_of_vocabulary():
    class Tokens:
        def __init__(self, *tokens):
            self.tokens = tokens

        def __len__(self):
            return len(self.tokens)

        def convert_ids_to_tokens(self, ids):
            return [self.tokens[at] for at in ids]

    assert whole_words(Tokens("[CLS]", "good", "##ly", "?", "好")).tolist() == [False, True, False, False, True]
    assert whole_words(Tokens("<s>", "Ġgood", "ly", "Ġ!")).tolist() == [False, True, False, False]


def test_what_it_refuses_and_saves(bert):
    method = Augmentation(bert.tokenizer, remove_blanks=True, seed=3)
    assert Augmentation.from_description(method.describe(), bert.tokenizer).describe() == method.describe()
    for wrong in ({"expansion_rate": 0}, {"mask_proportion": 0.0}, {"likeliest": 0}):
        with pytest.raises(UsageError):
            Augmentation(bert.tokenizer, **wrong)
    with pytest.raises(DataError, match="row 1 .*'text'"):
        method.collate([{"text": 3}])
