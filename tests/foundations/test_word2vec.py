"""The gradient against autograd and finite differences, steps against dense ones, training against gensim."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from labkit.errors import DataError, LabkitError, TrainingError, UsageError
from labkit.foundations.words import (
    Word2VecSettings,
    huffman_codes,
    negative_sampling_loss,
    noise_distribution,
    train_word2vec,
)
from labkit.foundations.words.outputs import FullSoftmax, HierarchicalSoftmax, NegativeSampling
from labkit.foundations.words.word2vec import Word2Vec, batches

COUNTS = np.array([50, 30, 12, 9, 9, 4, 2, 1])
WORDS, AROUND = torch.tensor([0, 3, 0]), torch.tensor([[1, 2], [2, 8], [4, 4]])  # 8: no word there
TEXTS = [
    f"{who} {does} {what}"
    for who in ("cat", "dog", "pig")
    for does in ("sees", "eats")
    for what in ("fish", "meat", "milk")
] * 10


def numbers(seed):
    return torch.Generator().manual_seed(seed)


def output(kind):
    return {
        "negative": lambda: NegativeSampling(noise_distribution(COUNTS), 3, numbers(5)),
        "hierarchical": lambda: HierarchicalSoftmax(COUNTS),
        "full": lambda: FullSoftmax(len(COUNTS)),
    }[kind]()


def model(kind, method="skip-gram"):
    found = Word2Vec(len(COUNTS), 4, output(kind), method, numbers(1))
    found.outputs = torch.randn(found.outputs.shape, generator=numbers(2))
    return found


def test_the_loss_of_three_words_by_hand():
    # σ(1) = 0.7311, σ(0.5) = 0.6225, σ(−2) = 0.1192
    loss = negative_sampling_loss(torch.tensor([1.0]), torch.tensor([[-0.5, 2.0]]))
    assert loss.item() == pytest.approx(-np.log(0.7311) - np.log(0.6225) - np.log(0.1192), abs=1e-3)


def test_the_loss_has_the_gradient_of_finite_differences_and_of_the_paper():
    positive, negative = torch.randn(5, generator=numbers(0)).double(), torch.randn(5, 3, generator=numbers(1)).double()
    positive.requires_grad_(), negative.requires_grad_()
    assert torch.autograd.gradcheck(negative_sampling_loss, (positive, negative))
    found = torch.autograd.grad(negative_sampling_loss(positive, negative), (positive, negative))
    torch.testing.assert_close(found, ((positive.sigmoid() - 1) / 5, negative.sigmoid() / 5))  # σ(s) − [is a pair]


def test_the_loss_of_far_scores_is_finite():
    assert negative_sampling_loss(torch.tensor([-1000.0]), torch.tensor([[1000.0]])).item() == 2000


@pytest.mark.parametrize("kind", ["negative", "hierarchical", "full"])
@pytest.mark.parametrize("method", ["skip-gram", "cbow"])
def test_a_step_is_that_of_autograd_over_whole_tables(kind, method):
    """The same loss, pair by pair, from whole tables with plain autograd: the rows must move alike."""
    found, inputs, outputs = model(kind, method), *(t.clone().requires_grad_() for t in _tables(model(kind, method)))
    rows = output(kind).rows(WORDS).expand(len(WORDS), -1)
    losses = []
    for place, word in enumerate(WORDS):
        near = [inputs[other] for other in AROUND[place] if other != 8]
        if method == "cbow":
            whole = torch.stack(near)
            # the mean's value; its gradient goes whole to each word
            near = [whole.mean(0).detach() + whole.sum(0) - whole.sum(0).detach()]
        for one in near:
            scores = outputs[rows[place]] @ one
            losses.append(_loss(kind, scores, word, rows[place]))
    changes = torch.autograd.grad(sum(losses), (inputs, outputs))
    loss = found.step(WORDS, AROUND, lr=0.1)
    assert loss == pytest.approx((sum(losses) / len(losses)).item(), rel=1e-5)
    torch.testing.assert_close(found.inputs, inputs.detach() - 0.1 * changes[0])
    torch.testing.assert_close(found.outputs, outputs.detach() - 0.1 * changes[1])


def _tables(found):
    return found.inputs, found.outputs


def _loss(kind, scores, word, rows):
    if kind == "full":
        return -scores.log_softmax(0)[word]
    if kind == "negative":
        others = scores[1:][rows[1:] != word]  # noise that is the word itself does not count
        return -F.logsigmoid(scores[0]) - F.logsigmoid(-others).sum()
    way = HierarchicalSoftmax(COUNTS).way[word]
    return -F.logsigmoid(way * scores)[way != 0].sum()


def test_a_step_changes_the_rows_it_read_and_no_other():
    """The seed's figure: 5 of 10 000 rows of 300 numbers are 0.05 % of the table."""
    counts = np.arange(10_000, 0, -1)
    found = Word2Vec(10_000, 300, NegativeSampling(noise_distribution(counts), 4, numbers(0)), "skip-gram", numbers(1))
    found.outputs = torch.randn(10_000, 300, generator=numbers(2))
    before = [table.clone() for table in _tables(found)]
    found.step(torch.tensor([9]), torch.tensor([[3]]), lr=0.1)
    rows = NegativeSampling(noise_distribution(counts), 4, numbers(0))
    rows.generator.set_state(numbers(0).get_state())
    changed = [
        (table != old).any(1).nonzero()[:, 0].tolist() for table, old in zip(_tables(found), before, strict=True)
    ]
    assert changed[0] == [3] and 9 in changed[1] and len(changed[1]) == 5
    assert (found.outputs != before[1]).sum() / found.outputs.numel() == pytest.approx(0.0005)


