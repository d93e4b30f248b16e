"""What every method asks of a model of `transformers`: padded inputs, its body, its LM head at chosen positions only.

Notable: the LM head is most of a small model's work (d x vocabulary multiplications a token), and all but the masked
positions of it are thrown away. `lm_logits` lets a hook on the head's first module pick those positions out of the
hidden states, so that the model's own forward runs unchanged, whatever wraps it (mixed precision, DDP, DeepSpeed);
another hook has the last layer multiply the rows of some words only. After its last attention an encoder mixes no
positions any more, so a BERT picks them there, which saves half of its last layer.

A masked model says a token from the state at its own place, one that reads left to right from the state before it.
Who asks for the token at a place need not know which it is: the difference is settled here.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedTokenizerBase
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
)

from labkit.errors import DataError, UsageError
from labkit.tasks.text import check_whole

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

# Their layers end in attention.output (states, input), intermediate and output, each a function of one position.
LAYERED = ("bert", "ernie", "roberta", "xlm-roberta", "camembert", "electra")

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


def reads_left_to_right(model: nn.Module) -> bool:
    """Whether a token's state knows only what stands before it, as in GPT, Llama and Gemma."""
    config = getattr(backbone(model), "config", None)
    kind = getattr(config, "model_type", None)
    causal = kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and kind not in MODEL_FOR_MASKED_LM_MAPPING_NAMES
    return bool(getattr(config, "is_decoder", False)) or (causal and kind not in RELATIVE_TYPES)


