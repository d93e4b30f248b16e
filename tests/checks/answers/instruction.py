"""Right and wrong answers to the exercises of lesson 03/07."""

from __future__ import annotations

import math

import numpy as np
import torch

BOTH = ("text_a", "text_b")

# Right


def pair_by_pair(z, no, yes):
    rows = []
    for text in z:
        rows.append(torch.stack([torch.softmax(torch.stack([blank[no], blank[yes]]), 0)[1] for blank in text]))
    return torch.stack(rows)


def judged_in_numpy(z, no, yes):
    z = z.numpy()
    top = np.maximum(z[..., no], z[..., yes])
    a, b = np.exp(z[..., no] - top), np.exp(z[..., yes] - top)
    return torch.from_numpy(b / (a + b))


def shares_in_plain_python(n, t):
    powers = [float(one) ** (1 / t) for one in n]
    return torch.tensor([one / sum(powers) for one in powers])


def filtered_in_place(train, held, fields):
    kept = list(train)
    for bad in held:
        for row in list(kept):
            if all(row[f].casefold() == bad[f].casefold() for f in fields):
                kept = [one for one in kept if one is not row]
    return kept


def counted(train, held, fields):
    keys = [[row[f].upper() for f in fields] for row in held]
    return tuple(dict(row) for row in train if keys.count([row[f].upper() for f in fields]) == 0)


def in_matrices(f, t, y):
    """All cosines at once, then two masked means."""
    keys = torch.stack([t, y], 1).unique(dim=0)
    c = torch.stack([f[(t == a) & (y == b)].mean(0) for a, b in keys])
    s = torch.nn.functional.normalize(f) @ torch.nn.functional.normalize(c).T
    same, own = y[:, None] == keys[:, 1], t[:, None] == keys[:, 0]
    other = same & ~own
    return 0.5 * (s * (same & own)).sum(1) + 0.5 * (s * other).sum(1) / other.sum(1)


def scored_in_numpy(f, t, y):
    f, t, y = f.numpy().astype(float), t.numpy(), y.numpy()
    centre = {(a, b): f[(t == a) & (y == b)].mean(0) for a in set(t) for b in set(y)}

    def near(i, task):
        c = centre[task, y[i]]
        return f[i] @ c / math.sqrt(f[i] @ f[i] * (c @ c))

    return torch.tensor(
        [(near(i, t[i]) + np.mean([near(i, u) for u in set(t) if u != t[i]])) / 2 for i in range(len(f))]
    )


RIGHT = {
    "entailed": [
        pair_by_pair, judged_in_numpy, lambda z, n, y: torch.sigmoid(z[:, :, y] - z[:, :, n]),
        lambda z, n, y: 1 / (1 + (z[..., n] - z[..., y]).exp()),
        lambda z, n, y: torch.nn.functional.logsigmoid(z.select(2, y) - z.select(2, n)).exp(),
    ],
    "shares": [
        shares_in_plain_python, lambda n, t: (n.log() / t).softmax(0),
        lambda n, t: torch.from_numpy(np.power(n.numpy(), 1 / t) / np.power(n.numpy(), 1 / t).sum()),
    ],
    "without_leaks": [filtered_in_place, counted, lambda a, b, f: filter(lambda r: lowered(r, f) not in [lowered(h, f) for h in b], a)],
    "prototype_scores": [in_matrices, scored_in_numpy, lambda f, t, y: prototypes()(f, t, y).double()],
}  # fmt: skip


# Wrong


def lowered(row, fields=BOTH):
    return tuple(row[field].lower() for field in fields)


def clean(key_of, of_held=None):
    """A `without_leaks` that compares rows by `key_of`."""

    def without_leaks(train, held, fields):
        seen = {(of_held or key_of)(row) for row in held}
        return [row for row in train if key_of(row) not in seen]

    return without_leaks


def any_text(train, held, fields):
    seen = {row[field].lower() for row in held for field in fields}
    return [row for row in train if not any(row[field].lower() in seen for field in fields)]


def right_rows(train, held, fields):
    return clean(lambda row: lowered(row, fields))(train, held, fields)


