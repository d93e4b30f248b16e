"""Prompt tuning: n trained vectors before the text, everything else frozen (Lester et al. 2021, "The power of scale for
parameter-efficient prompt tuning").

The vectors stand behind the text's first token, which is [CLS] and keeps its place: the model reads
[CLS] p_1 … p_n text [SEP]. What leaves the encoder has the text's own tokens only, so that heads, blanks and poolings
find them where they are without a prompt. It equals a template that begins with {soft*n}.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from labkit.errors import UsageError, unknown
from labkit.fewshot.soft_prompts.attached import Attached, encoder_of, named, put_on, take_off
from labkit.foundations.encoder import positions_of
from labkit.lab import generator

NAME = "soft_prompt"
INITS = ("vocabulary", "uniform")


@dataclass(frozen=True)
class PromptTuning:
    """`tokens` trained vectors before the text; the model is frozen.

    They start as those of words drawn at random with `seed` ("vocabulary"), or uniform in [-0.5, 0.5] ("uniform"); the
    paper compares both (§3.2). A text may have that many tokens fewer than the model's positions. Raises UsageError for
    fewer than one token.
    """

    tokens: int = 8
    init: str = "vocabulary"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.tokens < 1:
            raise UsageError(f"tokens={self.tokens}: a soft prompt has at least one token")
        if self.init not in INITS:
            raise unknown("init", self.init, INITS)

    def attach(self, model: nn.Module) -> nn.Module:
        """The model, in place, frozen and with the prompt in it, `model.base_model.soft_prompt.weight` (tokens, d).

        UsageError for a model that has one already, is no encoder, or has no room for it.
        """
        encoder = encoder_of(model, type(self).__name__)
        limit = positions_of(encoder)
        if limit is not None and self.tokens > limit - 3:
            raise UsageError(f"tokens={self.tokens}: this model reads {limit} tokens in all, and the text needs three")
        prompt = SoftPrompt(self._rows(encoder.get_input_embeddings()))
        put_on(model, NAME, prompt, "soft prompt")
        prompt.handles = [
            encoder.register_forward_pre_hook(prompt.insert, with_kwargs=True),
            encoder.register_forward_hook(prompt.remove),
        ]
        return model

    def detach(self, model: nn.Module) -> nn.Module:
        """The model, in place, as it was before `attach`."""
        return take_off(model, NAME, "soft prompt")

    def _rows(self, embedding: nn.Module) -> Tensor:
        """What the vectors start as: (tokens, d)."""
        draw, words = generator(self.seed), embedding.weight
        if self.init == "uniform":
            return torch.rand(self.tokens, words.shape[1], generator=draw) - 0.5
        return embedding(torch.randint(len(words), (self.tokens,), generator=draw).to(words.device)).detach()


class SoftPrompt(Attached):
    """The vectors `weight` (n, d), and the two hooks that put them in and take their positions out again."""

    def __init__(self, rows: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(rows.clone())

    def insert(self, encoder: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[tuple, dict[str, Any]]:
        """Before the encoder: word vectors instead of ids, with the prompt behind the first."""
        given = named(encoder, args, kwargs)
        if given.get("position_ids") is not None:
            raise UsageError("position_ids cannot be given to a model with a soft prompt: leave them out")
        ids, embeds = given.pop("input_ids", None), given.get("inputs_embeds")
        words = encoder.get_input_embeddings()(ids) if embeds is None else embeds  # (batch, tokens, d)
        _check_room(encoder, words.shape[1], len(self.weight))
        rows = self.weight.to(words.dtype).expand(len(words), -1, -1)
        given["inputs_embeds"] = torch.cat([words[:, :1], rows, words[:, 1:]], 1)
        for name in ("attention_mask", "token_type_ids"):
            if given.get(name) is not None:
                first = given[name][:, :1]  # the prompt is seen, and of the same segment, as [CLS] is
                given[name] = torch.cat([first, first.expand(-1, len(self.weight)), given[name][:, 1:]], 1)
        return (), given

    def remove(self, encoder: Any, args: Any, output: Any) -> Any:
        """After the encoder: the hidden states of the text's own tokens."""
        if isinstance(output, tuple):
            return (self._own(output[0]), *output[1:])
        output["last_hidden_state"] = self._own(output["last_hidden_state"])
        if output.get("hidden_states") is not None:
            output["hidden_states"] = tuple(map(self._own, output["hidden_states"]))
        return output

    def _own(self, states: Tensor) -> Tensor:
        return torch.cat([states[:, :1], states[:, 1 + len(self.weight) :]], 1)


def _check_room(encoder: Any, tokens: int, prompt: int) -> None:
    limit = positions_of(encoder)
    if limit is not None and tokens + prompt > limit:
        raise UsageError(
            f"a text of {tokens} tokens and a soft prompt of {prompt}: this model reads at most {limit}; set the "
            f"method's max_length={limit - prompt}, or take a shorter prompt"
        )
