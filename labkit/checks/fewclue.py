"""Checks of lesson 03/08, the FewCLUE system: `from labkit.checks import fewclue as check`."""

from __future__ import annotations

import copy
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from labkit.checks.exercise import Mistake, asked, exercise, expect, given, learns, tensor, whole
from labkit.checks.pet import CHANCES, wrong_choice
from labkit.fewshot.pet.self_training import pseudo_labelled

LESSON = "03/08"
Rows = Sequence[Mapping[str, Any]]
UNLIKELY = "the logarithm of a probability that was rounded to 0? Stay with logarithms: log_softmax, logsumexp"
FLAT = "the result carries a gradient, but not the right one: no detach, no .data, no rounding on the way"


# The cloze


def _word_scores(blank_logits: Tensor, pieces: Tensor) -> Tensor:
    logs = blank_logits.log_softmax(-1)
    return logs[:, torch.arange(pieces.shape[1]), pieces].sum(-1)


@exercise(LESSON, _word_scores)
def word_scores(function: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Logits of the blanks (batch, blanks, vocabulary), the characters of some words (words, blanks) → the words'
    log-probabilities (batch, words).
    """
    generator = torch.Generator().manual_seed(4)
    logits = (torch.randn(3, 4, 12, generator=generator) * 2).requires_grad_()
    pieces = torch.randint(12, (5, 4), generator=generator)
    pieces[1] = torch.tensor([7, 7, 2, 7])  # a character may come twice
    value = function(logits, pieces.clone())
    found, right, logs = tensor(value, (3, 5), gradient=True), _word_scores(logits, pieces), logits.log_softmax(-1)

    def picked(values: Tensor, words: Tensor = pieces) -> Tensor:
        return values[:, torch.arange(4), words]  # (batch, words, blanks)

    mistakes = [
        (right / 4, "you averaged over the blanks: the log-probability of the whole word is the sum"),
        (picked(logits).sum(-1), "these are logits: take log_softmax over the vocabulary first, then pick and add"),
        (picked(logits.softmax(-1)).sum(-1), "you added probabilities: add their logarithms"),
        (picked(logits.softmax(-1)).sum(-1).log(), "you added the characters' probabilities and took the logarithm: all characters must fit, so multiply, that is, add logarithms"),
        (right.exp(), "this is the probability of the word: give its logarithm"),
        (picked(logits.log_softmax(1)).sum(-1), "your softmax runs over the blanks (dim 1): it belongs over the vocabulary, the last dimension"),
        (picked(logs, pieces.flip(1)).sum(-1), "the characters stand in the blanks in reverse order: character k belongs to blank k"),
        (logs[:, 0][:, pieces].sum(-1), "all characters were read off the first blank: character k belongs to blank k"),
        (logs[:, 0][:, pieces[:, 0]], "only the first character counts here: add over all blanks"),
        (right.log_softmax(-1), "you normalised over the words: give each word's own log-probability"),
    ]  # fmt: skip
    expect(found, right, "wanted: score[b, w] = sum over k of log p(character k of word w at blank k of row b)", mistakes)  # fmt: skip
    learns(value, right, {"logits": logits}, FLAT)
    short = torch.tensor([[1], [0], [1]])
    far = torch.tensor([[[0.0, 800.0, -90.0]], [[5.0, 5.0, -400.0]]])
    expect(tensor(function(far, short), (2, 3), "for one blank", UNLIKELY), _word_scores(far, short),
           "for large logits the answer breaks: softmax, then log, rounds to log 0; log_softmax does not")  # fmt: skip


def _class_scores(scores: Tensor, owner: Tensor) -> Tensor:
    classes = range(int(owner.max()) + 1)
    return torch.stack([scores[:, owner == number].logsumexp(1) for number in classes], 1)


@exercise(LESSON, _class_scores)
def class_scores(function: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Log-probabilities of words (batch, words) and the class that each belongs to (words,) → the logarithm of each
    class's probability (batch, classes).
    """
    scores = (torch.randn(4, 6, generator=torch.Generator().manual_seed(5)) * 1.5 - 4).requires_grad_()
    owner = torch.tensor([0, 0, 1, 2, 2, 2])
    value = function(scores, owner.clone())
    found, right = tensor(value, (4, 3), nan=UNLIKELY, gradient=True), _class_scores(scores, owner)
    parts = [scores[:, :2], scores[:, 2:3], scores[:, 3:]]
    sizes = torch.tensor([2.0, 1.0, 3.0])

    def each(how: Callable[[Tensor], Tensor]) -> Tensor:
        return torch.stack([how(part) for part in parts], 1)

    mistakes = [
        (each(lambda part: part.sum(1)), "you added the words' log-probabilities, which multiplies: one unlikely word would rule its class out. Add probabilities, and take the logarithm of the sum"),
        (each(lambda part: part.mean(1)), "you averaged log-probabilities: add probabilities, and take the logarithm of the sum"),
        (each(lambda part: part.amax(1)), "you took each class's likeliest word: Fuzzy-PET adds up all of them"),
        (each(lambda part: part[:, 0]), "only the first word of each class counts here: add up all of a class's words"),
        (right.exp(), "these are the probabilities themselves: give their logarithms, as for words"),
        (right - sizes.log(), "you averaged the probabilities: add them"),
        (right.log_softmax(1), "you normalised over the classes: the cross-entropy does that itself. Give the logarithm of each class's sum"),
        (right.softmax(1), "these are shares of the classes: give the logarithm of each class's sum"),
    ]  # fmt: skip
    expect(found, right, "wanted: for each class, the logarithm of the sum of its words' probabilities", mistakes)
    learns(value, right, {"scores": scores}, FLAT)
    mixed, some = torch.tensor([1, 0, 2, 0, 1]), torch.tensor([[-3.0, -1.0, -2.5, -0.5, -2.0]])
    parts = some.split([2, 2, 1], 1)
    expect(tensor(function(some, mixed), (1, 3), "for owner [1, 0, 2, 0, 1], the result"), _class_scores(some, mixed),
           "for owner [1, 0, 2, 0, 1] the answer is another: word 0 belongs to class 1, word 1 to class 0, and so on",
           [(torch.cat([part.logsumexp(1, keepdim=True) for part in parts], 1),
             "with owner [1, 0, 2, 0, 1] the words of a class do not stand side by side: pick them by `owner == c`")])  # fmt: skip
    far = torch.tensor([[-300.0, -1.0, -310.0, -0.5, -301.0]])
    expect(tensor(function(far, mixed), (1, 3), "for unlikely words, the result", UNLIKELY), _class_scores(far, mixed),
           "beside likely words, one of probability e^-300 is lost: exp rounds it to 0, and its class gets −∞; logsumexp of the class's own words does not")  # fmt: skip


# Many tasks


def _judgements(row: Mapping[str, Any], statements: Sequence[str], rng: np.random.Generator) -> list[dict[str, Any]]:
    label = row["label"]
    wrong = rng.choice([other for other in range(len(statements)) if other != label])
    return [
        {"text": row["text"], "statement": statements[chosen], "label": holds}
        for chosen, holds in ((label, 1), (wrong, 0))
    ]


@exercise(LESSON, _judgements)
def judgements(function: Callable[..., Any]) -> None:
    """A labelled row, the statement of each label, a generator → two rows to judge: its own statement, another one."""
    said = ["It is about music.", "It is about money.", "It is about sport.", "It is about food."]
    row = {"text": "The team won.", "label": 2, "keywords": "team"}
    drawn: Counter[str] = Counter()
    rng = np.random.default_rng(3)
    for _ in range(600):
        value = asked(lambda row, said: function(row, said, rng), row=row, statements=said)
        drawn[_wrong_one(value, "The team won.", said, 2)] += 1
    _evenly(drawn, [one for one in said if one != said[2]])
    two, again = ([function(row, said, rng) for _ in range(20)] for rng in map(np.random.default_rng, (7, 7)))
    if list(map(_plain, two)) != list(map(_plain, again)):
        raise Mistake("two generators with the same seed gave other statements: draw with `rng`, not with `random`")
    _wrong_one(function({"text": "Bad.", "label": 0}, said[:2], np.random.default_rng(0)), "Bad.", said[:2], 0)


def _plain(value: Any) -> list[tuple[Any, ...]]:
    """The learner's two rows as (text, statement, label), the true one first; Mistake where they are none."""
    given(value)
    if not isinstance(value, list | tuple) or not all(isinstance(one, Mapping) for one in value):
        raise Mistake("the result should be a list of two dictionaries, each with text, statement and label")
    if len(value) != 2:
        raise Mistake(f"two rows are wanted, one that holds and one that does not; yours has {len(value)}")
    for one in value:
        given(one.get("label", 0), "a label")
        if set(one) != {"text", "statement", "label"}:
            raise Mistake(f"each row has text, statement and label, and nothing else; one of yours has {', '.join(map(str, one))}")  # fmt: skip
    return sorted(((one["text"], one["statement"], whole(one["label"], "a label")) for one in value), key=lambda one: -one[2])  # fmt: skip


def _wrong_one(value: Any, text: str, said: Sequence[str], label: int) -> str:
    """The statement that does not hold, once all else is right."""
    (first, holds, yes), (second, fails, no) = _plain(value)
    if (yes, no) != (1, 0):
        raise Mistake(f"one row has label 1 (it holds) and one has 0; yours have {yes} and {no}")
    if (first, second) != (text, text):
        raise Mistake("both rows have the text of the row that is given: only the statement differs")
    if fails == said[label]:
        raise Mistake("the row with label 0 sometimes states the right label: draw it from the *other* labels"
                      if holds == said[label] else "the labels are the wrong way round: 1 where the statement holds")  # fmt: skip
    if holds != said[label]:
        raise Mistake("the row with label 1 must have the statement of the row's own label, statements[row[\"label\"]]")
    if fails not in said:
        raise Mistake(f"{fails!r:.60} is none of the statements that were given")
    return str(fails)


def _evenly(drawn: Mapping[str, int], others: Sequence[str]) -> None:
    """Mistake unless all others are drawn about equally often: 200 times each of 600, and never 60 off."""
    for one in others:
        count = drawn.get(one, 0)
        if count == 0:
            raise Mistake("some wrong statement is never drawn, however often one asks: every other label must be possible")
        if abs(count - 200) > 60:
            raise Mistake(f"of three wrong statements one was drawn {count} times out of 600: about 200 are wanted, each equally often")  # fmt: skip


# Self-training, and the whole


def _taught(rows: Rows, probabilities: np.ndarray, per_class: int) -> list[dict[str, Any]]:
    return pseudo_labelled(rows, probabilities, [per_class] * probabilities.shape[1])


@exercise(LESSON, _taught)
def taught(function: Callable[..., Any]) -> None:
    """Unlabelled rows, their probabilities (rows, classes), a number per class → the surest rows of each class, as new
    rows with the class as their label.
    """
    rows = [{"text": f"text {at}", "label": None, "number": 10 + at} for at in range(8)]
    found = _chosen(asked(function, rows=rows, probabilities=np.array(CHANCES), per_class=2), rows)
    expect(found, [(2, 0), (3, 1), (4, 1), (5, 0)], wrong_choice(found))
    twins = np.array([[0.8, 0.2], [0.2, 0.8], [0.8, 0.2], [0.8, 0.2]])
    alike = [{"text": "the same", "number": 10 + at} for at in range(4)]
    if _chosen(function(alike, twins, 3), alike) != [(0, 0), (1, 1), (2, 0), (3, 0)]:
        raise Mistake("rows 0, 2 and 3 have equal probabilities and equal texts, and each is wanted once: find rows by their place, not by their value")  # fmt: skip


def _chosen(value: Any, rows: Rows) -> list[tuple[int, int]]:
    """(place of the row, its new label), sorted; Mistake where the result is no list of such rows."""
    given(value)
    if not isinstance(value, list | tuple) or not all(isinstance(one, Mapping) for one in value):
        raise Mistake("the result should be a list of rows, each a dictionary: {**rows[i], \"label\": c}")
    found = []
    for one in value:
        missing = {"label", *rows[0]} - set(one)
        if missing:
            raise Mistake(f"a row of yours has no {min(missing)!r}: keep all that the row has and set its label, {{**rows[i], \"label\": c}}")  # fmt: skip
        given(one["label"], "a label")
        at = whole(one["number"], "a row's number") - 10
        if {**one, "label": None} != {**rows[at], "label": None}:
            raise Mistake("a row of yours has something else than the row that was given: set the label alone")
        found.append((at, whole(one["label"], "a label")))
    return sorted(found)


def _system(model: Any, labelled: Rows, unlabelled: Rows, continued: Any, trained: Any, teach: Any) -> tuple[Any, Any]:
    start = continued(model)
    first = trained(start, labelled)
    return first, trained(start, [*labelled, *teach(first, unlabelled)])


@exercise(LESSON, _system)
def system(function: Callable[..., Any]) -> None:
    """A model, labelled and unlabelled rows, and the stages as functions → the model trained on the labelled rows, and
    the one trained on the pseudo-labelled rows too.
    """
    labelled, unlabelled = [{"text": "a", "label": 1}, {"text": "b", "label": 0}], [{"text": "c"}, {"text": "d"}]
    before, calls = copy.deepcopy((labelled, unlabelled)), []

    def continued(model: Any) -> Any:
        calls.append("continued")
        return f"continued({model})"

    def trained(model: Any, rows: Rows) -> Any:
        calls.append("trained")
        return f"trained({model}, {'+'.join(sorted(row['text'] for row in rows))})"

    def teach(model: Any, rows: Rows) -> list[dict[str, Any]]:
        calls.append("teach")
        if [row["text"] for row in rows] != ["c", "d"]:
            raise Mistake("`teach` labels the unlabelled rows: give it all of them, and no others")
        if not str(model).startswith("trained("):
            raise Mistake(f"`teach` asked {model}, which has learned nothing of the task: ask the model that was trained on the labelled rows")  # fmt: skip
        return [{"text": "d", "label": 0}]

    value = function("model", labelled, unlabelled, continued, trained, teach)
    given(value)
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise Mistake("the result should be two models: the one trained on the labelled rows, and the last one")
    for one in value:
        given(one, "a model in the result")
    if (labelled, unlabelled) != before:
        raise Mistake("your function changed the rows it was given: [*labelled, *more] makes a new list")
    _models(str(value[0]), str(value[1]))
    if Counter(calls) != {"continued": 1, "trained": 2, "teach": 1}:
        raise Mistake(f"the models are right, but trained more often than needed ({', '.join(calls)}): keep each in a variable")  # fmt: skip


def _models(first: str, last: str) -> None:
    """Mistake unless the two models are those of the system."""
    start = "continued(model)"
    right = (f"trained({start}, a+b)", f"trained({start}, a+b+d)")
    told = [
        ((right[1], right[0]), "the two models are the wrong way round: first the one that read the labelled rows alone"),
        ((right[0], right[0]), "the last model has not seen a pseudo-labelled row: train it on both kinds of rows"),
        ((right[0], f"trained({start}, d)"), "the last model has not seen the labelled rows: train it on both kinds of rows"),
        ((right[0], f"trained({right[0]}, a+b+d)"), "the last model goes on from the first: train it anew, from the continued model, or it keeps the first one's errors"),
        ((right[0], f"trained({right[0]}, d)"), "the last model goes on from the first, and on pseudo-labelled rows alone: train it anew, from the continued model, on both kinds of rows"),
        ((right[0], f"trained({start}, a+b+c+d)"), "the last model was trained on all unlabelled rows: only on those that `teach` gives back"),
    ]  # fmt: skip
    for models, text in told:
        if (first, last) == models:
            raise Mistake(text)
    if (first, last) == right:
        return
    if "continued" not in first + last:
        raise Mistake("the stage `continued` is missing: both models start from continued(model)")
    if len(re.findall("continued", last)) > 1 or len(re.findall("continued", first)) > 1:
        raise Mistake("`continued` was applied to a model that had been continued already: once is enough")
    start_missing = "trained(model" in first + last
    raise Mistake("one of the models was not trained from continued(model): both are" if start_missing else
                  f"wanted: {right[0]} and {right[1]}; yours are {first} and {last}")  # fmt: skip
