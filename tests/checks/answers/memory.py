"""Right and wrong answers to the exercises of lesson 06/01."""

from __future__ import annotations

import math

import numpy as np
import torch


def row_by_row(batch, length, width, heads):
    """The table's rows, added up for each token."""
    total = 0
    for _ in range(batch * length):
        for row in (4 * width, 4 * width, 2 * 4 * width, heads * length):
            total += row
    return total


def by_shapes(batch, length, width, heads):
    """The shapes that PyTorch keeps."""
    shapes = [(batch, length, width)] * 8 + [(batch, length, 4 * width)] * 2 + [(batch, heads, length, length)]
    return sum(math.prod(shape) for shape in shapes)


def peak_by_parts(weights, layers, kept, logits):
    total = 0
    for size in (4, 4, 8):  # the weight, its gradient, Adam's averages
        total += size * weights
    for _ in range(layers):
        total += 4 * kept
    return total + 3 * 4 * logits


def again_by_autograd(function, x, gradient):
    """By torch.autograd.backward, on a clone."""
    start = x.detach().clone()
    start.requires_grad = True
    torch.set_grad_enabled(True)
    out = function(start)
    torch.set_grad_enabled(False)
    torch.autograd.backward([out], [gradient])
    return start.grad.clone()


@torch.enable_grad()
def again_by_a_product(function, x, gradient):
    """The gradient of out · gradient."""
    start = torch.nn.Parameter(x.detach())
    (function(start) * gradient).sum().backward()
    return start.grad


def accumulate_weighed(loss_sum, count, parts):
    """The means of the parts, weighed by their shares of the targets; a part without targets is left out."""
    counts = np.array([count(part) for part in parts])
    values = []
    for part, n in zip(parts, counts, strict=True):
        if n:
            loss = loss_sum(part) / n * (n / counts.sum())
            loss.backward()
            values.append(float(loss.detach()))
    return sum(values)


def accumulate_by_gradient(loss_sum, count, parts):
    """backward from a gradient of 1 / targets."""
    total, sums = torch.tensor([count(part) for part in parts]).sum(), 0.0
    for part in parts:
        loss = loss_sum(part)
        loss.backward(1.0 / total)
        sums = sums + loss.detach()
    return sums / total


def accumulate_all(loss_sum, count, parts):
    """The right gradients, with all activations alive at once."""
    loss = sum(loss_sum(part) for part in parts) / sum(count(part) for part in parts)
    loss.backward()
    return loss.item()


def planned(plain=None, inputs=None, top=max, third=3, way=5):
    """A plan, as it should be or with a mistake."""

    def plan(shape, rows, length, checkpoints):
        tokens = rows * length
        state, logits = tokens * shape.width, tokens * shape.vocabulary
        kept = tokens * (16 * shape.width + shape.heads * length)
        if not checkpoints:
            return 16 * shape.parameters + 4 * (shape.layers * kept + 3 * logits if plain is None else plain(shape, kept, logits, rows))  # fmt: skip
        saved = shape.layers * state if inputs is None else inputs(shape, state)
        return 16 * shape.parameters + 4 * (saved + top(third * logits, kept + way * state))

    return plan


def plan_token_by_token(shape, rows, length, checkpoints):
    d, v, n = shape.width, shape.vocabulary, shape.layers
    layer = 4 * d + 4 * d + 2 * 4 * d + shape.heads * length
    each = n * d + max(3 * v, layer + 5 * d) if checkpoints else n * layer + 3 * v
    return 16 * shape.parameters + sum(4 * each for _ in range(rows * length))


def plan_in_numpy(shape, rows, length, checkpoints):
    kept = rows * length * np.dot([16, length], [shape.width, shape.heads])
    state, logits = rows * length * np.array([shape.width, shape.vocabulary])
    moments = [shape.layers * kept + 3 * logits]
    if checkpoints:
        moments = shape.layers * state + np.array([3 * logits, kept + 5 * state])
    return 16 * shape.parameters + 4 * np.max(moments)


