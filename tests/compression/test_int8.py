"""labkit.compression.int8: against numpy's integers, the error bound, and torch's own dynamic quantisation."""

from __future__ import annotations

import copy
import math
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn
from transformers import BertConfig, BertForMaskedLM

from labkit import measure
from labkit.checkpoints import SUM
from labkit.compression import int8
from labkit.errors import CheckpointError, UsageError
from labkit.foundations.encoder import model_inputs

SIZES = {"vocab_size": 97, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}


def bert(seed: int = 0, **changes) -> BertForMaskedLM:
    torch.manual_seed(seed)
    return BertForMaskedLM(BertConfig(**{**SIZES, "max_position_embeddings": 40, **changes})).eval()


def logits(model: nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model(torch.arange(24).view(2, 12)).logits


def by_numpy(x: np.ndarray, w: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """The same scheme in numpy's integers: x (t, n), w (o, n), bias (o,)."""

    def rounded(a):
        scale = np.abs(a).max(1, keepdims=True) / np.float32(127)
        return np.rint(a / np.where(scale == 0, np.float32(1), scale)).astype(np.int64), scale

    (qx, sx), (qw, sw) = rounded(x), rounded(w)
    return (qx @ qw.T).astype(np.float32) * sw.T * sx + bias


shapes = st.tuples(st.integers(1, 20), st.integers(1, 70), st.integers(1, 20), st.integers(0, 2**31), st.booleans())


def example(shape):
    tokens, n, out, seed, extreme = shape
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((tokens, n), np.float32) * np.exp(rng.uniform(-9, 9, (tokens, 1))).astype(np.float32)
    w = rng.standard_normal((out, n), np.float32)
    if extreme:
        x[rng.integers(tokens)] = 0
        w[rng.integers(out)] = 0
        x[rng.integers(tokens), rng.integers(n)] = 1e30
        w[rng.integers(out), rng.integers(n)] = 1e4
    layer = nn.Linear(n, out)
    layer.weight.data = torch.from_numpy(w.copy())
    return x, w, layer


@settings(deadline=None, max_examples=80)
@given(shapes)
def test_equal_to_numpy_integers(shape):
    x, w, layer = example(shape)
    quantised = int8.apply(layer)
    with torch.no_grad():
        out = quantised(torch.from_numpy(x)).numpy()
    assert quantised.integers.dtype == torch.int8 and out.dtype == np.float32
    np.testing.assert_array_equal(out, by_numpy(x, w, layer.bias.detach().numpy()))


@settings(deadline=None, max_examples=80)
@given(shapes)
def test_error_is_within_the_bound(shape):
    x, w, layer = example(shape)
    layer.register_parameter("bias", None)
    quantised = int8.apply(layer)
    with torch.no_grad():
        out = quantised(torch.from_numpy(x)).double().numpy()
    x, w = x.astype(np.float64), w.astype(np.float64)
    x_max, w_max = np.abs(x).max(1)[:, None], np.abs(w).max(1)[None]
    bound = x_max * np.abs(w).sum(1)[None] / 254 + w_max * np.abs(x).sum(1)[:, None] / 254
    bound += x.shape[1] * x_max * w_max / 254**2
    assert (np.abs(out - x @ w.T) <= bound * (1 + 1e-5) + 1e-30).all()


def test_the_bound_is_not_idle():
    """Seven bits instead of eight break it: a test of the test."""
    rng = torch.Generator().manual_seed(0)
    x, w = torch.randn(64, 48, generator=rng), torch.randn(64, 48, generator=rng)
    q, s = int8.quantise(w)
    coarse = (q.float() / 16).round() * 16 * s
    bound = x.abs().amax(1)[:, None] * w.abs().sum(1) / 254 + w.abs().amax(1) * x.abs().sum(1)[:, None] / 254
    assert ((x @ coarse.t() - x @ w.t()).abs() > bound + 48 * x.abs().max() * w.abs().max() / 254**2).any()


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 20), st.integers(1, 200), st.integers(1, 20), st.integers(0, 2**31), st.booleans())
def test_matmul_is_exact_with_and_without_the_kernel(m, k, n, seed, kernel):
    rng = np.random.default_rng(seed)
    a, b = rng.choice([-127, 127, 5, 0], (m, k)), rng.choice([-127, 127, 1], (n, k))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(int8, "_kernel_is_fast", lambda: kernel)
        got = int8.int8_matmul(torch.tensor(a, dtype=torch.int8), torch.tensor(b, dtype=torch.int8))
    assert got.dtype == torch.int32
    np.testing.assert_array_equal(got.numpy(), a @ b.T)


