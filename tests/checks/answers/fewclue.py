"""Right and wrong answers to the exercises of lesson 03/08."""

from __future__ import annotations

import random

import numpy as np
import torch

# Right


def blank_by_blank(z, pieces):
    p = torch.log_softmax(z, dim=2)
    total = 0
    for k in range(pieces.shape[1]):
        total = total + p[:, k][:, pieces[:, k]]
    return total


def gathered(z, pieces):
    index = pieces.T.expand(len(z), -1, -1)
    return (z.gather(2, index) - z.logsumexp(2, keepdim=True)).sum(1)


def word_by_word(z, pieces):
    columns = []
    for word in pieces.tolist():
        columns.append(sum(z[:, k].log_softmax(1)[:, piece] for k, piece in enumerate(word)))
    return torch.stack(columns, dim=-1)


def one_hot(z, pieces):
    hot = torch.nn.functional.one_hot(pieces, z.shape[-1]).float()
    return torch.einsum("bkv,wkv->bw", z.log_softmax(-1), hot)


def masked(s, owner):
    columns = []
    for c in sorted(set(owner.tolist())):
        columns.append(s.masked_fill(owner != c, -torch.inf).logsumexp(-1))
    return torch.stack(columns, -1)


def scaled(s, owner):
    """Probabilities after the largest score of each class is taken off."""
    columns = []
    for c in range(len(torch.unique(owner))):
        own = s.index_select(1, torch.nonzero(owner == c).flatten())
        top = own.max(dim=1, keepdim=True).values
        columns.append(torch.log(torch.exp(own - top).sum(1)) + top.squeeze(1))
    return torch.stack(columns).T


def one_after_another(s, owner):
    classes = [None] * len(owner.unique())
    for word, c in enumerate(owner):
        old = classes[int(c)]
        classes[int(c)] = s[:, word] if old is None else torch.logaddexp(old, s[:, word])
    return torch.stack(classes, 1)


def rejected(row, said, rng):
    wrong = row["label"]
    while wrong == row["label"]:
        wrong = int(rng.integers(len(said)))
    true = {"text": row["text"], "statement": said[row["label"]], "label": 1}
    return [true, {"text": row["text"], "statement": said[wrong], "label": 0}]


def shifted(row, said, rng):
    wrong = (row["label"] + 1 + rng.integers(0, len(said) - 1)) % len(said)
    pairs = [(wrong, False), (row["label"], True)]  # the other way round
    return tuple({"text": row["text"], "statement": said[at], "label": holds} for at, holds in pairs)


def of_statements(row, said, rng):
    right = said[row["label"]]
    wrong = rng.permutation([one for one in said if one != right])[0]
    return [
        {"text": row["text"], "statement": one, "label": np.int64(one == right)} for one in (right, wrong)
    ]


def sorted_pairs(rows, p, k):
    order = sorted(range(len(rows)), key=lambda at: -p[at].max())
    taken, count = [], dict.fromkeys(range(p.shape[1]), 0)
    for at in order:
        c = int(np.argmax(p[at]))
        if count[c] < k:
            count[c] += 1
            taken.append(dict(rows[at], label=c))
    return taken


def in_torch(rows, p, k):
    p = torch.as_tensor(p)
    top, answers = p.max(1)
    found = []
    for c in range(p.shape[1]):
        own = (answers == c).nonzero().flatten()
        some = own[top[own].argsort(descending=True)[:k]]
        found += [{**rows[at], "label": torch.tensor(c)} for at in some.tolist()]
    return tuple(found)


def by_ranks(rows, p, k):
    hidden = np.where(p.argmax(1)[:, None] == np.arange(p.shape[1]), p, -1.0)
    return [
        rows[at] | {"label": np.int64(c)}
        for c in range(p.shape[1])
        for at in np.argsort(-hidden[:, c], kind="stable")[:k]
        if hidden[at, c] >= 0
    ]


def by_steps(model, labelled, unlabelled, continued, trained, teach):
    start = continued(model)
    models = [trained(start, labelled)]
    more = teach(models[0], unlabelled)
    models.append(trained(start, labelled + more))
    return models


