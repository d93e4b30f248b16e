"""Checks of lesson 06/01, memory: `from labkit.checks import memory as check`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from labkit.checks.exercise import Mistake, exercise, expect, number, same, tensor
from labkit.parallel.memory import accumulation
from labkit.parallel.memory.shape import ModelShape

LESSON = "06/01"


def _kept_numbers(batch: int, length: int, width: int, heads: int) -> int:
    return batch * length * (16 * width + heads * length)


@exercise(LESSON, _kept_numbers)
def kept_numbers(function: Callable[[int, int, int, int], float]) -> None:
    """(batch, length, width, heads) → how many numbers one layer keeps for its backward pass."""
    b, s, d, h = 5, 40, 28, 3
    right = b * s * (16 * d + h * s)
    mistakes = [
        (b * s * 16 * d, "the attention shares are missing: for every token, each head keeps a row of `length` shares"),
        (b * s * (16 * d + s), "each of the heads has its own table of shares: heads · length numbers per token"),
        (b * s * (16 * d + h), "a head keeps a whole row of shares for every token: heads · length numbers, not one per head"),
        (b * s * 16 * d + h * s * s, "every text of the batch has its own attention shares: they grow with the batch too"),
        (b * s * (16 * d + h * s + 4), "you counted LayerNorm's means and deviations too, four numbers per token: leave them out here"),
        (16 * d + h * s, "this is what one token costs: multiply by the batch · length tokens"),
        (s * (16 * d + h * s), "this is what one text costs: multiply by the batch too"),
        (b * s * (7 * d + h * s), "these are the shares and the inputs of the linear layers alone: the LayerNorms' inputs, queries, keys, values and the non-linearity's input are kept too"),
        (b * s * (8 * d + h * s), "the MLP's middle is missing: it is 4 · width wide, and kept before and after the non-linearity"),
        (b * s * (10 * d + h * s), "the MLP's middle is four times as wide as the layer: it keeps 2 · 4 · width numbers per token"),
        (b * s * (12 * d + h * s), "the MLP's middle is kept twice: before the non-linearity, for its derivative, and after it, as the next layer's input"),
        (4 * right, "these are bytes in fp32: numbers are asked for"),
        (2 * right, "these are bytes in 16 bits: numbers are asked for"),
    ]  # fmt: skip
    expect(number(function(b, s, d, h)), right, "batch · length · (8 width + 2 · 4 width + heads · length) was expected: add up the table's rows", mistakes)  # fmt: skip
    expect(number(function(2, 7, 32, 4)), _kept_numbers(2, 7, 32, 4), "right for one shape and wrong for another: use all four arguments")  # fmt: skip


def _peak_bytes(weights: int, layers: int, kept: int, logits: int) -> int:
    return 16 * weights + 4 * (layers * kept + 3 * logits)


@exercise(LESSON, _peak_bytes)
def peak_bytes(function: Callable[[int, int, int, int], float]) -> None:
    """The numbers of weights, layers, of what one layer keeps, of logits → bytes at the peak, all in 32 bits."""
    w, n, k, g = 1000, 3, 70, 11
    mistakes = [
        (16 * (w + n * k + 3 * g), "16 bytes are a weight's, with its gradient and the optimizer's two numbers; an activation is one number of 4 bytes"),
        (16 * w + n * k + 3 * g, "activations are counted in numbers here: 4 bytes each"),
        (16 * w + 4 * n * k + 3 * g, "the logits' tensors have 4 bytes for each number too: the 4 stands before the brackets"),
        (16 * w + 4 * (k + 3 * g), "this is what one layer keeps: at the peak all layers have theirs"),
        (16 * w + 4 * (n * k + g), "the loss has three tensors of the logits' size at once"),
        (16 * w + 4 * n * (k + 3 * g), "only the layers' part is multiplied by their number: there is one loss"),
        (16 * w + 4 * n * k, "the loss is missing: three tensors of the logits' size"),
        (4 * (w + n * k + 3 * g), "a weight costs 16 bytes in training: itself, its gradient and the optimizer's two averages"),
        (12 * w + 4 * (n * k + 3 * g), "12 bytes leave one of a weight's four numbers out: itself, its gradient and the optimizer's two averages"),
        (4 * (n * k + 3 * g), "the 16 bytes per weight are missing"),
        (16 * w + 2 * (n * k + 3 * g), "these are activations in 16 bits: here everything has 32 bits, 4 bytes"),
    ]  # fmt: skip
    expect(number(function(w, n, k, g)), _peak_bytes(w, n, k, g), "16 · weights + 4 · (layers · kept + 3 · logits) was expected", mistakes)  # fmt: skip
    expect(number(function(7, 5, 2, 30)), _peak_bytes(7, 5, 2, 30), "right for one model and wrong for another: use all four arguments")  # fmt: skip


def _again(function: Callable[[Tensor], Tensor], x: Tensor, gradient: Tensor) -> Tensor:
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        out = function(x)
    out.backward(gradient)
    return x.grad


@exercise(LESSON, _again)
def again(function: Callable[[Callable[[Tensor], Tensor], Tensor, Tensor], Tensor]) -> None:
    """A function, its input x, the gradient of its output → the gradient of x; weights inside get theirs too."""
    earlier = torch.tensor([1.0, -2.0, 0.5], requires_grad=True)
    x, weight = earlier * 2, torch.tensor([[0.5, -1.0, 2.0], [1.5, 0.3, -0.7]], requires_grad=True)
    weight.grad, before, runs = torch.ones(2, 3), x.detach().clone(), []

    def run(value: Tensor) -> Tensor:
        runs.append(value)
        return (weight @ value) ** 2

    gradient = torch.tensor([3.0, -1.0])
    with torch.no_grad():  # as PyTorch calls a backward pass
        found = _second_run(function, run, x, gradient)
    out = 2 * (weight @ before)
    right, inside = (weight.T @ (out * gradient)).detach(), torch.outer((out * gradient).detach(), before)
    if torch.is_tensor(found) and found.shape == (2,) and same(found, (weight @ before) ** 2):
        raise Mistake("this is the function's output: the gradient of x is wanted, which backward leaves in `x.grad`")
    found = tensor(found, (3,))
    mistakes = [
        ((weight.T @ out).detach(), "the gradient from above plays no part: `out.backward(gradient)`, not `out.sum().backward()`"),
        (before, "this is x itself: its gradient is wanted"),
    ]  # fmt: skip
    expect(found, right, "the gradient of x is another: that of the output, taken back through the function", mistakes)
    if len(runs) > 1:
        raise Mistake(f"the function ran {len(runs)} times: once again is enough, and each run costs time")
    if earlier.grad is not None:
        raise Mistake("you went back through what lies before x as well: begin anew with x.detach()")
    if same(weight.grad, torch.ones(2, 3)):
        raise Mistake("the weights inside the function got no gradient: `backward` gives it to them, `torch.autograd.grad` of x alone does not")  # fmt: skip
    own = [(inside, "the gradients that the weights had are lost: backward adds to them, so that they can add up over a batch's parts")]  # fmt: skip
    expect(weight.grad, 1 + inside, "right for x, and the weights inside the function got other gradients", own)


def _second_run(function: Callable[..., Any], run: Callable[[Tensor], Tensor], x: Tensor, gradient: Tensor) -> Any:
    try:
        return function(run, x, gradient)
    except RuntimeError as error:
        if "does not require grad" in str(error):
            raise Mistake("the second run has left no graph to go back through: run the function inside `with torch.enable_grad():`, on an x that requires a gradient") from error  # fmt: skip
        raise


@exercise(LESSON, accumulation.accumulate)
def accumulate(function: Callable[..., float]) -> None:
    """loss_sum(part), count(part), the parts → the mean loss over all targets; backward was called for each part."""
    parts = [([1.0, 3.0], 2), ([2.0, 2.0, 4.0, 0.0, 2.0, 6.0], 6), ([], 0), ([7.0], 1)]
    weight, log = torch.tensor(2.0, requires_grad=True), []
    found = number(function(_loss_sum(weight, log), lambda part: part[1], list(parts)), "the loss", "a part may have no target: do not divide by its own count")  # fmt: skip
    if weight.grad is None:
        raise Mistake("no gradient has arrived: call `backward()` on the loss of each part")
    if len(log) > len(parts):
        raise Mistake(f"{len(parts)} parts made {len(log)} forward passes: run each part once")
    if any(done is None for done in log[1:]):
        raise Mistake("all parts ran before the first backward pass, so all their activations were alive at once: call `backward()` inside the loop")  # fmt: skip
    sums = torch.tensor([8.0, 32.0, 0.0, 14.0])  # of weight · value, and the gradient is half of that
    mistakes = _of_parts(sums, torch.tensor([2, 6, 0, 1]))
    expect(weight.grad, 27 / 9, "another gradient than that of the mean over all targets: each part's sum is divided by the number of all targets", [(value / 2, text) for value, text in mistakes])  # fmt: skip
    expect(found, 54 / 9, "the gradients are right and the loss is not: return the mean over all targets", mistakes)
    one, alone = torch.tensor(3.0, requires_grad=True), [([1.0, 2.0], 2)]
    expect(number(function(_loss_sum(one, []), lambda part: part[1], alone)), 4.5, "right for four parts and wrong for a single one")  # fmt: skip


def _loss_sum(weight: Tensor, log: list[Any]) -> Callable[[Any], Tensor]:
    """The loss of a part; at each call `log` gets the gradient that there is by then."""

    def loss_sum(part: Any) -> Tensor:
        log.append(None if weight.grad is None else weight.grad.clone())
        return (weight * torch.tensor(part[0])).sum()

    return loss_sum


def _of_parts(sums: Tensor, counts: Tensor) -> list[tuple[Tensor, str]]:
    """What comes out with a mistake in it."""
    means = sums / counts.clamp(min=1)
    return [
        (means.mean(), "this is the mean of the parts' means: a target counts more where its part has few. Divide each part's sum by the number of all targets"),
        (means[counts > 0].mean(), "leaving out the empty part does not mend it: the other parts still have unequal numbers of targets"),
        (means.sum(), "you added up the parts' means: divide each part's sum by the number of all targets"),
        (sums.mean(), "you divided by the number of parts: divide by the number of targets"),
        (sums.sum(), "this is the sum over all targets: divide it by their number"),
        (sums.sum() / 10, "the part without targets counts as one target here: add up the counts as they are"),
        (sums[-1] / counts.sum(), "only the last part is left: gradients and losses add up"),
    ]  # fmt: skip


def _planned_peak(shape: ModelShape, rows: int, length: int, checkpoints: bool) -> int:
    kept = _kept_numbers(rows, length, shape.width, shape.heads)
    logits, state = rows * length * shape.vocabulary, rows * length * shape.width
    if not checkpoints:
        return _peak_bytes(shape.parameters, shape.layers, kept, logits)
    return 16 * shape.parameters + 4 * (shape.layers * state + max(3 * logits, kept + 5 * state))


@exercise(LESSON, _planned_peak)
def planned_peak(function: Callable[[ModelShape, int, int, bool], float]) -> None:
    """The model's shape, texts at a time, their length, checkpoints or not → the peak of a training step in bytes."""
    for vocabulary, larger in ((40, "the layer"), (900, "the loss")):
        shape = ModelShape(7, 32, 4, vocabulary, 16)
        plain = _planned_peak(shape, 3, 16, False)
        expect(number(function(shape, 3, 16, False)), plain, "without checkpoints: peak_bytes of all layers and the logits of these rows was expected", _no_checkpoints(shape, 3, 16))  # fmt: skip
        message = f"with checkpoints, where {larger} is the larger: 16 · weights + 4 · (layers · state + max(3 · logits, kept + 5 · state)) was expected"  # fmt: skip
        expect(number(function(shape, 3, 16, True)), _planned_peak(shape, 3, 16, True), message, _checkpoints(shape, 3, 16))  # fmt: skip
    other = ModelShape(2, 48, 3, 50, 32)
    for checkpoints in (False, True):
        expect(number(function(other, 5, 20, checkpoints)), _planned_peak(other, 5, 20, checkpoints), "right for one shape and wrong for another: use all of the shape, `rows` and `length`")  # fmt: skip


