"""`labkit serve` as a real program on a loopback port: its answers, its end, and what attackers try."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from http.client import HTTPConnection
from pathlib import Path

import pytest

from labkit.apps import load_app, save_app
from labkit.cli import main
from labkit.serving import MAX_CHARACTERS

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()
MARKUP = "<img src=x onerror=window.hit=1>"
FIELD = f"text {MARKUP}"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(folder, port):
    """`labkit serve` in a process of its own, ready to answer."""
    command = [sys.executable, "-m", "labkit", "serve", str(folder), "--port", str(port)]
    program = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    line = program.stdout.readline()
    assert f"http://127.0.0.1:{port}/" in line, program.communicate(timeout=30)[1]
    return program


@pytest.fixture(scope="module")
def app_folder(tiny_parts, tmp_path_factory):
    """An app whose every name is an attack."""
    model, tokenizer, method, task = tiny_parts()
    task = dataclasses.replace(
        task, name=f"world/{MARKUP}", fields=(FIELD,), labels=("negative", MARKUP), splits={}, words={}, patterns=()
    )
    folder = tmp_path_factory.mktemp("served") / "app"
    return save_app(
        folder, model, tokenizer, type(method)(tokenizer, (FIELD,)), task, examples=[{FIELD: f"{MARKUP} the film"}]
    )


@pytest.fixture(scope="module")
def server(app_folder):
    """(program, port) of a running server, for all tests of this file."""
    port = free_port()
    program = start(app_folder, port)
    yield program, port
    program.kill()
    program.communicate(timeout=30)


@pytest.fixture
def port(server):
    return server[1]


def ask(port, path, *, method="GET", body=None, headers=None):
    """(status, headers, body) of a request whose path is sent exactly as given."""
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    connection.putrequest(method, path, skip_host=bool(headers and "Host" in headers))
    data = json.dumps(body).encode() if body is not None else b""
    for name, value in {
        "Content-Type": "application/json",
        "Content-Length": str(len(data)),
        **(headers or {}),
    }.items():
        connection.putheader(name, value)
    connection.endheaders(data)
    answer = connection.getresponse()
    return answer.status, dict(answer.getheaders()), answer.read().decode("utf-8", "replace")


def predict(port, *texts):
    """The last event and its data from the API endpoint `predict`."""
    status, _, body = ask(port, "/gradio_api/call/predict", method="POST", body={"data": list(texts)})
    assert status == 200, body
    body = ask(port, f"/gradio_api/call/predict/{json.loads(body)['event_id']}")[2]
    lines = [line for line in body.splitlines() if line]
    return lines[-2].removeprefix("event: "), json.loads(lines[-1].removeprefix("data: "))


def test_the_api_answers_as_the_app_does(port, app_folder):
    event, data = predict(port, "the film was good")
    assert event == "complete"
    (expected,) = load_app(app_folder).predict("the film was good")
    assert data[0]["label"] == expected["label"]
    found = {row["label"]: row["confidence"] for row in data[0]["confidences"]}
    assert found == pytest.approx(expected["probabilities"], abs=1e-5)


def test_the_api_takes_the_longest_text_and_no_longer(port):
    assert predict(port, "a" * MAX_CHARACTERS)[0] == "complete"
    assert predict(port, "a" * (MAX_CHARACTERS + 1))[0] == "error"
    assert predict(port, " ")[0] == "error"


@pytest.mark.parametrize(
    "path",
    [
        "../../etc/passwd",
        "..%2f..%2fetc%2fpasswd",
        "..%252f..%252fetc%252fpasswd",
        "%2e%2e/%2e%2e/etc/passwd",
        "....//....//etc/passwd",
        "/etc/passwd",
        "//etc/passwd",
        "%2fetc%2fpasswd",
        "/ETC/passwd",
        "/proc/self/environ",
        "file:///etc/passwd",
    ],
)
@pytest.mark.parametrize("prefix", ["/gradio_api/file=", "/file=", "/gradio_api/FILE=", "/static/", "/assets/", "/"])
def test_no_file_of_the_machine_is_served(port, prefix, path):
    status, _, body = ask(port, prefix + path)
    assert status in (400, 403, 404), body[:200]
    assert "root:" not in body
    assert "PATH=" not in body


def test_neither_the_app_nor_a_link_to_it_is_served(port, app_folder, tmp_path):
    (tmp_path / "link").symlink_to("/etc/passwd")
    for path in (app_folder / "config.json", tmp_path / "link", Path(__file__)):
        assert ask(port, f"/gradio_api/file={path}")[0] in (403, 404)


@pytest.mark.parametrize("path", ["/gradio_api/file=", "/gradio_api/proxy=", "/proxy=", "/file="])
def test_the_server_fetches_nothing_for_anyone(port, path):
    """Server-side request forgery: a listener that must not be called."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.settimeout(0.5)
        status = ask(port, f"{path}http://127.0.0.1:{listener.getsockname()[1]}/x")[0]
        assert status in (400, 403, 404)
        with pytest.raises(TimeoutError):
            listener.accept()


