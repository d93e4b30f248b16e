"""Checks of lesson 02/03, DKPLM: `from labkit.checks import dkplm as check`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from labkit.checks.exercise import Mistake, asked, exercise, expect, learns, loss, number, tensor
from labkit.knowledge.dkplm import decoded, pseudo_token, relational_loss, sampled_loss

LESSON = "02/03"
OVERFLOW = "exp overflows for large scores: leave it to logsumexp"


def _klt(frequency: float, importance: float, connections: int, below: float) -> float:
    return importance * connections if frequency < below else 0.0


@exercise(LESSON, _klt)
def klt(function: Callable[..., Any]) -> None:
    """freq(e), SI(e), KC(e), R → KLT(e)."""
    for frequency, importance, connections, below in (
        (0.001, 1.5, 10, 0.004), (0.02, 1.5, 10, 0.004), (0.004, 1.5, 10, 0.004), (0.003, 2.0, 0, 0.004), (0.3, 1.25, 8, 0.5),
    ):  # fmt: skip
        found = number(function(frequency, importance, connections, below), "KLT")
        right = _klt(frequency, importance, connections, below)
        case = f"freq {frequency}, SI {importance}, KC {connections}, R {below}: "
        at_edge = frequency == below
        expect(found, right, f"{case}KLT is {right:g}, not {found:g}", [
            (importance * connections, case + ("1[freq < R] is 0 at freq = R: < is meant, not <=" if at_edge else "an entity that is not rare has KLT 0: 1[freq < R] is missing")),
            (0.0, case + "this entity is rare, so its KLT is SI times KC: is the comparison the wrong way round?"),
            (frequency * importance * connections, case + "1[freq < R] is 1 or 0, not the frequency itself"),
            (importance + connections, case + "SI and KC are multiplied, not added"),
            (connections / importance, case + "SI is 1 / cosine already: multiply by it"),
        ])  # fmt: skip


@exercise(LESSON, pseudo_token)
def pseudo(function: Callable[..., Tensor]) -> None:
    """Other entity (n, k), relation (n, k), is_head (n,) → the stand-in (n, k)."""
    other = torch.tensor([[1.0, 2.0, 0.5], [3.0, -1.0, 0.0], [0.0, 4.0, 2.0], [2.0, 2.0, 5.0]])
    relation = torch.tensor([[0.5, 1.0, 3.0], [1.0, 2.0, -1.0], [0.25, -1.0, 2.0], [-3.0, 1.0, 1.0]])
    is_head = torch.tensor([True, False, False, True])
    found = tensor(asked(function, other=other, relation=relation, is_head=is_head), (4, 3))
    right = pseudo_token(other, relation, is_head)
    expect(found, right, "wanted: e_t − r where is_head, e_h + r elsewhere", [
        (pseudo_token(other, relation, ~is_head), "the signs are exchanged: h + r = t, so a head is t − r"),
        (other + relation, "e_h + r is right for tails alone: a mention that is the head is e_t − r"),
        (other - relation, "e_t − r is right for heads alone: a mention that is the tail is e_h + r"),
        (torch.where(is_head[:, None], relation - other, relation + other), "r − e_t: the other way round, e_t − r"),
        (other, "this is the other entity itself: move it by the relation"),
    ])  # fmt: skip
    one = tensor(function(other[:1, :2], relation[:1, :2], is_head[:1]), (1, 2), "for one mention in two dimensions, the result")  # fmt: skip
    expect(one, right[:1, :2], "right for four mentions, but not for one in two dimensions")


@exercise(LESSON, decoded)
def decode(function: Callable[..., Tensor]) -> None:
    """Mentions (n, d), relations (n, d), step, how many tokens → states (n, tokens, d)."""
    draw = torch.Generator().manual_seed(1)
    mentions, relations, weight = (torch.randn(*size, generator=draw) for size in ((3, 4), (3, 4), (4, 4)))
    given = {"mentions": mentions.clone().requires_grad_(), "relations": relations.clone().requires_grad_()}

    def step(states: Tensor) -> Tensor:
        return states @ weight + 0.1

    value = asked(function, **given, step=step, tokens=3)
    found, right = tensor(value, (3, 3, 4), gradient=True), decoded(mentions, relations, step, 3)
    once, fresh = right[:, :1].expand(3, 3, 4), []
    state = mentions * relations
    for _ in range(3):
        state = torch.tanh(step(state))
        fresh.append(state)
    wrong_sum, plain, late = (_chain(mentions, lambda s, how=how: how(s), 3) for how in (
        lambda s: torch.tanh(step(s + relations)), lambda s: step(s * relations), lambda s: torch.tanh(step(s)) * relations
    ))  # fmt: skip
    expect(found, right, "wanted: hᵢ = tanh(step(hᵢ₋₁ ⊙ r)) for i = 1 … tokens, h₀ the mention", [
        (once, "all states are the first one: each goes on from the one before it"),
        (torch.stack(fresh, 1), "the relation is multiplied in once: it is at every step"),
        (wrong_sum, "mention and relation are added: multiply them, element by element"),
        (plain, "the tanh is missing"),
        (late, "the relation comes after the step: hᵢ = tanh(step(hᵢ₋₁ ⊙ r))"),
        (torch.cat([mentions[:, None], right[:, :2]], 1), "the first state should be h₁, not the mention itself"),
        (right.transpose(0, 1), "tokens and mentions are exchanged: stack along dimension 1"),
    ])  # fmt: skip
    learns(value, decoded(*given.values(), step, 3), given, "the states are right, but not their gradient with respect to the {}")  # fmt: skip
    short = tensor(
        function(mentions[:1], relations[:1], step, 1), (1, 1, 4), "for one mention and one token, the result"
    )
    expect(short, right[:1, :1], "right for three tokens, but not for one")


def _chain(state: Tensor, how: Callable[[Tensor], Tensor], tokens: int) -> Tensor:
    states = []
    for _ in range(tokens):
        state = how(state)
        states.append(state)
    return torch.stack(states, 1)


@exercise(LESSON, sampled_loss)
def sampled(function: Callable[..., Tensor]) -> None:
    """Scores (n, vocabulary), wanted (n,), chances (vocabulary,), draws (q,) → the loss."""
    draw = torch.Generator().manual_seed(2)
    scores, wanted = torch.randn(3, 7, generator=draw), torch.tensor([4, 0, 6])
    scores[1] += 100
    chances, draws = torch.tensor([0.1, 0.2, 0.05, 0.3, 0.15, 0.1, 0.1]), torch.tensor([3, 1, 4, 3, 5])
    start = scores.clone().requires_grad_()
    value = asked(function, scores=start, wanted=wanted, chances=chances, draws=draws)
    found, right = loss(value, OVERFLOW), sampled_loss(scores, wanted, chances, draws)
    rows = scores.gather(1, wanted[:, None])
    each = F.cross_entropy(scores, wanted)
    plain = torch.cat([rows, scores[:, draws].masked_fill(draws == wanted[:, None], -torch.inf)], 1)
    doubled = torch.cat([rows, scores[:, draws] - (5 * chances[draws]).log()], 1)
    no_count = torch.cat([rows, (scores[:, draws] - chances[draws].log()).masked_fill(draws == wanted[:, None], -torch.inf)], 1)  # fmt: skip
    turned = torch.cat([rows, (scores[:, draws] + (5 * chances[draws]).log()).masked_fill(draws == wanted[:, None], -torch.inf)], 1)  # fmt: skip
    expect(found, right, "wanted: logsumexp over the wanted word's score and the drawn ones' less log(q · chance), minus the wanted word's score; a mean over n", [
        (each, "this is the softmax over all words: only the wanted one and the drawn ones are in the sum"),
        *((_against_first(some), text) for some, text in (
            (plain, "a drawn word's score is not made up for how often it is drawn: subtract log(q · chance)"),
            (doubled, "a draw that is the wanted word itself is counted twice: give it −∞"),
            (no_count, "log(chance) alone: subtract log(q · chance), q the number of draws"),
            (turned, "the correction has the wrong sign: a word that is drawn often has to count less"),
        )),
        (right * 3, "this is the sum over the n words: take the mean"),
        (-right, "the sign is the wrong way round"),
    ])  # fmt: skip
    learns(value, sampled_loss(start, wanted, chances, draws), {"scores": start}, "the loss is right, but its gradient is not: detach nothing")  # fmt: skip
    two = scores[:2, :5], torch.tensor([1, 2]), torch.full((5,), 0.2), torch.tensor([0, 2])
    expect(number(function(*two)), sampled_loss(*two), "right for three words of seven, but not for two of five")


def _against_first(scores: Tensor) -> Tensor:
    return (scores.logsumexp(1) - scores[:, 0]).mean()


@exercise(LESSON, relational_loss)
def relational(function: Callable[..., Tensor]) -> None:
    """Mentions and relations (n, d), wanted (n, tokens), step, say, chances, draws → the loss."""
    draw = torch.Generator().manual_seed(4)
    mentions, relations, weight, words = (
        torch.randn(*size, generator=draw) for size in ((3, 4), (3, 4), (4, 4), (4, 6))
    )
    wanted = torch.tensor([[2, 5], [1, -100], [0, 3]])
    given = {"mentions": mentions.clone().requires_grad_(), "relations": relations.clone().requires_grad_()}
    rest = {"wanted": wanted, "step": lambda states: states @ weight, "say": lambda states: states @ words}
    rest |= {"chances": torch.full((6,), 1 / 6), "draws": torch.tensor([0, 4, 2, 5])}
    try:
        value = asked(function, **given, **rest)
    except (IndexError, RuntimeError) as error:
        if "out of bounds" not in str(error):
            raise
        raise Mistake("−100 is no word: choose the states and the words whose `wanted` is not −100 first") from error
    found, right = loss(value), relational_loss(mentions, relations, *rest.values())
    states, asked_for = decoded(mentions, relations, rest["step"], 2), wanted != -100
    tail = rest["chances"], rest["draws"]
    per_token = [
        sampled_loss(rest["say"](states[asked_for[:, i], i]), wanted[asked_for[:, i], i], *tail) for i in (0, 1)
    ]
    expect(found, right, "wanted: decode the states, say the words at those that are asked for, and take sampled_loss of all of them", [
        (per_token[0], "only the first token of each name is asked for: take all of them"),
        (sum(per_token), "this adds the means of the tokens: take one mean over all tokens"),
        (sum(per_token) / 2, "a mean of means: the shorter name's token counts more; take one mean over all tokens"),
        (F.cross_entropy(rest["say"](states[asked_for]), wanted[asked_for]), "this is the softmax over all words: use sampled_loss"),
        (right * 5, "this is a sum over the tokens: take the mean"),
    ])  # fmt: skip
    learns(value, relational_loss(*given.values(), *rest.values()), given, "the loss is right, but not its gradient with respect to the {}")  # fmt: skip
