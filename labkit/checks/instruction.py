"""Checks of lesson 03/07, entailment and instructions: `from labkit.checks import instruction as check`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from labkit.checks.exercise import Mistake, asked, exercise, expect, items, tensor

LESSON = "03/07"
Rows = Sequence[Mapping[str, Any]]


def _entailed(blank_logits: Tensor, no: int, yes: int) -> Tensor:
    return blank_logits[..., [no, yes]].softmax(-1)[..., 1]


@exercise(LESSON, _entailed)
def entailed(function: Callable[[Tensor, int, int], Tensor]) -> None:
    """Blank logits (batch, labels, vocabulary) and the ids of "no" and "yes" → p(entailed), (batch, labels)."""
    logits = torch.randn(4, 3, 9, generator=torch.Generator().manual_seed(2)) * 2
    nan = "exp of a large logit is infinite, and infinite divided by infinite is NaN: softmax or sigmoid guard against it"
    found = tensor(asked(function, logits=logits, no=6, yes=1), (4, 3), nan=nan)
    pair = logits[..., [6, 1]]
    no, yes = pair.unbind(-1)
    mistakes = [
        (logits.softmax(-1)[..., 1], "this is the share of the whole vocabulary: take the softmax over the two answers alone, or a frequent word steals from both"),
        (yes.softmax(1), "your softmax runs over the labels: each statement is judged by itself, yes against no; the labels are compared afterwards"),
        (pair.softmax(-1)[..., 0], "this is p(no): `yes` is the last argument"),
        (yes, "these are the logits of \"yes\": without \"no\" beside them they say nothing, because a text may make both likely"),
        (yes.sigmoid(), "this is the sigmoid of the logit of \"yes\" alone: \"no\" must count against it, so take it of yes minus no"),
        (yes - no, "this is the log-odds, yes against no: a sigmoid turns it into a probability"),
        (pair.log_softmax(-1)[..., 1], "these are log-probabilities: take the softmax"),
        (pair.softmax(0)[..., 1], "your softmax runs over the batch: take it over the two answers"),
        (yes / (yes + no), "these are shares of the logits themselves, which may be negative: take exp first, that is, a softmax"),
        ((yes > no).float(), "this is the decision, 0 or 1: return the probability"),
    ]  # fmt: skip
    expect(found, pair.softmax(-1)[..., 1], "wanted: e^yes / (e^yes + e^no), for each text and label", mistakes)
    large = logits[:1, :2] + 500
    found = tensor(function(large, 3, 8), (1, 2), "for one text with large logits, the result", nan)
    expect(found, _entailed(large, 3, 8), "for other words and large logits the answer breaks: use the arguments `no` and `yes`, and softmax or sigmoid, not exp by hand")  # fmt: skip


def _shares(sizes: Tensor, temperature: float) -> Tensor:
    weights = sizes ** (1 / temperature)
    return weights / weights.sum()


@exercise(LESSON, _shares)
def shares(function: Callable[[Tensor, float], Tensor]) -> None:
    """Rows of each task (tasks,) and a temperature T ≥ 1 → the tasks' shares of the mixture (tasks,)."""
    sizes = torch.tensor([200.0, 3000.0, 16.0, 200.0])
    nan = "exp of a number of rows is infinite: wanted is n^(1/T), or exp(log(n)/T)"
    found = tensor(asked(function, sizes=sizes, temperature=3.0), (4,), nan=nan)
    powers, plain = sizes ** (1 / 3), _shares(sizes, 1)
    mistakes = [
        (powers, "the shares do not sum to 1: divide by their sum"),
        (powers / sizes.sum(), "you divided by the sum of the rows: divide the powers by the sum of the *powers*, so that the shares sum to 1"),
        (plain ** (1 / 3), "the shares do not sum to 1: after the power, divide by the sum once more"),
        (plain, "the temperature has no effect: the sizes are raised to the power 1/T. (Dividing the sizes by T cancels)"),
        (_shares(sizes, 1 / 3), "you raised to the power T, which drowns the small tasks: the power is 1/T"),
        ((sizes / 3).softmax(0), "a softmax of the sizes gives all to the largest: it is softmax(log n / T), which is n^(1/T) over its sum"),
        (torch.full((4,), 1 / 4), "these are equal shares: that is T = ∞. (1 // T is 0; 1 / T is wanted)"),
        (powers.sort().values / powers.sum(), "the shares come in another order than the tasks: do not sort"),
        (powers.sort(descending=True).values / powers.sum(), "the shares come in another order than the tasks, the largest first: do not sort"),
    ]  # fmt: skip
    expect(found, powers / powers.sum(), "wanted: n^(1/T) divided by its sum over the tasks", mistakes)
    one = tensor(function(sizes[:3].clone(), 1.0), (3,), "at T = 1 the result", nan)
    expect(one, _shares(sizes[:3], 1), "at T = 1 the shares must be in proportion to the rows")