def test_matmul_beyond_what_float32_holds(monkeypatch):
    monkeypatch.setattr(int8, "_kernel_allows", lambda a, b: False)
    a = torch.full((2, 5001), 127, dtype=torch.int8)
    a[1, 0] = 126
    full = 5001 * 127**2
    assert int8.int8_matmul(a, a).tolist() == [[full, full - 127], [full - 127, full - 253]]


def test_a_saturating_kernel_is_found_out(monkeypatch):
    monkeypatch.setattr(torch, "_int_mm", lambda a, b: (a.int() @ b.int()).clamp(-(2**15), 2**15 - 1))
    assert not int8._kernel_is_exact.__wrapped__()
    monkeypatch.setattr(torch, "_int_mm", lambda a, b: a.int() @ b.int())
    assert int8._kernel_is_exact.__wrapped__()


def test_a_slow_kernel_is_found_out(monkeypatch):
    fast = torch.zeros(128, 256, dtype=torch.int32)
    monkeypatch.setattr(torch, "_int_mm", lambda a, b: fast)
    assert int8._kernel_is_fast.__wrapped__()
    monkeypatch.setattr(torch, "_int_mm", lambda a, b: time.sleep(0.2))
    assert not int8._kernel_is_fast.__wrapped__()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_bad_activations_spoil_their_own_token_only(value):
    layer = int8.apply(nn.Linear(8, 5))
    x = torch.randn(3, 8)
    clean = layer(x)
    x[1, 2] = value
    out = layer(x)
    assert out[1].isnan().all() and torch.equal(out[[0, 2]], clean[[0, 2]])


def test_bad_weights_are_refused_by_name():
    model = bert()
    model.bert.encoder.layer[1].output.dense.weight.data[0, 0] = float("nan")
    with pytest.raises(UsageError, match="layer.1.output.dense"):
        int8.apply(model)


def test_zero_rows_and_empty_input():
    layer = nn.Linear(4, 3)
    layer.weight.data.zero_()
    quantised = int8.apply(layer)
    assert torch.equal(quantised(torch.randn(2, 4)), layer.bias.expand(2, 3))
    assert quantised(torch.randn(0, 7, 4)).shape == (0, 7, 3)


def test_bert_comes_out_nearly_the_same_and_a_quarter_the_size():
    model = bert(vocab_size=1500, hidden_size=64, intermediate_size=128)
    reference, weights, size = logits(model), measure.parameters(model), measure.bytes_on_disk(model)
    assert int8.apply(model) is model
    out = logits(model)
    assert 0 < (out - reference).abs().max() < 0.05 * reference.abs().max()
    assert measure.parameters(model) == weights
    assert measure.bytes_on_disk(model) < 0.35 * size  # ¼, plus scales, biases, LayerNorms and names


def test_tied_weights_stay_tied():
    model = int8.apply(bert())
    decoder, table = model.cls.predictions.decoder, model.bert.embeddings.word_embeddings
    assert isinstance(decoder, int8.Int8Linear) and decoder.integers is table.integers and decoder.scale is table.scale
    for half in ("cls.predictions.decoder", "word_embeddings"):  # the other half alone would cost more than none
        model = int8.apply(bert(), skip=(half,))
        assert isinstance(model.cls.predictions.decoder, nn.Linear)
        assert model.cls.predictions.decoder.weight is model.bert.embeddings.word_embeddings.weight


def test_keys():
    model = int8.apply(bert(), skip=("attention.self.query", r"re:layer\.1\."))
    first, second = model.bert.encoder.layer
    assert type(first.attention.self.query) is nn.Linear and type(first.attention.self.key) is int8.Int8Linear
    assert type(second.output.dense) is nn.Linear
    with pytest.raises(UsageError, match="did you mean"):
        int8.apply(bert(), skip=("attention.self.quary",))
    with pytest.raises(UsageError, match="regular expression"):
        int8.apply(bert(), skip=("re:(",))


