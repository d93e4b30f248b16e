"""Pipeline schedules as plain lists: for every stage, which micro-batch it computes next, forward or backward.

A schedule says nothing of time. `simulate` puts it on a clock: an action starts when its stage is free and when what it
needs has been computed, as on real devices whose messages cost nothing. The share of a device's time that is lost in
both schedules here is (p − 1) / (m + p − 1) with p stages and m micro-batches; they differ in how many micro-batches
are alive at once, that is, whose activations a stage must keep.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from labkit.errors import TrainingError, UsageError, unknown
from labkit.parallel.trace import Event

WORDS = {"F": "forward", "B": "backward"}


class Action(NamedTuple):
    """One step of a stage: `kind` is "F" (forward) or "B" (backward), `micro` the number of the micro-batch."""

    kind: str
    micro: int

    @property
    def name(self) -> str:
        """As events call it: "forward 3", "backward 3"."""
        return f"{WORDS[self.kind]} {self.micro}"

    def __str__(self) -> str:
        return f"{self.kind}{self.micro}"


Schedule = list[list[Action]]  # one list a stage


def gpipe(stages: int, micro_batches: int) -> Schedule:
    """All forwards, then all backwards in the reverse order, on every stage (Huang et al. 2019, GPipe, figure 2c)."""
    _sensible(stages, micro_batches)
    forward = [Action("F", micro) for micro in range(micro_batches)]
    backward = [Action("B", micro) for micro in reversed(range(micro_batches))]
    return [forward + backward for _ in range(stages)]


def one_forward_one_backward(stages: int, micro_batches: int) -> Schedule:
    """Backward as early as possible: p − s − 1 forwards to fill, then one forward and one backward in turn.

    (Narayanan et al. 2019, PipeDream; with a flush at the end of the step, Narayanan et al. 2021, §2.2.1.) Stage s
    holds at most p − s micro-batches, however many there are.
    """
    _sensible(stages, micro_batches)
    return [_alternate(min(stages - stage - 1, micro_batches), micro_batches) for stage in range(stages)]


def _alternate(ahead: int, micro_batches: int) -> list[Action]:
    """`ahead` forwards, then forward and backward in turn, then the backwards that are left."""
    actions = [Action("F", micro) for micro in range(ahead)]
    for micro in range(micro_batches - ahead):
        actions += [Action("F", ahead + micro), Action("B", micro)]
    return actions + [Action("B", micro) for micro in range(micro_batches - ahead, micro_batches)]


SCHEDULES: dict[str, Callable[[int, int], Schedule]] = {"gpipe": gpipe, "1f1b": one_forward_one_backward}


def schedule(name: str, stages: int, micro_batches: int) -> Schedule:
    """The schedule of that name ("gpipe", "1f1b"). UsageError for another name or for sizes below 1."""
    if name not in SCHEDULES:
        raise unknown("schedule", name, SCHEDULES)
    return SCHEDULES[name](stages, micro_batches)


Order = Callable[[int, int, int], Sequence[tuple[str, int]]]  # (stage, stages, micro-batches) → its actions, in pairs


def actions_of(order: str | Order, stage: int, stages: int, micro_batches: int) -> list[Action]:
    """What `stage` does, by a schedule's name or by a function that says it of any stage."""
    if isinstance(order, str):
        return schedule(order, stages, micro_batches)[stage]
    return [Action(kind, int(micro)) for kind, micro in order(stage, stages, micro_batches)]


def _sensible(stages: int, micro_batches: int) -> None:
    for what, number in (("stages", stages), ("micro-batches", micro_batches)):
        if isinstance(number, bool) or not isinstance(number, int) or number < 1:
            raise UsageError(f"a pipeline needs a whole number of {what}, 1 or more, not {number!r}")


# What a schedule costs


def simulate(plan: Sequence[Sequence[Action]], forward: float = 1.0, backward: float = 2.0) -> list[Event]:
    """The actions on a clock, as events of the lane "compute" whose rank is the stage.

    `forward` and `backward` are the seconds of one action on any stage. TrainingError where the stages wait for one
    another for ever, or for an action that no stage has.
    """
    if forward <= 0 or backward <= 0:
        raise UsageError(f"an action must take some time; forward={forward:g} and backward={backward:g} were given")
    seconds = {"F": forward, "B": backward}
    left, free = [list(actions) for actions in plan], [0.0] * len(plan)
    done: dict[tuple[int, Action], float] = {}
    events: list[Event] = []

    def ready(stage: int) -> bool:
        return bool(left[stage]) and all(need in done for need in needs(len(plan), stage, left[stage][0]))

    while moved := list(filter(ready, range(len(plan)))):
        for stage in moved:
            action = left[stage].pop(0)
            start = max([free[stage], *(done[need] for need in needs(len(plan), stage, action))])
            free[stage] = done[stage, action] = start + seconds[action.kind]
            events.append(Event(stage, "compute", action.name, start, free[stage]))
    for stage, actions in enumerate(left):
        if actions:
            missing = " and ".join(f"{need[1]} of stage {need[0]}" for need in needs(len(plan), stage, actions[0]))
            raise TrainingError(f"the schedule stands still: stage {stage} waits at {actions[0]} for {missing}")
    return sorted(events, key=lambda event: (event.start, event.rank))


def needs(stages: int, stage: int, action: Action) -> list[tuple[int, Action]]:
    """What must be done before: (stage, action). A forward needs the stage before; a backward its own forward and the
    stage after.
    """
    if action.kind == "F":
        return [(stage - 1, action)] if stage else []
    own = [(stage, Action("F", action.micro))]
    return own + ([(stage + 1, action)] if stage + 1 < stages else [])


def bubble(events: Sequence[Event], stages: int) -> float:
    """The share of all stages' time, from the first start to the last end, in which they computed nothing.

    Of the events of the lane "compute", simulated or recorded. UsageError where there are none.
    """
    computed = [event for event in events if event.lane == "compute"]
    if not computed:
        raise UsageError("no events of the lane 'compute': was anything recorded?")
    span = max(event.end for event in computed) - min(event.start for event in computed)
    return 1 - sum(event.seconds for event in computed) / (stages * span)


def bubble_in_theory(stages: int, micro_batches: int) -> float:
    """(p − 1) / (m + p − 1), for stages that all take equally long (Huang et al. 2019, §2.3)."""
    _sensible(stages, micro_batches)
    return (stages - 1) / (micro_batches + stages - 1)


def live(actions: Sequence[Action]) -> int:
    """The most micro-batches that a stage holds at once: those gone forward and not yet back."""
    most = now = 0
    for action in actions:
        now += 1 if action.kind == "F" else -1
        most = max(most, now)
    return most
