"""A model taken apart: every module with its weights, bytes and what of it is trained, as a tree to unfold.

Sums are those of `labkit.measure`: a tensor that two modules share is counted in the first, and the second says where.
The tree is made of `<details>`, which unfold without a kernel.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from ipywidgets import IntSlider, Text
from torch import Tensor, nn

from labkit.errors import UsageError
from labkit.widgets.boxes import bar, chip, escape, frame, heading, size
from labkit.widgets.boxes import count as counted
from labkit.widgets.shown import Explorer, Picture, Shown, bounded, look

MAX_PATTERN, MAX_NODES = 200, 3000
TRAINED, FROZEN = "#0072B2", "#8a8a8a"


@dataclass(frozen=True)
class Weight:
    """A parameter or stored buffer of one module: what it counts for here (0 where it is counted `elsewhere`)."""

    name: str
    shape: tuple[int, ...]
    parameters: int = 0
    trainable: int = 0
    bytes: int = 0
    elsewhere: str = ""

    @property
    def size(self) -> str:
        """The shape as text, as "128×256"."""
        return "×".join(map(str, self.shape)) or "one number"


@dataclass
class Node:
    """A module with the sums over itself and all below it.

    `elsewhere` is the path of the same module where it is shown first; then nothing is counted here.
    """

    path: str
    kind: str
    weights: tuple[Weight, ...] = ()
    children: list[Node] = field(default_factory=list)
    elsewhere: str = ""
    parameters: int = 0
    trainable: int = 0
    bytes: int = 0

    def walk(self) -> Iterator[Node]:
        """This node and all below it, each before its children."""
        yield self
        for child in self.children:
            yield from child.walk()

    @property
    def depth(self) -> int:
        """How many levels lie below it."""
        return 1 + max(child.depth for child in self.children) if self.children else 0


def compute(model: nn.Module) -> Node:
    """The tree of `model`. Its sums equal `measure.parameters`, `measure.trainable` and, but for the header of the
    file, `measure.bytes_on_disk`.
    """
    first: dict[nn.Module, str] = {}
    counts, stored = _Counts(), _stored(model)
    root = _node(model, "", first, counts, stored)
    for name in stored:  # what a module keeps in its state under a name that is no tensor of its own
        path, _, last = name.rpartition(".")
        holder = max((n for n in root.walk() if within(path, n.path)), key=lambda node: len(node.path))
        holder.weights += (Weight(last, tuple(stored[name][1].shape), bytes=stored[name][0]),)
    _sum(root)
    return root


def within(path: str, above: str) -> bool:
    """Whether the module `path` is the module `above`, or lies below it."""
    return not above or path == above or path.startswith(above + ".")


def _stored(model: nn.Module) -> dict[str, tuple[int, Tensor]]:
    """Name in the state dict -> bytes it adds to a file, as `measure.saved_tensors` decides, and the tensor."""
    seen, result = set(), {}
    for name, tensor in model.state_dict().items():
        place = (tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype)
        again = tensor.numel() > 0 and place in seen
        seen.add(place)
        result[name] = (0 if again else tensor.numel() * tensor.element_size(), tensor)
    return result


class _Counts:
    """Where each tensor was met first: by its memory, as parameters are counted, and by itself, as trained ones are."""

    def __init__(self) -> None:
        self.place: dict[int, str] = {}
        self.trained: set[int] = set()

    def weight(self, name: str, path: str, tensor: Tensor, size: int, stands_for: int | None) -> Weight:
        """The tensor called `path`, of `size` bytes in a file, counted unless it was met before."""
        number, is_parameter = tensor.numel(), isinstance(tensor, nn.Parameter)
        if not is_parameter and stands_for is None:  # a buffer: bytes, no weights
            return Weight(name, tuple(tensor.shape), bytes=size)
        key = tensor.data_ptr() or id(tensor)
        before = self.place.setdefault(key, path)
        new = tensor.requires_grad and id(tensor) not in self.trained
        self.trained |= {id(tensor)} if new else set()
        counted = (number if stands_for is None else stands_for) if before == path else 0
        elsewhere = before if before != path else ""
        return Weight(name, tuple(tensor.shape), counted, number if new else 0, size, elsewhere)


def _node(
    module: nn.Module, path: str, first: dict[nn.Module, str], counts: _Counts, stored: dict[str, tuple[int, Tensor]]
) -> Node:
    """The node of `module`, without sums; takes out of `stored` what it has counted."""
    prefix = path + "." if path else ""
    if module in first:
        for name in [name for name in stored if name.startswith(prefix)]:
            del stored[name]  # the same tensors under another name, of no bytes
        return Node(path, type(module).__name__, elsewhere=first[module] or "the whole model")
    first[module] = path
    stands_for = getattr(module, "stands_for", {})
    own = [*module._parameters.items(), *module._buffers.items()]
    weights = tuple(
        counts.weight(name, prefix + name, tensor, stored.pop(prefix + name, (0, tensor))[0], stands_for.get(name))
        for name, tensor in own
        if tensor is not None
    )
    children = [
        _node(child, prefix + name, first, counts, stored)
        for name, child in module._modules.items()
        if child is not None
    ]
    return Node(path, type(module).__name__, weights, children)


def _sum(node: Node) -> None:
    for child in node.children:
        _sum(child)
    for what in ("parameters", "trainable", "bytes"):
        setattr(node, what, sum(getattr(part, what) for part in (*node.weights, *node.children)))


def matching(root: Node, pattern: str) -> list[Node]:
    """The nodes whose path ends in `pattern`, at a dot, or holds the regular expression after "re:".

    UsageError for a pattern that is none, is longer than 200 characters, or fits nothing.
    """
    if bounded(pattern, "filter", MAX_PATTERN).startswith("re:"):
        try:
            expression = re.compile(pattern[3:])
        except re.error as error:
            raise UsageError(f"filter {pattern!r} is no regular expression: {error}") from error
        found = [node for node in root.walk() if expression.search(node.path)]
    else:
        found = [node for node in root.walk() if f".{node.path}".endswith(f".{pattern}")]
    if not found:
        some = ", ".join(list(dict.fromkeys(n.path.rpartition(".")[2] for n in root.walk() if n.path))[:8])
        raise UsageError(f"filter {pattern!r} fits no module; write the end of a path, or re:…; some ends: {some}")
    return found


def draw(root: Node, depth: int = 2, pattern: str = "") -> Picture:
    """The tree as HTML, unfolded to `depth` levels; with a `pattern`, only what fits it and the way there."""
    hits = matching(root, pattern) if pattern else []
    marked = {node.path for node in hits}
    wanted = {node.path for node in root.walk() if any(within(path, node.path) for path in marked)} if hits else None
    count = sum(1 for node in root.walk() if wanted is None or node.path in wanted)
    deepest = depth if count > MAX_NODES else root.depth  # a huge tree holds only what is unfolded
    found = heading(f"{counted(len(hits), 'module')} fit {pattern!r}:", escape(_found(root, hits))) if hits else ""
    tree = branch(root, root, 0, (root.depth if hits else depth, deepest), wanted, marked)
    return Picture(frame(_head(root), found, tree), _alt(root))


def _head(root: Node) -> str:
    key = f"{chip('trained', TRAINED)}{chip('❄ frozen', FROZEN)}"
    return heading(
        f"{root.kind}: {root.parameters:,} weights, {size(root.bytes)}",
        f"of which {root.trainable:,} ({_share(root)}) are trained. Bars: share of all weights, {key}",
    )


def _found(root: Node, hits: list[Node]) -> str:
    """What the matched modules hold together, none of them twice."""
    tops = [node for node in hits if not any(node is not up and within(node.path, up.path) for up in hits)]
    weights, trained = sum(node.parameters for node in tops), sum(node.trainable for node in tops)
    return f"{weights:,} weights, {100 * weights / max(root.parameters, 1):.1f} % of all; {trained:,} of them trained"


def branch(
    node: Node, root: Node, level: int, depths: tuple[int, int], wanted: set[str] | None, marked: set[str]
) -> str:
    """One node with those below it: a `<details>` where there is something to unfold, else a line."""
    unfold, deepest = depths
    below = [child for child in node.children if wanted is None or child.path in wanted]
    line = _line(node, root, node.path in marked)
    if not below and not node.weights:
        return f'<div style="margin-left:18px">{line}</div>'
    more = f"<div>… {counted(len(below), 'module')} below: raise the depth, or filter</div>" if below else ""
    inner = _weights(node) + (
        "".join(branch(child, root, level + 1, depths, wanted, marked) for child in below) if level < deepest else more
    )
    shown = " open" if level < unfold and below else ""
    return (
        f'<details{shown} style="margin-left:14px"><summary style="cursor:pointer">{line}</summary>'
        f'<div style="margin-left:10px">{inner}</div></details>'
    )


def _line(node: Node, root: Node, marked: bool) -> str:
    """Name, class, share of all weights as a bar, and figures."""
    name = escape(node.path.rpartition(".")[2] or "model")
    name = f"<mark>{name}</mark>" if marked else f"<b>{name}</b>"
    if node.elsewhere:
        return f"{name} {escape(node.kind)}: the same module as {escape(node.elsewhere)}, counted there"
    if not node.parameters and not node.bytes:
        tied = [weight.elsewhere for part in node.walk() for weight in part.weights if weight.elsewhere]
        said = f"tied to {escape(', '.join(tied))}, counted there" if tied else "no weights"
        return f"{name} {escape(node.kind)}{_shapes(node)}: {said}"
    whole = max(root.parameters, 1)
    trained = min(node.trainable, node.parameters)
    parts = [(trained / whole, TRAINED), ((node.parameters - trained) / whole, FROZEN)]
    picture = f'<span style="display:inline-block;vertical-align:middle">{bar(parts, 80, 10)}</span>'
    frozen = "" if trained else " ❄ frozen" if node.parameters else ""
    partly = f", {_share(node)} trained" if 0 < trained < node.parameters else ""
    figures = f"{node.parameters:,} weights, {size(node.bytes)}{partly}{frozen}"
    return f"{picture} {name} {escape(node.kind)}{_shapes(node)}: {figures}"


def _shapes(node: Node) -> str:
    shapes = [weight.size for weight in node.weights if weight.name == "weight"]
    return f" {shapes[0]}" if shapes else ""


def _weights(node: Node) -> str:
    """The module's own tensors, a line each."""
    lines = []
    for weight in node.weights:
        if not (weight.parameters or weight.bytes or weight.elsewhere):
            continue  # a buffer that is not saved
        kind = f"{weight.parameters:,} weights" if weight.parameters else f"no weight, {size(weight.bytes)}"
        said = f"tied to {escape(weight.elsewhere)}, counted there" if weight.elsewhere else kind
        state = "" if weight.trainable or not weight.parameters else " ❄ frozen"
        lines.append(
            f'<div style="margin-left:18px"><code>{escape(weight.name)}</code> {weight.size}: {said}{state}</div>'
        )
    return "".join(lines)


