"""word2vec (Mikolov et al. 2013, "Efficient estimation of word representations in vector space"): vectors that predict.

CBOW says the middle word of a window from the mean of the words around it; skip-gram pairs it with each of them. As in
the authors' program, the words around are the inputs of both, and a text's words are as likely inputs as outputs.
A step reads and changes only the rows of the words that it saw, which is why it is written out here instead of `fit`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, get_args

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from labkit.config import AMOUNT, COUNT, RATE, SEED, check
from labkit.errors import DataError, TrainingError, unknown
from labkit.foundations.words import outputs, text
from labkit.foundations.words.huffman import huffman_codes
from labkit.foundations.words.neighbours import WordVectors
from labkit.lab import Bar, generator

# A step adds up what all pairs ask of a row, as if they came one after another; where many share a row, as the root of
# the tree, it would move too far. So it moves at most by so many times the longest vector that it met.
AT_ONCE = 1.0
# Numbers that are asked for once and given back unused. The C library then keeps what steps free, up to twice as much,
# for the next step; else it may return the pages to the system and get them anew, at up to two fifths of the time.
KEPT = 7_500_000  # 30 MB: above 32, glibc learns nothing from it
Method, Layer = Literal["skip-gram", "cbow"], Literal["negative", "hierarchical", "full"]


@dataclass(frozen=True)
class Word2VecSettings:
    """`threshold` is sub-sampling's t (0: read all words), `batch` counts middle words a step. The rate falls in a line
    to 0. UsageError for a value that cannot be.
    """

    method: Method = "skip-gram"
    output: Layer = "negative"
    dimension: Annotated[int, COUNT] = 100
    window: Annotated[int, COUNT] = 5
    negatives: Annotated[int, COUNT] = 5
    threshold: Annotated[float, AMOUNT] = 1e-3
    min_count: Annotated[int, COUNT] = 5
    epochs: Annotated[int, COUNT] = 5
    lr: Annotated[float, RATE] = 0.025
    batch: Annotated[int, COUNT] = 512
    seed: Annotated[int, SEED] = 0

    def __post_init__(self) -> None:
        check(self)
        for name, known in (("method", get_args(Method)), ("output", get_args(Layer))):
            if getattr(self, name) not in known:
                raise unknown(name, getattr(self, name), known)


def train_word2vec(
    texts: Sequence[str],
    settings: Word2VecSettings = Word2VecSettings(),  # noqa: B008  frozen
    *,
    loss: outputs.Loss = outputs.negative_sampling_loss,
    keep: Callable[[np.ndarray, float], np.ndarray] = text.keep_probability,
    noise: Callable[[np.ndarray], np.ndarray] = text.noise_distribution,
    codes: Callable[[np.ndarray], list[str]] = huffman_codes,
    progress: bool | None = None,
) -> WordVectors:
    """Vectors of the words of `texts`, which are separated by spaces. The same for the same seed, on the CPU.

    The functions may be your own: negative sampling's loss and noise, sub-sampling's keep, the tree's codes. DataError
    for texts without two words that are frequent enough, TrainingError where the loss is no longer a number.
    """
    vocabulary, draws = text.Vocabulary.of(texts, settings.min_count), generator(settings.seed)
    counts, size = vocabulary.counts, len(vocabulary.words)
    layers: dict[str, Callable[[], outputs.Output]] = {
        "negative": lambda: outputs.NegativeSampling(np.asarray(noise(counts)), settings.negatives, draws, loss),
        "hierarchical": lambda: outputs.HierarchicalSoftmax(counts, codes),
        "full": lambda: outputs.FullSoftmax(size),
    }
    model = Word2Vec(size, settings.dimension, layers[settings.output](), settings.method, draws)
    torch.empty(KEPT)
    kept = np.asarray(keep(counts, settings.threshold)) if settings.threshold else np.ones(size)
    (ids, places), rng = vocabulary.encode(texts), np.random.default_rng(settings.seed)
    with Bar(int(settings.epochs * kept @ counts), progress, unit="word", unit_scale=True) as bar:
        for epoch in range(settings.epochs):
            read = rng.random(len(ids)) < kept[ids]
            for words, around, share in batches(ids[read], places[read], settings, rng, model.none):
                now = (epoch + share) / settings.epochs
                value = model.step(words, around, lr=settings.lr * max(1 - now, 1e-4))
                bar.update(len(words))
            if not np.isfinite(value):
                raise TrainingError(f"epoch {epoch + 1}: the loss is {value}: lower lr, or mend your loss")
    return WordVectors(vocabulary, model.inputs[:-1])


def batches(
    ids: np.ndarray, places: np.ndarray, settings: Word2VecSettings, rng: np.random.Generator, none: int
) -> Iterator[tuple[Tensor, Tensor, float]]:
    """Each word that has another beside it, once, with its window: `words (n,), around (n, 2·reach), share done`.

    A window's reach is drawn from 1 to `settings.window`, so that near words count more. Words of one reach share a
    batch, which leaves little to mask; the batches come in random order. DataError where no two words are left.
    """
    beside = places[1:] == places[:-1]
    order = rng.permutation(np.flatnonzero(np.append(beside, False) | np.append(False, beside)))
    if not len(order):
        raise DataError("no two words stand side by side: give more text, or raise threshold (0 reads every word)")
    reach = rng.integers(1, settings.window + 1, len(ids))
    order = order[np.argsort(reach[order], kind="stable")]
    starts = np.arange(0, len(order), settings.batch)
    for number, start in enumerate(rng.permutation(starts)):
        at = order[start : start + settings.batch]
        around = text.windows(ids, places, at, reach[at], none)
        yield torch.from_numpy(ids[at]), torch.from_numpy(around), number / len(starts)


class Word2Vec:
    """Two tables, of input and of output vectors, and the step that changes a few of their rows.

    The last input row stands for the words that a window lacks, and stays 0.
    """

    def __init__(
        self, words: int, dimension: int, output: outputs.Output, method: Method, draws: torch.Generator
    ) -> None:
        self.output, self.method, self.none = output, method, words
        self.inputs = (torch.rand(words + 1, dimension, generator=draws) - 0.5) / dimension  # (words + 1, d)
        self.inputs[words] = 0
        self.outputs = torch.zeros(output.size, dimension)  # (rows of the output, d)

    def step(self, words: Tensor, around: Tensor, lr: float) -> float:
        """One step of gradient descent on the sum over pairs, whose mean loss is returned.

        words (n,), and the words around them (n, c), `none` where there is none. As in the authors' program, each word
        of CBOW's mean gets the whole change of the mean, not its share.
        """
        there = around != self.none
        if self.method == "cbow":
            inputs = F.embedding_bag(around, self.inputs, mode="mean", padding_idx=self.none)[:, None]  # (n, 1, d)
            there = there.any(1, keepdim=True)
        else:
            inputs = take(self.inputs, around)  # (n, c, d)
        rows = self.output.rows(words)
        inputs = inputs.view(len(rows), -1, inputs.shape[-1])  # (1, n · c, d), where all words need the same rows
        read = take(self.outputs, rows)  # (n, m, d)
        loss, error = self._error(inputs @ read.mT, words, rows, there)
        change = (error @ read).view(*there.shape, -1)  # the error times what it met, and the other way round
        weight = error.abs()
        rate = rates(around, weight.sum(2).view(there.shape).expand_as(around), lr)  # (n, c)
        add_rows(self.outputs, rows, (error * -rates(rows, weight.sum(1), lr)[:, None]).mT @ inputs)
        add_rows(self.inputs, around, change * -rate[..., None])
        self.inputs[self.none] = 0
        return loss

    def _error(self, scores: Tensor, words: Tensor, rows: Tensor, there: Tensor) -> tuple[float, Tensor]:
        """The mean loss of pairs, and the sum's derivative by each score: of their shape, 0 for what is no pair."""
        pairs = there.flatten().nonzero()[:, 0]  # (pairs,)
        of = pairs // there.shape[1]  # the number of each pair's word
        mine = scores.flatten(0, 1).index_select(0, pairs).requires_grad_()  # (pairs, m)
        loss = self.output.loss(mine, words[of], rows[of] if len(rows) == len(words) else rows)
        error = torch.zeros_like(scores)
        error.flatten(0, 1).index_copy_(0, pairs, torch.autograd.grad(loss * len(pairs), mine)[0])
        return loss.item(), error


def take(table: Tensor, rows: Tensor) -> Tensor:
    """table[rows], (…, d): a copy."""
    return table.index_select(0, rows.flatten()).view(*rows.shape, -1)


def rates(rows: Tensor, weights: Tensor, lr: float) -> Tensor:
    """The rate of each of `rows` (…): lr, or less, so that rate · Σ weights of a row's pairs is at most AT_ONCE."""
    return (AT_ONCE / torch.bincount(rows.flatten(), weights.flatten())).clamp(max=lr).float()[rows]


def add_rows(table: Tensor, rows: Tensor, change: Tensor) -> None:
    """table[row] += change, in place, for each of `rows` (…) with its change (…, d); a row may come twice."""
    change = change.flatten(0, -2)
    table.scatter_add_(0, rows.flatten()[:, None].expand_as(change), change)
