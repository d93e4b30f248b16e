"""The parts against closed forms: LoRA by hand, Kronecker sums dense, adapters by formula, the ladder's memory."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from labkit import measure
from labkit.fewshot.delta_tuning import IA3, BitFit, Compacter, Ladder, LoRA, Parallel, Serial, trained_tensors
from labkit.fewshot.delta_tuning.compacter import KroneckerLinear
from tests.fewshot.delta_models import BATCH, make, outputs, train, trained

D, FFN, LAYERS = 32, 64, 3


def counted(delta, kind="bert"):
    return measure.trainable(delta.attach(make(kind)))


def test_trained_weights_are_as_many_as_the_formulas_say():
    r, n, k = 8, 4, 2
    adapter = r * (D + D) + r + D
    assert counted(Serial(bottleneck=r)) == 2 * LAYERS * adapter
    assert counted(Serial(bottleneck=r), "albert") == 2 * adapter  # one layer, used three times
    assert counted(Parallel(bottleneck=r)) == LAYERS * adapter
    assert counted(LoRA(rank=r)) == 2 * LAYERS * r * (D + D)
    assert counted(LoRA(rank=r, targets=("intermediate.dense",))) == LAYERS * r * (D + FFN)
    assert counted(IA3()) == LAYERS * (D + D + FFN)
    assert counted(Compacter(bottleneck=r, factors=n, rank=k)) == n**3 + 2 * LAYERS * (2 * k * (D + r) + r + D)
    biases = sum(p.numel() for name, p in make().bert.named_parameters() if name.endswith("bias"))
    assert counted(BitFit()) == biases == D + LAYERS * (6 * D + FFN + 2 * D - D)  # LayerNorms: 1 below, 2 a layer
    side = D // 4
    block = 3 * side * (side + 1) + side * (side + 1) + 2 * 4 * side * side + 5 * side + 4 * side
    assert counted(Ladder(reduction=4)) == LAYERS * (D * side + side + 1 + block) + side * D + D


def test_lora_is_w_plus_ba():
    model = trained(LoRA(rank=4, alpha=6.0))
    values, answers, plain = trained_tensors(model), outputs(model), make()
    for layer in range(LAYERS):
        for part in ("query", "value"):
            place = f"bert.encoder.layer.{layer}.attention.self.{part}"
            a, b = values[f"{place}.lora_A.lora.weight"], values[f"{place}.lora_B.lora.weight"]
            assert a.shape == (4, D) and b.shape == (D, 4)
            plain.get_submodule(place).weight.data += 6.0 / 4 * (b @ a).detach()
    torch.testing.assert_close(outputs(plain), answers, rtol=1e-5, atol=1e-5)


def test_ia3_scales_keys_values_and_the_inner_activations():
    model = trained(IA3())
    values, answers, plain = trained_tensors(model), outputs(model), make()
    for layer in range(LAYERS):
        top = f"bert.encoder.layer.{layer}"
        for place in (f"{top}.attention.self.key", f"{top}.attention.self.value"):
            scale, linear = values[f"{place}.ia3_l.ia3"].detach(), plain.get_submodule(place)
            linear.weight.data *= scale
            linear.bias.data *= scale.flatten()
        plain.get_submodule(f"{top}.output.dense").weight.data *= values[f"{top}.output.dense.ia3_l.ia3"].detach()
    torch.testing.assert_close(outputs(plain), answers, rtol=1e-5, atol=1e-5)


def seen(module):
    """What a module is given and gives, filled as the model runs."""
    calls = []
    module.register_forward_hook(lambda _, args, out: calls.append((args[0].detach(), out.detach())))
    return calls


def test_a_serial_adapter_is_added_behind_its_module():
    model = make()
    dense = model.bert.encoder.layer[1].output.dense
    trained_model = train(Serial(bottleneck=4, scale=0.5, targets=("layer.1.output.dense",)).attach(model))
    calls = seen(dense)
    outputs(trained_model)
    x, out = calls[0]
    adapter = dense.serial_adapter
    h = nn.functional.linear(x, dense.weight, dense.bias)
    z = nn.functional.gelu(h @ adapter.down.weight.T + adapter.down.bias)
    torch.testing.assert_close(out, h + 0.5 * (z @ adapter.up.weight.T + adapter.up.bias))
    assert (out - h).abs().max() > 1e-3


def test_a_parallel_adapter_reads_the_sub_layers_input():
    model = train(Parallel(bottleneck=4).attach(make()))
    layer = model.bert.encoder.layer[2]
    entered, left = seen(layer.intermediate.dense), seen(layer.output.dense)
    outputs(model)
    x, (inner, out) = entered[0][0], left[0]
    adapter = layer.output.dense.parallel_adapter
    h = nn.functional.linear(inner, layer.output.dense.weight, layer.output.dense.bias)
    torch.testing.assert_close(out, h + adapter.up(torch.relu(adapter.down(x))))
    assert not layer.output.dense.parallel_exit.held  # nothing is kept between two passes
    both = train(Parallel(bottleneck=4, targets=("attention.self.query",)).attach(make()))
    query = both.bert.encoder.layer[0].attention.self.query
    calls = seen(query)
    outputs(both)
    x, out = calls[0]
    torch.testing.assert_close(out, nn.functional.linear(x, query.weight, query.bias) + query.parallel_adapter(x))


@settings(max_examples=25, deadline=None)
@given(n=st.integers(1, 4), p=st.integers(1, 4), q=st.integers(1, 4), k=st.integers(1, 3), seed=st.integers(0, 99))
def test_a_kronecker_layer_is_its_dense_matrix(n, p, q, k, seed):
    torch.manual_seed(seed)
    layer = KroneckerLinear(n * p, n * q, nn.Parameter(torch.randn(n, n, n)), k).double()
    nn.init.normal_(layer.bias)
    x = torch.randn(2, 3, n * p, dtype=torch.double)
    dense = torch.zeros(n * p, n * q, dtype=torch.double)
    for i in range(n):  # entry by entry: (A ⊗ B)[a·p + b, c·q + d] = A[a, c] B[b, d]
        b = layer.s[i] @ layer.t[i]
        for row in range(n * p):
            for column in range(n * q):
                dense[row, column] += layer.a[i, row // p, column // q] * b[row % p, column % q]
    torch.testing.assert_close(layer(x), x @ dense + layer.bias)


def test_compacters_adapters_share_one_a():
    model = trained(Compacter(bottleneck=8))
    shared = {id(m.a) for m in model.modules() if isinstance(m, KroneckerLinear)}
    assert len(shared) == 1 and sum(name.endswith(".a") for name in trained_tensors(model)) == 1


# The ladder


def kept_for_backward(model):
    """The tensors that autograd keeps in a forward pass, weights apart."""
    weights, kept = {p.data_ptr() for p in model.parameters()}, []

    def keep(tensor):
        if tensor.data_ptr() not in weights:
            kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model.bert(**BATCH)
    return kept


def test_no_backbone_activation_is_kept_for_the_ladder():
    wide = [t for t in kept_for_backward(Ladder(reduction=8).attach(make())) if t.ndim == 3 and t.shape[-1] in (D, FFN)]
    # What D·h needs: h itself, once a rung and once at the entrance. Nothing of attention or the feed-forward layers.
    assert len(wide) <= LAYERS + 1
    lora = [t for t in kept_for_backward(LoRA(rank=1).attach(make())) if t.ndim == 3 and t.shape[-1] in (D, FFN)]
    assert len(lora) > 3 * len(wide)


def test_no_gradient_enters_the_backbone_through_the_ladder():
    """Also where the backbone's states have a history, as beside another delta."""
    model = trained(Ladder(reduction=4))
    rung = model.bert.encoder.layer[2].ladder_rung
    entering, leaving = (torch.randn(2, 5, D, requires_grad=True) for _ in range(2))
    for side in (None, torch.randn(2, 5, D // 4)):
        leaving.grad = None
        rung.memory.put((None, side, LAYERS - 1))
        out = rung(entering, leaving)
        assert not torch.equal(out, leaving)
        out.sum().backward()
        assert entering.grad is None and torch.equal(leaving.grad, torch.ones_like(leaving))


def test_the_ladder_needs_less_memory_than_lora_and_lora_than_everything():
    def peak(delta):
        model = make(head=True)
        if delta is not None:
            delta.attach(model)
        model.train()
        ids = torch.randint(5, 50, (8, 32), generator=torch.Generator().manual_seed(2))

        def step():
            model(input_ids=ids, labels=torch.zeros(8, dtype=torch.long)).loss.backward()

        return measure.peak_memory(step)

    everything, lora, ladder = peak(None), peak(LoRA(rank=2)), peak(Ladder(reduction=8))
    assert ladder < 0.7 * lora < 0.7 * everything


@pytest.mark.parametrize("kind", ["bert", "albert", "distilbert"])
def test_the_ladder_by_hand(kind):
    """h_L + U s_L, from the hidden states that the model itself gives."""
    model = trained(Ladder(reduction=4), kind).double()
    body = model.base_model
    rungs = [m.ladder_rung for m in body.modules() if "ladder_rung" in m._modules]
    calls, plain = outputs_of(body), make(kind).double().base_model
    with torch.no_grad():
        states = plain(
            **BATCH, output_hidden_states=True
        ).hidden_states  # the backbone's are the ladder's, but the last
        first = (
            plain.encoder.embedding_hidden_mapping_in(states[0])
            if kind == "albert" and states[0].shape[-1] != D
            else states[0]
        )
        rungs = rungs * (LAYERS // len(rungs))
        hidden, side = BATCH["attention_mask"] == 0, rungs[0].down(first)
        for rung, state in zip(rungs, states[1:], strict=True):
            share = rung.gate.sigmoid()
            side = rung.block(share * rung.down(state) + (1 - share) * side, src_key_padding_mask=hidden)
        wanted = states[-1] + rungs[-1].up(side)
    text = BATCH["attention_mask"].bool()
    torch.testing.assert_close(calls[text], wanted[text], rtol=1e-6, atol=1e-6)
    assert (wanted - states[-1])[text].abs().max() > 1e-3


def outputs_of(body):
    with torch.no_grad():
        return body(**BATCH).last_hidden_state
