"""A model from a folder or the hub, in the form that the course uses: float32, whole, with its tokenizer."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_MASKED_LM_MAPPING,
    MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING,
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from labkit.checkpoints import reading
from labkit.errors import CheckpointError, LabkitError, UsageError
from labkit.foundations.heads import add_head
from labkit.lab import quietly
from labkit.zoo.folders import COPY, PLAINLY, check_loaded, check_tokenizer, read_config, weight_files
from labkit.zoo.gemma import PACKAGED
from labkit.zoo.recipes import RECIPES

Head = Literal["lm", "mlm", "seq2seq", "classify"]

# Short names of models on the hub, as EasyNLP's ModelZoo and common usage have them.
HUB = {
    "minilm": "sentence-transformers/all-MiniLM-L6-v2",
    "gemma-270m": "google/gemma-3-270m",
    "bert-base-uncased": "google-bert/bert-base-uncased",
    "bert-base-chinese": "google-bert/bert-base-chinese",
    "roberta-base": "FacebookAI/roberta-base",
    "macbert-base-zh": "hfl/chinese-macbert-base",
    "macbert-large-zh": "hfl/chinese-macbert-large",
    "bert-tiny-uncased": "google/bert_uncased_L-2_H-128_A-2",
    "bert-small-uncased": "google/bert_uncased_L-4_H-512_A-8",
    "bert-large-uncased": "google-bert/bert-large-uncased",
    "roberta-large": "FacebookAI/roberta-large",
    "hfl/macbert-base-zh": "hfl/chinese-macbert-base",
    "hfl/macbert-large-zh": "hfl/chinese-macbert-large",
    "hfl/roberta-base-zh": "hfl/chinese-roberta-wwm-ext",
    "hfl/roberta-large-zh": "hfl/chinese-roberta-wwm-ext-large",
    "langboat/mengzi-bert-base-zh": "Langboat/mengzi-bert-base",
    "pai-bert-tiny-zh": "alibaba-pai/pai-bert-tiny-zh",
    "pai-bert-base-zh": "alibaba-pai/pai-bert-base-zh",
}


@dataclass(frozen=True)
class Loaded:
    """A model with its tokenizer; unpacks as `model, tokenizer = load(…)`.

    `fresh` names the parameters that the source did not hold and that are therefore random.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    fresh: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[Any]:
        yield self.model
        yield self.tokenizer


def open_model(
    name: str, where: str, head: Head | None = None, *, labels: int = 2, pooling: str | None = None, seed: int = 0
) -> Loaded:
    """The model `name` that stands in the folder, or under the hub id, `where`; see `labkit.zoo.load`."""
    folder = Path(where) if Path(where).is_dir() else None
    with reading(where, COPY) if folder else _fetching(name, where), quietly(), torch.random.fork_rng(devices=[]):
        config = type(
            read_config(folder, AutoModel, weight_files(folder)) if folder
            else AutoConfig.from_pretrained(where, trust_remote_code=False)
        )  # fmt: skip
        masked = config in MODEL_FOR_MASKED_LM_MAPPING
        causal = config in MODEL_FOR_CAUSAL_LM_MAPPING and not masked
        writes = config in MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING
        if head == "mlm" and not masked:
            raise UsageError(f"{name} does not fill in masked tokens: load it with head='lm'")
        if head in ("lm", "seq2seq"):
            head = "seq2seq" if writes and (head == "seq2seq" or not masked and not causal) else "lm"
        torch.manual_seed(seed)
        model, facts = _kind(head, causal).from_pretrained(where, **PLAINLY)
        fresh = check_loaded(where, model, facts)
        tokenizer = AutoTokenizer.from_pretrained(where, trust_remote_code=False)
        check_tokenizer(where, tokenizer, model)
    if fresh and head in ("lm", "mlm", "seq2seq"):
        what = f"{len(fresh)} parameters of its head are not in {where} and are random, first {fresh[0]}"
        warnings.warn(f"{name}: {what}; train them, or choose another model for prompts", stacklevel=2)
    if head == "classify":
        model = add_head(model, labels, pooling=pooling or ("last" if causal else "cls"), seed=seed)
    return Loaded(model.eval(), tokenizer, tuple(fresh))


def _kind(head: Head | None, causal: bool) -> Any:
    """The class of transformers that reads a model with this head."""
    if head == "seq2seq":
        return AutoModelForSeq2SeqLM
    if head in ("lm", "mlm"):
        return AutoModelForCausalLM if causal else AutoModelForMaskedLM
    return AutoModel


@contextlib.contextmanager
def _fetching(name: str, where: str) -> Iterator[None]:
    """As `reading`, for a model of the hub."""
    try:
        with reading(where):
            yield
    except CheckpointError as error:
        if error.__cause__ is None:
            raise
        if name in PACKAGED and where == HUB.get(name):
            gate = f"or, on the hub, accept the terms of {where}, which is gated, and log in with `hf auth login`"
            raise LabkitError(f"{name} is not here: {PACKAGED[name].remedy}; {gate}") from error
        cause = next(iter(str(error.__cause__).splitlines()), type(error.__cause__).__name__)
        here = f"without a network there are {', '.join(RECIPES)}"
        raise LabkitError(f"model {name!r} cannot be loaded from {where}: {cause}; {here}, and folders") from error
