"""Checks of lesson 01/04, pre-training: `from labkit.checks import pretraining as check`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from labkit.checks.exercise import Mistake, exercise, same

LESSON = "01/04"
MASK, NOTHING = 4, -100


@exercise(LESSON)
def bert_masks(function: Callable[..., Any]) -> None:
    """Ids, where to hide, a random number and a random token a place, and the mask's id → (inputs, labels)."""
    ids = np.array([11, 12, 13, 14, 15, 16, 17, 18])
    chosen = np.array([True, True, True, False, True, False, True, False])
    fate = np.array([0.1, 0.85, 0.95, 0.2, 0.79, 0.99, 0.9, 0.82])
    drawn = np.array([31, 32, 33, 34, 35, 36, 37, 38])
    given = ids.copy()
    inputs, labels = _two(function(given, chosen.copy(), fate.copy(), drawn.copy(), MASK), len(ids))
    if not (given == ids).all():
        raise Mistake("your function changed `ids` itself: copy first, `inputs = ids.copy()`, or the labels are lost")
    right = np.array([MASK, 32, 13, 14, MASK, 16, 17, 18])
    wanted = np.where(chosen, ids, NOTHING)
    only_masked = np.where(chosen & (fate < 0.8), ids, NOTHING)
    _arrays(labels, wanted, "labels", [
        (ids, "every token has a label: only the chosen ones are asked for, all others get −100"),
        (np.where(chosen, ids, 0), "the places not asked for must be −100, which cross_entropy leaves out; 0 is a token"),
        (only_masked, "labels only where [MASK] stands: the 10 % random and the 10 % kept tokens are asked for too, else the model could trust every token it sees"),
        (np.where(right != ids, ids, NOTHING), "a chosen token that was kept needs a label too: that is what it is kept for"),
        (np.where(chosen, right, NOTHING), "the labels hold what the model reads: they must be the original tokens"),
    ])  # fmt: skip
    _arrays(inputs, right, "inputs", [
        (np.where(chosen, MASK, ids), "all chosen tokens became [MASK]: 80 % should, 10 % a random token, 10 % stay"),
        (np.where(chosen & (fate < 0.8), MASK, ids), "the 10 % random tokens are missing: where 0.8 ≤ fate < 0.9, write `drawn`"),
        (np.where(fate < 0.8, MASK, np.where(fate < 0.9, drawn, ids)), "tokens that were not chosen changed: look at `chosen` as well as at `fate`"),
        (np.where(chosen, np.where(fate < 0.8, MASK, drawn), ids), "20 % became random tokens: from 0.9 on a chosen token stays as it is"),
        (np.where(chosen, np.where(fate < 0.8, MASK, np.where(fate < 0.9, ids, drawn)), ids), "random and kept are exchanged: 0.8 ≤ fate < 0.9 is the random token"),
        (np.where(chosen, np.where(fate < 0.1, MASK, np.where(fate < 0.2, drawn, ids)), ids), "the shares are off: fate < 0.8 is [MASK], and the next tenth a random token"),
        (np.where(chosen, np.where(fate <= 0.8, MASK, np.where(fate <= 0.9, drawn, ids)), ids), "the borders belong to the next part: fate < 0.9, not ≤"),
    ])  # fmt: skip