def test_undo():
    model = bert()
    reference, before = logits(model), list(model.state_dict())
    changed = logits(int8.apply(model))
    assert int8.undo(model) is model
    assert list(model.state_dict()) == before
    assert model.cls.predictions.decoder.weight is model.bert.embeddings.word_embeddings.weight
    assert model.cls.predictions.decoder.bias is model.cls.predictions.bias
    assert not torch.equal(logits(model), reference)
    again = int8.apply(model)  # what an integer stands for rounds to that integer
    torch.testing.assert_close(logits(again), changed, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("options", [{}, {"skip": ("re:embeddings$",)}, {"skip": ("re:layer.0",)}])
def test_save_and_load(tmp_path, options):
    model = int8.apply(bert(), **options)
    int8.save(model, tmp_path / "model.safetensors")
    other = int8.load(bert(seed=1), tmp_path / "model.safetensors")
    assert torch.equal(logits(other), logits(model))
    decoder, table = other.cls.predictions.decoder, other.bert.embeddings.word_embeddings
    assert getattr(decoder, "integers", decoder.weight) is getattr(table, "integers", table.weight)
    other = int8.apply(bert(seed=1), **options)
    other.load_state_dict(model.state_dict())
    assert torch.equal(logits(other), logits(model))


def test_load_refuses(tmp_path):
    path = tmp_path / "model.safetensors"
    with pytest.raises(CheckpointError):
        int8.load(bert(), path)
    int8.save(int8.apply(bert()), path)
    for other in (bert(hidden_size=64), bert(num_hidden_layers=3), bert(num_hidden_layers=1)):
        with pytest.raises(CheckpointError, match="model.safetensors"):
            int8.load(other, path)
    data = bytearray(path.read_bytes())
    data[-10] ^= 4  # in a tensor
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match="model.safetensors: altered since it was written; save the model again"):
        int8.load(bert(), path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="model.safetensors"):
        int8.load(bert(), path)
    bert().save_pretrained(tmp_path / "plain")
    with pytest.raises(CheckpointError, match="not written by"):
        int8.load(bert(), tmp_path / "plain" / "model.safetensors")


def test_gradients_pass_straight_through():
    layer = int8.apply(nn.Linear(6, 4))
    x = torch.randn(5, 6, requires_grad=True)
    layer(x).sum().backward()
    torch.testing.assert_close(x.grad, layer.weight.sum(0).expand(5, 6))
    assert torch.equal(layer.bias.grad, torch.full((4,), 5.0))


def test_a_model_in_half_precision_keeps_its_type():
    model = int8.apply(bert().to(torch.bfloat16))
    assert logits(model).dtype == torch.bfloat16


def test_shared_and_single_layers():
    layer = nn.Linear(3, 3)
    model = int8.apply(nn.Sequential(layer, nn.ReLU(), layer))
    assert model[0] is model[2] and isinstance(model[0], int8.Int8Linear)
    assert isinstance(int8.apply(layer), int8.Int8Linear)


@pytest.mark.filterwarnings("ignore")
def test_closer_to_float_than_torch_s_dynamic_quantisation():
    quantize = pytest.importorskip("torch.ao.quantization")
    torch.manual_seed(0)
    layer, x = nn.Sequential(nn.Linear(96, 64)), torch.randn(40, 96) * torch.logspace(-2, 1, 40)[:, None]
    theirs = quantize.quantize_dynamic(copy.deepcopy(layer), {nn.Linear}, dtype=torch.qint8)
    with torch.no_grad():
        reference, got, ours = layer(x), theirs(x), int8.apply(copy.deepcopy(layer))(x)
    error = ((ours - reference).norm(dim=1) / reference.norm(dim=1)).mean()
    their_error = ((got - reference).norm(dim=1) / reference.norm(dim=1)).mean()
    assert error < 0.02 and error < their_error  # a scale a token against one for all


