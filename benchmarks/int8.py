"""Int8 and packed ternary layers beside other libraries, in turns in one run; and LLM.int8 on a real language model.

    python benchmarks/int8.py layers          linear layers and a BERT of base size    -> labkit/results/int8.json
    python benchmarks/int8.py gemma FOLDER    perplexity of Gemma 3 270M on the sentences of FOLDER/sst2
                                                                                   -> labkit/results/int8_gemma.json

Times are shares of float32's in the same turn, on one thread; a row is a turn, the median of REPEATS calls. "error" is
the mean |difference| from float32's answer, relative to the mean |answer|. Bytes are those of a file with the layer's
own state. A library that is not installed is left out, and the reason is printed. OpenVINO's static int8 is calibrated
by NNCF on 32 inputs of the same kind.

gemma: all linear layers but the output's are turned; perplexity per token of TEXTS sentences. The share of outlier
columns is that of columns in which some |x| is 6 or more, over all layers' inputs and sentences.
"""

from __future__ import annotations

import argparse
import copy
import io
import math
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from few_shot_runs import opened
from torch import Tensor, nn

from labkit.compression import int8, ternary
from labkit.compression.int8 import Int8Linear, outliers
from labkit.report import Report

RESULTS = Path("labkit/results")
TURNS, REPEATS, TEXTS = 3, 5, 24
LAYERS = ((1, 768, 768), (128, 768, 768), (128, 768, 3072))  # tokens, in, out
LENGTH = 128  # tokens of the whole model's text
FLOAT = "float32"
Way = tuple[Callable[[Tensor], Any], float]  # a call, and its bytes in a file


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("layers", "gemma"))
    parser.add_argument("folder", type=Path, nargs="?")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    if options.what == "gemma":
        gemma(options.folder)
        return
    report = opened(RESULTS / "int8.json", "python benchmarks/int8.py layers")
    for tokens, inner, out in LAYERS:
        torch.manual_seed(0)
        compare(report, f"layer {inner} × {out}, {tokens} token{'s' * (tokens > 1)}", nn.Linear(inner, out).eval(),
                torch.randn(tokens, inner))  # fmt: skip
    compare(report, f"BERT of base size, {LENGTH} tokens", bert_base(), torch.randint(1000, 20000, (1, LENGTH)))


def bert_base() -> nn.Module:
    """Random weights: the time does not depend on them."""
    from transformers import BertConfig, BertModel

    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = BertModel(BertConfig(), add_pooling_layer=False)

        def forward(self, ids: Tensor) -> Tensor:
            return self.body(ids).last_hidden_state

    torch.manual_seed(0)
    return Last().eval()


def compare(report: Report, task: str, model: nn.Module, x: Tensor) -> None:
    """Every way on the same input, in turns."""
    with tempfile.TemporaryDirectory() as work, torch.inference_mode():
        ways = dict(made(model, x, Path(work)))
        wanted = as_tensor(ways[FLOAT][0](x))
        for turn in range(TURNS):
            times = {name: timed(call, x) for name, (call, _) in ways.items()}
            for name, (call, size) in ways.items():
                off = (as_tensor(call(x)) - wanted).abs().mean() / wanted.abs().mean()
                more = {"bytes": round(size), "error": float(off), "ms": 1000 * times[name]}
                report.add(name, task, times[name] / times[FLOAT], seed=turn, metric="time, × float32", **more)
        report.save(RESULTS / "int8.json")
        for name, (_, size) in ways.items():
            some = [row for row in report.rows if (row.task, row.method) == (task, name)]
            print(f"{task:<32} {name:<28} × {statistics.median(row.value for row in some):.2f}  "
                  f"error {some[0]['error']:.4f}  {size / 1e6:.2f} MB", flush=True)  # fmt: skip


def timed(call: Callable[[Tensor], Any], x: Tensor) -> float:
    """The median of REPEATS calls, after one that is not counted."""
    call(x)
    seconds = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        call(x)
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def made(model: nn.Module, x: Tensor, work: Path) -> Iterator[tuple[str, Way]]:
    """The ways of computing `model`, by name; those whose library is absent are left out, with a line that says so."""
    for name, make in WAYS.items():
        try:
            yield name, make(copy.deepcopy(model), x, work)
        except ImportError as error:
            print(f"{name}: left out, {error}", flush=True)


def as_tensor(found: Any) -> Tensor:
    """What a way gives, as float32 in torch."""
    return (found if torch.is_tensor(found) else torch.from_numpy(found)).float()


def own(model: nn.Module) -> Way:
    """A model of torch, and the bytes of its state."""
    stream = io.BytesIO()
    torch.save(model.state_dict(), stream)
    return model, stream.tell()


def torch_dynamic(model: nn.Module, *_: Any) -> Way:
    whole = nn.Sequential(model)  # a lone layer is not replaced
    return own(torch.ao.quantization.quantize_dynamic(whole, {nn.Linear}, dtype=torch.qint8))


def bitsandbytes(kind: str) -> Callable[..., Way]:
    """Its int8 layers (outliers from 6), or NF4."""

    def make(model: nn.Module, *_: Any) -> Way:
        return own(in_bitsandbytes(nn.Sequential(model), kind))

    return make


