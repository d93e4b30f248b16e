"""Ternary and binary weights: brute force, the split's identities, packing, training, files."""

from __future__ import annotations

import copy
import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F
from transformers import BertConfig, BertForSequenceClassification

from labkit import measure
from labkit.checkpoints import load_tensors, save_tensors
from labkit.compression import aware, binary, ternary
from labkit.compression.landscape import landscape, losses_along
from labkit.compression.packed import minmax, pack, rounded, unpack
from labkit.errors import CheckpointError, UsageError

KINDS = {"ternary": ternary, "binary": binary}
SIZES = {"vocab_size": 97, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
weights = st.tuples(st.integers(1, 6), st.integers(1, 40), st.integers(0, 2**31))


def bert(seed: int = 0) -> BertForSequenceClassification:
    torch.manual_seed(seed)
    settings = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "max_position_embeddings": 40}
    return BertForSequenceClassification(BertConfig(**SIZES, **settings)).eval()


def logits(model: nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model(torch.arange(24).view(2, 12)).logits


def drawn(shape) -> torch.Tensor:
    rows, columns, seed = shape
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.standard_normal((rows, columns)) * np.exp(rng.uniform(-3, 3, (rows, 1))))


def error(weight, codes, scale):
    return float((weight - codes * scale).square().sum())


# Codes


def test_twn_on_paper():
    codes, scale = ternary.twn(torch.tensor([[1.0, -0.2, 0.6, -0.2]]))  # the threshold is 0.7 · 0.5
    assert codes.tolist() == [[1, 0, 1, 0]] and float(scale) == pytest.approx(0.8)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.floats(-9, 9, width=32), min_size=1, max_size=6))
def test_nearest_is_the_best_of_all_ternary_matrices(values):
    """Against every code vector, each with its own best scale."""
    w = torch.tensor([values], dtype=torch.float64)
    best = float(w.square().sum())
    for codes in itertools.product((-1, 0, 1), repeat=len(values)):
        b = torch.tensor([codes], dtype=torch.float64)
        if b.any() and (scale := float((b * w).sum() / b.square().sum())) > 0:
            best = min(best, error(w, b, scale))
    assert error(w, *ternary.nearest(w)) == pytest.approx(best, rel=1e-9, abs=1e-9)
    assert error(w, *ternary.twn(w)) >= best - 1e-9


@settings(deadline=None, max_examples=60)
@given(weights, st.booleans())
def test_scales_are_least_squares_for_their_codes(shape, rows):
    w = drawn(shape)
    for rule in (ternary.twn, ternary.nearest, binary.bwn):
        codes, scale = rule(w, rows)
        assert scale.shape == ((len(w), 1) if rows else (1, 1))
        for factor in (0.99, 1.01):
            assert error(w, codes, scale * factor) >= error(w, codes, scale) - 1e-12


@settings(deadline=None, max_examples=60)
@given(weights, st.booleans())
def test_loss_aware_never_ends_above_twn(shape, rows):
    w = drawn(shape)
    d = drawn((len(w), w.shape[1], shape[2] + 1)).square()
    ours, theirs = (
        float((d * (w - codes * scale).square()).sum())
        for codes, scale in (ternary.loss_aware(w, d, rows), ternary.twn(w, rows))
    )
    assert ours <= theirs * (1 + 1e-9) + 1e-20


def test_loss_aware_spares_what_the_loss_minds():
    """The small weight matters a hundred times as much, so the scale is its size; `twn` makes it 0."""
    w, d = torch.tensor([[0.55, 1.0, 1.0]]), torch.tensor([[100.0, 1.0, 1.0]])
    codes, scale = ternary.loss_aware(w, d)
    assert error(w[:, :1], codes[:, :1], scale) < error(w[:, :1], ternary.twn(w)[0][:, :1], ternary.twn(w)[1])
    assert codes[0, 0] == 1


# Splitting


@settings(deadline=None, max_examples=80)
@given(st.tuples(st.integers(1, 6), st.integers(24, 80), st.integers(0, 2**31)), st.booleans())
def test_halves_add_up_to_the_weight_and_their_signs_to_the_codes(shape, rows):
    w = drawn(shape)
    try:
        first, second = binary.split(w, rows)
    except UsageError:
        assert rows or len(w) * w.shape[1] < 200  # a short row may have no split
        return
    torch.testing.assert_close(first + second, w, rtol=0, atol=1e-12 * float(w.abs().max()))
    (c1, s1), (c2, s2), (codes, scale) = binary.bwn(first, rows), binary.bwn(second, rows), ternary.twn(w, rows)
    torch.testing.assert_close(c1 * s1 + c2 * s2, codes * scale, rtol=1e-12, atol=1e-12 * float(scale.max()))


def test_what_cannot_be_split_is_said_and_nothing_is_changed():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[1].weight.data.fill_(1.0)  # no code is 0
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(UsageError, match="cannot be split"):
        binary.split_layers(model, ["0", "1"])
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_a_row_of_zeros_stays_one():
    first, second = binary.split(torch.stack([torch.zeros(50), torch.randn(50)]), rows=True)
    assert not first[0].any() and not second[0].any() and first[1].any()


