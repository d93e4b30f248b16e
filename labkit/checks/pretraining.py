"""Checks of lesson 01/04, pre-training: `from labkit.checks import pretraining as check`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from labkit.checks.exercise import Mistake, asked, exercise, expect, learns, loss, parts, whole
from labkit.foundations.pretraining import replaced

LESSON = "01/04"
NOTHING = -100
LARGE = "exp of a large logit is infinite, and infinite minus or divided by infinite is NaN: use log_softmax or cross_entropy"
Pair = tuple[np.ndarray, np.ndarray]


def _bert_masks(ids: np.ndarray, chosen: np.ndarray, fate: np.ndarray, drawn: np.ndarray, mask_id: int) -> Pair:
    hidden = np.where(fate < 0.8, mask_id, np.where(fate < 0.9, drawn, ids))
    return np.where(chosen, hidden, ids), np.where(chosen, ids, NOTHING)


@exercise(LESSON, _bert_masks)
def bert_masks(function: Callable[..., Any]) -> None:
    """Ids, where to hide, a random number and a random token per place, and the mask's id → (inputs, labels)."""
    ids = np.array([11, 12, 13, 14, 15, 16, 17, 18, 11, 13])
    chosen = np.array([True, True, True, False, True, False, True, False, False, True])
    fate = np.array([0.1, 0.85, 0.95, 0.2, 0.79, 0.99, 0.9, 0.82, 0.3, 0.8])
    drawn = np.array([31, 32, 33, 34, 35, 36, 37, 38, 39, 40])
    inputs, labels = _two(asked(function, ids=ids, chosen=chosen, fate=fate, drawn=drawn, mask_id=99), len(ids))
    right, wanted = _bert_masks(ids, chosen, fate, drawn, 99)
    masked = chosen & (fate < 0.8)
    _arrays(labels, wanted, "labels", [
        (ids, "every token has a label: only the chosen ones are asked for, all others get −100"),
        (np.where(chosen, ids, 0), "the places not asked for must be −100, which cross_entropy leaves out; 0 is a token"),
        (np.where(masked, ids, NOTHING), "labels only where [MASK] stands: the 10 % random and the 10 % kept tokens are asked for too, else the model could trust every token it sees"),
        (np.where(right != ids, ids, NOTHING), "a chosen token that was kept needs a label too: that is what it is kept for"),
        (np.where(chosen, right, NOTHING), "the labels hold what the model reads: they must be the original tokens"),
        (np.where(np.isin(ids, ids[chosen]), ids, NOTHING), "a token that was not chosen has a label, because the same token was chosen elsewhere: go by places, not by ids"),
    ])  # fmt: skip

    def fates(first: Any, second: Any) -> np.ndarray:
        return np.where(chosen & first, 99, np.where(chosen & second, drawn, ids))

    _arrays(inputs, right, "inputs", [
        (np.where(chosen, 99, ids), "all chosen tokens became [MASK]: 80 % should, 10 % a random token, 10 % stay"),
        (np.where(masked, 99, ids), "the 10 % random tokens are missing: where 0.8 ≤ fate < 0.9, write `drawn`"),
        (np.where(fate < 0.8, 99, np.where(fate < 0.9, drawn, ids)), "tokens that were not chosen changed: look at `chosen` as well as at `fate`"),
        (fates(fate < 0.8, True), "20 % became random tokens: from 0.9 on a chosen token stays as it is"),
        (fates(fate < 0.8, fate >= 0.9), "random and kept are exchanged: 0.8 ≤ fate < 0.9 is the random token"),
        (fates(fate < 0.1, fate < 0.2), "the shares are off: fate < 0.8 is [MASK], and the next tenth a random token"),
        *[(fates(first, second), "the borders belong to the next part: a fate of exactly 0.8 is a random token, one of exactly 0.9 stays, so write < and >=") for first, second in ((fate <= 0.8, fate <= 0.9), (fate < 0.8, fate <= 0.9), (fate <= 0.8, fate < 0.9), (fate < 0.8, (fate > 0.8) & (fate < 0.9)))],
    ])  # fmt: skip


def _next_token_loss(logits: Tensor, ids: Tensor) -> Tensor:
    return F.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())


