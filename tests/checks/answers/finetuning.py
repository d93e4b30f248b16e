"""Right and wrong answers to the exercises of lesson 01/05."""

from __future__ import annotations

from collections import Counter

import numpy as np
import torch
from torch.nn import functional as F

from labkit.checks.finetuning import _answer_scores, _best_span, _read_and_score
from labkit.foundations.reading import answer_f1, exact_match, plain_answer

# Right


def class_by_loops(states, mask, weight, bias):
    rows = []
    for text, real in zip(states, mask, strict=True):
        kept = [state for state, one in zip(text, real, strict=True) if one]
        mean = sum(kept) / len(kept)
        rows.append(torch.stack([(w * mean).sum() + b for w, b in zip(weight, bias, strict=True)]))
    return torch.stack(rows)


def class_by_shares(states, mask, weight, bias):
    shares = mask / mask.sum(1, keepdim=True)
    return torch.einsum("bt,btd,cd->bc", shares, states, weight) + bias


def class_by_linear(states, mask, weight, bias):
    total = states.masked_fill(~mask.bool()[..., None], 0).sum(1)
    return F.linear(total / mask.float().sum(1)[:, None], weight, bias)


def span_by_table(start, end, longest):
    n = len(start)
    away = torch.arange(n) - torch.arange(n)[:, None]
    table = (start[:, None] + end).masked_fill((away < 0) | (away >= longest), -torch.inf)
    place = int(table.argmax())
    return place // n, place % n, table.max()


def span_in_numpy(start, end, longest):
    table = np.add.outer(start.numpy(), end.numpy())
    table = np.where(np.triu(np.ones_like(table)) * np.tril(np.ones_like(table), longest - 1) > 0, table, -np.inf)
    first, last = np.unravel_index(table.argmax(), table.shape)
    return [first, last, table[first, last]]


def span_from_the_end(start, end, longest):
    best = None
    for last in range(len(end)):
        for first in range(max(0, last - longest + 1), last + 1):
            score = start[first].item() + end[last].item()
            if best is None or score >= best[2]:
                best = (first, last, score)
    return best


def scores_by_counting(told, given):
    left, common = list(told), 0
    for word in given:
        if word in left:
            left.remove(word)
            common += 1
    if not told or not given:
        return int(told == given), int(told == given)
    precision, recall = common / len(given), common / len(told)
    return int(told == given), 2 * precision * recall / (precision + recall) if common else 0


def scores_by_the_library(told, given):
    return exact_match(" ".join(told), " ".join(given)), answer_f1(" ".join(told), " ".join(given))


def scores_by_sums(told, given):
    common = sum(min(told.count(word), given.count(word)) for word in set(told))
    size = len(told) + len(given)
    return [np.float64(told == given), np.float64(2 * common / size if size else 1)]


def choice_by_loops(scores, real, right):
    losses = []
    for row, there, one in zip(scores, real, right, strict=True):
        kept = row[there]
        losses.append(torch.logsumexp(kept, 0) - row[one])
    return torch.stack(losses).mean()


def choice_by_shares(scores, real, right):
    shares = torch.where(real, scores, torch.tensor(-torch.inf)).log_softmax(-1)
    return -shares.gather(1, right[:, None]).mean()


def choice_with_a_large_number(scores, real, right):
    return F.nll_loss((scores + (real.float() - 1) * 1e9).log_softmax(1), right)


def read_by_lists(start, end, characters, texts, told, longest):
    pairs = []
    for i in range(len(texts)):
        first, last, _ = span_by_table(start[i], end[i], longest)
        (begin, _), (_, stop) = characters[i][first].tolist(), characters[i][last].tolist()
        pairs.append(scores_by_counting(plain_answer(told[i], "en"), plain_answer(texts[i][begin:stop], "en")))
    return tuple(np.mean(pairs, 0))


def read_by_the_library(start, end, characters, texts, told, longest):
    given = []
    for i, text in enumerate(texts):
        first, last, _ = span_in_numpy(start[i], end[i], longest)
        given.append(text[characters[i, first, 0] : characters[i, last, 1]])
    both = list(zip(told, given, strict=True))
    return sum(exact_match(*one) for one in both) / len(both), sum(answer_f1(*one) for one in both) / len(both)


