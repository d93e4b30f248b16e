"""Readers of sequences: parity with torch, windows by brute force, gradients by hand, padding, what is refused."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from transformers import BertTokenizer

from labkit.errors import DataError, UsageError
from labkit.evaluation import evaluate, predict
from labkit.foundations.heads import HeadClassifier
from labkit.foundations.sequences.classifier import SequenceClassifier, classifier
from labkit.foundations.sequences.convolution import TextCNN
from labkit.foundations.sequences.recurrent import KINDS, Recurrent, Weights, gru_step, rnn_step
from labkit.tasks import Task, load_task
from labkit.training import Batches, fit

WORDS = "[PAD] [UNK] [CLS] [SEP] [MASK] the film was not good bad , but it".split()
READERS = [("bag", False), ("cnn", False), *itertools.product(KINDS, (False, True))]
TORCHS = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}


@pytest.fixture(scope="module")
def tokenizer():
    return BertTokenizer(vocab={word: number for number, word in enumerate(WORDS)}, model_max_length=64)


def numbers(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def padded(*lengths):
    return (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).long()


def layer(kind, **options):
    torch.manual_seed(1)
    return Recurrent(kind, 3, 4, **options).double()


# Recurrent layers


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("kind", TORCHS)
def test_the_steps_are_torchs(kind, bidirectional):
    """torch's own layer, of packed texts, with our weights."""
    own, x, mask = layer(kind, bidirectional=bidirectional, written_out=True), numbers(4, 7, 3), padded(7, 1, 4, 6)
    torchs = TORCHS[kind](3, 4, batch_first=True, bidirectional=bidirectional).double()
    for number, way in enumerate(own.ways):
        for name, values in way.named_parameters():
            getattr(torchs, name + "_reverse" * number).data.copy_(values)
    packed = nn.utils.rnn.pack_padded_sequence(x, mask.sum(1), batch_first=True, enforce_sorted=False)
    wanted, last = torchs(packed)
    last = last[0] if kind == "lstm" else last
    for own.written_out in (True, False):
        states, ends = own(x, mask)
        torch.testing.assert_close(states, nn.utils.rnn.pad_packed_sequence(wanted, True)[0], atol=1e-10, rtol=0)
        torch.testing.assert_close(ends, last.transpose(0, 1).flatten(1), atol=1e-10, rtol=0)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_padded_batch_is_its_texts_one_by_one(kind, bidirectional):
    own, x, lengths = layer(kind, bidirectional=bidirectional), numbers(3, 6, 3), (2, 6, 1)
    states, ends = own(x, padded(*lengths))
    for row, length in enumerate(lengths):
        alone, end = own(x[row : row + 1, :length])
        torch.testing.assert_close(states[row, :length], alone[0])
        torch.testing.assert_close(ends[row], end[0])
        assert not states[row, length:].any()


def test_cho_resets_before_the_product():
    """A scalar GRU by the paper's equations 5 to 8."""
    weights = Weights(*(torch.tensor(one).double() for one in ([[0.3], [-0.7], [1.1]], [[0.5], [0.2], [-0.9]],
                                                                [0.1, 0.0, -0.2], [0.4, 0.3, 0.6])))  # fmt: skip
    x, h = torch.tensor([[0.8]]).double(), torch.tensor([[-0.5]]).double()
    found = gru_step(x, {"hidden": h}, weights, reset_first=True)
    r, z = torch.sigmoid(0.3 * x + 0.1 + 0.5 * h + 0.4), torch.sigmoid(-0.7 * x + 0.2 * h + 0.3)
    n = torch.tanh(1.1 * x - 0.2 + -0.9 * (r * h) + 0.6)
    torch.testing.assert_close(found["hidden"], z * h + (1 - z) * n)
    assert not torch.allclose(found["hidden"], gru_step(x, {"hidden": h}, weights)["hidden"], atol=1e-3)


