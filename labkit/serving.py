"""An app behind a page and an API, on this machine only; the demos are served by the same `launch`.

Who may ask: programs and browsers here (127.0.0.1), under the names this machine has for itself, so that no site on the
net can reach the page through a name of its own (DNS rebinding), and no page of another server, on the net or here, so
that none can act through a visitor's browser. What may be asked: what these pages and Gradio's clients need. Uploads,
files, proxies and logins are no part of it, and an input is a text or a number, never a record of a file, which Gradio
would fetch. What leaves: nothing; the page may load only what this server gives, which the browser enforces by the
Content-Security-Policy; Gradio's analytics, and its record of what was asked, which can be sent elsewhere, are off.
"""

from __future__ import annotations

import contextlib
import html
import json
import os
import re
import threading
from collections.abc import Awaitable, Callable, Iterator, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from labkit.apps import App, load_app
from labkit.errors import LabkitError, UsageError

if TYPE_CHECKING:
    import gradio

MAX_CHARACTERS = 2000
MAX_WAITING = 32
MAX_BODY = 1 << 20  # bytes of a request
HOST = re.compile(rb"(127\.0\.0\.1|localhost)(:\d{1,5})?", re.IGNORECASE)
OPEN = {  # the paths that are answered; Gradio has some fifty more
    "GET": re.compile(
        r"/|/(config|theme\.css|favicon\.ico|manifest\.json|robots\.txt)/?|/(assets|static)/.+|"
        r"/gradio_api/(info|app_id|startup-events|theme\.css|queue/data|heartbeat/[^/]+|call/[^/]+/[^/]+)/?"
    ),
    "POST": re.compile(r"/gradio_api/(queue/join|cancel|reset|call/[^/]+)/?"),
}
REFUSED = b"refused: this server answers its own page, opened as 127.0.0.1 or localhost, and programs of this machine\n"
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


class Guard:
    """ASGI middleware that answers what is OPEN to who may ask, refuses all else, and adds HEADERS to every answer."""

    def __init__(self, app: Any) -> None:
        self.app = app

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
        status, body = _refused(scope), b""
        if not status and scope["method"] == "POST":
            body = await _body(receive)
            status = _refused_body(body)
        if status:
            head = [(b"content-type", b"text/plain; charset=utf-8")]
            await guarded({"type": "http.response.start", "status": status, "headers": head})
            await guarded({"type": "http.response.body", "body": REFUSED})
            return
        own = [(name, value) for name, value in scope["headers"] if not FORWARDED.fullmatch(name)]
        await self.app({**scope, "headers": own}, _again(body, receive), guarded)


def _refused(scope: Any) -> int:
    """The HTTP status with which a request is refused by its headers and its path; 0 where it is not."""

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
    if method not in OPEN or not OPEN[method].fullmatch(path):
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
    """As `_refused`: a body is a JSON object whose "data" are texts and numbers."""
    if len(body) > MAX_BODY:
        return 413
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


def import_gradio() -> Any:
    """The module gradio, with analytics and records off. UsageError with the mend where it is not installed."""
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # read when gradio is imported
    os.environ.setdefault("GRADIO_RUN_HISTORY", "False")  # read when a page is launched
    try:
        import gradio
    except ImportError as error:
        raise UsageError("a page needs gradio, of the extra labkit[demos]: pip install 'gradio>=6.20'") from error
    return gradio


def refusal(message: object) -> Exception:
    """What a handler raises to tell the person, in a sentence, why it does not do what was asked."""
    return import_gradio().Error(html.escape(str(message)), print_exception=False)  # gradio shows it as HTML


@contextlib.contextmanager
def telling() -> Iterator[None]:
    """Inside, an error of labkit is a sentence for the person."""
    try:
        yield
    except LabkitError as error:
        raise refusal(error) from error


def build_demo(app: App) -> gradio.Blocks:
    """The page of an app: its text boxes, the labels with their probabilities, examples; API endpoint `predict`.

    Texts of more than MAX_CHARACTERS, and requests beyond MAX_WAITING in the queue, are refused.
    """
    gr, card = import_gradio(), app.card

    def answer(*texts: str) -> dict[str, float]:
        for field, text in zip(card.fields, texts, strict=True):
            if not text or not text.strip():
                raise refusal(f"{field}: type a text first")
            if len(text) > MAX_CHARACTERS:
                raise refusal(f"{field}: {len(text)} characters, at most {MAX_CHARACTERS} are read")
        with telling():
            return app.predict([texts])[0]["probabilities"]

    with gr.Blocks(title=f"labkit: {card.task}", analytics_enabled=False) as demo:
        heading = f"<h1 style='overflow-wrap: anywhere'>{html.escape(card.task)}</h1>"
        gr.HTML(f"{heading}<p>Type a text; the model says how likely each label is.</p>")
        boxes = [gr.Textbox(label=field, lines=3, max_length=MAX_CHARACTERS) for field in card.fields]
        button = gr.Button("Predict", variant="primary")
        label = gr.Label(label="prediction", num_top_classes=min(len(card.labels), 10))
        asked = [button.click, *(box.submit for box in boxes)]
        gr.on(asked, answer, boxes, label, api_name="predict", concurrency_limit=1)
        if card.examples:
            gr.Examples([[row[field] for field in card.fields] for row in card.examples], boxes, cache_examples=False)
    return demo.queue(max_size=MAX_WAITING)


def serve(folder: str | os.PathLike[str], port: int = 7860) -> None:
    """Load the app in `folder` and serve it on 127.0.0.1 until Ctrl-C or SIGTERM.

    Raises CheckpointError for a folder that is no whole app, UsageError for a port that cannot be had.
    """
    check_port(port)
    app, url = load_app(folder), f"http://127.0.0.1:{port}/"
    call = ", ".join('"a text"' for _ in app.card.fields)
    client = f'  from Python: gradio_client.Client("{url}").predict({call}, api_name="/predict")'
    run(build_demo(app), port, [f"labkit: serving {folder} on {url} (Ctrl-C stops it)", client])


def check_port(port: int) -> None:
    """UsageError for a number that is no port."""
    if not 1 <= port <= 65535:
        raise UsageError(f"--port must be 1 to 65535, not {port}")


def run(demo: gradio.Blocks, port: int, greeting: Sequence[str], footer: Sequence[str] = ("api",)) -> None:
    """Launch `demo`, print the greeting's lines once it answers, and serve until Ctrl-C or SIGTERM."""
    try:
        launch(demo, port, footer)
        print(*greeting, sep="\n", flush=True)
        threading.Event().wait()
    finally:
        demo.close(verbose=False)


def launch(demo: gradio.Blocks, port: int, footer: Sequence[str] = ("api",)) -> None:
    """Start `demo` in the background, on 127.0.0.1 alone, with everything off that reaches out or lets files in.

    `footer` names Gradio's own links below the page: "api", "settings". UsageError where the port cannot be had.
    """
    from starlette.middleware import Middleware

    try:
        demo.launch(
            server_name="127.0.0.1", server_port=port, share=False, prevent_thread_lock=True, quiet=True,
            inbrowser=False, ssr_mode=False, mcp_server=False, enable_monitoring=False, strict_cors=True,
            max_file_size="1mb", allowed_paths=None, footer_links=list(footer),
            app_kwargs={"middleware": [Middleware(Guard)]},
        )  # fmt: skip
    except OSError as error:
        raise UsageError(f"port {port} cannot be had (another program has it?): choose another with --port") from error
