"""The template language: what it spells, what it refuses, and what it never cuts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import BertTokenizer, PreTrainedTokenizerFast

from labkit.errors import DataError, LabkitError, UsageError
from labkit.fewshot.prompts import encoding
from labkit.fewshot.prompts.encoding import fit_lengths
from labkit.fewshot.prompts.template import KINDS, Field, Mask, Meta, Soft, Special, Template, Text

WORDS = "[PAD] [UNK] [CLS] [SEP] [MASK] a the film was good bad it dull great . [ ] mask { } books".split()
TOKENIZER = BertTokenizer(vocab={word: number for number, word in enumerate(WORDS)}, model_max_length=512)


def encode(template: str, *rows, max_length: int = 128):
    return encoding.encode(Template.parse(template), rows, TOKENIZER, max_length)


def shown(batch, row: int = 0) -> str:
    ids = batch["input_ids"][row][batch["attention_mask"][row] == 1].tolist()
    return " ".join(TOKENIZER.convert_ids_to_tokens(ids))


# The language

NAMES = st.from_regex(r"[a-zA-Z_片][\w\- ]{0,6}\w", fullmatch=True).filter(lambda name: name not in KINDS)
TEXTS = st.text(min_size=1, max_size=12)
PARTS = st.one_of(
    st.builds(Text, TEXTS),
    st.builds(Field, NAMES, st.booleans()),
    st.builds(Mask, st.integers(1, 100)),
    st.builds(Soft, st.text(min_size=1, max_size=9).filter(lambda s: s.strip() and not set(s) & set("{}"))),
    st.builds(Soft, st.none(), st.integers(1, 100)),
    st.builds(Meta, NAMES),
    st.builds(Special, st.sampled_from(["sep", "cls"])),
)


def merged(parts):
    """Neighbouring texts as one, as the parser gives them."""
    out = []
    for part in parts:
        if isinstance(part, Text) and out and isinstance(out[-1], Text):
            out[-1] = Text(out[-1].text + part.text)
        else:
            out.append(part)
    return tuple(out)


@settings(max_examples=300)
@given(st.lists(PARTS, max_size=8), st.lists(PARTS, max_size=3))
def test_what_is_written_is_read_back(before, after):
    template = Template(merged([*before, Mask(), *after]))
    assert Template.parse(str(template)) == template
    assert Template.parse(template) == template


@settings(max_examples=500)
@given(st.text(alphabet="{}|:*.[]!mask soft0", max_size=25))
def test_any_text_is_parsed_or_refused(text):
    try:
        template = Template.parse(text)
    except UsageError as error:
        assert "position" in str(error)
    else:
        assert Template.parse(str(template)) == template


def test_each_form():
    text = "{{a}} {text} {b c|whole}{soft:it is}{soft*3}{meta:domain} {special:sep}{mask}{mask*2}{x|shorten}"
    template = Template.parse(text)
    assert template.parts == (
        Text("{a} "), Field("text"), Text(" "), Field("b c", False), Soft("it is"), Soft(None, 3), Meta("domain"),
        Text(" "), Special("sep"), Mask(), Mask(2), Field("x"),
    )  # fmt: skip
    assert template.masks == 3 and template.fields == ("text", "b c", "x")
    assert str(template) == text.removesuffix("|shorten}") + "}"
    assert str(template.with_masks(4)).count("{mask*4}") == 2


HOSTILE = {
    "{text} {mask} {text.__class__}": (15, "begins with a letter"),
    "{mask}{text[0]}": (7, "begins with a letter"),
    "{mask}{text!r}": (7, "begins with a letter"),
    "{mask}{0}": (7, "begins with a letter"),
    "{mask}{}": (7, "is empty"),
    "{mask}{ }": (7, "is empty"),
    "{mask}{text:>9999999999}": (7, "takes no format"),
    "{mask}{text:{text}}": (13, "do not nest"),
    "{mask}{{{text}}": (15, "closes nothing"),
    "{mask} {text": (8, "never closed"),
    "{mask} text}": (12, "closes nothing"),
    "{mask}{texd}": (7, "did you mean 'text'"),
    "{mask}{text|wohle}": (7, "did you mean 'whole'"),
    "{mask*0}": (1, "repeat 1 to 100"),
    "{mask*99999}": (1, "repeat 1 to 100"),
    "{mask*-1}": (1, "whole number"),
    "{text*2}{mask}": (1, "only {mask*2} and {soft*3}"),
    "{mask}{soft}": (7, "needs a value"),
    "{mask}{soft: }": (7, "needs the words"),
    "{mask}{special:pad}": (7, "unknown special token 'pad'"),
    "{special:mask}": (1, "write {mask}"),
    "{mask}{meta:a.b}": (7, "begins with a letter"),
    "{msk:x}{mask}": (1, "unknown kind of part 'msk'"),
    "{text} it was good": (19, "no {mask}"),
    "{mask}" + "a" * 2000: (2001, "at most 2000 characters"),
    "{mask}{__import__('os').system('id')}": (7, "begins with a letter"),
}


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_templates_are_refused_with_their_position(text):
    at, reason = HOSTILE[text]
    with pytest.raises(UsageError) as caught:
        Template.parse(text, ("text",))
    assert f"position {at}: " in str(caught.value) and reason in str(caught.value)
    assert len(str(caught.value)) < 400


def test_the_known_fields_are_offered():
    assert Template.parse("{anything}{mask}").fields == ("anything",)
    with pytest.raises(UsageError, match=r"position 7: unknown field 'text_2': did you mean 'text_b'\?"):
        Template.parse("{mask}{text_2}", ("title", "text_b"))
    with pytest.raises(UsageError, match="a template is a text, not a int"):
        Template.parse(3)


# Rows


def test_a_row_in_its_template():
    batch = encode("{text} it was {mask} .", {"text": "the film"}, {"text": "a good good good film"})
    assert shown(batch) == "[CLS] the film it was [MASK] . [SEP]"
    assert batch["mask_positions"].tolist() == [[5], [8]]
    assert batch["token_type_ids"].sum() == 0 and not batch["soft_mask"].any()
    assert batch["input_ids"].shape == (2, 11) and batch["input_ids"][0, 8:].tolist() == [0, 0, 0]


def test_two_fields_and_token_types():
    row = {"text_a": "a film", "text_b": "it was dull"}
    batch = encode("{text_a} {special:sep} {mask} , {text_b}", row)
    assert shown(batch) == "[CLS] a film [SEP] [MASK] [UNK] it was dull [SEP]"
    assert batch["token_type_ids"].tolist() == [[0, 0, 0, 0, 1, 1, 1, 1, 1, 1]]


def test_soft_tokens_are_marked():
    batch = encode("{soft:it was}{text}{soft*2}{mask*2}", {"text": "dull"})
    assert shown(batch) == "[CLS] it was dull [UNK] [UNK] [MASK] [MASK] [SEP]"
    assert batch["soft_mask"].tolist() == [[False, True, True, False, True, True, False, False, False]]
    assert batch["mask_positions"].tolist() == [[6, 7]]


def test_meta_values_and_braces():
    batch = encode("{meta:kind} {{ {text} : {mask}", {"text": "{mask} {kind}", "kind": "film"})
    assert shown(batch) == "[CLS] film { { mask } { [UNK] } [UNK] [MASK] [SEP]"


def test_special_tokens_in_a_text_are_text():
    batch = encode("{text} {mask}", {"text": "good [MASK] [SEP] [PAD] bad"})
    assert shown(batch) == "[CLS] good [ mask ] [ [UNK] ] [ [UNK] ] bad [MASK] [SEP]"
    assert batch["mask_positions"].tolist() == [[12]]


def test_a_tokenizer_that_cannot_spell_its_special_tokens():
    vocabulary = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "[MASK]": 4, "good": 5}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()  # so that the model itself finds "[MASK]" in its vocabulary
    names = {f"{name.lower()}_token": f"[{name}]" for name in ("PAD", "UNK", "CLS", "SEP", "MASK")}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, **names)
    batch = encoding.encode(Template.parse("{text} {mask}"), [{"text": "good [MASK] good"}], tokenizer, 16)
    assert batch["input_ids"].tolist() == [[2, 5, 1, 5, 4, 3]] and batch["mask_positions"].tolist() == [[4]]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), min_size=1, max_size=5), st.integers(13, 60))
def test_truncation_cuts_neither_the_mask_nor_fixed_text(lengths, max_length):
    template = Template.parse("{a} it was {mask*2} {special:sep} {w|whole} {b} . {meta:m} .")
    rows = [{"a": "good " * a, "b": "bad " * b, "w": "books", "m": "dull"} for a, b in lengths]
    batch = encoding.encode(template, rows, TOKENIZER, max_length)
    assert batch["input_ids"].shape[1] <= max_length
    for at, (a, b) in enumerate(lengths):
        words = shown(batch, at).split()
        kept_a, kept_b = words.count("good"), words.count("bad")
        fixed = ["[CLS]", "it", "was", "[MASK]", "[MASK]", "[SEP]", "books", ".", "dull", ".", "[SEP]"]
        assert [word for word in words if word not in ("good", "bad")] == fixed
        assert len(words) == min(a + b + 11, max_length)  # no more is cut than must be
        assert kept_a == a or kept_a >= kept_b  # the longer field is cut first …
        assert kept_b == b or kept_b >= kept_a - 1  # … and, of two equals, the second loses first
        for column in batch["mask_positions"][at].tolist():
            assert batch["input_ids"][at, column] == TOKENIZER.mask_token_id
        assert (batch["input_ids"][at] == TOKENIZER.mask_token_id).sum() == 2


@settings(max_examples=300)
@given(st.lists(st.integers(0, 30), max_size=6), st.integers(0, 80))
def test_lengths_are_cut_one_token_at_a_time_from_the_longest(lengths, room):
    slow = list(lengths)
    while sum(slow) > room:
        longest = max(range(len(slow)), key=lambda at: (slow[at], at))
        slow[longest] -= 1
    assert fit_lengths(lengths, room) == slow


def test_a_template_that_does_not_fit_is_an_error():
    long = "{text} " + "it was " * 10 + "{mask} ."
    with pytest.raises(
        UsageError, match="takes 24 of max_length=16 tokens .* shorten the template or raise max_length"
    ):
        encode(long, {"text": "good"}, max_length=16)
    with pytest.raises(UsageError, match=r"leaves no room for \{text\}"):
        encode(long, {"text": "good"}, max_length=24)
    assert shown(encode(long, {"text": "good good"}, max_length=25)).split().count("good") == 1
    whole = {"text": "good", "w": "bad " * 30}
    with pytest.raises(UsageError, match="row 2 of the batch"):
        encode("{text} {w|whole} {mask}", whole | {"w": "bad"}, whole, max_length=20)


def test_a_value_that_is_missing_is_named():
    with pytest.raises(DataError, match="row 2 of the batch: field 'text' .* the row has words"):
        encode("{text} {mask}", {"text": "good"}, {"words": "good"})
    with pytest.raises(DataError, match="field 'text' .* it is 3"):
        encode("{text} {mask}", {"text": 3})
    with pytest.raises(LabkitError, match="meta value 'domain'"):
        encode("{text} {meta:domain} {mask}", {"text": "good"})


def test_empty_texts_and_no_rows():
    assert shown(encode("{text} it was {mask} .", {"text": ""})) == "[CLS] it was [MASK] . [SEP]"
    batch = encode("{text} it was {mask} .")
    assert batch["input_ids"].shape[0] == 0 and batch["mask_positions"].shape == (0, 1)


def test_the_tokenizers_own_limit_holds():
    short = BertTokenizer(vocab={word: number for number, word in enumerate(WORDS)}, model_max_length=10)
    batch = encoding.encode(Template.parse("{text} {mask}"), [{"text": "good " * 50}], short, 128)
    assert batch["input_ids"].shape == (1, 10) and np.asarray(batch["mask_positions"]).tolist() == [[8]]
