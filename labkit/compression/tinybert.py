"""TinyBERT: the student learns how the teacher gets to its answer, layer by layer (Jiao et al. 2020, §3).

Embeddings, hidden states and attention scores before the softmax are matched on the same input. Notable: the features
are read by hooks for the time of one forward pass, so no backbone is edited; every loss here gives one value a
sentence, so that sentences can be weighted; and padding counts nowhere.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from labkit.config import positive
from labkit.errors import UsageError
from labkit.foundations.quantised import keep_float

PROJECTION = "tinybert_projection"  # the name under which the student carries the projection while it is trained


def uniform_map(student_layers: int, teacher_layers: int) -> tuple[int, ...]:
    """The teacher's layer for each of the student's, counted from 1: g(m) = k·m, k = teacher/student layers.

    Rounded up where k is not whole, so that the last layer always learns from the last. Jiao et al. 2020, §3.1.
    """
    if not 1 <= student_layers <= teacher_layers:
        raise UsageError(f"{student_layers} layers cannot learn from {teacher_layers}: give 1 to {teacher_layers}")
    return tuple(-(-m * teacher_layers // student_layers) for m in range(1, student_layers + 1))


def check_logits(student: Tensor, teacher: Tensor, temperature: float) -> None:
    """UsageError unless both are (batch, classes) alike, of two classes at least, and the temperature can soften them.

    Other shapes would be broadcast, and a student of one class has nothing to learn.
    """
    positive("temperature", temperature)
    if student.ndim != 2 or student.shape != teacher.shape or student.shape[1] < 2:
        found = f"{tuple(student.shape)} and the teacher's {tuple(teacher.shape)}"
        raise UsageError(f"the student's logits {found} must be of the same rows and classes, two classes at least")


def soft_cross_entropy(student: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """−Σ softmax(teacher/T) · log softmax(student/T): logits (batch, classes) to (batch,). Jiao et al. 2020, eq. 10.

    UsageError for another number of classes, or a temperature that is not above 0.
    """
    check_logits(student, teacher, temperature)
    return -((teacher / temperature).softmax(-1) * (student / temperature).log_softmax(-1)).sum(-1)


def hidden_loss(
    student: Tensor, teacher: Tensor, mask: Tensor, projection: Callable[[Tensor], Tensor] | None = None
) -> Tensor:
    """MSE(student · W, teacher) over real tokens and features (Jiao et al. 2020, eqs. 8 and 9).

    student (batch, tokens, d′), teacher (batch, tokens, d), mask (batch, tokens), 1 for real tokens; returns (batch,).
    """
    student = student if projection is None else projection(student)
    _check_alike("states", student, teacher)
    error = (student - teacher).square().mean(-1)  # (batch, tokens)
    return (error * mask).sum(1) / mask.sum(1).clamp(min=1)


def attention_loss(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """MSE of the scores before the softmax, over heads and pairs of real tokens (Jiao et al. 2020, eq. 7).

    student and teacher (batch, heads, tokens, tokens), mask (batch, tokens); returns (batch,).
    """
    _check_alike("attention scores", student, teacher)
    pairs = mask[:, :, None] * mask[:, None, :]  # (batch, tokens, tokens)
    return ((student - teacher).square().mean(1) * pairs).sum((1, 2)) / pairs.sum((1, 2)).clamp(min=1)


def _check_alike(what: str, student: Tensor, teacher: Tensor) -> None:
    if student.shape != teacher.shape:
        found = f"{what} of student and teacher must have one shape, not {tuple(student.shape)}, {tuple(teacher.shape)}"
        raise UsageError(f"{found}: a projection evens out widths; tokens and heads must be the same")


def bert_encoder(model: nn.Module) -> Any:
    """The encoder inside `model`: the first module with `embeddings` and `encoder.layer`, as in BERT's family."""
    for module in model.modules():
        layers = getattr(getattr(module, "encoder", None), "layer", None)
        if hasattr(module, "embeddings") and isinstance(layers, nn.ModuleList):
            return module
    raise UsageError(f"{type(model).__name__} holds no BERT-like encoder (embeddings and encoder.layer)")