def _no_checkpoints(shape: ModelShape, rows: int, length: int) -> list[tuple[float, str]]:
    kept, logits = _kept_numbers(rows, length, shape.width, shape.heads), rows * length * shape.vocabulary
    return [
        (_planned_peak(shape, rows, length, True), "without checkpoints all layers keep everything: are the two cases exchanged?"),
        (_peak_bytes(shape.parameters, shape.layers, kept, logits // rows), "the logits are those of all rows: rows · length · vocabulary"),
        (_peak_bytes(shape.parameters, shape.layers, kept, logits // length), "the logits are those of all tokens: rows · length · vocabulary"),
        (_peak_bytes(shape.parameters, shape.layers, kept // rows, logits), "the layers keep their numbers for all rows: kept_numbers(rows, length, …)"),
        (_peak_bytes(shape.parameters, 1, kept, logits), "this is one layer: all layers keep theirs"),
    ]  # fmt: skip


def _checkpoints(shape: ModelShape, rows: int, length: int) -> list[tuple[float, str]]:
    kept = _kept_numbers(rows, length, shape.width, shape.heads)
    state, logits = rows * length * shape.width, rows * length * shape.vocabulary
    base, inputs = 16 * shape.parameters, shape.layers * state
    return [
        (_planned_peak(shape, rows, length, False), "checkpoints change nothing in yours: then a layer keeps only its input"),
        (base + 4 * (inputs + 3 * logits + kept + 5 * state), "you added the loss and the layer: they are alive at different moments, so the larger of the two counts"),
        (base + 4 * (inputs + 3 * logits), "a layer that is computed again can need more than the loss: take the larger of the two"),
        (base + 4 * (inputs + kept + 5 * state), "the loss can need more than a layer: take the larger of the two"),
        (base + 4 * (inputs + max(3 * logits, kept)), "the gradients on their way through the layer are missing, 5 · state"),
        (base + 4 * (inputs + max(logits, kept + 5 * state)), "the loss has three tensors of the logits' size"),
        (base + 4 * (state + max(3 * logits, kept + 5 * state)), "these are the inputs of one layer: all layers keep theirs"),
        (base + 4 * max(3 * logits, kept + 5 * state), "the inputs of the layers are missing: that is what checkpoints keep"),
    ]  # fmt: skip
