"""Pruning: exact shares, brute force, removed parts against masked ones, closed forms of gates and contrasts."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F
from transformers import BertConfig, BertForMaskedLM, BertForSequenceClassification

from labkit import measure
from labkit.checkpoints import save_tensors
from labkit.compression import int8
from labkit.compression.pruning import (
    CAP,
    HardConcrete,
    contrast,
    cubic,
    drop_layers,
    finish,
    gated,
    gradually,
    head_importance,
    layer_drop,
    prepare,
    prune,
    remove_heads,
    sparse_file,
    sparsity_of,
    two_of_four,
)
from labkit.compression.pruning.gates import closed, penalty
from labkit.compression.pruning.structure import masked_heads
from labkit.errors import CheckpointError, UsageError
from labkit.training import fit

SIZES = {"vocab_size": 97, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 48}
BATCH = {"input_ids": torch.arange(24).view(2, 12), "attention_mask": torch.ones(2, 12, dtype=torch.long)}
LABELLED = {**BATCH, "labels": torch.tensor([0, 1])}


class Method:
    """The least that a method is."""

    def loss(self, model, batch):
        return model(**{name: batch[name] for name in ("input_ids", "attention_mask", "labels")}).loss


def bert(seed: int = 0, **changes) -> BertForSequenceClassification:
    torch.manual_seed(seed)
    options = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "max_position_embeddings": 40}
    return BertForSequenceClassification(BertConfig(**SIZES | options | changes)).eval()


def logits(model: nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model(**BATCH).logits


def broken(model: nn.Module) -> nn.Module:
    model.classifier.weight.data.fill_(math.nan)
    return model


# Masks


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 9), st.integers(1, 30), st.floats(0, 0.99), st.sampled_from(["model", "matrix"]), st.booleans())
def test_exactly_the_smallest_are_left_out(rows, columns, sparsity, scope, ties):
    torch.manual_seed(rows * columns)
    model = nn.Sequential(nn.Linear(columns, rows), nn.Linear(rows, 5))
    if ties:
        for layer in model:
            layer.weight.data.round_(decimals=1)
    prune(prepare(model), sparsity, scope)
    for group in [list(model)] if scope == "model" else [[layer] for layer in model]:
        sizes = np.concatenate([layer.weight.detach().abs().numpy().ravel() for layer in group])
        masks = np.concatenate([layer.mask.numpy().ravel() for layer in group])
        gone = round(sparsity * len(sizes))
        assert (masks == 0).sum() == gone
        if 0 < gone < len(sizes):
            assert sizes[masks == 0].max() <= sizes[masks == 1].min()


def test_what_is_left_out_stays_out_while_the_rest_trains():
    model = prune(prepare(bert(), skip=["classifier"]), 0.5)
    masks = {name: module.mask.clone() for name, module in model.named_modules() if hasattr(module, "mask")}
    before = {name: model.get_submodule(name).weight.detach().clone() for name in masks}

    def on_step(step, loss):
        for name, mask in masks.items():
            layer = model.get_submodule(name)
            assert torch.equal(layer.mask, mask) and not ((1 - mask) * (layer.weight * layer.mask)).any()

    fit(model, Method().loss, [LABELLED], steps=4, lr=1e-2, on_step=on_step, progress=False)
    for name, mask in masks.items():
        moved = (model.get_submodule(name).weight.detach() != before[name]).float()
        assert (moved * mask).any(), name
    assert model.classifier.weight.all()
    answers = logits(model)
    torch.testing.assert_close(logits(finish(model)), answers)
    gone = sum(int((mask == 0).sum()) for mask in masks.values())
    total = sum(module.weight.numel() for module in model.modules() if isinstance(module, nn.Linear))
    assert sparsity_of(model) == pytest.approx(gone / total)
    assert type(model.bert.pooler.dense) is nn.Linear


def test_movement_is_the_sum_of_gradient_times_weight():
    torch.manual_seed(0)
    layer, x = prepare(nn.Linear(5, 3), "movement"), torch.randn(7, 5)
    layer.mask[0, :2] = 0
    wanted = torch.zeros(3, 5)
    for _ in range(3):
        masked = (layer.weight * layer.mask).detach().requires_grad_()
        (gradient,) = torch.autograd.grad(F.linear(x, masked, layer.bias).square().sum(), masked)
        wanted -= gradient * layer.weight.detach()
        layer.weight.grad = None
        layer(x).square().sum().backward()
        assert torch.equal(layer.weight.grad[0, :2], torch.zeros(2))  # what is left out does not move, but its score
        layer.weight.data -= 0.01 * layer.weight.grad
    torch.testing.assert_close(layer.score, wanted)
    assert wanted[0, :2].all()


def test_movement_leaves_out_a_large_weight_that_shrinks():
    layer = prepare(nn.Linear(2, 1, bias=False), "movement")
    layer.weight.data.copy_(torch.tensor([[3.0, 0.1]]))
    x, optimizer = torch.eye(2), torch.optim.SGD(layer.parameters(), 0.1)
    for _ in range(5):
        optimizer.zero_grad()
        (layer(x) - torch.tensor([[0.0], [1.0]])).square().sum().backward()
        optimizer.step()
    assert layer.weight[0, 0] > layer.weight[0, 1] > 0
    assert prune(layer, 0.5).mask.tolist() == [[0.0, 1.0]]


def test_two_of_every_four():
    layer = nn.Linear(8, 1, bias=False)
    layer.weight.data.copy_(torch.tensor([[1.0, -4, 3, 0, 5, 6, -7, 8]]))
    assert two_of_four(prepare(layer)).mask.tolist() == [[0, 1, 1, 0, 0, 0, 1, 1]]
    with pytest.raises(UsageError, match="multiple of 4"):
        two_of_four(prepare(nn.Linear(6, 2)))


def test_the_schedule():
    assert [cubic(step, 10, 30, 0.8) for step in (0, 10, 20, 30, 99)] == [0, 0, pytest.approx(0.7), 0.8, 0.8]
    model = prepare(nn.Linear(50, 50))
    found = []
    on_step = gradually(model, 0.9, 2, 9, every=3)
    for step in range(1, 12):
        on_step(step, 0.0)
        found.append(round(sparsity_of(model), 2))
    assert found == sorted(found) and found[0] == 0 and found[8:] == [0.9] * 3 and len(set(found)) == 3


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda: prune(prepare(nn.Linear(2, 2)), 1.0), "below 1"),
        (lambda: prune(prepare(nn.Linear(2, 2)), -0.1), "at least 0"),
        (lambda: prune(prepare(nn.Linear(2, 2)), math.nan), "sparsity=nan"),
        (lambda: prune(nn.Linear(2, 2), 0.5), "prepare"),
        (lambda: prepare(prepare(nn.Linear(2, 2))), "finish"),
        (lambda: prepare(nn.Linear(2, 2), "magnitde"), "did you mean 'magnitude'"),
        (lambda: prepare(bert(), skip=["clasifier"]), "module key"),
        (lambda: prepare(int8.apply(bert())), "is quantised"),
        (lambda: remove_heads(int8.apply(bert()), {0: [0]}), "is quantised"),
        (lambda: remove_heads(bert(), {0: [0, 1, 2, 3]}), "leave one"),
        (lambda: remove_heads(bert(), {0: [4]}), "heads that are there"),
        (lambda: remove_heads(bert(), {3: [0]}), "layer 3"),
        (lambda: drop_layers(bert(), []), "at least one"),
        (lambda: drop_layers(bert(), [0, 3]), "0 to 2"),
        (lambda: remove_heads(nn.Linear(2, 2), {}), "no BERT-like encoder"),
        (lambda: contrast(torch.eye(2), torch.eye(2), temperature=0), "temperature"),
        (lambda: HardConcrete(2, open_at_first=1.0), "between 0 and 1"),
        (lambda: head_importance(broken(bert()), Method().loss, [LABELLED]), "gradients of NaN"),
    ],
)
def test_what_is_refused(wrong, said):
    with pytest.raises(UsageError, match=said):
        wrong()


# Heads and layers


def test_removed_heads_are_masked_heads_and_leave_the_file(tmp_path):
    model, gone = bert(), {0: [1, 3], 2: [0]}
    masks = [torch.ones(4), torch.ones(4), torch.ones(4)]
    for layer, heads in gone.items():
        masks[layer][heads] = 0
    with masked_heads(model, masks):
        wanted = logits(model)
    small = remove_heads(copy.deepcopy(model), gone)
    torch.testing.assert_close(logits(small), wanted)
    head = 4 * 32 * 8 + 3 * 8  # query, key, value, output; three biases
    assert measure.parameters(model) - measure.parameters(small) == 3 * head
    assert measure.bytes_on_disk(model) - measure.bytes_on_disk(small) > 3 * head * 3.9
    fit(small, Method().loss, [LABELLED], steps=1, lr=1e-3, progress=False)


def test_importance_is_the_gradient_of_the_mask():
    """Against finite differences, and 0 for a head whose output nobody reads."""
    model = bert().double()
    model.bert.encoder.layer[1].attention.output.dense.weight.data[:, 8:16] = 0
    found = head_importance(model, Method().loss, [LABELLED])
    for layer, head in ((0, 2), (1, 0), (2, 3)):
        losses = []
        for step in (-1e-4, 1e-4):
            masks = [torch.ones(4, dtype=torch.float64) for _ in range(3)]
            masks[layer][head] += step
            with masked_heads(model, masks), torch.no_grad():
                losses.append(float(Method().loss(model, LABELLED)))
        assert float(found[layer][head]) == pytest.approx(abs(losses[1] - losses[0]) / 2e-4, rel=1e-3, abs=1e-7)
    assert found[1][1] == 0 and all((part >= 0).all() for part in found)


def test_layers_that_are_dropped_are_passed_by():
    model = bert()
    small = drop_layers(copy.deepcopy(model), [0, 2])
    layer = model.bert.encoder.layer[1]
    handle = layer.register_forward_hook(lambda _, given, output: given[0])
    torch.testing.assert_close(logits(small), logits(model))
    handle.remove()
    assert small.config.num_hidden_layers == 2


def test_layer_drop_leaves_out_its_share_while_training_only():
    model, full = bert(), logits(bert())
    seen = []
    model.bert.encoder.layer[2].register_forward_hook(lambda _, given, output: seen.append(given[0]))
    with layer_drop(model, 0.5), torch.no_grad():
        torch.testing.assert_close(logits(model), full)
        model.train()
        outputs = {round(float(model(**BATCH).logits[0, 0]), 5) for _ in range(60)}
    assert len(outputs) == 2**3
    torch.testing.assert_close(logits(model.eval()), full)


# Gates


def test_a_gate_is_open_as_often_as_the_closed_form_says():
    gate = HardConcrete(3)
    gate.log_alpha.data = torch.tensor([-2.0, 0.0, 3.0])
    drawn = torch.stack([gate() for _ in range(4000)])
    share, wanted = (drawn > 0).float().mean(0), gate.open()
    assert ((share - wanted).abs() < 4 * (wanted * (1 - wanted) / 4000).sqrt() + 1e-3).all()
    assert 0 <= drawn.min() and drawn.max() <= 1 and (drawn == 1).any()
    assert HardConcrete(1, 0.7).open().item() == pytest.approx(0.7)


def test_gates_that_cost_close_and_their_heads_can_go():
    model = bert()
    with gated(model) as gates:
        names = [name for name, _ in model.named_parameters() if "head_gates" in name]
        assert len(names) == 3
        model.train()
        optimizer = torch.optim.Adam(gates.parameters(), 0.1)
        for _ in range(80):
            optimizer.zero_grad()
            (penalty(gates) - 12 * gates[1].open()[0]).backward()
            optimizer.step()
        shut = closed(gates)
        model.eval()
        with_gates = logits(model)
    assert set(shut) == {0, 1, 2} and all(len(heads) == 3 for heads in shut.values()) and 0 not in shut[1]
    assert not hasattr(model, "head_gates") and with_gates.shape == (2, 2)
    remove_heads(model, shut)


# Contrasts


def test_the_contrast_is_its_formula():
    torch.manual_seed(0)
    mine, theirs, labels = torch.randn(4, 6), torch.randn(4, 6), torch.tensor([0, 1, 0, 1])
    cosine = F.cosine_similarity(mine[:, None], theirs[None], dim=-1) / 0.1
    alone = -np.mean([float(cosine[i, i] - cosine[i].logsumexp(0)) for i in range(4)])
    assert float(contrast(mine, theirs)) == pytest.approx(alone, rel=1e-5)
    same = -np.mean(
        [np.mean([float(cosine[i, j] - cosine[i].logsumexp(0)) for j in (i % 2, i % 2 + 2)]) for i in range(4)]
    )
    assert float(contrast(mine, theirs, labels)) == pytest.approx(same, rel=1e-5)


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_cap_adds_its_parts_and_trains_one_model_only(pooling):
    model, general, tuned = prune(prepare(bert()), 0.5), bert(1), bert(2)
    model.pooling = pooling
    plain = Method().loss(model, LABELLED).item()
    assert CAP(Method(), None, None)(model, LABELLED).item() == pytest.approx(plain)
    cap = CAP(Method(), general, tuned)
    cap.snapshot(model)

    def feature(one, batch):
        states = one.bert(**{name: batch[name] for name in ("input_ids", "attention_mask")}).last_hidden_state
        return states.mean(1) if pooling == "mean" else states[:, 0]  # no padding in this batch

    mine = feature(model, LABELLED)
    parts = [contrast(mine, feature(general, LABELLED))]
    for other in (tuned, finish(copy.deepcopy(model))):
        parts += [contrast(mine, feature(other, LABELLED), labels) for labels in (None, LABELLED["labels"])]
    loss = cap(model, LABELLED)
    assert float(loss) == pytest.approx(plain + 0.1 * float(sum(parts)), rel=1e-5)
    loss.backward()
    assert all(parameter.grad is None for other in (general, tuned) for parameter in other.parameters())


# Files


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 9), max_size=3), st.floats(0, 1), st.sampled_from([torch.float32, torch.float16]))
def test_a_tensor_comes_back_from_its_bits(shape, sparsity, kind):
    torch.manual_seed(len(shape))
    tensor = torch.randn(shape, dtype=kind)
    tensor[torch.rand(shape) < sparsity] = 0
    bits, values = sparse_file.pack(tensor)
    assert len(bits) == -(-tensor.numel() // 8) and len(values) == int((tensor != 0).sum())
    found = sparse_file.unpack(bits, values, tuple(shape))
    assert found.dtype == kind and torch.equal(found, tensor)


def test_zeros_cost_a_bit_in_a_sparse_file_and_a_number_in_a_plain_one(tmp_path):
    model = bert()
    full = measure.bytes_on_disk(model)
    finish(prune(prepare(model, skip=["classifier"]), 0.9))
    weights = sum(layer.weight.numel() for layer in model.modules() if isinstance(layer, nn.Linear))
    kept = sum(int((layer.weight != 0).sum()) for layer in model.modules() if isinstance(layer, nn.Linear))
    assert measure.bytes_on_disk(model) == full
    size = sparse_file.save(model, tmp_path / "model.safetensors")
    assert size == (tmp_path / "model.safetensors").stat().st_size
    tensors = len(model.state_dict())
    assert size == pytest.approx(full - 4 * weights + weights / 8 + 4 * kept, abs=100 * tensors)
    again = sparse_file.load(bert(1), tmp_path / "model.safetensors")
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())
    torch.testing.assert_close(logits(again), logits(model), rtol=0, atol=0)


def test_a_half_empty_matrix_in_fours_takes_17_of_32_bits():
    layer = finish(two_of_four(prepare(nn.Linear(64, 32, bias=False))))
    assert sum(part.nbytes for part in sparse_file.packed(layer.state_dict()).values()) == 64 * 32 * 17 / 8
    dense = nn.Linear(64, 32).state_dict()
    assert sparse_file.packed(dense).keys() == dense.keys()


def test_a_damaged_sparse_file_is_refused(tmp_path):
    path, model = tmp_path / "model.safetensors", finish(prune(prepare(bert()), 0.9))
    sparse_file.save(model, path)
    good = path.read_bytes()
    for data in (good[:-9], good[:-4] + bytes([good[-4] ^ 1]) + good[-3:]):
        path.write_bytes(data)
        with pytest.raises(CheckpointError, match="model.safetensors"):
            sparse_file.load(bert(), path)
    path.write_bytes(good)
    with pytest.raises(CheckpointError, match="no tensor of shape|has shape"):
        sparse_file.load(bert(hidden_size=64), path)
    save_tensors(path, measure.saved_tensors(model))
    with pytest.raises(CheckpointError, match="its form is None"):
        sparse_file.load(bert(), path)
    with pytest.raises(CheckpointError, match="no tensor of shape"):
        sparse_file.unpack(torch.tensor([128], dtype=torch.uint8), torch.zeros(2), (3,))
    with pytest.raises(CheckpointError, match="no tensor of shape"):  # the second bit lies behind the tensor's end
        sparse_file.unpack(torch.tensor([129], dtype=torch.uint8), torch.ones(2), (3,))


def test_masks_and_scores_are_kept_in_checkpoints_and_move_with_the_model(tmp_path):
    torch.manual_seed(0)
    layer, x = prepare(nn.Linear(6, 4), "movement"), torch.randn(3, 6)
    layer(x).square().sum().backward()
    prune(layer, 0.5)
    again = prepare(nn.Linear(6, 4), "movement")
    again.load_state_dict(layer.state_dict())
    assert torch.equal(again.score, layer.score) and torch.equal(again(x), layer(x)) and again.score.any()
    assert layer.double().score.dtype == torch.float64


def test_an_output_layer_that_shares_the_embeddings_has_no_mask():
    torch.manual_seed(0)
    model = BertForMaskedLM(BertConfig(**SIZES)).eval()
    before = model.get_input_embeddings().weight.detach().clone()
    prune(prepare(model), 0.9)
    answers = model(**BATCH).logits
    torch.testing.assert_close(finish(model)(**BATCH).logits, answers)
    assert torch.equal(model.get_input_embeddings().weight, before)


def test_zeros_have_no_sign():
    layer = finish(prune(prepare(nn.Linear(20, 20)), 0.8))
    assert not layer.weight[layer.weight == 0].signbit().any()


@pytest.mark.parametrize("change", [lambda model: prune(model, 0.5), two_of_four])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_no_numbers_are_refused_and_nothing_is_changed(change, value):
    model = prepare(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 8)))
    model[1].weight.data[0, 0] = value
    with pytest.raises(UsageError, match="8 × 4.*load the model again"):
        change(model)
    assert all(layer.mask.all() for layer in model)