@dataclass
class Features:
    """What one forward pass left: `states[0]` the embeddings, `states[m]` layer m's output, each (batch, tokens, d)."""

    heads: int
    states: dict[int, Tensor] = field(default_factory=dict)
    queries: dict[int, Tensor] = field(default_factory=dict)
    keys: dict[int, Tensor] = field(default_factory=dict)

    @property
    def last(self) -> Tensor:
        """The last layer's output."""
        return self.states[max(self.states)]

    def scores(self, layer: int) -> Tensor:
        """q·kᵀ/√d_head of layer 1, 2, …, before mask and softmax: (batch, heads, tokens, tokens)."""
        q, k = (x.unflatten(-1, (self.heads, -1)).transpose(1, 2) for x in (self.queries[layer], self.keys[layer]))
        return q @ k.transpose(2, 3) / q.shape[-1] ** 0.5


Read = tuple[Tensor, Features]  # logits (batch, classes), and what led to them


@contextlib.contextmanager
def capture(model: nn.Module) -> Iterator[Features]:
    """Features of the forward pass that is run inside the `with`; the hooks are gone afterwards."""
    encoder = bert_encoder(model)
    features = Features(encoder.config.num_attention_heads)

    def keep(store: dict[int, Tensor], number: int) -> Callable[..., None]:
        def hook(_: nn.Module, __: Any, output: Any) -> None:
            store[number] = output[0] if isinstance(output, tuple) else output

        return hook

    with contextlib.ExitStack() as stack:
        watched = [(encoder.embeddings, features.states, 0)]
        for number, layer in enumerate(encoder.encoder.layer, start=1):
            attention = layer.attention.self
            watched += [(layer, features.states, number), (attention.query, features.queries, number)]
            watched.append((attention.key, features.keys, number))
        for module, store, number in watched:
            stack.callback(module.register_forward_hook(keep(store, number)).remove)
        yield features


