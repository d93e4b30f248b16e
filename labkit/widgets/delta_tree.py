"""Where a delta sits: the model's tree with the delta in it, its modules marked, and its share of the weights.

The model is copied, so that the one that was given stays as it is; the sums are those of `model_tree`.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass

from ipywidgets import Checkbox, Dropdown, HBox, IntSlider, Layout
from torch import nn

from labkit.errors import UsageError
from labkit.fewshot.delta_tuning import Delta, detach
from labkit.widgets.boxes import count, escape, frame, heading, percent, size
from labkit.widgets.model_tree import Node, _branch, _within
from labkit.widgets.model_tree import compute as tree_of
from labkit.widgets.shown import Explorer, Picture, Shown

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
        wanted = {node.path for node in root.walk() if any(_within(path, node.path) for path in sitting.marked)}
    unfold = root.depth if only else depth
    tree = _branch(root, root, 0, (unfold, root.depth), wanted, set(sitting.marked))
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


class DeltaTree(Explorer):
    """The shell around `compute` and `draw`; each control is an attribute."""

    def __init__(self, model: nn.Module, deltas: Mapping[str, Delta | None], depth: int) -> None:
        self.model, self.deltas, self.made = model, dict(deltas), {}
        style = {"description_width": "60px"}
        self.delta = Dropdown(options=list(self.deltas), description="delta", style=style, layout=Layout(width="300px"))
        self.depth = IntSlider(depth, min=0, max=8, description="depth", style=style, layout=Layout(width="300px"))
        self.only = Checkbox(True, description="only what trains", indent=False, layout=Layout(width="160px"))
        controls = [self.delta, self.only, self.depth]
        super().__init__(controls, [HBox(controls, layout=Layout(flex_flow="row wrap"))])

    def picture(self) -> Picture:
        """The picture for what is set; the model with each delta is counted once."""
        name = self.delta.value
        if name not in self.made:
            self.made[name] = compute(self.model, name, self.deltas[name])
        return draw(self.made[name], self.depth.value, self.only.value)


def delta_tree(model: nn.Module, deltas: Mapping[str, Delta | None], *, depth: int = 2) -> Shown:
    """A widget that shows `model` with one of `deltas`, by name, None meaning that everything trains.

    A checkbox shows the whole tree, unfolded to `depth`. UsageError for no deltas, or more than 20.
    """
    if not 1 <= len(deltas) <= MOST:
        raise UsageError(f"delta_tree needs 1 to {MOST} deltas by name, {{'LoRA': LoRA(rank=4)}}, not {len(deltas)}")
    return DeltaTree(model, deltas, depth)
