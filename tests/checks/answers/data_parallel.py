"""Right and wrong answers to the exercises of lesson 06/03."""

from __future__ import annotations

import itertools

import numpy as np
import torch
from torch.nn import functional


def ring(
    chunk=lambda r, s, n: (r - 1 - s) % n, to=lambda r, n: (r + 1) % n, adds=True, stays=True, ranks=None, senders=None
):  # fmt: skip
    """A step of the ring, as it should be or with a mistake."""

    def step(chunks, s):
        n = ranks or len(chunks)
        after = [list(row) for row in chunks]
        for r in range(senders or n):
            c, t = chunk(r, s, n), to(r, n)
            after[t][c] = chunks[t][c] + chunks[r][c] if adds else chunks[r][c]
            if not stays:
                after[r][c] = torch.zeros_like(after[r][c])
        return after

    return step


def by_receiver(chunks, s):
    """What each rank has afterwards, seen from the rank that receives."""
    n = len(chunks)
    return [
        [own + chunks[r - 1][c] if c == (r - 2 - s) % n else own for c, own in enumerate(row)]
        for r, row in enumerate(chunks)
    ]


def in_place_on_a_copy(chunks, s):
    n, after = len(chunks), [[chunk.clone() for chunk in row] for row in chunks]
    for r in range(n):
        after[(r + 1) % n][(r - 1 - s) % n] += chunks[r][(r - 1 - s) % n]
    return after


def stacked(chunks, s):
    """All at once: the sent chunks are zeros but for one per rank, and move on by a roll."""
    whole = torch.stack([torch.stack(list(row)) for row in chunks])
    r = torch.arange(len(whole))
    sent = torch.zeros_like(whole)
    sent[r, (r - 1 - s) % len(whole)] = whole[r, (r - 1 - s) % len(whole)]
    return [list(row) for row in whole + sent.roll(1, 0)]


def with_arrays(chunks, s):
    n, arrays = len(chunks), [[chunk.numpy().copy() for chunk in row] for row in chunks]
    for r in range(n):
        arrays[(r + 1) % n][(r - 1 - s) % n] += chunks[r][(r - 1 - s) % n].numpy()
    return tuple(tuple(torch.from_numpy(chunk) for chunk in row) for row in arrays)


def changing(chunks, s):
    for r, c in [(r, (r - 1 - s) % len(chunks)) for r in range(len(chunks))]:
        chunks[(r + 1) % len(chunks)][c] += chunks[r][c]
    return chunks


def copying_the_outer_list(chunks, s):
    n, after = len(chunks), list(chunks)
    for r in range(n):
        after[(r + 1) % n][(r - 1 - s) % n] = chunks[(r + 1) % n][(r - 1 - s) % n] + chunks[r][(r - 1 - s) % n]
    return after


def at_the_sender(chunks, s):
    n, after = len(chunks), [list(row) for row in chunks]
    for r in range(n):
        c = (r - 1 - s) % n
        after[r][c] = chunks[r][c] + chunks[(r + 1) % n][c]
    return after


def padded(row, n, fill=None):
    more = -len(row) % n
    return torch.cat([row, row.new_zeros(more) if fill is None else fill(row, more)])


def cut(row, rank, n):
    size = len(row) // n
    return row[rank * size : (rank + 1) * size]


def in_numpy(row, r, n):
    return torch.from_numpy(np.pad(row.numpy(), (0, -len(row) % n)).reshape(n, -1)[r])


def number_by_number(row, r, n):
    size = (len(row) + n - 1) // n
    part = torch.zeros(size, dtype=row.dtype)
    for place in range(size):
        if r * size + place < len(row):
            part[place] = row[r * size + place]
    return part


def zero(mean=True, own=False, gather=True, update_all=False, times=1, order=1):
    """A step of ZeRO-1, as it should be or with a mistake."""

    def step(weights, gradients, update):
        n = len(weights)
        total = sum(gradients) / (n if mean else 1)
        parts = []
        for r in range(n):
            g = gradients[r] if own else total
            if update_all:
                parts.append(torch.chunk(update(weights[r], g, r), n)[r])
                continue
            for _ in range(times):
                new = update(torch.chunk(weights[r], n)[r], torch.chunk(g, n)[r], r)
            parts.append(new)
        if gather:
            return [torch.cat(parts[::order]) for _ in range(n)]
        alone = [list(torch.chunk(weights[r], n)) for r in range(n)]
        for r in range(n):
            alone[r][r] = parts[r]
        return [torch.cat(row) for row in alone]

    return step


