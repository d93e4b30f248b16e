"""An app behind a page and an API, on this machine only.

Who may ask: programs and browsers here (127.0.0.1), under the names this machine has for itself, so that no site on the
net can reach the page through a name of its own (DNS rebinding). What leaves: nothing; the page may load only what this
server gives, which the browser enforces (Content-Security-Policy), and Gradio's analytics are off.
"""

from __future__ import annotations

import html
import os
import threading
from collections.abc import Awaitable, Callable, MutableMapping
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


def _import_gradio() -> Any:
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # read when gradio is imported
    try:
        import gradio
    except ImportError as error:
        raise LabkitError("serving needs gradio: pip install 'gradio>=6.20'") from error
    return gradio


def build_demo(app: App) -> gradio.Blocks:
    """The page of an app: its text boxes, the labels with their probabilities, examples; API endpoint `predict`.

    Texts of more than MAX_CHARACTERS, and requests beyond MAX_WAITING in the queue, are refused.
    """
    gr, card = _import_gradio(), app.card

    def answer(*texts: str) -> dict[str, float]:
        for field, text in zip(card.fields, texts, strict=True):
            name = html.escape(field)  # gradio shows the messages of errors as HTML
            if not text or not text.strip():
                raise gr.Error(f"{name}: type a text first", print_exception=False)
            if len(text) > MAX_CHARACTERS:
                problem = f"{name}: {len(text)} characters, at most {MAX_CHARACTERS} are read"
                raise gr.Error(problem, print_exception=False)
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
    if not 1 <= port <= 65535:
        raise UsageError(f"--port must be 1 to 65535, not {port}")
    app, url = load_app(folder), f"http://127.0.0.1:{port}/"
    demo, call = build_demo(app), ", ".join('"a text"' for _ in app.card.fields)
    try:
        launch(demo, port)
        print(f"labkit: serving {folder} on {url} (Ctrl-C stops it)")
        print(f'  from Python: gradio_client.Client("{url}").predict({call}, api_name="/predict")', flush=True)
        threading.Event().wait()
    finally:
        demo.close(verbose=False)


def launch(demo: gradio.Blocks, port: int) -> None:
    """Start `demo` in the background, on 127.0.0.1 alone, with everything off that reaches out or lets files in."""
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    try:
        demo.launch(
            server_name="127.0.0.1", server_port=port, share=False, prevent_thread_lock=True, quiet=True,
            inbrowser=False, ssr_mode=False, mcp_server=False, enable_monitoring=False, strict_cors=True,
            max_file_size="1mb", allowed_paths=None, footer_links=["api"],
            app_kwargs={"middleware": [Middleware(TrustedHostMiddleware, allowed_hosts=HOSTS), Middleware(Guard)]},
        )  # fmt: skip
    except OSError as error:
        raise UsageError(f"port {port} cannot be had (another program has it?): choose another with --port") from error
