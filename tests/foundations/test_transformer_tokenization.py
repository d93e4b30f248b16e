"""Pieces of words: the same merges and pieces as the `tokenizers` library's and BERT's, and what they refuse."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import BertTokenizer

from labkit.errors import DataError, UsageError
from labkit.foundations.transformer.tokenization import BPE, WordPiece, count_pairs, merge
from labkit.world import World, corpus

FEW = st.text(alphabet="ab ", min_size=1, max_size=24)  # ties and overlaps everywhere
# Any character but half ones, those that Python takes for spaces and Rust does not, and the mark itself.
ANY = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="▁\x1c\x1d\x1e\x1f"), max_size=30)
MIXED = st.text(alphabet="abcelowrst 中文的电影很好.,-'é▁XYZ0\t\n", max_size=40)
SENTENCES = ["low low low low low lower lower", "newest newest newest newest newest newest widest widest widest"]


def library(texts, merges):
    """The library's BPE of the same texts, which has learnt all merges that there are."""
    tokenizer = Tokenizer(models.BPE(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(prepend_scheme="always")]
    )
    trainer = trainers.BpeTrainer(vocab_size=100_000, special_tokens=["[UNK]"], show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    learnt = [tuple(pair) for pair in json.loads(tokenizer.to_str())["model"]["merges"]]
    model = models.BPE(tokenizer.get_vocab(), learnt[:merges], unk_token="[UNK]")
    tokenizer.model = model
    return learnt, tokenizer


@settings(max_examples=200, deadline=None)
@given(st.lists(FEW, min_size=1, max_size=5).filter(lambda texts: any(text.strip() for text in texts)))
def test_the_merges_are_those_of_the_library(texts):
    assert BPE.learn(texts, 1000).merges == library(texts, 1000)[0]


@settings(max_examples=60, deadline=None)
@given(st.lists(MIXED, min_size=1, max_size=6).filter(lambda texts: any(t.replace("▁", "").strip() for t in texts)),
       st.integers(0, 40), FEW | MIXED)  # fmt: skip
def test_merges_and_pieces_of_mixed_scripts_are_those_of_the_library(texts, merges, text):
    plain = [text.replace("▁", " ") for text in texts]
    bpe, (learnt, tokenizer) = BPE.learn(texts, merges), library(plain, merges)
    assert bpe.merges == learnt[:merges]
    assert bpe.pieces(text) == tokenizer.encode(text.replace("▁", " ")).tokens


@pytest.fixture(scope="module")
def world():
    texts = corpus(World(), "en", 400) + corpus(World(), "zh", 100)
    return texts, BPE.learn(texts, 250), library(texts, 250)


def test_the_merges_of_the_world_are_those_of_the_library(world):
    texts, bpe, (learnt, tokenizer) = world
    assert bpe.merges == learnt[:250]
    assert all(bpe.encode(text) == tokenizer.encode(text).ids for text in texts[::7])
    assert all(bpe.decode(bpe.encode(text)) == " ".join(text.split()) for text in texts)


@settings(max_examples=300, deadline=None)
@given(text=ANY)
def test_any_text_is_read_as_the_library_reads_it(world, text):
    _, bpe, (_, tokenizer) = world
    assert bpe.pieces(text) == tokenizer.encode(text).tokens


def test_a_piece_that_is_made_in_two_ways_has_one_id():
    bpe = BPE([("b", "c"), ("a", "bc"), ("a", "b"), ("ab", "c")], "abc▁")
    assert list(bpe.vocabulary.values()) == list(range(len(bpe.vocabulary)))
    assert bpe.pieces("abc") == ["▁", "abc"]


def test_lowest_is_low_and_est():
    bpe = BPE.learn(SENTENCES, 8)
    assert "lowest" not in " ".join(SENTENCES).split()
    assert bpe.pieces("lowest") == ["▁low", "est"]


def test_unknown_characters_and_nothing():
    bpe = BPE.learn(["low"], 10)
    assert bpe.pieces("low owl 猫") == ["▁low", "▁", "o", "w", "l", "▁", "[UNK]"]
    assert bpe.encode("") == bpe.encode(" \n\t") == [] and bpe.decode([]) == ""
    assert BPE.learn(["low"], 0).pieces("low") == ["▁", "l", "o", "w"]


@pytest.mark.parametrize("kind", [BPE, WordPiece])
def test_texts_without_words_and_half_characters_are_refused(kind):
    for texts in ([], [""], ["  \n"]):
        with pytest.raises(DataError, match="no word to learn"):
            kind.learn(texts, 10)
    with pytest.raises(DataError, match="half of one"):
        kind.learn(["low"], 10).pieces("a\ud800")


@given(st.lists(st.sampled_from("abc"), max_size=20), st.tuples(st.sampled_from("abc"), st.sampled_from("abc")))
def test_merge_is_a_replacement_from_left_to_right(pieces, pair):
    assert "".join(merge(pieces, pair, "+")) == "".join(pieces).replace("".join(pair), "+")


def test_pairs_are_counted_with_their_words():
    counts = count_pairs({"aaa": ["a", "a", "a"], "ab": ["a", "b"]}, {"aaa": 2, "ab": 5})
    assert counts == {("a", "a"): 4, ("a", "b"): 5}


# WordPiece


def test_likelihood_pieces_of_a_known_example():
    words = {"hug": 10, "pug": 5, "pun": 12, "bun": 4, "hugs": 5}
    learnt = WordPiece.learn([" ".join([word] * count) for word, count in words.items()], 10, least=1)
    # (##g, ##s) has 5 / (20 · 5); every pair with ##u has 1/36, of which (p, ##u) is the most frequent
    assert list(learnt.vocabulary)[-2:] == ["##gs", "pu"]
    letters = ["[UNK]", "b", "h", "p", "##g", "##n", "##s", "##u", "##gs", "hu", "hug"]
    made = WordPiece({piece: number for number, piece in enumerate(letters)})
    assert made.pieces("hugs bugs mug") == ["hug", "##s", "b", "##u", "##gs", "[UNK]"]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text("ab", min_size=1, max_size=6), min_size=1, max_size=12))
