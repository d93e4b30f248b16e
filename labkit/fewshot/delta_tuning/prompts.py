"""Prompt tuning and prefix tuning as deltas: the same verbs, and saved, combined and searched like the others.

The methods themselves are `labkit.fewshot.soft_prompts`'s.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from labkit.errors import UsageError
from labkit.fewshot import soft_prompts as soft_prompt
from labkit.fewshot.delta_tuning.base import Delta
from labkit.fewshot.delta_tuning.places import positive
from labkit.foundations.encoder import backbone


class _Soft(Delta):
    """A delta whose weights are one sub-module of the encoder."""

    CHILD: ClassVar[str] = ""

    def __post_init__(self) -> None:
        positive(self, "tokens")
        if self.targets is not None:
            raise UsageError(f"{type(self).__name__} takes no targets: it stands before the text")

    def places(self, model: nn.Module) -> list[str]:
        """The encoder that takes it."""
        body = backbone(model)
        return [name for name, module in model.named_modules() if module is body]

    def _settings(self) -> Any:
        raise NotImplementedError

    def _insert(self, model: nn.Module) -> Iterable[nn.Parameter]:
        self._settings().attach(model)
        return list(getattr(backbone(model), self.CHILD).parameters())

    def _remove(self, model: nn.Module) -> None:
        if hasattr(backbone(model), self.CHILD):
            self._settings().detach(model)


@dataclass(frozen=True, kw_only=True)
class Prompt(_Soft):
    """`tokens` trained vectors before the text, which start as words drawn at random: tokens·d weights."""

    tokens: int = 8
    init: str = "vocabulary"

    CHILD: ClassVar[str] = "soft_prompt"

    def _settings(self) -> soft_prompt.PromptTuning:
        return soft_prompt.PromptTuning(tokens=self.tokens, init=self.init, seed=self.seed)


@dataclass(frozen=True, kw_only=True)
class Prefix(_Soft):
    """`tokens` trained keys and values in every layer: 2·layers·tokens·d weights."""

    tokens: int = 8
    reparametrise: bool = False

    CHILD: ClassVar[str] = "prefix"

    def _settings(self) -> soft_prompt.Prefix:
        return soft_prompt.Prefix(tokens=self.tokens, reparametrise=self.reparametrise, seed=self.seed)
