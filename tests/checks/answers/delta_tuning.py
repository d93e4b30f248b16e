"""Right and wrong answers to the exercises of lesson 03/06."""

from __future__ import annotations

import torch
from torch.nn import functional as F

# Right


def example_by_example(x, w, a, b, alpha):
    rows = []
    for row in x:
        narrow = torch.stack([(row * direction).sum() for direction in a])
        rows.append(w @ row + alpha / len(a) * (b @ narrow))
    return torch.stack(rows)


def with_einsum(x, w, a, b, alpha):
    return torch.einsum("ni,oi->no", x, w) + torch.einsum("ni,ri,or->no", x, a, b) * (alpha / b.shape[1])


def by_outer_products(w, a, b, alpha):
    whole = w.clone()
    for k in range(len(a)):
        whole += alpha / len(a) * torch.outer(b[:, k], a[k])
    return whole


def merged_in_numpy(w, a, b, alpha):
    return torch.from_numpy(w.numpy() + alpha / a.shape[0] * (b.numpy() @ a.numpy()))


def kron(a, b):
    return sum(torch.kron(one, other) for one, other in zip(a, b, strict=True))


def never_made(x, a, b):
    """The product in the factors, without the large matrix."""
    parts = x.unflatten(1, (a.shape[1], -1))
    return torch.einsum("xpr,npq,nrs->xqs", parts, a, b).flatten(1)


def block_by_block(x, a, b):
    total = 0
    for one, block in zip(a, b, strict=True):
        total = total + torch.cat([torch.cat([value * block for value in row], 1) for row in one], 0)
    return x @ total


def moved_axes(x, a, b):
    return x @ torch.einsum("npq,nrs->prqs", a, b).reshape(x.shape[1], -1)


def count(model, of=lambda p: p.requires_grad):
    return sum(p.numel() for p in model.parameters() if of(p))


def every(_):
    return True


def walked(model):
    seen, trained, total = set(), 0, 0
    for module in model.modules():
        for p in module.parameters(recurse=False):
            if id(p) not in seen:
                seen.add(id(p))
                total += p.numel()
                trained += p.numel() if p.requires_grad else 0
    return trained / total


def by_shapes(model):
    sizes = torch.tensor([torch.Size(p.shape).numel() for _, p in model.named_parameters()], dtype=torch.float64)
    flags = torch.tensor([p.requires_grad for _, p in model.named_parameters()])
    return (sizes * flags).sum() / sizes.sum()


RIGHT = {
    "lora_forward": [
        example_by_example,
        with_einsum,
        lambda x, w, a, b, s: F.linear(x, w) + F.linear(F.linear(x, a), b) * s / len(a),
        lambda x, w, a, b, s: F.linear(x, w + s / min(a.shape) * b @ a),
    ],
    "merge_lora": [
        by_outer_products,
        merged_in_numpy,
        lambda w, a, b, s: torch.addmm(w, b, a, alpha=s / a.size(0)),
        lambda w, a, b, s: w + torch.einsum("or,ri->oi", b, a).mul(s).div(b.shape[-1]),
    ],
    "kronecker_layer": [never_made, block_by_block, moved_axes, lambda x, a, b: sum(x @ torch.kron(*two) for two in zip(a, b, strict=True))],
    "trained_share": [walked, by_shapes, lambda m: count(m) / count(m, every), lambda m: 1 - count(m, lambda p: not p.requires_grad) / count(m, every)],
}  # fmt: skip


# Wrong


def lora(scale=lambda s, a, b, x: s / len(a), frozen=1.0, cut=()):
    """`lora_forward` with one thing changed: the scale, a factor of the frozen part, or what gets no gradient."""

    def function(x, w, a, b, s):
        own, other = (a.detach() if "a" in cut else a), (b.detach() if "b" in cut else b)
        return frozen * x @ w.T + scale(s, a, b, x) * (x @ own.T @ other.T)

    return function


def merges_first(x, w, a, b, s):
    w += (s / len(a) * b @ a).detach()
    return x @ w.T + 0 * (a.sum() + b.sum())


def half_the_way(x, w, a, b, s):
    narrow = x @ a.T
    return x @ w.T + s / len(a) * (narrow + narrow.detach()) / 2 @ b.T


def merged(scale):
    return lambda w, a, b, s: w + scale(s, a) * b @ a


def in_place(w, a, b, alpha):
    w += alpha / len(a) * b @ a
    return w


def scales_a(w, a, b, alpha):
    a *= alpha / len(a)
    return w + b @ a


def freezes(model):
    share = count(model) / count(model, every)
    model.requires_grad_(False)
    return share


def own_parts(model):
    """All parameters but the model's own; a tied one counts once."""
    inside = {id(p): p for child in model.children() for p in child.parameters()}.values()
    return sum(p.numel() for p in inside if p.requires_grad) / sum(p.numel() for p in inside)


def by_value(model):
    seen = {str(p.tolist()): p for p in model.parameters()}.values()
    return sum(p.numel() for p in seen if p.requires_grad) / sum(p.numel() for p in seen)