def in_bitsandbytes(model: nn.Module, kind: str, skip: str = "lm_head") -> nn.Module:
    """The model with its linear layers as that library's, in place."""
    import bitsandbytes as bnb

    for name, layer in [(n, m) for n, m in model.named_modules() if type(m) is nn.Linear and not n.endswith(skip)]:
        shape = (layer.in_features, layer.out_features, layer.bias is not None)
        if kind == "int8":
            new = bnb.nn.Linear8bitLt(*shape, has_fp16_weights=False, threshold=6.0)
        else:
            new = bnb.nn.Linear4bit(*shape, compute_dtype=torch.float32, quant_type="nf4")
        new.load_state_dict(layer.state_dict())
        parent, _, last = name.rpartition(".")
        setattr(model.get_submodule(parent), last, new.to("cpu"))
    return model


def onnx_dynamic(model: nn.Module, x: Tensor, work: Path) -> Way:
    from onnxruntime import InferenceSession, SessionOptions
    from onnxruntime.quantization import quantize_dynamic

    exported(model, x, work / "float.onnx")
    quantize_dynamic(work / "float.onnx", work / "int8.onnx")
    options = SessionOptions()
    options.intra_op_num_threads = 1
    session = InferenceSession(work / "int8.onnx", options, providers=["CPUExecutionProvider"])
    (name,) = (one.name for one in session.get_inputs())
    return lambda x: session.run(None, {name: x.numpy()})[0], (work / "int8.onnx").stat().st_size


def openvino_static(model: nn.Module, x: Tensor, work: Path) -> Way:
    import nncf
    import openvino

    exported(model, x, work / "float.onnx")
    inputs = [torch.randn(x.shape) if x.is_floating_point() else x.roll(place) for place in range(32)]
    plain = openvino.convert_model(work / "float.onnx")
    whole = nncf.quantize(plain, nncf.Dataset(inputs, lambda x: x.numpy()), model_type=nncf.ModelType.TRANSFORMER)
    openvino.save_model(whole, work / "int8.xml")
    ready = openvino.compile_model(whole, "CPU", {"INFERENCE_NUM_THREADS": 1})
    return lambda x: ready(x.numpy())[0], (work / "int8.bin").stat().st_size


def exported(model: nn.Module, x: Tensor, path: Path) -> None:
    """As ONNX."""
    with torch.inference_mode(False):
        torch.onnx.export(copy.deepcopy(model), (x.clone(),), path, dynamo=False, opset_version=17)


WAYS: dict[str, Callable[..., Way]] = {
    FLOAT: lambda model, *_: own(model),
    "labkit int8": lambda model, *_: own(int8.apply(model)),
    "labkit ternary, packed": lambda model, *_: own(ternary.apply(model)),
    "torch dynamic int8": torch_dynamic,
    "bitsandbytes int8": bitsandbytes("int8"),
    "bitsandbytes NF4": bitsandbytes("nf4"),
    "onnxruntime dynamic int8": onnx_dynamic,
    "OpenVINO static int8": openvino_static,
}


# A real language model


def gemma(folder: Path) -> None:
    """Perplexity with every form of its linear layers; which columns of their inputs are outliers."""
    from labkit.zoo import load

    report = opened(RESULTS / "int8_gemma.json", "python benchmarks/int8.py gemma DATA")
    base, tokenizer = load("gemma-270m", head="lm")
    lines = (folder / "sst2" / "stsa.binary.dev").read_text(encoding="utf-8", errors="replace").splitlines()
    texts = [tokenizer(line.split(maxsplit=1)[1], return_tensors="pt")["input_ids"] for line in lines[:TEXTS]]
    skip = ("lm_head",)  # tied to the embeddings, which are of a class of their own and stay as they are
    ways = {
        FLOAT: lambda model: model,
        "labkit int8": lambda model: int8.apply(model, skip),
        "labkit int8, outliers in floats": lambda model: int8.keep_outliers(int8.apply(model, skip)),
        "bitsandbytes int8": lambda model: in_bitsandbytes(model, "int8"),
        "bitsandbytes NF4": lambda model: in_bitsandbytes(model, "nf4"),
    }
    for name, make in ways.items():
        if name in {row.method for row in report.rows}:
            continue
        model = make(copy.deepcopy(base)).eval()
        more = watched(model, texts) if name == "labkit int8" else {}
        report.add(
            name, "SST-2, dev", perplexity(model, texts), metric="perplexity", bytes=round(own(model)[1]), **more
        )
        report.save(RESULTS / "int8_gemma.json")
        print(report.table(), flush=True)


def perplexity(model: nn.Module, texts: list[Tensor]) -> float:
    """Per token, the first of a text not counted."""
    total = count = 0.0
    with torch.inference_mode():
        for ids in texts:
            total += float(model(ids, labels=ids).loss) * (ids.shape[1] - 1)
            count += ids.shape[1] - 1
    return math.exp(total / count)


def watched(model: nn.Module, texts: list[Tensor]) -> dict[str, float]:
    """The share of outlier columns, and the largest |x|, of the inputs of all int8 layers."""
    shares, largest = [], []

    def look(_: nn.Module, inputs: tuple[Tensor]) -> None:
        x = inputs[0].flatten(0, -2)
        shares.append(len(outliers(x, 6.0)) / x.shape[1])
        largest.append(float(x.abs().max()))

    hooks = [one.register_forward_pre_hook(look) for one in model.modules() if isinstance(one, Int8Linear)]
    with torch.inference_mode():
        for ids in texts[:4]:
            model(ids)
    for hook in hooks:
        hook.remove()
    return {"outlier columns, share": statistics.fmean(shares), "largest |x|": max(largest)}


if __name__ == "__main__":
    main()
