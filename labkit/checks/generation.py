"""Checks of lesson 01/06, writing text: `from labkit.checks import generation as check`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from labkit.checks.exercise import Mistake, asked, exercise, expect, given, parts, same, tensor, whole
from labkit.foundations.generation.decoding import extended
from labkit.foundations.generation.metrics import clipped_matches as matches_of
from labkit.foundations.generation.sampling import filtered

LESSON = "01/06"


def _next_shares(logits: Tensor, temperature: float) -> Tensor:
    return (logits / temperature).softmax(-1)


@exercise(LESSON, _next_shares)
def next_shares(function: Callable[[Tensor, float], Tensor]) -> None:
    """Logits (rows, vocabulary), a temperature → probabilities (rows, vocabulary)."""
    logits = torch.tensor([[2.0, 1.0, 0.0, -1.0, 0.5], [0.0, 3.0, 0.3, 1.0, -2.0], [1.0, 1.5, 0.0, 0.2, 0.4]])
    found = tensor(asked(function, logits=logits, temperature=0.5), (3, 5))
    plain, right = logits.softmax(-1), _next_shares(logits, 0.5)
    expect(found, right, "wanted: the softmax of logits / temperature, along each row", [
        (plain, "the temperature is not used: this is the softmax of the logits themselves"),
        ((logits * 0.5).softmax(-1), "you multiplied by the temperature: divide, so that a low one makes large differences larger"),
        (plain / 0.5, "the softmax was divided by the temperature, and sums to 2: divide the logits, before the softmax"),
        (plain**2, "powers of the probabilities must be divided by their sum again: softmax(logits / temperature) does it"),
        ((logits / 0.5).softmax(0), "each column sums to 1: the softmax must run along a row, over the vocabulary (dim −1)"),
        ((logits / 0.5).log_softmax(-1), "these are log-probabilities: take the softmax"),
        ((logits / 0.5).exp(), "the rows do not sum to 1: divide by each row's sum"),
        (logits / 0.5, "these are still logits: the softmax is missing"),
    ])  # fmt: skip
    large = tensor(function(1000 + logits, 1.5), (3, 5), "for large logits, the result", "exp of a large number is infinite: leave it to torch.softmax")  # fmt: skip
    expect(large, _next_shares(logits, 1.5), "right for temperature 0.5, but not for temperature 1.5")


def _nucleus(shares: Tensor, p: float) -> Tensor:
    return filtered(shares.log(), p=p).softmax(-1)


@exercise(LESSON, _nucleus)
def nucleus(function: Callable[[Tensor, float], Tensor]) -> None:
    """Probabilities (rows, vocabulary), p → the same with 0 outside the nucleus, each row summing to 1."""
    shares = torch.tensor([[0.125, 0.5, 0.0625, 0.25, 0.0625], [0.0625, 0.0625, 0.8125, 0.03125, 0.03125], [0.25, 0.1875, 0.21875, 0.15625, 0.1875]])  # fmt: skip
    found = tensor(asked(function, shares=shares, p=0.75), (3, 5), nan="did you divide by a sum of 0? The likeliest token is always kept")  # fmt: skip
    down, order = shares.sort(dim=-1, descending=True)
    before = down.cumsum(-1) - down

    def kept(mask: Tensor, values: Tensor = down) -> Tensor:
        return torch.zeros_like(shares).scatter(1, order, values * mask)

    def normal(values: Tensor) -> Tensor:
        return values / values.sum(-1, keepdim=True)

    right = normal(kept(before < 0.75))
    expect(found, right, "wanted: per row, the fewest of the likeliest tokens whose probabilities sum to p or more; the rest 0, and all divided by the sum of what is left", [
        (kept(before < 0.75), "the rows do not sum to 1 any more: divide each by the sum of what is kept"),
        (normal(down * (before < 0.75)), "the probabilities stand in sorted order: put each back in its token's column (scatter, or sort the order back)"),
        (normal(kept(before + down < 0.75)), "the token that brings the sum to p belongs to the nucleus: a row's likeliest token must be kept even where it alone exceeds p"),
        (normal(kept(before + down <= 0.75)), "the token that brings the sum to p belongs to the nucleus: a row's likeliest token must be kept even where it alone exceeds p"),
        (normal(kept(before <= 0.75)), "where the sum is exactly p one token too many is kept: 0.5 + 0.25 is 0.75, and enough"),
        (normal(shares * (shares >= 0.25)), "a limit of 1 − p for single tokens is another rule: the *sum* of the likeliest ones counts"),
        (normal(kept(before >= 0.75)), "you kept what should go: the likeliest tokens stay"),
        (shares, "nothing was left out"),
        (kept(before < 0.75, torch.ones_like(down)), "these are ones: the tokens that are kept keep their probabilities, divided by their sum"),
        (torch.where(shares >= down.gather(1, (before < 0.75).sum(1, keepdim=True) - 1), shares, 0).softmax(-1), "a softmax of probabilities gives those of 0 a share again: divide by the sum"),
    ])  # fmt: skip
    expect(function(shares, 1.0), shares, "right for p = 0.75, but with p = 1 nothing is left out")
    equal = tensor(function(torch.full((1, 4), 0.25), 0.5), (1, 4), "for four equal probabilities, the result")
    expect(equal.sort().values, torch.tensor([[0, 0, 0.5, 0.5]]), "of four tokens with probability 0.25 each, p = 0.5 keeps two: choose by place in the order, not by value")  # fmt: skip


def _beam_step(logits: Tensor, score: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    return tuple(one[0] for one in extended(logits, score[None], count))  # type: ignore[return-value]


NAMES = ("scores", "parents", "tokens")


@exercise(LESSON, _beam_step)
def beam_step(function: Callable[[Tensor, Tensor, int], Sequence[Tensor]]) -> None:
    """Logits (beams, vocabulary), score (beams,), count → scores, parents, tokens of the best, each (count,)."""
    logits = torch.tensor([[3.0, 1.0, 0.0, 2.5], [0.0, 4.0, 1.0, 0.5], [1.0, 1.2, 0.8, 6.0]])
    score = torch.tensor([-1.0, -1.6, -4.0])
    found = parts(asked(function, logits=logits, score=score, count=4), NAMES)
    scores, parents, tokens = (_vector(one, 4, name) for one, name in zip(found, NAMES, strict=True))
    right = _beam_step(logits, score, 4)
    told = "wanted: the count largest of score[beam] + log_softmax(logits)[beam, token], the largest first"
    each = (score[:, None] + logits.log_softmax(-1)).topk(2).values.flatten().sort(descending=True).values[:4]
    expect(scores, right[0], told, [
        ((score[:, None] + logits).flatten().topk(4).values, "these are sums of logits: only log-probabilities can be added up to that of a text (log_softmax over the vocabulary)"),
        ((score[:, None] + logits.softmax(-1)).flatten().topk(4).values, "you added probabilities to log-probabilities: take log_softmax"),
        ((score[:, None] * logits.log_softmax(-1)).flatten().topk(4).values, "you multiplied: probabilities are multiplied, their logarithms added"),
        (logits.log_softmax(-1).flatten().topk(4).values, "the score that each beginning has so far is missing"),
        ((score[:, None] + logits.log_softmax(0)).flatten().topk(4).values, "the softmax ran over the beams (dim 0): it runs over the vocabulary"),
        ((score[:, None] + logits.flatten().log_softmax(0).view(3, 4)).flatten().topk(4).values, "one softmax ran over all beams together: each beam has a distribution of its own"),
        (right[0].flip(0), "the smallest stands first: the best comes first"),
        (each, "you took the best of each beam: the best of *all* beams together are wanted"),
    ])  # fmt: skip
    expect(tokens, right[2], "the scores are right, but not the tokens: place % vocabulary", [(right[1], "parents and tokens are exchanged: return scores, parents, tokens")])  # fmt: skip
    expect(
        parents, right[1], "the scores are right, but not the parents: place // vocabulary, the beam that is continued"
    )
    one = parts(function(logits[:1], torch.zeros(1), 2), NAMES)
    expect(torch.stack([_vector(x, 2, name).float() for x, name in zip(one, NAMES, strict=True)]), torch.stack([x.float() for x in _beam_step(logits[:1], torch.zeros(1), 2)]), "right for three beams and four results, but not for one beam and two results")  # fmt: skip


def _vector(value: Any, size: int, name: str) -> Tensor:
    given(value, name)
    if not torch.is_tensor(value) or tuple(value.shape) != (size,):
        shape = f"of shape {tuple(value.shape)}" if torch.is_tensor(value) else f"a {type(value).__name__}"
        raise Mistake(f"{name} should be a tensor of shape ({size},), not {shape}")
    return value.detach()


def _clipped_matches(candidate: Sequence[str], reference: Sequence[str], n: int) -> tuple[int, int]:
    return matches_of(candidate, [reference], n)


@exercise(LESSON, _clipped_matches)
def clipped_matches(function: Callable[[Sequence[str], Sequence[str], int], Sequence[int]]) -> None:
    """Words of a candidate and of a reference, n → (n-grams that match, clipped; n-grams of the candidate)."""
    cases = [
        ("the the the the cat sat", "the cat saw the cat", 1),
        ("a b a b a b c", "a b c a b", 2),
        ("a", "a b c", 3),
    ]
    for text, other, n in cases:
        candidate, reference = text.split(), other.split()
        found = [whole(one, name) for one, name in zip(parts(asked(function, candidate=candidate, reference=reference, n=n), ("matches", "total")), ("matches", "total"), strict=True)]  # fmt: skip
        grams, others = ([tuple(ws[i : i + n]) for i in range(len(ws) - n + 1)] for ws in (candidate, reference))
        right = _clipped_matches(candidate, reference, n)
        where = f"for “{text}” and “{other}” with n = {n}"
        expect(found, right, f"{where}: {right[0]} of {right[1]} n-grams match, you have {found[0]} of {found[1]}", [
            ((sum(g in others for g in grams), len(grams)), f"{where}: an n-gram counts at most as often as it stands in the reference (clip it, or & two Counters)"),
            ((len(set(grams) & set(others)), len(grams)), f"{where}: an n-gram that stands twice in both counts twice: count, do not make sets"),
            ((len(set(grams) & set(others)), len(set(grams))), f"{where}: an n-gram that stands twice in both counts twice: count, do not make sets"),
            ((right[0], len(others)), f"{where}: the total is that of the candidate's n-grams; the reference's would make it recall"),
            ((right[0], len(candidate)), f"{where}: the total counts n-grams, {len(grams)} of them, not words"),
            (right[::-1], "the two are exchanged: matches first, total second"),
            ((sum((Counter(candidate) & Counter(reference)).values()), len(candidate)), f"{where}: n is not used: these are single words"),
            ((0, len(candidate) - n + 1), f"{where}: a candidate of fewer than n words has no n-grams: the total is 0"),
        ])  # fmt: skip


def _steered_text(models: Sequence[Any], alpha: float, temperature: float, p: float, most: int, draw: Any) -> Tensor:
    written = []
    for _ in range(most):
        base, expert, anti = (model.logits for model in models)
        written.append(draw(_nucleus(_next_shares(base + alpha * (expert - anti), temperature), p)))
        for model in models:
            model.advance(written[-1])
    return torch.stack(written, 1)


SEEDS = (11, 22, 33)  # of base, expert and anti-expert


class _Toy:
    """A model with logits of its own for each step, which depend on the tokens before; remembers those."""

    def __init__(self, seed: int) -> None:
        self.seed, self.read = seed, []  # type: ignore[var-annotated]

    @property
    def logits(self) -> Tensor:
        key = self.seed + 7 * sum((t + 1) * (i + 1) for i, row in enumerate(self.read) for t in row)
        return 2 * torch.randn(2, 5, generator=torch.Generator().manual_seed(key))

    def advance(self, tokens: Tensor) -> None:
        self.read.append(tokens.tolist())


def _steer(
    write: Callable[..., Tensor], alpha: float = 1.5, temperature: float = 0.7, p: float = 0.8
) -> tuple[Any, list[Tensor], list[_Toy]]:
    """What is written, what draw was given each time, and the models afterwards."""
    models, seen = [_Toy(seed) for seed in SEEDS], []

    def draw(shares: Tensor) -> Tensor:
        seen.append(tensor(shares, (2, 5), "what is given to draw").clone())
        return shares.argmax(-1) if len(seen) % 2 else shares.masked_fill(shares <= 0, 2).argmin(-1)

    return write(models, alpha, temperature, p, 4, draw), seen, models


def _slips() -> list[tuple[Tensor, str]]:
    """First probabilities that come of a known mistake, and what it is."""
    z, plus, minus = (_Toy(seed).logits for seed in SEEDS)

    def first(logits: Tensor, temperature: float = 0.7, p: float = 0.8) -> Tensor:
        return _nucleus(_next_shares(logits, temperature), p)

    return [
        (first(z), "expert and anti-expert are not used"),
        (first(z + 1.5 * (minus - plus)), "expert and anti-expert are exchanged: this writes what is not wanted"),
        (first(1.5 * (plus - minus)), "the base model is missing: z + alpha (z⁺ − z⁻)"),
        (first(z + 1.5 * (plus + minus)), "the anti-expert must be subtracted"),
        (first(z + 1.5 * plus - minus), "alpha weighs the anti-expert too: alpha * (expert − anti)"),
        (first(z + plus - minus), "alpha is not used"),
        (first(z + 1.5 * (plus - minus), 1.0), "the temperature is not used"),
        (first(z + 1.5 * (plus - minus), p=1.0), "the nucleus is not used"),
    ]


@exercise(LESSON, _steered_text)
def steered_text(function: Callable[..., Tensor]) -> None:
    """(base, expert, anti), alpha, temperature, p, most, draw → tokens (rows, most)."""
    text, seen, models = _steer(function)
    wanted, rights, _ = _steer(_steered_text)
    given(text)
    if not seen:
        raise Mistake(
            "draw was never called: it takes the probabilities (rows, vocabulary) and gives each row's next token"
        )
    right = "wanted nucleus(next_shares(base + alpha * (expert - anti), temperature), p)"
    expect(seen[0], rights[0], f"the first probabilities are wrong: {right}", _slips())
    for name, model in zip(("base", "expert", "anti"), models, strict=True):
        if not model.read:
            raise Mistake(f"the {name} model never advances: all three must read each token that is drawn")
    if len(seen) != 4:
        raise Mistake(f"most = 4 tokens are wanted per row, draw was called {len(seen)} times")
    if any(not same(one, right) for one, right in zip(seen, rights, strict=True)):
        raise Mistake("the first token is right, the next are not: after each draw all three models advance once by it")
    tokens = tensor(text.float() if torch.is_tensor(text) else text, (2, 4), "the text")
    expect(tokens, wanted.float(), "the text should hold the drawn tokens, a row per text: torch.stack(tokens, 1)")
    for name, change in (
        ("alpha = 0", {"alpha": 0.0}),
        ("temperature = 2", {"temperature": 2.0}),
        ("p = 0.3", {"p": 0.3}),
    ):
        if not same(_steer(function, **change)[0], _steer(_steered_text, **change)[0]):
            raise Mistake(f"right for alpha = 1.5, temperature = 0.7, p = 0.8, but not with {name}: use the arguments")
