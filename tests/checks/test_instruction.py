"""Checks of lesson 03/07: the solution that the lesson shows passes, and each planted mistake gets its own message."""

from __future__ import annotations

import re

import pytest
import torch

from labkit.checks import exercises, instruction
from tests.checks.solutions import solutions


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path))


SHOWN = solutions("03_fewshot/07_instruction")
BOTH = ("text_a", "text_b")


@pytest.mark.parametrize("name", exercises("03/07"))
def test_the_solution_of_the_lesson_passes(name):
    verdict = getattr(instruction, name)(SHOWN[name])
    assert verdict.passed, verdict


def key(row, fields=BOTH):
    return tuple(row[field].lower() for field in fields)


def clean(key_of):
    """A `without_leaks` that compares rows by `key_of`."""

    def without_leaks(train, held, fields):
        seen = {key_of(row) for row in held}
        return [row for row in train if key_of(row) not in seen]

    return without_leaks


def in_place(train, held, fields):
    train.remove(train[0])
    return train


def prototypes(own=0.5, others="other tasks", total=False, cosine=True):
    """`prototype_scores` with one thing changed."""

    def scores(features, tasks, classes):
        found = []
        for f, t, y in zip(features, tasks, classes, strict=True):

            def near(u, z, f=f):
                c = features[(tasks == u) & (classes == z)].mean(0)
                return torch.cosine_similarity(f, c, dim=0) if cosine else f @ c

            all_tasks, labels = tasks.unique(), classes.unique()
            far = {
                "other tasks": [near(u, y) for u in all_tasks if u != t],
                "all tasks": [near(u, y) for u in all_tasks],
                "all classes": [near(u, z) for u in all_tasks if u != t for z in labels],
            }[others]
            rest = torch.stack(far).sum() if total else torch.stack(far).mean()
            found.append(own * near(t, y) + (1 - own) * rest)
        return torch.stack(found)

    return scores


MISTAKES = {
    "entailed": [
        (lambda z, n, y: z.softmax(-1)[..., y], "share of the whole vocabulary"),
        (lambda z, n, y: z[..., y].softmax(1), "runs over the labels"),
        (lambda z, n, y: z[..., [n, y]].softmax(-1)[..., 0], r"this is p\(no\)"),
        (lambda z, n, y: z[..., y], "without \"no\" beside them"),
        (lambda z, n, y: z[..., y] - z[..., n], "log-odds"),
        (lambda z, n, y: z[..., [n, y]].log_softmax(-1)[..., 1], "log-probabilities"),
        (lambda z, n, y: z[..., [n, y]].softmax(0)[..., 1], "over the batch"),
        (lambda z, n, y: z[..., [n, y]].softmax(-1), r"shape \(4, 3, 2\)"),
        (lambda z, n, y: z[..., y].exp() / (z[..., y].exp() + z[..., n].exp()), "NaN|exp by hand"),
        (lambda z, n, y: None, "not attempted"),
        (lambda z, n, y: z[..., [n, y]].softmax(-1)[..., 1] ** 2, "for each text and label"),
    ],
    "shares": [
        (lambda n, t: n ** (1 / t), "do not sum to 1"),
        (lambda n, t: n / n.sum(), "temperature has no effect"),
        (lambda n, t: n**t / (n**t).sum(), "drowns the small tasks"),
        (lambda n, t: (n / t).softmax(0), "gives all to the largest"),
        (lambda n, t: torch.full_like(n, 1 / len(n)), "equal shares"),
        (lambda n, t: n ** (1 / 3) / (n ** (1 / 3)).sum(), "at T = 1"),
        (lambda n, t: n.sqrt() / n.sqrt().sum(), "divided by its sum over the tasks"),
        (lambda n, t: n.sum(), r"shape \(\)"),
    ],
    "without_leaks": [
        (lambda train, held, fields: [], "nothing is left"),
        (lambda train, held, fields: [row for row in train if row not in held], "compare the texts, not the rows"),
        (clean(lambda row: (row["text_a"], row["text_b"])), "capital letter"),
        (clean(lambda row: key(row, ["text_a"])), "sharing one of its two texts"),
        (clean(lambda row: frozenset(key(row))), "other way round"),
        (lambda train, held, fields: [train[0], train[2]], "dropped the others"),
        (clean(lambda row: (*key(row), row["label"])), "the label is no part of the text"),
        (in_place, "you changed the list"),
        (lambda train, held, fields: 3, "should be a list of rows"),
        (lambda train, held, fields: [key(row) for row in train], "as they are, label and all"),
        (lambda train, held, fields: [train[1], train[4]], r"you kept \[1, 4\]"),
    ],
    "prototype_scores": [
        (prototypes(own=1.0), "only the own task's centroid"),
        (prototypes(own=0.0), "only the other tasks' centroids"),
        (prototypes(others="all tasks"), "leave the own task out"),
        (prototypes(others="all classes"), "other classes"),
        (prototypes(total=True), "added up over the other tasks"),
        (prototypes(cosine=False), "dot products"),
        (lambda f, t, y: 2 * prototypes()(f, t, y), "averaged, not added"),
        (prototypes(own=0.3), "½·cos"),
        (lambda f, t, y: prototypes()(f, t, y)[:, None], r"shape \(10, 1\)"),
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "number"), [(name, number) for name, some in MISTAKES.items() for number in range(len(some))]
)
def test_each_mistake_is_named(name, number):
    function, message = MISTAKES[name][number]
    verdict = getattr(instruction, name)(function)
    assert not verdict.passed
    assert re.search(message, verdict.message), verdict.message


def test_no_two_mistakes_share_a_message():
    for name, some in MISTAKES.items():
        messages = [getattr(instruction, name)(function).message for function, _ in some]
        assert len(set(messages)) == len(messages), messages


def test_the_lessons_functions_agree_with_labkit():
    """The shares and the scores that learners write are those of the library."""
    from labkit.fewshot import transprompt
    from labkit.fewshot.multitask import shares

    sizes = torch.tensor([2000.0, 40.0, 7.0])
    torch.testing.assert_close(SHOWN["shares"](sizes, 2.5), torch.from_numpy(shares(sizes.tolist(), 2.5)).float())
    some, tasks, classes = torch.randn(12, 4), torch.arange(12) % 3, torch.arange(12) // 3 % 2
    wanted = transprompt.prototype_scores(some.numpy(), tasks.tolist(), classes.tolist())
    torch.testing.assert_close(SHOWN["prototype_scores"](some, tasks, classes), torch.from_numpy(wanted).float())
