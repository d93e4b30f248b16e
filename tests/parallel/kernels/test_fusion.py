"""Bytes of chains: closed forms against what real tensors moved, and every program against float64."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit import cuda
from labkit.errors import UsageError
from labkit.parallel.kernels.fusion import CHAINS, Chain, Shape, Step, gelu_in_blocks, gelu_in_place, gelu_steps
from labkit.parallel.kernels.tally import BytesMoved, Moved, size


def moved(run):
    with BytesMoved() as tally:
        run()
    return tally


def tensors(shape):
    """Inputs of all chains: x, residual (rows, width); vectors (width,); mask (1, width), and its opposite, hidden."""
    draw = torch.Generator().manual_seed(0)
    full = [torch.randn(shape.rows, shape.width, generator=draw) for _ in range(2)]
    vectors = [torch.randn(shape.width, generator=draw) for _ in range(3)]
    mask = torch.rand(1, shape.width, generator=draw) < 0.9
    mask[0, 0] = True
    names = ("x", "residual", "bias", "weight", "shift", "mask", "hidden")
    return dict(zip(names, (*full, *vectors, mask, ~mask), strict=True))


def eager(name, given, p=0.1):
    """A chain of CHAINS, an operator at a time, as PyTorch runs it on a GPU."""
    x, width = given["x"], given["x"].shape[-1]
    if name == "bias + GELU":
        return F.gelu(x + given["bias"])
    if name == "scale + mask + softmax":
        return (x * width**-0.5).masked_fill(given["hidden"], -math.inf).softmax(-1)
    dropped, _ = torch.native_dropout(x + given["bias"], p, True)
    return F.layer_norm(dropped + given["residual"], (width,), given["weight"], given["shift"])


def fused(name, given, p=0.1):
    """The same as one operator of `labkit.cuda`; dropout draws other numbers."""
    x = given["x"]
    if name == "bias + GELU":
        return cuda.bias_gelu(x, given["bias"], backend="reference")
    if name == "scale + mask + softmax":
        return cuda.scale_mask_softmax(x, given["mask"], scale=x.shape[-1] ** -0.5, backend="reference")
    parts = (x, given["bias"], given["residual"], given["weight"], given["shift"])
    return cuda.bias_dropout_residual_layernorm(*parts, p=p, seed=0, backend="reference")


@settings(max_examples=12, deadline=None)
@given(st.sampled_from(sorted(CHAINS)), st.integers(1, 40), st.integers(1, 70))
def test_closed_forms_are_what_the_real_tensors_move(name, rows, width):
    shape = Shape(rows, width, 4)
    chain, given_ = CHAINS[name](shape), tensors(shape)
    tally = moved(lambda: eager(name, given_))
    assert tally.total == chain.eager
    assert [one.name for one in tally.operators] == [step.name for step in chain.steps]
    seed = 16 if "dropout" in name else 0  # its number, written and read
    assert moved(lambda: fused(name, given_)).total == chain.fused + seed


def test_bytes_an_element_in_16_bits():
    for name, per_element in {"bias + dropout + residual + LayerNorm": (19, 8), "bias + GELU": (8, 4),
                              "scale + mask + softmax": (12, 4)}.items():  # fmt: skip
        shape = Shape(100_000, 1000, 2)
        chain = CHAINS[name](shape)
        assert (round(chain.eager / 1e8, 1), round(chain.fused / 1e8, 1)) == per_element


@pytest.mark.parametrize("name", sorted(CHAINS))
def test_both_programs_compute_the_same(name):
    given_ = {k: v.double() if v.is_floating_point() else v for k, v in tensors(Shape(7, 33, 8)).items()}
    torch.testing.assert_close(eager(name, given_, p=0.0), fused(name, given_, p=0.0), rtol=1e-9, atol=1e-9)


def test_the_steps_of_gelu_in_all_three_ways():
    given_ = tensors(Shape(50, 40))
    x, bias = given_["x"], given_["bias"]
    wanted = F.gelu((x + bias).double(), approximate="tanh")
    before = x.clone()
    for way in (gelu_steps, gelu_in_place, gelu_in_blocks):
        assert float((way(x, bias) - wanted).abs().max()) < 1e-6
    assert torch.equal(x, before)
    n, b = x.nbytes, bias.nbytes
    assert moved(lambda: gelu_steps(x, bias)).total == 23 * n + b  # 7 operators of 2 n and 3 of 3 n
    assert moved(lambda: gelu_in_place(x, bias)).total == 22 * n + b  # u * u reads one tensor


def test_a_masked_language_models_head():
    rows, width, vocabulary, kept = 40, 8, 30, 6
    x, weight = torch.randn(rows, width), torch.randn(vocabulary, width)
    targets = torch.full((rows,), -100)
    targets[torch.randperm(rows)[:kept]] = 3
    whole = moved(lambda: F.cross_entropy(x @ weight.T, targets))
    found, picked = cuda.gather_rows(x, targets, backend="reference")
    few = moved(lambda: F.cross_entropy(found @ weight.T, picked))
    tail = 4 + 4  # the loss, and the number of its rows
    logits, matrix = 4 * rows * vocabulary, 4 * vocabulary * width
    assert whole.total == (4 * rows * width + matrix + logits) + 2 * logits + (4 * rows + 8 * rows + tail)
    logits = logits * kept // rows
    assert few.total == (4 * kept * width + matrix + logits) + 2 * logits + (4 * kept + 8 * kept + tail)
    gathered = moved(lambda: cuda.gather_rows(x, targets, backend="reference")).operators
    assert Moved("gather_rows", 4 * kept * width + 8 * kept, 4 * kept * width) in gathered


def test_views_move_nothing_and_writes_in_place_count():
    x = torch.ones(4, 6)
    assert not moved(lambda: x.view(6, 4).t()[None].expand(3, 4, 6).detach()).operators
    assert moved(lambda: torch.empty(1000)).total == 0
    assert moved(lambda: x.zero_()).operators == [Moved("zero_", 0, 96)]
    assert moved(lambda: x.add_(1)).operators == [Moved("add_", 96, 96)]
    assert moved(lambda: x.copy_(torch.arange(6.0))).operators[-1] == Moved("copy_", 24, 96)
    assert size(torch.ones(1, 6).expand(4, 6)) == 24 and size(torch.ones(0, 3)) == 0


def test_where_a_result_goes_is_not_read():
    x, y = torch.ones(4, 6), torch.empty(4, 6)
    assert moved(lambda: torch.exp(x, out=y)).operators == [Moved("exp", 96, 96)]
    assert moved(lambda: torch.exp(y, out=y)).operators == [Moved("exp", 96, 96)]
    assert moved(lambda: torch.softmax(x, 1, out=y)).total == 192
    assert moved(lambda: torch.add(x, x, out=y)).total == 192  # one tensor, given twice, is read once


def test_backward_is_counted_too():
    x = torch.ones(10, requires_grad=True)
    assert [one.name for one in moved(lambda: x.tanh().sum().backward()).operators][:2] == ["tanh", "sum"]
    assert "tanh_backward" in [one.name for one in moved(lambda: x.tanh().sum().backward()).operators]


def test_what_is_refused():
    step = Step("add", ("a", "b"), ("c",))
    assert Chain((step,), {"a": 1, "b": 2, "c": 4}, ("c",)).eager == 7
    assert Chain((Step("mul", ("a", "a"), ("c",)),), {"a": 1, "c": 4}, ("c",)).eager == 5
    with pytest.raises(UsageError, match="tensor 'b'"):
        Chain((step,), {"a": 1, "c": 4}, ("c",))
    with pytest.raises(UsageError, match="'a' is written by no step"):
        Chain((step,), {"a": 1, "b": 2, "c": 4}, ("a",))
