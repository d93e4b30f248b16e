"""Right and wrong answers to the exercises of lesson 06/06."""

from __future__ import annotations

import math
from collections import OrderedDict

import numpy as np
import torch


def spread_by_carrying(layers, moving):
    """Bresenham's line: a layer moves when the share that has come up is a whole one."""
    places, share = [], 0
    for layer in range(layers):
        share += moving
        if share >= layers:
            places.append(layer)
            share -= layers
    return places


def spread_in_turn(layers, moving):
    """From the last to the first, as a generator."""
    return (math.ceil(number * layers / moving) for number in reversed(range(moving)))


def passes_event_by_event(layers, moving, compute, load):
    """The mean of many passes: loads follow one another, and each layer waits for its own."""
    if moving * load <= layers * compute:
        return layers * compute
    return sum(load for _ in range(moving))


def faults_by_simulation(layers, frames, passes):
    memory, faults = OrderedDict(), 0
    for layer in list(range(layers)) * passes:
        if layer in memory:
            memory.move_to_end(layer)
        else:
            faults += 1
            memory[layer] = True
            if len(memory) > frames:
                memory.popitem(last=False)
    return faults


def faults_by_age(layers, frames, passes):
    """A fault where the last touch is further back than there are frames, or never was."""
    touched = np.tile(np.arange(layers), passes)
    return sum(np.full(len(touched), layers > frames) | (np.arange(len(touched)) < layers))


def planned(
    room=lambda c, e, w: (c - w) // e, slots=2, moves=lambda n, pinned: n - pinned, peak=lambda p, r, e, w, c: r * e + w
):
    """A plan for a card, as it should be or with a mistake."""

    def plan(layers, card, each, working):
        fit = room(card, each, working)
        if fit >= layers:
            return layers, 0, layers * each + working
        if fit < 2:
            return None
        pinned = fit - slots
        return pinned, moves(layers, pinned), peak(pinned, fit, each, working, card)

    return plan


def plan_layer_by_layer(layers, card, each, working):
    """Layers are put on the card as long as they fit."""
    used, room = working, 0
    while used + each <= card and room < layers:
        used, room = used + each, room + 1
    if room < min(layers, 2):
        return None
    pinned = layers if room == layers else room - 2
    return [pinned, layers - pinned, used]


def plan_in_numpy(layers, card, each, working):
    room = np.minimum(np.floor_divide(card - working, each), layers)
    pinned = room - 2 * (room < layers)
    return np.array([pinned, layers - pinned, room * each + working]) if room > 1 else None


