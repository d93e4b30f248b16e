"""The compression demo as a page: attacks, programs that call it, and a person at a browser."""

from __future__ import annotations

import json
import re
from types import SimpleNamespace

import pytest
from transformers import AlbertConfig, AlbertForMaskedLM

from labkit import demos, serving
from labkit.demos.compression import making
from labkit.demos.compression import page as compression_page
from labkit.demos.compression.page import build_demo
from labkit.demos.fewshot.presets import TRIED
from labkit.errors import UsageError
from tests.demos.compressions import short, tiny
from tests.served import MARKUP, Attacks, Watch, ask, browser, call

gradio = pytest.importorskip("gradio", reason="gradio is not installed: pip install -e '.[demos]'")
TEXT = "the film was good ."


@pytest.fixture(scope="module")
def demo(tiny_parts):
    base, task = tiny(tiny_parts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compression_page, "load", lambda name, head: base)
        patch.setattr(compression_page, "world_task", lambda language: task)
        patch.setattr(compression_page, "lines_for", short)
        return build_demo()


class TestAttacks(Attacks):
    endpoint, values = "compare", (TEXT, "file")

    def test_values_of_another_kind_are_refused(self, port):
        for at in (0, 1):
            for value in ("/etc/passwd", MARKUP, None, 3):
                wrong = list(self.values)
                wrong[at] = value
                event, data = call(port, "compare", *wrong)
                assert "root:" not in json.dumps(data)
                assert event == "error" or (at == 0 and isinstance(value, str) and "<img" not in data[0])
        listed = ask(port, "/gradio_api/info")[2]
        assert list(json.loads(listed)["named_endpoints"]) == ["/compare"]


def test_a_program_can_ask(port):
    event, data = call(port, "compare", TEXT, "time")
    assert event == "complete" and data[0].count('data-name="Time"') == 7
    assert call(port, "compare", "a" * 601, "time")[0] == "error"


def test_the_queue_is_bounded_and_one_sentence_is_asked_at_a_time(demo):
    assert demo._queue.max_size == serving.MAX_WAITING
    (asked,) = [block for block in demo.fns.values() if block.api_name == "compare"]
    assert asked.concurrency_limit == 1  # else the models would wait for one another, and be timed so


def test_a_model_that_is_not_of_berts_family_is_refused_before_anything_is_made(monkeypatch, tmp_path, tiny_parts):
    monkeypatch.setattr(making, "fit", None)
    tokenizer = tiny_parts()[1]
    sizes = {"hidden_size": 16, "embedding_size": 8, "intermediate_size": 16, "num_attention_heads": 2}
    AlbertForMaskedLM(AlbertConfig(vocab_size=len(tokenizer), **sizes)).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    for name in ("mini-gpt-en", str(tmp_path)):
        with pytest.raises(UsageError, match="holds no BERT-like encoder"):
            demos.build("compression", name)
    with pytest.raises(UsageError, match="did you mean 'mini-bert-en'"):
        demos.build("compression", "mini-bert-enn")


def test_the_examples_can_be_asked():
    method = making.HeadClassifier(compression_page.load("mini-bert-en", head=None).tokenizer)
    made = [SimpleNamespace(app=SimpleNamespace(method=method))]
    assert [compression_page.read(text, made) for text in TRIED["en"]] == list(TRIED["en"])


# A person at a browser


@pytest.fixture(params=[{"width": 390, "height": 844}, {"width": 1280, "height": 900}], ids=["phone", "desk"])
def page(request, tmp_path):
    with browser(tmp_path / "profile", viewport=request.param) as context:
        yield context.new_page()


def test_a_person_compares(port, page):
    url = f"http://127.0.0.1:{port}/"
    watch = Watch(page, url)
    page.goto(url)
    page.get_by_text(re.compile("The teacher says")).wait_for(timeout=60_000)  # the first example, unasked
    page.get_by_label("A sentence of a review").fill(TEXT)
    page.get_by_role("button", name="Compare").click()
    page.get_by_text(f"“{TEXT}”").wait_for(timeout=30_000)
    names = page.locator("table.cards td:first-child b")
    assert names.count() == 7 and names.first.inner_text() == "Teacher"
    page.get_by_label("how sure", exact=True).check()
    page.wait_for_function("""() => {
        const said = [...document.querySelectorAll('.sure > span:last-child')].map(one => parseInt(one.innerText));
        return said.length == 7 && said.every((one, at) => !at || one <= said[at - 1]);
    }""")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")  # on a phone nothing sticks out
    page.get_by_label("A sentence of a review").fill("?!")
    page.get_by_role("button", name="Compare").click()
    page.get_by_text("there is no word in it").wait_for(timeout=30_000)
    assert page.get_by_text(f"“{TEXT}”").is_visible()  # what was there stays
    page.get_by_label("A sentence of a review").fill(MARKUP)
    page.get_by_role("button", name="Compare").click()
    page.get_by_text(f"“{MARKUP}”").wait_for(timeout=30_000)
    watch.check()