def test_each_place_is_a_middle_word_once_with_a_window_from_one_to_the_most():
    settings = Word2VecSettings(window=3, batch=7)
    ids, place = np.arange(300), np.arange(300) // 100
    words, reach = [], []
    for some, around, share in batches(ids, place, settings, np.random.default_rng(0), none=300):
        assert 0 <= share < 1 and around.shape == (len(some), around.shape[1])
        words += some.tolist()
        reach += (around != 300).sum(1)[(some % 100 > 3) & (some % 100 < 96)].tolist()
        assert all(
            abs(o - w) <= 3 and o // 100 == w // 100
            for w, row in zip(some.tolist(), around.tolist(), strict=True)
            for o in row
            if o != 300
        )  # noqa: E501
    assert sorted(words) == list(range(300))
    seen = np.bincount(reach, minlength=7)[2::2]
    assert seen.sum() == len(reach) and (seen > len(reach) / 3 * 0.7).all()  # uniform on 1, 2, 3


@pytest.mark.parametrize("kind", ["negative", "hierarchical", "full"])
@pytest.mark.parametrize("method", ["skip-gram", "cbow"])
def test_words_of_like_company_get_like_vectors(kind, method):
    settings = Word2VecSettings(
        method=method, output=kind, dimension=8, window=2, threshold=0, epochs=60, batch=8, lr=0.05
    )
    found = train_word2vec(TEXTS, settings)
    assert found.vectors.shape == (8, 8)
    for alike in ({"cat", "dog", "pig"}, {"fish", "meat", "milk"}, {"sees", "eats"}):
        assert all({word for word, _ in found.neighbours(one, len(alike) - 1)} == alike - {one} for one in alike)


def test_the_same_seed_gives_the_same_vectors_and_leaves_the_process_s_numbers_alone():
    torch.manual_seed(3)
    state = torch.get_rng_state()
    runs = [train_word2vec(TEXTS, Word2VecSettings(epochs=1, dimension=4, seed=seed)).vectors for seed in (0, 0, 1)]
    assert torch.equal(runs[0], runs[1]) and not torch.equal(runs[0], runs[2])
    assert torch.equal(state, torch.get_rng_state())


