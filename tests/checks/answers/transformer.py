"""Right and wrong answers to the exercises of lesson 01/03; see tests/checks/test_answers.py."""

from __future__ import annotations

import math
from collections import Counter
from itertools import pairwise

import numpy as np
import torch
from torch.nn import functional as F

# The most frequent pair


def counted(words):
    counts = Counter()
    for word, count in words.items():
        for pair in pairwise(word):
            counts[pair] += count
    return counts


def pair_by_sorting(words):
    return sorted(counted(words).items(), key=lambda item: (-item[1], item[0]))[0][0]


def pair_by_loops(words):
    counts, best = {}, None
    for word in words:
        for i in range(len(word) - 1):
            pair = (word[i], word[i + 1])
            counts[pair] = counts.get(pair, 0) + words[word]
    for pair in sorted(counts):
        if best is None or counts[pair] > counts[best]:
            best = pair
    return list(best)


def pair_by_repeating(words):
    pairs = [pair for word, count in words.items() for pair in pairwise(word) for _ in range(count)]
    return min(set(pairs), key=lambda pair: (-pairs.count(pair), pair))


def top(counts):
    return min(counts, key=lambda pair: (-counts[pair], pair))


def by_text(words):
    counts = Counter()
    for (a, b), count in counted(words).items():
        counts[a + b] += count
    text = top(counts)
    return next(pair for pair in counted(words) if "".join(pair) == text)


# Merging


def merge_by_index(pieces, pair):
    out, i = [], 0
    while i < len(pieces):
        if i + 1 < len(pieces) and pieces[i] == pair[0] and pieces[i + 1] == pair[1]:
            out.append(pieces[i] + pieces[i + 1])
            i += 2
        else:
            out.append(pieces[i])
            i += 1
    return tuple(out)


def merge_by_iterator(pieces, pair):
    out, rest = [], iter(pieces)
    for piece in rest:
        if out and not isinstance(out[-1], list) and out[-1] == pair[0] and piece == pair[1]:
            out[-1] = ["".join(pair)]
        else:
            out.append(piece)
    return [one[0] if isinstance(one, list) else one for one in out]


def merge_by_recursion(pieces, pair):
    pieces = list(pieces)
    if len(pieces) < 2:
        return pieces
    if tuple(pieces[:2]) == tuple(pair):
        return ["".join(pair), *merge_by_recursion(pieces[2:], pair)]
    return [pieces[0], *merge_by_recursion(pieces[1:], pair)]


def merge_overlapping(pieces, pair):
    out = []
    i = 0
    while i < len(pieces):
        if tuple(pieces[i : i + 2]) == pair:
            out.append("".join(pair))
            i += 1 if tuple(pieces[i + 1 : i + 3]) == pair else 2
        else:
            out.append(pieces[i])
            i += 1
    return out


def merge_first(pieces, pair):
    for i in range(len(pieces) - 1):
        if tuple(pieces[i : i + 2]) == pair:
            return [*pieces[:i], "".join(pair), *pieces[i + 2 :]]
    return list(pieces)


def merge_from_the_right(pieces, pair):
    out, i = [], len(pieces) - 1
    while i >= 0:
        if i and tuple(pieces[i - 1 : i + 1]) == pair:
            out.append("".join(pair))
            i -= 2
        else:
            out.append(pieces[i])
            i -= 1
    return out[::-1]


def merge_and_keep_the_second(pieces, pair):
    return ["".join(pair) if tuple(pieces[i : i + 2]) == pair else pieces[i] for i in range(len(pieces))]


def merge_without_the_last(pieces, pair):
    out, i = [], 0
    while i < len(pieces) - 1:
        if tuple(pieces[i : i + 2]) == pair:
            out.append("".join(pair))
            i += 2
        else:
            out.append(pieces[i])
            i += 1
    return out


def merge_by_texts(pieces, pair):
    out = []
    for piece in pieces:
        if out and out[-1] + piece == "".join(pair):
            out[-1] += piece
        else:
            out.append(piece)
    return out


def merge_what_was_merged(pieces, pair):
    out = []
    for piece in pieces:
        if out and out[-1].endswith(pair[0]) and piece == pair[1]:
            out[-1] += piece
        else:
            out.append(piece)
    return out


