"""The methods that the few-shot demo compares, and what a session keeps of them.

A method is one entry of METHODS: a function from a pre-trained model and a task with a few rows to a `Trained`.
"""

from __future__ import annotations

import itertools
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from labkit.evaluation import predict
from labkit.fewshot import methods as registry
from labkit.fewshot.pet import PET
from labkit.measure import parameters
from labkit.tasks import Task
from labkit.training import Batches, fit
from labkit.zoo import Loaded

STEPS, BATCH, SEED = 40, 16, 0
HELD_OUT = 200  # rows of the world's dev split that the methods are scored on
MEMORY = 4e9  # bytes of learnt models that all sessions may keep together

OnStep = Callable[[int, float], None]
Report = Callable[[float, str], None]  # the share that is done, in [0, 1], and what is being done


@dataclass(frozen=True)
class Trained:
    """A model that a method made: it answers as `predict(model, how, rows)`; `losses` has one number a step."""

    model: Any
    how: Any
    losses: tuple[float, ...] = ()
    seconds: float = 0.0


class Method(NamedTuple):
    """How a method learns, and in a few words what it does; `trains` is False where it takes no step.

    `loss` says what its loss is: losses of one kind can be drawn on one axis.
    """

    learn: Callable[[Loaded, Task, OnStep], Trained]
    about: str
    trains: bool = True
    loss: str = "cross-entropy"


def zero_shot(base: Loaded, task: Task, on_step: OnStep) -> Trained:
    """The pre-trained model as it is, asked through the pattern."""
    return Trained(base.model, PET.for_task(task, base.tokenizer))


def registered(name: str) -> Callable[[Loaded, Task, OnStep], Trained]:
    """The method of that name in `labkit.fewshot.methods`, at its own rate: STEPS steps on the task's examples."""
    chosen = registry.METHODS[registry.method_name(name)]

    def learn(base: Loaded, task: Task, on_step: OnStep) -> Trained:
        found, rows = chosen.prepare(registry.Start(base.model, base.tokenizer, task, SEED)), task.splits["train"]
        model, how, rate = found.model, found.method, chosen.rate_for(base.model)
        batches = Batches(rows, how.collate, min(BATCH, len(rows)), seed=SEED)
        done = fit(model, how.loss, batches, steps=STEPS, lr=rate, seed=SEED, progress=False, on_step=on_step)
        if hasattr(how, "fitted"):  # it answers by comparison with the examples
            how.fitted(model, rows)
        return Trained(model.eval(), how, tuple(done.losses), done.seconds)

    return learn


METHODS: dict[str, Method] = {
    "Untrained cloze": Method(zero_shot, "nothing: the pre-trained model fills the blank as it is", trains=False),
    "PET": Method(registered("PET"), "the whole model, to fill the blank with the right label word"),
    "CP-Tuning": Method(
        registered("CP-Tuning"),
        "the whole model, to bring examples of a class together; neither label words nor your pattern are used",
        loss="contrast",
    ),
    "Head fine-tuning": Method(
        registered("fine-tune [mean]"), "the whole model under a new head; label words are not used"
    ),
}


@dataclass(frozen=True)
class Learnt:
    """What one press on "Learn" gives: the task, each method's model, and its accuracy where that is known."""

    task: Task
    methods: dict[str, Trained]
    accuracy: dict[str, float]
    held_out: int = 0


def learn(base: Loaded, task: Task, reference: Task, report: Report = lambda share, what: None) -> Learnt:
    """All methods on the task's train split, one after the other, and their accuracy on rows of `reference`.

    The accuracy is left out where the task's classes are not those of `reference`. LabkitError where a method refuses.
    """
    methods, steps = {}, STEPS * sum(method.trains for method in METHODS.values())
    taken = itertools.count(1)  # steps of all methods
    PET.for_task(task, base.tokenizer)  # refuses words and patterns that will not do, before anything is trained
    for name, method in METHODS.items():
        methods[name] = method.learn(base, task, lambda step, loss, n=name: report(0.8 * next(taken) / steps, n))
    rows = held_out(task, reference)
    report(0.8, f"trying {len(rows)} unseen texts" if rows else "trying your sentences")
    accuracy = {name: _accuracy(trained, rows) for name, trained in methods.items()} if rows else {}
    return Learnt(task, methods, accuracy, len(rows))


def held_out(task: Task, reference: Task) -> list[dict[str, Any]]:
    """HELD_OUT dev rows of `reference` with the labels of `task`, as far as it has the same classes; else none."""
    if sorted(task.labels) != sorted(reference.labels):
        return []
    at = [task.labels.index(name) for name in reference.labels]
    return [{"text": row["text"], "label": at[row["label"]]} for row in reference.splits["dev"][:HELD_OUT]]


def _accuracy(trained: Trained, rows: Sequence[dict[str, Any]]) -> float:
    answers = predict(trained.model, trained.how, rows, progress=False).argmax(1)
    return float(np.mean(answers == [row["label"] for row in rows]))


def answers(learnt: Learnt, texts: Sequence[str]) -> dict[str, np.ndarray]:
    """Each method's probabilities for the texts: (texts, classes)."""
    rows = [{"text": text} for text in texts]
    return {name: predict(t.model, t.how, rows, progress=False) for name, t in learnt.methods.items()}


class Shelf:
    """The results of all sessions, by key: as many as fit into MEMORY, two to 32; the one longest unused goes first."""

    def __init__(self, base: Loaded) -> None:
        size = 4 * parameters(base.model) * sum(method.trains for method in METHODS.values())
        self.room = int(max(2, min(32, MEMORY // size)))
        self._found: OrderedDict[int, Learnt] = OrderedDict()
        self._lock, self._keys = threading.Lock(), itertools.count()

    def __len__(self) -> int:
        return len(self._found)

    def put(self, learnt: Learnt, instead: int | None = None) -> int:
        """Keep a result, in place of the one called `instead`; returns its key."""
        with self._lock:
            self._found.pop(instead, None)  # type: ignore[arg-type]
            key = next(self._keys)
            self._found[key] = learnt
            while len(self._found) > self.room:
                self._found.popitem(last=False)
        return key

    def get(self, key: int | None) -> Learnt | None:
        """The result of that key; None where it is not kept any more."""
        with self._lock:
            if key in self._found:
                self._found.move_to_end(key)
            return self._found.get(key)  # type: ignore[arg-type]

    def drop(self, key: int | None) -> None:
        """Forget a result."""
        with self._lock:
            self._found.pop(key, None)  # type: ignore[arg-type]
