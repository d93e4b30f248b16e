"""Counts against brute force, SVD against numpy, Huffman's code against every tree, windows against loops."""

from __future__ import annotations

import functools
import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from labkit.errors import DataError, LabkitError, UsageError
from labkit.foundations.words import (
    Vocabulary,
    WordVectors,
    cooccurrence,
    huffman_codes,
    keep_probability,
    nearest,
    noise_distribution,
    ppmi,
    same_kind,
    truncated_svd,
)
from labkit.foundations.words.huffman import paths
from labkit.foundations.words.outputs import HierarchicalSoftmax, NegativeSampling
from labkit.foundations.words.text import windows
from labkit.world.names import TYPES, words_of_one_type

TEXTS = ["the cat sat on the mat .", "the dog sat", "a cat and a dog", "", "the the the"]
texts = st.lists(st.lists(st.sampled_from("abcde"), max_size=8).map(" ".join), max_size=6)


# Words and windows


def test_the_vocabulary_counts_words_most_frequent_first():
    found = Vocabulary.of(TEXTS, min_count=2)
    assert dict(zip(found.words, found.counts.tolist(), strict=True)) == {
        "the": 6,
        "cat": 2,
        "sat": 2,
        "dog": 2,
        "a": 2,
    }
    assert found.words[0] == "the" and found.number("the") == 0
    ids, place = found.encode(TEXTS)
    assert [found.words[number] for number in ids] == [w for text in TEXTS for w in text.split() if w in found.words]
    assert place.tolist() == [0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 2, 4, 4, 4]


@pytest.mark.parametrize("given_texts", [[], [""], ["one", "one one"], ["a b c"]])
def test_a_vocabulary_of_fewer_than_two_words_is_refused(given_texts):
    with pytest.raises(DataError, match=r"[01] words occur 2 times or more.*lower min_count"):
        Vocabulary.of(given_texts, min_count=2)


@given(texts, st.integers(1, 4), st.randoms())
@settings(max_examples=60, deadline=None)
def test_windows_are_those_of_plain_loops(some, most, random):
    words, place = [], []
    for number, text in enumerate(some):
        words += [ord(word) for word in text.split()]
        place += [number] * len(text.split())
    reach = np.array([random.randint(1, most) for _ in words], dtype=np.int64)
    at = np.array(random.sample(range(len(words)), len(words)), dtype=np.int64)
    found = windows(np.array(words, dtype=np.int64), np.array(place, dtype=np.int64), at, reach[at])
    for row, i in zip(found.tolist(), at.tolist(), strict=True):
        near = [j for j in range(len(words)) if j != i and abs(i - j) <= reach[i] and place[i] == place[j]]
        assert [word for word in row if word != -1] == [words[j] for j in near]


def test_a_window_must_reach_a_word():
    with pytest.raises(UsageError, match="reach at least 1 word"):
        windows(np.arange(3), np.zeros(3, dtype=int), np.arange(3), np.array([1, 0, 1]))
    with pytest.raises(UsageError, match="reach at least 1 word"):
        cooccurrence(TEXTS, Vocabulary.of(TEXTS), window=0)


def test_keep_probability_is_the_papers():
    counts = np.array([900, 90, 9, 1])
    found = keep_probability(counts, 0.01)
    assert found == pytest.approx([1 - (1 - math.sqrt(0.01 / 0.9)), math.sqrt(0.01 / 0.09), 1, 1])
    assert found[2] == 1  # rarer than the threshold: 1 − √(t / f) is below 0


def test_noise_is_drawn_as_often_as_it_should_be():
    counts = np.array([1000, 300, 100, 10, 1])
    noise = noise_distribution(counts)
    assert noise == pytest.approx([c**0.75 / sum(c**0.75 for c in counts.tolist()) for c in counts.tolist()])
    output = NegativeSampling(noise, 20, torch.Generator().manual_seed(0))
    drawn = output.rows(torch.zeros(5000, dtype=torch.long))[:, 1:]
    seen = np.bincount(drawn.flatten().numpy(), minlength=5)
    assert chisquare(seen, noise * seen.sum()).pvalue > 0.001
    assert chisquare(seen, counts / counts.sum() * seen.sum()).pvalue < 1e-9  # and the test would tell


