"""What is asked at the same time is answered together, each its own; and what a page shows for each kind of answer."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import threading
import time
from concurrent.futures import wait

import numpy as np
import pytest

from labkit import serving
from labkit.apps import load_app
from labkit.apps.catalogue import APPLICATIONS
from labkit.errors import DataError
from labkit.serving.desk import Busy, Desk, Predict
from labkit.serving.page import VIEWS, build_demo, mark_spans
from tests.served import MARKUP, Watch, ask, browser, free_port


class Model:
    """Answers a row with its number doubled; the first call waits until it is released."""

    def __init__(self, held=True):
        self.calls, self.begun, self.free = [], threading.Event(), threading.Event()
        if not held:
            self.free.set()

    def __call__(self, rows):
        self.calls.append(len(rows))
        self.begun.set()
        assert self.free.wait(10)
        if any(row["n"] == 13 for row in rows):
            raise DataError("row 13 is unlucky")
        return [2 * row["n"] for row in rows]


def rows(*numbers):
    return [{"n": number} for number in numbers]


def test_what_waits_is_answered_in_one_call():
    model = Model()
    with Desk(model) as desk:
        first = desk.ask(rows(0))
        assert model.begun.wait(10)
        others = [desk.ask(rows(n, n + 100)) for n in range(1, 11)]
        model.free.set()
        assert first.result(10) == [0]
        assert [future.result(10) for future in others] == [[2 * n, 2 * n + 200] for n in range(1, 11)]
    assert model.calls == [1, 20]


def test_a_batch_has_its_bound_and_a_large_question_goes_alone():
    model = Model()
    with Desk(model, together=6) as desk:
        desk.ask(rows(0))
        assert model.begun.wait(10)
        asked = [desk.ask(rows(*range(size))) for size in (3, 3, 1, 9, 2)]
        model.free.set()
        assert [len(future.result(10)) for future in asked] == [3, 3, 1, 9, 2]
    assert model.calls == [1, 6, 1, 9, 2]


def test_too_many_are_sent_away_and_the_others_served():
    model = Model()
    with Desk(model, waiting=5) as desk:
        kept = [desk.ask(rows(0))]
        assert model.begun.wait(10)
        kept += [desk.ask(rows(1, 2)), desk.ask(rows(3, 4, 5))]
        with pytest.raises(Busy, match="5 rows are waiting already"):
            desk.ask(rows(6))
        model.free.set()
        assert [future.result(10) for future in kept] == [[0], [2, 4], [6, 8, 10]]
        assert desk.ask(rows(6)).result(10) == [12]


def test_nobody_pays_for_anothers_question():
    model = Model()
    with Desk(model) as desk:
        desk.ask(rows(0))
        assert model.begun.wait(10)
        asked = [desk.ask(rows(n)) for n in (12, 13, 14)]
        model.free.set()
        assert asked[0].result(10) == [24] and asked[2].result(10) == [28]
        with pytest.raises(DataError, match="unlucky"):
            asked[1].result(10)
        assert desk.ask(rows(1)).result(10) == [2]  # it goes on
    assert model.calls[:2] == [1, 3]


def test_a_client_alone_does_not_wait():
    with Desk(Model(held=False), seconds=5.0) as desk:
        start = time.monotonic()
        for n in range(10):
            assert desk.ask(rows(n)).result(10) == [2 * n]
        assert time.monotonic() - start < 4


def test_after_company_it_waits_for_more_but_not_long():
    model = Model()
    with Desk(model, seconds=0.2) as desk:
        desk.ask(rows(0))
        assert model.begun.wait(10)
        wait([desk.ask(rows(n)) for n in (1, 2)], 0)
        model.free.set()
        time.sleep(0.5)
        one = desk.ask(rows(3))
        time.sleep(0.02)
        assert desk.ask(rows(4)).result(10) == [8] and one.result(10) == [6]
        assert desk.ask(rows(5)).result(10) == [10]
    assert model.calls == [1, 2, 2, 1]


def test_at_the_end_nobody_is_left_waiting():
    model = Model()
    with Desk(model) as desk:
        desk.ask(rows(0))
        assert model.begun.wait(10)
        late = desk.ask(rows(1))
        desk._closed = True
        model.free.set()
    with pytest.raises(Busy, match="is ending"):
        late.result(10)
    with pytest.raises(Busy):
        desk.ask(rows(2))


def told(app, answer, body, waiting=1024):
    """Status, headers and JSON that `Predict` sends for a body."""
    sent = []

    async def send(message):
        sent.append(message)

    with Desk(answer, waiting=waiting) as desk:
        if not waiting:
            desk.ask = lambda rows: (_ for _ in ()).throw(Busy("9 rows are waiting already"))
        asyncio.run(Predict(app, desk)(body, send))
    return sent[0]["status"], dict(sent[0]["headers"]), json.loads(sent[1]["body"])


def test_a_full_desk_says_when_to_come_again(tiny_app):
    status, headers, found = told(load_app(tiny_app), None, b'{"rows": ["a film"]}', waiting=0)
    assert status == 503 and headers[b"retry-after"] == b"1"
    assert found == {"error": "9 rows are waiting already"}


def test_a_model_that_fails_is_told_and_does_not_end_the_server(tiny_app, capsys):
    def broken(rows):
        raise ZeroDivisionError("a secret of the machine")

    status, _, found = told(load_app(tiny_app), broken, b'{"rows": ["a film"]}')
    assert status == 500 and "ZeroDivisionError" in found["error"] and "secret" not in found["error"]
    assert "a secret of the machine" in capsys.readouterr().err


# Pages


TAGGED = "Anna saw <b>Rome</b> today"


def faked(app, kind, answer, labels=()):
    """The app with answers of another kind, shown as such."""

    class Other(type(app)):
        kind = view = ""

        def answers(self, rows, **_):
            return [answer] * len(rows)

        def shown(self, answer):
            return answer

    Other.kind = Other.view = kind
    card = dataclasses.replace(app.card, labels=tuple(labels) or app.card.labels)
    return Other(card, app.model, app.tokenizer, app.method)


SPANS = [{"text": "today", "start": 21, "type": "day"}, {"text": "Anna", "start": 0, "type": "person"}]
PIECES = [("Anna", "person"), (" saw <b>Rome</b> ", None), ("today", "day")]


@pytest.mark.parametrize(
    ("view", "answer", "shown"),
    [
        ("tags", {"tags": [1, 0, 0, 2], "spans": SPANS}, PIECES),
        ("span", {"text": "Rome", "start": 12}, [("Anna saw <b>", None), ("Rome", "answer"), ("</b> today", None)]),
        ("span", {"text": "", "start": -1}, [(TAGGED, None)]),
        ("spans", SPANS, PIECES),
        ("text", ["one", "two"], "1. one\n2. two"),
        ("text", ["<i>one</i>"], "<i>one</i>"),
        ("classes", {"labels": [1, 2]}, "B-person, B-city"),
        ("classes", {"labels": []}, "(none of the labels)"),
        ("numbers", {"pooler_output": [0.5, 1.0]}, {"pooler_output": [0.5, 1.0]}),
    ],
)
def test_each_kind_of_answer_has_a_view_of_its_own(tiny_app, view, answer, shown):
    app = faked(load_app(tiny_app), view, answer, ["O", "B-person", "B-city"])
    event = next(event for event in build_demo(app).fns.values() if event.api_name == "predict")
    assert event.fn(TAGGED) == shown


def test_every_application_has_a_view():
    assert {one.view or one.answer for one in APPLICATIONS.values()} <= set(VIEWS)


def test_marked_pieces_are_the_whole_text_whatever_overlaps(tiny_app):
    app = load_app(tiny_app)
    spans = [{"text": "na saw", "start": 2}, {"text": "Anna", "start": 0}, {"text": "today", "start": 21}]
    assert "".join(piece for piece, _ in mark_spans(app, {"text": TAGGED}, spans)) == TAGGED


def test_a_marked_text_is_shown_as_text(tiny_app, tmp_path):
    """Markup in a word and in the name of a tag stays what it is, in a browser."""
    app = faked(load_app(tiny_app), "spans", [{"type": f"B-{MARKUP}", "text": "<b>Rome</b>", "start": 0}])
    port = free_port()
    demo = build_demo(app)
    serving.launch(demo, port)
    try:
        assert ask(port, "/predict", method="POST", body={"rows": ["a"]})[0] == 404  # it was not opened
        with browser(tmp_path / "profile") as context:
            page = context.new_page()
            watch = Watch(page, f"http://127.0.0.1:{port}/")
            page.goto(f"http://127.0.0.1:{port}/")
            page.get_by_role("textbox", name="text").fill("<b>Rome</b> film")
            page.get_by_role("button", name="Predict").click()
            page.get_by_text("<b>Rome</b>", exact=False).last.wait_for(timeout=30_000)
            page.get_by_text(f"B-{MARKUP}").first.wait_for(timeout=30_000)
            assert page.evaluate("window.hit") is None
            assert page.locator("img[src=x]").count() == 0
            watch.check()
    finally:
        demo.close(verbose=False)


def test_a_page_asks_the_desk(tiny_app):
    app, seen = load_app(tiny_app), []

    def ask_desk(rows):
        seen.extend(rows)
        return [np.array([0.25, 0.75])]

    event = next(event for event in build_demo(app, ask_desk).fns.values() if event.api_name == "predict")
    assert event.fn("the film") == {"negative": 0.25, "positive": 0.75}
    assert seen == [{"text": "the film"}]
    with pytest.raises(serving.import_gradio().Error, match="type a text first"):
        event.fn(" ")
