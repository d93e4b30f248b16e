"""Checks of lesson 03/06, delta tuning: `from labkit.checks import delta_tuning as check`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from labkit.checks.exercise import Mistake, asked, exercise, expect, given, learns, same, tensor, trains

LESSON = "03/06"
SILENT = (
    "the values are right, but {} gets no gradient, so it would never learn: .detach(), .data and no_grad() cut it off"
)
CUT = "the values are right, but not the gradient of {}: a part of the way to it is cut off"
Make = Callable[[int, int], nn.Module]


def _drawn(*shapes: tuple[int, ...]) -> tuple[Tensor, ...]:
    draw = torch.Generator().manual_seed(6)
    return tuple(torch.randn(*shape, generator=draw) for shape in shapes)


def _lora_update(x: Tensor, a: Tensor, b: Tensor, alpha: float) -> Tensor:
    return alpha / a.shape[0] * (x @ a.T @ b.T)


@exercise(LESSON, _lora_update)
def lora_update(function: Callable[[Tensor, Tensor, Tensor, float], Tensor]) -> None:
    """x (batch, tokens, d_in), A (r, d_in), B (d_out, r), α → (α/r)·B A x: (batch, tokens, d_out)."""
    x, a, b = _drawn((3, 4, 7), (2, 7), (5, 2))
    result = asked(function, x=x, A=a.requires_grad_(), B=b.requires_grad_(), alpha=6.0)
    found, update = tensor(result, (3, 4, 5), gradient=True), (x @ a.T @ b.T).detach()
    mistakes = [
        (update, "the update is not scaled: multiply it by α/r"),
        (6 * update, "you scaled by α: divide it by the rank r = A.shape[0], so that a larger rank does not mean a larger update"),
        (update / 6, "you divided by α: the scale is α/r"),
        (2 / 6 * update, "the scale is upside down: α/r, not r/α"),
        (6 / 7 * update, "you divided by d_in: r is the *small* dimension, A.shape[0]"),
        (6 / 5 * update, "you divided by d_out: r is the *small* dimension, A.shape[0]"),
        (6 / 3 * update, "you divided by the number of texts: r is the *small* dimension, A.shape[0]"),
    ]  # fmt: skip
    expect(found, 3 * update, "other values: wanted is (α/r)·x Aᵀ Bᵀ, with r = A.shape[0]", mistakes)
    learns(result, _lora_update(x, a, b, 6.0), {"A": a, "B": b}, CUT, SILENT)
    x, a, b = _drawn((2, 1, 6), (4, 6), (9, 4))
    other = tensor(function(x, a, b, 3.0), (2, 1, 9), "with rank 4 and α = 3, the result")
    rounded = [(0 * other, "with rank 4 and α = 3 the update is gone: `/` keeps the fraction 3/4, `//` drops it")]
    expect(other, _lora_update(x, a, b, 3.0), "right for rank 2, wrong for rank 4 with α = 3: take r from A.shape[0]", rounded)  # fmt: skip


def _attach(model: nn.Module, key: str, make: Make) -> nn.Module:
    model.requires_grad_(False)
    for name, layer in list(model.named_modules()):
        if f".{name}".endswith(f".{key}"):
            layer.delta = make(layer.in_features, layer.out_features)
            layer.register_forward_hook(lambda layer, inputs, output: output + layer.delta(inputs[0]))
    return model


class _Tower(nn.Module):
    """Three layers, each of a part "query" and one whose name only ends in the same letters; `added` to the queries."""

    def __init__(self, added: Sequence[Tensor] = ()) -> None:
        super().__init__()
        parts = [{"query": nn.Linear(6, 4), "prequery": nn.Linear(4, 6)} for _ in range(3)]
        self.layers = nn.ModuleList(map(nn.ModuleDict, parts))
        for parameter, values in zip(self.parameters(), _drawn(*(p.shape for p in self.parameters())), strict=True):
            parameter.data = values
        for layer, more in zip(self.layers, added, strict=False):
            layer["query"].weight.data += more

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer["prequery"](layer["query"](x).tanh())
        return x


@exercise(LESSON, _attach)
def attach(function: Callable[[nn.Module, str, Make], nn.Module]) -> None:
    """A model, the end of names, make(d_in, d_out) → the model, frozen, with a new delta beside each module so named."""
    (x,), made = _drawn((2, 5, 6)), []

    def make(d_in: int, d_out: int) -> nn.Module:
        made.append(nn.Linear(d_in, d_out, bias=False))
        nn.init.zeros_(made[-1].weight)
        return made[-1]

    model = function(_Tower(), "query", make)
    given(model)
    if not isinstance(model, nn.Module):
        raise Mistake(f"return the model, not {type(model).__name__}")
    _right_places([(delta.in_features, delta.out_features) for delta in made])
    _only_they_train(model, [delta.weight for delta in made])
    if not same(model(x), _Tower()(x)):
        raise Mistake("with deltas that give 0 the model must answer as before: what a delta gives is *added* to what its layer gives")  # fmt: skip
    with torch.no_grad():
        for delta, values in zip(made, _drawn((4, 6), (4, 6), (4, 6)), strict=True):
            delta.weight.copy_(values)
    added = [delta.weight.detach() for delta in made]
    mistakes = [
        (_Tower([added[-1]] * 3)(x), "every layer uses the delta of the last one: a function made in a loop sees the loop's last value; reach the delta through the layer that the hook is given, layer.delta"),
        (_Tower()(x), "the deltas change nothing: a forward hook has to return `output + layer.delta(inputs[0])`"),
        (_Tower([2 * one for one in added])(x), "each delta is added twice: does a layer have two hooks?"),
    ]  # fmt: skip
    expect(model(x), _Tower(added)(x), "wanted: what each layer gives plus what its delta makes of the layer's input", mistakes, tolerance=1e-4)  # fmt: skip


def _right_places(sizes: list[tuple[int, int]]) -> None:
    """Mistake unless deltas of these sizes were made for the three queries."""
    if not sizes:
        raise Mistake("no delta was made: 'query' is the end of the names 'layers.0.query', 'layers.1.query' …; model.named_modules() gives the names")  # fmt: skip
    if len(sizes) > 3 and {(6, 4), (4, 6)} == set(sizes):
        raise Mistake("'layers.0.prequery' got a delta too: 'query' must be the whole last part of a name, so ask whether '.' + name ends with '.' + key")  # fmt: skip
    if sizes[0] == (4, 6):
        raise Mistake("make(d_in, d_out) was called with the two sizes exchanged: a linear layer has in_features and out_features")  # fmt: skip
    if len(sizes) != 3:
        raise Mistake(f"deltas made for 3 modules of this name: {len(sizes)}; call make once for each of them")


def _only_they_train(model: nn.Module, own: list[nn.Parameter]) -> None:
    """Mistake unless the deltas' weights, all of them and no others, train and are found by an optimizer."""
    there = {id(parameter): parameter.requires_grad for parameter in model.parameters()}
    if any(trains and one not in map(id, own) for one, trains in there.items()):
        raise Mistake("weights of the model still train: freeze it first, model.requires_grad_(False)")
    if not all(id(weight) in there for weight in own):
        raise Mistake("a delta is not among model.parameters(), so no optimizer would find it: make it an attribute of its layer, layer.delta = …")  # fmt: skip
    if not all(there[id(weight)] for weight in own):
        raise Mistake("the deltas are frozen too: freeze the model before you make them")