def test_a_split_model_answers_as_the_ternary_one():
    model = bert()
    model.get_input_embeddings().weight.data[0] = 0
    names = [name for name, module in model.named_modules() if type(module) is nn.Linear and "encoder" in name]
    names.append("bert.embeddings.word_embeddings")
    teacher = aware.finish(
        aware.prepare(copy.deepcopy(model), ternary.twn, ["pooler.dense", "classifier", "re:position|type"])
    )
    student = aware.finish(
        aware.prepare(binary.split_layers(model, names), binary.bwn, ["pooler.dense", "classifier", "re:position|type"])
    )
    torch.testing.assert_close(logits(student), logits(teacher), rtol=1e-4, atol=1e-5)


def test_two_binary_matrices_without_a_split():
    """The second takes what the first leaves over, so the sum of both is nearer to the weight than any one is."""
    model = nn.Sequential(nn.Linear(30, 20))
    w = model[0].weight.detach().clone()
    binary.split_layers(model, ["0"], binary.left_over)
    (c1, s1), (c2, s2) = (binary.bwn(half.weight.detach()) for half in (model[0].first, model[0].second))
    torch.testing.assert_close(model[0].second.weight.detach(), w - c1 * s1)
    assert error(w, 1, c1 * s1 + c2 * s2) < error(w, *ternary.twn(w)) < error(w, c1, s1)


# Packing


@settings(deadline=None, max_examples=80)
@given(st.integers(1, 2), st.lists(st.integers(0, 2), min_size=0, max_size=40), st.integers(1, 3))
def test_unpacking_is_the_inverse(bits, numbers, rows):
    codes = torch.tensor([[n - 1 if bits == 2 else 1 - 2 * (n % 2) for n in numbers]] * rows, dtype=torch.int8)
    packed = pack(codes, bits)
    assert packed.shape == (rows, -(-len(numbers) * bits // 8)) and packed.dtype == torch.uint8
    assert torch.equal(unpack(packed, bits, len(numbers)), codes)


def test_no_other_code_is_packed():
    for codes, bits, said in (([2], 2, "code 2"), ([0], 1, "code 0"), ([1], 3, "in 1 or 2 bits")):
        with pytest.raises(UsageError, match=said):
            pack(torch.tensor([codes], dtype=torch.int8), bits)


@settings(deadline=None, max_examples=60)
@given(weights)
def test_rounded_activations_are_within_half_a_step_and_keep_their_gradient(shape):
    x = drawn(shape).float().requires_grad_()
    q, step, low = minmax(x.detach())
    assert int(q.min()) >= -128 and q.dtype == torch.int8
    assert ((rounded(x) - x).abs() <= step / 2 * (1 + 1e-4) + 1e-6).all()
    rounded(x).sum().backward()
    assert torch.equal(x.grad, torch.ones_like(x))
    constant = minmax(torch.full((2, 5), 3.0))
    assert torch.equal(constant[1] * (constant[0] + 128) + constant[2], torch.full((2, 5), 3.0))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bias", [True, False])
def test_a_packed_layer_is_the_float_product_of_its_codes(kind, bias):
    """By numpy in floats: rounded activations times scaled codes; it trains what is before it."""
    torch.manual_seed(0)
    layer = nn.Linear(37, 11, bias=bias)
    codes, scale = (ternary.twn if kind == "ternary" else binary.bwn)(layer.weight.detach())
    x = torch.randn(3, 5, 37)
    q, step, low = (part.double().numpy() for part in minmax(x))
    wanted = (step * (q + 128) + low) @ (codes * scale).double().numpy().T
    wanted = wanted + (layer.bias.detach().double().numpy() if bias else 0)
    KINDS[kind].apply(layer)
    with torch.no_grad():
        np.testing.assert_allclose(layer(x).numpy(), wanted, rtol=1e-4, atol=1e-5)
    x.requires_grad_()
    layer(x).sum().backward()
    torch.testing.assert_close(x.grad, (codes * scale).sum(0).expand_as(x))
    x.data[0, 0, 0] = torch.nan
    assert layer(x)[0, 0].isnan().all() and not layer(x)[1].isnan().any()


# Training


@pytest.mark.parametrize("rule", [ternary.twn, binary.bwn, None])
@pytest.mark.parametrize("activations", [True, False])
def test_gradients_are_those_of_the_shown_weights(rule, activations):
    torch.manual_seed(0)
    layer, x = nn.Linear(20, 7), torch.randn(4, 20)
    aware.prepare(layer, rule, activations=activations)
    shown = layer.shown().detach().requires_grad_()
    target = F.linear(rounded(x) if activations else x, shown, layer.bias.detach()).square().sum()
    (expected,) = torch.autograd.grad(target, shown)
    layer(x).square().sum().backward()
    torch.testing.assert_close(layer.weight.grad, expected)


def test_the_loss_aware_rule_follows_adams_average():
    torch.manual_seed(0)
    layer, x = nn.Linear(6, 2, bias=False), torch.randn(9, 6)
    aware.prepare(layer, None)
    squares = []
    for _ in range(3):
        layer.weight.grad = None
        layer(x).square().sum().backward()
        squares.append(layer.weight.grad.square())
    wanted = squares[0] * 0.999**2 + 0.001 * (0.999 * squares[1] + squares[2])
    torch.testing.assert_close(layer.curvature, wanted)
    wanted = ternary.loss_aware(layer.weight.detach(), wanted.sqrt())
    torch.testing.assert_close(layer.shown().detach(), wanted[0] * wanted[1])


@pytest.mark.parametrize(("kind", "rule"), [("ternary", ternary.twn), ("ternary", None), ("binary", binary.bwn)])
def test_what_was_trained_is_what_is_stored(kind, rule, tmp_path):
    """Prepared, trained, finished, packed, saved, loaded: always the same answers."""
    model, ids = aware.prepare(bert(), rule), torch.arange(24).view(2, 12)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    for _ in range(3):
        optimizer.zero_grad()
        model(ids, labels=torch.tensor([0, 1])).loss.backward()
        optimizer.step()
    trained = logits(model)
    finished = aware.finish(model)
    numbers = {name: value.clone() for name, value in finished.state_dict().items()}
    float_bytes = measure.bytes_on_disk(finished)
    packed = KINDS[kind].apply(finished)
    torch.testing.assert_close(logits(packed), trained, rtol=1e-4, atol=1e-5)
    KINDS[kind].save(packed, tmp_path / "model.safetensors")
    torch.testing.assert_close(logits(KINDS[kind].load(bert(1), tmp_path / "model.safetensors")), logits(packed))
    assert measure.bytes_on_disk(packed) < float_bytes / 3  # most of a file this small is names
    KINDS[kind].undo(packed)
    for name, value in packed.state_dict().items():
        torch.testing.assert_close(value, numbers[name], rtol=1e-6, atol=0)


def test_a_binary_layer_learns():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 2))
    x = torch.randn(256, 8)
    y = (x[:, 0] * x[:, 1] > 0).long()
    aware.prepare(model, binary.bwn)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    losses = []
    for _ in range(150):
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.85 * losses[0]


