"""The bundle that a notebook gets, the shell's manners, the package's names, and a run under nbval."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from ipywidgets import IntSlider

import labkit.widgets
from labkit.errors import UsageError
from labkit.widgets import Shown
from labkit.widgets.shown import VIEW, Explorer, Picture

ROOT = Path(__file__).resolve().parents[2]


def halves(number=4):
    """Shows the half of an even number."""

    def picture(number):
        if number % 2:
            raise UsageError(f"<b>{number}</b> is odd")
        if number < 0:
            raise ValueError("a root of a negative number")
        return Picture(f"<p>half: {number // 2}</p>", f"half {number // 2}")

    return Explorer(picture, number=IntSlider(number, min=-10, max=10))


def test_the_bundle_has_the_widget_the_picture_and_its_words():
    shown = halves()
    bundle = shown._repr_mimebundle_()
    assert bundle["text/html"] == "<p>half: 2</p>" and bundle["text/plain"] == "half 2" == repr(shown)
    assert bundle[VIEW]["model_id"] == shown.widget.model_id
    assert isinstance(shown, Shown)
    shown.number.value = 8
    assert shown._repr_mimebundle_()["text/html"] == "<p>half: 4</p>" == shown.view.value


def test_an_error_is_a_sentence_and_the_last_picture_stays():
    shown = halves()
    shown.number.value = 5
    assert "&lt;b&gt;5&lt;/b&gt; is odd" in shown.message.value and 'role="alert"' in shown.message.value
    assert shown.view.value == "<p>half: 2</p>" == shown._repr_mimebundle_()["text/html"]
    shown.number.value = -2
    assert "ValueError: a root of a negative number" in shown.message.value
    shown.number.value = 6
    assert shown.message.value == "" and shown.view.value == "<p>half: 3</p>"


def test_the_first_error_is_the_callers():
    with pytest.raises(UsageError, match="is odd"):
        halves(3)


def test_every_name_resolves_and_importing_its_file_does_not_take_it_away():
    code = (
        "import labkit.widgets, sys\n"
        "print('ipywidgets' in sys.modules)\n"
        "from labkit.widgets.model_tree import compute\n"  # the file first
        "from labkit.widgets import model_tree, training_curve\n"
        "from labkit.widgets.training_curve import smoothed\n"  # the name first
        "import labkit.widgets.training_curve\n"
        "print(all(callable(one) for one in (model_tree, training_curve, labkit.widgets.training_curve)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.split() == ["False", "True"]
    for name in set(labkit.widgets.__all__) - {"course_map"}:
        assert callable(getattr(labkit.widgets, name)) and name in dir(labkit.widgets)
    with pytest.raises(AttributeError, match="no attribute 'dashboard'"):
        _ = labkit.widgets.dashboard


def test_cells_with_widgets_and_cells_after_them_pass_under_nbval(tmp_path):
    setting_up = (
        "from transformers import BertTokenizerFast\n"
        "from labkit.widgets import masking_explorer, training_curve\n"
        "words = '[PAD] [UNK] [CLS] [SEP] [MASK] the film was good bad .'.split()\n"
        "tokenizer = BertTokenizerFast(vocab={word: number for number, word in enumerate(words)})"
    )
    cells = [
        setting_up,
        "masking_explorer(tokenizer, 'the film was good .')",
        "curve = training_curve({'run': [3.0, 2.0, 1.5, 1.2]})\ncurve",
        "curve.smoothing.value = 0.5\ncurve.static.alt",
    ]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = nbformat.v4.new_notebook(metadata={"kernelspec": kernel})
    notebook.cells = [nbformat.v4.new_code_cell(cell) for cell in cells]
    for count, cell in enumerate(notebook.cells, 1):
        cell.execution_count = count
    words = "Line plot of the smoothed loss (nats) against step: run from 3 to 1.51 in 4 steps, lowest 1.51 at step 4."
    notebook.cells[-1].metadata["tags"] = ["nbval-check-output"]
    notebook.cells[-1].outputs = [
        nbformat.v4.new_output("execute_result", {"text/plain": repr(words)}, execution_count=4)
    ]
    nbformat.write(notebook, tmp_path / "widgets.ipynb")
    command = [sys.executable, "-m", "pytest", "--nbval-lax", "--nbval-current-env", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, f"--rootdir={tmp_path}", str(tmp_path / "widgets.ipynb")],
        capture_output=True, text=True, cwd=tmp_path, env=_environment(tmp_path), timeout=120,
    )  # fmt: skip
    assert re.search(r"\b4 passed", done.stdout), done.stdout + done.stderr


def _environment(folder):
    import os

    return {**os.environ, "PYTHONPATH": str(ROOT), "IPYTHONDIR": str(folder / "ipython")}
