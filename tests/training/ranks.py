"""One rank of a run, for test_ranks.py: python ranks.py FOLDER STOP, in torchrun's environment; prints JSON.

At step STOP the run is stopped; for a negative STOP the last rank gets a SIGTERM at that step. A third argument makes
the last rank misbehave instead: "hang" stops its process, "loop" its main thread only, "raise" raises; "freeze" stops
the first, which keeps the store that all ranks share.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import warnings

import torch
from toy import ROWS, SIZE, fixed, new_model, objective

from labkit.errors import DataError
from labkit.training import Batches, fit

TIMEOUT = 6.0

folder, stop = sys.argv[1], int(sys.argv[2])
how = sys.argv[3] if len(sys.argv) > 3 else ""
torch.set_num_threads(1)


def misbehave() -> None:
    if how == "raise":
        raise DataError("row 7 of the data is no row")
    if how in ("hang", "freeze"):
        os.kill(os.getpid(), signal.SIGSTOP)
    while how == "loop":
        time.sleep(0.1)


def at_step(step: int, loss: float) -> bool:
    if how and step == stop and int(os.environ["RANK"]) == (how != "freeze") * (int(os.environ["WORLD_SIZE"]) - 1):
        misbehave()
    if step == -stop and int(os.environ["RANK"]) == int(os.environ["WORLD_SIZE"]) - 1:
        os.kill(os.getpid(), signal.SIGTERM)
    return step == stop and not how


model = new_model(0.0)
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    history = fit(
        model, objective, Batches(range(ROWS), fixed, SIZE, seed=4), folder=folder, resume=True, steps=12, accumulate=2,
        lr=0.01, on_step=at_step, timeout=TIMEOUT if how else 600.0,
    )  # fmt: skip
texts = [str(warning.message) for warning in said]
total = sum(parameter.double().sum().item() for parameter in model.parameters())
print(json.dumps({"losses": history.losses, "said": [text for text in texts if "ranks" in text], "sum": total}))
torch.distributed.is_initialized() and torch.distributed.destroy_process_group()
