"""The set-up cell: where it finds labkit, what it gives to pip, what it says when it finds nothing."""

from __future__ import annotations

import json
import os
import shutil
import site
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from labkit.course import bootstrap, reading
from labkit.course.lessons import LESSONS
from tests.course.small import course

ROOT = Path(__file__).resolve().parents[2]
PIP = """\
import json, os, sys
from pathlib import Path

folder = Path(os.environ["FAKE"])
(folder / "asked.json").write_text(json.dumps(sys.argv[1:]))
if not (folder / "broken").exists():
    (folder / "site" / "labkit.py").write_text("")
sys.exit((folder / "broken").exists())
"""


class Machine:
    """A Python without labkit, with a pip that only writes down what it is asked, and a folder for each place."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.here, self.content = folder, folder / "clone" / "notebooks" / "03", folder / "content"
        for part in (folder / "site" / "pip", self.here, self.content):
            part.mkdir(parents=True)
        (folder / "site" / "pip" / "__init__.py").touch()
        (folder / "site" / "pip" / "__main__.py").write_text(PIP)

    def put(self, place: str, name: str = "labkit-0.1.0-py3-none-any.whl", text: str = "") -> Path:
        path = self.folder / place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def run(self, *arguments: str, **settings) -> subprocess.CompletedProcess:
        code = bootstrap.cell(*arguments, content=str(self.content), **settings) + "\nprint('ready', labkit.__name__)"
        where = {**os.environ, "PYTHONPATH": str(self.folder / "site"), "FAKE": str(self.folder)}
        command = [sys.executable, "-S", "-c", code]
        return subprocess.run(command, cwd=self.here, env=where, capture_output=True, text=True)

    def asked(self) -> str | None:
        """What pip was asked to install."""
        path = self.folder / "asked.json"
        if not path.exists():
            return None
        command = json.loads(path.read_text())
        assert command[:2] == ["install", "--quiet"] and len(command) == 3
        return command[2]


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


def test_where_labkit_is_installed_it_is_imported_and_nothing_else(machine):
    machine.put("site", "labkit.py")
    machine.put("clone/notebooks/03")
    result = machine.run()
    assert result.stdout == "ready labkit\n" and result.stderr == ""
    assert machine.asked() is None


@pytest.mark.parametrize(
    "place",
    ["clone/notebooks/03", "clone/notebooks", "clone", "content", "content/drive/MyDrive",
     "content/drive/MyDrive/Colab Notebooks"],
)  # fmt: skip
def test_a_wheel_is_found_and_installed(machine, place):
    wheel = machine.put(place)
    result = machine.run()
    assert result.stdout == "ready labkit\n", result.stderr
    assert machine.asked() == str(wheel)


def test_the_newest_of_two_wheels_in_one_folder_and_the_nearer_of_two_folders(machine):
    machine.put("clone/notebooks/03", "labkit-0.1.0-py3-none-any.whl")
    newer = machine.put("clone/notebooks/03", "labkit-0.2.0-py3-none-any.whl")
    machine.put("content", "labkit-0.3.0-py3-none-any.whl")
    machine.run()
    assert machine.asked() == str(newer)


def test_a_clone_goes_before_a_wheel(machine):
    machine.put("clone", "pyproject.toml", '[project]\nname = "labkit"\n')
    machine.put("clone/notebooks/03")
    machine.run()
    assert machine.asked() == str(machine.folder / "clone")


def test_another_project_s_folder_is_no_clone(machine):
    machine.put("clone", "pyproject.toml", '[project]\nname = "other"\n')
    wheel = machine.put("content")
    machine.run()
    assert machine.asked() == str(wheel)


def test_the_extras_of_a_lesson_are_asked_for(machine):
    wheel = machine.put("content")
    machine.run("", ("retrieval", "quantize"))
    assert machine.asked() == f"{wheel}[retrieval,quantize]"


SOURCE = "https://github.com/someone/labkit"


def test_an_address_is_used_only_where_one_is_set_and_nothing_is_nearer(machine):
    assert machine.run(SOURCE, ("retrieval",)).stdout == "ready labkit\n"
    assert machine.asked() == f"labkit[retrieval] @ git+{SOURCE}"
    (machine.folder / "site" / "labkit.py").unlink()
    wheel = machine.put("content")
    machine.run(SOURCE)
    assert machine.asked() == str(wheel)
    assert "http" not in bootstrap.cell()


def test_where_nothing_is_found_one_sentence_says_what_to_do(machine):
    result = machine.run()
    assert machine.asked() is None and "ready" not in result.stdout
    assert "put its wheel (labkit-….whl) beside this notebook; on Colab, upload it" in result.stderr


def test_what_pip_cannot_do_is_said(machine):
    wheel = machine.put("content")
    machine.put(".", "broken")
    result = machine.run()
    assert f"pip could not install {wheel}" in result.stderr and "ready" not in result.stdout


def test_in_a_notebook_the_sentence_stands_alone(machine):
    shell = textwrap.dedent("""
        import sys
        from IPython.core.interactiveshell import InteractiveShell
        sys.modules["labkit"] = None  # what the import system takes for "not there"
        shell = InteractiveShell.instance()
        result = shell.run_cell(sys.stdin.read())
        assert not result.success
    """)
    result = subprocess.run(
        [sys.executable, "-c", shell], cwd=machine.here, capture_output=True, text=True,
        input=bootstrap.cell(content=str(machine.content)), env={**os.environ, "IPYTHONDIR": str(machine.folder)},
    )  # fmt: skip
    said = (result.stdout + result.stderr).strip()
    assert result.returncode == 0, said
    assert said.startswith("labkit is not installed: ") and len(said.splitlines()) == 1


def test_the_cell_is_short_folded_and_pins_nothing():
    code = bootstrap.cell(SOURCE, ("retrieval",))
    assert len(code.splitlines()) <= 26 and code.startswith("# @title Set-up\n")
    assert bootstrap.METADATA["cellView"] == "form" and bootstrap.METADATA["jupyter"] == {"source_hidden": True}
    assert not any(word in code for word in ("torch", "numpy", "=="))


@pytest.mark.parametrize("address", [SOURCE, SOURCE + ".git", SOURCE + "/"])
def test_the_badge_opens_the_notebook_of_an_address_on_github(address):
    line = bootstrap.badge(address, "notebooks/03_fewshot/02_pet.ipynb")
    path = "github/someone/labkit/blob/main/notebooks/03_fewshot/02_pet.ipynb"
    assert line.startswith("[![Open this notebook in Colab](") and line.endswith(f"colab.research.google.com/{path})")


@pytest.mark.parametrize("address", ["", "https://a.example/b/c", "https://github.com/x"])
def test_there_is_no_badge_without_one(address):
    assert bootstrap.badge(address, "a.ipynb") == ""


def test_address_and_badge_come_from_pyproject(tmp_path):
    item = course(tmp_path)
    assert "colab" not in reading.assemble(item).cells[0].source
    (tmp_path / "pyproject.toml").write_text(f'[project]\nname = "labkit"\n[project.urls]\nSource = "{SOURCE}"\n')
    title, setup = reading.assemble(item).cells[:2]
    assert f"{SOURCE[8:]}/blob/main/notebooks/03_fewshot/02_pet.ipynb" in title.source.replace("github/", "github.com/")
    assert f"git+{SOURCE}" in setup.source
    assert bootstrap.source_of(ROOT) == ""


# A machine with what labkit needs and the wheel alone


def test_a_lesson_runs_with_the_wheel_alone(tmp_path):
    source = tmp_path / "source"
    shutil.copytree(ROOT / "labkit", source / "labkit", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path / "dist"]
    subprocess.run(build, cwd=source, check=True, capture_output=True)
    (wheel,) = (tmp_path / "dist").glob("labkit-*.whl")
    python = environment(tmp_path / "venv")
    install = [python, "-m", "pip", "install", "--no-deps", "--no-index", "--ignore-installed", "--quiet", wheel]
    subprocess.run(install, check=True, capture_output=True)
    item = next(item for item in LESSONS if item.exists(ROOT / "notebooks"))
    (tmp_path / "lesson").mkdir()
    shutil.copy(ROOT / "notebooks" / item.text, tmp_path / "lesson")
    result = subprocess.run(
        [python, "-c", RUN, item.text.name], cwd=tmp_path / "lesson", capture_output=True, text=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": "", "LABKIT_CACHE": str(tmp_path / "cache")},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-3000:]
    assert str(tmp_path / "venv") in result.stdout


RUN = """\
import sys, jupytext, nbclient, nbformat
from labkit.course import bootstrap
notebook = jupytext.read(sys.argv[1])
notebook.cells.insert(1, nbformat.v4.new_code_cell(bootstrap.cell()))
notebook.cells.append(nbformat.v4.new_code_cell("print(labkit.__file__)"))
nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
stderr = [o.text for c in notebook.cells for o in c.get("outputs", ()) if o.get("name") == "stderr"]
assert not stderr, stderr
print(notebook.cells[-1].outputs[0].text)
"""


def environment(folder: Path) -> Path:
    """A virtual environment that sees the packages of this one, but not its labkit, if that is installed editably."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (packages,) = folder.rglob("site-packages")
    # A plain line of a .pth file adds a folder without reading the .pth files in it, by which editables are found.
    (packages / "shared.pth").write_text("".join(f"{path}\n" for path in site.getsitepackages()))
    return next(path for path in (folder / "bin" / "python", folder / "Scripts" / "python.exe") if path.exists())