def once_each(train, held, fields):
    kept = {lowered(row, fields): row for row in right_rows(train, held, fields)}
    return list(kept.values())


def removes(train, held, fields):
    for row in [row for row in train if row not in right_rows(train, held, fields)]:
        train.remove(row)
    return train


def lowers_the_rows(train, held, fields):
    for row in held:
        row.update({field: row[field].lower() for field in fields})
    return right_rows(train, held, fields)


def all_but_the_label(train, held, fields):
    return clean(lambda row: tuple(str(v).lower() for k, v in row.items() if k != "label"))(train, held, fields)


def prototypes(own=0.5, others="other tasks", total=False, measure=None, first=lambda f: f, tasks_of=None):
    """`prototype_scores` with one thing changed."""
    measure = measure or (lambda f, c: torch.cosine_similarity(f, c, dim=0))

    def scores(features, tasks, classes):
        found = []
        for f, t, y in zip(features, tasks, classes, strict=True):

            def near(u, z, f=f):
                return measure(f, first(features)[(tasks == u) & (classes == z)].mean(0))

            all_tasks, labels = tasks.unique(), classes.unique()
            far = {
                "other tasks": [near(u, y) for u in all_tasks if u != t],
                "all tasks": [near(u, y) for u in all_tasks],
                "all classes": [near(u, z) for u in all_tasks if u != t for z in labels],
            }[others]
            rest = torch.stack(far).sum() / (tasks_of or len(far)) if not total else torch.stack(far).sum()
            found.append(own * near(t, y) + (1 - own) * rest)
        return torch.stack(found)

    return scores


def group_by_group(f, t, y):
    right = prototypes()(f, t, y)
    return torch.cat([right[(t == a) & (y == b)] for a in t.unique() for b in y.unique()])


def in_unit_length(f, t, y):
    right = prototypes()(f, t, y)
    f /= f.norm(dim=1, keepdim=True)
    return right


def leaves_itself_out(f, t, y):
    rows = torch.arange(len(f))
    return torch.stack([f[(t == t[i]) & (y == y[i]) & (rows != i)].mean(0) @ f[i] for i in rows])


