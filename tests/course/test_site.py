"""The course as a web page: whole, without a dead link, and content with its own folder."""

from __future__ import annotations

import functools
import http.server
import threading
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from labkit import cli
from labkit.course import site
from labkit.course.lessons import LESSONS
from labkit.errors import LabkitError, UsageError
from tests.served import Watch, browser

ROOT = Path(__file__).resolve().parents[2] / "notebooks"
MADE = [item for item in LESSONS if item.exists(ROOT)]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folder of the real course's site."""
    return site.build_site(ROOT, tmp_path_factory.mktemp("course") / "site").parent


class Parts(HTMLParser):
    """The links, anchors and pictures of a page."""

    def __init__(self, page):
        super().__init__()
        self.links, self.anchors, self.pictures = [], {""}, []
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.anchors |= {found[name] for name in ("id", "name") if found.get(name)}
        self.links += [found[name] for name in ("href", "src") if found.get(name)]
        self.pictures += [found] if tag == "img" else []


def test_every_lesson_and_document_is_a_page(built):
    for item in MADE:
        assert (built / "notebooks" / item.notebook.with_suffix(".html")).is_file(), item.key
    for name in site.DOCUMENTS:
        assert (built / "docs" / f"{name}.html").is_file(), name


def test_no_link_is_dead_and_no_page_needs_the_net(built):
    pages = {page: Parts(page) for page in built.rglob("*.html") if "_static" not in page.parts}
    for page, parts in pages.items():
        for link in parts.links:
            target = urlsplit(link)
            if target.scheme in ("http", "https", "mailto", "data"):
                continue
            there = (page.parent / unquote(target.path)).resolve() if target.path else page
            assert there.is_file(), f"{page.relative_to(built)}: {link}"
            if there in pages and target.fragment:
                assert unquote(target.fragment) in pages[there].anchors, f"{page.relative_to(built)}: {link}"
        kinds = (".js", ".css", ".png", ".svg", ".woff")
        assert [link for link in parts.links if link.startswith("http") and link.endswith(kinds)] == [], page


def test_every_picture_says_what_it_shows(built):
    for item in MADE:
        page = built / "notebooks" / item.notebook.with_suffix(".html")
        for picture in Parts(page).pictures:
            assert len(picture.get("alt") or "") >= 15 or "widget" in picture.get("class", ""), (item.key, picture)


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Says nothing of what it serves."""

    def log_message(self, *_):
        pass


@pytest.fixture
def served(built):
    """The address of the folder, served on this machine."""
    handler = functools.partial(Quiet, directory=str(built))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_is_read_in_a_browser(served, tmp_path, theme):
    """Formulas are set, the search finds a lesson, the next page is a click away: with nothing from elsewhere."""
    with browser(tmp_path / "profile", color_scheme=theme) as context:
        page = context.new_page()
        watch = Watch(page, served)
        page.goto(f"{served}notebooks/03_fewshot/02_pet.html")
        page.wait_for_selector("mjx-container svg, mjx-container mjx-math")
        dark = page.evaluate("getComputedStyle(document.body).backgroundColor") != "rgb(255, 255, 255)"
        assert dark == (theme == "dark")
        page.click("a.next-page")
        page.wait_for_url("**/03_soft_prompts.html")
        page.goto(f"{served}search.html?q=verbalizer")
        page.wait_for_selector("#search-results a")
        assert page.locator("#search-results a[href*='02_pet']").count()
        page.goto(f"{served}docs/results.html")
        assert page.locator("table").count() > 20
        watch.check()


def test_another_folder_is_not_touched(tmp_path, capsys):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(UsageError, match="something else than a site: give another folder with --out"):
        site.build_site(ROOT, tmp_path)
    assert cli.main(["site", "build", "--out", str(tmp_path / "thesis.txt")]) == 2
    assert "something else" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_what_sphinx_complains_of_is_an_error_and_the_old_site_stays(tmp_path, monkeypatch):
    def broken(root, source):
        source.mkdir()
        (source / "index.md").write_text("# A\n\n```{toctree}\nmissing\n```\n")

    out = tmp_path / "site"
    out.mkdir()
    (out / site.MARK).touch()
    (out / "index.html").write_text("the old one")
    monkeypatch.setattr(site, "_write_sources", broken)
    monkeypatch.setattr(site, "LOOKS", {"extensions": ["myst_nb"], "nb_execution_mode": "off"})
    with pytest.raises(LabkitError, match=r"(?s)the site has faults.*missing"):
        site.build_site(ROOT, out)
    assert (out / "index.html").read_text() == "the old one"
    assert [path.name for path in tmp_path.iterdir()] == ["site"]


def test_without_the_extra_the_mend_is_said(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "furo", None)
    with pytest.raises(UsageError, match=r"needs the package furo: pip install 'labkit\[site\]'"):
        site.build_site(ROOT, tmp_path / "site")
