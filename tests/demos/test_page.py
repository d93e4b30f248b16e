"""The few-shot demo as a page: sessions, queue, attacks, and a person at a browser."""

from __future__ import annotations

import argparse
import json
import re

import pytest

from labkit import demos, serving
from labkit.cli.commands import add_demo
from labkit.cli.parser import Parser
from labkit.demos.fewshot import page as fewshot
from labkit.demos.fewshot.page import build_demo, on_fill, telling, to_values
from labkit.demos.fewshot.presets import PRESETS, world_task
from labkit.errors import DataError, UsageError
from tests.served import MARKUP, Attacks, Watch, ask, browser, call

gradio = pytest.importorskip("gradio", reason="gradio is not installed: pip install -e '.[demos]'")


@pytest.fixture(scope="module")
def values():
    """What the page's fields hold at first."""
    return to_values(PRESETS["Good or bad"].form(world_task("en"), 0))


@pytest.fixture(scope="module")
def demo():
    return build_demo()


class TestAttacks(Attacks):
    endpoint, values = "try", ("the film",)

    def test_a_path_in_place_of_a_text_is_text(self, port, values):
        for record in ("/etc/passwd", 3, None):
            assert "root:" not in json.dumps(call(port, "learn", *values[:-1], record))
        listed = ask(port, "/gradio_api/info")[2]
        assert list(json.loads(listed)["named_endpoints"]) == ["/learn", "/try"]


# Sessions and the queue


@pytest.fixture
def clients(port):
    from gradio_client import Client

    clients = [Client(f"http://127.0.0.1:{port}/", verbose=False) for _ in range(2)]
    yield clients
    for client in clients:
        client.close()


def test_sessions_do_not_see_each_other(clients, values):
    first, second = clients
    other = [value.replace("negative", "thumb down") if isinstance(value, str) else value for value in values]
    assert "negative" in first.predict(*values, api_name="/learn")[0]
    with pytest.raises(Exception, match="press Learn first"):
        second.predict("the soup was dull .", api_name="/try")
    assert "thumb down" in second.predict(*other, api_name="/learn")[0]
    for client, own, foreign in ((first, "negative", "thumb down"), (second, "thumb down", "negative")):
        answers = client.predict("the soup was dull .", api_name="/try")
        assert own in answers
        assert foreign not in answers


def test_a_refusal_keeps_what_was_learnt(clients, values):
    client = clients[0]
    client.predict(*values, api_name="/learn")
    for at, field in (
        (1, "class 1, name"),
        (3, "class 'negative', example 1"),
        (21, "pattern"),
        (22, "sentences to try"),
    ):
        wrong = [*values[:at], "a" * 100_000, *values[at + 1 :]]
        with pytest.raises(Exception, match=f"{field}: 100000 characters, at most".replace("'", "&#x27;")):
            client.predict(*wrong, api_name="/learn")
    assert "negative" in client.predict("the soup was dull .", api_name="/try")


def test_the_queue_is_bounded_and_one_trains_at_a_time(demo):
    assert demo._queue.max_size == serving.MAX_WAITING
    named = {block.api_name: block for block in demo.fns.values()}
    for name in ("learn", "try"):
        assert (named[name].concurrency_id, named[name].concurrency_limit) == ("model", 1)


def test_an_error_is_a_sentence_without_markup():
    with pytest.raises(gradio.Error) as shown, telling():
        raise DataError(f"line 3: {MARKUP}")
    assert shown.value.message == "line 3: &lt;img src=x onerror=window.hit=1&gt;"
    assert not shown.value.print_exception
    with pytest.raises(ZeroDivisionError), telling():  # a bug stays a bug
        _ = 1 / 0


def test_a_model_without_a_head_is_refused(monkeypatch, tiny_parts):
    from labkit.zoo import Loaded

    model, tokenizer, *_ = tiny_parts("pet")
    monkeypatch.setattr(fewshot, "load", lambda name, head: Loaded(model, tokenizer, ("cls.predictions.bias",)))
    with pytest.raises(UsageError, match="'minilm' comes without a language-model head"):
        build_demo("minilm")


def test_the_chinese_model_has_a_chinese_page():
    fields = [block for block in build_demo("mini-bert-zh").blocks.values() if isinstance(block, gradio.Textbox)]
    assert "{text}总之很{mask}。" in [field.value for field in fields]


def test_what_was_typed_is_kept_whatever_is_looked_at(values):
    reference, own = world_task("en"), ["own", *values[1:]]
    filled, kept = on_fill(reference, "Words swapped", 0, None, values, *values)
    assert kept is None  # nothing was typed
    filled, kept = on_fill(reference, "Words swapped", 0, kept, values, *own)
    for name in ("Four subjects", "Good or bad", None):
        filled, kept = on_fill(reference, name, 0, kept, filled, *filled)
        assert list(kept) == own
    assert filled == values
    changed = ["mine", *filled[1:]]
    assert list(on_fill(reference, "Four subjects", 0, kept, filled, *changed)[1]) == changed  # the newer text counts
    assert list(on_fill(reference, "Four subjects", 0, None, None, *own)[1]) == own  # after going back


# A person at a browser


@pytest.fixture
def page(tmp_path):
    with browser(tmp_path / "profile", viewport={"width": 1280, "height": 900}) as context:
        yield context.new_page()


def press(page, name):
    page.get_by_role("button", name=name, exact=True).click()


