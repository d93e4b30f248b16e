"""What the tests of every page share: a running server on a loopback port, a browser, and what attackers try."""

from __future__ import annotations

import contextlib
import json
import socket
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
FORWARDED = ("X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Server", "Forwarded")


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

    @pytest.mark.parametrize("kept", [{}, {"url": "x"}, {"orig_name": "x.txt", "size": 3_000_000}])
    def test_the_record_of_a_file_is_neither_fetched_nor_read(self, port, kept):
        """Gradio fetches a record's address, whatever the input, and looks for its path."""
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            listener.settimeout(0.3)
            for path in (f"http://127.0.0.1:{listener.getsockname()[1]}/x", "/etc/passwd"):
                record = {"path": path, "meta": {"_type": "gradio.FileData"}, **kept}
                for value in (record, [record], {"value": record}):
                    body = {"data": [*self.values[:-1], value], "session_hash": "a", "fn_index": 0}
                    for where in (f"call/{self.endpoint}", "queue/join"):
                        assert ask(port, f"/gradio_api/{where}", method="POST", body=body)[0] == 422
            with pytest.raises(TimeoutError):
                listener.accept()

    @pytest.mark.parametrize(
        "path", ["/?_target_url=////evil.example", "/logout?_target_url=////evil.example", "//evil.example/%2e%2e"]
    )
    def test_no_redirect_leaves_the_machine(self, port, path):
        for headers in (
            {},
            *({name: "evil.example"} for name in FORWARDED),
            {"X-Gradio-Server": "http://evil.example"},
        ):
            assert "evil" not in ask(port, path, headers=headers)[1].get("location", "")

    def test_no_header_says_where_the_page_is(self, port):
        for path in ("/", "/config", "/gradio_api/info", "/logout"):
            for name in (*FORWARDED, "X-Gradio-Server"):
                _, headers, body = ask(port, path, headers={name: "http://elsewhere.example"})
                assert "elsewhere" not in body + str(headers)

    @pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "localhost:1@evil.example", ""])
    def test_other_names_are_refused(self, port, host):
        assert ask(port, "/", headers={"Host": host})[0] == 400

    @pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost:1", "http://127.0.0.1"])
    def test_other_origins_may_ask_nothing(self, port, origin):
        body = {"data": list(self.values), "session_hash": "a", "fn_index": 0, "event_id": "a"}
        for path in (f"call/{self.endpoint}", "queue/join", "cancel", "reset"):
            status, headers, _ = ask(port, f"/gradio_api/{path}", method="POST", body=body, headers={"Origin": origin})
            assert status == 403
            assert headers.get("access-control-allow-origin") in (None, origin.replace("null", ""))
        assert ask(port, "/config", headers={"Origin": origin})[0] == 403

    def test_another_page_may_link_here_and_no_more(self, port):
        """What a browser tells of a request: who began it, and what for."""
        for site, path, dest, expected in (
            ("cross-site", "/", "document", 200),
            ("same-site", "/", "document", 200),
            ("cross-site", "/", "iframe", 403),
            ("cross-site", "/gradio_api/heartbeat/a", "document", 403),
            ("same-site", "/config", "script", 403),
            ("same-origin", "/config", "empty", 200),
            ("same-origin", "/gradio_api/app_id", "empty", 200),  # a page knows its server by it
            ("none", "/", "document", 200),
        ):
            assert ask(port, path, headers={"Sec-Fetch-Site": site, "Sec-Fetch-Dest": dest})[0] == expected

    @pytest.mark.parametrize(
        "route",
        [
            *("POST " + path for path in ("upload", "process_recording", "run/predict", "api/predict", "stream/a")),
            *("GET " + path for path in ("upload_progress", "deep_link?session_hash=a", "user", "token", "dev/reload",
                                         "openapi.json", "custom_component/a/client/b/c", "runs", "stream/a/b/1/c.ts")),
        ],
    )  # fmt: skip
    def test_what_no_page_uses_is_not_there(self, port, route):
        method, path = route.split()
        assert ask(port, f"/gradio_api/{path}", method=method, body={"data": []})[0] == 404

    @pytest.mark.parametrize("path", ["/login", "/logout", "/monitoring", "/docs", "/svelte/a", "/?deep%5Flink=a"])
    def test_nor_are_logins_and_what_pages_held(self, port, path):
        assert ask(port, path)[0] == 404

    def test_a_body_is_bounded_whatever_it_says_of_its_length(self, port):
        path = f"/gradio_api/call/{self.endpoint}"
        assert ask(port, path, method="POST", headers={"Content-Length": str(1 << 40)})[0] == 413
        connection = HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request("POST", path, iter([b"a" * 100_000] * 11), encode_chunked=True)
        assert connection.getresponse().status == 413

    @pytest.mark.parametrize("body", [b"", b"[", b"[" * 100_000, b"[]", b'{"data": {}}', b"\xff"])
    def test_a_body_that_is_no_question_is_refused(self, port, body):
        connection = HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request("POST", f"/gradio_api/call/{self.endpoint}", body)
        assert connection.getresponse().status in (400, 422)

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
