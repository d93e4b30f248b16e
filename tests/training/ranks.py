"""One rank of a run, for test_ranks.py: python ranks.py FOLDER STOP, in torchrun's environment; prints JSON.

At step STOP the run is stopped; for a negative STOP the last rank gets a SIGTERM at that step.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import warnings

import torch
from toy import ROWS, SIZE, fixed, new_model, objective

from labkit.training import Batches, fit

folder, stop = sys.argv[1], int(sys.argv[2])
torch.set_num_threads(1)


def at_step(step: int, loss: float) -> bool:
    if step == -stop and int(os.environ["RANK"]) == int(os.environ["WORLD_SIZE"]) - 1:
        os.kill(os.getpid(), signal.SIGTERM)
    return step == stop


model = new_model(0.0)
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    history = fit(
        model, objective, Batches(range(ROWS), fixed, SIZE, seed=4), folder=folder, resume=True, steps=12, accumulate=2,
        lr=0.01, on_step=at_step,
    )  # fmt: skip
texts = [str(warning.message) for warning in said]
total = sum(parameter.double().sum().item() for parameter in model.parameters())
print(json.dumps({"losses": history.losses, "said": [text for text in texts if "ranks" in text], "sum": total}))
torch.distributed.is_initialized() and torch.distributed.destroy_process_group()