def merge_in_place(pieces, pair):
    pieces = list(pieces)
    return " ".join(merge_by_index(pieces, pair))


# Attention


def attention_by_loops(q, k, v, seen):
    if q.ndim > 2:
        return torch.stack([attention_by_loops(*one, seen) for one in zip(q, k, v, strict=True)])
    rows = []
    for i in range(len(q)):
        keys = [j for j in range(len(k)) if seen[i, j]]
        scores = torch.stack([q[i] @ k[j] for j in keys]) / math.sqrt(q.shape[1])
        weights = scores.exp() / scores.exp().sum()
        rows.append(sum(w * v[j] for w, j in zip(weights, keys, strict=True)))
    return torch.stack(rows)


def attention_of_torch(q, k, v, seen):
    return F.scaled_dot_product_attention(q, k, v, attn_mask=seen)


def attention_by_addition(q, k, v, seen):
    scores = torch.einsum("...id,...jd->...ij", q * q.shape[-1] ** -0.5, k)
    scores = scores + torch.zeros(seen.shape).masked_fill(seen.logical_not(), -1e9)
    return torch.einsum("...ij,...jd->...id", torch.softmax(scores, dim=-1), v)


def wrong_attention(scale=lambda s, q: s / q.shape[-1] ** 0.5, mask=None, end=None, dim=-1):
    mask = mask or (lambda s, seen: s.masked_fill(~seen, -torch.inf))

    def function(q, k, v, seen):
        weights = mask(scale(q @ k.mT, q), seen).softmax(dim).nan_to_num(0)
        return end(weights, v, seen) if end else weights @ v

    return function


# Positions


def sinusoids_by_loops(n, d):
    rows = []
    for p in range(n):
        row = []
        for i in range(d // 2):
            angle = p / 10000 ** (2 * i / d)
            row += [math.sin(angle), math.cos(angle)]
        rows.append(row)
    return torch.tensor(rows)


def sinusoids_in_numpy(n, d):
    columns = np.arange(d)
    angles = np.arange(n)[:, None] / 10000.0 ** ((columns - columns % 2) / d)
    return torch.from_numpy(np.where(columns % 2 == 0, np.sin(angles), np.cos(angles)))


def sinusoids_by_slices(n, d):
    table, places = torch.empty(n, d), torch.arange(n).float().unsqueeze(1)
    pace = torch.exp(torch.arange(0, d, 2) * (-math.log(10000.0) / d))
    table[:, 0::2], table[:, 1::2] = torch.sin(places * pace), torch.cos(places * pace)
    return table


def woven(angles, first=torch.sin, second=torch.cos):
    return torch.stack([first(angles), second(angles)], -1).flatten(1)


def places(n):
    return torch.arange(float(n))[:, None]


def pairs(d):
    return torch.arange(0, d, 2) / d


# A layer


def layer(x, part, *, mask=torch.tril, heads=None, split=None, join=None, start=None, read=None, mlp=None, out=True):
    heads, a = heads or part.attend.heads, part.attend
    y = part.norm_attend(x) if read is None else read(x, part)
    q, k, v = (f(y).unflatten(-1, (heads, -1)).transpose(1, 2) for f in (a.query, a.key, a.value))
    seen = mask(torch.ones(x.shape[1], x.shape[1])).bool()
    mixed = attention_of_torch(q, k, v, seen)
    mixed = join(mixed, x) if join else mixed.transpose(1, 2).flatten(2)
    mixed = a.out(mixed) if out else mixed
    x = x + mixed if start is None else start(x, y, mixed)
    return x + part.mlp(part.norm_mlp(x)) if mlp is None else mlp(x, part)


def layer_by_loops(x, part):
    """Token by token and head by head."""
    y, a, found = part.norm_attend(x), part.attend, []
    q, k, v = a.query(y), a.key(y), a.value(y)
    wide = x.shape[-1] // a.heads
    for i in range(x.shape[1]):
        heads = []
        for h in range(a.heads):
            own = slice(h * wide, (h + 1) * wide)
            scores = (k[:, : i + 1, own] @ q[:, i, own, None])[..., 0] / wide**0.5
            heads.append((scores.softmax(-1)[..., None] * v[:, : i + 1, own]).sum(1))
        found.append(torch.cat(heads, -1))
    x = x + a.out(torch.stack(found, 1))
    return x + part.mlp(part.norm_mlp(x))


def layer_by_the_library(x, part):
    from labkit.foundations.transformer.attention import Sight, causal_mask

    y = part.norm_attend(x)
    x = x + part.attend(y, y, Sight(causal_mask(x.shape[1])))
    return x + part.mlp(part.norm_mlp(x))


def post_norm(x, part):
    x = part.norm_attend(layer(x, part, read=lambda x, part: x, mlp=lambda x, part: x))
    return part.norm_mlp(x + part.mlp(x))


def values_of_x(x, part):
    y, a = part.norm_attend(x), part.attend
    q, k, v = (t.unflatten(-1, (a.heads, -1)).transpose(1, 2) for t in (a.query(y), a.key(y), a.value(x)))
    x = x + a.out(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2))
    return x + part.mlp(part.norm_mlp(x))