def test_the_gradient_of_an_unrolled_rnn_is_the_sum_by_hand():
    """h_t = tanh(w x_t + u h_(t-1)): dh_3/du is a sum over the step at which u is used, and so is its truncation."""
    x, w, u = [0.5, -1.0, 0.8], 0.7, torch.tensor(1.2, dtype=torch.float64, requires_grad=True)
    zero = torch.zeros(1, dtype=torch.float64)

    def run(cut):
        h, seen = torch.zeros(1, 1, dtype=torch.float64), []
        for t, one in enumerate(x):
            h = h.detach() if t == cut else h
            weights = Weights(torch.full((1, 1), w, dtype=torch.float64), u.reshape(1, 1), zero, zero)
            seen.append(h.item())
            h = rnn_step(torch.full((1, 1), one, dtype=torch.float64), {"hidden": h}, weights)["hidden"]
        return h, [*seen[1:], h.item()]

    for cut in (0, 1, 2):
        final, h = run(cut)
        slope, before = [1 - value**2 for value in h], [0.0, *h[:-1]]
        parts = []
        for t in range(cut, 3):  # u is used at step t, and the effect goes through the later ones
            parts.append(before[t] * slope[t])
            for later in range(t + 1, 3):
                parts[-1] *= slope[later] * u.item()
        (gradient,) = torch.autograd.grad(final.sum(), u)
        assert float(gradient) == pytest.approx(sum(parts), abs=1e-12)


def test_the_forget_bias_is_the_gates_alone():
    own = Recurrent("lstm", 3, 4, bidirectional=True, forget_bias=1.0)
    for way in (0, 1):
        both = own.weights(way).word_bias + own.weights(way).state_bias
        assert (both[4:8] == 1).all() and not (both == 1)[[0, 3, 8, 15]].any()
    opened = Recurrent("lstm", 1, 2, forget_bias=3.0).gates(torch.zeros(1, 1, 1))["forget"]
    torch.testing.assert_close(opened, torch.sigmoid(torch.tensor(3.0)).expand(1, 1, 2))


def test_what_a_layer_refuses():
    own = Recurrent("lstm", 3, 4)
    for mask in ([[0, 1]], [[1, 0, 1]], [[0, 0]]):
        with pytest.raises(UsageError, match="padding on the right"):
            own(torch.zeros(1, len(mask[0]), 3), torch.tensor(mask))
    with pytest.raises(UsageError, match="one word at least"):
        own(torch.zeros(2, 0, 3))
    with pytest.raises(UsageError, match="did you mean 'lstm'"):
        Recurrent("lsmt", 3, 4)
    with pytest.raises(UsageError, match="only an 'lstm' has a forget gate"):
        Recurrent("gru", 3, 4, forget_bias=1.0)


# TextCNN


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 7), min_size=1, max_size=4), st.sets(st.integers(1, 5), min_size=1), st.integers(0, 99))
def test_each_filter_gives_its_best_window(lengths, widths, seed):
    torch.manual_seed(seed)
    own, x = TextCNN(3, sorted(widths), filters=2).double(), numbers(len(lengths), max(lengths), 3, seed=seed)
    found = own(x, padded(*lengths))
    for row, length in enumerate(lengths):
        text, wanted = torch.cat([x[row, :length], torch.zeros(5, 3)]), []
        for convolution in own.convolutions:
            width = convolution.kernel_size[0]
            for weight, bias in zip(convolution.weight, convolution.bias, strict=True):  # weight (inputs, width)
                fits = [(text[at : at + width].T * weight).sum() + bias for at in range(length)]
                wanted.append(max(0.0, *map(float, fits)))
        torch.testing.assert_close(found[row], torch.tensor(wanted, dtype=torch.float64))


def test_what_a_cnn_refuses():
    for options in ({"widths": ()}, {"widths": (0, 2)}, {"filters": 0}):
        with pytest.raises(UsageError, match="windows of a word at least"):
            TextCNN(3, **options)


# Classifiers


ROWS = [{"text": "the film was not bad , but good", "label": 1}, {"text": "bad", "label": 0}]


@pytest.mark.parametrize(("reader", "bidirectional"), READERS)
def test_a_classifier_works_with_the_courses_method(tokenizer, reader, bidirectional, tmp_path):
    """Padded or alone, and saved and loaded, a text has the same answer."""
    sizes = {"bidirectional": bidirectional, "embedding": 8, "size": 6}
    model, method = classifier(reader, len(WORDS), ("no", "yes"), **sizes).eval(), HeadClassifier(tokenizer)
    together = predict(model, method, ROWS)
    alone = [predict(model, method, [row])[0] for row in ROWS]
    assert together == pytest.approx(np.stack(alone), abs=1e-6)
    model.save_pretrained(tmp_path)
    again = SequenceClassifier.from_pretrained(tmp_path)
    assert again.config.id2label == {0: "no", 1: "yes"}
    assert predict(again, method, ROWS) == pytest.approx(together, abs=1e-6)


