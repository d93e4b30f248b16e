"""Right and wrong answers to the exercises of lesson 06/03."""

from __future__ import annotations

import numpy as np
import torch


def reducing(first=lambda r, n: r - 1, own=lambda r, s, n: (r - s - 2) % n, adds=True, shifts=0, after=lambda x, n: x):
    """The ring's first loop, as it should be or with a mistake."""

    def ring_reduce(chunks, group):
        n, r = group.world, group.rank
        partial = chunks[first(r, n) % n]
        for step in range(n - 1 + shifts):
            came = group.shift(partial)
            partial = came + chunks[own(r, step, n) % n] if adds else came
        return after(partial, n)

    return ring_reduce


def reducing_from_the_end(chunks, group):
    """Chunk numbers counted down from rank − 1."""
    numbers = [(group.rank - 1 - step) % group.world for step in range(group.world)]
    partial = chunks[numbers[0]].clone()
    for number in numbers[1:]:
        partial = group.shift(partial).add_(chunks[number])
    return partial


def reducing_stacked(chunks, group):
    """All chunks in one tensor, turned so that the one to send is the first."""
    turned = torch.stack(list(chunks)).flip(0).roll(group.rank, 0)
    own, *others = turned
    for other in others:
        own = group.shift(own) + other
    return own


def reducing_in_numpy(chunks, group):
    arrays = [chunk.numpy() for chunk in chunks]
    sent = arrays[(group.rank + group.world - 1) % group.world]
    for step in range(1, group.world):
        sent = group.shift(torch.from_numpy(sent)).numpy() + arrays[(group.rank - 1 - step) % group.world]
    return torch.tensor(sent)


def sends_without_adding(chunks, group):
    for step in range(group.world - 1):
        came = group.shift(chunks[(group.rank - 1 - step) % group.world])
    return came + chunks[group.rank]


def changes_its_chunks(chunks, group):
    n, r = group.world, group.rank
    for step in range(n - 1):
        chunks[(r - step - 2) % n] += group.shift(chunks[(r - 1 - step) % n])
    return chunks[r]


def adds_another(chunks, group):
    return reducing(own=lambda r, s, n: r - s - 1)(chunks, group)


def gathering(place=lambda r, s, n: (r - s) % n, passes=True, shifts=0, after=list):
    """The ring's second loop, as it should be or with a mistake."""

    def ring_gather(chunk, group):
        n, r = group.world, group.rank
        chunks, sent = [chunk] * n, chunk
        for step in range(1, n + shifts):
            came = group.shift(sent)
            chunks[place(r, step, n)] = came
            sent = came if passes else sent
        return after(chunks)

    return ring_gather


def gathering_by_a_dict(chunk, group):
    known, sender = {group.rank: chunk}, group.rank
    while len(known) < group.world:
        chunk, sender = group.shift(chunk), (sender - 1) % group.world
        known[sender] = chunk
    return [known[rank] for rank in sorted(known)]


def gathering_then_turned(chunk, group):
    came = [chunk]
    for _ in range(group.world - 1):
        came.append(group.shift(came[-1]))
    return torch.stack(came[::-1]).roll(group.rank + 1, 0)


def in_the_order_of_arrival(chunk, group):
    came = [chunk]
    for _ in range(group.world - 1):
        came.append(group.shift(came[-1]))
    return came


reduce, gather = reducing(), gathering()


def zero(mean=True, part=lambda w, g: w.chunk(g.world)[g.rank], times=1, give=torch.cat, before=False):
    """A step of ZeRO-1, as it should be or with a mistake."""

    def step(weights, gradient, group, update):
        chunks = list(gradient.chunk(group.world))
        own = reduce([chunk / group.world for chunk in chunks] if before else chunks, group)
        own = own / group.world if mean and not before else own
        for _ in range(times):
            new = update(part(weights, group), own)
        return give(gather(new, group))

    return step


def zero_by_views(weights, gradient, group, update):
    n = group.world
    mean = reduce(list(gradient.view(n, -1)), group).div(n)
    return torch.stack(gather(update(weights.view(n, -1)[group.rank], mean), group)).flatten()


def zero_by_slices(weights, gradient, group, update):
    size = len(weights) // group.world
    own = slice(group.rank * size, group.rank * size + size)
    mean = reduce([gradient[start : start + size] for start in range(0, len(gradient), size)], group) / group.world
    for rank, chunk in enumerate(gather(update(weights[own], mean), group)):
        weights[rank * size : rank * size + size] = chunk
    return weights


def zero_without_a_mean(weights, gradient, group, update):
    own = gradient.chunk(group.world)[group.rank]
    return torch.cat(gather(update(weights.chunk(group.world)[group.rank], own), group))


