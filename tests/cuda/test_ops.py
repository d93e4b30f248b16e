"""The operations inside PyTorch: autograd, fake tensors, torch.compile; the choice of backend; what is refused."""

from __future__ import annotations

import warnings

import pytest
import torch

import labkit.cuda as kernels
from labkit.cuda import build, ops
from labkit.cuda.build import find_cxx
from labkit.errors import UsageError

BOTH = ["reference", "emulate"]
both = pytest.mark.parametrize("backend", BOTH)


@pytest.fixture(autouse=True)
def _compiler(request):
    if getattr(request.node, "callspec", None) and request.node.callspec.params.get("backend") == "emulate":
        if find_cxx() is None:
            pytest.skip("the emulator needs g++, which is not here")


def rand(*shape, dtype=torch.float32, grad=False):
    return torch.randn(shape, dtype=dtype, requires_grad=grad)


SEED = torch.tensor([9])


def calls(backend, dtype=torch.float32, grad=True):
    """(operation, arguments) of each family, small."""
    x = lambda *shape: rand(*shape, dtype=dtype, grad=grad)  # noqa: E731
    weight, scale = kernels.quantise_rows(torch.randn(5, 7), backend="reference")
    mask, targets, index = torch.rand(1, 1, 4, 7) < 0.8, torch.tensor([3, -100, 6]), torch.tensor([2, 0])
    return {
        "layernorm": (ops.layernorm_forward, (x(4, 7), x(7), x(4, 7), x(7), x(7), 0.4, SEED, 1e-5, backend)),
        "layernorm, no bias": (ops.layernorm_forward, (x(4, 7), None, x(4, 7), x(7), x(7), 0.0, SEED, 1e-5, backend)),
        "gelu": (ops.gelu_forward, (x(4, 7), x(7), backend)),
        "gelu, no bias": (ops.gelu_forward, (x(4, 7), None, backend)),
        "gelu, transposed": (ops.gelu_forward, (x(7, 4).detach().T.requires_grad_(grad), None, backend)),
        "softmax": (ops.softmax_forward, (x(2, 3, 4, 7), mask, 0.5, backend)),
        "cross_entropy": (ops.cross_entropy_forward, (x(3, 7), targets, -100, backend)),
        "gather": (ops.gather_rows, (x(4, 7), index, backend)),
        "quantise": (ops.quantise_rows, (rand(4, 7), backend)),
        "int8_linear": (ops.int8_linear, (rand(4, 7, grad=grad), weight, scale, rand(5, grad=grad), backend)),
    }


@both
@pytest.mark.parametrize("name", calls("reference"))
def test_opcheck(name, backend):
    """Schema, fake tensor and autograd registration agree with what runs, with static shapes and with dynamic ones."""
    torch.manual_seed(0)
    operation, arguments = calls(backend)[name]
    torch.library.opcheck(operation, arguments)


@pytest.mark.parametrize("name", ["layernorm", "layernorm, no bias", "gelu", "gelu, no bias", "softmax", "gather"])
def test_gradients_by_differences(name):
    torch.manual_seed(0)
    operation, arguments = calls("reference", torch.float64)[name]

    def function(*leaves):
        rest = iter(leaves)
        filled = [next(rest) if isinstance(a, torch.Tensor) and a.requires_grad else a for a in arguments]
        out = operation(*filled)
        return out[:2] if isinstance(out, tuple) else out

    leaves = [a for a in arguments if isinstance(a, torch.Tensor) and a.requires_grad]
    assert torch.autograd.gradcheck(function, leaves)


def test_gradient_of_cross_entropy_by_differences():
    logits, targets = rand(4, 6, dtype=torch.float64, grad=True), torch.tensor([0, -100, 5, 2])
    function = lambda x: kernels.cross_entropy(x, targets, backend="reference")  # noqa: E731
    assert torch.autograd.gradcheck(function, [logits])


def block(backend):
    """Everything that a compiler may see in one graph."""

    def function(x, bias, weight, mask, targets, table, factors):
        y = kernels.bias_gelu(x, bias, backend=backend)
        y = kernels.bias_dropout_residual_layernorm(y, bias, x, weight, bias, p=0.2, seed=5, backend=backend)
        y = y + kernels.scale_mask_softmax(y, mask, scale=2.0, backend=backend)
        return kernels.cross_entropy(kernels.int8_linear(y, table, factors, backend=backend), targets, backend=backend)

    return function


@both
def test_torch_compile_takes_it_as_one_graph(backend):
    torch.manual_seed(0)
    table, factors = kernels.quantise_rows(torch.randn(9, 7), backend="reference")
    fixed = (torch.rand(4, 7) < 0.8, torch.tensor([1, 2, -100, 8]), table, factors)
    leaves = [rand(4, 7, grad=True), rand(7, grad=True), rand(7, grad=True)]
    plain, compiled = block(backend), torch.compile(block(backend), backend="aot_eager", fullgraph=True)
    for got, wanted in zip(*(torch.autograd.grad(f(*leaves, *fixed), leaves) for f in (compiled, plain)), strict=True):
        torch.testing.assert_close(got, wanted)
    torch._dynamo.reset()
    eager = torch.compile(block(backend), backend="eager", fullgraph=True)
    torch.testing.assert_close(eager(*leaves, *fixed), plain(*leaves, *fixed))


