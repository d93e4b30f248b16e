"""The one training loop: `fit` trains any model on any objective, and an interrupted run goes on bit for bit.

Read `loop.py` first; `batches.py` makes the data's order, `engine.py` is the arithmetic behind a small interface,
`settings.py` the numbers and the learning rate; `resuming.py`, `randomness.py` and `signals.py` are what exact resume
and a clean stop need.
"""

from __future__ import annotations

from labkit.training.batches import Batches, Curriculum
from labkit.training.engine import AccelerateEngine, Engine
from labkit.training.history import History
from labkit.training.loop import fit
from labkit.training.settings import Training, learning_rate

__all__ = ["AccelerateEngine", "Batches", "Curriculum", "Engine", "History", "Training", "fit", "learning_rate"]