def zero_by_all_reduce(weights, gradient, group, update):
    whole = torch.cat(gather(reduce(list(gradient.chunk(group.world)), group), group)) / group.world
    new = update(weights.chunk(group.world)[group.rank], whole.chunk(group.world)[group.rank])
    return torch.cat(gather(new, group))


def zero_without_a_gather(weights, gradient, group, update):
    mean = reduce(list(gradient.chunk(group.world)), group) / group.world
    parts = list(weights.chunk(group.world))
    parts[group.rank] = update(parts[group.rank], mean)
    return torch.cat(parts)


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
    "ring_reduce": [reducing(), reducing_from_the_end, reducing_stacked, reducing_in_numpy],
    "ring_gather": [gathering(), gathering_by_a_dict, gathering_then_turned, gathering(after=tuple)],
    "zero1_step": [zero(), zero(before=True), zero_by_views, zero_by_slices],
    "bytes_per_parameter": [formula(), by_cases, as_a_vector, lambda stage, n: torch.tensor(by_cases(stage, n))],
}

WRONG = {
    "ring_reduce": [
        (reducing(first=lambda r, n: r), "begin with the chunk before it"),
        (reducing(adds=False), "without adding the rank's own"),
        (sends_without_adding, "own numbers only"),
        (adds_another, "another chunk than the one that has come"),
        (reducing(own=lambda r, s, n: r + s), "in step 1 rank 2 of 4 sends the wrong numbers"),
        (reducing(shifts=-1), "3 shifts are wanted on each: yours makes 2"),
        (reducing(shifts=1), "3 shifts are enough"),
        (reducing(own=lambda r, s, n: r - s - 2 if s < n - 2 else r - 1), "on rank 2 of 4: chunk number 2"),
        (lambda chunks, g: reducing()(chunks, g) - chunks[g.rank], "everything but this rank's own"),
        (reducing(after=lambda x, n: x / n), "this is the mean"),
        (lambda chunks, g: reducing()(chunks, g) is None or chunks[g.rank], "what came from the left is missing"),
        (changes_its_chunks, "have changed"),
        (lambda chunks, g: g.shift(torch.stack(chunks)), r"a tensor of shape \(4, 2\)"),
        (lambda chunks, g: g.shift(chunks), "you shift a list"),
        (reducing(after=lambda x, n: x.tolist()), "torch tensor, not list"),
    ],
    "ring_gather": [
        (gathering(passes=False), "own chunk in every step"),
        (gathering(shifts=-1), "yours makes 2"),
        (gathering(shifts=1), "3 shifts are enough"),
        (in_the_order_of_arrival, "in the order in which they came: in"),
        (lambda c, g: in_the_order_of_arrival(c, g)[::-1], "turned round"),
        (gathering(after=lambda chunks: chunks[1:]), "3 came back"),
        (lambda c, g: gather(c, g) and [c] * g.world, "all chunks are the rank's own"),
        (gathering(place=lambda r, s, n: (r + s) % n), "not those of ranks 0, 1"),
        (lambda c, g: gather(c, g) and 3, "a list of 4 chunks is wanted, one"),
        (gathering(after=torch.cat), "should be a torch tensor|8 came back"),
        (lambda c, g: [g.shift(2 * c) for _ in range(3)], "in step 0 rank 1 of 4 sends the wrong chunk"),
    ],
    "zero1_step": [
        (lambda w, g, ring, u: gather(reduce(list(g.chunk(ring.world)), ring), ring) and w, "never called"),
        (zero(times=2), "called 2 times"),
        (zero(part=lambda w, g: w), "got all weights"),
        (zero(part=lambda w, g: w.chunk(g.world)[g.rank][:1]), "1 weights and 2 gradients"),
        (zero(part=lambda w, g: w.chunk(g.world)[0]), "other weights than part number 1"),
        (zero(mean=False), "divide by the number of ranks"),
        (zero_without_a_mean, "rank's own gradient"),
        (zero_by_all_reduce, "4 shifts are enough"),
        (zero_without_a_gather, "yours makes 2, and the others"),
        (zero(give=lambda parts: torch.cat(parts[::-1])), "other weights on rank 1"),
        (zero(give=lambda parts: parts[0]), r"has shape \(2,\)"),
        (zero(give=lambda parts: torch.cat(parts).float()), "go back as torch.float32"),
        (lambda w, g, ring, u: zero()(w, g, ring, u) is None or w, "nothing was updated"),
        (zero(give=list), "torch tensor, not list"),
        (lambda w, g, ring, u: zero()(w, 2 * g, ring, u), "another gradient than the mean"),
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
