"""Right and wrong answers to the exercises of lesson 03/06."""

from __future__ import annotations

import torch
from torch.nn import functional as F

# Right


def example_by_example(x, a, b, alpha):
    rows = []
    for row in x.flatten(0, 1):
        narrow = torch.stack([(row * direction).sum() for direction in a])
        rows.append(alpha / len(a) * (b @ narrow))
    return torch.stack(rows).view(*x.shape[:2], -1)


def with_einsum(x, a, b, alpha):
    return torch.einsum("nti,ri,or->nto", x, a, b) * (alpha / b.shape[1])


def hooked(model, key, make):
    for parameter in model.parameters():
        parameter.requires_grad = False

    def add(layer, inputs, output):
        return output + layer.beside(*inputs)

    names = [name for name, _ in model.named_modules() if name.split(".")[-key.count(".") - 1 :] == key.split(".")]
    for name in names:
        layer = model.get_submodule(name)
        layer.beside = make(layer.in_features, layer.out_features)
        layer.register_forward_hook(add)
    return model


class Beside(torch.nn.Module):
    def __init__(self, layer, delta):
        super().__init__()
        self.layer, self.delta = layer, delta

    def forward(self, x):
        return self.layer(x) + self.delta(x)


def wrapped(model, key, make):
    model.requires_grad_(False)
    for name in [name for name, _ in model.named_modules() if name == key or name.endswith("." + key)]:
        layer = model.get_submodule(name)
        model.set_submodule(name, Beside(layer, make(layer.weight.shape[1], layer.weight.shape[0])))
    return model


def by_a_default(model, key, make):
    model.requires_grad_(False)
    for name, layer in dict(model.named_modules()).items():
        if ("." + name).endswith("." + key):
            delta = make(layer.in_features, layer.out_features)
            layer.add_module("delta", delta)
            layer.register_forward_hook(lambda _, inputs, output, delta=delta: output + delta(inputs[0]))
    return model


def by_outer_products(w, a, b, alpha):
    whole = w.clone()
    for k in range(len(a)):
        whole += alpha / len(a) * torch.outer(b[:, k], a[k])
    return whole


def merged_in_numpy(w, a, b, alpha):
    return torch.from_numpy(w.numpy() + alpha / a.shape[0] * (b.numpy() @ a.numpy()))


class Own(torch.nn.Module):
    """A delta by `call(module, x)`, with these numbers, which train."""

    def __init__(self, call, **numbers):
        super().__init__()
        self.call = call
        for name, value in numbers.items():
            setattr(self, name, torch.nn.Parameter(value))

    def forward(self, x):
        return self.call(self, x)