def test_your_own_functions_are_the_ones_that_run():
    called = []

    def own(name, value):
        return lambda *given: (called.append(name), value(*given))[1]

    settings = {"epochs": 1, "dimension": 4}
    train_word2vec(
        TEXTS, Word2VecSettings(**settings), loss=own("loss", negative_sampling_loss),
        keep=own("keep", lambda counts, t: np.ones(len(counts))), noise=own("noise", lambda c: c / c.sum()),
    )  # fmt: skip
    codes = own("codes", lambda counts: [f"{i:04b}" for i in range(len(counts))])
    train_word2vec(TEXTS, Word2VecSettings(output="hierarchical", **settings), codes=codes)
    assert set(called) == {"loss", "keep", "noise", "codes"}


@pytest.mark.parametrize(
    ("texts", "settings", "error", "message"),
    [
        ([], {}, DataError, "0 words occur 5 times"),
        (["one " * 9], {}, DataError, "1 words occur"),
        (["a b"] * 9, {"threshold": 1e-12}, DataError, "no two words stand side by side.*raise threshold"),
        (["a", "b"] * 9, {"threshold": 0}, DataError, "no two words stand side by side"),
        (TEXTS, {"window": 0}, UsageError, "setting 'window' must be at least 1"),
        (TEXTS, {"negatives": 0}, UsageError, "'negatives'"),
        (TEXTS, {"method": "skipgram"}, UsageError, "did you mean 'skip-gram'"),
        (TEXTS, {"output": "softmax"}, UsageError, "unknown output"),
    ],
)
def test_what_cannot_be_trained_is_refused(texts, settings, error, message):
    with pytest.raises(error, match=message) as caught:
        train_word2vec(texts, Word2VecSettings(**settings))
    assert isinstance(caught.value, LabkitError)


def test_texts_of_one_word_among_others_are_no_pairs():
    lonely = train_word2vec([*TEXTS, *["cat"] * 3000], Word2VecSettings(dimension=4, epochs=1, threshold=0))
    assert lonely.vectors.isfinite().all()


def test_huffmans_code_is_as_long_as_gensims():
    gensim = pytest.importorskip("gensim.models", reason="gensim is not installed")
    counts = {str(i): int(c) for i, c in enumerate(np.random.default_rng(0).zipf(1.3, 300).clip(max=10**6))}
    other = gensim.Word2Vec(hs=1, negative=0, min_count=1)
    other.build_vocab_from_freq(counts)
    lengths = [len(other.wv.get_vecattr(word, "code")) for word in counts]
    mine = [len(code) for code in huffman_codes(list(counts.values()))]
    total = [sum(n * length for n, length in zip(counts.values(), some, strict=True)) for some in (mine, lengths)]
    assert total[0] == total[1]


def test_a_loss_that_is_no_number_stops_the_training():
    with pytest.raises(TrainingError, match="epoch 1: the loss is nan.*mend your loss"):
        train_word2vec(TEXTS, Word2VecSettings(), loss=lambda p, n: (p - p).log().mean() - (p - p).log().mean())


def test_a_row_that_many_pairs_share_does_not_move_too_far():
    found = model("hierarchical")
    before = [table.clone() for table in _tables(found)]
    found.step(torch.zeros(1000, dtype=torch.long), torch.full((1000, 1), 3), lr=0.5)
    longest = before[0].norm(dim=1).max(), before[1].norm(dim=1).max()
    assert (found.outputs - before[1]).norm(dim=1).max() <= longest[0] + 1e-6
    assert 0 < (found.inputs - before[0]).norm(dim=1).max() <= longest[1] * 1.001


def test_a_small_text_does_not_blow_up():
    for method in ("skip-gram", "cbow"):
        found = train_word2vec(["a b c d e"] * 400, Word2VecSettings(method=method, threshold=0, batch=512))
        assert found.vectors.isfinite().all() and found.vectors.abs().max() < 20
