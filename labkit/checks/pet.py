"""Checks of lesson 03/02, PET: `from labkit.checks import pet as check`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from labkit.checks.exercise import Mistake, asked, exercise, expect, given, items, same, tensor, whole
from labkit.fewshot.pet.self_training import most_confident as most_confident_rows

LESSON = "03/02"
# The probabilities of eight rows in three classes, the last of which is no row's likeliest.
CHANCES = [
    [0.9, 0.05, 0.05], [0.6, 0.3, 0.1], [0.97, 0.02, 0.01], [0.1, 0.8, 0.1], [0.2, 0.45, 0.35], [0.99, 0.0, 0.01],
    [0.34, 0.33, 0.33], [0.4, 0.2, 0.4],
]  # fmt: skip


def _label_probabilities(blank_logits: Tensor, word_ids: Tensor) -> Tensor:
    return blank_logits[:, word_ids].softmax(1)


@exercise(LESSON, _label_probabilities)
def label_probabilities(function: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Blank logits (batch, vocabulary) and one word id a class (classes,) → label probabilities (batch, classes)."""
    logits = torch.randn(5, 11, generator=torch.Generator().manual_seed(3)) * 2
    words = torch.tensor([7, 2, 9])
    found = tensor(asked(function, blank_logits=logits.clone().requires_grad_(), word_ids=words), (5, 3), gradient=True)
    picked = logits[:, words]
    over_words, over_all = picked.softmax(1), logits.softmax(1)[:, words]
    mistakes = [
        (over_all, "the rows do not sum to 1: these are shares of the whole vocabulary. Take the label words' logits first, then the softmax over them alone"),
        (picked.softmax(0), "each column sums to 1, not each row: your softmax runs over the batch (dim 0) instead of over the classes"),
        (picked, "these are the words' logits themselves: a softmax over the classes is still missing"),
        (picked.log_softmax(1), "these are log-probabilities: take the softmax, or exp of what you have"),
        (picked.sigmoid(), "a sigmoid looks at one class at a time; classes exclude one another, so use a softmax over them"),
        (logits[:, words.sort().values].softmax(1), "the columns come in the order of the word ids, not of the classes: do not sort"),
    ]  # fmt: skip
    expect(found, over_words, "each row sums to 1 as it should, but to other values: pick column words[c] for class c, nothing else"
           if same(found.sum(1), torch.ones(5), 1e-4) else "each row must sum to 1 over the classes", mistakes)  # fmt: skip
    large = tensor(function(logits * 400, words), (5, 3))
    expect(large, (picked * 400).softmax(1), "for large logits the answer breaks: do not take exp of the logits by hand, softmax guards against overflow")  # fmt: skip


def _fuzzy_probabilities(blank_logits: Tensor, word_ids: Tensor) -> Tensor:
    mass = blank_logits.softmax(1)[:, word_ids].sum(2)
    return mass / mass.sum(1, keepdim=True)