def read_with_sums(start, end, characters, texts, told, longest):
    exact, f1 = [], []
    for a, b, places, text, answer in zip(start, end, characters.numpy(), texts, told, strict=True):
        first, last, _ = span_from_the_end(a, b, longest)
        one = scores_by_sums(plain_answer(answer, "en"), plain_answer(text[places[first, 0] : places[last, 1]], "en"))
        exact.append(one[0])
        f1.append(one[1])
    return sum(exact) / len(exact), sum(f1) / len(f1)


RIGHT = {
    "class_logits": [class_by_loops, class_by_shares, class_by_linear],
    "best_span": [span_by_table, span_in_numpy, span_from_the_end],
    "answer_scores": [scores_by_counting, scores_by_the_library, scores_by_sums],
    "choice_loss": [choice_by_loops, choice_by_shares, choice_with_a_large_number],
    "read_and_score": [read_by_lists, read_by_the_library, read_with_sums],
}


# Wrong


def spans(keep):
    """The best of the spans (first, last, longest) that are kept."""

    def found(start, end, longest):
        some = [(a, b) for a in range(len(start)) for b in range(len(end)) if keep(a, b, longest)]
        first, last = max(some, key=lambda one: float(start[one[0]] + end[one[1]]))
        return first, last, float(start[first] + end[last])

    return found


def from_zero(start, end, longest):
    best = (0, 0, 0.0)
    for first in range(len(start)):
        for last in range(first, min(first + longest, len(end))):
            if start[first] + end[last] > best[2]:
                best = (first, last, float(start[first] + end[last]))
    return best


def changed(start, end, longest):
    found = _best_span(start, end, longest)
    start -= 1
    return found


def by_sets(told, given):
    common = len(set(told) & set(given))
    exact = float(told == given)
    return exact, 2 * common / (len(set(told)) + len(set(given))) if told and given else exact


def f1_of(rule):
    """Exact match, and a rule of precision, recall."""

    def scores(told, given):
        exact = float(told == given)
        if not told or not given:
            return exact, exact
        common = (Counter(told) & Counter(given)).total()
        return exact, rule(common / len(given), common / len(told))

    return scores


def read(span=_best_span, scores=_answer_scores, words=lambda text: plain_answer(text, "en"), cut=0, mean=True):
    def found(start, end, characters, texts, told, longest):
        some = []
        for i, text in enumerate(texts):
            first, last, _ = span(start[i], end[i], longest)
            given = text[characters[i, first, 0] : characters[i, last, 1] + cut]
            some.append(scores(words(told[i]), words(given)))
        return tuple(sum(one) / (len(texts) if mean else 1) for one in zip(*some, strict=True))

    return found


