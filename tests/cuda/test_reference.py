"""The references against PyTorch's own functions, closed forms and published numbers."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from labkit.cuda import (
    bias_dropout_residual_layernorm,
    bias_gelu,
    cross_entropy,
    quantise_rows,
    reference,
    scale_mask_softmax,
)

EXACT = {"rtol": 1e-12, "atol": 1e-12}


def doubles(*shapes):
    torch.manual_seed(0)
    return [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]


def same_gradients(mine, theirs, leaves):
    torch.testing.assert_close(mine, theirs, **EXACT)
    weights = torch.randn_like(mine)
    gradients = (torch.autograd.grad((out * weights).sum(), leaves, retain_graph=True) for out in (mine, theirs))
    for got, wanted in zip(*gradients, strict=True):
        torch.testing.assert_close(got, wanted, **EXACT)


def test_philox_gives_the_published_numbers(monkeypatch):
    """Known answers of the authors' own library (Random123, kat_vectors)."""
    zero, ones = torch.zeros(1, dtype=torch.int64), torch.full((1,), -1)
    words = lambda numbers: [f"{int(n):08x}" for n in numbers]  # noqa: E731
    assert words(reference.philox(zero, zero, zero)) == ["5f6fb709", "0d893f64", "4f121f81", "4f730a48"]
    monkeypatch.setattr(reference, "ROUNDS", 10)
    assert words(reference.philox(zero, zero, zero)) == ["6627e8d5", "e169c58d", "bc57ac4c", "9b00dbd8"]
    assert words(reference.philox(ones, ones, ones)) != words(reference.philox(zero, zero, zero))


def test_dropout_keeps_its_share_independently_of_row_column_and_seed():
    kept = reference.keep_mask(torch.tensor([3]), 400, 402, 0.3).double()
    error = math.sqrt(0.3 * 0.7 / kept.numel())
    assert abs(kept.mean() - 0.7) < 5 * error
    centred = (kept - 0.7) / math.sqrt(0.21)
    for one, other in (
        (centred[1:], centred[:-1]),
        (centred[:, 1:], centred[:, :-1]),
        (centred[:, 4:], centred[:, :-4]),
    ):
        assert abs((one * other).mean()) < 5 / math.sqrt(one.numel())
    elsewhere = (reference.keep_mask(torch.tensor([4]), 400, 402, 0.3).double() - 0.7) / math.sqrt(0.21)
    assert abs((centred * elsewhere).mean()) < 5 / 400
    assert torch.equal(kept[:7, :11].bool(), reference.keep_mask(torch.tensor([3]), 7, 11, 0.3))


def test_layernorm_is_pytorchs_without_dropout():
    x, residual, bias, weight, shift = leaves = doubles((2, 3, 7), (2, 3, 7), 7, 7, 7)
    mine = bias_dropout_residual_layernorm(x, bias, residual, weight, shift, p=0.0, backend="reference")
    same_gradients(mine, F.layer_norm(residual + x + bias, (7,), weight, shift), leaves)


def test_gelu_is_pytorchs():
    x, bias = leaves = doubles((4, 5), 5)
    same_gradients(bias_gelu(x, bias, backend="reference"), F.gelu(x + bias), leaves)


def test_softmax_is_pytorchs_where_something_is_left():
    (x,) = doubles((2, 3, 4, 5))
    attend = torch.rand(2, 1, 4, 5) < 0.7
    attend[..., 0] = True
    theirs = (x * 0.3).masked_fill(~attend, -math.inf).softmax(-1)
    same_gradients(scale_mask_softmax(x, attend, scale=0.3, backend="reference"), theirs, [x])
    added = torch.where(attend, 0.5, -math.inf).double()
    same_gradients(scale_mask_softmax(x, added, scale=0.3, backend="reference"), theirs, [x])


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_cross_entropy_is_pytorchs(reduction):
    (logits,) = doubles((2, 6, 9))
    targets = torch.tensor([[0, 8, -100, 3, 3, -100], [1, 2, 3, -100, 5, 6]])
    theirs = F.cross_entropy(logits.transpose(1, 2), targets, reduction=reduction)
    same_gradients(cross_entropy(logits, targets, reduction=reduction, backend="reference"), theirs, [logits])


def test_cross_entropy_of_nothing_is_what_pytorch_says():
    logits, ignored = torch.randn(3, 5), torch.full((3,), -100)
    assert cross_entropy(logits, ignored, backend="reference").isnan() and F.cross_entropy(logits, ignored).isnan()
    assert cross_entropy(logits, ignored, reduction="sum", backend="reference") == 0


def test_quantised_rows_are_off_by_half_a_step_at_most():
    x = torch.randn(20, 100) * torch.logspace(-6, 6, 20)[:, None]
    q, scale = quantise_rows(x, backend="reference")
    assert q.dtype == torch.int8 and (q.abs().amax(1) == 127).all()
    assert ((q * scale[:, None] - x).abs() <= scale[:, None] * (0.5 + 1e-5)).all()


def test_int8_matmul_is_the_integer_product_scaled():
    q, weight = (torch.randint(-127, 128, shape).to(torch.int8) for shape in ((3, 40), (5, 40)))
    scale, weight_scale, bias = torch.rand(3), torch.rand(5), torch.randn(5)
    wanted = (q.long() @ weight.long().T).double() * scale[:, None] * weight_scale + bias
    got = reference.int8_matmul(q, scale, weight, weight_scale, bias, torch.float32)
    torch.testing.assert_close(got.double(), wanted, rtol=1e-6, atol=1e-6)


def test_gather_and_scatter_undo_one_another():
    x, index = torch.randn(5, 3), torch.tensor([4, 1])
    back = reference.scatter_rows(reference.gather_rows(x, index), index, 5)
    assert torch.equal(back[[4, 1]], x[[4, 1]]) and not back[[0, 2, 3]].any()
