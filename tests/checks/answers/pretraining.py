"""Right and wrong answers to the exercises of lesson 01/04."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from labkit.checks.pretraining import _bert_masks, _corrupt, _gap_loss
from labkit.foundations.pretraining import replaced

# Right


def place_by_place(ids, chosen, fate, drawn, mask):
    inputs, labels = [], []
    for token, asked, number, other in zip(ids, chosen, fate, drawn, strict=True):
        labels.append(token if asked else -100)
        hidden = mask if number < 0.8 else other if number < 0.9 else token
        inputs.append(hidden if asked else token)
    return inputs, labels


def by_choice(ids, chosen, fate, drawn, mask):
    kind = np.digitize(fate, [0.8, 0.9])
    inputs = np.where(chosen, np.choose(kind, [np.full_like(ids, mask), drawn, ids]), ids)
    labels = np.full_like(ids, -100)
    labels[chosen] = ids[chosen]
    return inputs.astype(np.int32), torch.from_numpy(labels)


def masked_in_torch(ids, chosen, fate, drawn, mask):
    ids, chosen, fate, drawn = (torch.tensor(part) for part in (ids, chosen, fate, drawn))
    inputs = ids.clone().masked_fill_(chosen & (fate < 0.8), mask)
    return [torch.where(chosen & (fate >= 0.8) & (fate < 0.9), drawn, inputs), ids.masked_fill(~chosen, -100)]


def token_by_token(z, x):
    total = 0
    for scores, ids in zip(z, x, strict=True):
        for t in range(len(ids) - 1):
            total = total - scores[t].log_softmax(0)[ids[t + 1]]
    return total / (len(x) * (x.shape[1] - 1))


def gathered(z, x):
    return -z[:, :-1].log_softmax(-1).gather(-1, x[:, 1:, None]).mean()


def with_ignored_places(z, x):
    wanted = x.roll(-1, 1)
    wanted[:, -1] = -100
    return cross_entropy(z.transpose(1, 2), wanted)


def gap_by_gap(ids, where, samples):
    samples, inputs, labels = iter(samples), [], []
    for token, gap in zip(ids, where, strict=True):
        inputs.append(next(samples) if gap else token)
        labels.append(float(inputs[-1] != token))
    return inputs, labels


def scattered(ids, where, samples):
    inputs = torch.from_numpy(ids).masked_scatter(torch.from_numpy(where), torch.from_numpy(samples))
    return inputs, inputs.ne(torch.from_numpy(ids)).float()


def by_places(ids, hidden, marks):
    """Where spans begin and end, then slices."""
    hidden = np.array([False, *hidden, False])
    begins, ends = np.flatnonzero(hidden[1:] & ~hidden[:-1]), np.flatnonzero(hidden[:-1] & ~hidden[1:])
    inputs, targets, last = [], [], 0
    for mark, begin, end in zip(marks, begins, ends, strict=False):
        inputs += [*ids[last:begin], mark]
        targets += [mark, *ids[begin:end]]
        last = end
    return inputs + ids[last:], (*targets, marks[len(begins)])


def by_groups(ids, hidden, marks):
    from itertools import groupby

    inputs, targets, used = [], [], 0
    for gone, group in groupby(range(len(ids)), key=lambda place: hidden[place]):
        tokens = [ids[place] for place in group]
        if gone:
            inputs.append(marks[used])
            targets += [marks[used], *tokens]
            used += 1
        else:
            inputs += tokens
    return np.array(inputs), np.array([*targets, marks[used]])


def by_pieces(ids, hidden, marks):
    inputs, targets, marks = [], [], list(marks)
    for place, token in enumerate(ids):
        if hidden[place]:
            if place == 0 or not hidden[place - 1]:
                inputs.append(marks[0])
                targets.append(marks.pop(0))
            targets.append(token)
        else:
            inputs.append(token)
    targets.append(marks[0])
    return [inputs, targets]


def gap_after_gap(z, y):
    total, count = z.sum() * 0, 0
    for scores, labels in zip(z, y, strict=True):
        for place, label in enumerate(labels.tolist()):
            if label != -100:
                total, count = total - scores[place].log_softmax(0)[label], count + 1
    return total / max(count, 1)


def by_ignoring(z, y):
    return cross_entropy(z.transpose(1, 2), y, ignore_index=-100, reduction="sum") / max((y != -100).sum(), 1)


def by_weights(z, y):
    chances = z.log_softmax(-1).gather(-1, y.clamp(min=0)[..., None])[..., 0]
    weights = (y >= 0).double()
    return -(chances * weights).sum() / weights.sum().clamp(min=1)


RIGHT = {
    "gap_loss": [gap_after_gap, by_ignoring, by_weights],
    "bert_masks": [place_by_place, by_choice, masked_in_torch],
    "next_token_loss": [token_by_token, gathered, with_ignored_places],
    "replaced_tokens": [gap_by_gap, scattered, lambda i, w, s: (replaced(i, w, s)[0], replaced(i, w, s)[0] != i)],
    "corrupt": [by_places, by_groups, by_pieces],
}


# Wrong


def masks(inputs=None, labels=None):
    """A wrong `bert_masks`: the right one with its inputs or its labels made by another function."""

    def function(ids, chosen, fate, drawn, mask):
        right = _bert_masks(ids, chosen, fate, drawn, mask)
        values = (ids, chosen, fate, drawn, mask, right[0])
        return (inputs or (lambda *_: right[0]))(*values), (labels or (lambda *_: right[1]))(*values)

    return function


def fates(first, second):
    """`bert_masks` with other borders: which fates become [MASK], and which of the rest a random token."""
    return masks(lambda i, c, f, d, m, r: np.where(c & first(f), m, np.where(c & second(f), d, i)))


def in_place(ids, chosen, fate, drawn, mask):
    labels = np.where(chosen, ids, -100)
    ids[:] = _bert_masks(ids, chosen, fate, drawn, mask)[0]
    return ids, labels


def spoils_chosen(ids, chosen, fate, drawn, mask):
    right = _bert_masks(ids, chosen, fate, drawn, mask)
    chosen &= fate < 0.8
    return right


def shifted(before, after, **options):
    return lambda z, x: cross_entropy(z[:, before].flatten(0, 1), x[:, after].flatten(), **options)


def every_place(z, y):
    return -z.log_softmax(-1).gather(-1, y.clamp(min=0)[..., None])[..., 0]


def gaps_alone(z, y):
    return every_place(z, y)[y != -100]


def changes_labels(z, y):
    right = _gap_loss(z, y)
    y[y < 0] = 0
    return right


def electra(inputs=None, labels=None):
    """A wrong `replaced_tokens`: its inputs or its labels made from (ids, where, samples, right inputs, labels)."""

    def function(ids, where, samples):
        right = replaced(ids, where, samples)
        values = (ids, where, samples, *right)
        return (inputs(*values) if inputs else right[0]), (labels(*values) if labels else right[1])

    return function


def writes_ids(ids, where, samples):
    right = replaced(ids, where, samples)
    ids[where] = samples
    return right


def spans(change):
    return lambda ids, hidden, marks: change(*_corrupt(ids, hidden, marks))


def sentinel_per_token(ids, hidden, marks):
    marks = iter(marks)
    return [next(marks) if gone else token for token, gone in zip(ids, hidden, strict=True)], []


def forgets_an_open_end(ids, hidden, marks):
    inputs, targets = _corrupt(ids, hidden, marks)
    return inputs, targets[:-1] if hidden[-1] else targets


def looks_before_the_start(ids, hidden, marks):
    inputs, targets, used = [], [], 0
    for place, token in enumerate(ids):
        if hidden[place] and not hidden[place - 1]:
            inputs.append(marks[used])
            targets.append(marks[used])
            used += 1
        (targets if hidden[place] else inputs).append(token)
    return inputs, [*targets, marks[used]]


def finds_by_value(ids, hidden, marks):
    gone = {token for token, out in zip(ids, hidden, strict=True) if out}
    return _corrupt(ids, [token in gone for token in ids], marks)


def uses_up(ids, hidden, marks):
    right = _corrupt(ids, hidden, marks)
    marks.pop(0)
    return right


EVERY, START, END = slice(None), slice(None, -1), slice(1, None)
WRONG = {
    "bert_masks": [
        (in_place, "changed `ids`"),
        (spoils_chosen, "changed `chosen`"),
        (masks(labels=lambda i, c, f, d, m, r: i), "every token has a label"),
        (masks(labels=lambda i, c, f, d, m, r: np.where(c, i, 0)), "0 is a token"),
        (masks(labels=lambda i, c, f, d, m, r: np.where(c & (f < 0.8), i, -100)), "only where \\[MASK\\] stands"),
        (masks(labels=lambda i, c, f, d, m, r: np.where(r != i, i, -100)), "was kept needs a label"),
        (masks(labels=lambda i, c, f, d, m, r: np.where(c, r, -100)), "original tokens"),
        (masks(labels=lambda i, c, f, d, m, r: np.where(np.isin(i, i[c]), i, -100)), "by places, not by ids"),
        (masks(labels=lambda i, c, f, d, m, r: -i), "the labels should be"),
        (fates(lambda f: f < 2, lambda f: f < 2), "all chosen tokens became"),
        (fates(lambda f: f < 0.8, lambda f: f < 0.8), "random tokens are missing"),
        (masks(lambda i, c, f, d, m, r: np.where(f < 0.8, m, np.where(f < 0.9, d, i))), "were not chosen changed"),
        (fates(lambda f: f < 0.8, lambda f: f < 2), "20 % became random"),
        (fates(lambda f: f < 0.8, lambda f: f >= 0.9), "exchanged"),
        (fates(lambda f: f < 0.1, lambda f: f < 0.2), "shares are off"),
        (fates(lambda f: f < 0.8, lambda f: f <= 0.9), "borders"),
        (masks(lambda i, c, f, d, m, r: r[:3]), r"shape \(3,\)"),
        (masks(lambda i, c, f, d, m, r: r.astype(float)), "whole numbers"),
        (lambda *given: _bert_masks(*given)[0], "2 results"),
        (lambda i, c, f, d, m: _bert_masks(i, c, f, d, 4), "wrong first at place 0"),
    ],
    "next_token_loss": [
        (shifted(EVERY, EVERY), "nothing is shifted"),
        (shifted(END, START), "wrong way"),
        (lambda z, x: cross_entropy(z.flatten(0, 1), x.roll(-1, 1).flatten()), "first token of the text"),
        (shifted(START, END, reduction="sum"), "this is the sum"),
        (lambda z, x: shifted(START, END, reduction="sum")(z, x) / len(x), "number of texts"),
        (lambda z, x: shifted(START, END, reduction="sum")(z, x) / x.numel(), "number of all tokens"),
        (lambda z, x: shifted(START, END)(z.softmax(-1), x), "gave it probabilities"),
        (lambda z, x: -shifted(START, END)(z, x), "sign"),
        (lambda z, x: shifted(START, END)(z, x) / np.log(2), "bits"),
        (lambda z, x: shifted(START, END)(z, x).exp(), "perplexity"),
        (lambda z, x: cross_entropy(z[0, :-1], x[0, 1:]), "only the first text"),
        (lambda z, x: -z[:, :-1].softmax(-1).gather(-1, x[:, 1:, None]).mean().log(), "logarithm of the mean"),
        (shifted(START, END, reduction="none"), "one number"),
        (lambda z, x: z.mean(), "all positions but the last"),
        (lambda z, x: gathered(z, x).item(), "not float"),
        (lambda z, x: gathered(z.detach(), x), "carries no gradient, so nothing"),
        (lambda z, x: (gathered(z, x) + gathered(z.detach(), x)) / 2, "not its gradient"),
        (lambda z, x: -z[:, :-1].softmax(-1).gather(-1, x[:, 1:, None]).log().mean(), "for large logits"),
        (lambda z, x: -(z.exp() / z.exp().sum(-1, True)).log()[:, :-1].gather(-1, x[:, 1:, None]).mean(), "exp of a large logit"),
    ],
    "gap_loss": [
        (lambda z, y: every_place(z, y).mean(), "as if their label were 0"),
        (lambda z, y: _gap_loss(z, y.masked_fill(y == 0, -100)), "a label of 0"),
        (lambda z, y: gaps_alone(z, y).sum() / y.numel(), "divided by all tokens"),
        (lambda z, y: gaps_alone(z, y).sum() / len(y), "number of texts"),
        (lambda z, y: gaps_alone(z, y).sum(), "this is the sum"),
        (lambda z, y: torch.stack([_gap_loss(*one) for one in zip(z, y, strict=True)]).mean(), "each text first"),
        (lambda z, y: _gap_loss(z[:, :-1], y[:, 1:]), "nothing is shifted"),
        (lambda z, y: _gap_loss(z.softmax(-1), y), "gave it probabilities"),
        (lambda z, y: -_gap_loss(z, y), "sign"),
        (lambda z, y: _gap_loss(z, y) / np.log(2), "bits"),
        (lambda z, y: _gap_loss(z, y).exp(), "perplexity"),
        (lambda z, y: -(-gaps_alone(z, y)).exp().mean().log(), "logarithm of the mean"),
        (lambda z, y: z.mean(), "the places whose label"),
        (lambda z, y: _gap_loss(z.detach(), y), "carries no gradient"),
        (lambda z, y: (_gap_loss(z, y) + _gap_loss(z.detach(), y)) / 2, "not its gradient"),
        (lambda z, y: -z.softmax(-1)[y >= 0].gather(-1, y[y >= 0][:, None]).log().mean(), "for large logits"),
        (lambda z, y: cross_entropy(z[y != -100], y[y != -100]), "the mean of no places"),
        (lambda z, y: _gap_loss(z, y) if (y >= 0).any() else z.sum() * 0 + 1, "nothing is asked for, the loss should"),
        (changes_labels, "changed `labels`"),
    ],
    "replaced_tokens": [
        (lambda i, w, s: (i, w), "nothing was replaced"),
        (electra(lambda i, w, s, r, y: np.where(w, s[0], i)), "the first sample"),
        (electra(labels=lambda i, w, s, r, y: w), "counts as original"),
        (electra(labels=lambda i, w, s, r, y: r == i), "exchanged"),
        (electra(labels=lambda i, w, s, r, y: np.where(w, y, -100)), "every token is asked"),
        (electra(labels=lambda i, w, s, r, y: np.where(w, r, -100)), "name tokens: its label"),
        (electra(labels=lambda i, w, s, r, y: np.where(w, i, -100)), "as BERT does"),
        (electra(labels=lambda i, w, s, r, y: ~np.isin(r, i)), "at its own place"),
        (electra(labels=lambda i, w, s, r, y: y * 2), "the labels should be"),
        (electra(lambda i, w, s, r, y: np.where(w, 0, i)), "the inputs should be"),
        (electra(lambda i, w, s, r, y: r.astype(float)), "whole numbers"),
        (writes_ids, "changed `ids`"),
    ],
    "corrupt": [
        (sentinel_per_token, "one sentinel per token"),
        (spans(lambda inputs, targets: ([x for x in inputs if x < 90], targets)), "no sentinels"),
        (lambda i, h, m: _corrupt(i, h, m[:1] * 4), "same sentinel"),
        (lambda i, h, m: _corrupt(i, h, [m[0] + k for k in range(4)]), "counted on"),
        (lambda i, h, m: ([11, 95, 12, 13, 14, 12, 92, 16, 11], []), "still stand in the inputs"),
        (finds_by_value, "the inputs should be"),
        (spans(lambda inputs, targets: (inputs, targets[:-1])), "closing sentinel: it tells"),
        (spans(lambda inputs, targets: (inputs, [x for x in targets if x < 90])), "hidden tokens alone: each span must stand behind its sentinel, to"),
        (spans(lambda inputs, targets: (inputs, [12, 13, 16, 97])), "also the first"),
        (spans(lambda inputs, targets: (inputs, [12, 13, 95, 16, 92])), "before its span"),
        (spans(lambda inputs, targets: (inputs, [*targets[:-1], 92])), "once more"),
        (lambda i, h, m: (_corrupt(i, h, m)[0], [*_corrupt(i, h, m)[1][:-1], m[-1]]), "last of the list"),
        (lambda i, h, m: (_corrupt(i, h, m)[0], [*_corrupt(i, h, m)[1][:-1], m[2]]), "a single span"),
        (spans(lambda inputs, targets: (inputs, targets[::-1])), "the targets should be"),
        (forgets_an_open_end, "begins and ends"),
        (looks_before_the_start, r"begins and ends.*gave \[6"),
        (uses_up, "changed `sentinels`"),
        (lambda *_: 3, "2 results"),
    ],
}  # fmt: skip