def _share(node: Node) -> str:
    return f"{100 * node.trainable / node.parameters:.3g} %" if node.parameters else "0 %"


def _alt(root: Node) -> str:
    parts = "; ".join(f"{node.path} ({node.kind}) {node.parameters:,}" for node in root.children if node.parameters)
    tied = [f"{n.path}.{w.name} to {w.elsewhere}" for n in root.walk() for w in n.weights if w.elsewhere]
    shared = f" Tied: {', '.join(tied[:6])}." if tied else ""
    return (
        f"Tree of {root.kind}: {root.parameters:,} weights, {root.trainable:,} of them trained, "
        f"{size(root.bytes)}. Weights by part: {parts or 'none'}.{shared}"
    )


def model_tree(model: nn.Module, *, depth: int = 2) -> Shown:
    """A widget that shows `model` as a tree to unfold, with a depth slider and a filter.

    The filter is the end of a module's path ("attention.self") or "re:" with a regular expression. The model is counted
    once, when the widget is made.
    """
    root = compute(model)
    most = max(root.depth, 1)
    return Explorer(
        lambda depth, filter: draw(root, depth, filter.strip()),
        depth=IntSlider(min(depth, root.depth), min=0, max=most, description="depth", **look(60, 320)),
        filter=Text(placeholder="the end of a path, as attention.self, or re:layer\\.[01]", description="filter",
                    **look(60, 440)),
    )  # fmt: skip
