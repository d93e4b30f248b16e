"""What the tests of every page share: a running server on a loopback port, a browser, and what attackers try."""

from __future__ import annotations

import contextlib
import json
import socket
import urllib.error
import urllib.request
from http.client import HTTPConnection
from pathlib import Path

import pytest

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()
MARKUP = "<img src=x onerror=window.hit=1>"
PATHS = [
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
]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


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


def call(port, endpoint, *values):
    """The last event and its data from an API endpoint."""
    status, _, body = ask(port, f"/gradio_api/call/{endpoint}", method="POST", body={"data": list(values)})
    assert status == 200, body
    body = ask(port, f"/gradio_api/call/{endpoint}/{json.loads(body)['event_id']}")[2]
    lines = [line for line in body.splitlines() if line]
    return lines[-2].removeprefix("event: "), json.loads(lines[-1].removeprefix("data: "))


@contextlib.contextmanager
def browser(folder, **settings):
    """A context of headless Chromium with a new profile in `folder`; the test is skipped where there is none."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install -e '.[dev]'")
    if not CHROMIUM.exists():
        pytest.skip(f"no browser at {CHROMIUM}: apt-get install chromium")
    with sync_api.sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            str(folder), executable_path=str(CHROMIUM), args=FLAGS, **settings
        )
        yield context
        context.close()


class Watch:
    """What a page asks of the net, and what it complains of."""

    def __init__(self, page, url):
        self.requested, self.complaints, self.url = [], [], url
        page.on("request", lambda request: self.requested.append(request.url))
        page.on("console", lambda message: self.complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def check(self):
        """It reached only its own server, and nothing went wrong in it."""
        assert self.requested
        assert [address for address in self.requested if not address.startswith((self.url, "data:", "blob:"))] == []
        assert self.complaints == []


class Attacks:
    """Tests that every served page must pass; a test class of a page inherits them and has a fixture `port`.

    `endpoint` is one that the page's API has, with `values` to call it with.
    """

    endpoint = "predict"
    values = ("the film",)

    @pytest.mark.parametrize("path", PATHS)
    @pytest.mark.parametrize(
        "prefix", ["/gradio_api/file=", "/file=", "/gradio_api/FILE=", "/static/", "/assets/", "/"]
    )
    def test_no_file_of_the_machine_is_served(self, port, prefix, path):
        status, _, body = ask(port, prefix + path)
        assert status in (400, 403, 404), body[:200]
        assert "root:" not in body
        assert "PATH=" not in body

    def test_neither_a_link_nor_this_program_is_served(self, port, tmp_path):
        (tmp_path / "link").symlink_to("/etc/passwd")
        for path in (tmp_path / "link", Path(__file__)):
            assert ask(port, f"/gradio_api/file={path}")[0] in (403, 404)

    @pytest.mark.parametrize("path", ["/gradio_api/file=", "/gradio_api/proxy=", "/proxy=", "/file="])
    def test_the_server_fetches_nothing_for_anyone(self, port, path):
        """Server-side request forgery: a listener that must not be called."""
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            listener.settimeout(0.5)
            status = ask(port, f"{path}http://127.0.0.1:{listener.getsockname()[1]}/x")[0]
            assert status in (400, 403, 404)
            with pytest.raises(TimeoutError):
                listener.accept()

    @pytest.mark.parametrize(
        "path", ["/?_target_url=////evil.example", "/logout?_target_url=////evil.example", "//evil.example/%2e%2e"]
    )
    def test_no_redirect_leaves_the_machine(self, port, path):
        assert "evil" not in ask(port, path)[1].get("location", "")

    def test_other_names_and_origins_are_refused(self, port):
        assert ask(port, "/", headers={"Host": "evil.example"})[0] == 400
        body, path = {"data": list(self.values)}, f"/gradio_api/call/{self.endpoint}"
        origin = {"Origin": "https://evil.example"}
        headers = ask(port, path, method="POST", body=body, headers=origin)[1]
        assert "evil" not in headers.get("access-control-allow-origin", "")
        assert headers.get("access-control-allow-origin") != "*"

    def test_uploads_are_bounded(self, port):
        boundary, content = "x", "a" * (1_200_000)
        name = 'Content-Disposition: form-data; name="files"; filename="a.txt"'
        part = f"--{boundary}\r\n{name}\r\n\r\n{content}\r\n--{boundary}--\r\n"
        request = urllib.request.Request(f"http://127.0.0.1:{port}/gradio_api/upload", part.encode(), method="POST")
        request.add_header("Content-Type", f"multipart/form-data; boundary={boundary}")
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request, timeout=30)
        assert refused.value.code == 413

    def test_every_answer_forbids_what_is_not_this_servers(self, port):
        for path in ("/", "/config", "/nowhere"):
            policy = ask(port, path)[1]["content-security-policy"]
            assert "default-src 'self'" in policy
            assert "http" not in policy

    def test_nothing_is_recorded(self, port):
        config = json.loads(ask(port, "/config")[2])
        assert not config.get("run_history")
        assert not config.get("analytics_enabled")
        assert ask(port, "/gradio_api/runs")[0] == 404

    def test_it_listens_on_the_loopback_only(self, port):
        rows = [line.split() for name in ("tcp", "tcp6") for line in open(f"/proc/net/{name}")]
        listening = {row[1] for row in rows if len(row) > 3 and row[3] == "0A" and row[1].endswith(f":{port:04X}")}
        assert listening == {f"0100007F:{port:04X}"}
