"""Encoder, decoder and encoder–decoder, from the same few parts.

A `Layer` is attention and a small network per token (MLP), each with a residual connection and a norm; a `Stack` is
positions and layers. The three models differ in what a token may see: the whole text (`Encoder`, as BERT), itself and
what stands before it (`Decoder`, as GPT), or that and the whole of another text (`EncoderDecoder`, as T5 and the first
Transformer, Vaswani et al. 2017). `Settings` has the dials by which BERT, GPT-2 and T5 differ besides.

Two tricks of the paper need no part of a model: label smoothing (§5.4) is `F.cross_entropy(…, label_smoothing=0.1)`,
and the average of the last checkpoints (§6.1) is the mean of their state dicts. Dropout is left out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from labkit.config import COUNT, SOME, check
from labkit.errors import UsageError, unknown
from labkit.foundations.transformer.attention import ALL, MultiHead, Sight, causal_mask, padding_mask
from labkit.foundations.transformer.positions import POSITIONS, SPREAD

NORMS = {"layer": nn.LayerNorm, "rms": nn.RMSNorm}  # RMSNorm does not subtract the mean, and has no bias
Count = Annotated[int, COUNT]
ACTIVATIONS = {"relu": nn.ReLU, "gelu": nn.GELU, "gelu_tanh": partial(nn.GELU, approximate="tanh")}


@dataclass(frozen=True)
class Settings:
    """Sizes, and the dials by which models of the family differ. UsageError for what makes no model.

    `norm_first`: norms before the parts and one at the end (GPT-2, T5); else after them and one at the beginning (BERT;
    the first Transformer has none there).
    """

    vocabulary: Count
    d: Count = 128
    heads: Count = 4
    layers: Count = 2
    ffn: Annotated[int, SOME] = 0  # inner width of the MLP; 0 for 4 d
    longest: Count = 512  # tokens of a text
    positions: str = "sinusoidal"
    norm: str = "layer"
    norm_first: bool = True
    eps: float = 1e-5
    activation: str = "gelu"
    bias: bool = True
    scaled: bool = True  # scores by √d_head
    scaled_head: bool = False  # logits by √d, as T5's

    def __post_init__(self) -> None:
        check(self)
        if self.d % self.heads:
            raise UsageError(f"d={self.d}, heads={self.heads}: the width must be a multiple of the number of heads")
        for name, known in (("positions", POSITIONS), ("norm", NORMS), ("activation", ACTIVATIONS)):
            if getattr(self, name) not in known:
                raise unknown(name, getattr(self, name), known)

    def make_norm(self) -> nn.Module:
        """A norm over d."""
        return NORMS[self.norm](self.d, eps=self.eps)


class Layer(nn.Module):
    """Self-attention, attention to another text's states where it is `crossed`, and an MLP."""

    def __init__(self, settings: Settings, crossed: bool = False) -> None:
        super().__init__()
        s, ffn = settings, settings.ffn or 4 * settings.d
        self.norm_first = s.norm_first
        for name in ("attend", "cross") if crossed else ("attend",):
            self.add_module(name, MultiHead(s.d, s.heads, s.bias, s.scaled))
            self.add_module(f"norm_{name}", s.make_norm())
        up, down = nn.Linear(s.d, ffn, bias=s.bias), nn.Linear(ffn, s.d, bias=s.bias)
        self.mlp, self.norm_mlp = nn.Sequential(up, ACTIVATIONS[s.activation](), down), s.make_norm()

    def forward(self, x: Tensor, sight: Sight, memory: Tensor | None = None, other: Sight = ALL) -> Tensor:
        """States (batch, tokens, d) to the same; `other` is what may be seen of `memory` (batch, other tokens, d)."""
        x = self._add(x, self.norm_attend, lambda x: self.attend(x, x, sight))
        if memory is not None:
            x = self._add(x, self.norm_cross, lambda x: self.cross(x, memory, other))
        return self._add(x, self.norm_mlp, self.mlp)

    def _add(self, x: Tensor, norm: nn.Module, part: Callable[[Tensor], Tensor]) -> Tensor:
        """The residual connection: what a part finds is added to what was there."""
        return x + part(norm(x)) if self.norm_first else norm(x + part(x))


