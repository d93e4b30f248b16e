"""Applications: what labkit trains, saves, predicts with and serves. `load_app(folder).predict("a text")`."""

from __future__ import annotations

from labkit.apps.folder import App, Card, batch_predict, load_app, model_card, read_card, save_app

__all__ = ["App", "Card", "batch_predict", "load_app", "model_card", "read_card", "save_app"]