def in_three_moves(weights, gradients, update):
    """Reduce-scatter, update in place, all-gather: slice by slice."""
    n, size = len(weights), len(weights[0]) // len(weights)
    for r in range(n):
        own = slice(r * size, r * size + size)
        gradient = torch.stack([one[own] for one in gradients]).mean(0)
        weights[r][own] = update(weights[r][own], gradient, r)
    for r, other in itertools.permutations(range(n), 2):
        weights[r][other * size : (other + 1) * size] = weights[other][other * size : (other + 1) * size]
    return weights


def by_views(weights, gradients, update):
    n = len(weights)
    mean = torch.stack(list(gradients)).mean(0).view(n, -1)
    new = torch.stack([update(part, mean[r], r) for r, part in enumerate(weights[0].view(n, -1))])
    return tuple(new.flatten().clone() for _ in weights)


def with_numpy(weights, gradients, update):
    n = len(weights)
    means = np.split(np.mean([one.numpy() for one in gradients], axis=0), n)
    new = [update(np.split(weights[r].numpy(), n)[r], means[r], r) for r in range(n)]
    return [torch.from_numpy(np.concatenate(new)) for _ in range(n)]


def two_numbers_per_rank(weights, gradients, update):
    means = (sum(gradients) / len(weights)).split(2)
    new = [update(weights[r][2 * r : 2 * r + 2], means[r], r) for r in range(len(weights))]
    return [torch.cat(new)] * len(weights)


def formula(weight=2, gradient=2, optimizer=12, cuts=(3, 2, 1), divide=lambda size, n: size / n):
    def each(stage, n):
        return sum(
            divide(size, n) if stage >= needed else size
            for size, needed in zip((weight, gradient, optimizer), cuts, strict=True)
        )

    return each


def by_cases(stage, n):
    if stage == 0:
        return 16
    if stage == 1:
        return 4 + 12 / n
    return 2 + 14 / n if stage == 2 else 16 / n


def as_a_vector(stage, n):
    return (np.array([2.0, 2.0, 12.0]) / np.where(stage >= np.array([3, 2, 1]), n, 1)).sum()


RIGHT = {
    "ring_step": [ring(), by_receiver, in_place_on_a_copy, stacked, with_arrays],
    "shard": [
        lambda row, r, n: functional.pad(row, (0, -len(row) % n)).chunk(n)[r],
        lambda row, r, n: padded(row, n).view(n, -1)[r].clone(),
        in_numpy,
        number_by_number,
    ],
    "zero1_step": [zero(), in_three_moves, by_views, with_numpy],
    "bytes_per_parameter": [formula(), by_cases, as_a_vector, lambda stage, n: torch.tensor(by_cases(stage, n))],
}

