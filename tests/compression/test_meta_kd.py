"""Meta-KD: scores and weights by hand, gradients sample by sample, what is refused."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch.nn import functional as F
from transformers import BertConfig, BertForSequenceClassification, BertTokenizer

from labkit.compression.meta_kd import (
    DOMAIN,
    READER,
    TYPICAL,
    MetaDistill,
    MetaTeacher,
    described,
    expertise,
    prototype_scores,
    wrong_domains,
)
from labkit.compression.shrink import shrink
from labkit.compression.tinybert import TinyBert
from labkit.errors import UsageError
from labkit.foundations.heads import HeadClassifier
from labkit.training import Batches, fit

WORDS = "[PAD] [UNK] [CLS] [SEP] [MASK] the film book was good bad dull fine long".split()
ROWS = [
    {"text": text, "label": label, "domain": domain}
    for domain, thing in (("films", "film"), ("books", "book"))
    for text, label in ((f"the {thing} was good", 1), (f"the {thing} was bad", 0), (f"the long {thing} was fine", 1))
]


@pytest.fixture(scope="module")
def method():
    return HeadClassifier(
        BertTokenizer(vocab={word: n for n, word in enumerate(WORDS)}, model_max_length=32), ("text",)
    )


@pytest.fixture
def model():
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    none = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    return BertForSequenceClassification(BertConfig(vocab_size=len(WORDS), max_position_embeddings=32, **sizes, **none))


@pytest.fixture
def taught(model, method):
    """A meta-teacher, its rows, a student."""
    with MetaTeacher(method, 2).attached(model):
        rows = described(model, method, ROWS)
    return model.eval(), rows, shrink(model, 1, 8)


def test_scores_by_hand():
    features = torch.tensor([[1.0, 0], [0, 1], [1, 1], [0, 2], [-1, 0]])
    domains, labels = ["a", "a", "b", "c", "a"], [0, 0, 0, 0, 1]
    with pytest.raises(UsageError, match="label 1 stands only in domain 'a'"):
        prototype_scores(features, domains, labels)
    found = prototype_scores(features[:4], domains[:4], labels[:4])
    own, others = torch.tensor([0.5, 0.5]), torch.tensor([0.5, 1.5])  # the others: the mean of (1, 1) and (0, 2)
    for place in (0, 1):
        wanted = sum(float(F.cosine_similarity(features[place], one, dim=0)) for one in (own, others)) / 2
        assert float(found[place]) == pytest.approx(wanted)
    wanted = (1 + float(F.cosine_similarity(features[2], torch.tensor([0.25, 1.25]), dim=0))) / 2
    assert float(found[2]) == pytest.approx(wanted)


def test_expertise_is_highest_where_the_teacher_is_sure_of_a_typical_text():
    t, p = torch.tensor([0.0, 1.0, 0.0]), torch.tensor([1.0, 1.0, 0.0])
    assert expertise(t, p).tolist() == pytest.approx([0.5, 1.0, 1 / (1 + math.e)])


def test_rows_are_described_in_any_order(model, method):
    rows = described(model, method, ROWS, batch_size=2)
    assert [row[DOMAIN] for row in rows] == [1, 1, 1, 0, 0, 0] and all(-1 <= row[TYPICAL] <= 1 for row in rows)
    back = described(model, method, ROWS[::-1])[::-1]
    assert [row[TYPICAL] for row in back] == pytest.approx([row[TYPICAL] for row in rows], abs=1e-5)
    with pytest.raises(UsageError, match="row 2: .* 'domain'"):
        described(model, method, [ROWS[0], {"text": "a", "label": 0}])


def test_the_meta_teacher_weighs_both_losses_by_how_typical_a_text_is(taught, method):
    model, rows, _ = taught
    teacher = MetaTeacher(method, 2, corruption=0.5)
    batch = teacher.collate(rows)
    torch.manual_seed(1)
    answer, domain = teacher.losses(model, batch)
    torch.manual_seed(1)
    wanted = sum(row[TYPICAL] * (a + 0.5 * d) for row, a, d in zip(rows, answer, domain, strict=True)) / len(rows)
    torch.testing.assert_close(teacher(model, batch), wanted)
    wrong = 1 - batch[DOMAIN]  # of two domains, the other
    states = model.bert(**{name: batch[name] for name in ("input_ids", "attention_mask", "token_type_ids")})[0]
    _, logits = getattr(model, READER)(states, batch["attention_mask"], batch[DOMAIN])
    torch.testing.assert_close(domain, F.cross_entropy(logits, wrong, reduction="none"))


def test_every_text_has_its_own_weight_and_gradient(taught, method):
    """The gradient is Σ wᵢ ∇ℓᵢ / n, and two texts that change their scores change the loss."""
    teacher, rows, student = taught
    distil, plain = MetaDistill(method, teacher), TinyBert(method, teacher)
    with distil.attached(student):
        batch = distil.collate(rows)
        distil(student, batch).backward()
        found = student.bert.embeddings.word_embeddings.weight.grad.clone()
        wanted = torch.zeros_like(found)
        logits = method.logits(teacher, batch).softmax(-1)
        plain.projection = distil.projection
        told, same = distil.told(student, batch)[0], plain.losses(student, batch)
        assert set(told) - set(same) == {"transfer"} and all(told[name].equal(same[name]) for name in same)
        for place, row in enumerate(rows):
            student.zero_grad()
            losses, _ = distil.told(student, distil.collate([row]))
            weight = expertise(torch.tensor(row[TYPICAL]), logits[place, row["label"]]).detach()
            (weight * sum(loss.sum() for loss in losses.values())).backward()
            wanted += student.bert.embeddings.word_embeddings.weight.grad / len(rows)
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-6)
        changed = copy.deepcopy(rows)
        changed[0][TYPICAL], changed[1][TYPICAL] = -1.0, 1.0
        assert distil(student, distil.collate(changed)).item() != pytest.approx(distil(student, batch).item(), rel=1e-3)
    assert all(parameter.grad is None for name, parameter in teacher.named_parameters() if name.startswith(READER))


def test_the_weights_may_be_others_and_need_no_prediction_loss(taught, method):
    """Of weights that are their batch's mean, texts that exchange their scores change nothing; of their own they do."""
    teacher, rows, student = taught
    swapped = copy.deepcopy(rows)
    swapped[0][TYPICAL], swapped[1][TYPICAL] = rows[1][TYPICAL] - 0.9, rows[0][TYPICAL]
    rows[1][TYPICAL] -= 0.9

    def found(some, **options):
        distil = MetaDistill(method, teacher, prediction=0, **options)
        with distil.attached(student), torch.no_grad():
            return float(distil(student, distil.collate(some)))

    def mean(typical, sure):
        assert sure.shape == typical.shape and bool(((sure > 0) & (sure < 1)).all())
        return (1 + typical).mean().expand_as(typical)

    assert found(rows, weigh=mean) == pytest.approx(found(swapped, weigh=mean), rel=1e-6)
    assert found(rows) != pytest.approx(found(swapped), rel=1e-3)


