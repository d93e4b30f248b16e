"""Reading one word after another: the Elman RNN, the GRU and the LSTM, a step of each written out once.

A step takes a word's vector and the memory, and gives all that it computed by name: the new state as "hidden", the
LSTM's second one as "cell", and its gates, for a picture. So what one step gives is the memory of the next. Weights are
torch's own: `Recurrent` trains with torch's kernels, and with `written_out=True` by the steps of this file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from labkit.errors import UsageError, unknown

Memory = Mapping[str, Tensor]  # "hidden", and of an LSTM "cell": (batch, size) each


class Weights(NamedTuple):
    """One direction's weights: of the word (gates · size, inputs), of the state (gates · size, size), two biases."""

    word: Tensor
    state: Tensor
    word_bias: Tensor
    state_bias: Tensor


def rnn_step(x: Tensor, memory: Memory, weights: Weights) -> dict[str, Tensor]:
    """h' = tanh(W x + U h + b), Elman 1990: x (batch, inputs), everything that comes out (batch, size)."""
    word, state = _sums(x, memory["hidden"], weights)
    return {"hidden": torch.tanh(word + state)}


def gru_step(x: Tensor, memory: Memory, weights: Weights, reset_first: bool = False) -> dict[str, Tensor]:
    """Two gates; the new state lies between a candidate and the old one: h' = (1 − z) ⊙ n + z ⊙ h.

    In torch n = tanh(W x + r ⊙ (U h + b)); with `reset_first` n = tanh(W x + U (r ⊙ h) + b), as in Cho et al. 2014,
    Learning phrase representations using RNN encoder–decoder, eqs. 5–8.
    """
    word, state = (part.chunk(3, -1) for part in _sums(x, memory["hidden"], weights))
    reset, update = torch.sigmoid(word[0] + state[0]), torch.sigmoid(word[1] + state[1])
    remembered = reset * state[2]
    if reset_first:
        rows = slice(2 * update.shape[-1], None)  # of the candidate
        remembered = F.linear(reset * memory["hidden"], weights.state[rows], weights.state_bias[rows])
    candidate = torch.tanh(word[2] + remembered)
    hidden = (1 - update) * candidate + update * memory["hidden"]
    return {"reset": reset, "update": update, "candidate": candidate, "hidden": hidden}


def lstm_step(x: Tensor, memory: Memory, weights: Weights) -> dict[str, Tensor]:
    """The cell is kept by one gate and written by another: c' = f ⊙ c + i ⊙ g, and h' = o ⊙ tanh(c').

    Hochreiter & Schmidhuber 1997; the forget gate f is Gers et al. 2000.
    """
    i, f, g, o = sum(_sums(x, memory["hidden"], weights)).chunk(4, -1)
    i, f, g, o = torch.sigmoid(i), torch.sigmoid(f), torch.tanh(g), torch.sigmoid(o)
    cell = f * memory["cell"] + i * g
    return {"input": i, "forget": f, "candidate": g, "output": o, "cell": cell, "hidden": o * torch.tanh(cell)}


def _sums(x: Tensor, hidden: Tensor, weights: Weights) -> tuple[Tensor, Tensor]:
    """W x + b and U h + b, of all gates at once: (batch, gates · size) each."""
    return F.linear(x, weights.word, weights.word_bias), F.linear(hidden, weights.state, weights.state_bias)


Step = Callable[[Tensor, Memory, Weights], dict[str, Tensor]]
KINDS: dict[str, tuple[type[nn.RNNBase], Step]] = {
    "rnn": (nn.RNN, rnn_step),
    "gru": (nn.GRU, gru_step),
    "gru-2014": (nn.GRU, partial(gru_step, reset_first=True)),  # always written out: torch has none
    "lstm": (nn.LSTM, lstm_step),
}


class Recurrent(nn.Module):
    """A layer of one of KINDS that reads padded texts from left to right and, `bidirectional`, from right to left too.

    `forget_bias` is what an LSTM's forget gates begin with (Jozefowicz et al. 2015, An empirical exploration of
    recurrent network architectures: 1), in torch about 0. UsageError for an unknown kind, or a bias without its gate.

    Padding behind a word does not change its state; to be read backwards, a text is turned round in its own length.
    """

    def __init__(
        self, kind: str, inputs: int, size: int, *, bidirectional: bool = False, written_out: bool = False,
        forget_bias: float | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if kind not in KINDS:
            raise unknown("kind of recurrent layer", kind, KINDS)
        if forget_bias is not None and kind != "lstm":
            raise UsageError(f"forget_bias={forget_bias:g}: only an 'lstm' has a forget gate, not {kind!r}")
        torchs, self.step_function = KINDS[kind]
        self.kind, self.size, self.written_out = kind, size, written_out or kind == "gru-2014"
        self.ways = nn.ModuleList(torchs(inputs, size, batch_first=True) for _ in range(1 + bidirectional))
        for way in self.ways if forget_bias is not None else ():
            with torch.no_grad():
                way.bias_ih_l0[size : 2 * size], way.bias_hh_l0[size : 2 * size] = forget_bias, 0.0

    def weights(self, way: int = 0) -> Weights:
        """Those of one direction, 0 from left to right, 1 from right to left."""
        own = self.ways[way]
        return Weights(own.weight_ih_l0, own.weight_hh_l0, own.bias_ih_l0, own.bias_hh_l0)

    def start(self, batch: int) -> dict[str, Tensor]:
        """The memory before the first word: zeros."""
        zeros = self.weights().state.new_zeros(batch, self.size)
        return {"hidden": zeros} | ({"cell": zeros} if self.kind == "lstm" else {})

    def step(self, x: Tensor, memory: Memory, way: int = 0) -> dict[str, Tensor]:
        """One word further: x (batch, inputs)."""
        return self.step_function(x, memory, self.weights(way))

    def gates(self, x: Tensor, way: int = 0) -> dict[str, Tensor]:
        """x (batch, tokens, inputs), read in its order → all that the steps compute, (batch, tokens, size) each."""
        memory, seen = self.start(len(x)), []
        for t in range(x.shape[1]):
            memory = self.step(x[:, t], memory, way)
            seen.append(memory)
        return {name: torch.stack([one[name] for one in seen], 1) for name in memory}

    def forward(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """x (batch, tokens, inputs) → the states (batch, tokens, directions · size), 0 at padding, and what each
        direction ends with (batch, directions · size).

        `mask` (batch, tokens) is 1 at words and 0 at the padding after them. UsageError for any other.
        """
        mask = torch.ones(x.shape[:2], device=x.device, dtype=torch.long) if mask is None else mask
        lengths, places = _lengths(mask), torch.arange(x.shape[1], device=x.device)
        rows, turned = torch.arange(len(x), device=x.device), lengths[:, None] - 1 - places  # (batch, tokens)
        turned, states, ends = torch.where(turned < 0, places, turned), [], []
        for way, torchs in enumerate(self.ways):
            read = x[rows[:, None], turned] if way else x
            seen = self.gates(read, way)["hidden"] if self.written_out else torchs(read)[0]
            ends.append(seen[rows, lengths - 1])
            states.append(seen[rows[:, None], turned] if way else seen)
        return torch.cat(states, -1) * mask[..., None], torch.cat(ends, -1)


def _lengths(mask: Tensor) -> Tensor:
    """Words of each text, (batch,); UsageError unless each has one, and padding stands only after it."""
    if not mask.shape[1] or not mask[:, 0].all() or (mask[:, 1:] > mask[:, :-1]).any():
        raise UsageError("a recurrent layer reads texts of one word at least, with their padding on the right only")
    return mask.sum(1)
