"""What decides a Transformer's memory: a handful of numbers, and from them the number of its weights."""

from __future__ import annotations

from dataclasses import dataclass

from labkit.errors import UsageError, unknown


@dataclass(frozen=True)
class ModelShape:
    """A Transformer of `layers` equal layers, `width` numbers a token, `heads` heads, `inner` in the MLP.

    `inner` 0 means 4 · width. The output is tied to the word embeddings. `segments` rows of segment embeddings and a
    `pooler` are BERT's. UsageError for a number below 1, or heads that do not divide the width.
    """

    layers: int
    width: int
    heads: int
    vocabulary: int
    positions: int
    inner: int = 0
    segments: int = 0
    pooler: bool = False

    def __post_init__(self) -> None:
        for name in ("layers", "width", "heads", "vocabulary", "positions"):
            if getattr(self, name) < 1:
                raise UsageError(f"a model's {name} must be 1 or more, not {getattr(self, name)}")
        if self.width % self.heads:
            raise UsageError(f"{self.heads} heads do not divide a width of {self.width}: choose a divisor of the width")
        if not self.inner:
            object.__setattr__(self, "inner", 4 * self.width)

    @property
    def embeddings(self) -> int:
        """Weights of the embeddings and the one LayerNorm outside the layers (BERT's first, GPT's last)."""
        return (self.vocabulary + self.positions + self.segments + 2) * self.width

    @property
    def layer(self) -> int:
        """Weights of one layer: four square projections, the MLP, two LayerNorms; 12 · width² and a little."""
        attention = 4 * self.width * (self.width + 1)
        mlp = 2 * self.width * self.inner + self.inner + self.width
        return attention + mlp + 4 * self.width

    @property
    def parameters(self) -> int:
        """All weights, the tied output once."""
        return self.embeddings + self.layers * self.layer + self.pooler * self.width * (self.width + 1)


PRESETS: dict[str, ModelShape] = {
    "bert-base": ModelShape(12, 768, 12, 30_522, 512, segments=2, pooler=True),
    "bert-large": ModelShape(24, 1024, 16, 30_522, 512, segments=2, pooler=True),
    "gpt2": ModelShape(12, 768, 12, 50_257, 1024),
    "fewclue-1.2b": ModelShape(24, 2048, 32, 21_128, 512, segments=2, pooler=True),
    "gpt2-xl": ModelShape(48, 1600, 25, 50_257, 1024),
    "gpt3-175b": ModelShape(96, 12_288, 96, 50_257, 2048),
}


def preset(name: str) -> ModelShape:
    """The shape of a published model; UsageError, with the nearest name, for one that is not known.

    "fewclue-1.2b" has the layers, width and heads that the FewCLUE article gives for its scalability test, and the
    vocabulary of a Chinese BERT, which it does not give.
    """
    if name not in PRESETS:
        raise unknown("model shape", name, PRESETS)
    return PRESETS[name]
