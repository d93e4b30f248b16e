"""labkit.compression.distill, tinybert and shrink: closed forms, identities, and a student that really learns."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from scipy.special import softmax
from scipy.stats import entropy
from torch.nn import functional as F
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    BertModel,
    RobertaConfig,
    RobertaModel,
)

from labkit.compression import distill, tinybert
from labkit.compression.distill import Distill, join_teacher, kd_loss, soft_divergence, teacher_logits
from labkit.compression.shrink import shrink
from labkit.compression.tinybert import TinyBert, soft_cross_entropy, uniform_map
from labkit.errors import CheckpointError, TrainingError, UsageError
from labkit.fewshot.pet.self_training import Member, SoftTargets, soft_labels

VOCABULARY, CLASSES = 61, 3


def config(**changes) -> BertConfig:
    sizes = {"vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 2}
    more = {"intermediate_size": 48, "max_position_embeddings": 24, "num_labels": CLASSES}
    return BertConfig(**{**sizes, **more, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, **changes})


def classifier(seed: int = 0, **changes) -> BertForSequenceClassification:
    torch.manual_seed(seed)
    return BertForSequenceClassification(config(**changes)).eval()


class Head:
    """The smallest method: rows of ids, a classification head."""

    def collate(self, rows, rng=None):
        longest = max(len(row["ids"]) for row in rows)
        ids = torch.tensor([row["ids"] + [0] * (longest - len(row["ids"])) for row in rows])
        mask = torch.tensor([[1] * len(row["ids"]) + [0] * (longest - len(row["ids"])) for row in rows])
        batch = {"input_ids": ids, "attention_mask": mask}
        if all(row.get("label") is not None for row in rows):
            batch["labels"] = torch.tensor([row["label"] for row in rows])
        return batch

    def logits(self, model, batch):
        return model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits


def rows(number: int = 6, seed: int = 0, labels: bool = True) -> list[dict]:
    rng = np.random.default_rng(seed)
    sizes = rng.integers(3, 9, number)
    made = [{"ids": rng.integers(1, VOCABULARY, n).tolist(), "label": int(rng.integers(CLASSES))} for n in sizes]
    return made if labels else [{**row, "label": None} for row in made]


def pair(seed: int = 0, batch: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(batch, CLASSES, generator=rng), 3 * torch.randn(batch, CLASSES, generator=rng)


def test_kd_at_temperature_one_is_the_divergence_of_the_distributions():
    student, teacher = pair()
    by_scipy = entropy(softmax(teacher.numpy(), 1), softmax(student.numpy(), 1), axis=1)
    assert kd_loss(student, teacher).item() == pytest.approx(by_scipy.mean(), rel=1e-5)
    assert kd_loss(student, teacher, temperature=3, alpha=0.5).item() == pytest.approx(
        0.5 * 9 * entropy(softmax(teacher.numpy() / 3, 1), softmax(student.numpy() / 3, 1), axis=1).mean(), rel=1e-5
    )


def test_kd_without_the_teacher_is_cross_entropy():
    student, teacher = pair()
    labels = torch.tensor([0, 2, 1, 1, 0])
    torch.testing.assert_close(kd_loss(student, teacher, labels, 4.0, 0.0), F.cross_entropy(student, labels))
    mixed = 0.3 * 4 * soft_divergence(student, teacher, 2.0).mean() + 0.7 * F.cross_entropy(student, labels)
    torch.testing.assert_close(kd_loss(student, teacher, labels, 2.0, 0.3), mixed)


def test_rows_without_a_label_learn_from_the_teacher_alone():
    student, teacher = pair()
    labels = torch.tensor([0, -100, 1, -100, 2])
    known = F.cross_entropy(student[[0, 2, 4]], torch.tensor([0, 1, 2]))
    expected = 0.5 * soft_divergence(student, teacher).mean() + 0.5 * known
    torch.testing.assert_close(kd_loss(student, teacher, labels, alpha=0.5), expected)
    none = kd_loss(student, teacher, torch.full((5,), -100), alpha=0.5)
    torch.testing.assert_close(none, kd_loss(student, teacher, alpha=0.5))


def test_the_square_of_the_temperature_keeps_gradients_level():
    """Hinton et al. 2015, §2.1: for T large against the logits, T² · ∂KL/∂z ≈ (z − v)/N for centred logits, any T."""
    student, teacher = (1e-2 * (x - x.mean(1, keepdim=True)) for x in pair())
    expected = (student - teacher) / CLASSES / len(student)
    for temperature in (1.0, 4.0, 16.0):
        z = student.clone().requires_grad_()
        kd_loss(z, teacher, temperature=temperature).backward()
        torch.testing.assert_close(z.grad, expected, rtol=0.05, atol=2e-5)


def test_soft_cross_entropy_of_the_teacher_itself_is_its_entropy_and_a_minimum():
    _, teacher = pair()
    student = teacher.clone().requires_grad_()
    loss = soft_cross_entropy(student, teacher)
    np.testing.assert_allclose(loss.detach(), entropy(softmax(teacher.numpy(), 1), axis=1), rtol=1e-5)
    loss.sum().backward()
    assert student.grad.abs().max() < 1e-6


def test_teacher_logits_are_computed_once_and_travel_with_the_rows():
    data, teacher = rows(7, labels=False), classifier().train()
    logits = teacher_logits(teacher, Head(), data, batch_size=3)
    assert logits.shape == (7, CLASSES) and logits.dtype == np.float32 and teacher.training
    with torch.no_grad():
        one = Head().logits(teacher.eval(), Head().collate(data[4:5]))
    np.testing.assert_allclose(logits[4:5], one, atol=1e-5)  # without the padding of its batch
    joined = join_teacher(data, logits)
    assert "teacher_logits" not in data[0] and np.array_equal(joined[3]["teacher_logits"], logits[3])
    with pytest.raises(UsageError, match="6 lines"):
        join_teacher(data, logits[:6])


def test_distill_is_the_method_with_another_loss():
    data, teacher, student = rows(), classifier(), classifier(seed=1)
    data[2]["label"] = None
    distil = Distill(Head(), temperature=2, alpha=0.5)
    joined = join_teacher(data, teacher_logits(teacher, Head(), data))
    batch = distil.collate(joined, None)
    assert batch["labels"].tolist()[2] == -100 and batch["teacher_logits"].dtype == torch.float32
    mine = Head().logits(student, batch)
    torch.testing.assert_close(distil(student, batch), kd_loss(mine, batch["teacher_logits"], batch["labels"], 2, 0.5))
    assert distil.loss(student, batch) == distil(student, batch)
    with pytest.raises(UsageError, match="join_teacher"):
        distil.collate(data, None)
    for wrong in ({"temperature": 0}, {"alpha": 1.5}):
        with pytest.raises(UsageError):
            Distill(Head(), **wrong)


@pytest.mark.parametrize("temperature", [0, 0.0, -1, float("inf"), float("nan"), True, "2", None])
def test_a_temperature_that_softens_nothing_is_refused(temperature):
    student, teacher = pair()
    makers = (
        lambda: soft_divergence(student, teacher, temperature),
        lambda: soft_cross_entropy(student, teacher, temperature),
        lambda: kd_loss(student, teacher, temperature=temperature),
        lambda: Distill(Head(), temperature=temperature),
        lambda: TinyBert(Head(), classifier(), temperature=temperature),
        lambda: SoftTargets(Head(), temperature),
        lambda: soft_labels([Member(classifier(), Head())], rows(2), temperature),
    )
    for make in makers:
        with pytest.raises(UsageError, match=f"temperature={temperature}: a number above 0"):
            make()


@pytest.mark.parametrize("alpha", [-0.1, 1.1, float("nan"), float("inf")])
def test_a_share_that_is_none_is_refused(alpha):
    student, teacher = pair()
    for make in (lambda: kd_loss(student, teacher, alpha=alpha), lambda: Distill(Head(), alpha=alpha)):
        with pytest.raises(UsageError, match=r"alpha=.* must lie in \[0, 1\]"):
            make()
    with pytest.raises(UsageError, match="weights of the losses"):
        TinyBert(Head(), classifier(), hidden=-1.0)


@pytest.mark.parametrize(("mine", "theirs"), [((5, 3), (5, 2)), ((5, 3), (5, 1)), ((5, 1), (5, 3)), ((5, 3), (1, 3)),
                                              ((5, 1), (5, 1)), ((5, 3), (3,)), ((5,), (5,))])  # fmt: skip
def test_other_classes_are_not_broadcast(mine, theirs):
    student, teacher = torch.randn(mine), torch.randn(theirs)
    for loss in (soft_divergence, soft_cross_entropy, kd_loss):
        with pytest.raises(UsageError, match="same rows and classes, two classes at least"):
            loss(student, teacher)


def test_labels_and_targets_of_other_classes_are_refused():
    student, teacher = pair()
    with pytest.raises(UsageError, match="one a row"):
        kd_loss(student, teacher, torch.tensor([0, 1]), alpha=0.5)
    data = rows(3)
    with pytest.raises(UsageError, match="two classes at least"):
        join_teacher(data, np.zeros((3, 1), np.float32))
    joined = [{**row, "teacher_logits": np.zeros(2, np.float32), "label": 2} for row in data]
    with pytest.raises(UsageError, match="of 2 classes for labels up to 2"):
        Distill(Head()).collate(joined)
    joined[0]["teacher_logits"] = np.zeros(3, np.float32)
    with pytest.raises(UsageError, match="of 2, 3 classes"):
        Distill(Head()).collate(joined)
    soft = SoftTargets(Head())
    with pytest.raises(UsageError, match="the same classes, in the same order"):
        soft.loss(classifier(), soft.collate([{**row, "target": np.array([0.5, 0.5])} for row in data]))
    with pytest.raises(UsageError, match="must have one shape"):
        tinybert.hidden_loss(torch.ones(2, 3, 4), torch.ones(2, 3, 1), torch.ones(2, 3))
    with pytest.raises(UsageError, match="must have one shape"):
        tinybert.attention_loss(torch.ones(2, 2, 3, 3), torch.ones(2, 1, 3, 3), torch.ones(2, 3))


def test_a_teacher_that_says_no_numbers_teaches_nothing(tmp_path):
    teacher, data, kept = classifier(), rows(5), tmp_path / "answers.safetensors"
    with torch.no_grad():
        teacher.classifier.bias[1] = float("nan")
    with pytest.raises(TrainingError, match=r"row 1: the model's answer is no number: its 'classifier.bias' holds NaN"):
        teacher_logits(teacher, Head(), data, keep=kept)
    assert not kept.exists()
    bad = np.zeros((5, CLASSES), np.float32)
    bad[3, 2] = np.nan
    with pytest.raises(UsageError, match="row 4 are no numbers"):
        join_teacher(data, bad)


def test_layer_map():
    assert uniform_map(4, 12) == (3, 6, 9, 12)
    assert uniform_map(6, 6) == (1, 2, 3, 4, 5, 6)
    assert uniform_map(1, 5) == (5,)
    assert uniform_map(4, 6) == (2, 3, 5, 6)
    for wrong in (0, 7):
        with pytest.raises(UsageError, match="1 to 6"):
            uniform_map(wrong, 6)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_scores_are_those_before_the_softmax(attention):
    data = rows(4)
    model = classifier(attn_implementation=attention)
    batch = Head().collate(data)
    with torch.no_grad(), tinybert.capture(model) as seen:
        out = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], output_hidden_states=True)
    for number, state in enumerate(out.hidden_states):
        assert torch.equal(seen.states[number], state)
    with torch.no_grad():
        plain = classifier(attn_implementation="eager")
        probabilities = plain(
            input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], output_attentions=True
        ).attentions
    hidden = (batch["attention_mask"] == 0)[:, None, None, :]
    for layer in range(1, 5):
        ours = seen.scores(layer).masked_fill(hidden, float("-inf")).softmax(-1)
        torch.testing.assert_close(ours, probabilities[layer - 1], atol=1e-6, rtol=1e-4)


def test_capture_leaves_no_hook_behind():
    model = classifier()
    with pytest.raises(ZeroDivisionError), tinybert.capture(model):
        assert any(module._forward_hooks for module in model.modules())
        raise ZeroDivisionError
    assert not any(module._forward_hooks for module in model.modules())


def test_identical_student_loses_nothing_but_the_teacher_s_entropy():
    teacher, batch = classifier(), Head().collate(rows())
    student = copy.deepcopy(teacher)
    tiny = TinyBert(Head(), teacher)
    with tiny.attached(student):
        losses = tiny.losses(student, batch)
        tiny(student, batch).backward()
    for name in ("embedding", "hidden", "attention"):
        assert torch.equal(losses[name], torch.zeros(6)), name
    with torch.no_grad():
        logits = Head().logits(teacher, batch)
    np.testing.assert_allclose(losses["prediction"].detach(), entropy(softmax(logits.numpy(), 1), axis=1), rtol=1e-5)
    assert max(p.grad.abs().max() for p in student.parameters() if p.grad is not None) < 1e-6
    assert all(p.grad is None for p in teacher.parameters())


def test_losses_against_plain_loops():
    teacher, student, batch = classifier(), classifier(seed=3, num_hidden_layers=2), Head().collate(rows())
    tiny = TinyBert(Head(), teacher)
    with torch.no_grad(), tiny.attached(student), tinybert.capture(teacher) as t:
        Head().logits(teacher, batch)
        with tinybert.capture(student) as s:
            Head().logits(student, batch)
        tiny.projection.weight.normal_()
        losses = tiny.losses(student, batch)
        for i, n in enumerate(batch["attention_mask"].sum(1).tolist()):
            hidden = sum(
                F.mse_loss(s.states[m][i, :n] @ tiny.projection.weight.t(), t.states[g][i, :n])
                for m, g in ((1, 2), (2, 4))
            )
            scores = sum(F.mse_loss(s.scores(m)[i, :, :n, :n], t.scores(g)[i, :, :n, :n]) for m, g in ((1, 2), (2, 4)))
            torch.testing.assert_close(losses["hidden"][i], hidden)
            torch.testing.assert_close(losses["attention"][i], scores)


def test_padding_counts_nowhere():
    teacher, data = classifier(), rows(1)
    student, tiny = classifier(seed=1), TinyBert(Head(), teacher)
    batch = Head().collate(data)
    padded = {name: F.pad(tensor, (0, 5)) for name, tensor in batch.items() if name != "labels"}
    with torch.no_grad(), tiny.attached(student):
        alone, beside = tiny.losses(student, batch), tiny.losses(student, padded)
    for name in alone:
        torch.testing.assert_close(alone[name], beside[name], atol=1e-5, rtol=1e-5)


def test_the_projection_is_trained_and_taken_away_again():
    teacher, data = classifier(), rows(8)
    student, tiny = shrink(teacher, 2, 16), TinyBert(None, teacher, prediction=0)
    keys, batch = set(student.state_dict()), Head().collate(data)
    with pytest.raises(UsageError, match="attached"):
        tiny(student, batch)
    with tiny.attached(student) as carrying:
        assert set(student.state_dict()) - keys == {"tinybert_projection.weight"}
        optimizer = torch.optim.Adam(carrying.parameters(), 1e-2)
        before, losses = tiny.projection.weight.detach().clone(), []
        for _ in range(30):
            optimizer.zero_grad()
            losses.append(tiny(student, batch))
            losses[-1].backward()
            optimizer.step()
    assert losses[-1] < 0.5 * losses[0] and not torch.equal(before, tiny.projection.weight)
    assert set(student.state_dict()) == keys and not hasattr(student, "tinybert_projection")
    with pytest.raises(ZeroDivisionError), tiny.attached(student):
        raise ZeroDivisionError
    assert set(student.state_dict()) == keys


def test_tinybert_refuses_what_does_not_fit():
    teacher = classifier()
    with pytest.raises(UsageError, match="method"):
        TinyBert(None, teacher)
    for student, message in (
        (classifier(num_attention_heads=4), "num_attention_heads"),
        (classifier(vocab_size=teacher.config.vocab_size + 10), "vocab_size"),
        (classifier(num_hidden_layers=5), "1 to 4"),
        (torch.nn.Linear(2, 2), "BERT-like"),
    ):
        with pytest.raises(UsageError, match=message), TinyBert(Head(), teacher).attached(student):
            pass
    with TinyBert(Head(), teacher, attention=0).attached(classifier(num_attention_heads=4)):
        pass
    with TinyBert(Head(), teacher).attached(classifier(vocab_size=teacher.config.vocab_size - 2)):
        pass  # the teacher knows soft tokens besides


def test_a_teacher_with_other_labels_is_refused():
    teacher, student = classifier(), classifier(seed=1)
    with TinyBert(Head(), teacher).attached(student):
        pass  # nobody named them
    teacher.config.id2label, student.config.id2label = dict(enumerate("abc")), dict(enumerate("acb"))
    with pytest.raises(UsageError, match=r"same labels, in the same order: \['a', 'c', 'b'\], \['a', 'b', 'c'\]"):
        with TinyBert(Head(), teacher).attached(student):
            pass
    with TinyBert(None, teacher, prediction=0).attached(student):
        pass  # layers have no labels
    student.config.id2label = dict(teacher.config.id2label)
    with TinyBert(Head(), teacher).attached(student):
        pass


def test_shrink_at_equal_width_copies_every_kth_layer():
    torch.manual_seed(0)
    teacher = BertForMaskedLM(config())
    student = shrink(teacher, 2, 32)
    mine, theirs = student.state_dict(), teacher.state_dict()
    for name, tensor in mine.items():
        source = name.replace("layer.1.", "layer.3.").replace("layer.0.", "layer.1.")
        assert torch.equal(tensor, theirs[source]), name
    assert shrink(teacher, 4, 32)(torch.tensor([[1, 2]])).logits.equal(teacher(torch.tensor([[1, 2]])).logits)


@pytest.mark.parametrize("make", [BertForMaskedLM, BertModel, BertForSequenceClassification])
def test_shrink_to_a_smaller_width(make):
    torch.manual_seed(0)
    teacher = make(config())
    with torch.no_grad():
        teacher.get_input_embeddings().weight.copy_(torch.randn(VOCABULARY, 32) * torch.logspace(0, -2, 32) + 0.1)
    student = shrink(teacher, 2, 12, seed=5)
    assert type(student) is make and student.config.hidden_size == 12 and student.config.intermediate_size == 18
    table = teacher.get_input_embeddings().weight.detach().double().numpy()
    small = student.get_input_embeddings().weight.detach().double().numpy()
    best = np.linalg.svd(table, compute_uv=False)
    fitted = small @ np.linalg.lstsq(small, table, rcond=None)[0]
    np.testing.assert_allclose(np.linalg.norm(table - fitted), np.linalg.norm(best[12:]), rtol=1e-4)  # Eckart–Young
    assert small.std() == pytest.approx(table.std(), rel=1e-5)
    again = shrink(teacher, 2, 12, seed=5).state_dict()
    assert all(torch.equal(tensor, again[name]) for name, tensor in student.state_dict().items())
    other = shrink(teacher, 2, 12, seed=6).state_dict()
    assert not torch.equal(
        other[next(k for k in other if "query.weight" in k)], again[next(k for k in again if "query.weight" in k)]
    )


def test_shrink_keeps_ties_biases_and_the_random_state():
    torch.manual_seed(0)
    teacher = BertForMaskedLM(config()).eval()
    torch.nn.init.normal_(teacher.cls.predictions.bias)
    state = torch.get_rng_state()
    student = shrink(teacher, 1, 16)
    assert torch.equal(state, torch.get_rng_state()) and not student.training
    assert student.cls.predictions.decoder.weight is student.bert.embeddings.word_embeddings.weight
    assert torch.equal(student.cls.predictions.bias, teacher.cls.predictions.bias)
    for layers, hidden in ((1, 15), (1, 64), (5, 16), (0, 16)):
        with pytest.raises(UsageError):
            shrink(teacher, layers, hidden)


def test_other_members_of_the_family():
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 20}
    teacher = RobertaModel(RobertaConfig(vocab_size=VOCABULARY, max_position_embeddings=30, **sizes)).eval()
    student, tiny = shrink(teacher, 1, 8), TinyBert(None, teacher, prediction=0)
    with tiny.attached(student):
        assert tiny(student, Head().collate(rows(labels=False))).isfinite()


def test_a_student_learns_from_the_teacher_alone():
    teacher, data = classifier(), rows(32, labels=False)
    with torch.no_grad():
        teacher.classifier.weight.mul_(60)
        teacher.classifier.bias.sub_(torch.from_numpy(teacher_logits(teacher, Head(), data).mean(0)))
    target = teacher_logits(teacher, Head(), data)
    student, distil = shrink(teacher, 1, 16), Distill(Head())
    batch = distil.collate(join_teacher(data, target), None)
    optimizer = torch.optim.Adam(student.parameters(), 2e-3)
    for _ in range(200):
        optimizer.zero_grad()
        distil(student, batch).backward()
        optimizer.step()
    agreement = (teacher_logits(student, Head(), data).argmax(1) == target.argmax(1)).mean()
    assert agreement > 0.9 > np.bincount(target.argmax(1)).max() / 32


def test_answers_are_kept_and_a_stop_loses_none(tmp_path, monkeypatch):
    """Every CHUNK rows are saved; who goes on asks for the rest alone, in the order of the rows."""
    monkeypatch.setattr(distill, "CHUNK", 4)
    model, file, many = classifier(), tmp_path / "answers.safetensors", rows(11)
    plain = teacher_logits(model, Head(), many, batch_size=3)

    class Stops(Head):
        def __init__(self, calls):
            self.calls = calls

        def logits(self, model, batch):
            self.calls -= 1
            if self.calls < 0:
                raise KeyboardInterrupt
            return super().logits(model, batch)

    with pytest.raises(KeyboardInterrupt):
        teacher_logits(model, Stops(3), many, batch_size=3, keep=file)
    assert load_file(file)["answers"].shape == (4, CLASSES)
    found = teacher_logits(model, Stops(4), many, batch_size=3, keep=file)  # of 4 and 3 rows: two batches each
    np.testing.assert_allclose(found, plain, atol=1e-5)
    np.testing.assert_array_equal(teacher_logits(model, Stops(0), many, keep=file), found)
    data = bytearray(file.read_bytes())
    data[-4] ^= 1  # a bit of the last answer
    file.write_bytes(data)
    with pytest.raises(CheckpointError, match="altered since it was written; delete the file"):
        teacher_logits(model, Stops(0), many, keep=file)


def test_answers_of_other_rows_or_another_teacher_are_refused(tmp_path):
    """As many rows, as many classes: only what vouches for the file tells them apart."""
    file = tmp_path / "answers.safetensors"
    teacher_logits(classifier(), Head(), rows(3), keep=file)
    for teacher, given in ((classifier(), rows(3, seed=1)), (classifier(1), rows(3)), (classifier(), rows(2))):
        with pytest.raises(CheckpointError, match=r"answers\.\w+: .* of other rows or another teacher; delete"):
            teacher_logits(teacher, Head(), given, keep=file)
    file.write_bytes(b"\x93NUMPY\x01")
    with pytest.raises(CheckpointError, match="cannot be loaded.*delete the file"):
        teacher_logits(classifier(), Head(), rows(3), keep=file)
