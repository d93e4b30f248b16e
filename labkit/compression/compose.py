"""Compression in a declared order: any mix of passes, refused before it begins where the order makes no sense, measured
after each pass, and undone bit for bit (the idea of BMCook: Zhang et al. 2022, §3).

>>> # made = compress(model, [Shrink(2, 80), Distill(400), Prune(0.5, 200), Quantize("int8")], Material(how, rows))
>>> # made.model, made.steps
>>> # before_quantising = made.undo()

A pass is a frozen dataclass that changes a model. Sizes come first, because a mask belongs to one matrix; then single
weights; then their bits, because what is stored as codes no longer trains. Everything that trains learns the teacher's
answers: the model's own as it came, or those that the rows carry already.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import nn

from labkit import measure
from labkit.compression import aware, binary, distill, ternary
from labkit.compression.exporting import FORMS
from labkit.compression.pruning import drop_layers, finish, gradually, head_importance, prepare, remove_heads
from labkit.compression.pruning.masks import pruned_in
from labkit.compression.shrink import shrink
from labkit.compression.tinybert import TinyBert, bert_encoder
from labkit.config import AMOUNT, COUNT, RATE, SOME, check, strict
from labkit.errors import UsageError, unknown
from labkit.foundations.quantised import refuse_quantised
from labkit.training import Batches, fit

Row = Mapping[str, Any]
RULES = {"ternary": ternary.twn, "binary": binary.bwn}
HEAD = "classifier"  # of so few weights that in one or two bits it would cost answers and save nothing


@dataclass(frozen=True)
class Material:
    """What passes train on: how rows are read, the rows (labels may be missing), and how to train.

    Rows that carry "teacher_logits" keep them; else the model that `compress` is given answers for all of them first.
    """

    method: Any
    rows: Sequence[Row]
    lr: Annotated[float, RATE] = 1e-3
    batch_size: Annotated[int, COUNT] = 32
    seed: int = 0
    progress: bool | None = False
    teacher: nn.Module | None = None  # whose answers the rows carry, where its layers can be learned from too

    def __post_init__(self) -> None:
        check(self)
        if not self.rows:
            raise UsageError("no rows to train on: give the task's training rows, or texts without labels")

    @property
    def taught_elsewhere(self) -> bool:
        """Whether the rows bring the answers of a teacher of their own."""
        return "teacher_logits" in self.rows[0]

    def taught_by(self, model: nn.Module) -> Material:
        """With the answers of `model` as it is, unless the rows bring those of another teacher."""
        if self.taught_elsewhere:
            return self
        teacher = copy.deepcopy(model).eval()
        rows = distill.join_teacher(self.rows, distill.teacher_logits(teacher, self.method, self.rows))
        return replace(self, rows=rows, teacher=teacher)

    def train(self, model: nn.Module, steps: int, objective: Any = None, **options: Any) -> None:
        """So many steps of the objective, of KD unless another is given."""
        objective = objective or distill.Distill(self.method)
        collate = getattr(objective, "collate", self.method.collate)
        batches = Batches(self.method.read(self.rows), collate, self.batch_size, seed=self.seed)
        fit(
            model, objective, batches, steps=steps, seed=self.seed, progress=self.progress,
            **{"lr": self.lr, **options},
        )  # fmt: skip


class Pass:
    """What every pass has: where it may stand, and what it takes from the model for good."""

    RANK: ClassVar[int | None] = None  # passes with a rank come in its order; training may stand anywhere among them
    LOSES: ClassVar[str]

    def __post_init__(self) -> None:
        check(self)

    def __call__(self, model: Any, material: Material) -> Any:
        """The model after the pass, perhaps the same object."""
        raise NotImplementedError

    def __str__(self) -> str:
        """As `parse` reads it, without what is as by default at the end."""
        values = [(getattr(self, one.name), one.default) for one in fields(self)]  # type: ignore[arg-type]
        while values and values[-1][0] == values[-1][1]:
            values.pop()
        return ":".join([type(self).__name__.lower(), *[",".join(str(value) for value, _ in values)][: len(values)]])


@dataclass(frozen=True)
class Shrink(Pass):
    """A smaller model that begins with what fits of the teacher's weights."""

    layers: Annotated[int, COUNT]
    hidden: Annotated[int, COUNT]
    RANK, LOSES = 0, "layers and widths"

    def __call__(self, model: Any, material: Material) -> Any:  # noqa: D102
        return shrink(model, self.layers, self.hidden, seed=material.seed)


