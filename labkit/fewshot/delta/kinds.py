"""The deltas by name."""

from __future__ import annotations

from labkit.fewshot.delta.adapters import Parallel, Serial
from labkit.fewshot.delta.base import Delta
from labkit.fewshot.delta.bitfit import BitFit
from labkit.fewshot.delta.combine import Combined
from labkit.fewshot.delta.compacter import Compacter
from labkit.fewshot.delta.intrinsic import Intrinsic
from labkit.fewshot.delta.ladder import Ladder
from labkit.fewshot.delta.lora import IA3, LoRA
from labkit.fewshot.delta.prompts import Prefix, Prompt

DELTAS: dict[str, type[Delta]] = {
    "serial": Serial,
    "parallel": Parallel,
    "lora": LoRA,
    "ia3": IA3,
    "bitfit": BitFit,
    "compacter": Compacter,
    "ladder": Ladder,
    "prompt": Prompt,
    "prefix": Prefix,
    "intrinsic": Intrinsic,
    "combined": Combined,
}


def name_of(delta: Delta) -> str:
    """The name of a delta's kind."""
    return next(name for name, kind in DELTAS.items() if kind is type(delta))