class Stack(nn.Module):
    """Positions and layers; in a `causal` one a token sees only itself and what stands before it."""

    def __init__(self, settings: Settings, causal: bool, crossed: bool = False) -> None:
        super().__init__()
        self.causal, self.norm_first = causal, settings.norm_first
        self.positions = POSITIONS[settings.positions](settings.d, settings.heads, settings.longest, not causal)
        self.layers = nn.ModuleList(Layer(settings, crossed) for _ in range(settings.layers))
        self.norm = settings.make_norm()

    def forward(self, x: Tensor, mask: Tensor | None, memory: Tensor | None = None, other: Sight = ALL) -> Tensor:
        """Embeddings (batch, tokens, d) to states of the same shape; `mask` (batch, tokens) is 1 at real tokens."""
        tokens, x = x.shape[1], self.positions.embed(x)
        seen = causal_mask(tokens, x.device) if self.causal else torch.ones((), dtype=torch.bool, device=x.device)
        seen = seen if mask is None else seen & padding_mask(mask)
        sight = Sight(seen, self.positions.bias(tokens, x.device), self.positions.between(tokens, x.device))
        x = x if self.norm_first else self.norm(x)
        for layer in self.layers:
            x = layer(x, sight, memory, other)
        return self.norm(x) if self.norm_first else x


class Model(nn.Module):
    """What the three models share: embeddings, which are the output layer too, and weights to begin with."""

    def __init__(self, settings: Settings, **stacks: Stack) -> None:
        super().__init__()
        self.settings, self.words = settings, nn.Embedding(settings.vocabulary, settings.d)
        for name, stack in stacks.items():
            self.add_module(name, stack)
        self.head: nn.Module | None = None  # from states to logits, in place of the embeddings
        for part in self.modules():
            if isinstance(part, nn.Linear | nn.Embedding):
                nn.init.normal_(part.weight, std=SPREAD)
            if isinstance(part, nn.Linear) and part.bias is not None:
                nn.init.zeros_(part.bias)

    def embed(self, ids: Tensor) -> Tensor:
        """Ids (batch, tokens) to (batch, tokens, d); UsageError where they are no texts for this model."""
        most, size = self.settings.longest, self.settings.vocabulary
        if ids.ndim != 2 or not ids.numel():
            raise UsageError(f"ids of shape {tuple(ids.shape)}: (batch, tokens) is needed, at least one of each")
        if ids.shape[1] > most:
            raise UsageError(f"a text of {ids.shape[1]} tokens: this model reads at most {most}; cut the text")
        if int(ids.min()) < 0 or int(ids.max()) >= size:
            raise UsageError(f"ids {int(ids.min())} to {int(ids.max())} for {size} pieces: tokenise for this model")
        return self.words(ids)

    def logits(self, states: Tensor) -> Tensor:
        """States (batch, tokens, d) to (batch, tokens, vocabulary)."""
        if self.head is not None:
            return self.head(states)
        return F.linear(states, self.words.weight) * (self.settings.d**-0.5 if self.settings.scaled_head else 1)


class Encoder(Model):
    """Each token sees the whole text, as in BERT."""

    causal = False

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, stack=Stack(settings, self.causal))

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Ids, and 1 at real tokens, (batch, tokens), to logits (batch, tokens, vocabulary)."""
        return self.logits(self.stack(self.embed(input_ids), attention_mask))


class Decoder(Encoder):
    """Each token sees itself and what stands before it, as in GPT."""

    causal = True


class EncoderDecoder(Model):
    """One text is read, another is written while looking at it, as in T5; both with the same embeddings."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, encoder=Stack(settings, False), decoder=Stack(settings, True, crossed=True))

    def forward(self, input_ids: Tensor, decoder_input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Ids (batch, tokens) and (batch, written) to logits (batch, written, vocabulary)."""
        memory = self.encoder(self.embed(input_ids), attention_mask)
        other = Sight(None if attention_mask is None else padding_mask(attention_mask))
        return self.logits(self.decoder(self.embed(decoder_input_ids), None, memory, other))
