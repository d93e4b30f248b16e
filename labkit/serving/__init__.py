"""An app behind a page and an API, on this machine only; the demos are served by the same `launch`.

The page is Gradio's, with its API; `POST /predict` answers `{"rows": [{"text": "…"}]}` with `{"answers": […]}`. Both
ask one desk, which answers together what is asked at the same time. Who may ask is said in `labkit.serving.guard`. What
leaves: nothing; the page may load only what this server gives, which the browser enforces by the
Content-Security-Policy; Gradio's analytics, and its record of what was asked, which can be sent elsewhere, are off.
"""

from __future__ import annotations

import os

from labkit.apps import load_app
from labkit.config import PORT
from labkit.serving.desk import Desk, Predict
from labkit.serving.launching import MAX_WAITING, import_gradio, launch, run, telling
from labkit.serving.page import MAX_CHARACTERS, build_demo

__all__ = ["MAX_CHARACTERS", "MAX_WAITING", "build_demo", "import_gradio", "launch", "run", "serve", "telling"]

TOKENS = 1024  # of a batch: what came together may be of many lengths, and padding costs more than a second call


def serve(folder: str | os.PathLike[str], port: int = 7860) -> None:
    """Load the app in `folder` and serve it on 127.0.0.1 until Ctrl-C or SIGTERM.

    Raises CheckpointError for a folder that is no whole app, UsageError for a port that cannot be had.
    """
    PORT.check(port, "--port")
    app, url = load_app(folder), f"http://127.0.0.1:{port}/"
    call = ", ".join('"a text"' for _ in app.card.fields)
    row = ", ".join(f'"{field}": "a text"' for field in app.card.fields)
    greeting = [
        f"labkit: serving {folder} on {url} (Ctrl-C stops it)",
        f'  from Python: gradio_client.Client("{url}").predict({call}, api_name="/predict")',
        f"  from a shell: curl {url}predict -d '{{\"rows\": [{{{row}}}]}}'",
    ]
    with Desk(lambda rows: app.answers(rows, batch_tokens=TOKENS)) as desk:
        demo = build_demo(app, lambda rows: desk.ask(rows).result())
        run(demo, port, greeting, predict=Predict(app, desk))
