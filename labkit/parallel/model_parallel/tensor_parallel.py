"""Tensor parallelism: every rank holds a part of every large matrix and computes its part of every layer.

After Shoeybi et al. 2019, "Megatron-LM", §3. A pair of layers Y = φ(X A) B is cut so that the ranks meet once: A by
columns, A = [A₁ … A_t], and B by rows, so that

    φ(X A) B = Σᵢ φ(X Aᵢ) Bᵢ

and each rank computes one term alone. What remains is one sum over the ranks going forward (`Sum`, the paper's g) and
one going backward, for the gradient of X, which every rank has read (`Spread`, the paper's f). PyTorch stores the
weight of a linear layer transposed, (out, in): columns of A are its rows.

A block has two such pairs (attention, cut by heads, and the feed-forward network): two all-reduces forward and two
backward. The vocabulary is cut as well: the embedding's rows, the output layer's columns, and the cross-entropy between
them, which exchanges three numbers a token and never the logits.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from labkit.config import COUNT
from labkit.errors import UsageError
from labkit.parallel.data_parallel.collectives import Communicator
from labkit.parallel.model_parallel.model import CrossEntropy, LanguageModel, Shape, batch, build
from labkit.parallel.processes import Here, joined

# The two functions that are each other's gradient


class Spread(torch.autograd.Function):
    """f: forward nothing, backward the sum over the ranks. Stands where all ranks read the same tensor."""

    @staticmethod
    def forward(context: Any, x: Tensor, group: Communicator) -> Tensor:
        """`x` itself."""
        context.group = group
        return x.view_as(x)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """Each rank knows what its own use of x adds to the gradient; the whole is the sum."""
        return context.group.all_reduce(gradient.clone(memory_format=torch.contiguous_format)), None


class Sum(torch.autograd.Function):
    """g: forward the sum over the ranks, backward nothing. Stands where each rank has one term."""

    @staticmethod
    def forward(context: Any, x: Tensor, group: Communicator) -> Tensor:
        """The sum, a new tensor."""
        return group.all_reduce(x.clone(memory_format=torch.contiguous_format))

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """Every term has the gradient of the sum."""
        return gradient, None


# The layers


class CutLayer(nn.Module):
    """A layer of which each rank of `group` has a part of the weight, and of the bias where that is cut too."""

    def __init__(self, group: Communicator, weight: nn.Parameter, bias: nn.Parameter | None = None) -> None:
        super().__init__()
        self.group, self.weight, self.bias = group, weight, bias


class ColumnLinear(CutLayer):
    """A linear layer of which each rank has some outputs: (…, in) → (…, out / ranks)."""

    def forward(self, x: Tensor) -> Tensor:
        """`x` is whole and the same on every rank; the result is this rank's part."""
        return functional.linear(Spread.apply(x, self.group), self.weight, self.bias)


class RowLinear(CutLayer):
    """A linear layer of which each rank has some inputs: (…, in / ranks) → (…, out), the same on every rank."""

    def forward(self, x: Tensor) -> Tensor:
        """`x` is this rank's part. The bias is added once, after the sum."""
        total = Sum.apply(functional.linear(x, self.weight), self.group)
        return total if self.bias is None else total + self.bias


class VocabularyEmbedding(CutLayer):
    """An embedding of which each rank has the vectors of some words: ids (…) → (…, width), whole everywhere."""

    def forward(self, ids: Tensor) -> Tensor:
        """The vectors of the words here, zero for the others, summed over the ranks."""
        own, here = _own(ids, len(self.weight), self.group)
        vectors = functional.embedding(own, self.weight) * here[..., None]
        return Sum.apply(vectors, self.group)


class VocabularyCrossEntropy(nn.Module):
    """Mean cross-entropy where each rank has the logits of some words: (…, vocabulary / ranks) and ids (…)."""

    def __init__(self, group: Communicator) -> None:
        super().__init__()
        self.group = group

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """log Σ exp(logit) − logit of the target. A token costs three numbers: a maximum, a sum, a target's logit."""
        logits, targets = logits.flatten(0, -2), targets.flatten()  # (n, words here), (n,)
        highest = self.group.all_gather(logits.detach().amax(1)[None]).amax(0)  # (n,): no exp overflows
        logits = logits - highest[:, None]
        own, here = _own(targets, logits.shape[1], self.group)
        target = logits.gather(1, own[:, None])[:, 0] * here
        total, target = Sum.apply(torch.stack([logits.exp().sum(1), target]), self.group)
        return (total.log() - target).mean()


def _own(ids: Tensor, words: int, group: Communicator) -> tuple[Tensor, Tensor]:
    """Ids as rows of this rank's `words` rows (0 for words elsewhere), and whether they are here."""
    shifted = ids - group.rank * words
    here = (shifted >= 0) & (shifted < words)
    return shifted.clamp(0, words - 1), here


# Cutting and joining a model

# module name -> how it is cut; what is not named here is whole on every rank
PLAN = {"qkv": "column", "out": "row", "up": "column", "down": "row", "words": "column", "output": "column"}


