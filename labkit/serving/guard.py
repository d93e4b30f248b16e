"""Who may ask a server of this machine, and what: ASGI middleware before all that `labkit.serving` opens.

Programs and browsers here (127.0.0.1) may, under the names this machine has for itself, so that no site on the net can
reach the page through a name of its own (DNS rebinding), and no page of another server, on the net or here, so that
none can act through a visitor's browser. They may ask what these pages, Gradio's clients and `POST /predict` need.
Uploads, files, proxies and logins are no part of it, and an input of a page is a text or a number, never a record of a
file, which Gradio would fetch.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any
from urllib.parse import parse_qs

MAX_BODY = 1 << 20  # bytes of a request
PREDICT = "/predict"
HOST = re.compile(rb"(127\.0\.0\.1|localhost)(:\d{1,5})?", re.IGNORECASE)
OPEN = {  # the paths that are answered; Gradio has some fifty more
    "GET": re.compile(
        r"/|/(config|theme\.css|favicon\.ico|manifest\.json|robots\.txt)/?|/(assets|static)/.+|"
        r"/gradio_api/(info|app_id|startup-events|theme\.css|queue/data|heartbeat/[^/]+|call/[^/]+/[^/]+)/?"
    ),
    "POST": re.compile(r"/gradio_api/(queue/join|cancel|reset|call/[^/]+)/?"),
}
REFUSED = b"refused: this server answers its own page, opened as 127.0.0.1 or localhost, and programs of this machine\n"
SENTENCES = {413: f"the request has more than {MAX_BODY:,} bytes: send fewer rows at once"}  # else REFUSED
FORWARDED = re.compile(rb"forwarded|x-forwarded-.*|x-gradio-server")  # no proxy stands before this server
HEADERS = {
    b"content-security-policy": b"default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    b"style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; "
    b"worker-src 'self' blob:; object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'self'",
    b"referrer-policy": b"no-referrer",
    b"x-content-type-options": b"nosniff",
}
Message = MutableMapping[str, Any]
Receive, Send = Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]
Answerer = Callable[[bytes, Send], Awaitable[None]]


class Guard:
    """Answers what is OPEN to who may ask, refuses all else, and adds HEADERS to every answer.

    `predict` answers the body of `POST /predict`; without it there is no such route.
    """

    def __init__(self, app: Any, predict: Answerer | None = None) -> None:
        self.app, self.predict = app, predict

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Pass a request on that may be asked, and its answer back with the headers."""

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = [(name, value) for name, value in message.get("headers", []) if name.lower() not in HEADERS]
                message["headers"] = [*own, *HEADERS.items()]
            await send(message)

        if scope["type"] != "http":
            await self.app(scope, receive, guarded)
            return
        own = self.predict is not None and (scope["method"], scope["path"]) == ("POST", PREDICT)
        status, body = _refused(scope, own), b""
        if not status and scope["method"] == "POST":
            body = await _body(receive)
            status = 413 if len(body) > MAX_BODY else 0 if own else _refused_body(body)
        if own and status:
            await answer_json(guarded, status, {"error": SENTENCES.get(status, REFUSED.decode().strip())})
        elif own and self.predict is not None:
            await self.predict(body, guarded)
        if own:
            return
        if status:
            head = [(b"content-type", b"text/plain; charset=utf-8")]
            await guarded({"type": "http.response.start", "status": status, "headers": head})
            await guarded({"type": "http.response.body", "body": REFUSED})
            return
        kept = [(name, value) for name, value in scope["headers"] if not FORWARDED.fullmatch(name)]
        await self.app({**scope, "headers": kept}, _again(body, receive), guarded)


def _refused(scope: Any, known: bool) -> int:
    """The HTTP status with which a request is refused by its headers and, unless that is known, its path; else 0."""

    def header(name: bytes) -> list[bytes]:
        return [value for found, value in scope["headers"] if found == name]

    method, path = "GET" if scope["method"] == "HEAD" else scope["method"], scope["path"]
    hosts = header(b"host")
    if len(hosts) != 1 or not HOST.fullmatch(hosts[0]):
        return 400
    followed = path == "/" and method == "GET" and header(b"sec-fetch-dest") == [b"document"]  # a link to the page
    near = not {b"cross-site", b"same-site"} & {*header(b"sec-fetch-site")}  # another port is the same site
    if {*header(b"origin")} - {b"http://" + hosts[0]} or not (near or followed):
        return 403
    if not known and (method not in OPEN or not OPEN[method].fullmatch(path)):
        return 404
    if "deep_link" in parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True):
        return 404  # a file of what some page held, in a folder that all of Gradio's servers share
    sizes = header(b"content-length")
    return 413 if any(not re.fullmatch(rb"\d{1,9}", size) or int(size) > MAX_BODY for size in sizes) else 0


async def _body(receive: Receive) -> bytes:
    """The request's body, or its first bytes, more than MAX_BODY."""
    body, more = bytearray(), True
    while more and len(body) <= MAX_BODY:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return bytes(body)


def _refused_body(body: bytes) -> int:
    """As `_refused`: a body of Gradio's is a JSON object whose "data" are texts and numbers."""
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError):
        return 400
    data = asked.get("data", []) if isinstance(asked, dict) else None
    plain = isinstance(data, list) and all(value is None or isinstance(value, str | int | float) for value in data)
    return 0 if plain else 422


def _again(body: bytes, receive: Receive) -> Receive:
    """`receive` as it was before `body` was taken from it."""
    first = iter([{"type": "http.request", "body": body, "more_body": False}] if body else [])

    async def received() -> Message:
        return next(first, None) or await receive()

    return received


async def answer_json(send: Send, status: int, value: Any, headers: Sequence[tuple[bytes, bytes]] = ()) -> None:
    """Send a JSON answer whole."""
    data = json.dumps(value).encode()
    head = [(b"content-type", b"application/json"), (b"content-length", str(len(data)).encode()), *headers]
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": data})