@exercise(LESSON)
def next_token_loss(function: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Logits (batch, tokens, vocabulary) and ids (batch, tokens) → the mean cross-entropy of the next token."""
    generator = torch.Generator().manual_seed(2)
    logits, ids = torch.randn(3, 6, 9, generator=generator) * 2, torch.randint(9, (3, 6), generator=generator)
    found = function(logits.clone(), ids.clone())
    if found is None:
        raise Mistake("the result is None: did you forget `return`?")
    if not torch.is_tensor(found) or found.ndim:
        shape = f"a tensor of shape {tuple(found.shape)}" if torch.is_tensor(found) else type(found).__name__
        raise Mistake(f"one number is wanted, a tensor without dimensions, not {shape}: is the mean missing?")

    def loss(scores: Tensor, wanted: Tensor, reduction: str = "mean") -> Tensor:
        return F.cross_entropy(scores.flatten(0, 1), wanted.flatten(), reduction=reduction)

    right = loss(logits[:, :-1], ids[:, 1:])
    wrong = [
        (loss(logits, ids), "nothing is shifted: each position is asked for the token it has just read. Position t must name token t + 1"),
        (loss(logits[:, 1:], ids[:, :-1]), "shifted the wrong way: position t is asked for token t − 1, which it has seen"),
        (loss(logits, ids.roll(-1, 1)), "the last position is asked for the first token of the text: leave it out, it has no next token"),
        (loss(logits[:, :-1], ids[:, 1:], "sum"), "this is the sum over the tokens: take the mean, or long texts weigh more"),
        (loss(logits[:, :-1], ids[:, 1:], "sum") / 3, "you divided by the number of texts: divide by the number of tokens asked for"),
        (loss(logits[:, :-1].softmax(-1), ids[:, 1:]), "cross_entropy takes logits: you gave it probabilities, and it took their softmax again"),
        (-right, "the sign is wrong: a loss is minus the log-probability"),
        (right / np.log(2), "this is in bits: use the natural logarithm"),
    ]  # fmt: skip
    if not same(found, right):
        for value, text in wrong:
            if same(found, value):
                raise Mistake(text)
        raise Mistake("wanted: the mean over all positions but the last of −log p(next token)")


@exercise(LESSON)
def replaced_tokens(function: Callable[..., Any]) -> None:
    """Ids, where the generator wrote, and what it wrote there → (what the discriminator reads, its labels)."""
    ids = np.array([21, 22, 23, 24, 25, 26])
    where = np.array([False, True, False, True, True, False])
    samples = np.array([40, 24, 41])  # the second is the original token
    given = ids.copy()
    inputs, labels = _two(function(given, where.copy(), samples.copy()), len(ids))
    if not (given == ids).all():
        raise Mistake("your function changed `ids` itself: copy first, or there is nothing left to compare with")
    right = np.array([21, 40, 23, 24, 41, 26])
    _arrays(inputs, right, "inputs", [(ids, "nothing was replaced: `inputs[where] = samples`")])
    truth = (right != ids).astype(int)
    _arrays(labels.astype(int), truth, "labels", [
        (where.astype(int), "a place where the generator guessed the original token counts as original: compare tokens, do not reuse `where`"),
        (1 - truth, "0 and 1 are exchanged: 1 is *replaced*"),
        (np.where(where, right, NOTHING), "the discriminator does not name tokens: its label is 0 or 1, at every place"),
        (np.where(where, truth, NOTHING), "every token is asked for, not only those that were hidden: that is ELECTRA's whole point"),
    ])  # fmt: skip


@exercise(LESSON)
def corrupt(function: Callable[..., Any]) -> None:
    """Ids, which of them are hidden, and sentinels → T5's (inputs, targets), lists of ids."""
    ids, hidden, marks = [11, 12, 13, 14, 15, 16, 17], [False, True, True, False, False, True, False], [90, 91, 92, 93]
    inputs, targets = _lists(function(list(ids), list(hidden), list(marks)))
    right = [11, 90, 14, 15, 91, 17], [90, 12, 13, 91, 16, 92]
    if inputs == [11, 90, 91, 14, 15, 92, 17]:
        raise Mistake("a span of several tokens got a sentinel a token: it gets one for the whole span")
    if inputs == [11, 14, 15, 17]:
        raise Mistake("the inputs have no sentinels: without them the model cannot tell where something is missing")
    if inputs == [11, 90, 14, 15, 90, 17]:
        raise Mistake("both spans got the same sentinel: take the next one for each span")
    if inputs != right[0]:
        raise Mistake(
            f"the inputs should be {right[0]}: visible tokens, and one sentinel for each span; yours are {inputs}"
        )
    if targets == [90, 12, 13, 91, 16]:
        raise Mistake("the targets lack the closing sentinel: it tells the decoder that the last span has ended")
    if targets in ([12, 13, 16], [12, 13, 16, 92]):
        raise Mistake(
            "the targets are the hidden tokens alone: each span must stand behind its sentinel, to say where it belongs"
        )
    if targets == [12, 13, 90, 16, 91]:
        raise Mistake("each sentinel stands before its span in the targets, not behind it")
    if targets != right[1]:
        raise Mistake(f"the targets should be {right[1]}; yours are {targets}")
    ends = _lists(function([5, 6, 7], [True, False, True], marks))
    if ends != ([90, 6, 91], [90, 5, 91, 7, 92]):
        raise Mistake(
            f"a text that begins and ends with a hidden token goes wrong: [5, 6, 7] with the first and last hidden gave {ends}"
        )


def _two(value: Any, length: int) -> tuple[np.ndarray, np.ndarray]:
    """The learner's pair as integer arrays (length,); Mistake where it is none."""
    if value is None:
        raise Mistake("the result is None: did you forget `return inputs, labels`?")
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise Mistake("two arrays are wanted: `return inputs, labels`")
    first, second = (np.asarray(part) for part in value)
    for name, part in (("inputs", first), ("labels", second)):
        if part.shape != (length,):
            raise Mistake(f"{name} have shape {part.shape}, the ids {(length,)}: one entry a token is wanted")
        if part.dtype.kind not in "iub":
            raise Mistake(f"{name} are of type {part.dtype}: whole numbers are wanted")
    return first, second


def _lists(value: Any) -> tuple[list[int], list[int]]:
    """The learner's pair as lists of whole numbers; Mistake where it is none."""
    if value is None:
        raise Mistake("the result is None: did you forget `return inputs, targets`?")
    try:
        inputs, targets = value
        return [int(token) for token in inputs], [int(token) for token in targets]
    except (TypeError, ValueError) as error:
        raise Mistake("two lists of token ids are wanted: `return inputs, targets`") from error


def _arrays(value: np.ndarray, right: np.ndarray, what: str, mistakes: list[tuple[np.ndarray, str]]) -> None:
    """Mistake unless `value` is `right`, in the words of the mistake it agrees with."""
    if (value == right).all():
        return
    for wrong, text in mistakes:
        if (value == wrong).all() and not (wrong == right).all():
            raise Mistake(text)
    place = int((value != right).argmax())
    raise Mistake(f"the {what} should be {right.tolist()}; yours are {value.tolist()}, wrong first at place {place}")
