"""A person's path through a notebook: a real JupyterLab, a real browser, all cells run, a slider moved by keyboard.

Screenshots go to the folder named by LABKIT_SCREENSHOTS, else to the test's own.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from importlib.util import find_spec
from pathlib import Path

import pytest

from labkit.zoo import store

ROOT = Path(__file__).resolve().parents[1]
CHROMIUM = "/usr/bin/chromium"
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()
WEIGHTS = f"{store.record(store.find('micro-bert-en'))['parameters']:,} weights"
LESSON = ROOT / "notebooks" / "03_fewshot" / "02_pet.ipynb"
VIEW = "application/vnd.jupyter.widget-view+json"
SETTINGS = {
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "notebook-extension/tracker": {"windowingMode": "none"},  # so that cells out of sight are in the page too
}
CELLS = (
    "import labkit\nlab = labkit.setup(lesson='03/02')",
    "from labkit.widgets import masking_explorer, model_tree, prompt_explorer, training_curve\n"
    "from labkit.zoo import load\nmodel, tokenizer = load('micro-bert-en')",
    "prompt_explorer(model, tokenizer, 'the film was slow , but the end is lovely .', '{text} it was {mask} .',\n"
    "                {'negative': ('bad', 'awful'), 'positive': ('good', 'great')})",
    "print('the cell after it', 6 * 7)",
    "training_curve({'up': [1 + (step % 7) / 9 for step in range(60)], 'down': [3 / step for step in range(1, 80)]})",
    "model_tree(model)",
    "masking_explorer(tokenizer, 'the film was slow , but the end is lovely .')",
)
# a widget of the notebook above: words of its picture, its slider, the key, what it then shows
SLIDERS = [
    ("The model reads", "temperature", "ArrowRight"),
    (WEIGHTS, "depth", "ArrowLeft"),
    ("hides some tokens", "seed", "ArrowRight"),
]

pytestmark = [
    pytest.mark.skipif(not Path(CHROMIUM).exists(), reason=f"no browser at {CHROMIUM}: apt-get install chromium"),
    *(
        pytest.mark.skipif(find_spec(name) is None, reason=f"{name} is not installed: pip install '.[all]'")
        for name in ("jupyterlab", "playwright")
    ),
]


class Server:
    """A JupyterLab in a folder of its own, that neither reads nor writes anything of the person who runs the tests."""

    def __init__(self, folder):
        self.files, self.token = folder / "files", secrets.token_hex(16)
        self.files.mkdir()
        for name, values in SETTINGS.items():
            path = folder / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(values), encoding="utf-8")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        places = {
            "JUPYTER_CONFIG_DIR": "config", "JUPYTER_DATA_DIR": "data", "JUPYTER_RUNTIME_DIR": "runtime",
            "JUPYTERLAB_SETTINGS_DIR": "settings", "JUPYTERLAB_WORKSPACES_DIR": "workspaces", "IPYTHONDIR": "ipython",
            "LABKIT_CACHE": "cache",
        }  # fmt: skip
        own = {name: str(folder / place) for name, place in places.items()}
        environment = {**os.environ, **own, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        self.log = folder / "server.log"
        command = [
            sys.executable, "-m", "jupyterlab", "--no-browser", "--ServerApp.ip=127.0.0.1",
            f"--ServerApp.port={self.port}", "--ServerApp.port_retries=0", f"--IdentityProvider.token={self.token}",
            "--LabApp.expose_app_in_browser=True", f"--ServerApp.root_dir={self.files}",
            *(["--allow-root"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []),
        ]  # fmt: skip
        with open(self.log, "w", encoding="utf-8") as log:
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)

    def address(self, path):
        return f"http://127.0.0.1:{self.port}/{path}"

    def wait(self, seconds=60):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                with urllib.request.urlopen(self.address(f"api/status?token={self.token}"), timeout=5):
                    return
            except OSError:
                time.sleep(0.2)
        raise AssertionError(f"JupyterLab did not start:\n{self.log.read_text(encoding='utf-8')[-3000:]}")

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    one = Server(tmp_path_factory.mktemp("jupyterlab"))
    try:
        one.wait()
        yield one
    finally:
        one.stop()


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        one = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield one
        one.close()


@pytest.fixture
def page(browser):
    one = new_page(browser)
    yield one
    one.close()


@pytest.fixture(scope="module")
def desk(browser, server):
    """A page with the notebook of CELLS, all of them run."""
    (server.files / "small.ipynb").write_text(written(CELLS), encoding="utf-8")
    one = new_page(browser)
    open_notebook(one, server, "small.ipynb")
    run_all(one)
    yield one
    one.close()


def new_page(browser):
    one = browser.new_page(viewport={"width": 1400, "height": 1250})
    one.set_default_timeout(45_000)
    return one


@pytest.fixture
def screenshot(tmp_path):
    """Takes a picture of a page under a name."""
    folder = Path(os.environ.get("LABKIT_SCREENSHOTS") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    return lambda page, name: page.screenshot(path=folder / f"jupyterlab_{name}.png")


def written(cells):
    import nbformat

    kernel = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
    notebook = nbformat.v4.new_notebook(metadata={"kernelspec": kernel})
    notebook.cells = [nbformat.v4.new_code_cell(cell) for cell in cells]
    return nbformat.writes(notebook)


def open_notebook(page, server, name):
    page.goto(server.address(f"lab/tree/{name}?token={server.token}&reset"))
    page.wait_for_selector(".jp-NotebookPanel .jp-Notebook .jp-Cell")
    page.wait_for_function(
        "() => window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'"
    )


def command(page, name, arguments=None):
    return page.evaluate(
        "([name, args]) => window.jupyterapp.commands.execute(name, args).then(() => true)", [name, arguments or {}]
    )


def outputs(page):
    """The outputs of all code cells of the notebook that is open, as nbformat has them."""
    notebook = page.evaluate("() => window.jupyterapp.shell.currentWidget.content.model.toJSON()")
    return [output for cell in notebook["cells"] for output in cell.get("outputs", [])]


def run_all(page):
    """Run every cell; comes back when the last one is done. No cell may end in an error."""
    command(page, "notebook:run-all-cells")
    errors = [output for output in outputs(page) if output["output_type"] == "error"]
    assert not errors, re.sub(r"\x1b\[[\d;]*m", "", "\n".join(errors[0]["traceback"]))
    assert outputs(page), "no cell gave any output"


def settled(read, old, seconds=20):
    """What `read()` gives once it differs from `old` and stays."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        now = read()
        if now != old:
            time.sleep(0.3)
            if read() == now:
                return now
        time.sleep(0.1)
    raise AssertionError("nothing changed")