def by_loop(model, labelled, unlabelled, continued, trained, teach):
    start, rows, found = continued(model), list(labelled), []
    for turn in range(2):
        found.append(trained(start, rows))
        if turn == 0:
            rows = rows + list(teach(found[0], list(unlabelled)))
    return tuple(found)


def other_way(model, labelled, unlabelled, continued, trained, teach):
    model = continued(model)
    first = trained(model, tuple(labelled))
    return first, trained(model, [*teach(first, unlabelled), *labelled])


RIGHT = {
    "word_scores": [blank_by_blank, gathered, word_by_word, one_hot],
    "class_scores": [masked, scaled, one_after_another],
    "judgements": [rejected, shifted, of_statements],
    "taught": [sorted_pairs, in_torch, by_ranks],
    "system": [by_steps, by_loop, other_way],
}

# Wrong


def picked(values, pieces):
    return values[:, torch.arange(pieces.shape[1]), pieces]


def words(how):
    """Class scores of another kind, from a function of each class's words."""
    return lambda s, owner: torch.stack([how(s[:, owner == c]) for c in range(int(owner.max()) + 1)], 1)


def judged(chosen, labels=(1, 0), **more):
    """Two rows with the statements that `chosen(row, said, rng)` gives."""

    def rows(row, said, rng):
        pair = zip(chosen(row, said, rng), labels, strict=True)
        return [{"text": row["text"], "statement": said[at], "label": holds} | more for at, holds in pair]

    return rows


def other(row, said, rng):
    return int(rng.choice([at for at in range(len(said)) if at != row["label"]]))


def lopsided(row, said, rng):
    rest = [at for at in range(len(said)) if at != row["label"]]
    return row["label"], rest[max(0, int(rng.integers(len(rest) + 2)) - 2)]


def edited(row, said, rng):
    row["text"] = row["text"].strip(".") + "."
    row["statement"] = said[row["label"]]
    return [
        {"text": row["text"], "statement": row["statement"], "label": 1},
        {"text": row["text"], "statement": said[other(row, said, rng)], "label": 0},
    ]


def popped(row, said, rng):
    right = said.pop(row["label"])
    return [
        {"text": row["text"], "statement": right, "label": 1},
        {"text": row["text"], "statement": str(rng.choice(said)), "label": 0},
    ]


def unlabelled_pairs(row, said, rng):
    return [{"text": row["text"], "statement": said[row["label"]]}, {"text": row["text"], "statement": said[0]}]


def choice(pairs_of):
    """Rows taught by a function that gives (place, class)."""
    return lambda rows, p, k: [{**rows[at], "label": int(c)} for at, c in pairs_of(p, k)]


def of_each(pick):
    """(place, class) from a function that picks some of a class's own rows by their probabilities of it."""

    def pairs(p, k):
        for c in range(p.shape[1]):
            own = np.flatnonzero(p.argmax(1) == c)
            yield from ((int(at), c) for at in pick(own, p[own, c], k))

    return pairs


own_choice = of_each(lambda own, p, k: own[np.argsort(-p)][:k])
own_places = of_each(lambda own, p, k: np.argsort(-p)[:k])  # among a class's own rows, taken for places among all
least_sure = of_each(lambda own, p, k: own[np.argsort(p)][:k])
one_too_many = of_each(lambda own, p, k: own[np.argsort(-p)][: k + 1])


def by_column(p, k):
    return [(at, c) for c in range(p.shape[1]) for at in np.argsort(-p[:, c])[:k]]


def of_all(p, k):
    return [(at, p[at].argmax()) for at in np.argsort(-p.max(1))[: k * p.shape[1]]]


def by_value(p, k):
    """Finds the row again by its probability: equal rows fall together."""
    for c in range(p.shape[1]):
        own = np.flatnonzero(p.argmax(1) == c)
        for value in np.sort(p[own, c])[::-1][:k]:
            yield np.flatnonzero(p[:, c] == value)[0], c


def in_place(rows, p, k):
    found = []
    for at, c in own_choice(p, k):
        rows[at]["label"] = c
        found.append(rows[at])
    return found


def crossed_out(rows, p, k):
    p[np.arange(p.shape[1]) != p.argmax(1)[:, None]] = -1
    return [{**rows[at], "label": c} for c in range(p.shape[1]) for at in np.argsort(-p[:, c])[:k] if p[at, c] >= 0]