def test_subnormal_rows_do_not_wrap_around():
    x = torch.full((1, 4), 190 * 2.0**-149)  # its scale would round from 1.496 to 1 unit, and 190 does not fit in int8
    q, scale = int8.quantise(x)
    assert (q >= 0).all() and (q.float() * scale - x).abs().max() <= torch.finfo(torch.float32).tiny


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("later", [False, True])
def test_scales_are_float32_whatever_the_models_type(kind, later):
    """Rows of 1e-6 have scales that float16 takes for 0; and a scale with 8 bits would move its whole row."""
    linear, table = nn.Linear(16, 6, dtype=kind), nn.Embedding(6, 16, dtype=kind)
    with torch.no_grad():
        for layer in (linear, table):
            layer.weight[1:3] *= 1e-5 / layer.weight[1:3].abs().max()
    before = [layer.weight.detach().float() for layer in (linear, table)]
    model = nn.ModuleList([linear, table])
    model = int8.apply(model.float()).to(kind) if later else int8.apply(model)
    for layer, weight in zip(model, before, strict=True):
        assert layer.scale.dtype == torch.float32 and layer.weight.dtype == kind
        most = weight.abs().amax(1, keepdim=True)
        slack = most * torch.finfo(kind).eps / 2 + torch.finfo(kind).smallest_normal * torch.finfo(kind).eps
        assert ((layer.weight.float() - weight).abs() <= most / 254 * 1.001 + slack).all()
    vectors = table(torch.arange(6))
    assert vectors.dtype == kind and torch.equal(vectors, table.weight) and (vectors[1:3] != 0).any(1).all()
    assert linear(torch.ones(1, 16, dtype=kind)).dtype == kind


def test_undo_in_half_precision_gives_a_model_that_runs():
    model = bert().to(torch.bfloat16)
    model = int8.undo(int8.apply(model))
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16} and logits(model).isfinite().all()


def test_undo_restores_what_trains():
    model = bert()
    model.bert.embeddings.requires_grad_(False)
    before = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    int8.undo(int8.apply(model))
    assert {name: parameter.requires_grad for name, parameter in model.named_parameters()} == before


def test_the_weight_of_an_int8_layer_is_numbers():
    """Whoever reads `.weight` gets what the integers stand for, and cannot put another in its place in silence."""
    layer = nn.Linear(9, 7)
    weight = layer.weight.detach().clone()
    int8.apply(layer)
    torch.testing.assert_close(layer.weight, weight, rtol=0, atol=float(weight.abs().max()) / 250)
    assert torch.equal(layer.weight, layer.integers.float() * layer.scale)
    for value in (nn.Parameter(weight), weight):
        with pytest.raises((KeyError, AttributeError), match="weight"):
            layer.weight = value


def test_a_layer_keeps_its_place_hooks_and_children():
    layer = nn.Linear(4, 4)
    layer.add_module("beside", nn.LayerNorm(4))
    handle = layer.register_forward_hook(lambda module, args, out: module.beside(out))
    model = nn.Sequential(layer)
    assert int8.apply(model)[0] is layer and layer(torch.randn(3, 4)).mean(1).abs().max() < 1e-5
    int8.undo(model)
    assert type(layer) is nn.Linear and layer(torch.randn(3, 4)).mean(1).abs().max() < 1e-5
    handle.remove()
    assert layer(torch.ones(1, 4)).mean().abs() > 1e-5


def test_torchs_own_layers_run_on_int8():
    torch.manual_seed(0)
    layer, x = nn.TransformerEncoderLayer(32, 2, 64, dropout=0.0, batch_first=True).eval(), torch.randn(3, 5, 32)
    with torch.no_grad():
        before, slow = layer(x), int8.apply(copy.deepcopy(layer)).train()(x)
        fast = int8.apply(layer)(x)  # by torch's fused kernel, which reads the weights
    assert isinstance(layer.linear1, int8.Int8Linear)
    for after in (fast, slow):
        assert 0 < (after - before).abs().max() < 0.05


def test_a_weight_shared_with_something_else_stays():
    class Scaled(nn.Embedding):
        def forward(self, ids):
            return 3 * super().forward(ids)

    model = nn.ModuleDict({"table": Scaled(8, 4), "head": nn.Linear(4, 8)})
    model.head.weight = model.table.weight
    int8.apply(model)
    assert type(model.head) is nn.Linear and model.head.weight is model.table.weight


