"""How a page is opened: on 127.0.0.1 alone, with everything off that reaches out, behind the guard."""

from __future__ import annotations

import contextlib
import html
import os
import threading
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from labkit.errors import LabkitError, UsageError
from labkit.serving.guard import Answerer, Guard
from labkit.serving.look import STYLE, theme

if TYPE_CHECKING:
    import gradio

MAX_WAITING = 32  # questions of pages that wait for their answer


def import_gradio() -> Any:
    """The module gradio, with analytics and records off. UsageError with the mend where it is not installed."""
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # read when gradio is imported
    os.environ.setdefault("GRADIO_RUN_HISTORY", "False")  # read when a page is launched
    try:
        import gradio
    except ImportError as error:
        raise UsageError("a page needs gradio, of the extra labkit[demos]: pip install 'gradio>=6.20'") from error
    return gradio


@contextlib.contextmanager
def telling() -> Iterator[None]:
    """Inside, an error of labkit is a sentence for the person."""
    try:
        yield
    except LabkitError as error:
        said = html.escape(str(error))  # gradio shows it as HTML
        raise import_gradio().Error(said, print_exception=False) from error


def run(
    demo: gradio.Blocks,
    port: int,
    greeting: Sequence[str],
    footer: Sequence[str] = ("api",),
    predict: Answerer | None = None,
) -> None:
    """Launch `demo`, print the greeting's lines once it answers, and serve until Ctrl-C or SIGTERM."""
    try:
        launch(demo, port, footer, predict)
        with contextlib.suppress(OSError):  # served all the same
            print(*greeting, sep="\n", flush=True)
        threading.Event().wait()
    finally:
        demo.close(verbose=False)


def launch(demo: gradio.Blocks, port: int, footer: Sequence[str] = ("api",), predict: Answerer | None = None) -> None:
    """Start `demo` in the background, on 127.0.0.1 alone, with everything off that reaches out or lets files in.

    `footer` names Gradio's own links below the page: "api", "settings"; `predict` answers `POST /predict`.
    UsageError where the port cannot be had.
    """
    from starlette.middleware import Middleware

    try:
        demo.launch(
            server_name="127.0.0.1", server_port=port, share=False, prevent_thread_lock=True, quiet=True,
            inbrowser=False, ssr_mode=False, mcp_server=False, enable_monitoring=False, strict_cors=True,
            max_file_size="1mb", allowed_paths=None, footer_links=list(footer),
            theme=theme(import_gradio()), css=STYLE,
            app_kwargs={"middleware": [Middleware(Guard, predict=predict)]},
        )  # fmt: skip
    except OSError as error:
        raise UsageError(f"port {port} cannot be had (another program has it?): choose another with --port") from error
