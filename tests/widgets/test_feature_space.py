"""The plane against scikit-learn's, pairs and answers against loops, what is recorded, the picture and the controls."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertForMaskedLM, BertTokenizerFast

from labkit.errors import UsageError
from labkit.fewshot.cp_tuning import CPTuning
from labkit.widgets import feature_space
from labkit.widgets.feature_space import Snapshot, compute, draw, record

LABELS, TESTED, NAMES = [0, 1, 0, 1, 1], [0, 1, 1, 0, 1, 0, 0], ("bad", "good")


def unit(rng, *shape):
    found = rng.normal(size=shape)
    return (found / np.linalg.norm(found, axis=-1, keepdims=True)).astype(np.float32)


@pytest.fixture
def snapshots():
    rng = np.random.default_rng(0)
    return [Snapshot(step, unit(rng, 5, 6), unit(rng, 7, 6)) for step in (0, 3, 9, 20)]


def test_the_plane_is_that_of_all_snapshots_together(snapshots):
    from sklearn.decomposition import PCA

    space = compute(snapshots, LABELS, TESTED, NAMES)
    points = np.concatenate([part for one in snapshots for part in (one.support, one.test)])
    fitted = PCA(2, svd_solver="full").fit(points)
    for view, one in zip(space.views, snapshots, strict=True):
        for found, features in ((view.support, one.support), (view.test, one.test)):
            wanted = fitted.transform(features)
            assert np.allclose(np.abs(found), np.abs(wanted), atol=1e-5)  # the sign of an axis is free
            assert np.allclose(np.linalg.norm(found - found[0], axis=1), np.linalg.norm(wanted - wanted[0], axis=1))
    assert space.kept == pytest.approx(fitted.explained_variance_ratio_.sum(), abs=1e-5)


def test_a_snapshot_lies_where_it_lay_when_another_is_looked_at(snapshots):
    alone, all_of_them = (compute(some, LABELS, TESTED, NAMES) for some in (snapshots[:1], snapshots))
    assert not np.allclose(alone.views[0].support, all_of_them.views[0].support)  # fitted on other points
    again = compute(snapshots, LABELS, TESTED, NAMES, pairs="test")
    assert np.array_equal(again.views[2].test, all_of_them.views[2].test)


def test_pairs_and_answers_are_those_of_plain_loops(snapshots):
    one = snapshots[1]
    (labelled,), (tested,) = (
        [compute(snapshots, LABELS, TESTED, NAMES, pairs).views[1]] for pairs in ("labelled", "test")
    )
    like, unlike = [], []
    for i in range(5):
        for j in range(i + 1, 5):
            (like if LABELS[i] == LABELS[j] else unlike).append(float(one.support[i] @ one.support[j]))
    assert sorted(labelled.like) == pytest.approx(sorted(like))
    assert sorted(labelled.unlike) == pytest.approx(sorted(unlike))
    every = [(TESTED[i] == LABELS[j], float(one.test[i] @ one.support[j])) for i in range(7) for j in range(5)]
    assert sorted(tested.like) == pytest.approx(sorted(value for same, value in every if same), abs=1e-6)
    assert len(tested.like) + len(tested.unlike) == 35
    nearest = [LABELS[max(range(5), key=lambda j: one.test[i] @ one.support[j])] for i in range(7)]  # noqa: B023
    assert labelled.right.tolist() == [a == b for a, b in zip(nearest, TESTED, strict=True)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: ([], LABELS, TESTED, NAMES), "0 snapshots"),
        (lambda s: (s, LABELS[:4], TESTED, NAMES), "snapshot of step 0"),
        (lambda s: (s, LABELS, TESTED[:1] * 3, NAMES), "3 test texts: .texts, d. are needed"),
        (lambda s: (s, [0, 1, 2, 1, 1], TESTED, NAMES), "labelled text has the label 2"),
        (lambda s: (s, LABELS, TESTED, ("one",)), "1 classes"),
        (lambda s: (s, LABELS, TESTED, NAMES, "all"), "unknown pairs"),
        (
            lambda s: ([*s, Snapshot(30, s[0].support[:, :3], s[0].test[:, :3])], LABELS, TESTED, NAMES),
            "different sizes",
        ),
    ],
)
def test_what_does_not_fit_together_is_refused(snapshots, change, message):
    with pytest.raises(UsageError, match=message):
        compute(*change(snapshots))


def test_too_many_texts_are_refused(snapshots):
    with pytest.raises(UsageError, match="401 test texts: at most 400"):
        feature_space(snapshots, LABELS, [0] * 401, NAMES)


def test_the_picture_says_in_words_what_it_shows(snapshots):
    space = compute(snapshots, LABELS, TESTED, NAMES)
    plot = draw(space, [0, 3])
    right, like = 100 * space.views[3].right.mean(), space.views[3].like.mean()
    assert f"after 20 steps: {right:.1f} % of 7 test texts right, mean similarity of like pairs {like:.2f}" in plot.alt
    assert plot.alt.count("test texts right") == 2 and "before training: " in plot.alt
    top = plot.figure.axes[:2]
    assert top[0].get_xlim() == top[1].get_xlim() and top[0].get_ylim() == top[1].get_ylim()


def test_classes_differ_by_mark_and_colour_and_the_wrong_are_crossed_out(snapshots):
    space = compute(snapshots, LABELS, TESTED, NAMES)

    def drawn(test):
        axes = draw(space, [1], test=test).figure.axes[0]
        return [(len(some.get_offsets()), tuple(some.get_facecolor()[0][:3])) for some in axes.collections]

    large = drawn(False)
    assert [size for size, _ in large] == [2, 3] and large[0][1] != large[1][1]
    crosses = [size for size, colour in drawn(True) if colour == (0, 0, 0)]
    assert sum(crosses) == (~space.views[1].right).sum()
    marks = [mark.get_marker() for mark in draw(space, [1]).figure.legends[0].legend_handles[:2]]
    assert len(set(marks)) == 2


def test_every_control_changes_the_picture(snapshots):
    shown = feature_space(snapshots, LABELS, TESTED, NAMES)
    assert "before training" in repr(shown) and "after 20 steps" in repr(shown)
    pictures = {shown.view.value}
    for control, value in ((shown.at, 2), (shown.pairs, "test"), (shown.test, False)):
        control.value = value
        assert shown.message.value == ""
        pictures.add(shown.view.value)
    assert len(pictures) == 4 and "after 9 steps" in repr(shown)
    shown.at.value = 3  # the last one stands there already
    assert repr(shown).count("after 20 steps") == 1


def test_what_is_recorded_are_the_methods_features_and_the_model_stays_as_it_was():
    words = "[PAD] [UNK] [CLS] [SEP] [MASK] it is . a film good bad".split()
    tokenizer = BertTokenizerFast(vocab={word: number for number, word in enumerate(words)}, model_max_length=32)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words), hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8,
        max_position_embeddings=32,
    )  # fmt: skip
    model = BertForMaskedLM(config).train()  # with dropout, which must not be felt
    method = CPTuning("{text} {soft:it is} {mask} .", NAMES, tokenizer)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    support = [{"text": "a film", "label": 0}, {"text": "good film", "label": 1}]
    one, two = (record(model, method, support, [{"text": "bad"}], 5) for _ in range(2))
    assert model.training and all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert np.array_equal(one.support, two.support) and one.step == 5
    assert one.support.shape == (2, 8) and one.test.shape == (1, 8)
    assert np.linalg.norm(one.support, axis=1) == pytest.approx([1, 1], abs=1e-5)
    with torch.no_grad():
        wanted = method.features(model.eval(), method.collate(support))
    assert np.allclose(one.support, wanted.numpy(), atol=1e-6)