def _without_leaks(train: Rows, held: Rows, fields: Sequence[str]) -> list[Mapping[str, Any]]:
    seen = {tuple(row[field].lower() for field in fields) for row in held}
    return [row for row in train if tuple(row[field].lower() for field in fields) not in seen]


def _rows(*texts: tuple[str, str, int]) -> list[dict[str, Any]]:
    return [{"text_a": one, "text_b": two, "label": label} for one, two, label in texts]


@exercise(LESSON, _without_leaks)
def without_leaks(function: Callable[..., Any]) -> None:
    """Training rows, held-out rows and their fields → the training rows that are not among the held-out ones."""
    train = _rows(
        ("who wrote it ?", "she did", 0), ("who wrote it ?", "he did", 1), ("It rained", "it was wet", 1),
        ("it snowed", "she did", 0), ("it was wet", "it rained", 0), ("he left", "he is away", 1),
        ("it rained it", "was wet", 0), ("it snowed", "she did", 0), ("no", "where we go", 1),
    )  # fmt: skip
    held = _rows(
        ("who wrote it ?", "she did", 1), ("it rained", "it was wet", 1), ("He left", "he is AWAY", 1),
        ("now", "here we go", 0),
    )  # fmt: skip
    found = _places(asked(function, train=train, held=held, fields=("text_a", "text_b")), train)
    if found != [1, 3, 4, 6, 7, 8]:
        raise Mistake(_wrong_rows(set(found), found))
    single = [{"text": text, "domain": kind, "label": 0} for text, kind in (("a b", "x"), ("c d", "y"), ("e", "x"))]
    some = [{"text": "C D", "domain": "x", "label": 0}, {"text": "e f", "domain": "x", "label": 0}]
    if _places(function(single, some, ["text"]), single) != [0, 2]:
        raise Mistake("with the one field \"text\", row 1 is held out and rows 0 and 2 are not: only the texts named in `fields` count, whole, whatever else a row holds")  # fmt: skip


def _wrong_rows(found: set[int], order: list[int]) -> str:
    """What was done instead, by the rows that were kept; 0, 2 and 5 are held out, and 7 is 3 once more."""
    lost, left = {1, 3, 4, 6, 7, 8} - found, found & {0, 2, 5}
    if not found:
        return "nothing is left: keep the rows that are *not* held out"
    if left and not found - left:
        return "you kept the rows that are held out, and dropped the others"
    told = [
        ({0, 2, 5} <= left, "a held-out row is still there: with another label it is still the same text, so compare the texts, not the rows"),
        (0 in left, "row 0 stands among the held-out rows with another label: the label is no part of the text"),
        ({2, 5} <= left, "rows 2 and 5 are held out, with capital letters in one of the two places: compare in lower case"),
        (2 in left, "row 2 is a held-out row that begins with a capital letter: compare the training rows in lower case too"),
        (5 in left, "row 5 is a held-out row that stands there with capital letters: compare the held-out rows in lower case too"),
        (lost & {1, 3}, "a row was lost for sharing one of its two texts: a row is held out if all its fields are the same"),
        (4 in lost, "the same texts the other way round are another row: keep the order of the fields"),
        (lost and lost <= {6, 8}, "a row was lost because its two texts, joined into one string, look like those of a held-out row: keep the texts apart, in a tuple"),
        (lost == {7}, "row 7 is row 3 once more, and only one of the two is left: drop what is held out, and nothing else"),
        (not lost and not left, "the rows are right, but their order changed: keep them in the order in which they came"),
    ]  # fmt: skip
    others = f"rows 1, 3, 4, 6, 7 and 8 are not among the held-out ones; you kept {order}"
    return next((text for true, text in told if true), others)