class TinyBert:
    """The TinyBERT objective on inputs that student and teacher share; one projection W serves embeddings and layers.

    W is trained with the student, so the student must carry it meanwhile:

    >>> # tiny = TinyBert(method, teacher, prediction=0)     # first the intermediate losses, as in the paper's §4.2
    >>> # with tiny.attached(student):
    >>> #     fit(student, tiny, Batches(rows, method.collate, 32))

    The four numbers weigh embedding, hidden, attention and prediction loss. With `prediction=0` the encoders alone run
    and no method is needed: that is general distillation, on any text. Layers learn from those of `uniform_map`. The
    teacher is put in evaluation mode.
    """

    def __init__(
        self,
        student_method: Any,
        teacher_model: nn.Module,
        *,
        embedding: float = 1.0,
        hidden: float = 1.0,
        attention: float = 1.0,
        prediction: float = 1.0,
        temperature: float = 1.0,
    ) -> None:
        if prediction and student_method is None:
            raise UsageError("the prediction loss needs a method: give one, or prediction=0")
        self.method, self.teacher = student_method, teacher_model.eval()
        self.temperature = positive("temperature", temperature)
        self.weights = {"embedding": embedding, "hidden": hidden, "attention": attention, "prediction": prediction}
        if not all(0 <= weight < math.inf for weight in self.weights.values()):
            raise UsageError(f"the weights of the losses must be numbers of at least 0, not {self.weights}")
        self.projection: nn.Linear | None = None

    @contextlib.contextmanager
    def attached(self, student: nn.Module) -> Iterator[nn.Module]:
        """Hang W on `student` for as long as the `with` lasts; W itself is kept, for a second stage.

        UsageError where the teacher's vocabulary is smaller (soft tokens may make it larger), or where the two differ
        in heads while attention is distilled, or in the names of their labels while the prediction is.
        """
        mine, theirs = bert_encoder(student), bert_encoder(self.teacher)
        for name in ("vocab_size", *(["num_attention_heads"] if self.weights["attention"] else [])):
            ours, its = getattr(mine.config, name), getattr(theirs.config, name)
            if ours > its or (ours != its and name != "vocab_size"):
                raise UsageError(f"student and teacher must agree in {name}: {ours}, {its}")
        uniform_map(len(mine.encoder.layer), len(theirs.encoder.layer))
        ours, its = label_names(student), label_names(self.teacher)
        if self.weights["prediction"] and ours and its and ours != its:
            raise UsageError(f"student and teacher must have the same labels, in the same order: {ours}, {its}")
        if self.projection is None:
            self.projection = _projection(mine, theirs)
            keep_float([self.projection])
        setattr(student, PROJECTION, self.projection)
        try:
            yield student
        finally:
            delattr(student, PROJECTION)

    def losses(self, student: nn.Module, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The losses whose weight is not 0, by name: (batch,) each, unweighted; summed over layers as in the paper."""
        return self._losses(*self._read(student, batch), batch)

    def _read(self, student: nn.Module, batch: Mapping[str, Tensor]) -> tuple[Read, Read]:
        """What student and teacher say of the batch, and how they get to it."""
        if self.projection is None:
            raise UsageError("the projection is not attached: train inside `with tiny.attached(student):`")
        with capture(student) as mine:
            logits = self._run(student, batch)
        with torch.no_grad(), capture(self.teacher.to(batch["input_ids"].device)) as theirs:
            target = self._run(self.teacher, batch)
        return (logits, mine), (target, theirs)

    def _losses(self, student: Read, teacher: Read, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        (logits, mine), (target, theirs) = student, teacher
        mask = batch["attention_mask"].to(mine.states[0].dtype)
        pairs = list(enumerate(uniform_map(len(mine.queries), len(theirs.queries)), start=1))

        def state(m: int, g: int) -> Tensor:
            return hidden_loss(mine.states[m], theirs.states[g], mask, self.projection)

        found: dict[str, Callable[[], Tensor | int]] = {
            "embedding": lambda: state(0, 0),
            "hidden": lambda: sum(state(m, g) for m, g in pairs),
            "attention": lambda: sum(attention_loss(mine.scores(m), theirs.scores(g), mask) for m, g in pairs),
            "prediction": lambda: soft_cross_entropy(logits, target, self.temperature),
        }
        return {name: loss() for name, loss in found.items() if self.weights[name]}  # type: ignore[misc]

    def __call__(self, student: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """The weighted sum, averaged over sentences: a scalar."""
        return sum(self.weights[name] * loss.mean() for name, loss in self.losses(student, batch).items())  # type: ignore

    def _run(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        if self.weights["prediction"]:
            return self.method.logits(model, batch)
        inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "token_type_ids") if name in batch}
        return bert_encoder(model)(**inputs)[0]


def label_names(model: nn.Module) -> list[str]:
    """A classifier's labels in their order; none where nobody named them."""
    names = getattr(getattr(model, "config", None), "id2label", None) or {}
    return [] if any(str(name).startswith("LABEL_") for name in names.values()) else list(names.values())


def _projection(student: Any, teacher: Any) -> nn.Linear:
    """W: the map that best turns the student's word embeddings into the teacher's; for equal widths the identity."""
    mine, theirs = (m.get_input_embeddings().weight.detach() for m in (student, teacher))
    linear = nn.Linear(student.config.hidden_size, teacher.config.hidden_size, bias=False).to(mine)
    with torch.no_grad():
        if linear.in_features == linear.out_features:
            nn.init.eye_(linear.weight)
        elif mine.shape[1] == linear.in_features and theirs.shape[1] == linear.out_features:
            best = torch.linalg.lstsq(mine.double().cpu(), theirs[: len(mine)].double().cpu()).solution  # (d′, d)
            linear.weight.copy_(best.t())
    return linear
