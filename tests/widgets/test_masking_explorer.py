"""Each objective's rows against its definition, and the controls."""

from __future__ import annotations

import pytest
from transformers import BertTokenizerFast

from labkit.widgets import masking_explorer
from labkit.widgets.masking_explorer import SEED, built_in, compute, draw

WORDS = "[PAD] [UNK] [CLS] [SEP] [MASK] the film was good but plot dull and we loved soup dessert .".split()
TEXT = "the film was good but the plot was dull and we loved the soup and the dessert ."


@pytest.fixture(scope="module")
def tokenizer():
    return BertTokenizerFast(vocab={word: number for number, word in enumerate(WORDS)})


def row(tokenizer, name, text=TEXT, **options):
    (found,) = compute(tokenizer, text, {name: built_in(tokenizer)[name]}, **options)
    return found


def test_bert_shows_each_fate_where_it_happened(tokenizer):
    fates = set()
    for seed in range(20):
        found = row(tokenizer, "BERT", rate=0.5, seed=seed)
        words = ["[CLS]", *TEXT.split(), "[SEP]"]
        for column, word in zip(found.columns, words, strict=True):
            fates.add(column.fate)
            said = {"seen": column.reads == word and not column.asked, "masked": column.reads == "[MASK]",
                    "changed": column.reads not in (word, "[MASK]"), "kept": column.reads == word}  # fmt: skip
            assert said[column.fate] and (column.fate == "seen" or column.asked == word)
        assert found.columns[0].fate == found.columns[-1].fate == "seen"  # special tokens are never chosen
        assert found.asked == sum(column.fate != "seen" for column in found.columns)
    assert fates == {"seen", "masked", "changed", "kept"}


def test_gpt_asks_for_the_next_token_everywhere(tokenizer):
    columns = row(tokenizer, "GPT").columns
    assert [column.asked for column in columns[:-1]] == [column.reads for column in columns[1:]]
    assert columns[-1].asked == "" and {column.fate for column in columns} == {"seen"}


def test_electra_asks_of_every_token(tokenizer):
    found = row(tokenizer, "ELECTRA", rate=0.4)
    words = ["[CLS]", *TEXT.split(), "[SEP]"]
    assert found.asked == len(words) and any(column.fate == "changed" for column in found.columns)
    for column, word in zip(found.columns, words, strict=True):
        assert (column.reads != word) == (column.fate == "changed") == (column.asked == "✗ replaced")


def test_t5_cuts_spans_that_put_back_give_the_text(tokenizer):
    for seed in range(10):
        found = row(tokenizer, "T5", rate=0.3, seed=seed)
        left, spans = [c.reads for c in found.columns], {}
        for column in found.target:
            if column.fate == "sentinel":
                here = spans.setdefault(column.reads, [])
            else:
                here.append(column.reads)
        assert "[CLS]" not in left and len(spans) > 1
        whole = [word for token in left for word in spans.get(token, [token])]
        assert whole == TEXT.split()


def test_a_tokenizer_without_a_mask_shows_gpt():
    tokenizer = BertTokenizerFast(
        vocab={"[UNK]": 0, "a": 1, "b": 2, "[CLS]": 3, "[SEP]": 4, "[PAD]": 5}, mask_token=None
    )
    assert list(built_in(tokenizer)) == ["GPT"]
    shown = masking_explorer(tokenizer, "a b")
    assert "GPT reads: [CLS] a b [SEP]" in repr(shown) and shown.rate.disabled


def test_every_control_changes_the_picture_and_the_same_seed_gives_the_same(tokenizer):
    shown = masking_explorer(tokenizer, TEXT)
    assert shown.show.options == ("all of them", "GPT", "BERT", "ELECTRA", "T5") and not shown.rate.disabled
    assert "T5 reads:" in repr(shown) and "⟨1⟩" in repr(shown)
    first = shown.view.value
    pictures = {first}
    for control, value in (
        (shown.seed, 2),
        (shown.rate, 0.6),
        (shown.show, "BERT"),
        (shown.text, "we loved the soup ."),
    ):
        control.value = value
        pictures.add(shown.view.value)
    assert len(pictures) == 5 and shown.message.value == ""
    shown.show.value, shown.seed.value, shown.rate.value = "all of them", SEED, 0.15
    shown.text.value = TEXT
    assert shown.view.value == first


@pytest.mark.parametrize(("text", "said"), [("", "at least two tokens"), ("a" * 501, "501 characters")])
def test_a_text_that_cannot_be_used_is_one_sentence(tokenizer, text, said):
    shown = masking_explorer(tokenizer, TEXT)
    before = shown.view.value
    shown.text.value = text
    assert said in shown.message.value and shown.view.value == before


def test_special_tokens_and_markup_in_the_text_are_text(tokenizer):
    (found,) = compute(tokenizer, "<script> [MASK] the", {"GPT": built_in(tokenizer)["GPT"]})
    assert "[MASK]" not in [column.reads for column in found.columns]
    named = compute(tokenizer, TEXT, {"<b>mine": lambda ids, rng, rate: (ids, ids)})
    assert "<b>mine" not in draw(named).html and "&lt;b&gt;mine" in draw(named).html