WRONG = {
    "entailed": [
        (lambda z, n, y: z.softmax(-1)[..., y], "share of the whole vocabulary"),
        (lambda z, n, y: z[..., y].softmax(1), "runs over the labels"),
        (lambda z, n, y: z[..., sorted([n, y])].softmax(-1)[..., 1], r"this is p\(no\)"),
        (lambda z, n, y: z[..., y], "without \"no\" beside them"),
        (lambda z, n, y: z[..., y].sigmoid(), "of yes minus no"),
        (lambda z, n, y: z[..., y] - z[..., n], "log-odds"),
        (lambda z, n, y: z[..., [n, y]].log_softmax(-1)[..., 1], "log-probabilities"),
        (lambda z, n, y: z[..., [n, y]].softmax(0)[..., 1], "over the batch"),
        (lambda z, n, y: z[..., y] / (z[..., n] + z[..., y]), "may be negative"),
        (lambda z, n, y: (z[..., y] > z[..., n]).float(), "the decision"),
        (lambda z, n, y: z[..., [n, y]].softmax(-1), r"shape \(4, 3, 2\)"),
        (lambda z, n, y: z[..., y].exp() / (z[..., y].exp() + z[..., n].exp()), "exp of a large logit"),
        (lambda z, n, y: z[..., [n, y]].softmax(-1)[..., 1] ** 2, "for each text and label"),
        (lambda z, n, y: z[..., [6, 1]].softmax(-1)[..., 1], "use the arguments"),
        (lambda z, n, y: z[..., [n, y]].softmax(-1)[..., 1].squeeze(0), r"large logits, the result has shape \(2,\)"),
        (lambda z, n, y: (z.sub_(1)[..., y] - z[..., n]).sigmoid(), "changed `logits`"),
        (lambda z, n, y: z.new_zeros(4, 3).tolist(), "not list"),
    ],
    "shares": [
        (lambda n, t: n ** (1 / t), "do not sum to 1: divide by their sum"),
        (lambda n, t: n ** (1 / t) / n.sum(), "sum of the \\*powers"),
        (lambda n, t: (n / n.sum()) ** (1 / t), "once more"),
        (lambda n, t: (n / t) / (n / t).sum(), "temperature has no effect"),
        (lambda n, t: n**t / (n**t).sum(), "drowns the small tasks"),
        (lambda n, t: (n / t).softmax(0), "gives all to the largest"),
        (lambda n, t: n ** (1 // t) / (n ** (1 // t)).sum(), "equal shares"),
        (lambda n, t: n ** (1 / 3) / (n ** (1 / 3)).sum(), "at T = 1"),
        (lambda n, t: n.sqrt() / n.sqrt().sum(), "divided by its sum over the tasks"),
        (lambda n, t: n.sum(), r"shape \(\)"),
        (lambda n, t: n.sort().values ** (1 / t) / (n ** (1 / t)).sum(), "than the tasks: do not sort"),
        (lambda n, t: (n ** (1 / t) / (n ** (1 / t)).sum()).sort(descending=True).values, "the largest first"),
        (lambda n, t: (n / t).exp() / (n / t).exp().sum(), "exp of a number of rows"),
        (lambda n, t: n.pow_(1 / t) / n.sum(), "changed `sizes`"),
        (lambda n, t: [0.5, 0.2, 0.2, 0.1], "not list"),
    ],
    "without_leaks": [
        (lambda train, held, fields: [], "nothing is left"),
        (lambda train, held, fields: [row for row in train if row not in held], "compare the texts, not the rows"),
        (clean(lambda row: (row["text_a"], row["text_b"])), "capital letters in one of the two places"),
        (clean(lambda row: (row["text_a"], row["text_b"]), lowered), "training rows in lower case too"),
        (clean(lowered, lambda row: (row["text_a"], row["text_b"])), "held-out rows in lower case too"),
        (clean(lambda row: lowered(row, ["text_a"])), "sharing one of its two texts"),
        (clean(lambda row: frozenset(lowered(row))), "other way round"),
        (clean(lambda row: " ".join(lowered(row))), "joined into one string"),
        (lambda train, held, fields: [train[0], train[2], train[5]], "dropped the others"),
        (clean(lambda row: (*lowered(row), row["label"])), "the label is no part of the text"),
        (once_each, "row 7 is row 3 once more"),
        (lambda *given: right_rows(*given)[::-1], "their order changed"),
        (removes, "changed `train`"),
        (lowers_the_rows, "changed `held`"),
        (lambda train, held, fields: 3, "should be a list of rows"),
        (lambda train, held, fields: [lowered(row) for row in train], "as they are, label and all"),
        (lambda *given: [*right_rows(*given), right_rows(*given)[0]], "more often than"),
        (lambda train, held, fields: [train[place] for place in (1, 3, 4, 8)], r"you kept \[1, 3, 4, 8\]"),
        (all_but_the_label, "only the texts named in `fields`"),
        (clean(lowered), "stopped with KeyError"),
    ],
    "prototype_scores": [
        (prototypes(own=1.0), "only the own task's centroid"),
        (prototypes(own=0.0), "only the other tasks' centroids"),
        (prototypes(others="all tasks"), "leave the own task out"),
        (prototypes(own=0.0, others="all tasks"), "all tasks weigh alike"),
        (prototypes(others="all classes"), "other classes"),
        (prototypes(total=True), "added up over the other tasks"),
        (prototypes(measure=torch.dot), "dot products"),
        (prototypes(measure=lambda f, c: -(f - c).norm()), "the cosine is wanted"),
        (prototypes(first=torch.nn.functional.normalize), "of length 1"),
        (lambda f, t, y: 2 * prototypes()(f, t, y), "averaged, not added"),
        (group_by_group, "in the order of the examples"),
        (prototypes(own=0.3), "½·cos"),
        (prototypes(tasks_of=2), "number of tasks written into it"),
        (in_unit_length, "changed `features`"),
        (leaves_itself_out, "mean taken over no rows"),
        (lambda f, t, y: prototypes()(f, t, y)[:, None], r"shape \(10, 1\)"),
    ],
}  # fmt: skip
