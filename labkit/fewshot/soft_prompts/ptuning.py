"""P-tuning: the template's words become vectors, trained together with the model (Liu et al. 2021, "GPT understands,
too").

`{text} it was {mask} .` turns into `{text} {soft:it was} {mask} {soft:.}`: the vectors start as those words' own, so
that an untrained P-tuning is PET, and may leave every word behind. The paper lets a BiLSTM and an MLP produce the
vectors (§3.2), on the ground that the tokens of a prompt depend on one another.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from labkit.errors import UsageError, unknown
from labkit.fewshot.pet import PET
from labkit.fewshot.prompts.soft_tokens import attach_soft_tokens, detach_soft_tokens
from labkit.fewshot.prompts.template import Part, Soft, Template, Text
from labkit.fewshot.prompts.verbalizer import Verbalizer
from labkit.foundations.encoder import unwrapped
from labkit.lab import seeded

ENCODERS = ("lstm", "mlp")


class PTuning(PET):
    """A PET whose template is soft; `attach` gives a model its vectors, and the whole model is trained with them.

    A template without {soft…} is `softened`. `encoder` "lstm" or "mlp" computes the vectors from as many others, None
    trains them directly. Once trained, `fold_soft_tokens(model)` is a plain model for any PET with this template.
    """

    def __init__(
        self,
        template: Template | str,
        verbalizer: Verbalizer,
        tokenizer: PreTrainedTokenizerBase,
        *args: Any,
        encoder: str | None = None,
        seed: int = 0,
        **options: Any,
    ) -> None:
        if encoder is not None and encoder not in ENCODERS:
            raise unknown("encoder", encoder, [*ENCODERS, "None"])
        super().__init__(with_soft_tokens(Template.parse(template)), verbalizer, tokenizer, *args, **options)
        self.encoder, self.seed = encoder, seed

    def attach(self, model: nn.Module) -> nn.Module:
        """The model, in place, with the template's soft tokens; all of it stays trainable."""
        width = unwrapped(model).get_input_embeddings().weight.shape[1]
        encoder = PromptEncoder(width, self.encoder, seed=self.seed) if self.encoder else None
        return attach_soft_tokens(model, self.template, self.tokenizer, encoder=encoder, seed=self.seed)

    def detach(self, model: nn.Module) -> nn.Module:
        """The model, in place, with its own embedding again; what training did to the model stays."""
        return detach_soft_tokens(model)


class PromptEncoder(nn.Module):
    """(n, d) → (n, d): a BiLSTM over the prompt's tokens and an MLP ("lstm"), or the MLP alone ("mlp").

    As in `peft`: two layers of LSTM with d/2 units each way, and ReLU between linear layers.
    """

    def __init__(self, size: int, kind: str = "lstm", *, seed: int = 0) -> None:
        super().__init__()
        wide = size // 2 if kind == "lstm" else size
        with seeded(seed):
            if kind == "lstm":
                self.lstm_head = nn.LSTM(size, wide, num_layers=2, bidirectional=True, batch_first=True)
                inner: tuple[nn.Module, ...] = (nn.Linear(2 * wide, 2 * wide), nn.ReLU(), nn.Linear(2 * wide, size))
            else:
                inner = (nn.Linear(size, wide), nn.ReLU(), nn.Linear(wide, wide), nn.ReLU(), nn.Linear(wide, size))
            self.mlp_head = nn.Sequential(*inner)

    def forward(self, rows: Tensor) -> Tensor:
        """(n, d) to (n, d)."""
        return self.mlp_head(self.lstm_head(rows[None])[0][0] if hasattr(self, "lstm_head") else rows)


def softened(template: Template | str) -> Template:
    """The template with all its own words as soft tokens that start as these words.

    >>> str(softened("{text} it was {mask} ."))
    '{text} {soft:it was} {mask} {soft:.}'
    """
    return Template(tuple(part for old in Template.parse(template).parts for part in _soft(old)))


def _soft(part: Part) -> Iterator[Part]:
    """Words as soft tokens; the white space around them stays text."""
    if not isinstance(part, Text) or not (words := part.text.strip()):
        yield part
        return
    before, after = part.text.split(words, 1)
    yield from (one for one in (Text(before), Soft(init=words), Text(after)) if str(one))


def with_soft_tokens(template: Template) -> Template:
    """The template if it has soft tokens, else `softened`; UsageError where it has no words to soften either."""
    found = template if any(isinstance(part, Soft) for part in template.parts) else softened(template)
    if not any(isinstance(part, Soft) for part in found.parts):
        raise UsageError(
            f"template {str(template)!r} has no words that could become soft tokens: add some, or {{soft*4}}"
        )
    return found
