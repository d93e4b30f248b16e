"""Where a token stands. Attention alone does not know: it takes means over a *set* of tokens.

Positions come in at one of three places: added to the embeddings (`embed`), to the scores (`bias`), or to keys and
values (`between`); see `attention.Sight`. `NoPositions` does nothing at all three, and each kind changes one:

- sinusoidal: fixed waves of d/2 lengths (Vaswani et al. 2017, §3.5); the product of two depends on the distance only;
- learned: a trained vector per place (BERT, GPT-2), and none beyond the last place;
- relative: fixed waves of the *distance*, clipped, on keys and values (NEZHA, Wei et al. 2019, §2.2);
- bucketed: a trained number per head and bucket of distances (T5, Raffel et al. 2020, §2.1); far ones share buckets.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from labkit.errors import UsageError

CLIP = 64  # NEZHA's farthest distance
BUCKETS, FAR = 32, 128  # T5's
SPREAD = 0.02  # of embeddings when training begins, as in BERT and GPT-2


def sinusoids(places: Tensor, d: int) -> Tensor:
    """Places (…), any numbers, to waves (…, d): sin(p / 10000^(2i/d)) in column 2i, its cosine in 2i + 1."""
    if d < 2 or d % 2:
        raise UsageError(f"d={d}: sines and cosines come in pairs, so an even width is needed")
    angles = places[..., None] * 10000.0 ** (-torch.arange(0, d, 2, device=places.device) / d)  # (…, d/2)
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(-2)


def distances(tokens: int, device: torch.device | None = None) -> Tensor:
    """(queries, keys): how far key j stands to the right of query i, j − i."""
    places = torch.arange(tokens, device=device)
    return places - places[:, None]


def t5_buckets(distance: Tensor, both: bool) -> Tensor:
    """T5's bucket of each distance j − i, any shape, in [0, 32).

    Half of the buckets hold one near distance each, the others ranges that grow by a constant factor up to 128. `both`:
    the upper 16 buckets are for keys to the right; else those are in bucket 0, where a mask hides them.
    """
    buckets, right = BUCKETS, torch.zeros_like(distance)
    if both:
        buckets //= 2
        right, distance = buckets * (distance > 0), -distance.abs()
    distance = (-distance).clamp(min=0)
    near = buckets // 2
    grown = torch.log(distance.clamp(min=1) / near) / math.log(FAR / near) * (buckets - near)
    return right + torch.where(distance < near, distance, (near + grown.long()).clamp(max=buckets - 1))


class NoPositions(nn.Module):
    """The order of tokens is not seen. `longest` text, and whether a token sees what is on `both` sides of it."""

    def __init__(self, d: int, heads: int, longest: int, both: bool) -> None:
        super().__init__()
        self.d, self.heads, self.both = d, heads, both

    def embed(self, x: Tensor) -> Tensor:
        """Embeddings (batch, tokens, d) as the first layer gets them."""
        return x

    def bias(self, tokens: int, device: torch.device) -> Tensor | None:
        """(heads, tokens, tokens), added to the scores."""
        return None

    def between(self, tokens: int, device: torch.device) -> Tensor | None:
        """(tokens, tokens, d_head), added to keys and values."""
        return None


class Sinusoidal(NoPositions):
    """Waves of the place, as small as embeddings are at first. (In the paper, §3.4, these are as large as the waves, by
    √d; then the first results of the layers, which are small, hardly show beside them.)
    """

    def embed(self, x: Tensor) -> Tensor:
        """X + waves."""
        return x + SPREAD * sinusoids(torch.arange(x.shape[1], device=x.device), self.d)


class Learned(NoPositions):
    """A table with a row per place."""

    def __init__(self, d: int, heads: int, longest: int, both: bool) -> None:
        super().__init__(d, heads, longest, both)
        self.table = nn.Embedding(longest, d)

    def embed(self, x: Tensor) -> Tensor:
        """X + rows."""
        return x + self.table.weight[: x.shape[1]]


class Relative(NoPositions):
    """NEZHA's waves of the distance, the same in all heads and layers. (Its released code takes j − i + clip.)"""

    def between(self, tokens: int, device: torch.device) -> Tensor:
        """Waves of the clipped distance."""
        return sinusoids(distances(tokens, device).clamp(-CLIP, CLIP), self.d // self.heads)


class Bucketed(NoPositions):
    """T5's numbers, the same in all layers of a stack."""

    def __init__(self, d: int, heads: int, longest: int, both: bool) -> None:
        super().__init__(d, heads, longest, both)
        self.table = nn.Embedding(BUCKETS, heads)

    def bias(self, tokens: int, device: torch.device) -> Tensor:
        """Each head's number of the distance's bucket."""
        return self.table(t5_buckets(distances(tokens, device), self.both)).permute(2, 0, 1)


KINDS = (Sinusoidal, Learned, Relative, Bucketed)
POSITIONS: dict[str, type[NoPositions]] = {"none": NoPositions} | {kind.__name__.lower(): kind for kind in KINDS}