@dataclass(frozen=True)
class DropLayers(Pass):
    """Every k-th layer stays."""

    layers: Annotated[int, COUNT]
    RANK, LOSES = 0, "layers"

    def __call__(self, model: Any, material: Material) -> Any:  # noqa: D102
        count = len(bert_encoder(model).encoder.layer)
        if self.layers > count:
            raise UsageError(f"{self}: the model has {count} layers")
        return drop_layers(model, [(n + 1) * count // self.layers - 1 for n in range(self.layers)])


@dataclass(frozen=True)
class CutHeads(Pass):
    """The heads that the loss minds least leave the model, this share of all; one of each layer stays."""

    share: Annotated[float, AMOUNT]
    batches: Annotated[int, COUNT] = 8
    RANK, LOSES = 0, "heads"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.share < 1:
            raise UsageError(f"{self}: the share of heads must be below 1")

    def __call__(self, model: Any, material: Material) -> Any:  # noqa: D102
        objective = distill.Distill(material.method)
        batches = Batches(material.method.read(material.rows), objective.collate, material.batch_size, seed=0)
        asked = list(batches.stream(0, min(self.batches, len(batches))))
        scores = head_importance(model, lambda one, batch: objective(one, batch), asked)
        order = sorted((float(s), n, head) for n, layer in enumerate(scores) for head, s in enumerate(layer))
        gone: dict[int, list[int]] = {}
        left = round(self.share * len(order))
        for _, layer, head in order:
            if left and len(gone.get(layer, ())) + 1 < len(scores[layer]):
                gone.setdefault(layer, []).append(head)
                left -= 1
        return remove_heads(model, gone)


@dataclass(frozen=True)
class Distill(Pass):
    """So many steps of KD; before them `inner` steps of TinyBERT's losses inside the network."""

    steps: Annotated[int, COUNT]
    inner: Annotated[int, SOME] = 0
    temperature: Annotated[float, RATE] = 1.0
    alpha: float = 1.0
    LOSES = "nothing"

    def __call__(self, model: Any, material: Material) -> Any:  # noqa: D102
        if self.inner:
            if material.teacher is None:
                raise UsageError(f"{self}: the rows bring a teacher's answers, not its layers: leave `inner` at 0")
            tiny = TinyBert(material.method, material.teacher, prediction=0)
            with tiny.attached(model):
                material.train(model, self.inner, tiny)
        material.train(model, self.steps, distill.Distill(material.method, self.temperature, self.alpha))
        return model


@dataclass(frozen=True)
class Prune(Pass):
    """This share of the weights becomes 0, more and more during the steps; a later `Distill` keeps them at 0."""

    sparsity: Annotated[float, AMOUNT]
    steps: Annotated[int, COUNT] = 200
    rule: Literal["magnitude", "movement"] = "magnitude"
    RANK, LOSES = 1, "the weights that are 0"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.sparsity < 1:
            raise UsageError(f"{self}: a sparsity of 1 leaves nothing; give a share below 1")

    def __call__(self, model: Any, material: Material) -> Any:  # noqa: D102
        prepare(finish(model), self.rule, skip=(HEAD,) if hasattr(model, HEAD) else ())
        material.train(model, self.steps, on_step=gradually(model, self.sparsity, 0, max(self.steps // 2, 1)))
        return model


@dataclass(frozen=True)
class Quantize(Pass):
    """The weights become codes: "int8" by rows at once; "ternary" and "binary" after so many steps of training that
    sees the codes.
    """

    form: str = "int8"
    steps: Annotated[int, SOME] = 0
    RANK, LOSES = 2, "the digits that rounding cut"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.form not in FORMS:
            raise unknown("form", self.form, FORMS)
        if self.steps and self.form not in RULES:
            raise UsageError(f"{self}: {self.form} needs no training: leave `steps` at 0")

    def __call__(self, model: Any, material: Material) -> Any:  # noqa: D102
        finish(model)
        rule, skip = RULES.get(self.form), (HEAD,) if self.form in RULES and hasattr(model, HEAD) else ()
        if self.steps:
            material.train(aware.prepare(model, rule, skip), self.steps)
            aware.finish(model)
        return FORMS[self.form].apply(model, skip=skip)


PASSES = {kind.__name__.lower(): kind for kind in (Shrink, DropLayers, CutHeads, Distill, Prune, Quantize)}


@dataclass(frozen=True)
class Step:
    """What one pass left: its name, the model's parameters, its bytes in a file, seconds, and the score, if asked."""

    name: str
    parameters: int
    bytes: int
    seconds: float
    loses: str
    score: float | None = None


@dataclass
class Compressed:
    """The model, what each pass did, and the way back."""

    model: Any
    steps: list[Step]
    before: list[Any]  # the model before each pass, a copy

    def undo(self) -> Any:
        """Take the last pass back: the model is again what it was before it, bit for bit. UsageError before the first.

        From the result alone no pass has an inverse: `Step.loses` says what is gone. So copies are kept.
        """
        if not self.before:
            raise UsageError("there is no pass left to undo")
        self.steps.pop()
        self.model = self.before.pop()
        return self.model


def compress(
    model: Any, passes: Sequence[Pass], material: Material, *, score: Callable[[Any], float] | None = None
) -> Compressed:
    """Run the passes in their order on a copy of `model`; `score(model)` is asked after each.

    UsageError for an order that makes no sense (`check_order`), and for a model that is quantised already.
    """
    check_order(passes, taught_elsewhere=material.taught_elsewhere)
    refuse_quantised(model, "compressing begins with numbers")
    material = material.taught_by(model)
    made = Compressed(copy.deepcopy(model), [], [])
    for number, one in enumerate(passes):
        made.before.append(copy.deepcopy(made.model))
        began = time.perf_counter()
        made.model = one(made.model, material)
        seconds = time.perf_counter() - began
        if pruned_in(made.model) and not any(isinstance(later, Prune | Distill) for later in passes[number + 1 :]):
            finish(made.model)  # the last that trains with these masks
        with torch.no_grad():
            value = None if score is None else float(score(made.model))
        made.steps.append(
            Step(str(one), measure.parameters(made.model), measure.bytes_on_disk(made.model), seconds, one.LOSES, value)
        )
    return made


def check_order(passes: Sequence[Pass], *, taught_elsewhere: bool = False) -> None:
    """UsageError, naming the two passes and the mend, for an order in which one would spoil or never see the other."""
    if not passes:
        raise UsageError("no pass to run: name at least one of " + ", ".join(PASSES))
    highest = None
    for one in passes:
        if not isinstance(one, Pass):
            raise UsageError(f"{one!r:.60} is no pass: use {', '.join(kind.__name__ for kind in PASSES.values())}")
        if isinstance(highest, Quantize):
            raise UsageError(f"{one} after {highest}: codes neither train nor can be cut; put {highest} last")
        if one.RANK is None:
            if highest is None and not taught_elsewhere:
                raise UsageError(f"{one} first: the model would learn its own answers; make it smaller before")
        elif highest is not None and one.RANK < highest.RANK:
            raise UsageError(f"{one} after {highest}: it would take the masks with it; put {one} before")
        else:
            highest = one


def parse(text: str) -> list[Pass]:
    """Passes from a line such as "shrink:2,80 distill:400 prune:0.5,200 quantize:int8", checked as `compress` will.

    UsageError for a pass or a value that is not known.
    """
    made = []
    for word in text.split():
        name, _, given = word.partition(":")
        if name not in PASSES:
            raise unknown("pass", name, PASSES)
        kind, values = PASSES[name], [_value(one) for one in given.split(",") if one]
        places = [one.name for one in fields(kind)]  # type: ignore[arg-type]
        if len(values) > len(places):
            raise UsageError(f"{word}: {name} takes at most {len(places)} values, {', '.join(places)}")
        try:
            made.append(strict(kind, dict(zip(places, values, strict=False)), where=word))
        except TypeError:
            raise UsageError(f"{word}: {name} needs {', '.join(places)}, in this order") from None
    return made


def _value(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