def stages(plan):
    """A wrong system, from a function of start, first, more and the rest."""

    def run(model, labelled, unlabelled, continued, trained, teach):
        start = continued(model)
        first = trained(start, labelled)
        more = teach(first, unlabelled)
        return plan(start, first, labelled, more, trained, unlabelled)

    return run


def grown(model, labelled, unlabelled, continued, trained, teach):
    start = continued(model)
    first = trained(start, labelled)
    labelled += teach(first, unlabelled)
    return first, trained(start, labelled)


def twice(model, labelled, unlabelled, continued, trained, teach):
    more = teach(trained(continued(model), labelled), unlabelled)
    return trained(continued(model), labelled), trained(continued(model), labelled + more)


def without(model, labelled, unlabelled, continued, trained, teach):
    first = trained(model, labelled)
    return first, trained(model, [*labelled, *teach(first, unlabelled)])


def half(model, labelled, unlabelled, continued, trained, teach):
    first = trained(continued(model), labelled)
    return first, trained(model, [*labelled, *teach(first, unlabelled)])


def asks_early(model, labelled, unlabelled, continued, trained, teach):
    start = continued(model)
    more = teach(start, unlabelled)
    return trained(start, labelled), trained(start, [*labelled, *more])


def asks_labelled(model, labelled, unlabelled, continued, trained, teach):
    start = continued(model)
    first = trained(start, labelled)
    return first, trained(start, [*labelled, *teach(first, labelled)])


