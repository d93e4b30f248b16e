"""The map against scikit-learn's plane, the list against the vectors' own neighbours, the picture and the controls."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from labkit.errors import UsageError
from labkit.foundations.words import Vocabulary, WordVectors
from labkit.widgets import embedding_map
from labkit.widgets.embedding_map import compute, draw

WORDS = ("rice", "noodles", "salad", "rome", "paris", "tokyo", "<b>$x$", "米饭")
KINDS = {"rice": "dish", "noodles": "dish", "salad": "dish", "rome": "city", "paris": "city", "tokyo": "city"}


def vectors(seed=0, words=WORDS):
    rows = torch.randn(len(words), 5, generator=torch.Generator().manual_seed(seed))
    return WordVectors(Vocabulary(words, np.ones(len(words), dtype=np.int64)), rows)


def test_the_list_is_the_words_neighbours_and_the_map_their_plane():
    found = vectors()
    view = compute(found, "rice", KINDS, 4)
    assert list(zip(view.words[1:], view.cosines[1:], strict=True)) == found.neighbours("rice", 4)
    assert view.words[0] == "rice" and view.kinds == tuple(KINDS.get(word, "") for word in view.words)
    unit = torch.nn.functional.normalize(torch.stack([found[word] for word in view.words]), dim=1).numpy()
    fitted = PCA(2, svd_solver="full").fit(unit)
    assert np.allclose(np.abs(view.points), np.abs(fitted.transform(unit)), atol=1e-5)
    assert view.kept == pytest.approx(fitted.explained_variance_ratio_.sum(), abs=1e-5)


def test_the_picture_says_what_it_shows():
    plot = draw(compute(vectors(), "rice", KINDS, 7), "skip-gram")
    assert "nearest to 'rice'" in plot.alt and "rome" in plot.alt and "(city)" in plot.alt and "<b>$x$" in plot.alt
    chart, bars = plot.figure.axes
    written = {text.get_text() for text in chart.texts}
    assert set(WORDS[:-1]) < written and len(written) == 8 and len(bars.patches) == 7  # a font may lack Chinese
    assert all(axes.get_xlabel() for axes in plot.figure.axes) and plot.png()[:4] == b"\x89PNG"


def test_controls_change_the_picture_and_a_wrong_word_does_not():
    shown = embedding_map({"one": vectors(), "two": vectors(1)}, KINDS, "rice")
    first = repr(shown)
    shown.method.value = "two"
    assert repr(shown) != first and "two" in repr(shown)
    shown.word.value = " rome "
    assert "nearest to 'rome'" in repr(shown)
    shown.count.value = 3
    last = repr(shown)
    shown.word.value = "nodles"
    assert "did you mean &#x27;noodles&#x27;" in shown.message.value and repr(shown) == last
    shown.word.value = "x" * 61
    assert "at most 60" in shown.message.value


def test_what_cannot_be_shown_is_refused():
    with pytest.raises(UsageError, match="no vectors"):
        embedding_map({}, KINDS, "rice")
    with pytest.raises(UsageError, match="unknown word"):
        embedding_map({"one": vectors()}, KINDS, "rise")
    with pytest.raises(UsageError, match="a map needs 2"):
        compute(vectors(words=WORDS[:2]), "rice", KINDS)