def widget(page, words):
    """The widget, live, whose picture has these words or, for an image, this alternative text."""
    shown = page.locator(".jp-OutputArea-output .widget-vbox")
    return shown.filter(has=page.locator(f".widget-html-content:has-text({json.dumps(words)})")).first


def move(page, explorer, slider, key, times=5):
    """Press a key on a slider; the bytes of the picture before and after."""
    picture = explorer.locator(".widget-html-content").last
    picture.scroll_into_view_if_needed()
    before, said = picture.screenshot(), picture.inner_html()
    explorer.locator(".widget-slider").filter(has_text=slider).locator(".noUi-handle").focus()
    for _ in range(times):
        page.keyboard.press(key)
    settled(picture.inner_html, said)
    return before, picture.screenshot()


@pytest.mark.parametrize(("words", "slider", "key"), SLIDERS, ids=[slider for _, slider, _ in SLIDERS])
def test_a_slider_moved_by_keyboard_changes_the_picture(desk, screenshot, words, slider, key):
    explorer = widget(desk, words)
    before, after = move(desk, explorer, slider, key, times=1 if slider == "depth" else 5)
    assert before != after
    explorer.scroll_into_view_if_needed()
    screenshot(desk, f"small_{slider}")
    if slider == "temperature":
        assert "temperature 1.5" in explorer.inner_text()


