"""The planning demo as a page: attacks, programs that call it, and a person at a browser."""

from __future__ import annotations

import dataclasses
import json
import re

import pytest

from labkit import demos, serving
from labkit.demos.parallel.page import build_demo, on_start
from labkit.demos.parallel.starts import STARTS
from labkit.errors import UsageError
from tests.served import MARKUP, Attacks, Watch, ask, call

gradio = pytest.importorskip("gradio", reason="gradio is not installed: pip install -e '.[demos]'")
ARTICLE = on_start("1.2 billion, 8 GPUs")
VALUES = dataclasses.astuple(ARTICLE)


@pytest.fixture(scope="module")
def demo():
    return build_demo()


class TestAttacks(Attacks):
    endpoint, values = "plan", VALUES

    def test_values_of_another_kind_are_refused(self, port):
        names = [field.name for field in dataclasses.fields(ARTICLE)]
        for name in ("gpus", "model", "stage", "length"):
            for value in ("/etc/passwd", MARKUP, None):
                wrong = list(VALUES)
                wrong[names.index(name)] = value
                event, data = call(port, "plan", *wrong)
                assert "root:" not in json.dumps(data)
                assert event == "error" or ("cannot be planned" in data[0] and "<img" not in data[0])
        listed = ask(port, "/gradio_api/info")[2]
        assert list(json.loads(listed)["named_endpoints"]) == ["/plan"]


def test_a_program_can_plan(port):
    event, data = call(port, "plan", *VALUES)
    assert event == "complete"
    assert "It does not fit" in data[0] and "ZeRO stage 1" in data[0]
    event, data = call(port, "plan", *VALUES[:6], 7, *VALUES[7:])
    assert "a batch of 1024 cannot be shared out among 7" in data[0] and data[1:4] == ["", "", ""]


def test_the_queue_is_bounded(demo):
    assert demo._queue.max_size == serving.MAX_WAITING


def test_a_preset_can_be_named_on_the_command_line():
    fields = [
        block for block in demos.build("parallel", "gpt3-175b").blocks.values() if isinstance(block, gradio.Number)
    ]
    assert {field.label: field.value for field in fields}["Sequence"] == 2048
    with pytest.raises(UsageError, match="did you mean 'gpt3-175b'"):
        demos.build("parallel", "gpt3-17b")


# A person at a browser


def number(page, name):
    return page.get_by_role("spinbutton", name=re.compile(f"^{name}"))


def test_a_person_plans(port, page):
    url = f"http://127.0.0.1:{port}/"
    watch = Watch(page, url)
    page.goto(url)
    page.get_by_text("It does not fit: 28.4 GB are needed").wait_for(timeout=60_000)
    page.get_by_label("1.2 billion, 8 GPUs").check()
    page.locator("p", has_text="Nearest mend: ZeRO stage 1").wait_for(timeout=30_000)
    assert page.get_by_text(STARTS["1.2 billion, 8 GPUs"].point).is_visible()
    assert page.locator(".stack").count() == 7  # four stages, three kinds of traffic
    page.get_by_role("button", name="Take this mend").click()
    page.get_by_text("It fits:").wait_for(timeout=30_000)
    assert page.get_by_label("1", exact=True).is_checked()
    page.get_by_role("button", name="Take this mend").wait_for(state="hidden", timeout=30_000)
    number(page, "GPUs").fill("7")
    page.get_by_text("cannot be shared out among 7 data-parallel ranks").wait_for(timeout=30_000)
    assert page.locator(".stack").count() == 0  # nothing stale stays
    number(page, "GPUs").fill("16")
    page.get_by_text("Layouts of 16 GPUs that fit").wait_for(timeout=30_000)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")  # on a phone nothing sticks out
    page.get_by_label("Model", exact=True).click()
    page.get_by_role("option", name="own numbers").click()
    number(page, "Layers").wait_for(timeout=30_000)
    assert number(page, "Width").input_value() == "2048"  # begins with the model that was chosen
    number(page, "Width").fill("2000")
    page.get_by_text("32 heads do not divide a width of 2000").wait_for(timeout=30_000)
    watch.check()