# Counting


@given(texts, st.integers(1, 3))
@settings(max_examples=60, deadline=None)
def test_counts_and_ppmi_are_those_of_brute_force(some, window):
    some = [*some, "a b"]
    vocabulary = Vocabulary.of(some)
    pairs = []
    for text in some:
        words = text.split()
        pairs += [
            (words[i], words[j]) for i in range(len(words)) for j in range(len(words)) if 0 < abs(i - j) <= window
        ]
    table = cooccurrence(some, vocabulary, window)
    found = ppmi(table)
    for (i, a), (j, b) in itertools.product(enumerate(vocabulary.words), repeat=2):
        both, first, second = pairs.count((a, b)), sum(p[0] == a for p in pairs), sum(p[1] == b for p in pairs)
        assert table[i, j] == both
        right = max(0.0, math.log(both * len(pairs) / (first * second))) if both else 0.0
        assert found[i, j].item() == pytest.approx(right, abs=1e-5)


def test_truncated_svd_is_numpys():
    rng = np.random.default_rng(0)
    table = rng.random((30, 30)).astype(np.float32)
    found = truncated_svd(torch.from_numpy(table), 7).numpy()
    u, s, vt = np.linalg.svd(table.astype(np.float64))
    assert np.allclose(np.abs(found), np.abs(u[:, :7] * np.sqrt(s[:7])), atol=1e-5)
    right = (u[:, :7] * s[:7]) @ vt[:7]  # the best table of rank 7 (Eckart & Young)
    basis = found / np.linalg.norm(found, axis=0)
    assert np.allclose(basis @ (basis.T @ table), right, atol=1e-4)
    assert (found[np.abs(found).argmax(0), range(7)] > 0).all()
    with pytest.raises(UsageError, match=r"dimension=30: a table of \(30, 30\) needs 1 to 29"):
        truncated_svd(torch.from_numpy(table), 30)


def test_a_table_that_memory_does_not_hold_is_refused():
    vocabulary = Vocabulary(tuple(map(str, range(20_001))), np.ones(20_001, dtype=np.int64))
    with pytest.raises(DataError, match="raise min_count"):
        cooccurrence(["1 2"], vocabulary)


# Huffman


@functools.cache
def cheapest(counts):
    """Σ count · length of the best binary tree over sorted counts: the least over all first merges of two."""
    if len(counts) == 1:
        return 0
    best = math.inf
    for i, j in itertools.combinations(range(len(counts)), 2):
        rest = tuple(count for place, count in enumerate(counts) if place not in (i, j))
        both = counts[i] + counts[j]
        best = min(best, both + cheapest(tuple(sorted((*rest, both)))))
    return best


@given(st.lists(st.integers(0, 40), min_size=2, max_size=6))
@settings(max_examples=60, deadline=None)
def test_no_code_is_cheaper_than_huffmans(counts):
    codes = huffman_codes(counts)
    assert sum(len(code) * count for code, count in zip(codes, counts, strict=True)) == cheapest(tuple(sorted(counts)))


@given(st.lists(st.integers(1, 10**6), min_size=2, max_size=60))
@settings(max_examples=60, deadline=None)
def test_huffmans_code_is_free_of_prefixes_and_within_a_bit_of_the_entropy(counts):
    codes = huffman_codes(np.array(counts))
    assert len(set(codes)) == len(counts) and set("".join(codes)) <= {"0", "1"}
    assert not any(a != b and b.startswith(a) for a, b in itertools.product(codes, repeat=2))
    assert sum(2.0 ** -len(code) for code in codes) == 1  # Kraft: no branch is missing
    share = np.array(counts) / sum(counts)
    entropy = float(-(share * np.log2(share)).sum())
    length = float(share @ [len(code) for code in codes])
    assert entropy - 1e-9 <= length < entropy + 1


