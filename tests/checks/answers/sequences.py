"""Right and wrong answers to the exercises of lesson 01/02."""

from __future__ import annotations

import torch
from torch.nn import functional as F

# Right, in several styles


def rnn_by_linear(x, h, W, U, b):
    return F.linear(x, W, b).add(F.linear(h, U)).tanh()


def rnn_on_one_matrix(x, h, W, U, b):
    return torch.tanh(torch.cat([x, h], dim=1) @ torch.cat([W, U], dim=1).T + b)


def rnn_by_loops(x, h, W, U, b):
    return torch.stack([torch.stack([(W[i] @ word + U[i] @ state + b[i]).tanh() for i in range(len(b))])
                        for word, state in zip(x, h, strict=True)])  # fmt: skip


def reach_from_the_left(states, U):
    product = torch.eye(U.shape[0])
    for h in reversed(list(states)):
        product = product @ (torch.diag(1 - h * h) @ U)
    return product


def reach_by_autograd(states, U):
    """Each step's slope without its state: tanh' at atanh(h)."""
    product = None
    for h in states:
        step = torch.autograd.functional.jacobian(lambda s, h=h: torch.tanh(torch.atanh(h) + U @ s), torch.zeros(len(U)))
        product = step if product is None else step @ product
    return product


def reach_in_numpy(states, U):
    import numpy as np

    product = np.eye(len(U))
    for h in states.numpy():
        product = np.diag(1 - h**2) @ U.numpy() @ product
    return torch.from_numpy(product)


def lstm_by_slices(x, h, c, W, U, b):
    n, sums = h.shape[1], F.linear(x, W) + F.linear(h, U) + b
    i, f, o = (torch.sigmoid(sums[:, at * n : (at + 1) * n]) for at in (0, 1, 3))
    new = f * c + i * torch.tanh(sums[:, 2 * n : 3 * n])
    return [o * torch.tanh(new), new]


def lstm_by_torch(x, h, c, W, U, b):
    cell = torch.nn.LSTMCell(x.shape[1], h.shape[1])
    weights = {"weight_ih": W, "weight_hh": U, "bias_ih": b, "bias_hh": torch.zeros_like(b)}
    return torch.func.functional_call(cell, weights, (x, (h, c)))


def lstm_one_gate_at_a_time(x, h, c, W, U, b):
    Ws, Us, bs = W.chunk(4), U.chunk(4), b.chunk(4)
    i, f, g, o = (w @ x.T + u @ h.T + one[:, None] for w, u, one in zip(Ws, Us, bs, strict=True))
    c = f.sigmoid() * c.T + i.sigmoid() * g.tanh()
    return (o.sigmoid() * c.tanh()).T, c.T


def step(x, h, c, W, U, b):
    return lstm_by_slices(x, h, c, W, U, b)


def read_by_gather(vectors, lengths, W, U, b, keep=(1, 1)):
    h = c = torch.zeros(vectors.shape[0], U.shape[1])
    states = torch.empty(vectors.shape[0], 0, U.shape[1])
    for x in vectors.unbind(1):
        h, c = step(x, h * keep[0], c * keep[1], W, U, b)
        states = torch.cat([states, h[:, None]], 1)
    return states, states.gather(1, (lengths - 1)[:, None, None].expand(-1, 1, U.shape[1]))[:, 0]


def read_text_by_text(vectors, lengths, W, U, b):
    states, last = torch.zeros(*vectors.shape[:2], U.shape[1]), []
    rows = []
    for text, length in zip(vectors, lengths.tolist(), strict=True):
        h = c = torch.zeros(1, U.shape[1])
        row = []
        for t in range(length):
            h, c = step(text[t : t + 1], h, c, W, U, b)
            row.append(h[0])
        last.append(h[0])
        rows.append(torch.cat([torch.stack(row), states[0, length:]]))
    return torch.stack(rows), torch.stack(last)


def read_by_torch(vectors, lengths, W, U, b):
    lstm = torch.nn.LSTM(vectors.shape[2], U.shape[1], batch_first=True)
    weights = {"weight_ih_l0": W, "weight_hh_l0": U, "bias_ih_l0": b, "bias_hh_l0": torch.zeros_like(b)}
    states, _ = torch.func.functional_call(lstm, weights, (vectors,))
    return states, torch.stack([row[n - 1] for row, n in zip(states, lengths, strict=True)])


def read(change):
    """`read` with its two results changed by `change(states, last)`."""
    return lambda v, n, W, U, b: change(*read_by_gather(v, n, W, U, b))


def forget(h, c):
    return lambda v, n, W, U, b: read_by_gather(v, n, W, U, b, (h, c))


def cells(v, n, W, U, b):
    h = c = torch.zeros(len(v), U.shape[1])
    seen = []
    for t in range(v.shape[1]):
        h, c = step(v[:, t], h, c, W, U, b)
        seen.append(c)
    return torch.stack(seen, 1)


