"""Applications: what labkit trains, saves, predicts with and serves. `load_app(folder).predict("a text")`."""

from __future__ import annotations

from labkit.apps.folder import App, Card, load_app, model_card, read_card, save_app
from labkit.apps.prediction import predict_table

__all__ = ["App", "Card", "load_app", "model_card", "predict_table", "read_card", "save_app"]