WRONG = {
    "word_scores": [
        (lambda z, p: picked(z.log_softmax(-1), p).mean(-1), "averaged over the blanks"),
        (lambda z, p: picked(z, p).sum(-1), "log_softmax over the vocabulary first"),
        (lambda z, p: picked(z.softmax(-1), p).sum(-1), "add their logarithms"),
        (lambda z, p: picked(z.softmax(-1), p).sum(-1).log(), "all characters must fit"),
        (lambda z, p: picked(z.softmax(-1), p).prod(-1), "give its logarithm"),
        (lambda z, p: picked(z.log_softmax(1), p).sum(-1), "over the blanks"),
        (lambda z, p: picked(z.log_softmax(-1), p.flip(1)).sum(-1), "reverse order"),
        (lambda z, p: z[:, 0].log_softmax(-1)[:, p].sum(-1), "read off the first blank"),
        (lambda z, p: z[:, 0].log_softmax(-1)[:, p[:, 0]], "only the first character"),
        (lambda z, p: picked(z.log_softmax(-1), p).sum(-1).log_softmax(-1), "normalised over the words"),
        (lambda z, p: picked(z.softmax(-1), p).log().sum(-1), "rounds to log 0"),
        (lambda z, p: picked(z.log_softmax(-1), p).sum(-1).T, r"shape \(5, 3\)"),
        (lambda z, p: picked(z.log_softmax(-1), p).sum(-1) + 1, "wanted: score"),
        (lambda z, p: picked(z.detach().log_softmax(-1), p).sum(-1), "carries no gradient"),
        (lambda z, p: picked(z - z.detach().logsumexp(-1, keepdim=True), p).sum(-1), "not the right one"),
        (lambda z, p: picked(z.log_softmax(-1), p).sum(-1).tolist(), "torch tensor, not list"),
    ],
    "class_scores": [
        (words(lambda part: part.sum(1)), "which multiplies"),
        (words(lambda part: part.mean(1)), "averaged log-probabilities"),
        (words(lambda part: part.amax(1)), "likeliest word"),
        (words(lambda part: part[:, 0]), "only the first word"),
        (words(lambda part: part.exp().sum(1)), "these are the probabilities"),
        (words(lambda part: part.exp().mean(1).log()), "averaged the probabilities"),
        (lambda s, o: words(lambda part: part.logsumexp(1))(s, o).log_softmax(1), "cross-entropy does that"),
        (lambda s, o: words(lambda part: part.exp().sum(1))(s, o).log().softmax(1), "shares of the classes"),
        (words(lambda part: part.exp().sum(1).log()), "e\\^-300 is lost"),
        (lambda s, o: torch.stack([part.logsumexp(1) for part in s.split(o.bincount().tolist(), 1)], 1), "side by side"),
        (lambda s, o: torch.stack([s[:, o == c].logsumexp(1) for c in range(2)], 1), r"shape \(4, 2\)"),
        (lambda s, o: words(lambda part: part.logsumexp(1))(s, o).flip(1), "wanted: for each class"),
        (words(lambda part: part.detach().logsumexp(1)), "carries no gradient"),
        (words(lambda part: part.logsumexp(1).detach() + 0 * part.sum(1)), "not the right one"),
    ],
    "judgements": [
        (judged(lambda row, said, rng: (row["label"], int(rng.integers(len(said))))), "sometimes states the right label"),
        (judged(lambda row, said, rng: (row["label"], (row["label"] + 1) % len(said))), "is never drawn"),
        (judged(lopsided), "each equally often"),
        (judged(lambda row, said, rng: (other(row, said, rng), row["label"])), "wrong way round"),
        (judged(lambda row, said, rng: (0, other(row, said, rng))), "row's own label"),
        (judged(lambda row, said, rng: (row["label"], other(row, said, rng)), (1, 1)), "yours have 1 and 1"),
        (judged(lambda row, said, rng: (row["label"], other(row, said, rng)), keywords="x"), "nothing else"),
        (judged(lambda row, said, rng: (row["label"], other(row, said, rng)), text="x"), "only the statement differs"),
        (judged(lambda row, said, rng: (row["label"], other(row, said, random))), "draw with `rng`"),
        (lambda row, said, rng: judged(lambda *of: (row["label"], other(*of)))(row, said, rng)[:1], "two rows are wanted"),
        (lambda row, said, rng: [(row["text"], said[0], 1), (row["text"], said[1], 0)], "list of two dictionaries"),
        (judged(lambda row, said, rng: (row["label"], other(row, said, rng)), (1, None)), "did you forget"),
        (unlabelled_pairs, "each row has text, statement and label"),
        (edited, "changed `row`"),
        (popped, "changed `statements`"),
    ],
    "taught": [
        (choice(by_column), "row 4 is taught as class 2"),
        (choice(own_places), "row 0 is taught as class 1"),
        (choice(of_all), "surest rows of all"),
        (choice(least_sure), "sort a class's own rows"),
        (choice(one_too_many), "too many rows"),
        (choice(by_value), "by their place"),
        (choice(lambda p, k: [(2, 0), *own_choice(p, k)]), "stands in the result twice"),
        (in_place, "changed `rows`"),
        (crossed_out, "changed `probabilities`"),
        (lambda rows, p, k: list(own_choice(p, k)), "each a dictionary"),
        (lambda rows, p, k: [{"text": rows[at]["text"], "label": c} for at, c in own_choice(p, k)], "has no 'number'"),
        (lambda rows, p, k: [rows[at] for at, c in own_choice(p, k)], "a label is None"),
        (lambda rows, p, k: [], "you gave nothing"),
        (lambda rows, p, k: [{**rows[at], "label": c, "text": "new"} for at, c in own_choice(p, k)], "set the label alone"),
    ],
    "system": [
        (stages(lambda start, first, rows, more, trained, rest: (trained(start, rows + more), first)), "wrong way round"),
        (stages(lambda start, first, rows, more, trained, rest: (first, first)), "not seen a pseudo-labelled row"),
        (stages(lambda start, first, rows, more, trained, rest: (first, trained(start, more))), "not seen the labelled rows"),
        (stages(lambda start, first, rows, more, trained, rest: (first, trained(first, rows + more))), "train it anew, from"),
        (stages(lambda start, first, rows, more, trained, rest: (first, trained(first, more))), "rows alone: train it anew"),
        (stages(lambda start, first, rows, more, trained, rest: (first, trained(start, rows + rest))), "only on those that"),
        (stages(lambda start, first, rows, more, trained, rest: trained(start, rows + more)), "should be two models"),
        (stages(lambda start, first, rows, more, trained, rest: (first, None)), "a model in the result is None"),
        (without, "`continued` is missing"),
        (half, "was not trained from"),
        (twice, "more often than needed"),
        (grown, "changed the rows"),
        (asks_early, "learned nothing of the task"),
        (asks_labelled, "labels the unlabelled rows"),
    ],
}  # fmt: skip