def written(model, start, choose, end, most, keep=1, feed=True, past=False, limit=0):
    h = c = torch.zeros(1, 4)
    words = [start]
    for _ in range(most + limit):
        h, c = step(model.embed(torch.tensor([words[-1] if feed else start])), h * keep, c * keep, model.W, model.U, model.b)
        word = choose(model.out(h)[0])
        if word == end and not past:
            break
        words.append(word)
    return words[1:]


def write_by_recursion(model, start, choose, end, most):
    def on(word, memory, left):
        if not left:
            return []
        memory = step(model.embed(torch.tensor([word])), *memory, model.W, model.U, model.b)
        new = choose(model.out(memory[0])[0])
        return [] if new == end else [new, *on(new, memory, left - 1)]

    return on(start, [torch.zeros(1, 4)] * 2, most)


def write_reading_all_again(model, start, choose, end, most):
    """The whole text anew for each word."""
    words = [start]
    with torch.no_grad():
        while len(words) < most + 1:
            states, _ = read_by_gather(model.embed(torch.tensor([words])), torch.tensor([len(words)]), model.W, model.U, model.b)
            words.append(choose(model.out(states[0, -1])))
            if words[-1] == end:
                return torch.tensor(words[1:-1])
    return torch.tensor(words[1:])


RIGHT = {
    "rnn_step": [rnn_by_linear, rnn_on_one_matrix, rnn_by_loops],
    "reach": [reach_from_the_left, reach_by_autograd, lambda states, U: reach_in_numpy(states, U).float()],
    "lstm_step": [lstm_by_slices, lstm_by_torch, lstm_one_gate_at_a_time],
    "read": [read_by_gather, read_text_by_text, read_by_torch],
    "write": [written, write_by_recursion, write_reading_all_again],
}


# Wrong


def product(step, states, turned=False):
    found = None
    for h in states:
        found = step(h) if found is None else (found @ step(h) if turned else step(h) @ found)
    return found


def lstm(c=None, h=None, sums=lambda x, old, W, U, b: x @ W.T + old @ U.T + b, end=lambda h, c: (h, c)):
    """The right step, but for what is given instead: the new cell of (i, f, g, o, c), the state of (o, c, old c)."""
    c = c or (lambda i, f, g, o, c: f.sigmoid() * c + i.sigmoid() * g.tanh())
    h = h or (lambda o, c, old: o.sigmoid() * c.tanh())

    def wrong(x, state, cell, W, U, b):
        i, f, g, o = sums(x, state, W, U, b).chunk(4, 1)
        new = c(i, f, g, o, cell)
        return end(h(o, new, cell), new)

    return wrong


