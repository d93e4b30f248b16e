"""Windows: they cover a text, one of them owns each token, and their inputs are the tokenizer's own."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import ByT5Tokenizer

from labkit.errors import UsageError
from labkit.foundations.windows import MOST, Frame, few_at_once, overlapping, read_pieces, windowed
from tests.foundations.window_models import CORPUS, KINDS, tokenizer

TEXT = st.text(st.sampled_from("ab film好看 ,.\u200d\u0301\U0001f600\u00a0\tİŉ\x00"), max_size=30)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 60), st.integers(1, 20), st.data())
def test_windows_cover_a_text_and_the_owner_of_a_token_shows_most_around_it(length, room, data):
    found = list(overlapping(length, room, data.draw(st.integers(1, room))))
    assert [own for _, _, own, _ in found] == [0, *(own_stop for *_, own_stop in found[:-1])]
    assert found[-1][1] == found[-1][3] == length
    assert all(start <= own <= own_stop <= stop <= start + room for start, stop, own, own_stop in found)
    for token in range(length):
        around = [min(token - a, b - 1 - token) for a, b, *_ in found if a <= token < b]
        owner = next((a, b) for a, b, own, own_stop in found if own <= token < own_stop)
        assert min(token - owner[0], owner[1] - 1 - token) == max(around)


@pytest.mark.parametrize("kind", KINDS)
def test_what_fits_one_window_is_encoded_as_the_tokenizer_itself_does(kind):
    own = tokenizer(kind)
    for text, question in ((CORPUS[0], CORPUS[2]), (CORPUS[3], CORPUS[1]), (CORPUS[3], "")):
        pieces, asked = read_pieces(own, [text]), [read_pieces(own, [question])[0].ids]
        for batch, texts in ((windowed(Frame(own, 1), pieces, 64)[0], [text]),
                             (windowed(Frame(own, 2), pieces, 64, 32, asked)[0], [question, text])):  # fmt: skip
            theirs = own(*texts)
            for name in ("input_ids", "token_type_ids", "attention_mask"):
                assert batch[name].tolist() == [theirs[name]], name


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60, deadline=None)
@given(text=TEXT, data=st.data())
def test_the_first_and_last_token_of_a_stretch_are_those_that_read_into_it(kind, text, data):
    begin = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(begin, len(text)))
    pieces = read_pieces(tokenizer(kind), [text])[0]
    spans = list(zip(pieces.starts, pieces.stops, strict=True))
    inside = [at for at, (a, b) in enumerate(spans) if begin < end and a < end and b > begin and a < b]
    first = pieces.first_of(np.array([begin]), np.array([end]))[0]
    assert first == (inside[0] if inside else -1)
    if inside:
        assert pieces.last_of(np.array([end]))[0] == inside[-1]


def test_a_special_token_in_a_text_is_plain_text():
    own = tokenizer()
    assert not set(read_pieces(own, ["a [MASK] [CLS] b"])[0].ids) & set(own.all_special_ids) - {own.unk_token_id}


def test_a_question_shortens_the_windows():
    own = tokenizer("characters")
    pieces, asked = read_pieces(own, ["the film was good"] * 2), [np.arange(5, 10), np.arange(5, 6)]
    batch, windows = windowed(Frame(own, 2), pieces, 12, 100, asked)
    assert batch["input_ids"].shape[1] == 12  # 3 special tokens, 5 and 4, or 1 and 8
    assert [max(one.stop - one.start for one in windows if one.row == row) for row in (0, 1)] == [4, 8]
    for window, ids in zip(windows, batch["input_ids"].numpy(), strict=True):
        assert ids[window.places].tolist() == pieces[window.row].ids[window.start : window.stop].tolist()


def test_a_book_is_read_some_windows_at_a_time():
    own = tokenizer("characters")
    batch, windows = windowed(Frame(own, 1), read_pieces(own, ["film " * 600]), 12)
    parts = few_at_once(batch)
    assert len(windows) > 2 * MOST and all(len(part["row"]) <= MOST for part in parts)
    assert np.concatenate([part["input_ids"] for part in parts]).tolist() == batch["input_ids"].tolist()


def test_a_tokenizer_without_offsets_is_refused():
    with pytest.raises(UsageError, match="ByT5Tokenizer does not say where"):
        read_pieces(ByT5Tokenizer(), ["a"])
