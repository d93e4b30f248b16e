"""The course as a web page: lessons as they were run, glossary, help, results; a folder that needs no network.

Sphinx makes it, with MyST-NB for the notebooks, Furo for the looks, and formulas set by a MathJax that lies in the
folder. Links between notebooks and documents become links between pages; a file of labkit that a lesson links to is
laid beside them as a text.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from labkit.course.lessons import LESSONS, MODULES
from labkit.course.reading import INDEX, needed
from labkit.errors import LabkitError, UsageError
from labkit.report.page import anchor

MARK = ".labkit-site"  # in a folder that this has made, and may empty
DOCUMENTS = {"results": "Results", "world": "The world", "apps": "Applications", "teaching": "For teachers"}
LINK = re.compile(r"(?P<open>\]\(|href=\\?[\"'])(?P<path>[\w./-]+)(?P<end>[)#\"'\\])")
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
LOOKS = {
    "extensions": ["myst_nb", "sphinx-mathjax-offline"],
    "html_theme": "furo",
    "html_title": "The big-model lab",
    "html_show_sphinx": False,
    "html_show_copyright": False,
    "html_static_path": ["_static"],
    "html_css_files": ["course.css"],
    "html_favicon": "_static/icon.svg",
    "html_copy_source": False,
    "nb_execution_mode": "off",
    "nb_ipywidgets_js": {},
    "myst_all_links_external": True,
    "myst_enable_extensions": ["dollarmath"],
    "suppress_warnings": ["mystnb.unknown_mime_type", "myst.header", "misc.highlighting_failure"],
}
STYLE = "td, th { padding: 0.2em 0.7em; text-align: left; vertical-align: top; }\nmain table { font-size: 0.9em; }\n"
ICON = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16">
<rect width="16" height="16" rx="3" fill="#0072B2"/>
<path d="M4 4v8h3M9 12l3-8" stroke="#fff" stroke-width="2" fill="none"/>
</svg>
"""
FRONT = """\
# The big-model lab

A course on the systems behind large pre-trained language models, with every lesson as it was run. Here you can read
it; to do it, with its widgets and exercises, install the project and type `labkit lab`.

"""


def build_site(root: Path, out: Path) -> Path:
    """Make the site of the course folder `root` (`notebooks/`) in `out`, and return its first page.

    UsageError where `out` holds something else, or the extra `site` is not installed; LabkitError with Sphinx's own
    words where it fails. `out` is replaced whole, or left as it was.
    """
    for name in ("sphinx", "myst_nb", "furo"):
        needed(name, "site")
    if out.exists() and not (out / MARK).is_file() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out}: holds something else than a site: give another folder with --out")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".site-") as folder:
        source, made = Path(folder, "source"), Path(folder, "made")
        _write_sources(root, source)
        _run_sphinx(source, made, Path(folder, "doctrees"))
        (made / MARK).touch()
        if out.exists():
            shutil.rmtree(out)
        os.replace(made, out)
    return out / "index.html"


def _write_sources(root: Path, source: Path) -> None:
    """The pages in the project's own order of folders, their links turned; the files that they link to."""
    project = root.parent
    pages = [root / f"{name}.ipynb" for name in (INDEX, "glossary", "help")]
    pages += [root / item.notebook for item in LESSONS]
    pages += [project / "docs" / f"{name}.md" for name in DOCUMENTS]
    pages = [page for page in pages if page.is_file()]
    for page in pages:
        target = source / page.relative_to(project)
        target.parent.mkdir(parents=True, exist_ok=True)
        text = page.read_text(encoding="utf-8")
        text = _anchored(text) if page.suffix == ".md" else _notebook(text)
        target.write_text(LINK.sub(_turned(page, project, pages, source), text), encoding="utf-8")
    (source / "_static").mkdir()
    (source / "_static" / "course.css").write_text(STYLE, encoding="utf-8")
    (source / "_static" / "icon.svg").write_text(ICON, encoding="utf-8")
    (source / "index.md").write_text(FRONT + _contents(root, source), encoding="utf-8")


def _turned(page: Path, project: Path, pages: list[Path], source: Path) -> Callable[[re.Match[str]], str]:
    """A link's new form: to a page of the site, to a copy of a file, or as it was."""

    def turned(found: re.Match[str]) -> str:
        target = Path(os.path.normpath(page.parent / found["path"]))
        if target in pages:
            return found["open"] + re.sub(r"\.(ipynb|md)$", ".html", found["path"]) + found["end"]
        if target.is_file() and target.is_relative_to(project):
            copy = source / "_files" / f"{target.relative_to(project)}{'' if target.suffix == '.png' else '.txt'}"
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(target, copy)
            here = (source / page.relative_to(project)).parent
            return found["open"] + Path(os.path.relpath(copy, here)).as_posix().replace("_files/", "") + found["end"]
        return found[0]

    return turned


def _notebook(text: str) -> str:
    """A notebook without the state of its widgets: the picture beside each is what a page can show. Its headings can be
    linked to as in JupyterLab.
    """
    notebook = json.loads(text)
    notebook["metadata"].pop("widgets", None)
    for cell in notebook["cells"]:
        lines = cell["source"] if cell["cell_type"] == "markdown" else []
        for place, line in enumerate(lines):
            if found := re.fullmatch(r"##+ (.*?)\s*", line):
                lines[place] = f'<a id="{found[1].replace(" ", "-")}"></a>\n\n{line}'
    return json.dumps(notebook, ensure_ascii=False)


def _anchored(text: str) -> str:
    """A document whose headings can be linked to as on GitHub."""
    return HEADING.sub(lambda found: f'<a id="{anchor(found[1])}"></a>\n\n{found[0]}', text)


def _contents(root: Path, source: Path) -> str:
    """The tables of contents: the map, a part for each module, the documents."""
    parts = {"Start": [f"The map <{root.name}/{INDEX}>"]}
    for module in MODULES:
        lessons = [item for item in LESSONS if item.module == module.folder and item.exists(root)]
        places = [f"{root.name}/{item.notebook.with_suffix('').as_posix()}" for item in lessons]
        parts[module.title] = [f"{item.key} {item.title} <{at}>" for item, at in zip(lessons, places, strict=True)]
    beside = {"Glossary": f"{root.name}/glossary", "Help": f"{root.name}/help"}
    beside |= {title: f"docs/{name}" for name, title in DOCUMENTS.items()}
    parts["Beside the lessons"] = [f"{title} <{name}>" for title, name in beside.items() if _is_page(source / name)]
    form = "```{{toctree}}\n:caption: {}\n:maxdepth: 1\n\n{}\n```\n\n"
    return "".join(form.format(title, "\n".join(entries)) for title, entries in parts.items() if entries)


def _is_page(path: Path) -> bool:
    return any(path.with_suffix(suffix).is_file() for suffix in (".md", ".ipynb"))


def _run_sphinx(source: Path, made: Path, doctrees: Path) -> None:
    """Sphinx, quietly: what it has to say comes with the error."""
    from sphinx.application import Sphinx
    from sphinx.errors import SphinxError

    said = io.StringIO()
    looks = {**LOOKS, "html_extra_path": [str(source / "_files")] if (source / "_files").is_dir() else []}
    try:
        site = Sphinx(source, None, made, doctrees, "html", looks, status=None, warning=said)
        site.build()
    except (SphinxError, OSError, ValueError) as error:
        raise LabkitError(f"the site could not be built: {error}\n{said.getvalue()[-2000:]}") from error
    if said.getvalue().strip():
        raise LabkitError(f"the site has faults: mend them\n{said.getvalue()[-4000:]}")