def cut_dimension(name: str) -> int | None:
    """The dimension along which the parameter `name` ("blocks.0.up.weight") is cut; None: every rank has the whole.

    >>> cut_dimension("blocks.0.attention.qkv.bias"), cut_dimension("blocks.0.down.weight")
    (0, 1)
    >>> cut_dimension("blocks.0.down.bias") is None
    True
    """
    module, _, kind = name.rpartition(".")
    how = PLAN.get(module.rpartition(".")[2])
    if how == "row":
        return 1 if kind == "weight" else None
    return 0 if how == "column" else None


def part(name: str, weight: Tensor, rank: int, ranks: int) -> Tensor:
    """What `rank` of `ranks` holds of a whole weight: a new tensor. UsageError where it cannot be cut evenly."""
    dimension = cut_dimension(name)
    if dimension is None:
        return weight.detach().clone()
    if weight.shape[dimension] % ranks:
        raise UsageError(
            f"{name}: {weight.shape[dimension]} cannot be cut into {ranks} equal parts; "
            f"choose a size that is a multiple of {ranks}, or fewer ranks"
        )
    return weight.detach().chunk(ranks, dimension)[rank].clone()


def join(states: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The whole weights from those of all ranks, in rank order: `part` backwards, for any number of ranks."""
    whole = {}
    for name, first in states[0].items():
        dimension = cut_dimension(name)
        whole[name] = first.clone() if dimension is None else torch.cat([state[name] for state in states], dimension)
    return whole


def split(model: LanguageModel, group: Communicator) -> LanguageModel:
    """This rank's part of `model`: a copy whose large layers are cut; `model` stays. Tied weights stay tied.

    UsageError where heads, width or vocabulary are no multiple of the number of ranks.
    """
    if model.shape.heads % group.world:
        raise UsageError(f"{model.shape.heads} heads cannot be shared by {group.world} ranks: a head stays whole")
    model = copy.deepcopy(model)
    made: dict[nn.Parameter, nn.Parameter] = {}  # whole -> part: a tied weight is cut once
    for path, module in list(model.named_modules()):
        owner, _, name = path.rpartition(".")
        if name in PLAN:
            for kind, weight in module.named_parameters():
                if weight not in made:
                    made[weight] = nn.Parameter(part(f"{path}.{kind}", weight, group.rank, group.world))
            layer = VocabularyEmbedding if name == "words" else RowLinear if PLAN[name] == "row" else ColumnLinear
            own = (made[weight] for weight in module.parameters())  # the weight, and a bias where there is one
            setattr(model.get_submodule(owner), name, layer(group, *own))
        elif isinstance(module, CrossEntropy):
            setattr(model.get_submodule(owner), name, VocabularyCrossEntropy(group))
    return model


# What it costs


def ring_bytes(elements: int, ranks: int, itemsize: int = 8) -> int:
    """Bytes each rank sends in a ring all-reduce of `elements`, of which `ranks` is a divisor: 2 (t − 1) / t · Ψ."""
    return 2 * (ranks - 1) * (elements // ranks) * itemsize


def bytes_sent(blocks: int, tokens: int, width: int, ranks: int, *, ends: bool = True, itemsize: int = 8) -> int:
    """Bytes each rank sends in one forward and backward pass over `tokens` tokens (batch × length), in closed form.

    Four all-reduces of tokens × width a block. With `ends`: one for the embedding forward, one for the output layer
    backward, and for the cross-entropy one all-gather of a number a token and one all-reduce of two.
    """
    hidden = ring_bytes(tokens * width, ranks, itemsize)
    loss = (ranks - 1) * tokens * itemsize + ring_bytes(2 * tokens, ranks, itemsize)
    return 4 * blocks * hidden + (2 * hidden + loss if ends else 0)


def loss_and_bytes(here: Here, shape: Shape, rows: int) -> tuple[float, int, int]:
    """The split model's loss on one batch, the weights that this rank holds, and the bytes it sent forward and back."""
    group = Communicator(here, name="model")
    model = split(build(shape), group).to(here.device)
    loss = model(*(tensor.to(here.device) for tensor in batch(shape, rows, step=0)))
    loss.backward()
    return loss.item(), sum(weight.numel() for weight in model.parameters()), group.sent


def main() -> None:
    """`torchrun --nproc_per_node 4 -m labkit.parallel.model_parallel.tensor_parallel --rows 4`."""
    parser = argparse.ArgumentParser(description="One forward and backward pass of a model split over the ranks.")
    parser.add_argument("--rows", type=COUNT, default=4, help="rows of the batch")
    options = parser.parse_args()
    shape = Shape()
    with joined() as here:
        loss, held, sent = loss_and_bytes(here, shape, options.rows)
        if here.rank == 0:
            closed = bytes_sent(shape.layers, options.rows * shape.positions, shape.width, here.world)
            whole = build(shape)
            print(f"loss {loss:.12f}, of the whole model {whole(*batch(shape, options.rows, step=0)).item():.12f}")
            print(f"rank 0 holds {held:,} of {sum(weight.numel() for weight in whole.parameters()):,} weights")
            print(f"rank 0 sent {sent:,} bytes, closed form {closed:,}")


if __name__ == "__main__":
    main()