@given(st.lists(st.integers(1, 100), min_size=2, max_size=30), st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_a_tree_of_decisions_is_a_distribution(counts, seed):
    output = HierarchicalSoftmax(np.array(counts))
    nodes = torch.randn(output.size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    words = torch.arange(len(counts))
    scores = nodes[output.rows(words)]  # (words, longest)
    each = torch.stack(
        [(-output.loss(scores[word][None], word[None], output.rows(word[None]))).exp() for word in words]
    )
    assert each.sum().item() == pytest.approx(1)
    assert output.rows(words).max() == output.size - 1


def test_paths_are_read_off_the_codes():
    nodes, way = paths(["0", "10", "11"])
    assert nodes.tolist() == [[0, 0], [0, 1], [0, 1]]
    assert way.tolist() == [[1, 0], [-1, 1], [-1, -1]]


@pytest.mark.parametrize("counts", [[], [3], [3, -1]])
def test_a_code_needs_two_words(counts):
    with pytest.raises(UsageError, match="2 at least"):
        huffman_codes(counts)


# Neighbours


def vectors(words, rows):
    return WordVectors(Vocabulary(tuple(words), np.ones(len(words), dtype=np.int64)), torch.tensor(rows))


def test_neighbours_are_those_of_scikit_learn():
    from sklearn.metrics.pairwise import cosine_similarity

    rows = torch.randn(40, 6, generator=torch.Generator().manual_seed(1))
    found = WordVectors(Vocabulary(tuple(map(str, range(40))), np.ones(40, dtype=np.int64)), rows)
    near = found.neighbours("7", 5)
    right = cosine_similarity(rows[7:8], rows)[0]
    assert [int(word) for word, _ in near] == [i for i in np.argsort(-right) if i != 7][:5]
    assert [cosine for _, cosine in near] == pytest.approx(np.sort(right)[::-1][1:6].tolist(), abs=1e-5)
    assert len(found.neighbours("7", 99)) == 39


def test_twins_and_words_without_a_vector():
    found = vectors("abcd", [[1.0, 0.0], [1.0, 0.0], [0.0, 0.0], [-1.0, 0.0]])
    assert found.neighbours("a", 3) == [("b", 1.0), ("c", 0.0), ("d", -1.0)]
    assert nearest(found.vectors, found["a"], 9)[0].tolist()[0] in (0, 1)


def test_an_analogy_is_a_parallelogram():
    found = vectors(
        ["man", "king", "woman", "queen", "cat"], [[1.0, 0, 0], [1, 1, 0], [1, 0, 1], [1, 1, 1], [-1, 0, 0]]
    )
    assert found.analogy("man", "king", "woman")[0][0] == "queen"


def test_an_unknown_word_is_refused_with_the_nearest():
    found = vectors(["noodles", "rice"], [[1.0, 0.0], [0.0, 1.0]])
    for ask in (
        lambda: found["noodels"],
        lambda: found.neighbours("noodels"),
        lambda: found.analogy("rice", "noodels", "rice"),
    ):
        with pytest.raises(UsageError, match="unknown word 'noodels': did you mean 'noodles'"):
            ask()
    with pytest.raises(UsageError, match="ask for 1 neighbour"):
        found.neighbours("rice", 0)


def test_words_of_one_kind_are_counted():
    rows = torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.1, 1.0]])
    assert same_kind(rows, ["x", "x", "y", None], count=1) == pytest.approx(2 / 3)  # the third's nearest has no kind
    assert same_kind(rows, ["x", "x", None, None], count=2) == pytest.approx(1 / 2)
    with pytest.raises(LabkitError, match="no word has a kind"):
        same_kind(rows, [None] * 4)


def test_the_world_s_names_have_words_of_one_type():
    kinds = words_of_one_type("en")
    assert kinds["noodles"] == "dish" and kinds["anna"] == "person" and set(kinds.values()) == set(TYPES)
    assert "willow" not in kinds  # of companies, films, …
