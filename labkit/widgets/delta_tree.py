"""Where a delta sits: the model's tree with the delta in it, its modules marked, and its share of the weights.

The model is copied, so that the one that was given stays as it is; the sums are those of `model_tree`.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Mapping
from dataclasses import dataclass

from ipywidgets import Checkbox, Dropdown, IntSlider, Layout
from torch import nn

from labkit.errors import UsageError
from labkit.fewshot.delta_tuning import Delta, detach
from labkit.widgets.boxes import count, escape, frame, heading, percent, size
from labkit.widgets.model_tree import Node, branch, within
from labkit.widgets.model_tree import compute as tree_of
from labkit.widgets.shown import Explorer, Picture, Shown, look

MOST = 20


@dataclass(frozen=True)
class Sitting:
    """A delta on a model: the tree with it, the paths of modules that hold trained weights, and the sums."""

    name: str
    root: Node
    marked: frozenset[str]
    trained: int
    backbone: int  # weights of the model without the delta
    saved: int  # bytes of what trains

    @property
    def share(self) -> float:
        """Trained weights against those of the backbone."""
        return self.trained / max(self.backbone, 1)


def compute(model: nn.Module, name: str, delta: Delta | None) -> Sitting:
    """`delta` on a copy of `model`; None is fine-tuning everything. A delta that the model carries already is taken off
    the copy. UsageError where the delta does not fit.
    """
    model = copy.deepcopy(model)
    if hasattr(model, "labkit_delta"):
        detach(model)
    backbone = tree_of(model).parameters
    if delta is None:
        model.requires_grad_(True)
    else:
        delta.attach(model)
    root = tree_of(model)
    holders = [node for node in root.walk() if any(weight.trainable for weight in node.weights)]
    saved = sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)
    return Sitting(name, root, frozenset(node.path for node in holders), root.trainable, backbone, saved)


def draw(sitting: Sitting, depth: int = 2, only: bool = True) -> Picture:
    """The tree unfolded to `depth` levels; with `only`, nothing but the way to what trains, unfolded whole."""
    root, wanted = sitting.root, None
    if only:
        wanted = {node.path for node in root.walk() if any(within(path, node.path) for path in sitting.marked)}
    unfold = root.depth if only else depth
    tree = branch(root, root, 0, (unfold, root.depth), wanted, set(sitting.marked))
    return Picture(frame(_head(sitting), tree), _alt(sitting))


def _head(sitting: Sitting) -> str:
    more = (
        f"trains {count(sitting.trained, 'weight')} in {count(len(sitting.marked), 'module')}, "
        f"{percent(sitting.share)} of the model's {sitting.backbone:,}; saved: {size(sitting.saved)}"
    )
    return heading(sitting.name, escape(more) + ". Bars: share of all weights; blue and <mark>marked</mark>: trained")


def _alt(sitting: Sitting) -> str:
    some = sorted(sitting.marked)
    more = f" and {len(some) - 8} more" if len(some) > 8 else ""
    return (
        f"Tree of the model with {sitting.name}: {sitting.trained:,} trained weights, {percent(sitting.share)} of the "
        f"model's {sitting.backbone:,}, in {len(some)} modules: {', '.join(some[:8])}{more}."
    )


def delta_tree(model: nn.Module, deltas: Mapping[str, Delta | None]) -> Shown:
    """A widget that shows `model` with one of `deltas`, by name, None meaning that everything trains.

    A checkbox shows the whole tree, a slider unfolds it. UsageError for no deltas, or more than 20.
    """
    if not 1 <= len(deltas) <= MOST:
        raise UsageError(f"delta_tree needs 1 to {MOST} deltas by name, {{'LoRA': LoRA(rank=4)}}, not {len(deltas)}")

    @functools.cache
    def sitting(name: str) -> Sitting:
        return compute(model, name, deltas[name])

    return Explorer(
        lambda delta, only, depth: draw(sitting(delta), depth, only),
        delta=Dropdown(options=list(deltas), description="delta", **look(60, 300)),
        only=Checkbox(True, description="only what trains", indent=False, layout=Layout(width="160px")),
        depth=IntSlider(2, min=0, max=8, description="depth", **look(60, 300)),
    )