def test_what_peft_has_added_goes_on_training():
    from peft import LoraConfig, get_peft_model

    model = get_peft_model(bert(), LoraConfig(r=2, target_modules=["query", "value"]))
    before = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    int8.apply(model)
    assert [name for name, parameter in model.named_parameters() if parameter.requires_grad] == before
    layer = model.base_model.model.bert.encoder.layer[0].attention.self.query
    assert isinstance(layer.base_layer, int8.Int8Linear) and type(layer.lora_A["default"]) is nn.Linear


def test_files_that_call_the_integers_weight_are_read(tmp_path):
    model = int8.apply(bert())
    int8.save(model, tmp_path / "new.safetensors")
    with safe_open(tmp_path / "new.safetensors", framework="pt") as file:
        tensors = {name.replace(".integers", ".weight"): file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        notes = {name: text for name, text in file.metadata().items() if name != SUM}
        save_file(tensors, tmp_path / "old.safetensors", metadata=notes)
    assert torch.equal(logits(int8.load(bert(seed=1), tmp_path / "old.safetensors")), logits(model))


def test_a_text_too_long_is_refused_in_int8_too():
    model = int8.apply(bert())
    with pytest.raises(UsageError, match="this model reads at most 40"):
        model_inputs(model, {"input_ids": torch.zeros(1, 41, dtype=torch.long)})


# Outlier columns


def spiky(tokens=12, n=40, out=24):
    torch.manual_seed(0)
    x, layer = torch.randn(tokens, n), nn.Linear(n, out)
    x[3, 7], x[:, 19], x[5, 30] = 60.0, -25.0, 6.0
    return x, layer


def test_outlier_columns_are_multiplied_in_floats():
    """Against numpy, column by column; the limit itself is an outlier."""
    x, layer = spiky()
    kept, rest = [7, 19, 30], [place for place in range(40) if place not in (7, 19, 30)]
    assert int8.outliers(x, 6.0).tolist() == kept
    w, bias = layer.weight.detach().numpy().copy(), layer.bias.detach().numpy()
    scale = np.abs(w).max(1, keepdims=True) / np.float32(127)
    wanted = x[:, kept].numpy() @ (np.rint(w / scale) * scale)[:, kept].T
    scale_x = np.abs(x[:, rest].numpy()).max(1, keepdims=True) / np.float32(127)
    wanted = wanted + (np.rint(x[:, rest].numpy() / scale_x) @ np.rint(w / scale)[:, rest].T) * scale.T * scale_x + bias
    layer = int8.keep_outliers(int8.apply(layer))
    with torch.no_grad():
        np.testing.assert_allclose(layer(x).numpy(), wanted, rtol=1e-4, atol=1e-4)


def test_keeping_outliers_lowers_the_error_and_can_be_undone():
    x, layer = spiky()
    exact = layer(x).detach()
    int8.apply(layer)
    plain = (layer(x) - exact).abs().max()
    assert (int8.keep_outliers(layer)(x) - exact).abs().max() < plain / 4
    x.requires_grad_()
    layer(x).sum().backward()
    torch.testing.assert_close(x.grad, layer.weight.sum(0).expand_as(x))
    assert torch.equal(int8.keep_outliers(layer, 1e9)(x), int8.apply(int8.undo(layer))(x)) and layer.limit == math.inf
    with pytest.raises(UsageError, match="no int8 layer"):
        int8.keep_outliers(nn.Linear(3, 3))
    with pytest.raises(UsageError, match="limit"):
        int8.keep_outliers(layer, 0.0)


@pytest.mark.filterwarnings("ignore")
def test_as_bitsandbytes_does():
    """LLM.int8 of bitsandbytes on the same layer: the same columns, the same answers up to half precision."""
    bnb = pytest.importorskip("bitsandbytes")
    x, layer = spiky(n=64, out=32)
    theirs = bnb.nn.Linear8bitLt(64, 32, has_fp16_weights=False, threshold=6.0)
    theirs.load_state_dict(layer.state_dict())
    with torch.no_grad():
        found = theirs.to("cpu")(x.half()).float()
        ours = int8.keep_outliers(int8.apply(copy.deepcopy(layer)))(x)
        plain = int8.apply(layer)(x)
    assert (found - ours).abs().max() < 0.05 < (found - plain).abs().max()
