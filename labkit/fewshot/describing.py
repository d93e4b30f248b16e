"""The methods that can be saved beside a model: each says in plain JSON values what it takes to answer again.

A method of another class is saved as the class that it inherits `describe` from: a trained Fuzzy-PET answers as a PET.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transformers import PreTrainedTokenizerBase

from labkit.errors import UsageError, unknown
from labkit.fewshot.cp_tuning import CPTuning
from labkit.fewshot.instruction.entailment import Entailment
from labkit.fewshot.pet import PET
from labkit.fewshot.prompts.ensemble import TemplateEnsemble
from labkit.fewshot.prompts.generative import GenerativePET
from labkit.fewshot.prompts.in_context import InContext
from labkit.fewshot.prompts.perplexity import PerplexityChoice
from labkit.fewshot.prompts.prototypical import ProtoVerb
from labkit.fewshot.prompts.soft_verbalizer import SoftVerbalizer
from labkit.fewshot.soft_prompts import WARP
from labkit.foundations.augmentation import Augmentation
from labkit.foundations.generation import Generation
from labkit.foundations.heads import HeadClassifier
from labkit.foundations.language import LanguageModel
from labkit.foundations.multi_label import MultiLabel
from labkit.foundations.reading import Reader
from labkit.foundations.tagging import Extractor, Tagger
from labkit.foundations.two_tower import TwoTower
from labkit.foundations.vectors import Vectors

KINDS: dict[str, Any] = {
    "head": HeadClassifier,
    "pet": PET,
    "generative": GenerativePET,
    "in-context": InContext,
    "ensemble": TemplateEnsemble,
    "perplexity": PerplexityChoice,
    "prototypes": ProtoVerb,
    "soft-verbalizer": SoftVerbalizer,
    "warp": WARP,
    "cp-tuning": CPTuning,
    "entailment": Entailment,
    "multi-label": MultiLabel,
    "two-tower": TwoTower,
    "vectors": Vectors,
    "language-model": LanguageModel,
    "generation": Generation,
    "augmentation": Augmentation,
    "tagging": Tagger,
    "extraction": Extractor,
    "reading": Reader,
}


def describe(method: Any) -> dict[str, Any]:
    """What `restore` needs: {"kind": a name in KINDS, …}. UsageError for a method that cannot be saved."""
    names = {cls: name for name, cls in KINDS.items()}
    found = next((cls for cls in type(method).__mro__ if cls in names), None)
    if found is None or found.describe is not type(method).describe:
        raise UsageError(f"a {type(method).__name__} cannot be saved as an app; savable methods: {', '.join(KINDS)}")
    return {"kind": names[found], **method.describe()}


def restore(description: Mapping[str, Any], tokenizer: PreTrainedTokenizerBase) -> Any:
    """The method that `describe` described; UsageError for an unknown kind, or a value it cannot take."""
    values = dict(description)
    kind = values.pop("kind", None)
    if kind not in KINDS:
        raise unknown("method", kind, KINDS)
    return KINDS[kind].from_description(values, tokenizer)
