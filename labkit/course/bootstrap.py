"""The first code cell of every built notebook: it finds labkit, or installs it, or says in one sentence what to do.

The same cell serves JupyterLab in a clone, a notebook sent with a wheel, Colab with an upload, and Colab with Drive. An
address on the net is used only where the project has one (`[project.urls] Source`), written in when it is built.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

METADATA: dict[str, Any] = {"cellView": "form", "jupyter": {"source_hidden": True}, "tags": ["bootstrap"]}
BADGE = "https://colab.research.google.com/assets/colab-badge.svg"

CELL = """\
# @title Set-up
try:
    import labkit
except ImportError:
    import importlib, subprocess, sys
    from pathlib import Path

    class Missing(Exception):
        def _render_traceback_(self):  # IPython then shows this sentence alone
            return [str(self)]

    colab = Path("{content}")
    folders = [Path.cwd(), *Path.cwd().parents, colab, *colab.glob("drive/MyDrive"), *colab.glob("drive/MyDrive/*")]
    toml = [folder / "pyproject.toml" for folder in folders]
    found = [file.parent for file in toml if file.is_file() and 'name = "labkit"' in file.read_text("utf-8")]
    found += [wheel for folder in folders for wheel in sorted(folder.glob("labkit-*.whl"), reverse=True)]
    {place}
    if not place:
        raise Missing("labkit is not installed: put its wheel (labkit-….whl) beside this notebook; on Colab, upload it "
                      "to the files on the left, or mount the Drive folder that holds it; then run this cell again.")
    if subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", place]).returncode:
        raise Missing(f"pip could not install {{place}}; its reason stands above. Mend it, then run this cell again.")
    importlib.invalidate_caches()
    import labkit
"""


def cell(source: str = "", extras: Sequence[str] = (), content: str = "/content") -> str:
    """The code of the cell. `source` is the address of the repository, `extras` what the lesson needs besides the
    core, `content` the folder of the notebook service's runtime.
    """
    named = f"[{','.join(extras)}]" if extras else ""
    otherwise = f'"labkit{named} @ git+{source}"' if source else "None"
    here = f'str(found[0]) + "{named}"' if named else "str(found[0])"
    return CELL.format(content=content, place=f"place = {here} if found else {otherwise}").rstrip("\n")


def badge(source: str, notebook: str) -> str:
    """The line that opens `notebook` (relative to the repository) on Colab; empty where `source` is not on GitHub."""
    found = re.fullmatch(r"https://github\.com/([\w.-]+/[\w.-]+?)(?:\.git)?/?", source)
    if not found:
        return ""
    address = f"https://colab.research.google.com/github/{found[1]}/blob/main/{notebook}"
    return f"[![Open this notebook in Colab]({BADGE})]({address})"


def source_of(project: Path) -> str:
    """`[project.urls] Source` of the `pyproject.toml` in the folder `project`; empty where it is not set."""
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib  # comes with pytest on 3.10
    file = project / "pyproject.toml"
    if not file.is_file():
        return ""
    urls = tomllib.loads(file.read_text(encoding="utf-8")).get("project", {}).get("urls", {})
    return str(urls.get("Source", ""))
