"""Questions of many clients, answered together: a batch costs little more than a row.

One thread asks the model, for whatever waits, up to 64 rows at once. While it works, the next questions gather. Only
where the last batch had company does it wait for more, at most 5 ms, so that a client alone is answered at once.
"""

from __future__ import annotations

import asyncio
import json
import threading
import traceback
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from labkit.apps import App
from labkit.errors import LabkitError, UsageError, unknown
from labkit.serving.guard import Send, answer_json
from labkit.serving.page import check_lengths

TOGETHER, SECONDS = 64, 0.005  # rows of a batch, and how long it waits to be full
MAX_ROWS, WAITING = 256, 1024  # rows of a question, and of all that wait
Rows = Sequence[Mapping[str, Any]]


class Busy(LabkitError):
    """More is waiting than can be answered soon."""


class Desk:
    """A queue before `answer`, which takes rows and gives as many answers. A context manager: it ends its thread."""

    def __init__(
        self, answer: Callable[[Rows], Sequence[Any]], together: int = TOGETHER, seconds: float = SECONDS,
        waiting: int = WAITING,
    ) -> None:  # fmt: skip
        self.answer, self.together, self.seconds, self.most = answer, together, seconds, waiting
        self._asked: deque[tuple[Rows, Future[list[Any]]]] = deque()
        self._changed, self._company, self._closed = threading.Condition(), 1, False
        self._thread = threading.Thread(target=self._work, daemon=True)

    def __enter__(self) -> Desk:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def ask(self, rows: Rows) -> Future[list[Any]]:
        """The answers to `rows`, when they are there. Raises Busy where too many rows wait already."""
        future: Future[list[Any]] = Future()
        with self._changed:
            waiting = sum(len(some) for some, _ in self._asked)
            if self._closed or (waiting and waiting + len(rows) > self.most):
                raise Busy(f"{waiting} rows are waiting already: ask again in a second")
            self._asked.append((rows, future))
            self._changed.notify()
        return future

    def _work(self) -> None:
        while taken := self._take():
            self._answer([(rows, future) for rows, future in taken if future.set_running_or_notify_cancel()])
        for _, future in self._asked:
            future.set_exception(Busy("the server is ending"))

    def _take(self) -> list[tuple[Rows, Future[list[Any]]]]:
        """The next questions, at least one; none at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._asked or self._closed)
            self._changed.wait_for(lambda: len(self._asked) >= self._company or self._closed, self.seconds)
            taken, rows = [], 0
            while self._asked and not self._closed and (not taken or rows + len(self._asked[0][0]) <= self.together):
                taken.append(self._asked.popleft())
                rows += len(taken[-1][0])
            self._company = len(taken)
            return taken

    def _answer(self, taken: list[tuple[Rows, Future[list[Any]]]]) -> None:
        """Answer them together or, where that fails, each alone, so that nobody pays for another's question."""
        rows = [row for some, _ in taken for row in some]
        try:
            answers = iter([answer for _, answer in zip(rows, self.answer(rows), strict=True)])
        except BaseException as error:  # noqa: BLE001  whatever it is, it is raised where it is waited for
            if len(taken) == 1:
                taken[0][1].set_exception(error)
                return
            for one in taken:
                self._answer([one])
        else:
            for some, future in taken:
                future.set_result([next(answers) for _ in some])


class Predict:
    """`POST /predict`: `{"rows": [{"text": "…"}, …]}` is answered by `{"answers": […]}` or `{"error": "a sentence"}`.

    A row is an object of the app's fields, a list of their texts or, of one field, a text.
    """

    def __init__(self, app: App, desk: Desk) -> None:
        self.app, self.desk = app, desk

    async def __call__(self, body: bytes, send: Send) -> None:
        """Answer the body of a request."""
        try:
            future = self.desk.ask(self._rows(body))
        except Busy as error:
            await answer_json(send, 503, {"error": str(error)}, [(b"retry-after", b"1")])
        except LabkitError as error:
            await answer_json(send, 422, {"error": str(error)})
        else:
            done = asyncio.wrap_future(future)
            await asyncio.wait([done])
            await answer_json(send, *self._said(done))

    def _rows(self, body: bytes) -> list[dict[str, str]]:
        try:
            asked = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise UsageError(f"the request is no JSON: {str(error)[:200]}") from None
        rows = asked.get("rows") if isinstance(asked, dict) else None
        if not isinstance(rows, list) or not rows:
            field = self.app.card.fields[0]
            raise UsageError(f'send an object with rows, as in {{"rows": [{{{json.dumps(field)}: "a text"}}]}}')
        if len(asked) > 1:
            raise unknown("key of the request", next(name for name in asked if name != "rows"), ["rows"])
        if len(rows) > MAX_ROWS:
            raise UsageError(f"{len(rows)} rows: send {MAX_ROWS} at most, or label a file with `labkit predict`")
        found = [self.app.row(row, number) for number, row in enumerate(rows, start=1)]
        for number, row in enumerate(found, start=1):
            check_lengths(row, f"input {number}: ")
        return found

    def _said(self, done: asyncio.Future[list[Any]]) -> tuple[int, dict[str, Any]]:
        error = done.exception()
        if error is None:
            return 200, {"answers": [self.app.shown(answer) for answer in done.result()]}
        if isinstance(error, LabkitError):
            return 503 if isinstance(error, Busy) else 500, {"error": str(error)}
        traceback.print_exception(error)
        return 500, {"error": f"the model failed ({type(error).__name__}); the server's messages say why"}
