"""What a compressed model becomes outside the program: a folder that loads back into the same codes and sizes, and an
ONNX file that other runtimes read.

The folder's `config.json` says under `compressed` in which form the weights are and how many heads and neurons each
layer has left; the weights are one safetensors file of the form.
"""

from __future__ import annotations

import contextlib
import logging
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from labkit.compression import binary, int8, ternary
from labkit.compression.elastic import Shape, extract, full_shape
from labkit.compression.tinybert import bert_encoder
from labkit.errors import CheckpointError, LabkitError, UsageError
from labkit.evaluation import evaluating
from labkit.files import writing
from labkit.foundations.quantised import refuse_quantised

FORMS = {"int8": int8, "ternary": ternary, "binary": binary}
NOTE = "compressed"  # the entry of the configuration
OPSET = 18


def form_of(model: nn.Module) -> str | None:
    """The name of the form that some of the model's weights have; None where all are numbers."""
    kinds = (int8.INT8, ternary.TERNARY, binary.BINARY)
    return next((form.name for form in kinds if any(map(form.holds, model.modules()))), None)


def describe(model: Any) -> dict[str, Any] | None:
    """What a skeleton made from the configuration lacks to be this model; None where it lacks nothing."""
    form, sizes = form_of(model), {}
    if (shape := _shape(model)) is not None:
        config = bert_encoder(model).config
        whole = (config.num_attention_heads, config.intermediate_size)
        if set(zip(shape.heads, shape.neurons, strict=True)) != {whole}:
            sizes = {"heads": list(shape.heads), "neurons": list(shape.neurons)}
    return {"form": form, **sizes} if form or sizes else None


def _shape(model: nn.Module) -> Shape | None:
    try:
        return full_shape(model)
    except UsageError:  # not of BERT's kind: no pass cuts it
        return None


def save(model: Any, folder: str | os.PathLike[str]) -> Path:
    """Write configuration and weights of what `describe` finds into `folder`; the file of weights."""
    model.config.update({NOTE: describe(model)})
    try:
        model.config.save_pretrained(folder)
    finally:
        delattr(model.config, NOTE)
    path = Path(folder) / weights_file(form_of(model))
    FORMS[form_of(model) or "int8"].save(model, path)  # int8 of no layer: numbers all of them
    return path


def weights_file(form: str | None) -> str:
    """The name of the file of weights."""
    return f"{form or 'cut'}.safetensors"


def load(cls: Any, config: Any, folder: str | os.PathLike[str]) -> nn.Module:
    """The model of class `cls` from what `save` wrote. CheckpointError for another form or damaged weights."""
    note = dict(getattr(config, NOTE, None) or {"form": None})
    if (form := note.get("form")) not in (None, *FORMS):
        known = ", ".join(FORMS)
        raise CheckpointError(f"{folder}: weights in the form {form!r:.60}; this labkit knows {known}")
    skeleton = cls(config)
    if "heads" in note:
        layers = tuple(range(config.num_hidden_layers))
        try:
            skeleton = extract(skeleton, Shape(layers, tuple(note["heads"]), tuple(note.get("neurons", ()))))
        except UsageError as error:
            raise CheckpointError(f"{folder}: the configuration's sizes fit no such model: {error}") from error
    return FORMS[form or "int8"].load(skeleton, Path(folder) / weights_file(form))


class _Logits(nn.Module):
    """A model as ONNX needs it: tensors in, one tensor out."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Tensor:
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask, "token_type_ids": token_type_ids}
        return self.model(**inputs).logits


def to_onnx(model: nn.Module, path: str | os.PathLike[str]) -> Path:
    """Write the model as ONNX: (batch, tokens) int64 `input_ids`, `attention_mask` and `token_type_ids` to `logits`.

    Batch and length are free. Codes of ours are no operators of ONNX, so a quantised model is refused: export the
    numbers, and let onnxruntime or OpenVINO quantise (`benchmarks/int8.py`). Needs the extra `quantize`.
    """
    refuse_quantised(model, "ONNX has no such codes", mend="export before quantising, or undo it: int8.undo(model)")
    try:
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise LabkitError("writing ONNX needs onnx and onnxscript: pip install 'labkit[quantize]'") from error
    names, free = ["input_ids", "attention_mask", "token_type_ids"], {0: "batch", 1: "tokens"}
    example = tuple(torch.zeros(2, 8, dtype=torch.long) for _ in names)  # one that came twice would be one input
    with _silenced(), evaluating(model), writing(path) as temporary:
        program = torch.onnx.export(
            _Logits(model).eval(), example, input_names=names, output_names=["logits"],
            dynamic_shapes={name: dict(free) for name in names}, dynamo=True, opset_version=OPSET, verbose=False,
        )  # fmt: skip
        program.save(temporary)
    return Path(path)


@contextlib.contextmanager
def _silenced() -> Iterator[None]:
    """Without what torch's exporter says of packages that it could use and of its own old functions."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