WRONG = {
    "ring_step": [
        (lambda chunks, s: chunks, "nothing has moved"),
        (ring(adds=False), "replaces what the neighbour had"),
        (ring(to=lambda r, n: (r - 1) % n), "you sent to the left"),
        (ring(chunk=lambda r, s, n: (r - s) % n), "one too far"),
        (ring(chunk=lambda r, s, n: (r - 1) % n), "every step moves the same"),
        (ring(chunk=lambda r, s, n: (r - 1 + s) % n), "go up with the step"),
        (ring(stays=False), "the sender has lost its chunk"),
        (ring(senders=3), "the last rank has sent nothing"),
        (at_the_sender, "the sum stands at the sender"),
        (ring(chunk=lambda r, s, n: 0), "other values in step 0"),
        (changing, "the tensors that you were given have changed"),
        (copying_the_outer_list, "the lists that you were given have changed"),
        (lambda chunks, s: chunks[0], "a chunk has shape|list of chunks"),
        (lambda chunks, s: chunks[:2], "should be 4 lists of 4 chunks"),
        (lambda chunks, s: ring()(chunks, s) if len(chunks) == 4 else chunks, "with 3 ranks, after"),
        (ring(ranks=4), "stopped with IndexError"),
    ],
    "shard": [
        (lambda row, r, n: padded(row, n)[r::n], "like cards"),
        (lambda row, r, n: cut(padded(row.flip(0), n).flip(0), r, n), "at the end, not at the beginning"),
        (lambda row, r, n: cut(padded(row, n).flip(0), r, n), "run from the end"),
        (lambda row, r, n: cut(padded(row, n, lambda x, more: x[:more]), r, n), "with numbers of the row"),
        (lambda row, r, n: cut(padded(row, n, lambda x, more: x[-1:].repeat(more)), r, n), "with the last number"),
        (lambda row, r, n: cut(row, r, n), "4 of them hold 8 of the 10"),
        (lambda row, r, n: cut(functional.pad(row, (0, len(row) % n)), r, n), "4 of them hold 8 of the 9"),
        (lambda row, r, n: row.split(-(-len(row) // n))[r], "the last rank's part is shorter"),
        (lambda row, r, n: torch.tensor_split(row, n)[r], "differ in length by one"),
        (lambda row, r, n: padded(row, n), "the whole row"),
        (lambda row, r, n: row[2 * r : 2 * r + 3], "other values"),
        (lambda row, r, n: cut(functional.pad(row, (0, n - len(row) % n)), r, n), r"of 8 numbers and 2 ranks, .* has shape \(5,\)"),
        (lambda row, r, n: padded(row, n, lambda x, more: torch.zeros(more)).chunk(n)[r], "takes more bytes"),
        (lambda row, r, n: cut(padded(row, n), r, n).tolist(), "not list"),
    ],
    "zero1_step": [
        (lambda w, g, u: w, "never called"),
        (zero(update_all=True), "all 6 weights"),
        (zero(times=2), "called 6 times"),
        (lambda w, g, u: [u(w[0][:2], g[0][:2], 0)] * 3, r"by ranks \[0\]"),
        (lambda w, g, u: [u(w[0][:2], g[0], 0)] * 3, "2 weights and 6 gradients"),
        (zero(mean=False), "divide by the number of ranks"),
        (zero(own=True), "its own gradient only"),
        (lambda w, g, u: zero()(w, [g[0]] * len(w), u), "gradient of rank 0 only"),
        (zero(gather=False), "has the others' old ones"),
        (zero(order=-1), "in the wrong order"),
        (lambda w, g, u: zero()(w, g, lambda p, d, r: u(p, d, len(w) - 1 - r)), "other values on rank 0"),
        (lambda w, g, u: zero()(w, g, u) and w, "nothing was updated"),
        (lambda w, g, u: zero()(w, g, u)[0], "a list of 3 tensors"),
        (lambda w, g, u: [row.chunk(len(w))[r] for r, row in enumerate(zero()(w, g, u))], "its own part only"),
        (lambda w, g, u: [one.float() for one in zero()(w, g, u)], "go back as torch.float32"),
        (two_numbers_per_rank, "2 weights and 2 gradients: 4 of each"),
    ],
    "bytes_per_parameter": [
        (formula(optimizer=4), "has 4 bytes"),
        (formula(optimizer=8), "has 8 bytes"),
        (formula(4, 4, 8), "training in fp32"),
        (formula(cuts=(0, 0, 0)), "everything is cut in every stage"),
        (formula(cuts=(3, 3, 1)), "stage 2 cuts the gradients too"),
        (formula(cuts=(9, 2, 1)), "stage 3 cuts the weights too"),
        (formula(cuts=(2, 1, 1)), "one stage ahead"),
        (lambda stage, n: [16, 4 + 12 / n, 2 + 2 / n, 2 / n][stage], "the optimizer's share is missing"),
        (lambda stage, n: [16, 4, 2, 16 / n][stage], "are the limits"),
        (lambda stage, n: 16, "plays no part"),
        (formula(divide=lambda size, n: size // n), "each share down to whole bytes"),
        (lambda stage, n: [16, 4 + 12 // n, 2 + 14 // n, 16 // n][stage], "what is cut down to whole bytes"),
        (lambda stage, n: 15, "should keep 16, 7, 5.5, 4 bytes"),
        (lambda stage, n: [16], "one number, not list"),
        (lambda stage, n: 16 if stage == 0 else None, "the result for stage 1 is None"),
    ],
}  # fmt: skip