@both
def test_a_seed_of_none_follows_the_generator_also_when_compiled(backend):
    x, vector = torch.ones(8, 16), torch.ones(16)

    def function(x):
        return kernels.bias_dropout_residual_layernorm(x, None, x, vector, vector, p=0.5, backend=backend)

    compiled = torch.compile(function, backend="eager", fullgraph=True)
    for run in (function, compiled):
        torch.manual_seed(1)
        first, second = run(x), run(x)
        torch.manual_seed(1)
        assert torch.equal(first, run(x)) and not torch.equal(first, second)


@both
def test_backward_makes_the_same_dropout_mask_again(backend):
    x = rand(6, 50, grad=True)
    zero, one = torch.zeros(50), torch.ones(50)
    _, z = kernels.bias_dropout_residual_layernorm(
        x, None, torch.zeros(6, 50), one, zero, p=0.4, seed=11, return_sum=True, backend=backend
    )
    (gradient,) = torch.autograd.grad(z.sum(), x)
    torch.testing.assert_close(z, x * gradient)
    assert 0.3 < (gradient == 0).float().mean() < 0.5


# The choice of backend


@pytest.fixture
def fresh(monkeypatch):
    """As if no notice had been given, and no compiler looked for, in this process."""
    for function in (ops._notice, ops._cannot_build):
        function.cache_clear()
    yield monkeypatch
    for function in (ops._notice, ops._cannot_build):
        function.cache_clear()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_auto_without_a_gpu_is_the_reference_with_one_notice(fresh):
    x = torch.randn(3, 5)
    with pytest.warns(UserWarning, match="labkit.cuda: no CUDA device is here: plain PyTorch stands in") as said:
        first = kernels.bias_gelu(x)
        kernels.scale_mask_softmax(x)
    assert len(said) == 1 and torch.equal(first, kernels.bias_gelu(x, backend="reference"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kernels.bias_gelu(x)


class OnGpu:
    """Looks like a tensor on a GPU."""

    is_cuda, dtype = True, torch.float32


def test_auto_says_what_is_missing(fresh):
    fresh.setattr(build, "find_nvcc", lambda: None)
    with pytest.warns(UserWarning, match="nvcc, the CUDA compiler, is not on PATH"):
        assert ops.choose("auto", OnGpu()) == "reference"
    ops._cannot_build.cache_clear()
    fresh.setattr(build, "find_nvcc", lambda: "nvcc")
    fresh.setattr(torch.cuda, "get_device_capability", lambda: (6, 1))
    fresh.setattr(torch.cuda, "get_device_name", lambda: "GeForce GTX 1080")
    with pytest.warns(UserWarning, match="GeForce GTX 1080 is older than compute capability 7.0"):
        assert ops.choose("auto", OnGpu()) == "reference"
    ops._cannot_build.cache_clear()
    fresh.setattr(torch.cuda, "get_device_capability", lambda: (9, 0))
    assert ops.choose("auto", OnGpu()) == "cuda"


@pytest.mark.parametrize(
    ("run", "said"),
    [
        (
            lambda: kernels.bias_gelu(rand(2, 3), backend="emulated"),
            "unknown backend 'emulated': did you mean 'emulate'",
        ),
        (
            lambda: kernels.bias_gelu(rand(2, 3), backend="cuda"),
            "backend='cuda' takes cuda tensors, and was given one on c",
        ),
        (
            lambda: kernels.bias_gelu(rand(2, 3).double(), backend="emulate"),
            "float32, float16 and bfloat16, not torch.flo",
        ),
        (lambda: kernels.bias_gelu(rand(2, 3), rand(2)), r"bias is float32 \(2,\), and must be \(3,\)"),
        (lambda: norm(residual=rand(3)), r"residual is float32 \(3,\), and must be as x, float32 \(2, 3\)"),
        (lambda: norm(weight=rand(4)), r"weight is float32 \(4,\), and must be \(3,\)"),
        (lambda: norm(p=1.0), r"p is a share in \[0, 1\), not 1.0"),
        (lambda: norm(seed=torch.ones(2)), r"seed is float32 \(2,\), and must be an int64 tensor of one element"),
        (lambda: kernels.scale_mask_softmax(rand(1, 1, 1, 2, 3)), "one to four dimensions"),
        (
            lambda: kernels.scale_mask_softmax(rand(2, 3), rand(2, 2) > 0),
            r"mask is bool \(2, 2\), which does not broadca",
        ),
        (
            lambda: kernels.scale_mask_softmax(rand(2, 3), torch.ones(3).long()),
            "must be bool .True = attend. or floating",
        ),
        (
            lambda: kernels.scale_mask_softmax(rand(2, 3), rand(3, grad=True)),
            "the mask has no gradient: pass mask.detach",
        ),
        (
            lambda: kernels.cross_entropy(rand(2, 3), torch.ones(3).long()),
            r"targets are int64 \(3,\), and must be int64 \(2,",
        ),
        (lambda: kernels.cross_entropy(rand(2, 3), torch.ones(2).long(), reduction="avg"), "unknown reduction 'avg'"),
        (
            lambda: kernels.gather_rows(rand(2, 3), torch.ones(3).long()),
            r"targets are int64 \(3,\), and must be \(2,\)",
        ),
        (
            lambda: kernels.int8_linear(rand(2, 3), rand(4, 3), rand(4)),
            r"weight is float32 \(4, 3\), and must be int8 \(N, 3",
        ),
    ],
)
def test_what_cannot_be_is_refused(run, said):
    with pytest.raises(UsageError, match=said):
        run()


def norm(**changed):
    given = {"x": rand(2, 3), "bias": None, "residual": rand(2, 3), "weight": rand(3), "shift": rand(3), **changed}
    return kernels.bias_dropout_residual_layernorm(**given, backend="reference")