RIGHT = {
    "kept_numbers": [row_by_row, by_shapes, lambda b, s, d, h: float(b * s) * (np.dot([4, 4, 8], [d] * 3) + s * h)],
    "peak_bytes": [peak_by_parts, lambda w, n, k, g: np.dot([16, 4, 12], [w, n * k, g]),
                   lambda w, n, k, g: torch.tensor(4 * w + n * k + 3 * g) * 4],
    "again": [again_by_autograd, again_by_a_product, torch.enable_grad()(lambda f, x, g: (
        lambda start: (f(start).backward(g), start.grad)[1])(x.detach().requires_grad_()))],
    "accumulate": [accumulate_weighed, accumulate_by_gradient, lambda loss_sum, count, parts: math.fsum(
        (loss.backward(), loss.item())[1] for loss in (loss_sum(p) / sum(map(count, parts)) for p in parts))],
    "planned_peak": [planned(), plan_token_by_token, plan_in_numpy],
}  # fmt: skip


def second_run(
    start=lambda x: x.detach().requires_grad_(), back=lambda out, g: out.backward(g), give=lambda x, out: x.grad, runs=1
):
    """A second run, as it should be or with a mistake."""

    def again(function, x, gradient):
        x = start(x)
        with torch.enable_grad():
            for _ in range(runs):
                out = function(x)
            back(out, gradient)
        return give(x, out)

    return again


def without_enable_grad(function, x, gradient):
    x = x.detach().requires_grad_()
    function(x).backward(gradient)
    return x.grad


def of_x_alone(function, x, gradient):
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        return torch.autograd.grad(function(x), x, gradient)[0]


def with_what_was_before(function, x, gradient):
    with torch.enable_grad():
        out = function(x)
        x.retain_grad()
    out.backward(gradient)
    return x.grad


def weights_anew(function, x, gradient):
    """The gradients that the weights had are thrown away."""
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        out = function(x)
    for node in [edge[0] for edge in _leaves(out.grad_fn)]:
        if node.variable is not x:
            node.variable.grad = None
    out.backward(gradient)
    return x.grad


def _leaves(node):
    for following in node.next_functions:
        if following[0] is not None:
            yield from [following] if hasattr(following[0], "variable") else _leaves(following[0])


def parts_by(weigh=lambda loss, n, counts: loss / sum(counts), give=sum, twice=False, back=True):
    """An accumulation, as it should be or with a mistake."""

    def accumulate(loss_sum, count, parts):
        counts, values = [count(part) for part in parts], []
        for part, n in zip(parts, counts, strict=True):
            if twice:
                loss_sum(part)
            loss = weigh(loss_sum(part), n, counts)
            if back:
                loss.backward()
            values.append(loss.item())
        return give(values)

    return accumulate


