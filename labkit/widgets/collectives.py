"""Collectives step by step: which rank holds what of which chunk, what it sends next, and how much it has sent.

The tensor of every rank is cut into as many chunks as there are ranks. A box says whose numbers it adds up: "0+2" is
the sum of rank 0's and rank 2's. `compute` follows the same schedule as `labkit.parallel.data_parallel.collectives`.
"""

from __future__ import annotations

from dataclasses import dataclass

from ipywidgets import Dropdown, IntSlider, Play, jslink

from labkit.errors import UsageError, unknown
from labkit.widgets.boxes import chip, count, escape, frame, heading, table
from labkit.widgets.shown import Explorer, Picture, Shown, beside, look

Cells = tuple[tuple[frozenset[int], ...], ...]  # [rank][chunk] -> the ranks whose numbers are added up there
MOST = 8
ABOUT = {
    "all-reduce": "everyone gets the sum: a reduce-scatter, then an all-gather",
    "reduce-scatter": "everyone gets a part of the sum: chunk r ends on rank r",
    "all-gather": "everyone gets everyone's chunk",
    "broadcast": "everyone gets rank 0's tensor: a chain passes it on, chunk by chunk",
}
FILLS = {"whole": "#009E73", "part": "#E69F00"}


@dataclass(frozen=True)
class Move:
    """Chunk `chunk` goes from `source` to `target`; it is added there if `adds`, else copied."""

    source: int
    target: int
    chunk: int
    adds: bool


@dataclass(frozen=True)
class Step:
    """What the ranks hold, what they send next, and how many chunks each has sent so far."""

    cells: Cells
    moves: tuple[Move, ...]
    sent: tuple[int, ...]


def compute(name: str, ranks: int) -> list[Step]:
    """The steps of a collective among 2 to 8 ranks; the last one sends nothing. UsageError for anything else."""
    if name not in ABOUT:
        raise unknown("collective", name, ABOUT)
    if not 2 <= ranks <= MOST:
        raise UsageError(f"ranks={ranks}: a number from 2 to {MOST} is needed")
    cells = [[_start(name, rank, chunk) for chunk in range(ranks)] for rank in range(ranks)]
    sent, steps = [0] * ranks, []
    for moves in [*_schedule(name, ranks), ()]:
        steps.append(Step(tuple(map(tuple, cells)), moves, tuple(sent)))
        carried = [cells[move.source][move.chunk] for move in moves]  # all at once: what they held before
        for move, what in zip(moves, carried, strict=True):
            there = cells[move.target][move.chunk]
            cells[move.target][move.chunk] = there | what if move.adds else what
            if move.adds:
                cells[move.source][move.chunk] = frozenset()  # passed on: not needed here any more
            sent[move.source] += 1
    return steps


def _start(name: str, rank: int, chunk: int) -> frozenset[int]:
    has = {"all-gather": chunk == rank, "broadcast": rank == 0}.get(name, True)
    return frozenset({rank}) if has else frozenset()


def _schedule(name: str, ranks: int) -> list[tuple[Move, ...]]:
    """The moves of each step."""

    def ring(shift: int, adds: bool) -> list[tuple[Move, ...]]:
        """Step s: every rank r sends chunk r − s − shift to its right."""
        return [
            tuple(Move(r, (r + 1) % ranks, (r - step - shift) % ranks, adds) for r in range(ranks))
            for step in range(ranks - 1)
        ]

    if name == "broadcast":  # rank r sends chunk s − r in step s
        return [
            tuple(Move(r, r + 1, step - r, False) for r in range(ranks - 1) if 0 <= step - r < ranks)
            for step in range(2 * ranks - 2)
        ]
    return {"reduce-scatter": ring(1, True), "all-gather": ring(0, False)}.get(name, ring(1, True) + ring(0, False))


