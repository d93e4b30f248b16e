"""The knowledge demo: what it finds, what is kept and made again, attacks, and a person at a browser."""

from __future__ import annotations

import json
import re
from types import SimpleNamespace

import pytest

from labkit import demos, serving
from labkit.demos.foundations.form import MAX_TEXT
from labkit.demos.foundations.writing import Models, fill
from labkit.demos.knowledge import asking
from labkit.demos.knowledge import page as knowledge_page
from labkit.demos.knowledge.page import BEFORE, build_demo, on_fill, on_search
from labkit.errors import UsageError
from labkit.knowledge.passages import world_passages
from tests.served import MARKUP, Attacks, Watch, ask, call

gradio = pytest.importorskip("gradio", reason="gradio is not installed: pip install -e '.[demos]'")
OTHER = "micro-bert-en"


def few_pages():
    """120 of the world's pages and their queries."""
    return world_passages("en", 120, 400)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The demo of few pages, with retrievers of two steps, and where these are kept."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LABKIT_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(asking, "STEPS", {"dense": (2, 1e-3), "sparterm": (2, 1e-3)})
        patch.setattr(knowledge_page, "world_passages", few_pages)
        yield SimpleNamespace(demo=build_demo(OTHER), cache=asking.cache())


@pytest.fixture(scope="module")
def demo(made):
    return made.demo


@pytest.fixture(scope="module")
def known():
    """Models and graph."""
    models = Models(BEFORE)
    return models, asking.Graph(asking.STUDY, models.get(BEFORE).tokenizer)


class TestAttacks(Attacks):
    endpoint, values = "fill", ("the soup was [MASK] .",)

    def test_values_of_another_kind_are_refused(self, port):
        for wrong in ("/etc/passwd", None, -(10**9), "no blank", "[MASK]" * 40, "a" * (MAX_TEXT + 1)):
            assert call(port, "fill", wrong)[0] == "error"
        for wrong in (0, 11, "many", None, 2.5):
            assert call(port, "search", "where is chicago ?", wrong)[0] == "error"
        listed = ask(port, "/gradio_api/info")[2]
        assert list(json.loads(listed)["named_endpoints"]) == ["/fill", "/search"]


def test_a_program_can_ask(port):
    event, data = call(port, "fill", f"{MARKUP} was [MASK] in [MASK] .")
    assert event == "complete" and "blank 2" in data[0] and "<img" not in data[0] and OTHER in data[0]
    event, data = call(port, "search", f"{MARKUP} chicago", 2)
    assert event == "complete" and data[0].count("SparTerm") == 1 and "<img" not in data[0]
    event, data = call(port, "search", "你好吗", 2)
    assert event == "error" or "no word" in data[0] or "ask in the language" in data[0]


def test_each_model_fills_as_it_does_alone(known):
    models, graph = known
    parts = ["the soup was ", " ."]
    found = asking.ask(models, [BEFORE, OTHER], graph, parts)
    assert list(found.filled) == [BEFORE, OTHER] and found.facts == {}
    assert all(one == fill(models.get(name), parts, 1) for name, one in found.filled.items())


def test_the_facts_of_what_a_text_names_are_all_of_the_worlds(known):
    models, graph = known
    world = asking.STUDY.graph
    entity = max(world.entities, key=lambda one: one.frequency)
    found = graph.facts(f"[UNK] {entity.name['en']} and nobody else")
    own = [fact for fact in world.facts if entity.id in (fact.head, fact.tail)]
    names = [tuple(world.entities[end].name["en"] for end in (fact.head, fact.tail)) for fact in own]
    wanted = {(head, fact.relation, tail): not fact.held_out
              for fact, (head, tail) in zip(own, names, strict=True)}  # fmt: skip
    assert dict(found[entity.name["en"]]) == wanted and list(found) == [entity.name["en"]]
    html = on_fill(models, [BEFORE], graph, f"{entity.name['en']} is [MASK] .")
    assert "What the graph knows" in html and entity.name["en"] in html


def test_examples_are_stated_facts_from_frequent_to_rare(known):
    texts = asking.cloze_examples(asking.STUDY)
    names = [next(iter(known[1].facts(text))) for text in texts]
    frequency = {one.name["en"]: one.frequency for one in asking.STUDY.graph.entities}
    assert len(texts) == 3 and frequency[names[0]] > frequency[names[1]] > frequency[names[2]]
    assert all("[MASK]" in text for text in texts)


def test_a_query_of_the_list_is_marked_by_its_answers():
    pages = few_pages()
    row = pages.splits["test"][0]
    right, wrong = next(iter(row["answers"])), next(n for n in range(120) if n not in row["answers"])
    found = {"one": SimpleNamespace(search=lambda query, k: ([right, wrong][:k], [2.0, 1.0][:k]))}
    html = on_search(found, pages, row["text"], 2)
    assert html.index("✓ answers") < html.index("✗") and html.count("✓ answers") == 1
    assert "✗" not in on_search(found, pages, "another question", 2)
    with pytest.raises(UsageError, match="choose 1 to 10 pages"):
        on_search(found, pages, row["text"], 11)


def test_what_was_trained_is_kept_and_what_is_damaged_is_made_again(made, monkeypatch, capsys):
    monkeypatch.setenv("LABKIT_CACHE", str(made.cache.parents[1]))
    monkeypatch.setattr(asking, "STEPS", {"dense": (2, 1e-3), "sparterm": (2, 1e-3)})
    pages = few_pages()

    def vectors():
        return asking.retrievers(pages)["Dense"].vectors

    first = vectors()
    assert "again" not in capsys.readouterr().err and (vectors() == first).all()
    damaged = [path for path in (made.cache / "dense").rglob("*") if path.is_file() and path.stat().st_size > 1000]
    for path in damaged:
        path.write_bytes(b"no weights")
    assert (vectors() == first).all() and damaged and "training it again" in capsys.readouterr().err


def test_a_model_that_fills_no_blank_is_refused():
    with pytest.raises(UsageError, match="'mini-gpt-en' fills no blanks"):
        demos.build("knowledge", "mini-gpt-en")


def test_the_queue_is_bounded(demo):
    assert demo._queue.max_size == serving.MAX_WAITING


# A person at a browser


def test_a_person_fills_and_searches(port, page):
    url = f"http://127.0.0.1:{port}/"
    watch = Watch(page, url)
    page.goto(url)
    page.get_by_role("button", name="Fill", exact=True).click()
    page.get_by_role("heading", name="What the graph knows").wait_for(timeout=60_000)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")  # on a phone nothing sticks out
    page.get_by_label("A text with blanks").fill("no blank here")
    page.get_by_role("button", name="Fill", exact=True).click()
    page.get_by_text(re.compile("0 blanks: write")).wait_for(timeout=30_000)
    page.get_by_role("tab", name="Search").click()
    page.get_by_role("button", name="Search", exact=True).click()
    page.get_by_role("heading", name="SparTerm").wait_for(timeout=30_000)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    watch.check()