def test_the_full_weights_behind_the_codes_can_be_had_back():
    model = bert()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    aware.finish(aware.prepare(model, ternary.twn), full=True)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_the_loss_along_a_direction():
    """Of a linear layer and a linear loss it is a straight line, whose slope is that of the direction."""
    layer, x = nn.Linear(7, 3), torch.randn(5, 7)
    before, at = layer.weight.detach().clone(), (-0.5, 0.0, 1.0, 2.0)
    low, start, one, two = losses_along(layer, lambda model: model(x).sum(), at, seed=3)
    assert start == pytest.approx(float(layer(x).sum()), rel=1e-4) and two - one == pytest.approx(one - start, rel=1e-3)
    assert start - low == pytest.approx((one - start) / 2, rel=1e-3) and torch.equal(layer.weight, before)
    way = torch.randn(3, 7, generator=torch.Generator().manual_seed(3)) * before.abs().mean()
    assert one - start == pytest.approx(float((x @ way.T).sum()), rel=1e-3)
    aware.prepare(layer, binary.bwn, activations=False)  # the codes follow the weights that are moved
    moved = losses_along(layer, lambda model: model(x).sum(), (0.0, 1.0), seed=3)
    codes, scale = binary.bwn(before + way)
    assert moved[1] == pytest.approx(float(F.linear(x, codes * scale, layer.bias).sum()), rel=1e-3)
    assert landscape({"a": moved}, (0, 1)).alt.endswith(f"a: 0: {moved[0]:.2f}, 1: {moved[1]:.2f}.")


def test_what_training_and_storing_refuse(tmp_path):
    model = aware.prepare(bert(), ternary.twn)
    with pytest.raises(UsageError, match="prepared already"):
        aware.prepare(model, ternary.twn)
    aware.finish(model)
    with pytest.raises(UsageError, match="module key"):
        aware.prepare(model, ternary.twn, ["atention"])
    broken = bert()
    broken.classifier.weight.data[0, 0] = torch.nan
    with pytest.raises(UsageError, match="classifier: NaN or infinite weights, which ternary cannot hold"):
        ternary.apply(broken)
    ternary.save(ternary.apply(model), tmp_path / "ternary.safetensors")
    with pytest.raises(UsageError, match="is quantised"):
        aware.prepare(model, ternary.twn)
    with pytest.raises(CheckpointError, match=r"not written by labkit\.compression\.binary\.save"):
        binary.load(bert(), tmp_path / "ternary.safetensors")
    tensors, notes = load_tensors(tmp_path / "ternary.safetensors", "")
    save_tensors(tmp_path / "new.safetensors", tensors, **{**notes, "labkit.ternary.version": "2"})
    with pytest.raises(CheckpointError, match=r"new\.safetensors: its codes are of version 2"):
        ternary.load(bert(), tmp_path / "new.safetensors")
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "ternary.safetensors").read_bytes()[:-9])
    with pytest.raises(CheckpointError, match=r"cut\.safetensors: cannot be loaded"):
        ternary.load(bert(), tmp_path / "cut.safetensors")
