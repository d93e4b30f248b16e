"""What a notebook must be before it is committed, told from its file and its text alone, without running it.

Each problem is one line: the file, the cell (counted from 1, markdown included), what is wrong, how to mend it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from labkit.course import exercises, pattern
from labkit.course.lessons import LESSONS, lesson
from labkit.course.outputs import DATA_URI, VIEW, refusal, texts, times
from labkit.course.reading import INDEX, PAGES, Source, assemble, read_notebook, source
from labkit.errors import DataError, LabkitError

COMPARED = "nbval-check-output"
BANNED = ("nbval-skip", "raises-exception")
MIN_COMPARED, MAX_SECONDS, MIN_ALT = 3, 60, 15
MAX_SECONDS_OF = {"06": 90}  # module 06 starts processes
ALT = {"img": "alt", "svg": "aria-label"}  # where a tag's alternative text stands
MAX_CELL, MAX_NOTEBOOK = 300_000, 1_500_000  # bytes
PATH = re.compile(
    r"(?<![\w.:/~-])/(?:home|work|root|tmp|Users|opt|mnt|content|var/folders)/[\w.~-]+|\b[A-Za-z]:\\+(?:Users|\w+\\)"
)
FENCE = re.compile(r"^(```|~~~).*?^\1", re.DOTALL | re.MULTILINE)
MARKDOWN_IMAGE = re.compile(r"!\[([^\]]*)\]\(")
LINK = re.compile(r"\]\((?!\w+:|#|//|attachment:)([^)\s#]+)[^)]*\)")
Problem = tuple[int | None, str]  # number of the cell, from 0, or None for the notebook; what, and its mend


def problems(path: str | Path) -> list[str]:
    """Every problem of the notebook at `path`, whose text lies beside it in `text/`; empty where there is none.

    Raises UsageError for a path that is no lesson's, or where jupytext is not installed.
    """
    path = Path(path)
    root = path.parent if path.stem in PAGES else path.parent.parent
    item, name = source(str(path), root), f"{root.name}/{path.relative_to(root).as_posix()}"
    try:
        notebook = read_notebook(path)
    except FileNotFoundError:
        return [f"{name}: there is no notebook: run `labkit notebooks build {item.key}`"]
    except (OSError, DataError) as error:
        return [f"{name}: no valid notebook ({error}): run `labkit notebooks build {item.key}`"]
    found = [*_in_step(item, notebook), *_metadata(item, notebook, path), *_lesson(item, notebook)]
    found += _links(item, notebook)
    for number, cell in enumerate(notebook.cells):
        found += [(number, what) for what in _cell(cell)]
    return [f"{name}: {what}" if number is None else f"{name}: cell {number + 1}: {what}" for number, what in found]


# The notebook as a whole


def _in_step(item: Source, notebook: Any) -> Iterator[Problem]:
    """Text and notebook hold the same cells, with the same tags."""
    build = f"run `labkit notebooks build {item.key}`"
    try:
        wanted = assemble(item).cells
    except LabkitError as error:
        yield None, str(error)
        return
    for number, (cell, want) in enumerate(zip(notebook.cells, wanted, strict=False)):
        if (cell.cell_type, cell.source) != (want.cell_type, want.source):
            yield number, f"is not what the text says: {build}"
            return
        if cell.metadata.get("tags", []) != want.metadata.get("tags", []):
            yield number, f"its tags are not the text's: {build}"
    if len(notebook.cells) != len(wanted):
        yield None, f"{len(notebook.cells)} cells, where the text has {len(wanted)}: {build}"


def _metadata(item: Source, notebook: Any, path: Path) -> Iterator[Problem]:
    """Kernel, seconds, widgets, size."""
    build = f"run `labkit notebooks build {item.key}`"
    if not {"name", "display_name"} <= set(notebook.metadata.get("kernelspec", {})):
        yield None, f"no kernelspec in its metadata, so JupyterLab would ask for a kernel: {build}"
    seconds = notebook.metadata.get("labkit", {}).get("seconds")
    if not isinstance(seconds, int | float):
        yield None, f"the seconds of its run are not recorded: {build}"
    elif seconds > (most := MAX_SECONDS_OF.get(item.key[:2], MAX_SECONDS)):
        yield None, f"a run took {seconds:.0f} s, at most {most} are allowed: make its measurement smaller"
    widgets = notebook.metadata.get("widgets")
    if widgets is not None and not all("state" in value for value in dict(widgets).values()):
        yield None, f"metadata.widgets without state, at which GitHub fails: {build}"
    if (size := path.stat().st_size) > MAX_NOTEBOOK:
        yield None, f"{size / 1e6:.1f} MB, at most {MAX_NOTEBOOK / 1e6:.1f} are allowed: fewer or smaller pictures"


def _lesson(item: Source, notebook: Any) -> Iterator[Problem]:
    """What a lesson needs as a whole; a page beside the lessons needs none of it."""
    if item.key in PAGES:
        return
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    compared = sum(COMPARED in cell.metadata.get("tags", ()) for cell in code)
    if compared < MIN_COMPARED:
        yield (
            None,
            f"{compared} cells tagged {COMPARED}, at least {MIN_COMPARED} are wanted: tag exact facts and verdicts",
        )
    if not any(re.search(rf"labkit\.setup\(.*lesson=[\"']{item.key}[\"']", cell.source) for cell in code):
        yield None, f'no cell sets the lesson up: begin with `lab = labkit.setup(lesson="{item.key}")`'
    planned = lesson(item.key).minutes
    for minutes in re.findall(r"(\d+) minutes", notebook.cells[0].source if notebook.cells else ""):
        if int(minutes) != planned:
            yield 0, f"{minutes} minutes, but the course's table says {planned}: agree (labkit/course/lessons.py)"
    for exercise in exercises.find(notebook.cells):
        for what in exercise.problems():
            yield exercise.cell, what
    yield from pattern.problems(item.key, notebook.cells)


def _links(item: Source, notebook: Any) -> Iterator[Problem]:
    """Links to files beside the notebook lead somewhere; the index links to every notebook that is there."""
    for number, cell in enumerate(notebook.cells):
        for link in LINK.findall(FENCE.sub("", cell.source)) if cell.cell_type == "markdown" else ():
            if not (item.notebook.parent / unquote(link)).exists():
                yield number, f"a link to {link}, which is not there: name it without a link until it is"
    if item.key == INDEX:
        shown = json.dumps([cell.get("outputs") for cell in notebook.cells])
        for other in LESSONS:
            if other.exists(item.root) != (other.notebook.as_posix() in shown):
                yield None, f"its map is not up to date with lesson {other.key}: run `labkit notebooks build {INDEX}`"


# One cell


def _cell(cell: Any) -> Iterator[str]:
    yield from _source(cell)
    if cell.cell_type != "code":
        return
    tags = cell.metadata.get("tags", [])
    for tag in BANNED:
        if tag in tags:
            yield f"tagged {tag}, behind which anything passes: take the tag away"
    if cell.execution_count is None:
        yield "was never run (no execution count), so nothing of it would be compared: build the notebook"
    if COMPARED in tags:
        yield from _compared(cell)
    for output in cell.outputs:
        yield from _output(output)
    if (size := len(json.dumps(cell.outputs, ensure_ascii=False).encode("utf-8", "replace"))) > MAX_CELL:
        yield f"its outputs have {size / 1e3:.0f} kB, at most {MAX_CELL / 1e3:.0f} are allowed: show less, or smaller"


def _source(cell: Any) -> Iterator[str]:
    if "bootstrap" not in cell.metadata.get("tags", []) and (found := PATH.search(DATA_URI.sub("", cell.source))):
        yield f"names a path of one machine ({found[0]}): use a relative path or a setting"
    if re.search(r"\bTODO\b", cell.source):
        yield "still holds TODO: write it"
    if cell.cell_type == "markdown":
        text = FENCE.sub("", cell.source)
        yield from _pictures(text, MARKDOWN_IMAGE.findall(text))


def _compared(cell: Any) -> Iterator[str]:
    """A compared cell must show something, and nothing that another machine would show differently."""
    if not cell.outputs:
        yield f"tagged {COMPARED}, but shows nothing: let it print the fact, or take the tag away"
    for output in cell.outputs:
        data = output.get("data", {})
        if any(kind.startswith("image/") for kind in data) or DATA_URI.search(data.get("text/html", "")):
            yield "a compared picture, which differs from machine to machine: compare the fact, in a cell of its own"
        elif found := [time for text in texts(output) for time in times(text)]:
            yield f"a compared time ({found[0]}), which differs at every run: show it in another cell, without the tag"


def _output(output: Any) -> Iterator[str]:
    if problem := refusal(output):
        yield " ".join(problem.split())
    data = output.get("data", {})
    if VIEW in data:
        yield "the view of a widget, dead without its kernel: build the notebook, which keeps the picture beside it"
    for text in texts(output):
        if found := PATH.search(text):
            yield f"shows a path of one machine ({found[0]}): print a relative path or a name"
    if "text/html" in data:
        yield from _pictures(data["text/html"])
    if "text/markdown" in data:
        yield from _pictures(data["text/markdown"], MARKDOWN_IMAGE.findall(data["text/markdown"]))
    if any(kind.startswith("image/") for kind in data) and "<img" not in data.get("text/html", ""):
        yield "a bare picture, which has no alternative text: show labkit.report.Plot(figure, alt)"


class _Pictures(HTMLParser):
    """The alternative texts of `<img>` and of `<svg>`, None where there is none."""

    def __init__(self) -> None:
        super().__init__()
        self.alts: list[str | None] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a picture."""
        if tag in ALT:
            self.alts.append(dict(attrs).get(ALT[tag]))


def _pictures(text: str, more: Sequence[str] = ()) -> Iterator[str]:
    """Problems with the alternative texts of the pictures in HTML, and with `more` of them."""
    parser = _Pictures()
    parser.feed(DATA_URI.sub("", text))
    for alt in (*more, *parser.alts):
        if len((alt or "").strip()) < MIN_ALT:
            said = "without alternative text" if alt is None else f"whose alternative text is {alt!r}"
            yield f"a picture {said}: say in words what it shows, in {MIN_ALT} characters at least (alt, aria-label)"
