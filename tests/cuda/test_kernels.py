"""Every kernel against the same formulas in float64, over odd shapes, types and masks, in both orders of threads."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit.cuda import (
    bias_dropout_residual_layernorm,
    bias_gelu,
    cross_entropy,
    gather_rows,
    int8_linear,
    kernels,
    quantise_rows,
    reference,
    scale_mask_softmax,
)

TYPES = (torch.float32, torch.float16, torch.bfloat16)
types = pytest.mark.parametrize("dtype", TYPES, ids=["fp32", "fp16", "bf16"])
# 4099 is beyond what the value-by-value kernels keep in registers, 1032 is a multiple of the widest load.
widths = pytest.mark.parametrize("width", [1, 31, 33, 64, 1025, 1032, 4099])
shapes = given(
    rows=st.integers(0, 9), width=st.integers(1, 200), seed=st.integers(0, 2**31), dtype=st.sampled_from(TYPES)
)
few = settings(max_examples=12, deadline=None, database=None)


def random(dtype, *shape, seed=0):
    source = torch.Generator().manual_seed(seed + 7 * len(shape) + sum(shape))
    return torch.randn(shape, generator=source).to(dtype)


def run(function, how, tensors, upper):
    """Outputs and gradients: in float64 by the reference, then by the backend. `upper` weighs the first output."""
    found = []
    for backend, device, convert in (("reference", "cpu", torch.double), (how.backend, how.device, None)):
        leaves = [t.to(device, dtype=convert or t.dtype).requires_grad_() for t in tensors]
        outputs = function(*leaves, backend)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        loss = sum((out * upper.to(out) * (1 + n)).sum() for n, out in enumerate(outputs))
        found.append((*outputs, *torch.autograd.grad(loss, leaves)))
    return zip(found[1], found[0], strict=True)


def check_layernorm(how, rows, width, dtype, p, seed=5):
    tensors = [random(dtype, rows, width, seed=n) for n in range(2)] + [random(dtype, width, seed=n) for n in range(3)]

    def function(x, residual, bias, weight, shift, backend):
        return bias_dropout_residual_layernorm(
            x, bias, residual, weight, shift, p=p, seed=seed, eps=1e-2, return_sum=True, backend=backend
        )

    for got, wanted in run(function, how, tensors, random(dtype, rows, width, seed=9)):
        how.close(got, wanted, dtype, floor=4.0)


@types
@widths
def test_layernorm(how, width, dtype):
    check_layernorm(how, 5, width, dtype, p=0.3)


@types
def test_layernorm_without_dropout_without_rows_and_of_many_rows(how, dtype):
    check_layernorm(how, 3, 100, dtype, p=0.0)
    check_layernorm(how, 0, 33, dtype, p=0.3)
    check_layernorm(how, 150, 40, dtype, p=0.3, seed=-3)


@few
@shapes
def test_layernorm_of_any_shape(how, rows, width, seed, dtype):
    check_layernorm(how, rows, width, dtype, p=0.2, seed=seed)


def test_layernorm_drops_what_the_reference_says(how):
    seed = torch.tensor([2**40 + 17], device=how.device)
    ones, zeros = torch.ones(6, 70, device=how.device), torch.zeros(6, 70, device=how.device)
    vectors = torch.zeros(3, 70, device=how.device)
    _, z = bias_dropout_residual_layernorm(
        ones, vectors[0], zeros, vectors[1], vectors[2], p=0.25, seed=seed, return_sum=True, backend=how.backend
    )
    assert torch.equal(z.cpu() > 0, reference.keep_mask(seed.cpu(), 6, 70, 0.25))


def check_gelu(how, rows, width, dtype, seed=0):
    tensors = [3 * random(dtype, rows, width, seed=seed), random(dtype, width)]
    function = lambda x, bias, backend: bias_gelu(x, bias, backend=backend)  # noqa: E731
    for got, wanted in run(function, how, tensors, random(dtype, rows, width, seed=9)):
        how.close(got, wanted, dtype, floor=1.0)


@types
@widths
def test_gelu(how, width, dtype):
    check_gelu(how, 5, width, dtype)


@few
@shapes
def test_gelu_of_any_shape(how, rows, width, seed, dtype):
    check_gelu(how, rows, width, dtype, seed)


def test_gelu_without_bias_and_far_out(how):
    x = torch.tensor([[-math.inf, -40.0, -1e-30, 0.0, 40.0, 1e4]], device=how.device)
    y = bias_gelu(x, backend=how.backend).cpu()
    assert y[0, 1:].tolist() == pytest.approx([0, -5e-31, 0, 40, 1e4])


MASKS = {
    "none": lambda shape: None,
    "bool": lambda shape: torch.rand(shape[0], 1, 1, shape[3], generator=torch.Generator().manual_seed(1)) < 0.6,
    "bool, rows hidden": lambda shape: torch.arange(shape[2])[:, None] > 0,
    "added": lambda shape: torch.randn(shape[2], shape[3], generator=torch.Generator().manual_seed(1)),
    "added, -inf": lambda shape: torch.zeros(shape[1], shape[2], shape[3]).index_fill(1, torch.tensor([1]), -math.inf),
}


def check_softmax(how, shape, dtype, mask, scale=0.7):
    def function(x, backend):
        placed = None if mask is None else mask.to(x.device)
        return scale_mask_softmax(x, placed, scale=scale, backend=backend)

    upstream = random(dtype, *shape, seed=9)
    (y, exact), *gradients = run(function, how, [4 * random(dtype, *shape)], upstream)
    assert not y.isnan().any()
    how.close(y, exact, dtype)
    # y · (g − Σ g·y): where one y is near 1 the bracket nearly cancels, and what rounding y costs is of the size of g.
    size = scale * float(exact.detach().max()) * float(upstream.abs().max()) / 2 if y.numel() else 0.0
    for got, wanted in gradients:
        assert not got.isnan().any()
        how.close(got, wanted, dtype, floor=size)


@types
@widths
@pytest.mark.parametrize("mask", MASKS)
def test_softmax(how, width, dtype, mask):
    check_softmax(how, (2, 2, 3, width), dtype, MASKS[mask]((2, 2, 3, width)))


@types
def test_softmax_of_very_long_rows_and_of_none(how, dtype):
    width = 33 * 1024  # beyond the registers of a block, in 16-byte loads
    check_softmax(how, (1, 1, 2, width), dtype, MASKS["bool"]((1, 1, 2, width)))
    check_softmax(how, (0, 2, 3, 5), dtype, None)


@few
@shapes
def test_softmax_of_any_shape(how, rows, width, seed, dtype):
    mask = torch.rand(rows, 1, 1, width, generator=torch.Generator().manual_seed(seed)) < 0.5
    check_softmax(how, (rows, 1, 2, width), dtype, mask, scale=1.0 + seed % 3)


def test_a_row_hidden_whole_is_zeros_with_zero_gradient(how):
    x = torch.randn(3, 40, device=how.device, requires_grad=True)
    hidden = torch.full((3, 1), -math.inf, device=how.device)
    for mask in (hidden, hidden == 0, hidden.half()):
        y = scale_mask_softmax(x, mask, backend=how.backend)
        (gradient,) = torch.autograd.grad(y.square().sum() + y.sum(), x)
        assert not y.any() and not gradient.any()


def test_softmax_reads_a_mask_where_it_lies(how):
    x = random(torch.float32, 2, 3, 4, 24).to(how.device)
    whole = torch.rand(24, 4, device=how.device) < 0.5
    for mask in (whole.T, whole.T[:, :1], whole.T[1:2], torch.rand(2, 1, 4, 30, device=how.device)[..., 3:27]):
        wanted = scale_mask_softmax(x, mask, backend="reference")
        how.close(scale_mask_softmax(x, mask, backend=how.backend), wanted, torch.float32)


def check_cross_entropy(how, rows, width, dtype, seed=0):
    source = torch.Generator().manual_seed(seed)
    targets = torch.randint(-1, width, (rows,), generator=source)  # -1 is ignored here

    def function(logits, backend):
        placed = targets.to(logits.device)
        return cross_entropy(logits, placed, ignore_index=-1, reduction="none", backend=backend)

    for got, wanted in run(function, how, [5 * random(dtype, rows, width, seed=seed)], random(torch.float32, rows)):
        # The loss is float32 in all types; near 0 it is the difference of two numbers of about 10.
        how.close(got, wanted, dtype if got.dim() == 2 else torch.float32, floor=10.0 if got.dim() == 1 else 0.1)


@types
@widths
def test_cross_entropy(how, width, dtype):
    check_cross_entropy(how, 6, width, dtype)


@types
def test_cross_entropy_of_a_large_vocabulary(how, dtype):
    check_cross_entropy(how, 2, 30522, dtype)


@few
@shapes
def test_cross_entropy_of_any_shape(how, rows, width, seed, dtype):
    check_cross_entropy(how, rows, width, dtype, seed)


def test_cross_entropy_at_the_edges(how):
    logits = torch.zeros(5, 33, device=how.device)
    logits[0, 3:] = -math.inf
    logits[1] = -math.inf
    logits[4, 5] = 1e30
    logits.requires_grad_()
    targets = torch.tensor([1, 1, 33, -100, 5], device=how.device)
    loss = cross_entropy(logits, targets, reduction="none", backend=how.backend)
    assert loss.tolist() == pytest.approx([math.log(3), math.nan, math.nan, 0, 0], nan_ok=True)
    (gradient,) = torch.autograd.grad(loss[[0, 2, 3]].sum(), logits)
    assert gradient[0].tolist() == pytest.approx([1 / 3, -2 / 3, 1 / 3] + [0] * 30, abs=1e-6)
    assert gradient[2].isnan().all() and not gradient[3].any()


@types
@pytest.mark.parametrize("width", [1, 33, 64])
def test_gather_takes_the_rows_with_a_target_and_brings_gradients_back(how, width, dtype):
    x = random(dtype, 3, 4, width).to(how.device).requires_grad_()
    targets = torch.full((3, 4), -100, device=how.device)
    targets[0, 1], targets[2, 3] = 8, 9
    rows, kept = gather_rows(x, targets, backend=how.backend)
    assert torch.equal(rows, torch.stack([x[0, 1], x[2, 3]])) and kept.tolist() == [8, 9]
    (gradient,) = torch.autograd.grad((rows * 3).sum(), x)
    assert torch.equal(gradient, torch.zeros_like(x).masked_fill((targets != -100)[..., None], 3))


@types
@widths
def test_quantise_is_the_reference_bit_for_bit(how, width, dtype):
    x = random(dtype, 9, width) * torch.tensor([[1e-3], [1], [100]]).repeat(3, 1)
    x[3], x[4, -1], x[5, 0] = 0, math.nan, math.inf
    got, scale = quantise_rows(x.to(dtype).to(how.device), backend=how.backend)
    wanted, factors = quantise_rows(x.to(dtype), backend="reference")
    assert torch.equal(got.cpu(), wanted) and torch.equal(scale.cpu().nan_to_num(-1), factors.nan_to_num(-1))
    assert scale[3] == 0 and scale[4].isnan() and scale[5].isnan() and not got[3:6].any()
    assert width == 1 or (got[:3].abs().amax(1) == 127).all()


@pytest.mark.parametrize("more", [0, 1, 4])  # by tensor cores, and by dp4a: byte by byte, four at once
@pytest.mark.parametrize(
    ("rows", "columns", "depth"), [(1, 1, 16), (3, 200, 1040), (70, 130, 96), (130, 9, 208), (0, 5, 16)]
)
def test_int8_matmul_is_exact(how, more, rows, columns, depth):
    depth += more
    source = torch.Generator().manual_seed(rows)
    q = torch.randint(-128, 128, (rows, depth), generator=source, dtype=torch.int8).to(how.device)
    weight = torch.randint(-128, 128, (columns, depth), generator=source, dtype=torch.int8).to(how.device)
    one = lambda count: torch.ones(count, device=how.device)  # noqa: E731
    got = kernels.int8_matmul(how.backend, q, one(rows), weight, one(columns), None, torch.float32)
    assert torch.equal(got.cpu(), (q.cpu().long() @ weight.cpu().long().T).float())


@types
@pytest.mark.parametrize("depth", [1, 31, 33, 80])
def test_int8_linear_scales_and_adds_the_bias(how, depth, dtype):
    x, bias = random(dtype, 2, 5, depth), random(dtype, 7)
    weight, scale = quantise_rows(random(torch.float32, 7, depth), backend="reference")
    found = []
    for backend, device in (("reference", "cpu"), (how.backend, how.device)):
        leaf, added = x.to(device).requires_grad_(), bias.to(device).requires_grad_()
        out = int8_linear(leaf, weight.to(device), scale.to(device), added, backend=backend)
        found.append((out, *torch.autograd.grad(out.square().sum(), (leaf, added))))
    for got, wanted in zip(found[1], found[0], strict=True):
        how.close(got, wanted, dtype)


def test_no_kernel_writes_outside_its_tensors(how):
    """Outputs lie inside a larger tensor of a mark; unaligned starts take the value-by-value kernels."""
    from labkit.cuda.build import load

    library, falling = load("gelu", emulate=how.backend != "cuda"), how.backend == "emulate-falling"
    for start, width in ((64, 64), (64, 33), (65, 64)):
        whole = torch.full((512,), 7.0, device=how.device)
        y, x = whole[start : start + 3 * width], torch.zeros(3 * width, device=how.device)
        library("gelu_forward", x, None, y, 3, width, 0, 0, falling=falling)
        assert not y.any() and (whole[:start] == 7).all() and (whole[start + 3 * width :] == 7).all()