def draw(name: str, steps: list[Step], at: int) -> Picture:
    """Step number `at`: a row a rank, a column a chunk, what each sends next."""
    step, ranks = steps[at], len(steps[at].sent)
    whole = _whole(name, ranks)
    out = {(move.source, move.chunk): move for move in step.moves}
    into = {(move.target, move.chunk) for move in steps[at - 1].moves} if at else set()
    rows = []
    for rank in range(ranks):
        boxes = [_box(step.cells[rank][c], whole, (rank, c) in out, (rank, c) in into) for c in range(ranks)]
        sends = [_said(move) for key, move in out.items() if key[0] == rank]
        rows.append([f"<b>rank {rank}</b>", *boxes, " ".join(sends) or "·", f"{step.sent[rank]}/{ranks} Ψ"])
    head = ["", *(f"chunk {chunk}" for chunk in range(ranks)), "sends now", "has sent"]
    title = heading(name, f"{escape(ABOUT[name])}. Step {at} of {len(steps) - 1}.")
    return Picture(frame(title, table(head, rows), _legend()), _alt(name, steps, at))


def _whole(name: str, ranks: int) -> int:
    """How many ranks' numbers a finished box adds up."""
    return ranks if name in ("all-reduce", "reduce-scatter") else 1


def _box(ranks: frozenset[int], whole: int, leaves: bool, came: bool) -> str:
    if not ranks:
        return "·"
    fill = FILLS["whole"] if len(ranks) == whole else FILLS["part"] if len(ranks) > 1 else ""
    text = _sum(ranks)
    return chip(f"{'↘ ' if came else ''}{text}{' ▶' if leaves else ''}", fill, dashed=not fill)


def _sum(ranks: frozenset[int]) -> str:
    return "+".join(map(str, sorted(ranks)))


def _said(move: Move) -> str:
    return f"chunk {move.chunk} → rank {move.target}"


def _legend() -> str:
    boxes = [
        chip("1", dashed=True) + "one rank's numbers",
        chip("0+1", FILLS["part"]) + "a sum under way",
        chip("0+1+2+3", FILLS["whole"]) + "finished",
        "▶ leaves now",
        "↘ has just come",
        "· nothing needed here",
    ]
    note = "Ψ: bytes of a whole tensor."
    return f'<div style="font-size:11px;margin-top:6px">{" &nbsp; ".join(boxes)} &nbsp; {note}</div>'


def _alt(name: str, steps: list[Step], at: int) -> str:
    step, ranks = steps[at], len(steps[at].sent)
    held = "; ".join(
        f"rank {rank} holds "
        + (", ".join(f"chunk {c}: {_sum(cell)}" for c, cell in enumerate(step.cells[rank]) if cell) or "nothing")
        for rank in range(ranks)
    )
    sends = "; ".join(f"rank {move.source} sends {_said(move)}" for move in step.moves) or "nothing is sent any more"
    sent = ", ".join(f"rank {rank} {count(number, 'chunk')}" for rank, number in enumerate(step.sent))
    return f"{name} among {ranks} ranks, step {at} of {len(steps) - 1}. {held}. Now {sends}. Sent so far: {sent}."


def collectives(name: str = "all-reduce", ranks: int = 4, step: int = 2) -> Shown:
    """Step through a collective of `labkit.parallel.data_parallel.collectives`: who holds and sends what."""
    size, last = look(70, 270), len(compute(name, ranks)) - 1
    which = Dropdown(value=name, options=list(ABOUT), description="collective", **size)
    many = IntSlider(ranks, min=2, max=MOST, description="ranks", **size)
    at = IntSlider(min(step, last), min=0, max=last, description="step", **size)
    play = Play(value=at.value, min=0, max=last, interval=1200, description="play the steps")
    jslink((play, "value"), (at, "value"))

    def restart(_: object) -> None:
        """Another collective has another number of steps: begin again."""
        at.value = play.value = 0
        at.max = play.max = len(compute(which.value, many.value)) - 1

    for control in (which, many):
        control.observe(restart, "value")  # before the picture is asked for: the step must exist
    return Explorer(
        lambda name, ranks, step: draw(name, compute(name, ranks), step),
        [beside(which, many, at, play)],
        name=which, ranks=many, step=at,
    )  # fmt: skip