def test_a_wrong_domain_is_each_of_the_others_alike():
    torch.manual_seed(0)
    domains = torch.tensor([0, 1, 2]).repeat(2000)
    wrong = wrong_domains(domains, 3)
    assert not (wrong == domains).any()
    counts = torch.stack([torch.bincount(wrong[domains == one], minlength=3) for one in range(3)])
    assert counts.diagonal().sum() == 0 and counts.sum(1).tolist() == [2000] * 3 and counts.max() < 1100


def test_teacher_and_student_train(taught, method):
    teacher, rows, student = taught
    meta = MetaTeacher(method, 2)
    with meta.attached(teacher):
        history = fit(teacher, meta, Batches(rows, meta.collate, 6, seed=0), steps=30, lr=1e-2, progress=False)
    assert history.losses[-1] < history.losses[0]
    distil = MetaDistill(method, teacher)
    with distil.attached(student):
        history = fit(student, distil, Batches(rows, distil.collate, 6, seed=0), steps=30, lr=1e-2, progress=False)
    assert history.losses[-1] < 0.7 * history.losses[0]


def test_what_is_refused(model, method):
    with pytest.raises(UsageError, match="train it with MetaTeacher first"):
        MetaDistill(method, model)
    with pytest.raises(UsageError, match="two at least"):
        MetaTeacher(method, 1)
    with pytest.raises(UsageError, match="no prototype score"):
        MetaTeacher(method, 2).collate(ROWS)
