"""An app behind a page and an API, on this machine only; the demos are served by the same `launch`.

Who may ask: programs and browsers here (127.0.0.1), under the names this machine has for itself, so that no site on the
net can reach the page through a name of its own (DNS rebinding). What leaves: nothing; the page may load only what this
server gives, which the browser enforces (Content-Security-Policy), and Gradio's analytics and its record of what was
asked, which can be sent elsewhere, are off.
"""

from __future__ import annotations

import contextlib
import html
import os
import threading
from collections.abc import Awaitable, Callable, Iterator, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any

from labkit.apps import App, load_app
from labkit.errors import LabkitError, UsageError

if TYPE_CHECKING:
    import gradio

MAX_CHARACTERS = 2000
MAX_WAITING = 32
HOSTS = ["127.0.0.1", "localhost"]
HEADERS = {
    b"content-security-policy": b"default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    b"style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; "
    b"worker-src 'self' blob:; object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'self'",
    b"referrer-policy": b"no-referrer",
    b"x-content-type-options": b"nosniff",
}


class Guard:
    """ASGI middleware that adds HEADERS to every answer."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Callable[[Any], Awaitable[None]]) -> None:
        """Pass the request on, and the answer back with the headers."""

        async def guarded(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                own = [(name, value) for name, value in message.get("headers", []) if name.lower() not in HEADERS]
                message["headers"] = [*own, *HEADERS.items()]
            await send(message)

        await self.app(scope, receive, guarded)


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
        gr.Markdown(f"# {html.escape(card.task)}\nType a text; the model says how likely each label is.")
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
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    try:
        demo.launch(
            server_name="127.0.0.1", server_port=port, share=False, prevent_thread_lock=True, quiet=True,
            inbrowser=False, ssr_mode=False, mcp_server=False, enable_monitoring=False, strict_cors=True,
            max_file_size="1mb", allowed_paths=None, footer_links=list(footer),
            app_kwargs={"middleware": [Middleware(TrustedHostMiddleware, allowed_hosts=HOSTS), Middleware(Guard)]},
        )  # fmt: skip
    except OSError as error:
        raise UsageError(f"port {port} cannot be had (another program has it?): choose another with --port") from error
