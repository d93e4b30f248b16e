"""Right and wrong answers to the exercises of lesson 04/07."""

from __future__ import annotations

import math

import numpy as np

from labkit.checks.landing import _front, _land, _misplaced

# Right


def misplaced_by_pairs(ranks):
    for place in range(len(ranks)):
        before = [rank for rank in ranks[:place] if rank is not None]
        if 2 in before or (ranks[place] is not None and before and ranks[place] < max(before)):
            return place


def misplaced_in_numpy(ranks):
    if not ranks:
        return None
    own = np.array([-1 if rank is None else rank for rank in ranks])
    before = np.concatenate([[-1], np.maximum.accumulate(own)[:-1]])
    wrong = (before == 2) | ((own >= 0) & (own < before))
    return np.flatnonzero(wrong)[0] if wrong.any() else None


def misplaced_by_next(ranks):
    def bad(place):
        highest = max((rank for rank in ranks[:place] if rank is not None), default=0)
        return highest == 2 or (ranks[place] is not None and ranks[place] < highest)

    return next(filter(bad, range(len(ranks))), None)


def front_by_sorting(models):
    kept, best = [], -math.inf
    for size in sorted({size for size, _ in models}):
        top = max(score for s, score in models if s == size)
        if top > best:
            kept += [place for place, one in enumerate(models) if one == (size, top)]
            best = top
    return sorted(kept)


def front_in_numpy(models):
    size, score = np.array(models).T
    beats = (size <= size[:, None]) & (score >= score[:, None]) & ((size < size[:, None]) | (score > score[:, None]))
    return np.flatnonzero(~beats.any(1))


def front_by_loops(models):
    kept = []
    for place, (size, score) in enumerate(models):
        beaten = False
        for s, a in models:
            if (s < size and a >= score) or (s <= size and a > score):
                beaten = True
        if not beaten:
            kept.append(place)
    return tuple(kept)


def land_by_dictionary(lines, ranks, run, limit):
    made = {line: run(line) for line in lines if misplaced_by_pairs(ranks(line)) is None}
    fit = {line: one for line, one in made.items() if one[0] <= limit}
    return min(fit, key=lambda line: (-fit[line][1], fit[line][0]), default=None)


def land_by_loop(lines, ranks, run, limit):
    best = None
    for line in lines:
        if misplaced_in_numpy(ranks(line)) is not None:
            continue
        size, score = run(line)
        if size <= limit and (best is None or (score, -size) > best[:2]):
            best = (score, -size, line)
    return best and best[2]


def land_by_front(lines, ranks, run, limit):
    fine = [line for line in lines if misplaced_by_next(ranks(line)) is None]
    models = [run(line) for line in fine]
    kept = [(models[place][1], fine[place]) for place in front_by_loops(models) if models[place][0] <= limit]
    return max(kept)[1] if kept else None


RIGHT = {
    "misplaced": [misplaced_by_pairs, misplaced_in_numpy, misplaced_by_next],
    "packed_bytes": [
        lambda rows, columns, bits, scales: rows * math.ceil(columns * bits / 8) + 4 * scales,
        lambda rows, columns, bits, scales: np.int64(rows * ((columns * bits + 7) // 8) + scales * 32 // 8),
        lambda rows, columns, bits, scales: sum(-(-columns * bits // 8) for _ in range(rows)) + 4.0 * scales,
    ],
    "front": [front_by_sorting, front_in_numpy, front_by_loops],
    "land": [land_by_dictionary, land_by_loop, land_by_front],
}

# Wrong


def neighbours(ranks):
    for place in range(1, len(ranks)):
        if None not in ranks[place - 1 : place + 1] and ranks[place] < ranks[place - 1]:
            return place


def codes_may_follow(ranks):
    found = _misplaced(ranks)
    return None if found is not None and ranks[found] == 2 else found


def strictly(ranks):
    highest = -1
    for place, rank in enumerate(ranks):
        if highest == 2 or (rank is not None and rank <= highest):
            return place
        highest = highest if rank is None else rank


def last_misplaced(ranks):
    return max((n for n in range(len(ranks)) if _misplaced(ranks[: n + 1]) is not None), default=None)


def sorts(ranks):
    ranks.sort(key=lambda rank: -1 if rank is None else rank)


def landing(order=True, within=True, smaller=True, once=True):
    def function(lines, ranks, run, limit):
        fine = [line for line in lines if not order or _misplaced(ranks(line)) is None]
        models = {line: run(line) if once else (run(line), run(line))[1] for line in fine}
        fit = [line for line in fine if models[line][0] <= limit] if within else fine
        return max(fit, key=lambda line: (models[line][1], -models[line][0] if smaller else 0), default=None)

    return function


WRONG = {
    "misplaced": [
        (neighbours, "codes do not train"),
        (codes_may_follow, "not even codes"),
        (strictly, "the same rank again is fine"),
        (last_misplaced, "training between two passes does not mend|the first that cannot stand"),
        (sorts, "changed `ranks`"),
        (lambda ranks: _misplaced(ranks) is None, r"for \[0, None, 1, None, 2\] you gave 1"),
    ],
    "packed_bytes": [
        (lambda r, c, b, s: math.ceil(r * c * b / 8) + 4 * s, "row by row"),
        (lambda r, c, b, s: r * (c * b // 8) + 4 * s, "round up, not down"),
        (lambda r, c, b, s: r * math.ceil(c * b / 8), "the scales are missing"),
        (lambda r, c, b, s: r * math.ceil(c * b / 8) + s, "not of one"),
        (lambda r, c, b, s: r * c * b + 32 * s, "these are bits"),
        (lambda r, c, b, s: r * c * b / 8 + 4 * s, "whole number"),
        (lambda r, c, b, s: [None][0], "forget `return`"),
    ],
    "front": [
        (lambda models: [n for n, (s, a) in enumerate(models) if not any(t < s and b > a for t, b in models)], "of the same size"),
        (lambda models: [n for n, (s, a) in enumerate(models) if not any(t <= s and b > a for t, b in models)], "with the same accuracy"),
        (lambda models: [n for n, one in enumerate(models) if not any(t <= one[0] and b >= one[1] for m, (t, b) in enumerate(models) if m != n)], "both stay"),
        (lambda models: [max(range(len(models)), key=lambda n: models[n][1])], r"you gave \[0\], and \[0, 1\] is wanted"),
        (lambda models: sorted(_front(models), key=lambda n: models[n]), "not in ascending order"),
        (lambda models: [models[n] for n in _front(models)], "one number"),
        (lambda models: len(_front(models)), "list of places"),
    ],
    "land": [
        (landing(order=False), "though its order"),
        (landing(within=False), "is wanted"),
        (landing(smaller=False), "the smaller one"),
        (landing(once=False), "run twice"),
        (lambda lines, ranks, run, limit: _land(lines, ranks, run, limit - 1), "exactly the limit fits"),
        (lambda lines, ranks, run, limit: [None][0], "forget `return`"),
        (lambda lines, ranks, run, limit: _land(lines, ranks, run, limit) or lines[0], "nothing fits"),
    ],
}  # fmt: skip