def test_the_first_likelihood_piece_is_the_best_by_brute_force(words):
    letters = [[w[0], *(f"##{c}" for c in w[1:])] for w in words]
    everything = [piece for word in letters for piece in word]
    pairs = [pair for word in letters for pair in zip(word, word[1:], strict=False)]
    start = WordPiece.learn([" ".join(words)], 0)
    found = list(WordPiece.learn([" ".join(words)], len(start.vocabulary) + 1).vocabulary)[len(start.vocabulary) :]
    twice = [pair for pair in pairs if pairs.count(pair) > 1]
    scores = {(a, b): pairs.count((a, b)) / (everything.count(a) * everything.count(b)) for a, b in twice}
    best = max(scores.values(), default=None)
    assert bool(found) == bool(scores)
    assert not found or found[0] in [a + b[2:] for (a, b), score in scores.items() if score == best]


@pytest.fixture(scope="module")
def wordpiece():
    learnt = WordPiece.learn(corpus(World(), "en", 150) + corpus(World(), "zh", 50), 900)
    special = {token: len(learnt.vocabulary) + n for n, token in enumerate(("[PAD]", "[CLS]", "[SEP]", "[MASK]"))}
    return learnt, BertTokenizer(vocab=learnt.vocabulary | special)


@settings(max_examples=300, deadline=None)
@given(text=ANY | MIXED)
def test_any_text_is_read_as_bert_reads_it(wordpiece, text):
    learnt, bert = wordpiece
    assert learnt.pieces(text) == bert.backend_tokenizer.encode(text, add_special_tokens=False).tokens


def test_words_as_the_vocabulary_has_them_and_very_long_ones(wordpiece):
    learnt, bert = wordpiece
    texts = [*corpus(World(), "en", 40, part="other"), "a" * 100, "a" * 101, "unfilmable, 电影很好!"]
    assert [learnt.encode(text) for text in texts] == [bert.encode(text, add_special_tokens=False) for text in texts]


def test_a_vocabulary_without_unknown_is_refused():
    with pytest.raises(UsageError, match=r"no \[UNK\]"):
        WordPiece({"a": 0})
