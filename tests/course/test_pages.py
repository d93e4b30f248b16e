"""The pages beside the lessons: the glossary is in order and every link to one of its terms leads there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from labkit.course import reading
from labkit.course.checking import problems
from labkit.course.lessons import LESSONS, lesson
from tests.course.small import HEADER, notebook, write

COURSE = Path(__file__).resolve().parents[2] / "notebooks"
TEXTS = sorted((COURSE / "text").rglob("*.py"))
ANCHOR = re.compile(r'<a id="([^"]*)"></a>')
ENTRY = re.compile(r'((?:<a id="[^"]*"></a>)+)\*\*([^*]+)\*\*(?:\s\([^)]+\))?:\s(.+)', re.DOTALL)
LETTER = re.compile(r'## (?:<a id="digits"></a>)?(0–9|[A-Z])')
LESSON = re.compile(r"\[(\d\d/\d\d)\]\(([^)]+)\)")
UNWRITTEN = re.compile(r"(\d\d/\d\d) \(not written yet\)")
TO_TERM = re.compile(r"glossary\.ipynb#([^)\s]*)")
WITHIN = re.compile(r"\]\(#([^)\s]*)\)")


def markdown(page):
    cells = reading.assemble(reading.Source(page, COURSE)).cells
    return [cell.source for cell in cells if cell.cell_type == "markdown"]


def slug(term):
    """The anchor of a term: "winner's curse" → "winners-curse"."""
    return re.sub(r"[^a-z0-9]+", "-", term.lower().replace("'", "")).strip("-")


@pytest.fixture(scope="module")
def terms():
    """(letter, anchors, names, what is said) of each term, in the order of the page."""
    found = []
    for source in markdown("glossary"):
        head, *parts = source.split("\n\n")
        if letter := LETTER.fullmatch(head):
            for part in parts:
                term = ENTRY.fullmatch(part)
                assert term, part
                names, said = (re.sub(r"\s+", " ", text) for text in term.groups()[1:])
                found.append((letter[1], ANCHOR.findall(term[1]), names.split(", "), said))
    assert len(found) > 100
    return found


@pytest.fixture(scope="module")
def known(terms):
    return [anchor for _, anchors, _, _ in terms for anchor in anchors]


def test_each_name_has_one_anchor(terms, known):
    assert len(set(known)) == len(known)
    for _, anchors, names, _ in terms:
        assert anchors == [slug(name) for name in names]


def test_terms_are_in_alphabetical_order_under_their_letters(terms):
    first = [anchors[0] for _, anchors, _, _ in terms]
    assert first == sorted(first)
    for letter, anchors, _, _ in terms:
        assert letter == ("0–9" if anchors[0][0].isdigit() else anchors[0][0].upper())


def test_a_term_is_said_shortly_and_names_its_lessons(terms):
    for _, _, names, text in terms:
        said, _, where = text.rpartition(" Lesson")
        assert 12 <= len(said.split()) <= 80 and said.endswith((".", '."', ".)")), names
        links, unwritten = LESSON.findall(where), UNWRITTEN.findall(where)
        assert links or unwritten, names
        for key, link in links:
            assert link == lesson(key).notebook.as_posix() and (COURSE / lesson(key).text).is_file(), names
        for key in unwritten:
            assert not (COURSE / lesson(key).text).is_file(), f"{names}: {key} is written now: link it"


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.stem)
def test_links_to_terms_lead_to_one(path, known):
    assert dead(path.read_text(encoding="utf-8"), known) == []


def dead(text, known):
    """The terms that a text links to and the glossary does not have."""
    return [term for term in TO_TERM.findall(text) if term not in known]


def test_a_dead_link_would_be_seen():
    assert dead("[a](../glossary.ipynb#shot) [b](../glossary.ipynb#shots)", ["shot"]) == ["shots"]
    assert dead("[a](glossary.ipynb) [b](../glossary.ipynb#)", ["shot"]) == [""]
    assert slug("winner's curse") == "winners-curse" and slug("3-D parallelism") == "3-d-parallelism"


@pytest.mark.parametrize("page", ["glossary", "help"])
def test_links_within_a_page_lead_somewhere(page):
    text = "\n\n".join(markdown(page))
    headings = {line.lstrip("# ").replace(" ", "-") for line in text.splitlines() if line.startswith("#")}
    anchors = ANCHOR.findall(text)
    assert len(set(anchors)) == len(anchors)
    assert WITHIN.findall(text) and set(WITHIN.findall(text)) <= {*anchors, *headings}


def test_the_index_links_to_every_page_and_readme_too():
    index = "".join(markdown("index"))
    readme = (COURSE.parent / "README.md").read_text(encoding="utf-8")
    for page in reading.PAGES[:-1]:
        assert f"]({page}.ipynb)" in index and f"](notebooks/{page}.ipynb)" in readme


# As the tools see them


@pytest.mark.parametrize("page", reading.PAGES)
@pytest.mark.parametrize("name", ["{}", "notebooks/{}.ipynb", "notebooks/text/{}.py"])
def test_a_page_has_several_names(tmp_path, page, name):
    assert reading.source(name.format(page), tmp_path) == reading.Source(page, tmp_path)


def test_a_page_needs_no_exercises_and_pages_come_after_lessons(tmp_path):
    item = reading.Source("help", tmp_path / "notebooks")
    item.text.parent.mkdir(parents=True)
    item.text.write_text(HEADER + "# %% [markdown]\n# # Help\n\n# %%\nprint(1)\n", encoding="utf-8")
    assert problems(write(item, notebook(item))) == [] and item.extras == ()
    for page in reading.PAGES:
        reading.Source(page, item.root).notebook.touch()
    (item.root / lesson("06/08").module).mkdir()
    (item.root / LESSONS[-1].notebook).touch()
    assert [found.key for found in reading.sources([], item.root)] == ["06/08", "glossary", "help", "index"]