def test_the_curve_is_an_image_with_words_and_moves(desk, screenshot):
    image = desk.locator(".widget-html-content img").first
    explorer = desk.locator(".jp-OutputArea-output .widget-vbox").filter(has=desk.locator("img")).first
    assert image.get_attribute("alt").startswith("Line plot of the smoothed loss")
    before, after = move(desk, explorer, "smoothing", "ArrowLeft")
    assert before != after
    screenshot(desk, "small_smoothing")


def test_an_error_is_one_sentence_in_the_widget(desk, screenshot):
    explorer = widget(desk, "The model reads")
    box = explorer.locator(".widget-text").filter(has_text="template").locator("input")
    picture = explorer.locator(".widget-html-content").last
    good = picture.inner_text()
    box.fill("{text} <b>it was</b> {mask")
    alert = explorer.get_by_role("alert").filter(has_text="is never closed")
    alert.wait_for()
    assert "<b>it was</b>" in alert.inner_text()  # markup is text
    assert picture.inner_text() == good
    screenshot(desk, "wrong_template")
    box.fill("{text} <b>it was</b> {mask}")
    assert "<" in settled(picture.inner_text, good) and explorer.get_by_role("alert").count() == 0
    assert not [output for output in outputs(desk) if output["output_type"] == "error"]


def test_dark_pages_show_light_text(desk, screenshot):
    cell = widget(desk, "The model reads").locator("td").filter(has_text="%").first

    def darkest():
        colour = cell.evaluate("node => getComputedStyle(node).color")
        return min(int(part) for part in re.findall(r"\d+", colour)[:3])

    light = darkest()
    command(desk, "apputils:change-theme", {"theme": "JupyterLab Dark"})
    try:
        desk.wait_for_selector("body[data-jp-theme-light=false]", state="attached")
        assert light < 100 and settled(darkest, light) > 150
        for words, _, _ in SLIDERS:
            widget(desk, words).scroll_into_view_if_needed()
            screenshot(desk, f"dark_{words.split()[0]}")
    finally:
        command(desk, "apputils:change-theme", {"theme": "JupyterLab Light"})


@pytest.mark.skipif(not LESSON.is_file(), reason="this lesson is not built: labkit notebooks build 03/02")
def test_a_lesson_runs_and_its_prompt_answers_to_the_keyboard(server, page, screenshot):
    shutil.copy(LESSON, server.files / LESSON.name)
    open_notebook(page, server, LESSON.name)
    run_all(page)
    explorer = widget(page, "The model reads")
    before, after = move(page, explorer, "temperature", "ArrowRight")
    assert before != after
    screenshot(page, "lesson")


def test_a_saved_notebook_without_widgets_shows_the_static_picture(server, page, screenshot):
    """As the build tool leaves it: no widget view, no state; opened without running, and not trusted."""
    from nbclient import NotebookClient
    from nbformat import reads, write

    notebook = reads(written(CELLS), as_version=4)
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(server.files)}}).execute()
    shown = [o.data for cell in notebook.cells for o in cell.outputs if VIEW in o.get("data", {})]
    assert len(shown) == 4
    for bundle in shown:
        assert {"text/plain", "text/html"} < set(bundle)
        del bundle[VIEW]
    del notebook.metadata["widgets"]
    write(notebook, server.files / "saved.ipynb")

    open_notebook(page, server, "saved.ipynb")
    static = page.locator(".jp-OutputArea-output[data-mime-type='text/html']")
    assert static.count() == 4 and page.locator(".widget-vbox").count() == 0
    said = " ".join(static.all_inner_texts())
    for words in ("The model reads", "The answer", WEIGHTS, "hides some tokens"):
        assert words in said
    assert static.locator("img").get_attribute("alt").startswith("Line plot")
    assert static.locator("details").first.evaluate("node => node.open")
    screenshot(page, "saved_untrusted")
    static.last.scroll_into_view_if_needed()
    screenshot(page, "saved_untrusted_end")