def goes_on(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether the tokenizer belongs to a model that goes on with a text, rather than reading it whole: no [CLS]."""
    return getattr(tokenizer, "cls_token_id", None) is None


def padding(tokenizer: PreTrainedTokenizerBase) -> int:
    """The id to pad with; where the tokenizer names none, any does, for nothing attends to it."""
    return next((i for i in (tokenizer.pad_token_id, tokenizer.eos_token_id) if i is not None), 0)


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


def texts_of(rows: Sequence[Mapping[str, Any]], field: str) -> list[str]:
    """The rows' texts of that name; DataError naming the row that has none, or one with half a character."""
    for number, row in enumerate(rows, start=1):
        if not isinstance(row.get(field), str):
            what = f"field {field!r} must be a text, not {row.get(field)!r:.60}"
            raise DataError(f"row {number} of the batch: {what}")
        check_whole(row[field], f"row {number} of the batch: field {field!r}")
    return [row[field] for row in rows]


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
    limit = positions_of(backbone(bare))
    if limit is not None and "input_ids" in inputs and (length := inputs["input_ids"].shape[1]) > limit:
        raise UsageError(
            f"a text of {length} tokens: this model reads at most {limit}; set the method's max_length={limit}"
        )
    return inputs


@functools.cache
def _parameters(kind: type[nn.Module]) -> tuple[str, ...]:
    return tuple(inspect.signature(kind.forward).parameters)


def positions_of(encoder: nn.Module) -> int | None:
    """How many tokens the table of position embeddings allows; None without such a table."""
    table = getattr(getattr(encoder, "embeddings", None), "position_embeddings", None)
    if not hasattr(table, "num_embeddings"):  # a quantised table has it too
        return None
    # RoBERTa counts positions from padding_idx + 1.
    return table.num_embeddings - (0 if table.padding_idx is None else table.padding_idx + 1)


def mean_state(states: Tensor, attention_mask: Tensor | None) -> Tensor:
    """Each text's mean (batch, d) of the states (batch, tokens, d) that `attention_mask` (batch, tokens) counts."""
    if attention_mask is None:
        return states.mean(1)
    weight = attention_mask[..., None].to(states.dtype)  # (batch, tokens, 1)
    return (states * weight).sum(1) / weight.sum(1).clamp(min=1)


def lm_logits(
    model: nn.Module, batch: Mapping[str, Any], rows: Tensor, columns: Tensor, words: Tensor | None = None
) -> Tensor:
    """The LM's logits for the tokens at the positions (rows[i], columns[i]) alone: (n, vocabulary), or with ids `words`
    theirs only: (n, words).

    Of a masked model they equal `model(**inputs).logits[rows, columns]`, of one that reads left to right
    `logits[rows, columns - 1]`, where a column may also be the place just after the text; at a fraction of the work
    for the types in HEADS and those that read left to right. UsageError for a model without an LM head.
    """
    bare, inputs = unwrapped(model), model_inputs(model, batch)
    columns = columns - 1 if reads_left_to_right(bare) else columns
    head, decoder = _lm_head(bare), bare.get_output_embeddings()
    with contextlib.ExitStack() as hooks:
        if head is not None and (early := _after_last_attention(bare)) is not None:
            hooks.enter_context(_hooked(early, lambda args: tuple(one[rows, columns][None] for one in args)))
        elif head is not None:
            hooks.enter_context(_hooked(head, lambda args: (args[0][rows, columns][None], *args[1:])))  # (1, n, d)
        if words is not None and type(decoder) is nn.Linear and not decoder._forward_hooks:
            hooks.enter_context(_narrow(decoder, words.to(decoder.weight.device)))
        logits = getattr(model(**inputs), "logits", None)
    width = 0 if logits is None or logits.ndim != 3 else logits.shape[-1]
    if width != bare.config.vocab_size and (words is None or width != len(words) or logits is None):
        raise UsageError(
            f"{type(bare).__name__} has no masked-LM head: load the model with head='mlm' (AutoModelForMaskedLM)"
        )
    found = logits[0] if head is not None else logits[rows, columns]
    return found if words is None or width == len(words) else found[:, words]


def lm_states_and_logits(
    model: nn.Module, batch: Mapping[str, Any], rows: Tensor, columns: Tensor, words: Tensor | None = None
) -> tuple[Tensor, Tensor | None]:
    """The vectors from which the LM head chooses the tokens at (rows[i], columns[i]), its transform's output, and the
    logits they give, as `lm_logits`: (n, d) and (n, vocabulary). For a model without such a head: its last hidden
    states there, and None.
    """
    bare, seen = unwrapped(model), []
    decoder, shift = bare.get_output_embeddings(), int(reads_left_to_right(bare))
    if decoder is None:
        states = backbone(bare)(**model_inputs(backbone(bare), batch)).last_hidden_state
        return states[rows, columns - shift], None
    with _hooked(decoder, lambda args: seen.append(args[0])):
        logits = lm_logits(model, batch, rows, columns, words)
    picked = _lm_head(bare) not in (None, decoder)  # before the decoder; its own states are seen first
    return (seen[-1][0] if picked else seen[-1][rows, columns - shift]), logits


def full_precision(values: Tensor) -> Tensor:
    """The values in float32, or in float64 where they are."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def nothing(like: Tensor) -> Tensor:
    """No words: for who wants states, and no logits."""
    return torch.zeros(0, dtype=torch.long, device=like.device)


@contextlib.contextmanager
def _hooked(module: nn.Module, change: Any) -> Iterator[None]:
    """Inside, `change(args)` sees a module's arguments before each call of this thread, and may give others."""
    thread = threading.get_ident()  # another's pass through the same model is none of ours
    handle = module.register_forward_pre_hook(lambda _, args: change(args) if threading.get_ident() == thread else None)
    try:
        yield
    finally:
        handle.remove()


@contextlib.contextmanager
def _narrow(decoder: nn.Linear, words: Tensor) -> Iterator[None]:
    """Inside, a linear layer gives the columns `words` of its output alone, and multiplies no others.

    In float32 at least: few as they are, it costs nothing, and bfloat16 tells no logits of 20 and 20.06 apart.
    """
    thread, seen = threading.get_ident(), []

    def choose(_: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        if threading.get_ident() != thread:
            return output
        states, weight = (full_precision(part) for part in (seen.pop(), decoder.weight[words]))
        bias = None if decoder.bias is None else full_precision(decoder.bias[words])
        with torch.autocast(states.device.type, enabled=False):
            return F.linear(states, weight, bias)

    def keep(args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        seen.append(args[0])
        return (args[0][..., :0, :],)  # no state is left to multiply

    handle = decoder.register_forward_hook(choose)
    try:
        with _hooked(decoder, keep):
            yield
    finally:
        handle.remove()


def _lm_head(bare: nn.Module) -> nn.Module | None:
    if reads_left_to_right(bare):
        return bare.get_output_embeddings()
    kind = getattr(bare.config, "model_type", None)
    found = (bare._modules.get(name) for name, kinds in HEADS.items() if kind in kinds)
    return next((module for module in found if module is not None), None)


def _after_last_attention(bare: nn.Module) -> nn.Module | None:
    """The module after which an encoder mixes positions no more, called with (batch, tokens, d) twice.

    None where that is not known, where a part of the last layer is not transformers' own or is watched (adapters and
    prompts may count on whole texts), and where the layer will run again, in the backward pass.
    """
    body, config = backbone(bare), bare.config
    if config.model_type not in LAYERED or config.is_decoder or getattr(config, "chunk_size_feed_forward", 0):
        return None
    layer = body.encoder.layer[-1]
    if getattr(body, "pooler", None) is not None or getattr(layer, "gradient_checkpointing", False):
        return None
    way = (bare, body, body.encoder, layer, layer.attention, layer.attention.output, layer.intermediate, layer.output)
    return layer.attention.output if all(map(_untouched, way)) else None


def _untouched(module: nn.Module) -> bool:
    """Whether a module does what its class of transformers says, and nobody looks on."""
    own = type(module).__module__.startswith("transformers.models.") and "forward" not in vars(module)
    return own and not (module._forward_hooks or module._forward_pre_hooks)