def _merge_lora(weight: Tensor, a: Tensor, b: Tensor, alpha: float) -> Tensor:
    return weight + alpha / a.shape[0] * b @ a


@exercise(LESSON, _merge_lora)
def merge_lora(function: Callable[[Tensor, Tensor, Tensor, float], Tensor]) -> None:
    """W (d_out, d_in), A (r, d_in), B (d_out, r), α → one matrix that does what the frozen one and the update did."""
    weight, a, b = _drawn((6, 6), (3, 6), (6, 3))  # square, so that a transposed product fits too
    found = tensor(asked(function, W=weight, A=a, B=b, alpha=12.0), (6, 6)).clone()
    mistakes = [
        (4 * b @ a, "this is the update alone: add it to W"),
        (weight, "this is W itself: add (α/r)·B A"),
        (weight + b @ a, "the scale α/r is missing: the merged layer would do less than the trained one did"),
        (weight + 12 * b @ a, "you scaled by α alone: the scale is α/r"),
        (weight + b @ a / 4, "the scale is upside down: α/r, not r/α"),
        (weight + 2 * b @ a, "you divided by the width of the layer: r is the *small* dimension, A.shape[0]"),
        (weight + 4 * (b @ a).T, "your update is transposed: in W x + B A x, B stands left of A"),
        (weight - 4 * b @ a, "you subtracted the update: that is how to take a merged delta out again"),
        (4 * (weight + b @ a), "W is scaled too: the factor α/r belongs to the update only"),
    ]
    expect(found, weight + 4 * b @ a, "other values: wanted is W + (α/r)·B A", mistakes)
    weight, a, b = _drawn((5, 7), (2, 7), (5, 2))
    wide = tensor(function(weight.clone(), a, b, 5.0), (5, 7), "with W (5, 7), rank 2 and α = 5, the result")
    rounded = [(weight + 2 * b @ a, "with α = 5 and rank 2 the scale is 2.5: `/` keeps the fraction, `//` drops it")]
    expect(wide, _merge_lora(weight, a, b, 5.0), "right for W (6, 6) and rank 3, wrong for W (5, 7), rank 2 and α = 5: take r from A.shape[0]", rounded)  # fmt: skip


class _Scaled(nn.Module):
    """A fixed random matrix, and a trained scale for each of its outputs, 0 at the start: d_out numbers."""

    def __init__(self, d_in: int, d_out: int) -> None:
        super().__init__()
        drawn = torch.randn(d_out, d_in, generator=torch.Generator().manual_seed(0))
        self.register_buffer("fixed", drawn / d_in**0.5)
        self.scales = nn.Parameter(torch.zeros(d_out))

    def forward(self, x: Tensor) -> Tensor:
        return self.scales * (x @ self.fixed.T)


@exercise(LESSON, _Scaled)
def own_delta(function: Make) -> None:
    """d_in, d_out → a module (batch, tokens, d_in) → (batch, tokens, d_out), 0 at the start, at most d_in + d_out numbers."""
    for d_in, d_out in ((24, 40), (32, 32), (40, 24)):
        module = function(d_in, d_out)
        given(module)
        if not isinstance(module, nn.Module):
            raise Mistake(f"a torch.nn.Module is wanted, so that training finds its numbers, not {type(module).__name__}")  # fmt: skip
        x = _drawn((3, 5, d_in))[0]
        found = module(x)
        tensor(found, (3, 5, d_out), f"for d_in = {d_in} and d_out = {d_out}, what the module gives")
        if not same(found, torch.zeros_like(found)):
            raise Mistake("a new delta has to give 0, so that training begins with the model as it is: start one factor at 0")  # fmt: skip
        most = d_in + d_out
        trains(module, partial(module, x), most, f"at most d_in + d_out = {most} for these sizes, as many as LoRA of rank 1")  # fmt: skip
        if not same(module(x)[:1], module(x[:1]), 1e-4):
            raise Mistake("what a text gets depends on the other texts of its batch: keep the first dimension apart")