@exercise(LESSON, _next_token_loss)
def next_token_loss(function: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Logits (batch, tokens, vocabulary) and ids (batch, tokens) → the mean cross-entropy of the next token."""
    generator = torch.Generator().manual_seed(2)
    logits = (torch.randn(3, 6, 9, generator=generator) * 2).requires_grad_()
    ids = torch.randint(9, (3, 6), generator=generator)
    result, right = loss(function(logits * 1, ids.clone()), LARGE), _next_token_loss(logits, ids)
    expect(result, right, "wanted: the mean over all positions but the last of −log p(next token)",
           _wrong_losses(logits.detach(), ids, right.detach()))  # fmt: skip
    learns(result, right, {"logits": logits}, "the value is right, but not its gradient: .detach(), .data and no_grad() cut off what the model would learn from")  # fmt: skip
    large = logits.detach() * 200
    expect(loss(function(large.clone(), ids), LARGE, False), _next_token_loss(large, ids), "for large logits the loss breaks: exp overflows, or a probability is rounded to 0 and its logarithm is infinite. Use log_softmax or cross_entropy")  # fmt: skip


def _wrong_losses(logits: Tensor, ids: Tensor, right: Tensor) -> list[tuple[Tensor, str]]:
    """The loss as somebody would get it who mistakes one thing, and what to say; 3 texts of 6 tokens."""
    answers, wanted = logits[:, :-1], ids[:, 1:]
    chances = answers.softmax(-1).gather(-1, wanted[..., None])

    def mean(scores: Tensor, of: Tensor) -> Tensor:
        return F.cross_entropy(scores.flatten(0, 1), of.flatten())

    return [
        (mean(logits, ids), "nothing is shifted: each position is asked for the token it has just read. Position t must name token t + 1"),
        (mean(logits[:, 1:], ids[:, :-1]), "shifted the wrong way: position t is asked for token t − 1, which it has seen"),
        (mean(logits, ids.roll(-1, 1)), "the last position is asked for the first token of the text: leave it out, it has no next token"),
        (right * 15, "this is the sum over the tokens: take the mean, or long texts weigh more"),
        (right * 5, "you divided by the number of texts: divide by the number of tokens asked for"),
        (right * 15 / 18, "you divided by the number of all tokens: the first of each text is not asked for, so n − 1 per text remain"),
        (mean(answers.softmax(-1), wanted), "cross_entropy takes logits: you gave it probabilities, and it took their softmax again"),
        (-right, "the sign is wrong: a loss is minus the log-probability"),
        (right / np.log(2), "this is in bits: use the natural logarithm"),
        (right.exp(), "this is the perplexity: leave out the exp"),
        (mean(answers[:1], wanted[:1]), "only the first text of the batch counts here: take the mean over all"),
        (-chances.mean().log(), "you took the logarithm of the mean probability: take the logarithm of each, then the mean"),
    ]  # fmt: skip


@exercise(LESSON, replaced)
def replaced_tokens(function: Callable[..., Any]) -> None:
    """Ids, where the generator wrote, and what it wrote there → (what the discriminator reads, its labels)."""
    ids = np.array([21, 22, 23, 24, 25, 26, 24])
    where = np.array([False, True, False, True, True, True, False])
    samples = np.array([40, 24, 21, 26])  # the second and the last are the original tokens, the third one of elsewhere
    inputs, labels = _two(asked(function, ids=ids, where=where, samples=samples), len(ids), "labels")
    right, truth = replaced(ids, where, samples)
    shifted = ids.copy()
    shifted[where] = np.resize(samples[0], 4)
    _arrays(inputs, right, "inputs", [
        (ids, "nothing was replaced: `inputs[where] = samples`"),
        (shifted, "each gap got the first sample: the samples belong to the gaps in order"),
    ])  # fmt: skip
    _arrays(labels, truth, "labels", [
        (where, "a place where the generator guessed the original token counts as original: compare tokens, do not reuse `where`"),
        (1 - truth, "0 and 1 are exchanged: 1 is *replaced*"),
        (np.where(where, right, NOTHING), "the discriminator does not name tokens: its label is 0 or 1, at every place"),
        (np.where(where, ids, NOTHING), "the discriminator does not name tokens, as BERT does: its label is 0 or 1, at every place"),
        (np.where(where, truth, NOTHING), "every token is asked for, not only those that were hidden: that is ELECTRA's whole point"),
        (~np.isin(right, ids), "a sample that stands elsewhere in the text is replaced all the same: compare each token with the one at its own place"),
    ])  # fmt: skip


def _corrupt(ids: Sequence[int], hidden: Sequence[bool], sentinels: Sequence[int]) -> tuple[list[int], list[int]]:
    inputs, targets, marks, before = [], [], iter(sentinels), False
    for token, gone in zip(ids, hidden, strict=True):
        if gone and not before:
            inputs.append(mark := next(marks))
            targets.append(mark)
        (targets if gone else inputs).append(token)
        before = gone
    return inputs, [*targets, next(marks)]


@exercise(LESSON, _corrupt)
def corrupt(function: Callable[..., Any]) -> None:
    """Ids, which of them are hidden, and sentinels → T5's (inputs, targets), lists of ids."""
    ids, hidden, marks = [11, 12, 13, 14, 12, 16, 11], [False, True, True, False, False, True, False], [95, 92, 97, 91]
    inputs, targets = _lists(asked(function, ids=ids, hidden=hidden, sentinels=marks))
    right = [11, 95, 14, 12, 92, 11]
    expect(inputs, right, f"the inputs should be {right}: visible tokens, and one sentinel for each span; yours are {inputs}", [
        ([11, 95, 92, 14, 12, 97, 11], "a span of several tokens got one sentinel per token: it gets one for the whole span"),
        ([11, 14, 12, 11], "the inputs have no sentinels: without them the model cannot tell where something is missing"),
        ([11, 95, 14, 12, 95, 11], "both spans got the same sentinel: take the next one for each span"),
        ([11, 95, 14, 12, 96, 11], "you counted on from the first sentinel: the second need not be the first + 1, so take sentinels[1]"),
        ([11, 95, 12, 13, 14, 12, 92, 16, 11], "the hidden tokens still stand in the inputs: the sentinel takes their place"),
    ])  # fmt: skip
    right = [95, 12, 13, 92, 16, 97]
    expect(targets, right, f"the targets should be {right}; yours are {targets}", [
        ([95, 12, 13, 92, 16], "the targets lack the closing sentinel: it tells the decoder that the last span has ended"),
        ([12, 13, 16], "the targets are the hidden tokens alone: each span must stand behind its sentinel, to say where it belongs"),
        ([12, 13, 16, 97], "the targets are the hidden tokens alone: each span must stand behind its sentinel, also the first, to say where it belongs"),
        ([12, 13, 95, 16, 92], "each sentinel stands before its span in the targets, not behind it"),
        ([95, 12, 13, 92, 16, 92], "the closing sentinel is the one of the last span once more: take the next one"),
        ([95, 12, 13, 92, 16, 91], "the closing sentinel is the last of the list: take the next one after those that are used"),
    ])  # fmt: skip
    _corrupts_others(function, marks)


def _corrupts_others(function: Callable[..., Any], marks: list[int]) -> None:
    for hidden, what in (
        ([True, False, True], "a text that begins and ends with a hidden token"), ([False, True, False], "a single span")
    ):  # fmt: skip
        found = _lists(function([5, 6, 7], hidden, list(marks)))
        if found != _corrupt([5, 6, 7], hidden, marks):
            raise Mistake(f"{what} goes wrong: [5, 6, 7] with hidden = {hidden} gave {found[0]} and {found[1]}")


def _gap_loss(logits: Tensor, labels: Tensor) -> Tensor:
    found = labels != NOTHING
    return F.cross_entropy(logits[found], labels[found]) if found.any() else logits.sum() * 0


@exercise(LESSON, _gap_loss)
def gap_loss(function: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Logits (batch, tokens, vocabulary), labels (batch, tokens), −100 for "not asked" → the mean loss at the gaps."""
    generator = torch.Generator().manual_seed(5)
    logits = (torch.randn(3, 6, 9, generator=generator) * 2).requires_grad_()
    labels = torch.randint(9, (3, 6), generator=generator)
    for row, places in enumerate(((1, 2, 4), (0, 1, 2, 3, 4), ())):  # 3, 1 and 6 gaps
        labels[row, list(places)] = NOTHING
    labels[0, 0] = 0  # the first token of the vocabulary is a token like any other
    right = _gap_loss(logits, labels)
    expect(result := loss(asked(function, logits=logits, labels=labels), LARGE), right,
           "wanted: the mean of −log p(label) over the places whose label is not −100", _wrong_gaps(logits.detach(), labels, right.detach()))  # fmt: skip
    learns(result, right, {"logits": logits}, "the value is right, but not its gradient: .detach(), .data and no_grad() cut off what the model would learn from")  # fmt: skip
    large = logits.detach() * 200
    expect(loss(function(large.clone(), labels), LARGE, False), _gap_loss(large, labels), "for large logits the loss breaks: exp overflows, or a probability is rounded to 0 and its logarithm is infinite. Use log_softmax or cross_entropy")  # fmt: skip
    none = torch.full((2, 4), NOTHING)
    found = loss(function(logits[:2, :4] * 1, none), "the mean of no places is NaN: where nothing is asked for, return a 0 through which gradients can flow, logits.sum() * 0", False)  # fmt: skip
    expect(found, torch.tensor(0.0), "where nothing is asked for, the loss should be 0")


def _wrong_gaps(logits: Tensor, labels: Tensor, right: Tensor) -> list[tuple[Tensor, str]]:
    """As `_wrong_losses`, for 10 gaps in 3 texts of 6 tokens."""
    each = -logits.log_softmax(-1).gather(-1, labels.clamp(min=0)[..., None])[..., 0]
    found, shifted = labels != NOTHING, labels[:, 1:]
    chances = (-each).exp()
    return [
        (each.mean(), "places that are not asked for count here, as if their label were 0: leave out those with −100"),
        ((each * (labels > 0)).sum() / (labels > 0).sum(), "a label of 0 is a token like any other: leave out −100 only"),
        (right * 10 / 18, "you divided by all tokens: divide by the number of places asked for"),
        (right * 10 / 3, "you divided by the number of texts: divide by the number of places asked for"),
        (right * 10, "this is the sum: take the mean over the places asked for"),
        (torch.stack([row[there].mean() for row, there in zip(each, found, strict=True)]).mean(), "you took the mean of each text first: then a gap in a text with few gaps weighs more. One mean over all gaps of the batch"),
        (F.cross_entropy(logits[:, :-1][shifted != NOTHING], shifted[shifted != NOTHING]), "nothing is shifted here: a gap's answer stands at the gap itself"),
        (F.cross_entropy(logits[found].softmax(-1), labels[found]), "cross_entropy takes logits: you gave it probabilities, and it took their softmax again"),
        (-right, "the sign is wrong: a loss is minus the log-probability"),
        (right / np.log(2), "this is in bits: use the natural logarithm"),
        (right.exp(), "this is the perplexity: leave out the exp"),
        (-chances[found].mean().log(), "you took the logarithm of the mean probability: take the logarithm of each, then the mean"),
    ]  # fmt: skip


def _two(value: Any, length: int, floats: str = "") -> Pair:
    """The learner's pair as integer arrays (length,); Mistake where it is none. `floats`: which may hold 1.0 for 1."""
    first, second = map(np.asarray, parts(value, ("inputs", "labels")))
    for name, part in (("inputs", first), ("labels", second)):
        if part.shape != (length,):
            raise Mistake(f"{name} have shape {part.shape}, the ids {(length,)}: one entry per token is wanted")
        if part.dtype.kind not in ("iubf" if name == floats else "iub"):
            raise Mistake(f"{name} are of type {part.dtype}: whole numbers are wanted")
    return first, second


def _lists(value: Any) -> tuple[list[int], list[int]]:
    """The learner's pair as lists of whole numbers; Mistake where it is none."""
    inputs, targets = parts(value, ("inputs", "targets"))
    try:
        return [whole(token, "a token") for token in inputs], [whole(token, "a token") for token in targets]
    except (TypeError, ValueError) as error:
        raise Mistake("two lists of token ids are wanted: `return inputs, targets`") from error


def _arrays(value: np.ndarray, right: np.ndarray, what: str, mistakes: list[tuple[np.ndarray, str]]) -> None:
    """Mistake unless `value` is `right`, in the words of the mistake it agrees with."""
    place = int((value != right).argmax())
    expect(value, right, f"the {what} should be {right.tolist()}; yours are {value.tolist()}, wrong first at place {place}", mistakes)  # fmt: skip