def test_a_path_in_place_of_a_text_is_text(port):
    """A handler given a file record neither reads it nor hands it back."""
    for record in ({"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}, ["/etc/passwd"], 3, None):
        assert "root:" not in json.dumps(predict(port, record))
    listed = ask(port, "/gradio_api/info")[2]
    assert list(json.loads(listed)["named_endpoints"]) == ["/predict"]


@pytest.mark.parametrize(
    "path", ["/?_target_url=////evil.example", "/logout?_target_url=////evil.example", "//evil.example/%2e%2e"]
)
def test_no_redirect_leaves_the_machine(port, path):
    assert "evil" not in ask(port, path)[1].get("location", "")


def test_other_names_and_origins_are_refused(port):
    assert ask(port, "/", headers={"Host": "evil.example"})[0] == 400
    body = {"data": ["the film"]}
    origin = {"Origin": "https://evil.example"}
    headers = ask(port, "/gradio_api/call/predict", method="POST", body=body, headers=origin)[1]
    assert "evil" not in headers.get("access-control-allow-origin", "")
    assert headers.get("access-control-allow-origin") != "*"


def test_uploads_are_bounded(port):
    boundary, content = "x", "a" * (1_200_000)
    name = 'Content-Disposition: form-data; name="files"; filename="a.txt"'
    part = f"--{boundary}\r\n{name}\r\n\r\n{content}\r\n--{boundary}--\r\n"
    request = urllib.request.Request(f"http://127.0.0.1:{port}/gradio_api/upload", part.encode(), method="POST")
    request.add_header("Content-Type", f"multipart/form-data; boundary={boundary}")
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=30)
    assert refused.value.code == 413


def test_every_page_forbids_what_is_not_this_servers(port):
    for path in ("/", "/config", "/nowhere"):
        policy = ask(port, path)[1]["content-security-policy"]
        assert "default-src 'self'" in policy
        assert "http" not in policy


def test_it_listens_on_the_loopback_only(port):
    rows = [line.split() for name in ("tcp", "tcp6") for line in open(f"/proc/net/{name}")]
    listening = {row[1] for row in rows if len(row) > 3 and row[3] == "0A" and row[1].endswith(f":{port:04X}")}
    assert listening == {f"0100007F:{port:04X}"}


# In a browser


@pytest.fixture
def page(tmp_path):
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install -e '.[dev]'")
    if not CHROMIUM.exists():
        pytest.skip(f"no browser at {CHROMIUM}: apt-get install chromium")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch_persistent_context(
            str(tmp_path / "profile"), executable_path=str(CHROMIUM), args=FLAGS
        )
        yield browser.new_page()
        browser.close()


def test_a_person_asks_the_page_and_markup_stays_text(port, page):
    requested, complaints, url = [], [], f"http://127.0.0.1:{port}/"
    page.on("request", lambda request: requested.append(request.url))
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.goto(url)
    page.get_by_role("textbox", name=FIELD).fill(f"{MARKUP} the film was good")
    page.get_by_role("button", name="Predict").click()
    page.get_by_text("%").first.wait_for(timeout=30_000)
    for shown in (f"world/{MARKUP}", f"{MARKUP} the film"):  # the title, the example
        assert page.get_by_text(shown, exact=True).first.is_visible()
    assert page.get_by_text("%").count() == 2  # one for each label
    assert page.evaluate("window.hit") is None
    assert page.locator("img[src=x]").count() == 0
    assert [address for address in requested if not address.startswith((url, "data:", "blob:"))] == []
    assert complaints == []


def test_an_error_is_shown_to_the_person(port, page):
    page.goto(f"http://127.0.0.1:{port}/")
    page.get_by_role("button", name="Predict").click()
    page.get_by_text(f"{FIELD}: type a text first").first.wait_for(timeout=30_000)
    assert page.evaluate("window.hit") is None


# How it begins and ends


def test_a_port_in_use_is_one_clear_error(tiny_app, capsys):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert main(["serve", str(tiny_app), "--port", str(port)]) == 2
    assert f"labkit: port {port} cannot be had" in capsys.readouterr().err


def test_a_port_that_cannot_be_and_a_folder_that_is_none(tiny_app, tmp_path, capsys):
    assert main(["serve", str(tiny_app), "--port", "70000"]) == 2
    assert "1 to 65535" in capsys.readouterr().err
    assert main(["serve", str(tmp_path)]) == 1
    assert "not an app" in capsys.readouterr().err


def check_end(program, port, number, code):
    os.kill(program.pid, number)
    out, err = program.communicate(timeout=30)
    assert program.returncode == code, err
    assert "KeyboardInterrupt" not in err
    assert "SystemExit" not in err
    assert "%|" not in err  # no progress bar without a terminal
    with socket.socket() as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind(("127.0.0.1", port))


def test_ctrl_c_ends_it_and_frees_the_port(tiny_app):
    port = free_port()
    check_end(start(tiny_app, port), port, signal.SIGINT, 130)


def test_sigterm_ends_it_and_frees_the_port(server):  # the last test of this file: it ends the server of the others
    check_end(*server, signal.SIGTERM, 143)