def mlp_of_the_old(x, part):
    attended = layer(x, part, mlp=lambda x, part: x)
    return attended + part.mlp(part.norm_mlp(x))


RIGHT = {
    "best_pair": [pair_by_sorting, pair_by_loops, pair_by_repeating],
    "merge": [merge_by_index, merge_by_iterator, merge_by_recursion],
    "attention": [attention_by_loops, attention_of_torch, attention_by_addition],
    "sinusoids": [sinusoids_by_loops, sinusoids_in_numpy, sinusoids_by_slices],
    "decoder_layer": [layer, layer_by_loops, layer_by_the_library],
}

WRONG = {
    "best_pair": [
        (lambda w: top(Counter({p: sum(c for word, c in w.items() if p in set(pairwise(word))) for p in counted(w)})), "stands twice in a word"),
        (lambda w: top(Counter(pair for word in w for pair in pairwise(word))), "you counted the words that have the pair"),
        (lambda w: top(counted({word[:2]: c for word, c in w.items()})), "only the first pair"),
        (lambda w: max(counted(w), key=counted(w).get), "several pairs are equally frequent"),
        (lambda w: min(counted(w), key=lambda p: (-counted(w)[p], p[0])), "the second piece decides"),
        (by_text, "count pairs, not joined texts"),
        (lambda w: "".join(top(counted(w))), "not one text"),
        (lambda w: (top(counted(w)), 3), "nothing with it"),
        (lambda w: (*top(counted(w)), 4), r"you gave \('a', 'b', 4\)"),
        (lambda w: 4, "not int"),
    ],
    "merge": [
        (merge_overlapping, "joined twice"),
        (merge_first, "only the first place"),
        (merge_from_the_right, "from the right"),
        (merge_and_keep_the_second, "second piece of the pair is still there"),
        (merge_without_the_last, "last pieces have to be kept"),
        (merge_by_texts, "compare pieces, not texts"),
        (merge_what_was_merged, "here a joined piece was joined again"),
        (merge_in_place, "not one text"),
        (lambda pieces, pair: list(pieces), "nothing was joined"),
        (lambda pieces, pair: len(pieces), "a list of pieces is wanted$"),
        (lambda pieces, pair: [*merge_by_index(pieces, pair), "."], "should be"),
    ],
    "attention": [
        (wrong_attention(lambda s, q: s), "not divided by √d"),
        (wrong_attention(lambda s, q: s / q.shape[-1]), "divided by d"),
        (wrong_attention(lambda s, q: s / s.shape[-1] ** 0.5), "root of the number of keys"),
        (wrong_attention(mask=lambda s, seen: s.masked_fill(seen, -torch.inf)), "turned round"),
        (wrong_attention(mask=lambda s, seen: s), "every query sees every key"),
        (wrong_attention(mask=lambda s, seen: s, end=lambda w, v, seen: w * seen @ v), "after the softmax"),
        (wrong_attention(mask=lambda s, seen: s * seen), "e⁰"),
        (wrong_attention(dim=-2), "over the queries"),
        (lambda q, k, v, seen: (q @ k.mT / 2).masked_fill(~seen, 0) @ v, "softmax is missing"),
        (wrong_attention(end=lambda w, v, seen: w @ v / w.shape[-1]), "mean over the keys"),
        (lambda q, k, v, seen: attention_of_torch(q, k, v.detach(), seen), "gradient of `v`"),
        (lambda q, k, v, seen: attention_of_torch(q, k, v, seen).detach(), "carries no gradient"),
        (lambda q, k, v, seen: torch.bmm((torch.bmm(q, k.transpose(1, 2)) / 2).masked_fill(~seen, -torch.inf).softmax(2), v), "stopped with|not for queries of shape"),
        (lambda q, k, v, seen: (q @ k.mT / 2 * torch.where(seen, 1.0, -torch.inf)).softmax(-1) @ v, "NaN|should|wanted"),
        (lambda q, k, v, seen: (q @ k.mT / 2).softmax(-1), r"shape \(2, 3, 5\)"),
        (lambda q, k, v, seen: attention_of_torch(q, k, v, seen) * 2, "wanted: softmax"),
    ],
    "sinusoids": [
        (lambda n, d: torch.cat([(places(n) / 10000 ** pairs(d)).sin(), (places(n) / 10000 ** pairs(d)).cos()], 1), "all sines stand before"),
        (lambda n, d: woven(places(n) / 10000 ** pairs(d), torch.cos, torch.sin), "exchanged"),
        (lambda n, d: woven(places(n) / 10000 ** (pairs(d) / 2)), "exponent is i / d"),
        (lambda n, d: woven((places(n) + 1) / 10000 ** pairs(d)), "begin at 1"),
        (lambda n, d: woven(places(n) * 10000 ** pairs(d)), "exponent's sign"),
        (lambda n, d: woven(places(n) / 1000 ** pairs(d)), "base is 1000"),
        (lambda n, d: sinusoids_by_loops(n, d).T, r"shape \(6, 7\)"),
        (lambda n, d: torch.stack([(torch.sin, torch.cos)[c % 2](places(n)[:, 0] / 10000 ** (c / d)) for c in range(d)], 1), "have the same angle"),
        (lambda n, d: sinusoids_by_loops(n, d).numpy(), "torch tensor, not ndarray"),
        (lambda n, d: woven(places(n) / 10000 ** (torch.arange(0, 6, 2) / 6)), r"shape \(2, 6\)"),
        (lambda n, d: sinusoids_by_loops(n, d) * 2, "row p should hold"),
    ],
    "decoder_layer": [
        (lambda x, p: layer(x, p, mask=lambda t: t), "sees the whole text"),
        (lambda x, p: layer(x, p, mask=torch.triu), "tril, not triu"),
        (lambda x, p: layer(x, p, heads=1), "in one head"),
        (lambda x, p: layer(x, p, join=lambda m, x: m.reshape(x.shape)), "joined in the wrong order"),
        (lambda x, p: layer(x, p, out=False), "out is missing"),
        (lambda x, p: layer(x, p, start=lambda x, y, m: m), "first residual"),
        (lambda x, p: layer(x, p, mlp=lambda x, p: p.mlp(p.norm_mlp(x))), "second residual"),
        (lambda x, p: layer(x, p, start=lambda x, y, m: y + m), "begins at the normed"),
        (lambda x, p: layer(x, p, read=lambda x, p: x), "norm_attend is missing"),
        (values_of_x, "values are made from x"),
        (lambda x, p: layer(x, p, mlp=lambda x, p: x + p.mlp(x)), "norm_mlp is missing"),
        (mlp_of_the_old, "the MLP reads x"),
        (lambda x, p: layer(x, p, mlp=lambda x, p: x), "^the MLP is missing"),
        (lambda x, p: x + p.mlp(p.norm_mlp(x)), "^attention is missing"),
        (post_norm, "post-norm"),
        (lambda x, p: layer(x.detach(), p), "gradient of `x`"),
        (lambda x, p: layer(x, p)[:, -1], r"shape \(2, 6\)"),
        (lambda x, p: layer(x, p) * 2, "wanted: x \\+ out"),
    ],
}  # fmt: skip