WRONG = {
    "kept_numbers": [
        (lambda b, s, d, h: b * s * 16 * d, "attention shares are missing"),
        (lambda b, s, d, h: b * s * (16 * d + s), "each of the heads"),
        (lambda b, s, d, h: b * s * (16 * d + h), "not one per head"),
        (lambda b, s, d, h: b * s * 16 * d + h * s * s, "every text of the batch"),
        (lambda b, s, d, h: b * s * (16 * d + h * s + 4), "means and deviations"),
        (lambda b, s, d, h: 16 * d + h * s, "what one token costs"),
        (lambda b, s, d, h: s * (16 * d + h * s), "what one text costs"),
        (lambda b, s, d, h: b * s * (7 * d + h * s), "inputs of the linear layers alone"),
        (lambda b, s, d, h: b * s * (8 * d + h * s), "MLP's middle is missing"),
        (lambda b, s, d, h: b * s * (10 * d + h * s), "four times as wide"),
        (lambda b, s, d, h: b * s * (12 * d + h * s), "MLP's middle is kept twice: before"),
        (lambda b, s, d, h: 4 * b * s * (16 * d + h * s), "bytes in fp32"),
        (lambda b, s, d, h: 2 * b * s * (16 * d + h * s), "bytes in 16 bits"),
        (lambda b, s, d, h: 5 * 40 * (16 * 28 + 3 * 40), "wrong for another"),
        (lambda b, s, d, h: [b], "should be one number, not list"),
        (lambda b, s, d, h: b, "add up the table's rows"),
    ],
    "peak_bytes": [
        (lambda w, n, k, g: 16 * (w + n * k + 3 * g), "an activation is one number of 4 bytes"),
        (lambda w, n, k, g: 16 * w + n * k + 3 * g, "counted in numbers here"),
        (lambda w, n, k, g: 16 * w + 4 * n * k + 3 * g, "stands before the brackets"),
        (lambda w, n, k, g: 16 * w + 4 * (k + 3 * g), "what one layer keeps"),
        (lambda w, n, k, g: 16 * w + 4 * (n * k + g), "three tensors of the logits' size at once"),
        (lambda w, n, k, g: 16 * w + 4 * n * (k + 3 * g), "there is one loss"),
        (lambda w, n, k, g: 16 * w + 4 * n * k, "the loss is missing"),
        (lambda w, n, k, g: 4 * (w + n * k + 3 * g), "a weight costs 16 bytes"),
        (lambda w, n, k, g: 12 * w + 4 * (n * k + 3 * g), "12 bytes leave one"),
        (lambda w, n, k, g: 4 * (n * k + 3 * g), "16 bytes per weight are missing"),
        (lambda w, n, k, g: 16 * w + 2 * (n * k + 3 * g), "activations in 16 bits"),
        (lambda w, n, k, g: 16972, "wrong for another"),
        (lambda w, n, k, g: w, "3 · logits\\) was expected"),
        (lambda w, n, k, g: [w], "one number, not list"),
    ],
    "again": [
        (without_enable_grad, "left no graph"),
        (second_run(start=lambda x: x.detach()), "should be|is None"),
        (of_x_alone, "weights inside the function got no gradient"),
        (with_what_was_before, "went back through what lies before"),
        (weights_anew, "had are lost"),
        (second_run(back=lambda out, g: out.sum().backward()), "gradient from above plays no part"),
        (second_run(give=lambda x, out: out), "function's output"),
        (second_run(give=lambda x, out: x), "this is x itself"),
        (second_run(runs=2), "ran 2 times"),
        (second_run(back=lambda out, g: out.backward(2 * g)), "gradient of x is another"),
        (second_run(give=lambda x, out: x.grad.tolist()), "torch tensor, not list"),
    ],
    "accumulate": [
        (parts_by(lambda loss, n, counts: loss / max(n, 1) / len(counts)), "mean of the parts' means"),
        (parts_by(lambda loss, n, counts: loss / max(n, 1) / 3), "does not mend it"),
        (parts_by(lambda loss, n, counts: loss / max(n, 1)), "added up the parts' means"),
        (parts_by(lambda loss, n, counts: loss / n), "do not divide by its own count"),
        (parts_by(lambda loss, n, counts: loss / len(counts)), "number of parts: divide"),
        (parts_by(lambda loss, n, counts: loss), "sum over all targets"),
        (parts_by(lambda loss, n, counts: loss / 10), "counts as one target"),
        (parts_by(give=lambda values: values[-1]), "only the last part is left"),
        (parts_by(give=lambda values: max(values)), "gradients are right and the loss is not"),
        (parts_by(lambda loss, n, counts: loss / 7), "another gradient than that"),
        (parts_by(back=False), "no gradient has arrived"),
        (accumulate_all, "before the first backward pass"),
        (parts_by(twice=True), "8 forward passes"),
        (parts_by(lambda loss, n, counts: loss / 9), "wrong for a single one"),
        (parts_by(give=lambda values: values), "one number, not list"),
    ],
    "planned_peak": [
        (lambda shape, r, s, c: planned()(shape, r, s, not c), "two cases exchanged"),
        (planned(plain=lambda shape, kept, logits, r: shape.layers * kept + 3 * (logits // r)), "of all rows: rows"),
        (planned(plain=lambda shape, kept, logits, r: shape.layers * kept + 3 * (logits // 16)), "of all tokens"),
        (planned(plain=lambda shape, kept, logits, r: shape.layers * (kept // r) + 3 * logits), "for all rows: kept_numbers"),
        (planned(plain=lambda shape, kept, logits, r: kept + 3 * logits), "this is one layer"),
        (planned(plain=lambda shape, kept, logits, r: kept), "without checkpoints: peak_bytes"),
        (lambda shape, r, s, c: planned()(shape, r, s, False), "checkpoints change nothing"),
        (planned(top=lambda a, b: a + b), "alive at different moments"),
        (planned(top=lambda a, b: a), "can need more than the loss"),
        (planned(top=lambda a, b: b), "the loss can need more"),
        (planned(way=0), "on their way through the layer are missing"),
        (planned(third=1), "has three tensors"),
        (planned(inputs=lambda shape, state: state), "inputs of one layer"),
        (planned(inputs=lambda shape, state: 0), "that is what checkpoints keep"),
        (planned(way=4), "with checkpoints, where the layer is the larger"),
        (lambda shape, r, s, c: planned()(shape, 3, s, c), "wrong for one shape|wrong for another"),
        (lambda shape, r, s, c: [1], "one number, not list"),
    ],
}  # fmt: skip