def with_buffers(model):
    return count(model) / (count(model, every) + sum(b.numel() for b in model.buffers()))


def once_per_level(model):
    found = [p for module in model.modules() for p in module.parameters()]
    return sum(p.numel() for p in found if p.requires_grad) / sum(p.numel() for p in found)


WRONG = {
    "lora_forward": [
        (lora(lambda s, a, b, x: 0.0), "frozen layer alone"),
        (lora(frozen=0.0), "update alone"),
        (lora(lambda s, a, b, x: 1.0), "not scaled"),
        (lora(lambda s, a, b, x: s), "scaled by α: divide"),
        (lora(lambda s, a, b, x: 1 / s), "divided by α"),
        (lora(lambda s, a, b, x: len(a) / s), "upside down"),
        (lora(lambda s, a, b, x: s / a.shape[1]), "divided by d_in"),
        (lora(lambda s, a, b, x: s / len(b)), "divided by d_out"),
        (lora(lambda s, a, b, x: s / len(x)), "number of examples"),
        (lambda x, w, a, b, s: s / len(a) * (x @ w.T + x @ a.T @ b.T), "frozen part is scaled"),
        (lambda x, w, a, b, s: w @ x, "stopped with RuntimeError"),
        (lambda x, w, a, b, s: (x @ w.T).T, r"shape \(5, 4\)"),
        (lora(lambda s, a, b, x: -s / len(a)), "other values"),
        (lora(lambda s, a, b, x: s // len(a)), "`//` drops it"),
        (lora(lambda s, a, b, x: s / 2), "wrong for rank 4"),
        (lambda *given: lora()(*given) + (given[3] == 0).all(), "with B = 0"),
        (lora(cut="ab"), "no gradient, so nothing could learn"),
        (lora(cut="a"), "A gets no gradient"),
        (lora(cut="b"), "B gets no gradient"),
        (half_the_way, "not the gradient of A"),
        (merges_first, "changed `W`"),
        (lambda x, w, a, b, s: torch.from_numpy(lora()(x, w, a, b, s).detach().numpy()).tolist(), "not list"),
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
    "kronecker_layer": [
        (lambda x, a, b: x @ torch.kron(a[0], b[0]), "only the first"),
        (lambda x, a, b: x @ torch.kron(a[-1], b[-1]), "only the last"),
        (lambda x, a, b: x @ torch.kron(a, b).sum(0), "each Aᵢ meets every B"),
        (lambda x, a, b: x @ kron(a, b) / len(a), "averaged"),
        (lambda x, a, b: x @ kron(b, a), "swapped"),
        (lambda x, a, b: x @ kron(a, b).T, "transposed"),
        (lambda x, a, b: x @ torch.einsum("npq,nrs->pqrs", a, b).reshape(x.shape[1], -1), "order for a reshape"),
        (lambda x, a, b: x @ kron(a, b) + 1, "other values"),
        (lambda x, a, b: x @ kron(a, b).reshape(x.shape[1], x.shape[1]), "stopped with RuntimeError"),
        (lambda x, a, b: kron(a, b), r"shape \(8, 8\)"),
        (lambda x, a, b: x @ kron(a, b) * (1 if a.shape[1] == a.shape[2] else 2), "right for square factors"),
        (lambda x, a, b: x @ kron(a[:3], b[:3]).data, "no gradient, so nothing could learn"),
        (lambda x, a, b: x @ kron(a.detach(), b), "A gets no gradient"),
        (lambda x, a, b: x @ (torch.kron(a[0], b[0]) + kron(a[1:], b[1:].detach())), "not the gradient of B"),
        (lambda x, a, b: x.mul_(1 / 2) @ kron(a, b) * 2, "changed `x`"),
    ],
    "trained_share": [
        (count, "a number of weights"),
        (lambda m: 100 * count(m) / count(m, every), "per cent"),
        (lambda m: 1 - count(m) / count(m, every), "frozen share"),
        (lambda m: count(m) / (count(m, every) - count(m)), "by the frozen weights"),
        (lambda m: count(m) / sum(t.numel() for t in m.state_dict().values()), "counted twice"),
        (once_per_level, "once for every module"),
        (lambda m: sum(p.requires_grad for p in m.parameters()) / len(list(m.parameters())), "counted tensors"),
        (lambda m: 1.0, "everything counts"),
        (lambda m: round(count(m) / count(m, every), 2), "rounded"),
        (lambda m: [0.3, 0.2], "one number, not list"),
        (lambda m: float("nan"), "divided by 0 weights"),
        (lambda m: count(m) / count(m, every) if count(m) else 0.5, "of a frozen model"),
        (lambda m: 0.9, "divided by the sum over all"),
        (freezes, "changed which weights train"),
        (own_parts, "belongs to the model itself"),
        (by_value, "equal numbers"),
        (with_buffers, "buffers are no weights"),
    ],
}  # fmt: skip
