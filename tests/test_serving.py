"""`labkit serve` as a real program on a loopback port: its answers, its end, and what attackers try."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from types import SimpleNamespace

import pytest
import torch

from labkit.apps import load_app, save_app
from labkit.cli import main
from labkit.errors import UsageError
from labkit.serving import MAX_CHARACTERS, build_demo, import_gradio, launching
from tests.served import MARKUP, Attacks, Watch, ask, browser, call, free_port

FIELD = f"text {MARKUP}"
NAME = f"world/{MARKUP} [a](https://evil.example/) **b** # c"


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
        task, name=NAME, fields=(FIELD,), labels=("negative", MARKUP), splits={}, words={}, patterns=()
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


def predict(port, *texts):
    return call(port, "predict", *texts)


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


def test_half_an_emoji_is_refused_with_a_sentence(port):
    event, data = predict(port, "good \ud83d")
    assert event == "error"
    assert "is half of one (a lone surrogate)" in data["error"]
    assert predict(port, "good 😀")[0] == "complete"


def ask_rows(port, rows, **options):
    """Status, headers and JSON of `POST /predict`."""
    status, headers, body = ask(port, "/predict", method="POST", body={"rows": rows}, **options)
    return status, headers, json.loads(body)


def test_the_plain_api_answers_as_the_app_does(port, app_folder):
    rows = [{FIELD: "the film was good"}, {FIELD: "it was dull", "id": 7}, "a film"]
    status, headers, found = ask_rows(port, rows)
    assert (status, headers["content-type"]) == (200, "application/json")
    assert headers["x-content-type-options"] == "nosniff"
    expected = load_app(app_folder).predict(["the film was good", "it was dull", "a film"])
    assert [answer["label"] for answer in found["answers"]] == [answer["label"] for answer in expected]
    for answer, wanted in zip(found["answers"], expected, strict=True):
        assert answer["probabilities"] == pytest.approx(wanted["probabilities"], abs=1e-5)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "send an object with rows"),
        ("the film", "send an object with rows"),
        ([{"words": "a"}], "input 1: field .* must be text"),
        (["a", 3], "input 2: 0 texts given, 1 needed"),
        (["a", " "], "input 2: .*: type a text first"),
        (["a" * (MAX_CHARACTERS + 1)], f"at most {MAX_CHARACTERS} are read"),
        (["a"] * 257, "257 rows: send 256 at most"),
        (["good \ud83d"], "half of one .a lone surrogate."),
    ],
)
def test_what_is_no_question_is_told_in_a_sentence(port, rows, message):
    status, _, found = ask_rows(port, rows)
    assert status == 422
    assert list(found) == ["error"] and re.search(message, found["error"]), found


@pytest.mark.parametrize(
    ("body", "message"), [(b"[" * 100_000, "is no JSON"), (b"\xff", "is no JSON"), (b"[]", "an object with rows"),
                          (b'{"rows": ["a"], "row": 1}', "unknown key of the request 'row': did you mean 'rows'")]
)  # fmt: skip
def test_a_body_that_is_no_question_is_told_in_a_sentence(port, body, message):
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("POST", "/predict", body)
    answer = connection.getresponse()
    assert answer.status == 422 and message in json.loads(answer.read())["error"]


def test_a_request_of_a_megabyte_is_refused(port):
    status, _, found = ask_rows(port, ["the film"] * 100_000)
    assert status == 413
    assert found == {"error": "the request has more than 1,048,576 bytes: send fewer rows at once"}
    assert ask(port, "/predict", method="POST", headers={"Content-Length": str(1 << 40)})[0] == 413
    assert ask_rows(port, ["the film"])[0] == 200


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Host": "evil.example"}, 400),
    ],
)
def test_other_pages_and_names_may_not_ask(port, headers, expected):
    status, answered, found = ask_rows(port, ["the film"], headers=headers)
    assert status == expected and found["error"].startswith("refused: this server answers")
    assert "access-control-allow-origin" not in answered


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/predict"), ("PUT", "/predict"), ("OPTIONS", "/predict"), ("POST", "/predict/"), ("POST", "/Predict"),
     ("POST", "/predict/x")],
)  # fmt: skip
def test_no_other_route_was_opened(port, method, path):
    assert ask(port, path, method=method, body={"rows": ["a"]})[0] == 404


def test_many_clients_at_once_get_their_own_answers(port, app_folder):
    texts = [f"{word} film {other}" for word in ("good", "bad", "dull", "great") for other in ("was", "it", "the", ".")]
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda text: ask_rows(port, [text])[2]["answers"][0], texts * 2))
    for answer, wanted in zip(found, load_app(app_folder).predict(texts) * 2, strict=True):
        assert answer["probabilities"] == pytest.approx(wanted["probabilities"], abs=1e-5)


def test_curl_and_gradios_client_talk_to_it(port, app_folder):
    (expected,) = load_app(app_folder).predict("the film was good")
    if shutil.which("curl"):
        command = ["curl", "-s", f"http://127.0.0.1:{port}/predict", "-d", '{"rows": ["the film was good"]}']
        found = json.loads(subprocess.run(command, capture_output=True, timeout=30, check=True).stdout)
        assert found["answers"][0]["label"] == expected["label"]
    from gradio_client import Client

    answer = Client(f"http://127.0.0.1:{port}/", verbose=False).predict("the film was good", api_name="/predict")
    assert answer["label"] == expected["label"]


class TestAttacks(Attacks):
    def test_the_app_itself_is_not_served(self, port, app_folder):
        assert ask(port, f"/gradio_api/file={app_folder / 'config.json'}")[0] in (403, 404)

    def test_a_path_in_place_of_a_text_is_text(self, port):
        """A handler given a file record neither reads it nor hands it back."""
        for record in ("/etc/passwd", 3, None):
            assert "root:" not in json.dumps(predict(port, record))
        listed = ask(port, "/gradio_api/info")[2]
        assert list(json.loads(listed)["named_endpoints"]) == ["/predict"]


# In a browser


@pytest.fixture
def page(tmp_path):
    with browser(tmp_path / "profile") as context:
        yield context.new_page()


def test_a_person_asks_the_page_and_markup_stays_text(port, page):
    url = f"http://127.0.0.1:{port}/"
    watch = Watch(page, url)
    page.goto(url)
    page.get_by_role("textbox", name=FIELD).fill(f"{MARKUP} the film was good")
    page.get_by_role("button", name="Predict").click()
    page.get_by_text("%").first.wait_for(timeout=30_000)
    for shown in (NAME, f"{MARKUP} the film"):  # the title, the example
        assert page.get_by_text(shown, exact=True).first.is_visible()
    assert page.get_by_text("%").count() == 2  # one for each label
    assert page.evaluate("window.hit") is None
    assert page.locator("img[src=x]").count() == page.locator("a[href*=evil]").count() == 0
    watch.check()


def test_an_error_is_shown_to_the_person(port, page):
    page.goto(f"http://127.0.0.1:{port}/")
    page.get_by_role("button", name="Predict").click()
    page.get_by_text(f"{FIELD}: type a text first").first.wait_for(timeout=30_000)
    assert page.evaluate("window.hit") is None


def test_a_page_tells_that_a_model_answers_no_numbers(app_folder):
    app = load_app(app_folder)
    with torch.no_grad():
        next(app.model.parameters())[:] = float("nan")
    ask_it = next(event.fn for event in build_demo(app).fns.values() if event.api_name == "predict")
    with pytest.raises(import_gradio().Error, match="row 1: the model&#x27;s answer is no number"):
        ask_it("the film")


# How it begins and ends


def test_without_gradio_one_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(UsageError, match=r"labkit\[demos\]: pip install"):
        import_gradio()


def test_a_greeting_that_cannot_be_printed_ends_no_server(monkeypatch):
    served, demo = [], SimpleNamespace(close=lambda verbose: None)
    monkeypatch.setattr(launching, "launch", lambda *_: None)
    waiting = SimpleNamespace(Event=lambda: SimpleNamespace(wait=lambda: served.append(True)))
    monkeypatch.setattr(launching, "threading", waiting)
    full = open("/dev/full", "w")  # noqa: SIM115  closing it fails as well
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", full)
        launching.run(demo, 7860, ["labkit: serving"])
    with contextlib.suppress(OSError):
        full.close()
    assert served == [True]


def test_a_port_in_use_is_one_clear_error(tiny_app, capsys):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert main(["serve", str(tiny_app), "--port", str(port)]) == 2
    assert f"labkit: port {port} cannot be had" in capsys.readouterr().err


def test_a_port_that_cannot_be_and_a_folder_that_is_none(tiny_app, tmp_path, capsys):
    assert main(["serve", str(tiny_app), "--port", "70000"]) == 2
    assert "at most 65535" in capsys.readouterr().err
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
