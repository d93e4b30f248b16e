"""Every command of docs/apps.md, typed as it stands there, one paragraph after the other in one folder."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from labkit.apps.catalogue import APPLICATIONS
from labkit.cli import main
from tests.apps.reviews import write_reviews

PAGE = (Path(__file__).parents[2] / "docs/apps.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)
PARAGRAPHS = [part.strip().splitlines() for block in BLOCKS for part in block.split("\n\n") if part.strip()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where a reader would be, with tables of their own as EasyNLP's are."""
    folder = tmp_path_factory.mktemp("reader")
    write_reviews(folder, train=64, dev=32)
    return folder


@pytest.mark.parametrize("lines", PARAGRAPHS, ids=lambda lines: " ".join(lines[0].split()[1:4]))
def test_a_paragraph_of_commands(lines, folder, monkeypatch):
    monkeypatch.chdir(folder)
    for line in lines:
        assert main(shlex.split(line, comments=True)[1:]) == 0, line
    last = shlex.split(lines[-1])
    if "--output" in last:
        assert len(Path(last[last.index("--output") + 1]).read_text(encoding="utf-8").splitlines()) == 101


def test_its_python(folder, monkeypatch):
    monkeypatch.chdir(folder)
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    scope: dict = {}
    exec(compile(code, "docs/apps.md", "exec"), scope)  # noqa: S102  the page's own code
    assert scope["labkit"].evaluate(scope["model"], scope["method"], scope["task"], progress=False)["accuracy"] > 0.7


def test_every_application_is_on_the_page_and_trained_there():
    for name in APPLICATIONS:
        assert f"| `{name}` |" in PAGE
        assert f"labkit train {name} " in PAGE