RIGHT = {
    "card_plan": [planned(), plan_layer_by_layer, plan_in_numpy],
    "spread": [
        spread_by_carrying,
        spread_in_turn,
        lambda n, k: torch.arange(k) * n // k,
        lambda n, k: np.linspace(0, n, k, endpoint=False).astype(int),
        lambda n, k: {number * n // k for number in range(k)},
        lambda n, k: [(number * n // k + 2) % n for number in range(k)],
    ],
    "pass_time": [
        passes_event_by_event,
        lambda n, k, c, x: n * c + max(0, k * x - n * c),
        lambda n, k, c, x: np.maximum(n * c, k * x),
        lambda n, k, c, x: n * max(c, x * k / n),
        lambda n, k, c, x: torch.tensor([c * n, x * k]).amax(),
    ],
    "lru_faults": [faults_by_simulation, faults_by_age, lambda n, f, p: n + n * (p - 1) * (n > f)],
}


def split(layers, moving):
    """The starts of `moving` parts, the longer ones first."""
    return [int(part[0]) for part in np.array_split(np.arange(layers), moving)]


def mru_faults(layers, frames, passes):
    """What was used last goes."""
    memory, faults = [], 0
    for layer in list(range(layers)) * passes:
        if layer not in memory:
            faults += 1
            memory = memory[: frames - 1]
        memory = [other for other in memory if other != layer] + [layer]
    return faults


WRONG = {
    "card_plan": [
        (planned(room=lambda c, e, w: c // e), "without the working memory"),
        (planned(slots=0), "all places are pinned"),
        (planned(slots=1), "one slot is left"),
        (planned(moves=lambda n, pinned: n - pinned - 2), "must all move"),
        (planned(peak=lambda p, r, e, w, c: p * e + w), "has no slots"),
        (planned(peak=lambda p, r, e, w, c: r * e), "working memory is missing"),
        (planned(peak=lambda p, r, e, w, c: c), "used, not all"),
        (planned(peak=lambda p, r, e, w, c: 12 * e + w), "has all layers"),
        (planned(peak=lambda p, r, e, w, c: 2 * e + w), r"not \(7, 5, 230\)"),
        (lambda n, c, e, w: planned()(n, c, e, w) if c < 1200 else (10, 2, 1230), "where all layers fit, none moves"),
        (lambda n, c, e, w: planned()(n, c, e, w) if c != 230 else (1, 11, 130), "room for just two layers"),
        (lambda n, c, e, w: planned()(n, c, e, w) or (0, n, c), "one layer only"),
        (lambda n, c, e, w: planned()(12, c, 100, 30), "wrong for 5"),
        (lambda n, c, e, w: 9, "3 results are wanted: return pinned, moving, peak"),
        (lambda n, c, e, w: (6.5, 5, 930), "whole number, not 6.5"),
    ],
    "spread": [
        (lambda n, k: range(n - k, n), "stand in a row"),
        (lambda n, k: [i * (n - 1) // (k - 1) for i in range(k)], r"over the end to the first.*\[3, 4, 4, 1\]"),
        (lambda n, k: [i * 2 for i in range(k)], r"over the end to the first.*\[2, 2, 2, 6\]"),
        (lambda n, k: [i * (n // k) for i in range(k)], "differ by one at most"),
        (split, r"5 of 7 your gaps are \[2, 2, 1, 1, 1\]: more short"),
        (lambda n, k: [round(i * n / k) for i in range(k)], r"4 of 6 your gaps are \[2, 1, 1, 2\]: more short"),
        (lambda n, k: [i * n / k + 0.5 for i in range(k)], "whole number, not 0.5"),
        (lambda n, k: [0] * k, "4 different layers of 12"),
        (lambda n, k: list(range(0, n, n // k)), "4 different layers of 10"),
        (lambda n, k: [i * n // k + 1 + n for i in range(k)], "numbered 0 to 11"),
        (lambda n, k: n // k, "a list of layer numbers is wanted, not int"),
    ],
    "pass_time": [
        (lambda n, k, c, x: n * c + k * x, "you added"),
        (lambda n, k, c, x: n * max(c, x), "not n · load"),
        (lambda n, k, c, x: (n - k) * c + k * max(c, x), "not only one"),
        (lambda n, k, c, x: n * c + max(0, k * x - (n - k) * c), "it has the other slot"),
        (lambda n, k, c, x: n * c + (k - 2) * max(0, x - c), "in a row"),
        (lambda n, k, c, x: max((n - k) * c, k * x), "computed too"),
        (lambda n, k, c, x: n * c, "computing alone"),
        (lambda n, k, c, x: k * x, "loading alone"),
        (lambda n, k, c, x: min(n * c, k * x), "not the shorter"),
        (lambda n, k, c, x: max(n * c, k * x) // 1, "you rounded"),
        (lambda n, k, c, x: [c], "should be one number"),
        (lambda n, k, c, x: c + x, "was expected"),
    ],
    "lru_faults": [
        (lambda n, f, p: n + max(n - f, 0) * (p - 1), "the one needed next"),
        (mru_faults, "the best choice"),
        (lambda n, f, p: n * p, "where all layers fit"),
        (lambda n, f, p: n * p if n >= f else n, "exactly as many frames"),
        (lambda n, f, p: n * p if n > f else 0, "faults always: at the start"),
        (lambda n, f, p: n * (p - 1) if n > f else 0, "add its n fetches"),
        (lambda n, f, p: max(n - f, 0) * p, "count again"),
        (lambda n, f, p: n if n > f else 0, "these are the faults of one pass"),
        (lambda n, f, p: n, "faults of the first pass"),
        (lambda n, f, p: [n] * p, "should be one number, not list"),
        (lambda n, f, p: f, "n faults in the first pass"),
    ],
}  # fmt: skip
