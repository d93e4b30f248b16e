"""The project itself: what is exported, which way the layers point, what is pinned, what the wheel holds."""

from __future__ import annotations

import graphlib
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import grimp
import pytest
from packaging.requirements import Requirement

import labkit

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # comes with pytest on 3.10

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def run(*command, cwd=ROOT, **settings):
    return subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True, **settings)


@pytest.mark.parametrize("module", ["labkit", "labkit.cli"])
def test_import_loads_nothing_heavy(module):
    code = f"import sys, {module}; print(sorted(set(sys.modules) & {{'torch', 'transformers', 'numpy', 'sklearn'}}))"
    assert run(sys.executable, "-c", code).stdout.strip() == "[]"


@pytest.mark.parametrize("name", sorted(labkit.__all__))
def test_every_export_resolves(name):
    value = getattr(labkit, name)
    assert name == "__version__" or callable(value)
    assert name in dir(labkit)


def test_an_unknown_attribute_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'labkit' has no attribute 'Trainer'"):
        _ = labkit.Trainer


# Layers


def lint_imports(folder):
    code = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
    return run(sys.executable, "-c", code, cwd=folder, env={"PYTHONPATH": str(folder), "PATH": ""})


@pytest.fixture
def copy(tmp_path):
    """A copy of what a wheel is built from."""
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "labkit", tmp_path / "labkit", ignore=ignore)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def test_layers_point_one_way():
    result = lint_imports(ROOT)
    assert result.returncode == 0, result.stdout + result.stderr


def test_no_files_import_each_other():
    """Neither at once nor later, in a function or for types alone; the package's own front door is left out."""
    graph = grimp.build_graph("labkit", cache_dir=None)
    own = graph.modules - {"labkit"}
    needs = {module: graph.find_modules_directly_imported_by(module) & own for module in own}
    tuple(graphlib.TopologicalSorter(needs).static_order())  # a CycleError names the circle


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("config.py", "import labkit.tasks", "Layers point one way"),
        ("fewshot/planted.py", "import labkit.compression", "Layers point one way"),
        ("cuda/planted.py", "import labkit.config", "Kernels know nothing"),
        ("fewshot/planted.py", "import labkit.cuda", "Only parallel and compression use kernels"),
        ("planted.py", "", "Layers point one way"),
    ],
)
def test_a_wrong_import_is_caught(copy, module, line, contract):
    with open(copy / "labkit" / module, "a", encoding="utf-8") as stream:
        stream.write(f'"""Planted."""\n{line}\n' if "planted" in module else f"\n{line}\n")
    result = lint_imports(copy)
    assert result.returncode == 1
    assert re.search(rf"{contract}.*BROKEN", result.stdout), result.stdout


# Pins and settings


def pins():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def test_constraints_are_exact_and_name_no_machine():
    for line in pins():
        assert re.fullmatch(r"[A-Za-z0-9_.-]+==[0-9][A-Za-z0-9.]*", line), line
    assert "torch==2.13.0" in pins()


def test_every_requirement_has_a_pin_within_its_range(project):
    versions = {re.sub(r"[_.]", "-", name).lower(): version for name, version in (pin.split("==") for pin in pins())}
    table = project["project"]
    extras = table["optional-dependencies"]
    lines = table["dependencies"] + [line for name, lines in extras.items() if name != "all" for line in lines]
    for requirement in map(Requirement, lines):
        assert versions[requirement.name.lower()] in requirement.specifier, requirement
        assert not any(part.operator in ("<", "<=", "==", "~=") for part in requirement.specifier), requirement


def test_extras_are_the_promised_ones(project):
    extras = set(project["project"]["optional-dependencies"])
    assert extras == set("lab demos retrieval quantize openvino deepspeed classroom minilm llm site dev all".split())
    everything = Requirement(project["project"]["optional-dependencies"]["all"][0])
    assert everything.extras == extras - {"all", "deepspeed", "llm", "openvino"}


def test_the_address_of_the_repository_is_unset(project):
    assert project["project"]["urls"] == {}


def test_no_text_names_a_path_of_the_machine_it_was_written_on():
    listed = run("git", "ls-files", "--cached", "--others", "--exclude-standard")
    if listed.returncode:
        pytest.skip("not a git checkout")
    home = re.compile(r"(?<![\w.:/~])/(?:work|home|root|farm|opt)/\w")
    for name in listed.stdout.splitlines():
        path = ROOT / name
        if path.suffix in {".py", ".md", ".toml", ".yml", ".txt", ".json", ".ipynb", ".cff", ""} and path.is_file():
            found = home.search(path.read_text(encoding="utf-8"))
            assert not found, f"{name}: {found.group(0)}"


@pytest.mark.parametrize("target", ["pipeline", "test", "lab", "zoo", "notebooks", "clean"])
def test_make_has_its_targets(target):
    if shutil.which("make") is None:
        pytest.skip("no make here")
    result = run("make", "-n", target)
    assert result.returncode == 0, result.stderr
    assert "labkit:" in result.stdout  # says what it is doing


def test_ci_runs_make_test():
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & 0o111
    assert run("bash", "-n", script).returncode == 0
    assert script.read_text(encoding="utf-8").splitlines()[-1] == "make test"


def test_pictures_of_the_readme_have_alt_text():
    pictures = re.findall(r"!\[(.*?)\]\((.*?)\)", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert pictures
    for text, address in pictures:
        assert len(text) > 20, address


# The wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    source = tmp_path_factory.mktemp("source")
    shutil.copytree(ROOT / "labkit", source / "labkit", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for folder in ("tests", "notebooks", "benchmarks"):
        (source / folder).mkdir()
        (source / folder / "planted.py").write_text("", encoding="utf-8")
    result = run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", source / "dist", cwd=source)
    assert result.returncode == 0, result.stdout + result.stderr
    (found,) = (source / "dist").glob("*.whl")
    return found


def test_wheel_holds_the_package_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names} == {"labkit", f"labkit-{labkit.__version__}.dist-info"}
    there = {str(path.relative_to(ROOT)) for path in (ROOT / "labkit").rglob("*.py")}
    assert there <= set(names)


def test_wheel_holds_types_lexicons_weights_and_kernels(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    assert "labkit/py.typed" in names
    data = [*(ROOT / "labkit/world/lexicon").glob("*.json"), *(ROOT / "labkit/results").glob("*.json")]
    data += [path for path in (ROOT / "labkit/zoo/weights").rglob("*") if path.is_file()]
    data += [path for ending in ("cu", "cuh", "h") for path in (ROOT / "labkit/cuda").glob(f"*.{ending}")]
    assert data
    assert {str(path.relative_to(ROOT)) for path in data} <= names


def test_wheel_installs_and_runs_elsewhere(wheel, tmp_path):
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--no-deps",
        "--no-index",
        "--quiet",
        "--target",
        tmp_path / "site",
        wheel,
    ]
    installed = run(*pip)
    assert installed.returncode == 0, installed.stderr
    main = "from labkit.cli import main; main(['world', 'sample', 'reviews'])"
    code = f"import sys; sys.path.insert(0, {str(tmp_path / 'site')!r}); {main}"
    result = run(sys.executable, "-c", code, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert len(result.stdout.splitlines()) == 5
