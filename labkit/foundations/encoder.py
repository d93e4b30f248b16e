"""What every method asks of a `transformers` encoder: padded inputs, its body, its LM head at chosen positions only.

Notable: the LM head is most of a small model's work (d x vocabulary multiplications a token), and all but the masked
positions of it are thrown away. `lm_logits` lets a hook on the head's first module pick those positions out of the
hidden states, so that the model's own forward runs unchanged, whatever wraps it (mixed precision, DDP, DeepSpeed).
"""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from labkit.errors import UsageError

# Where the LM head begins: attribute -> the model types whose forward calls it on the last hidden states, with nothing
# that mixes positions after it. Any other model works too, by its full logits.
HEADS = {
    "cls": ("bert", "ernie", "megatron-bert", "mobilebert", "rembert", "roformer", "deberta", "deberta-v2"),
    "lm_head": ("roberta", "xlm-roberta", "camembert", "mpnet", "esm", "data2vec-text", "roberta-prelayernorm"),
    "lm_predictions": ("deberta", "deberta-v2"),
    "predictions": ("albert",),
    "vocab_transform": ("distilbert",),
    "generator_predictions": ("electra", "convbert"),
    "head": ("modernbert",),
}

# They compare two tokens' types in attention, without a table of types.
RELATIVE_TYPES = ("xlnet", "funnel")


def unwrapped(model: nn.Module) -> Any:
    """The model inside DDP, DeepSpeed or `torch.compile`."""
    for name in ("_orig_mod", "module"):
        while isinstance(inner := model._modules.get(name), nn.Module):
            model = inner
    return model


def backbone(model: nn.Module) -> Any:
    """The encoder below any head: a `PreTrainedModel` from tokens to hidden states; the model itself if it has none."""
    bare = unwrapped(model)
    return getattr(bare, "base_model", bare)


def to_batch(sequences: Sequence[Any], pad: int) -> dict[str, np.ndarray]:
    """Sequences of ids, padded on the right to the longest: `input_ids` and `attention_mask`, (batch, tokens) int64."""
    lengths = np.fromiter(map(len, sequences), dtype=np.int64, count=len(sequences))
    mask = np.arange(lengths.max(initial=0)) < lengths[:, None]  # (batch, tokens)
    ids = np.full(mask.shape, pad, dtype=np.int64)
    if len(sequences):
        ids[mask] = np.concatenate(sequences)
    return {"input_ids": ids, "attention_mask": mask.astype(np.int64)}


def usable_length(tokenizer: PreTrainedTokenizerBase, max_length: int) -> int:
    """`max_length`, or what the tokenizer says its model reads at most, if that is less. UsageError below 4 tokens."""
    if max_length < 4:
        raise UsageError(f"max_length={max_length}: at least 4 tokens are needed, two of them special")
    return min(max_length, tokenizer.model_max_length)


def with_labels(batch: dict[str, Tensor], rows: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
    """The batch with "labels" (batch,) where every row has one."""
    labels = [row.get("label") for row in rows]
    if rows and all(label is not None for label in labels):
        batch["labels"] = torch.tensor(labels, dtype=torch.long)
    return batch


def labels_of(batch: Mapping[str, Tensor]) -> Tensor:
    """The batch's labels (batch,); UsageError where a row has none."""
    if "labels" not in batch:
        raise UsageError("a row of this batch has no label: train on labelled rows only")
    return batch["labels"]


def model_inputs(model: nn.Module, batch: Mapping[str, Any]) -> dict[str, Tensor]:
    """What of the batch the model's forward takes. UsageError where a text is longer than the model can read."""
    bare = unwrapped(model)
    taken = _parameters(type(bare))
    inputs = {name: batch[name] for name in taken if name in batch and name not in ("labels", "kwargs")}
    if getattr(bare.config, "type_vocab_size", 0) < 2 and bare.config.model_type not in RELATIVE_TYPES:
        inputs.pop("token_type_ids", None)  # GPT-2 and its like would look them up in the table of words
    limit = _positions(backbone(bare))
    if limit is not None and "input_ids" in inputs and (length := inputs["input_ids"].shape[1]) > limit:
        raise UsageError(
            f"a text of {length} tokens: this model reads at most {limit}; set the method's max_length={limit}"
        )
    return inputs


@functools.cache
def _parameters(kind: type[nn.Module]) -> tuple[str, ...]:
    return tuple(inspect.signature(kind.forward).parameters)


def _positions(encoder: nn.Module) -> int | None:
    """How many tokens the table of position embeddings allows; None without such a table."""
    table = getattr(getattr(encoder, "embeddings", None), "position_embeddings", None)
    if not isinstance(table, nn.Embedding):
        return None
    # RoBERTa counts positions from padding_idx + 1.
    return table.num_embeddings - (0 if table.padding_idx is None else table.padding_idx + 1)


def lm_logits(model: nn.Module, batch: Mapping[str, Any], rows: Tensor, columns: Tensor) -> Tensor:
    """The masked-LM logits at the positions (rows[i], columns[i]) alone: (n, vocabulary).

    Equal to `model(**inputs).logits[rows, columns]`, at a fraction of the work for the types in HEADS. UsageError for
    a model without a masked-LM head.
    """
    bare, inputs = unwrapped(model), model_inputs(model, batch)
    head, thread = _lm_head(bare), threading.get_ident()

    def pick(_: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        if threading.get_ident() != thread:  # another thread's pass through the same model
            return None
        return (args[0][rows, columns][None], *args[1:])  # (1, n, d)

    handle = head.register_forward_pre_hook(pick) if head is not None else None
    try:
        logits = getattr(model(**inputs), "logits", None)
    finally:
        if handle is not None:
            handle.remove()
    if logits is None or logits.ndim != 3 or logits.shape[-1] != bare.config.vocab_size:
        raise UsageError(
            f"{type(bare).__name__} has no masked-LM head: load the model with head='mlm' (AutoModelForMaskedLM)"
        )
    return logits[0] if head is not None else logits[rows, columns]


def lm_states_and_logits(
    model: nn.Module, batch: Mapping[str, Any], rows: Tensor, columns: Tensor
) -> tuple[Tensor, Tensor | None]:
    """The vectors from which the LM head chooses words, its transform's output, and the logits they give, at (rows[i],
    columns[i]): (n, d) and (n, vocabulary). For a model without such a head: its last hidden states, and None.
    """
    bare, thread, seen = unwrapped(model), threading.get_ident(), []
    decoder = bare.get_output_embeddings()
    if decoder is None:
        return backbone(bare)(**model_inputs(backbone(bare), batch)).last_hidden_state[rows, columns], None

    def keep(_: nn.Module, args: tuple[Tensor, ...]) -> None:
        if threading.get_ident() == thread:
            seen.append(args[0])

    handle = decoder.register_forward_pre_hook(keep)
    try:
        logits = lm_logits(model, batch, rows, columns)
    finally:
        handle.remove()
    picked = _lm_head(bare) is not None
    return (seen[-1][0] if picked else seen[-1][rows, columns]), logits


def _lm_head(bare: nn.Module) -> nn.Module | None:
    kind = getattr(bare.config, "model_type", None)
    found = (bare._modules.get(name) for name, kinds in HEADS.items() if kind in kinds)
    return next((module for module in found if module is not None), None)