WRONG = {
    "class_logits": [
        (lambda h, m, w, b: h.mean(1) @ w.T + b, "padding counts too"),
        (lambda h, m, w, b: (h * m[..., None]).mean(1) @ w.T + b, "divided by the number of all tokens"),
        (lambda h, m, w, b: (h * m[..., None]).sum(1) @ w.T + b, "this is a sum over the tokens"),
        (lambda h, m, w, b: h[:, 0] @ w.T + b, "first token's state alone"),
        (lambda h, m, w, b: (h * m[..., None]).amax(1) @ w.T + b, "this is a maximum"),
        (lambda h, m, w, b: class_by_shares(h, m, w, 0 * b) + 0 * b, "bias is missing"),
        (lambda h, m, w, b: class_by_shares(h, m, w, b).softmax(1), "softmax is not asked for"),
        (lambda h, m, w, b: class_by_shares(h.detach(), m, w, b), "gradient with respect to the states"),
        (lambda h, m, w, b: class_by_shares(h, m, w, b).detach(), "carries no gradient"),
        (lambda h, m, w, b: class_by_shares(h, m, w, b)[0], r"shape \(2,\)"),
        (lambda h, m, w, b: class_by_shares(h, m, w, b).tolist(), "torch tensor, not list"),
        (lambda h, m, w, b: class_by_shares(h, m, w, 2 * b), "wanted: the mean of the real"),
    ],
    "best_span": [
        (lambda s, e, n: (int(s.argmax()), int(e.argmax()), float(s.max() + e.max())), "chosen apart"),
        (spans(lambda a, b, n: a <= b), "it has 5 tokens, and 3 are the most"),
        (spans(lambda a, b, n: a <= b <= a + n), "it has 4 tokens, and 3 are the most"),
        (spans(lambda a, b, n: a <= b < a + max(n - 1, 1)), "only shorter answers were tried"),
        (from_zero, "where all scores are below 0"),
        (spans(lambda a, b, n: a < b < a + n or (n == 1 and a == b - 1)), "an answer of one token may be the best"),
        (lambda s, e, n: _best_span(s, e, n)[:2], "3 results are wanted"),
        (lambda s, e, n: (*_best_span(s, e, n)[:2], 0.0), "the score of this answer is"),
        (lambda s, e, n: (*_best_span(s, e, n)[:2], _best_span(s, e, n)[2] / 2), "not 3.5"),
        (lambda s, e, n: _best_span(s, e, 3), "with longest = 2: "),
        (changed, "your function changed `start`"),
        (
            lambda s, e, n: (*_best_span(s, e, n)[1::-1], 7.0) if len(s) > 3 else _best_span(s, e, n),
            "you gave first 2, last 1",
        ),
    ],
    "answer_scores": [
        (by_sets, "with sets it counts once"),
        (f1_of(lambda p, r: p), "this is the precision"),
        (f1_of(lambda p, r: r), "this is the recall"),
        (f1_of(lambda p, r: (p + r) / 2), "plain mean of precision and recall"),
        (f1_of(lambda p, r: p * r), "precision times recall"),
        (f1_of(lambda p, r: 2 * p * r / (p + r)), "you divide by 0"),
        (lambda t, g: (float(t == g), 2 * sum(w in t for w in g) / max(len(t) + len(g), 1)), "found only once"),
        (lambda t, g: (float(set(t) == set(g)), _answer_scores(t, g)[1]), "exact should be 0, not 1"),
        (
            lambda t, g: (_answer_scores(t, g)[0], 0.0 if not t or not g else _answer_scores(t, g)[1]),
            "F1 should be 1, not 0",
        ),
        (lambda t, g: (_answer_scores(t, g)[1], _answer_scores(t, g)[0]), "F1 should be 0.667, not 0$"),
        (lambda t, g: _answer_scores(t, g)[1], "2 results are wanted"),
        (lambda t, g: (_answer_scores(t, g)[0], float("nan")), "F1 is NaN"),
    ],
    "choice_loss": [
        (lambda s, r, y: F.cross_entropy(s, y), "not real have a share too"),
        (lambda s, r, y: F.cross_entropy(s * r, y), "a score of 0 is a score"),
        (lambda s, r, y: choice_by_shares(s, r, y) * len(s), "sum over the questions"),
        (lambda s, r, y: -choice_by_shares(s, r, y), "sign is the wrong way round"),
        (
            lambda s, r, y: s.masked_fill(~r, -torch.inf).softmax(1).gather(1, y[:, None]).mean(),
            "mean share of the right",
        ),
        (
            lambda s, r, y: 1 - s.masked_fill(~r, -torch.inf).softmax(1).gather(1, y[:, None]).mean(),
            "one minus the share",
        ),
        (
            lambda s, r, y: F.binary_cross_entropy_with_logits(s[r], F.one_hot(y, 3)[r].float()),
            "a yes or no of its own",
        ),
        (
            lambda s, r, y: -s.masked_fill(~r, -torch.inf).log_softmax(0).gather(1, y[:, None]).mean(),
            r"over the questions \(dim 0\)",
        ),
        (lambda s, r, y: choice_by_shares(s, r, y).item(), "a plain number"),
        (lambda s, r, y: choice_by_shares(s.detach(), r, y), "carries no gradient"),
        (lambda s, r, y: choice_by_shares(s, r, y) + (s - s.detach()).sum(), "its gradient is not"),
        (lambda s, r, y: F.cross_entropy(s.masked_fill(~r, -torch.inf), y, reduction="none"), "one number is wanted"),
        (
            lambda s, r, y: -(s.exp() * r / (s.exp() * r).sum(1, keepdim=True)).gather(1, y[:, None]).log().mean(),
            "the loss holds NaN",
        ),
    ],
    "read_and_score": [
        (read(mean=False), "sums over the questions"),
        (read(words=str.split), "words are not cleaned"),
        (read(cut=-1), "lacks its last character"),
        (lambda *given: _read_and_score(*given)[::-1], "exchanged"),
        (lambda *given: _read_and_score(*given[:5], 3), "hand `longest` on"),
        (
            read(span=lambda s, e, n: (int(s.argmax()), max(int(s.argmax()), int(e.argmax())), 0)),
            "wanted: for each text the best span",
        ),
        (lambda *given: _read_and_score(*given)[0], "2 results are wanted"),
    ],
}