def _places(value: Any, train: Rows) -> list[int]:
    """Which training rows were returned, in their order; of equal rows the first that is not yet taken."""
    found: list[int] = []
    for row in items(value, f"the result should be a list of rows, not {type(value).__name__}"):
        equal = [place for place, one in enumerate(train) if one == row]
        if not equal:
            raise Mistake("a row of the result is not one of the training rows: return them as they are, label and all")
        free = [place for place in equal if place not in found]
        if not free:
            raise Mistake("a row stands in the result more often than in the training rows")
        found.append(free[0])
    return found


def _prototype_scores(features: Tensor, tasks: Tensor, classes: Tensor) -> Tensor:
    from labkit.fewshot.instruction.transprompt import prototype_scores as scores

    return torch.from_numpy(scores(features.numpy(), tasks.tolist(), classes.tolist()))


@exercise(LESSON, _prototype_scores)
def prototype_scores(function: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
    """Features (n, d), task numbers (n,), class numbers (n,) → how typical each example is, (n,), with ζ = 1/2."""
    tasks, classes = torch.tensor([0, 2, 1, 0, 1, 2, 0, 1, 2, 0]), torch.tensor([1, 0, 1, 0, 1, 1, 0, 0, 0, 1])
    some = torch.randn(10, 5, generator=torch.Generator().manual_seed(7)) + classes[:, None] + 0.5 * tasks[:, None]
    nan = "is a mean taken over no rows, or does a sum over no other tasks divide by 0?"
    found = tensor(asked(function, features=some, tasks=tasks, classes=classes), (10,), nan=nan)
    right = _prototype_scores(some, tasks, classes)
    expect(found, right, "wanted: ½·cos(own centroid) + ½·mean of cos(the same class's centroid in each other task)",
           _wrong_scores(some, tasks, classes), tolerance=1e-4)  # fmt: skip
    tasks, classes, some = torch.tensor([1, 0, 0, 1, 0, 1, 0]), torch.tensor([0, 2, 1, 2, 0, 1, 1]), some[:7] * 9
    found = tensor(function(some, tasks, classes), (7,), "with two tasks and three classes, the result", nan)
    expect(found, _prototype_scores(some, tasks, classes), "right for three tasks and two classes, wrong for two tasks and three classes: is a number of tasks written into it?", tolerance=1e-4)  # fmt: skip


def _wrong_scores(some: Tensor, tasks: Tensor, classes: Tensor) -> list[tuple[Tensor, str]]:
    """The scores as somebody would get them who mistakes one thing, and what to say."""
    of_task = tasks[:, None] == torch.tensor([0, 0, 1, 1, 2, 2])  # (n, centroids)
    of_class = classes[:, None] == torch.tensor([0, 1, 0, 1, 0, 1])
    member = (of_task & of_class).float()
    centroids = member.T @ some / member.sum(0)[:, None]

    def mean(values: Tensor, where: Tensor) -> Tensor:
        return (values * where).sum(1) / where.sum(1)

    def score(values: Tensor, others: Tensor = of_class & ~of_task) -> Tensor:
        return (mean(values, member) + mean(values, others)) / 2

    cosine = _unit(some) @ _unit(centroids).T
    own, far, right = mean(cosine, member), mean(cosine, of_class & ~of_task), score(cosine)
    return [
        (own, "only the own task's centroid counts here: half of the score is the mean over the other tasks"),
        (far, "only the other tasks' centroids count here: half of the score is the own task's"),
        (score(cosine, of_class), "the mean over the *other* tasks must leave the own task out"),
        (mean(cosine, of_class), "all tasks weigh alike here: the own task is half of the score, the others together are the other half"),
        (score(cosine, ~of_task), "the other tasks' centroids of *other classes* are in your mean, as in the released code: only those of the same class belong there"),
        (own / 2 + far, "you added up over the other tasks: take their mean, or the second half grows with the number of tasks"),
        (score(some @ centroids.T), "you took dot products: the similarity is the cosine, so divide by both lengths"),
        (score(-torch.cdist(some, centroids)), "you measured −‖f − c‖, as the released code does: the cosine is wanted"),
        (score(_unit(some) @ _unit(member.T @ _unit(some)).T), "your centroids are means of features of length 1: take the mean of the features as they are, then the cosine"),
        (2 * right, "the two halves are to be averaged, not added"),
        (right[(2 * tasks + classes).argsort(stable=True)], "the scores come task by task and class by class: return them in the order of the examples"),
    ]  # fmt: skip


def _unit(rows: Tensor) -> Tensor:
    return rows / rows.norm(dim=1, keepdim=True)