WRONG = {
    "rnn_step": [
        (lambda x, h, W, U, b: x @ W.T + h @ U.T + b, "tanh is missing"),
        (lambda x, h, W, U, b: (x @ W.T + h @ U.T + b).sigmoid(), "this is a sigmoid"),
        (lambda x, h, W, U, b: (x @ W.T + h @ U + b).tanh(), "wrong way round"),
        (lambda x, h, W, U, b: (x @ W.T + h @ U.T).tanh(), "bias b is missing"),
        (lambda x, h, W, U, b: (x @ W.T + b).tanh(), "remembers nothing"),
        (lambda x, h, W, U, b: (h @ U.T + b).tanh(), "reads nothing"),
        (lambda x, h, W, U, b: (x @ W.T + h.detach() @ U.T + b).tanh(), "not the gradient of h"),
        (lambda x, h, W, U, b: (x @ W.T + h @ U.T + b).tanh().detach(), "carries no gradient"),
        (lambda x, h, W, U, b: (x @ W.T + h @ U.T + b).tanh()[0], r"shape \(4,\)"),
        (lambda x, h, W, U, b: (x @ W.T + h @ U.T + 2 * b).tanh(), "wanted: tanh"),
        (lambda x, h, W, U, b: x @ W + h @ U + b, "stopped with RuntimeError"),
    ],
    "reach": [
        (lambda s, U: product(lambda h: (1 - h**2)[:, None] * U, s, turned=True), "order is turned round"),
        (lambda s, U: product(lambda h: (1 - h**2)[:, None] * U, s).T, "transposed"),
        (lambda s, U: product(lambda h: (1 - h**2) * U, s), "columns of U"),
        (lambda s, U: product(lambda h: U, s), "slope 1 − h² is missing"),
        (lambda s, U: product(lambda h: (1 - h)[:, None] * U, s), "not 1 − h$"),
        (lambda s, U: product(lambda h: (1 - h.tanh() ** 2)[:, None] * U, s), "through tanh already"),
        (lambda s, U: sum((1 - h**2)[:, None] * U for h in s), "you added"),
        (lambda s, U: product(lambda h: (1 - h**2)[:, None] * U, s[1:]), "first step's matrix is missing"),
        (lambda s, U: product(lambda h: (1 - h**2)[:, None] * U, s) + (len(s) == 1), "not for one"),
        (lambda s, U: product(lambda h: 2 * (1 - h**2)[:, None] * U, s), "wanted: the product"),
        (lambda s, U: product(lambda h: (1 - h**2)[:, None] * U, s).norm(), r"shape \(\)"),
    ],
    "lstm_step": [
        (lstm(c=lambda i, f, g, o, c: f.sigmoid() * c + g.tanh()), "input gate is missing"),
        (lstm(c=lambda i, f, g, o, c: c + i.sigmoid() * g.tanh()), "forget gate is missing"),
        (lstm(c=lambda i, f, g, o, c: i.sigmoid() * c + f.sigmoid() * g.tanh()), "gates are exchanged"),
        (lstm(c=lambda i, f, g, o, c: f.sigmoid() * c + i.sigmoid() * g.sigmoid()), "may be negative"),
        (lstm(c=lambda i, f, g, o, c: f * c + i * g.tanh()), "gates have not been through"),
        (lstm(c=lambda i, f, g, o, c: f.sigmoid() * c + i.sigmoid() * o.tanh()), "third and fourth"),
        (lstm(c=lambda i, f, g, o, c: (f.sigmoid() * c + i.sigmoid() * g.tanh()).tanh()), "cell itself"),
        (lstm(sums=lambda x, old, W, U, b: x @ W.T + old @ U.T), "bias b is missing"),
        (lstm(sums=lambda x, old, W, U, b: x @ W.T + b), "old state h is missing"),
        (lstm(c=lambda i, f, g, o, c: c), "wanted: c'"),
        (lstm(h=lambda o, c, old: o.sigmoid() * c), "tanh is missing in h'"),
        (lstm(h=lambda o, c, old: o.sigmoid() * old.tanh()), "made of the old cell"),
        (lstm(h=lambda o, c, old: c.tanh()), "output gate σ"),
        (lstm(h=lambda o, c, old: o), "c is right, h is not"),
        (lstm(end=lambda h, c: (c, h)), "exchanged: return h, c"),
        (lstm(end=lambda h, c: h), "2 results are wanted"),
        (lstm(end=lambda h, c: (h, c.detach())), "c carries no gradient"),
        (lstm(c=lambda i, f, g, o, c: f.sigmoid().detach() * c + i.sigmoid() * g.tanh()), "not the gradient of"),
    ],
    "read": [
        (read(lambda s, last: (s, s[:, -1])), "longest text's last word"),
        (lambda v, n, W, U, b: (read_by_gather(v, n, W, U, b)[0], read_by_gather(v, n.clamp(max=5) + 1, W, U, b)[1]), "one place too far"),
        (lambda v, n, W, U, b: (read_by_gather(v, n, W, U, b)[0], cells(v, n, W, U, b)[torch.arange(5), n - 1]), "last is the cell c"),
        (read(lambda s, last: (s, 0 * last)), "states is right; last should be"),
        (forget(0, 0), "from an empty memory"),
        (forget(0, 1), "h is not carried on"),
        (forget(1, 0), "c is not carried on"),
        (lambda v, n, W, U, b: (cells(v, n, W, U, b), read_by_gather(v, n, W, U, b)[1]), "these are the cells"),
        (lambda v, n, W, U, b: (read_by_gather(v.flip(1), n, W, U, b)[0].flip(1), read_by_gather(v, n, W, U, b)[1]), "right to left"),
        (read(lambda s, last: (s.transpose(0, 1), last)), r"states has shape \(6, 5, 4\)"),
        (read(lambda s, last: (s[:, 1:], last)), r"states has shape \(5, 5, 4\)"),
        (read(lambda s, last: s), "2 results are wanted"),
        (read(lambda s, last: (2 * s, last)), r"states\[:, t\] should be h after"),
        (read(lambda s, last: (s, last.detach())), "last carries no gradient"),
        (lambda v, n, W, U, b: read_by_gather(v, n, W.detach(), U, b), "not the gradient of W"),
    ],
    "write": [
        (lambda *a: [a[1], *written(*a)], "the start is among the words"),
        (lambda *a: [*written(*a), a[3]], "the end is among the words"),
        (lambda *a: written(*a, past=True), "you went on after the end"),
        (lambda m, s, choose, e, n: written(m, s, lambda logits: int(logits.argmax()), e, n), "you took the likeliest"),
        (lambda *a: written(*a, keep=0), "memory is empty at each word"),
        (lambda *a: written(*a, feed=False), "read again and again"),
        (lambda *a: [], "nothing is written"),
        (lambda *a: written(*a)[::-1], "other words were wanted"),
        (lambda *a: written(*a, limit=1), "`most` was 3, and you wrote 4"),
        (lambda m, s, choose, e, n: written(m, 0, choose, e, n), "not for another"),
        (lambda m, s, choose, e, n: written(m, s, lambda logits: choose(logits[None]), e, n), r"choose was given \(1, 9\)"),
        (lambda *a: " ".join(map(str, written(*a))), "each word should be one number"),
        (lambda *a: len(written(*a)), "wanted: the list"),
    ],
}  # fmt: skip