def test_a_bag_reads_no_order_and_the_others_do(tokenizer):
    texts = [{"text": "not bad , but good"}, {"text": "not good , but bad"}]
    for reader, bidirectional in READERS:
        model = classifier(reader, len(WORDS), ("no", "yes"), bidirectional=bidirectional)
        one, other = predict(model, HeadClassifier(tokenizer), texts)
        assert (abs(one - other).max() < 1e-6) == (reader == "bag"), reader


@pytest.mark.parametrize("reader", ["rnn", "gru", "lstm"])
def test_the_written_out_steps_train_as_torchs_do(tokenizer, reader):
    method, losses = HeadClassifier(tokenizer), []
    for written_out in (False, True):
        model = classifier(reader, len(WORDS), ("no", "yes"), written_out=written_out, bidirectional=True, size=8)
        batches = Batches(ROWS * 8, method.collate, 4, seed=0)
        losses.append(fit(model, method.loss, batches, steps=8, lr=1e-2, progress=False).losses)
    assert losses[0] == pytest.approx(losses[1], abs=1e-4) and losses[0][-1] < losses[0][0]


def test_empty_texts_and_unknown_words_are_read(tokenizer):
    """[CLS] and [SEP] stand around every text, so that none is empty."""
    for reader, bidirectional in READERS:
        model = classifier(reader, len(WORDS), ("no", "yes"), bidirectional=bidirectional)
        found = predict(model, HeadClassifier(tokenizer), [{"text": ""}, {"text": "zyx zyx"}, {"text": "the " * 500}])
        assert found.shape == (3, 2)


def test_what_a_classifier_refuses(tokenizer):
    with pytest.raises(UsageError, match="did you mean 'lstm'"):
        classifier("lstmm", 10, ("a", "b"))
    with pytest.raises(UsageError, match="a 'cnn' reads in no direction"):
        classifier("cnn", 10, ("a", "b"), bidirectional=True)
    for classes in (("a",), "ab"):
        with pytest.raises(UsageError, match="the names of at least two classes"):
            classifier("bag", 10, classes)
    with pytest.raises(DataError, match="row 1 of the batch"):
        HeadClassifier(tokenizer).collate([{"texts": "a"}])


@pytest.mark.real
@pytest.mark.parametrize(("reader", "bidirectional"), [("cnn", False), ("lstm", True)])
def test_real_questions_are_sorted_above_the_commonest_class(real_data, reader, bidirectional):
    """trec's six classes in 150 steps: the commonest is under 30 % of the test."""
    splits = {}
    for split, count in (("train", 5452), ("test", 500)):
        lines = (real_data / "trec" / f"TREC.{split}.all").read_text(encoding="latin-1").splitlines()
        splits[split] = [{"label": int(line[0]), "text": line[2:]} for line in lines]
        assert len(lines) == count
    counts = {}
    for row in splits["train"]:
        for word in row["text"].lower().split():
            counts[word] = counts.get(word, 0) + 1
    known = [*WORDS[:5], *(word for word, count in counts.items() if count > 2)]
    tokenizer = BertTokenizer(vocab={word: n for n, word in enumerate(dict.fromkeys(known))}, model_max_length=64)
    task = Task("trec", ("text",), tuple("abcdef"), splits)
    model = classifier(reader, len(tokenizer), task.labels, bidirectional=bidirectional)
    method = HeadClassifier(tokenizer)
    batches = Batches(splits["train"], method.collate, 64, seed=0, lengths=[len(r["text"]) for r in splits["train"]])
    fit(model, method.loss, batches, steps=150, lr=5e-3, progress=False)
    labels = [row["label"] for row in splits["test"]]
    commonest = max(labels.count(label) for label in set(labels)) / len(labels)
    assert evaluate(model, method, task)["accuracy"] > commonest + 0.3


def test_a_world_task_is_learned(tokenizer):
    """Seen end to end, with the loader: the loss of a few rows falls."""
    task = load_task("world/subj")
    model, method = classifier("gru", len(WORDS), task.labels, size=8), HeadClassifier(tokenizer, task.fields)
    history = fit(model, method.loss, Batches(task.splits["train"][:32], method.collate, 8), steps=12, lr=1e-2)
    assert history.losses[-1] < history.losses[0]