@exercise(LESSON, _fuzzy_probabilities)
def fuzzy_probabilities(function: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Blank logits (batch, vocabulary) and word ids (classes, words) → label probabilities (batch, classes)."""
    logits = torch.randn(4, 13, generator=torch.Generator().manual_seed(5)) * 2
    words = torch.tensor([[1, 4, 12], [3, 5, 0]])
    found = tensor(function(logits.clone(), words.clone()), (4, 2))
    every = logits.softmax(1)[:, words]  # (batch, classes, words)
    mass = every.sum(2)
    picked = logits[:, words]
    mistakes = [
        (mass, "the rows do not sum to 1: divide each class's sum by the sum over all classes"),
        (picked.sum(2).softmax(1), "you added the words' logits, which multiplies their probabilities: add probabilities (softmax first), or use logsumexp"),
        (picked.mean(2).softmax(1), "you averaged the words' logits: average or add probabilities, so that one likely word is enough"),
        (picked.softmax(1).mean(2), "you answered with every set of words and averaged the answers: add the probabilities of a class's words first, normalise once"),
        (picked.amax(2).softmax(1), "you took each class's likeliest word: Fuzzy-PET adds up all of them"),
        (picked[:, :, 0].softmax(1), "only the first word of each class counts here: add up all of a class's words"),
        (every.sum(1)[:, :2], "you summed over the classes (dim 1): words are in the last dimension of `logits.softmax(-1)[:, words]`"),
        (mass.softmax(1), "a softmax of probabilities flattens them: divide by their sum instead"),
    ]  # fmt: skip
    expect(found, mass / mass.sum(1, keepdim=True), "p(class) should be the sum of its words' probabilities, divided by the sum over all classes", mistakes)  # fmt: skip
    one = tensor(function(logits, words[:, :1]), (4, 2), "with one word a class, the result")
    expect(one, logits[:, words[:, 0]].softmax(1), "with one word a class the answer must be PET's")


def _soft_labels(scores: Tensor, weights: Tensor, temperature: float) -> Tensor:
    mean = (weights[:, None, None] * scores).sum(0) / weights.sum()
    return (mean / temperature).softmax(1)


@exercise(LESSON, _soft_labels)
def soft_labels(function: Callable[[Tensor, Tensor, float], Tensor]) -> None:
    """Scores (models, batch, classes), weights (models,), a temperature → soft labels (batch, classes)."""
    generator = torch.Generator().manual_seed(8)
    scores, weights = torch.randn(3, 6, 4, generator=generator) * 3, torch.tensor([0.9, 0.5, 0.2])
    found = tensor(function(scores.clone(), weights.clone(), 2.0), (6, 4))
    share = (weights / weights.sum())[:, None, None]
    mean = (share * scores).sum(0)
    mistakes = [
        ((weights[:, None, None] * scores).sum(0).div(2).softmax(1), "the weights do not sum to 1: divide by their sum, or three sure models make you surer than each of them"),
        ((share * scores.softmax(2)).sum(0), "you averaged probabilities, and at T = 1: PET averages the scores, then takes softmax(score / T)"),
        ((share * (scores / 2).softmax(2)).sum(0), "you averaged the models' probabilities: average their scores first, then take one softmax"),
        ((mean * 2).softmax(1), "you multiplied by the temperature: dividing by T > 1 is what flattens"),
        (mean.softmax(1), "the temperature is missing: softmax(mean score / T)"),
        (scores.mean(0).div(2).softmax(1), "all models have the same say: use the weights"),
        (mean.div(2).softmax(0), "your softmax runs over the rows of the batch: take it over the classes (last dimension)"),
    ]  # fmt: skip
    expect(found, (mean / 2).softmax(1), "wanted: softmax over the classes of (Σ w·score / Σ w) / T", mistakes)


def _most_confident(probabilities: Tensor, per_class: int) -> list[tuple[int, int]]:
    return sorted(most_confident_rows(probabilities.numpy(), [per_class] * probabilities.shape[1]))


@exercise(LESSON, _most_confident)
def most_confident(function: Callable[[Tensor, int], list[tuple[int, int]]]) -> None:
    """Probabilities (rows, classes) and a number a class → [(row, class), …], the surest rows of each class."""
    chances = torch.tensor(CHANCES)
    found, right = _pairs(function(chances.clone(), 2), chances), _most_confident(chances, 2)
    own = [[row for row, answer in enumerate(chances.argmax(1)) if answer == label] for label in range(3)]
    expect(found, right, wrong_choice(found), [
        (sorted((int(row), label) for label in range(3) for row in chances[:, label].argsort(descending=True)[:2]), "a row stands under a class that the models do not believe in: keep only rows whose argmax is that class"),
        (sorted((own[label].index(row), label) for row, label in right), "row 0 of class 1 is not row 0 of all: these are places among a class's own rows. Index `own` with them, own[…]"),
    ])  # fmt: skip
    twins = torch.tensor([[0.8, 0.2], [0.2, 0.8], [0.8, 0.2], [0.8, 0.2]])
    if _pairs(function(twins, 3), twins) != [(0, 0), (1, 1), (2, 0), (3, 0)]:
        raise Mistake("rows 0, 2 and 3 are equally sure here, and each is wanted once: find rows by their place, not by their value")  # fmt: skip


def wrong_choice(found: list[tuple[int, int]]) -> str:
    """Which (row, class), sorted, were chosen instead of the two surest rows of each class of CHANCES, in words."""
    chances = torch.tensor(CHANCES)
    answers, surest = chances.argmax(1).tolist(), chances.amax(1).argsort(descending=True).tolist()
    for row, label in found:
        if answers[row] != label:
            return f"row {row} is taught as class {label}, but its likeliest class is {answers[row]}: a class takes only rows whose argmax it is"  # fmt: skip
    if len(set(found)) != len(found):
        return "a row stands in the result twice"
    if found in (sorted((row, answers[row]) for row in surest[:some]) for some in (2, 6)):
        return "you took the surest rows of all: then the easy classes fill the training set. Take the surest of each class"
    if found in ([(1, 0), (3, 1), (4, 1), (6, 0)], [(3, 1), (4, 1), (6, 0), (7, 0)]):
        return "you took the least sure rows: sort a class's own rows from high to low"
    if len(found) > 4:
        return "too many rows: at most `per_class` of each class (class 2 has no row of its own here, and gets none)"
    named = ", ".join(f"row {row} as class {label}" for row, label in found) or "nothing"
    return f"of the rows whose likeliest class is c, the 2 with the highest probability are wanted; you gave {named}"


def _pairs(value: Any, chances: Tensor) -> list[tuple[int, int]]:
    """The learner's pairs as plain numbers, sorted; Mistake where they are none."""
    given(value)
    try:
        pairs = [(whole(row, "a row"), whole(label, "a class")) for row, label in value]
    except (TypeError, ValueError) as error:
        raise Mistake("the result should be a list of pairs (row number, class number)") from error
    if any(not (0 <= row < len(chances) and 0 <= label < chances.shape[1]) for row, label in pairs):
        raise Mistake("a pair is (row number, class number), in this order; one of yours is out of range")
    if len(set(pairs)) != len(pairs):
        raise Mistake("a row stands in the result twice")
    return sorted(pairs)


def _generation(scores: Tensor, per_class: int) -> list[list[tuple[int, int]]]:
    return _taught(scores, per_class, lambda others: _soft_labels(others, torch.ones(len(others)), 1.0))


def _taught(scores: Tensor, per_class: int, voted: Callable[[Tensor], Tensor]) -> list[list[tuple[int, int]]]:
    """For each model the surest rows of what `voted` makes of the others' scores."""
    others = ([other for other in range(len(scores)) if other != own] for own in range(len(scores)))
    return [_most_confident(voted(scores[some]), per_class) for some in others]


@exercise(LESSON, _generation)
def generation(function: Callable[[Tensor, int], list[list[tuple[int, int]]]]) -> None:
    """Scores (models, rows, classes) and a number a class → for each model [(row, class), …], taught by the others."""
    draw = torch.Generator().manual_seed(0)
    scores = torch.randn(3, 12, 3, generator=draw).mul(3).log_softmax(-1)
    _taught_as(function, scores, 2, "", {
        "every model is taught by all, itself included: leave its own scores out, or it repeats its own mistakes":
            [_most_confident(_soft_labels(scores, torch.ones(3), 1.0), 2)] * 3,
        "every model is taught by its own answers: that is self-training. Ask the other models": [_most_confident(one.softmax(1), 2) for one in scores],
        "the others' probabilities are averaged: average their scores, then one softmax, as in soft_labels": _taught(scores, 2, lambda some: some.softmax(2).mean(0)),
        "only one of the other models is asked: average over all of them": _taught(scores, 2, lambda some: some[0].softmax(1)),
        "a temperature other than 1 changes which rows are the surest: here T is 1": _taught(scores, 2, lambda some: _soft_labels(some, torch.ones(2), 2.0)),
    })  # fmt: skip
    _taught_as(function, scores[:2, :7], 1, "right for three models and two rows per class, wrong for two models and one: ", {})  # fmt: skip


def _taught_as(
    function: Callable[..., Any], scores: Tensor, per_class: int, case: str, mistakes: dict[str, list[list[tuple[int, int]]]]
) -> None:  # fmt: skip
    """Mistake unless each model gets its rows; of `mistakes`, what is said and the rows of whoever makes it."""
    shape = f"a list with one entry for each of the {len(scores)} models is wanted, each a list of (row, class)"
    value = items(asked(function, scores=scores, per_class=per_class), case + shape)
    if len(value) != len(scores):
        raise Mistake(case + shape)
    found, right = [_pairs(one, scores[0]) for one in value], _generation(scores, per_class)
    for text, wrong in mistakes.items():
        if found == wrong != right:
            raise Mistake(text)
    for own, (some, wanted) in enumerate(zip(found, right, strict=True)):
        if some != wanted:
            raise Mistake(f"{case}model {own} should learn {wanted} from the others, not {some}")
