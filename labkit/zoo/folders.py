"""Is a model folder what it claims to be? `transformers` goes on where it is not: with random weights for those that
are missing, an empty vocabulary, an adapter that lies beside; and it builds whatever a configuration asks for.

So the configuration is compared with the headers of the weights before anything of that size is made, what was loaded
with what the model needs, and the tokenizer with the table of embeddings.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from labkit.checkpoints import reading, shapes
from labkit.errors import CheckpointError
from labkit.files import read_json, sha256, write_sealed

COPY = "copy the folder again, or save it again with save_pretrained"
RECORD = "recipe.json"  # what made the folder, and its files' checksums
WEIGHTS, INDEX, ADAPTER = "model.safetensors", "model.safetensors.index.json", "adapter_config.json"
# How weights are read everywhere: without pickle, without code that came along, with a report of what fitted.
PLAINLY = {"dtype": torch.float32, "use_safetensors": True, "trust_remote_code": False,
           "ignore_mismatched_sizes": True, "output_loading_info": True}  # fmt: skip
# Whole numbers under such keys become as many Python objects, which no trick makes small.
COUNTS = re.compile(r"layer|label|expert|group|block|depth|stage")
NO_COUNTS = re.compile(r"size|dim|label2id|_id$")
MANY = 1000  # layers, labels, … that any configuration may have, whatever its file holds
PACKED = 8  # at most so many weights stand in one byte of what is called "packed"
SPARE = 2**26  # numbers that a model may have beside four times those in its file: masks, positions, a new head


def write_record(folder: Path, facts: Mapping[str, Any]) -> None:
    """Write `recipe.json`: the facts, the SHA-256 of each file that is there, and a checksum of all this."""
    sums = {file.name: sha256(file) for file in sorted(folder.iterdir())}
    write_sealed(folder / RECORD, {**facts, "sha256": sums})


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a folder, several where an index says so. CheckpointError where one is missing."""
    if (folder / ADAPTER).exists():
        what = f"an adapter ({ADAPTER}) lies beside the model and would be applied unasked"
        raise CheckpointError(f"{folder}: {what}; move it elsewhere, or merge it and save the model again")
    names = [WEIGHTS]
    if not (folder / WEIGHTS).is_file() and (folder / INDEX).is_file():
        with reading(folder / INDEX, COPY):
            names = sorted(set(read_json(folder / INDEX, COPY)["weight_map"].values()))
    for name in names:
        if Path(name).name != name or not (folder / name).is_file():
            raise CheckpointError(f"{folder / name}: missing; only safetensors are read, no pickle; {COPY}")
    return [folder / name for name in names]


def read_config(folder: Path, kind: Any, weights: Sequence[Path]) -> PreTrainedConfig:
    """The folder's configuration, if a model of the class `kind` (or an Auto class) that follows it has a size that
    goes with the headers of the files `weights`. CheckpointError otherwise, before anything of that size is made.
    """
    path = folder / "config.json"
    with reading(folder, COPY):
        held = {name: shape for file in weights for name, shape in shapes(file).items()}
        rows = max((shape[0] for shape in held.values() if shape), default=0)
        for key, number in _counts(read_json(path, COPY)):
            if number > max(MANY, rows if "label" in key else len(held)):
                raise CheckpointError(f"{path}: {key} = {number:.4g}, but the weights have {len(held)} tensors; {COPY}")
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        with torch.device("meta"):  # every shape, no memory
            auto = hasattr(kind, "from_config")
            model = kind.from_config(config, trust_remote_code=False) if auto else kind(config)
    asked = sum(tensor.numel() for tensor in itertools.chain(model.parameters(), model.buffers()))
    there = sum(math.prod(shape) * (PACKED if name.endswith(".packed") else 1) for name, shape in held.items())
    if asked > 4 * there + SPARE:
        raise CheckpointError(f"{path}: asks for {asked:.3g} numbers, but the weights have {there:.3g}; {COPY}")
    return config


def _counts(values: Any) -> Iterator[tuple[str, float]]:
    """Keys and numbers, anywhere in a configuration, that say how many of something are to be made."""
    pairs = values.items() if isinstance(values, Mapping) else enumerate(values) if isinstance(values, list) else ()
    for key, value in pairs:
        if NO_COUNTS.search(str(key)):
            continue
        if type(value) in (int, float) and COUNTS.search(str(key)):
            yield str(key), value
        yield from _counts(value)


def check_loaded(where: object, model: PreTrainedModel, facts: Mapping[str, Any], *, whole: bool = False) -> list[str]:
    """The parameters that the source did not hold, by transformers' report `facts`: those of a head, or a pooler.

    Raises CheckpointError where others are missing, or, with `whole`, any; where shapes differ; and where the source
    holds parts of the body that the model has no place for, as layers beyond its configuration's.
    """
    if getattr(model, "_hf_peft_config_loaded", False):
        raise CheckpointError(f"{where}: an adapter, which needs its own loader; give the model that it belongs to")
    missing, other = sorted(facts["missing_keys"]), sorted(facts["unexpected_keys"])
    kind, body = type(model).__name__, model.base_model
    named = f"{model.base_model_prefix}."
    prefix = "" if body is model else named
    lost = [name for name in missing if whole or (name.startswith(prefix) and _part(name, prefix) != "pooler")]
    spare = [name for name in other if whole or _homeless(name.removeprefix(named), body)]
    wrong = [f"{name} has shape {there}, not {wanted}" for name, there, wanted in sorted(facts["mismatched_keys"])]
    wrong += [f"{name} is missing" for name in lost] + [f"nothing in the model takes {name}" for name in spare]
    if wrong:  # transformers would go on with random weights
        first = "; ".join(wrong[:2])
        raise CheckpointError(f"{where}: the weights are not those of a {kind} of this config.json: {first}; {COPY}")
    return missing


def _part(name: str, prefix: str = "") -> str:
    """The first part of a parameter's name below the prefix."""
    return name.removeprefix(prefix).split(".")[0]


def _homeless(name: str, body: PreTrainedModel) -> bool:
    """Whether a tensor belongs to a module within the body's parts that is not there; a lone buffer is no matter."""
    if _part(name) not in dict(body.named_children()):
        return False
    try:
        body.get_submodule(name.rpartition(".")[0])
    except AttributeError:
        return not name.endswith("inv_freq")
    return False


def check_tokenizer(where: object, tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel) -> None:
    """Raise CheckpointError unless the tokenizer has words of its own, and none that the model's table has no row for.

    Tokens that were added to it may lie beyond the table, as Gemma's for pictures do, if no text leads to them.
    """
    rows = len(model.get_input_embeddings().weight)
    vocabulary, added = tokenizer.get_vocab(), tokenizer.get_added_vocab()
    own = [number for token, number in vocabulary.items() if token not in added]
    if not own:
        raise CheckpointError(f"{where}: the tokenizer's files are missing: its vocabulary is empty; {COPY}")
    names = ("cls", "sep", "pad", "mask", "bos", "eos", "unk")
    used = [number for name in names if (number := getattr(tokenizer, f"{name}_token_id", None)) is not None]
    used += tokenizer("a \u2047 \u597d")["input_ids"]  # also tries whether it can encode at all
    if (last := max(own + used)) >= rows:
        what = f"the tokenizer has a token number {last}, the model {rows} embeddings"
        raise CheckpointError(f"{where}: {what}: they do not belong together; {COPY}")
