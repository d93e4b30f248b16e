"""Checks of lesson 01/02, reading one word after another: `from labkit.checks import sequences as check`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from labkit.checks.exercise import Mistake, asked, exercise, expect, items, learns, parts, same, tensor, whole

LESSON, WRITER = "01/02", 108


def _numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _weights(gates: int) -> dict[str, Tensor]:
    """Of 3 inputs and 4 units."""
    shapes = {"W": (4 * gates, 3), "U": (4 * gates, 4), "b": (4 * gates,)}
    return {name: _numbers(*shape, seed=7 + n) for n, (name, shape) in enumerate(shapes.items())}


def _rnn_step(x: Tensor, h: Tensor, W: Tensor, U: Tensor, b: Tensor) -> Tensor:
    return torch.tanh(x @ W.T + h @ U.T + b)


@exercise(LESSON, _rnn_step)
def rnn_step(function: Callable[..., Tensor]) -> None:
    """x (batch, inputs), h (batch, size), W (size, inputs), U (size, size), b (size,) → the new h (batch, size)."""
    given = {"x": _numbers(5, 3), "h": _numbers(5, 4, seed=1).tanh(), **_weights(1)}
    given = {name: value.requires_grad_() for name, value in given.items()}
    found, (x, h, W, U, b) = asked(function, **given), given.values()
    expect(tensor(found, (5, 4), gradient=True), _rnn_step(**given), "wanted: tanh(W x + U h + b), for each row of the batch", [
        (x @ W.T + h @ U.T + b, "tanh is missing: without it the numbers can grow from word to word without bound"),
        (torch.sigmoid(x @ W.T + h @ U.T + b), "this is a sigmoid, from 0 to 1: the RNN's own function is tanh, from −1 to 1"),
        (torch.tanh(x @ W.T + h @ U + b), "U is the wrong way round: row i of U makes unit i, so it is h @ U.T"),
        (torch.tanh(x @ W.T + h @ U.T), "the bias b is missing"),
        (torch.tanh(x @ W.T + b), "the old state h is missing: this step remembers nothing"),
        (torch.tanh(h @ U.T + b), "the word x is missing: this step reads nothing"),
    ])  # fmt: skip
    learns(found, _rnn_step(**given), given, "the numbers are right, but not the gradient of {}: cut nothing off")


def _reach(states: Tensor, U: Tensor) -> Tensor:
    product = torch.eye(len(U))
    for h in states:
        product = (1 - h**2)[:, None] * U @ product
    return product


@exercise(LESSON, _reach)
def reach(function: Callable[[Tensor, Tensor], Tensor]) -> None:
    """The states h_1 … h_T (steps, size) of one text, U (size, size) → ∂h_T/∂h_0 (size, size)."""
    states, U = _numbers(3, 4, seed=2).tanh(), _numbers(4, 4, seed=3)
    found = tensor(asked(function, states=states, U=U), (4, 4))
    each = [(1 - h**2)[:, None] * U for h in states]
    columns = [U * (1 - h**2) for h in states]
    expect(found, _reach(states, U), "wanted: the product of diag(1 − h_t²) U over all steps, the last step's on the left", [
        (each[0] @ each[1] @ each[2], "the order is turned round: the first step acts first, so its matrix stands on the right"),
        (_reach(states, U).T, "the matrix is transposed: row i belongs to unit i of the last state"),
        (columns[2] @ columns[1] @ columns[0], "1 − h² multiplies the columns of U: the slope of unit i belongs to row i, (1 − h**2)[:, None] * U"),
        (U @ U @ U, "the slope 1 − h² is missing: each step is U and then tanh"),
        (torch.linalg.multi_dot([(1 - h)[:, None] * U for h in states.flip(0)]), "the slope is 1 − h², not 1 − h"),
        (torch.linalg.multi_dot([(1 - h.tanh() ** 2)[:, None] * U for h in states.flip(0)]), "a state has been through tanh already: its slope is 1 − h², not 1 − tanh(h)²"),
        (sum(each), "you added the steps' matrices: one step acts on the result of the other, so multiply them"),
        (each[2] @ each[1], "the first step's matrix is missing: from h_0 to h_T there are as many steps as states"),
    ])  # fmt: skip
    expect(function(states[:1], U), each[0], "right for three steps, but not for one, whose matrix it should be")


def _lstm_step(x: Tensor, h: Tensor, c: Tensor, W: Tensor, U: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    i, f, g, o = (x @ W.T + h @ U.T + b).chunk(4, 1)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


@exercise(LESSON, _lstm_step)
def lstm_step(function: Callable[..., tuple[Tensor, Tensor]]) -> None:
    """x (batch, inputs), h and c (batch, size), W (4·size, inputs), U (4·size, size), b (4·size,) → the new h and c."""
    given = {"x": _numbers(5, 3), "h": _numbers(5, 4, seed=1).tanh(), "c": _numbers(5, 4, seed=2), **_weights(4)}
    given = {name: value.requires_grad_() for name, value in given.items()}
    found = parts(asked(function, **given), ("h", "c"))
    h, c = (tensor(one, (5, 4), name, gradient=True) for one, name in zip(found, ("h", "c"), strict=True))
    (x, old, cell, W, U, b), right = given.values(), _lstm_step(**given)
    sums = x @ W.T + old @ U.T + b
    i, f, g, o = sums.chunk(4, 1)
    (si, sf, sg, so), tg = (torch.sigmoid(one) for one in (i, f, g, o)), torch.tanh(g)
    if same(h, right[1]) and same(c, right[0]):
        raise Mistake("the two are exchanged: return h, c")
    expect(c, right[1], "wanted: c' = σ(f) ⊙ c + σ(i) ⊙ tanh(g), with the four parts in the order i, f, g, o", [
        (sf * cell + tg, "the input gate is missing: σ(i) says how much of the candidate is written"),
        (cell + si * tg, "the forget gate is missing: σ(f) says how much of the old cell is kept"),
        (si * cell + sf * tg, "the gates are exchanged: f keeps the old cell, i lets the candidate in"),
        (sf * cell + si * sg, "the candidate g goes through tanh, not through the sigmoid: it may be negative"),
        (f * cell + i * tg, "the gates have not been through the sigmoid, which keeps them between 0 and 1"),
        (sf * cell + si * torch.tanh(o), "the third and fourth part are exchanged: the order is i, f, g, o"),
        (torch.tanh(right[1]), "the cell itself goes through no tanh: only the state h takes tanh(c')"),
        (_lstm_step(x, old, cell, W, U, b * 0)[1], "the bias b is missing"),
        (_lstm_step(x, old * 0, cell, W, U, b)[1], "the old state h is missing in the four sums: W x + U h + b"),
    ])  # fmt: skip
    expect(h, right[0], "c is right, h is not: wanted is h' = σ(o) ⊙ tanh(c')", [
        (so * right[1], "c is right, but tanh is missing in h' = σ(o) ⊙ tanh(c')"),
        (so * torch.tanh(cell), "c is right, but h is made of the old cell: take the new one"),
        (torch.tanh(right[1]), "c is right, but the output gate σ(o) is missing in h"),
    ])  # fmt: skip
    both, wanted = torch.cat(found), torch.cat(right)
    learns(both, wanted, given, "the numbers are right, but not the gradient of {}: cut nothing off")


def _run(vectors: Tensor, weights: Sequence[Tensor], keep: Sequence[float] = (1, 1)) -> tuple[Tensor, Tensor]:
    """States and cells (batch, tokens, size), where h and c are kept from word to word, or (0) forgotten."""
    h = c = vectors.new_zeros(len(vectors), weights[1].shape[1])
    seen = []
    for t in range(vectors.shape[1]):
        h, c = _lstm_step(vectors[:, t], h * keep[0], c * keep[1], *weights)
        seen.append((h, c))
    return torch.stack([h for h, _ in seen], 1), torch.stack([c for _, c in seen], 1)


def _read(vectors: Tensor, lengths: Tensor, W: Tensor, U: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    states, _ = _run(vectors, (W, U, b))
    return states, states[torch.arange(len(vectors)), lengths - 1]


@exercise(LESSON, _read)
def read(function: Callable[..., tuple[Tensor, Tensor]]) -> None:
    """Vectors (batch, tokens, inputs), lengths (batch,), W, U, b → states (batch, tokens, size), last (batch, size)."""
    lengths, vectors = torch.tensor([4, 2, 6, 1, 3]), _numbers(5, 6, 3).requires_grad_()
    weights = {name: value.requires_grad_() for name, value in _weights(4).items()}
    found = parts(asked(function, vectors=vectors, lengths=lengths, **weights), ("states", "last"))
    states = tensor(found[0], (5, 6, 4), "states", gradient=True)
    last, texts, own = tensor(found[1], (5, 4), "last", gradient=True), torch.arange(5), list(weights.values())
    (wanted, cells), ends = _run(vectors, own), _read(vectors, lengths, **weights)[1]
    words = torch.arange(6) < lengths[:, None]  # what stands at padding is free
    expect(states[words], wanted[words], "states[:, t] should be h after word t, each step with the h and c of the step before", [
        (_run(vectors, own, (0, 0))[0][words], "every word is read from an empty memory: carry h and c from one step to the next"),
        (_run(vectors, own, (0, 1))[0][words], "h is not carried on: only the cell is"),
        (_run(vectors, own, (1, 0))[0][words], "c is not carried on: only the state h is"),
        (cells[words], "these are the cells c: the states are h"),
        (_run(vectors.flip(1), own)[0].flip(1)[words], "the texts are read from right to left"),
    ])  # fmt: skip
    expect(last, ends, "states is right; last should be each text's state after its last word, states[text, lengths − 1]", [
        (wanted[:, -1], "last is the state after the longest text's last word, when shorter texts have read padding: take each text's at its own length"),
        (wanted[texts, lengths.clamp(max=5)], "last is one place too far: a text of n words has its last one at place n − 1"),
        (cells[texts, lengths - 1], "last is the cell c: take the state h"),
    ])  # fmt: skip
    both, right = torch.cat([found[0][words], found[1]]), torch.cat([wanted[words], ends])
    learns(both, right, {"vectors": vectors, **weights}, "the numbers are right, but not the gradient of {}: cut nothing off")  # fmt: skip


def _write(
    model: Any, start: int, choose: Callable[[Tensor], int], end: int, most: int, keep: float = 1, feed: bool = True
) -> list[int]:  # fmt: skip
    h = c = torch.zeros(1, model.U.shape[1])
    words = [start]
    while len(words) <= most:
        x = model.embed(torch.tensor([words[-1] if feed else start]))
        h, c = _lstm_step(x, h * keep, c * keep, model.W, model.U, model.b)
        word = int(choose(model.out(h)[0]))
        if word == end:
            break
        words.append(word)
    return words[1:]


@exercise(LESSON, _write)
def write(function: Callable[..., list[int]]) -> None:
    """A model with embed, W, U, b, out; start, choose(logits) → word, end, most → the words' numbers."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(WRITER)
        model = SimpleNamespace(embed=nn.Embedding(9, 3), out=nn.Linear(4, 9), **_weights(4))

    def tried(start: int, end: int, most: int) -> list[int]:
        return [whole(word, "each word") for word in items(function(model, start, _second, end, most), "wanted: the list of the words' numbers")]  # fmt: skip

    path = _write(model, 0, _second, -1, 12)
    end = path[7]  # which comes for the first time
    found, right = tried(0, end, 12), path[:7]
    for wrong, message in (
        ([0, *right], "the start is among the words: give only what was written after it"),
        ([*right, end], "the end is among the words: stop before you append it"),
        (path, "you went on after the end was chosen: stop there"),
        (_write(model, 0, lambda logits: int(logits.argmax()), end, 12), "you took the likeliest word: let choose(logits) decide"),
        (_write(model, 0, _second, end, 12, keep=0), "the memory is empty at each word: carry h and c on"),
        (_write(model, 0, _second, end, 12, feed=False), "the start is read again and again: read the word that was written last"),
        ([], "nothing is written: is the loop left in its first round?"),
    ):  # fmt: skip
        if found == wrong != right:
            raise Mistake(message)
    if found != right:
        raise Mistake("other words were wanted: read a word with lstm_step, choose the next from model.out(h)[0], and read that one")  # fmt: skip
    for start, most in ((0, 3), (2, 5)):
        if len(some := tried(start, -1, most)) != most:
            raise Mistake(f"no end came, `most` was {most}, and you wrote {len(some)} words")
        if some != _write(model, start, _second, -1, most):
            raise Mistake("right for one start, but not for another: the first word that is read is the start")


def _second(logits: Tensor) -> int:
    """The second likeliest word; Mistake for anything but the logits."""
    if not torch.is_tensor(logits) or tuple(logits.shape) != (9,):
        shape = tuple(logits.shape) if torch.is_tensor(logits) else type(logits).__name__
        raise Mistake(f"choose was given {shape}: it takes the logits of the 9 words, (9,), which are model.out(h)[0]")
    return int(logits.argsort()[-2])