def noise(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def bias(d_in, d_out):
    return Own(lambda m, x: m.b.expand(*x.shape[:-1], -1), b=torch.zeros(d_out))


def rank_one(d_in, d_out):
    return Own(lambda m, x: (x @ m.a)[..., None] * m.b, a=noise(d_in), b=torch.zeros(d_out))


def kronecker(d_in, d_out):
    """A small square ⊗ a fixed matrix."""
    fixed = noise(d_in // 4, d_out // 4)
    return Own(lambda m, x: x @ torch.kron(m.a, fixed), a=torch.zeros(4, 4))


class Bottleneck(torch.nn.Module):
    """An adapter with one neuron, without a bias."""

    def __init__(self, d_in, d_out):
        super().__init__()
        self.down, self.up = torch.nn.Linear(d_in, 1, bias=False), torch.nn.Linear(1, d_out, bias=False)
        torch.nn.init.zeros_(self.up.weight)

    def forward(self, x):
        return self.up(torch.nn.functional.gelu(self.down(x)))


RIGHT = {
    "lora_update": [
        example_by_example,
        with_einsum,
        lambda x, a, b, s: F.linear(F.linear(x, a), b) * s / len(a),
        lambda x, a, b, s: x @ (s / min(a.shape) * b @ a).T,
    ],
    "attach": [hooked, wrapped, by_a_default],
    "merge_lora": [
        by_outer_products,
        merged_in_numpy,
        lambda w, a, b, s: torch.addmm(w, b, a, alpha=s / a.size(0)),
        lambda w, a, b, s: w + torch.einsum("or,ri->oi", b, a).mul(s).div(b.shape[-1]),
    ],
    "own_delta": [bias, rank_one, kronecker, Bottleneck],
}


# Wrong


def lora(scale=lambda s, a, b, x: s / len(a), cut=()):
    """`lora_update` with one thing changed: the scale, or what gets no gradient."""

    def function(x, a, b, s):
        own, other = (a.detach() if "a" in cut else a), (b.detach() if "b" in cut else b)
        return scale(s, a, b, x) * (x @ own.T @ other.T)

    return function


def half_the_way(x, a, b, s):
    narrow = x @ a.T
    return s / len(a) * (narrow + narrow.detach()) / 2 @ b.T


def halves_x(x, a, b, s):
    x /= 2
    return 2 * lora()(x, a, b, s)


def attached(fits=lambda name, key: f".{name}".endswith(f".{key}"), freeze="first", keep=True, answer=None, sizes=1,
             give=lambda model: model):  # fmt: skip
    """An `attach` with one thing changed."""

    def function(model, key, make):
        model.requires_grad_(freeze != "first")
        kept = []
        for name, layer in list(model.named_modules()):
            if fits(name, key) and hasattr(layer, "in_features"):
                delta = make(*(layer.in_features, layer.out_features)[::sizes])
                kept.append(delta)
                if keep:
                    layer.delta = delta
                layer.register_forward_hook(answer or (lambda layer, i, o, delta=delta: o + delta(i[0])))
        if freeze == "last":
            model.requires_grad_(False)
        return give(model)

    return function


def last_of_the_loop(model, key, make):
    model.requires_grad_(False)
    for name, layer in list(model.named_modules()):
        if f".{name}".endswith(f".{key}"):
            layer.delta = delta = make(layer.in_features, layer.out_features)
            layer.register_forward_hook(lambda layer, inputs, output: output + delta(inputs[0]))  # noqa: B023
    return model


def one_for_all(model, key, make):
    model.requires_grad_(False)
    delta = make(6, 4)
    for name, layer in list(model.named_modules()):
        if f".{name}".endswith(f".{key}"):
            layer.delta = delta
            layer.register_forward_hook(lambda layer, inputs, output: output + layer.delta(inputs[0]))
    return model


def merged(scale):
    return lambda w, a, b, s: w + scale(s, a) * b @ a


def in_place(w, a, b, alpha):
    w += alpha / len(a) * b @ a
    return w


def scales_a(w, a, b, alpha):
    a *= alpha / len(a)
    return w + b @ a


class InAList(torch.nn.Module):
    def __init__(self, d_in, d_out):
        super().__init__()
        self.numbers = [torch.zeros(d_out, requires_grad=True)]

    def forward(self, x):
        return self.numbers[0].expand(*x.shape[:-1], -1)


class Once(torch.nn.Module):
    """The update is computed in __init__."""

    def __init__(self, d_in, d_out):
        super().__init__()
        self.scales = torch.nn.Parameter(torch.zeros(d_out))
        self.matrix = noise(d_in, d_out) * self.scales

    def forward(self, x):
        return x @ self.matrix


WRONG = {
    "lora_update": [
        (lora(lambda s, a, b, x: 1.0), "not scaled"),
        (lora(lambda s, a, b, x: s), "scaled by α: divide"),
        (lora(lambda s, a, b, x: 1 / s), "divided by α"),
        (lora(lambda s, a, b, x: len(a) / s), "upside down"),
        (lora(lambda s, a, b, x: s / a.shape[1]), "divided by d_in"),
        (lora(lambda s, a, b, x: s / len(b)), "divided by d_out"),
        (lora(lambda s, a, b, x: s / len(x)), "number of texts"),
        (lambda x, a, b, s: s / len(a) * (a @ x), "stopped with RuntimeError"),
        (lambda x, a, b, s: x @ a.T, r"shape \(3, 4, 2\)"),
        (lora(lambda s, a, b, x: -s / len(a)), "other values"),
        (lora(lambda s, a, b, x: s // len(a)), "`//` drops it"),
        (lora(lambda s, a, b, x: s / 2), "wrong for rank 4"),
        (lora(cut="ab"), "no gradient, so nothing could learn"),
        (lora(cut="a"), "A gets no gradient"),
        (lora(cut="b"), "B gets no gradient"),
        (half_the_way, "not the gradient of A"),
        (halves_x, "changed `x`"),
    ],
    "attach": [
        (lambda model, key, make: [model], "return the model, not list"),
        (attached(fits=lambda name, key: name == key), "no delta was made"),
        (attached(fits=lambda name, key: name.endswith(key)), "prequery' got a delta too"),
        (attached(fits=lambda name, key: name.endswith("prequery")), "sizes exchanged"),
        (attached(fits=lambda name, key: name in ("layers.0.query", "layers.1.query")), "3 modules of this name: 2"),
        (one_for_all, "3 modules of this name: 1"),
        (attached(freeze="never"), "still train"),
        (attached(freeze="last"), "deltas are frozen too"),
        (attached(keep=False), "no optimizer would find it"),
        (attached(answer=lambda layer, i, o: layer.delta(i[0])), r"is \*added\*"),
        (attached(answer=lambda layer, i, o: None), "change nothing"),
        (attached(answer=lambda layer, i, o: o + 2 * layer.delta(i[0])), "added twice"),
        (attached(answer=lambda layer, i, o: o - layer.delta(i[0])), "wanted: what each layer gives"),
        (attached(answer=lambda layer, i, o: o + layer.delta(o)), "stopped with RuntimeError"),
        (last_of_the_loop, "uses the delta of the last one"),
    ],
    "merge_lora": [
        (lambda w, a, b, s: s / len(a) * b @ a, "update alone: add"),
        (lambda w, a, b, s: w, "this is W itself"),
        (merged(lambda s, a: 1), "would do less"),
        (merged(lambda s, a: s), "α alone"),
        (merged(lambda s, a: len(a) / s), "upside down"),
        (merged(lambda s, a: s / a.shape[1]), "width of the layer"),
        (lambda w, a, b, s: w + s / len(a) * a.T @ b.T, "transposed"),
        (merged(lambda s, a: -s / len(a)), "subtracted"),
        (lambda w, a, b, s: s / len(a) * (w + b @ a), "W is scaled too"),
        (lambda w, a, b, s: w + a @ b, "stopped with RuntimeError"),
        (merged(lambda s, a: 2 * s), "other values"),
        (in_place, "changed `W`"),
        (scales_a, "changed `A`"),
        (merged(lambda s, a: s // len(a)), "`//` drops it"),
        (merged(lambda s, a: s / 3), "take r from"),
    ],
    "own_delta": [
        (lambda d_in, d_out: torch.zeros(d_in, d_out), "torch.nn.Module is wanted"),
        (lambda d_in, d_out: Own(lambda m, x: None, a=noise(3)), "what the module gives is None"),
        (lambda d_in, d_out: Own(lambda m, x: x * m.a, a=torch.zeros(d_in)), r"shape \(3, 5, 24\)"),
        (lambda d_in, d_out: Own(lambda m, x: m.b.expand(len(x), -1), b=torch.zeros(d_out)), r"shape \(3, 40\)"),
        (InAList, "nothing trains"),
        (lambda d_in, d_out: Own(lambda m, x: x @ m.w, w=torch.zeros(d_in, d_out)), "it trains 960 numbers: at most d_in"),
        (lambda d_in, d_out: Own(lambda m, x: (x @ m.a)[..., None] * m.b, a=noise(d_in), b=noise(d_out)), "has to give 0"),
        (lambda d_in, d_out: Own(lambda m, x: (x @ m.a)[..., None] * m.b, a=torch.zeros(d_in), b=torch.zeros(d_out)), "every gradient is 0"),
        (lambda d_in, d_out: Own(lambda m, x: m.b.expand(*x.shape[:-1], -1), a=noise(d_in), b=torch.zeros(d_out)), "never get a gradient"),
        (lambda d_in, d_out: Own(lambda m, x: m.b.detach().expand(*x.shape[:-1], -1), b=torch.zeros(d_out)), "carries no gradient"),
        (lambda d_in, d_out: Own(lambda m, x: x @ torch.randn(d_in, d_out) * m.b, b=torch.zeros(d_out)), "two calls give two"),
        (Once, "compute with them in forward"),
        (lambda d_in, d_out: Own(lambda m, x: x.mean((0, 1), keepdim=True)[..., :1] * m.b + 0 * x[..., :1], b=torch.zeros(d_out)), "other texts of its batch"),
    ],
}  # fmt: skip