def test_a_person_learns_and_tries(port, page):
    url = f"http://127.0.0.1:{port}/"
    watch = Watch(page, url)
    page.goto(url)
    press(page, "Learn")
    page.get_by_text("Right on 200 unseen reviews").wait_for(timeout=60_000)
    assert page.locator(".verdict").count() == 20  # five sentences, four methods
    assert page.locator("img[alt^='Loss on the examples over 40 training steps']").evaluate("i => i.naturalWidth") > 300
    page.get_by_label("Sentences to try").fill("what a superb soup .\n这里的汤")
    press(page, "Try, without learning again")
    page.get_by_text("“what a superb soup .”").wait_for(timeout=30_000)
    assert page.locator(".verdict").count() == 8
    assert page.locator(".verdict b").first.inner_text() == "positive"
    assert page.get_by_text("it reads each as the same unknown word").count() == 1
    watch.check()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_button_that_matters_can_be_read(port, page, theme):
    page.goto(f"http://127.0.0.1:{port}/?__theme={theme}")
    button = page.get_by_role("button", name="Learn", exact=True)
    button.wait_for(timeout=30_000)
    found = button.evaluate("b => [getComputedStyle(b).color, getComputedStyle(b).backgroundColor]")
    ink, ground = (luminance(*map(int, re.findall(r"\d+", colour)[:3])) for colour in found)
    assert (ink + 0.05) / (ground + 0.05) > 4.5  # WCAG 2.2, 1.4.3


def luminance(*rgb):
    """The relative luminance of an sRGB colour, of bytes (WCAG 2.2)."""
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in (byte / 255 for byte in rgb)]
    return sum(weight * value for weight, value in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_cp_tuning_is_said_to_need_no_words(port, page):
    page.goto(f"http://127.0.0.1:{port}/")
    page.get_by_text("needs no label words").wait_for(timeout=30_000)
    assert page.get_by_label("Label word 2").is_visible()


def test_markup_in_every_field_is_text_and_nothing_typed_is_lost(port, page):
    url, typed = f"http://127.0.0.1:{port}/", f"{MARKUP} {{{{1}}}} ${{hit=1}}"
    watch = Watch(page, url)
    page.goto(url)
    page.get_by_label("Class 1", exact=True).fill(MARKUP)
    for label in ("Class 1, example 1", "Sentences to try, one a line"):
        page.get_by_label(label, exact=True).fill(typed)
    page.get_by_label("Label word 1").fill(f"<b>{MARKUP}")
    press(page, "Learn")
    page.get_by_text(f"word '<b>{MARKUP}' is").first.wait_for(timeout=30_000)  # the refusal
    assert page.get_by_label("Label word 1").input_value() == f"<b>{MARKUP}"
    page.get_by_label("Label word 1").fill("bad")
    press(page, "Learn")
    page.get_by_text("What was trained").wait_for(timeout=60_000)
    assert page.locator(".said").inner_text() == f"“{typed}”"
    assert page.locator(".lab .row > :first-child").all_inner_texts() == [MARKUP, "positive"] * 4
    assert page.get_by_label("Class 1, example 1").input_value() == typed
    assert page.evaluate("window.hit") is None
    assert page.locator("img[src=x]").count() == 0
    watch.check()


def test_presets_fill_the_form_and_can_be_taken_back(port, page):
    page.goto(f"http://127.0.0.1:{port}/")
    name = page.get_by_label("Class 1", exact=True)
    name.fill("my own")
    page.get_by_label("Words swapped").check()
    page.get_by_role("button", name="Back to what I had").wait_for(timeout=30_000)
    page.get_by_label("Four subjects").check()
    page.get_by_label("Class 4", exact=True).wait_for(timeout=30_000)
    assert name.input_value() == "films"
    assert page.get_by_role("button", name="Other examples").is_disabled()
    press(page, "Back to what I had")
    page.get_by_label("Class 4", exact=True).wait_for(state="hidden", timeout=30_000)
    assert name.input_value() == "my own"
    first = page.get_by_label("Class 1, example 1").input_value()
    press(page, "Other examples")
    page.get_by_role("button", name="Back to what I had").wait_for(timeout=30_000)
    assert name.input_value() == "negative"
    assert page.get_by_label("Class 1, example 1").input_value() not in ("", first)


# The command


def parse(*line):
    parser = Parser(prog="labkit")
    add_demo(parser.add_subparsers(parser_class=Parser))
    return parser.parse_args(["demo", *line])


def test_the_command_opens_the_demo(monkeypatch):
    opened = []
    monkeypatch.setattr(serving, "run", lambda demo, port, greeting, footer: opened.append((demo, port, greeting)))
    monkeypatch.setattr(fewshot, "load", lambda name, head: pytest.fail(f"loaded {name}"))
    monkeypatch.setattr(demos, "build", lambda name, model: (name, model))
    arguments = parse("fewshot", "--port", "8123", "--model", "micro-bert-zh")
    arguments.handler(arguments)
    (found,) = opened
    assert found[:2] == (("fewshot", "micro-bert-zh"), 8123)
    assert "http://127.0.0.1:8123/" in found[2][0]


def test_wrong_names_and_ports_are_one_error():
    with pytest.raises(UsageError, match="did you mean 'fewshot'"):
        parse("fewshots")
    with pytest.raises(UsageError, match="did you mean 'fewshot'"):
        demos.build("fewshots")
    with pytest.raises(UsageError, match="--port must be at least 1"):
        demos.serve("fewshot", port=0)
    with pytest.raises(UsageError, match="did you mean 'mini-bert-en'"):
        demos.build("fewshot", "mini-bert-em")


def test_every_demo_is_named_in_the_help():
    for action in parse("fewshot").parser._actions:
        assert action.help
    assert isinstance(parse("fewshot"), argparse.Namespace)
    assert all(name in parse("fewshot").parser.epilog for name in demos.DEMOS)
