"""The deltas by name."""

from __future__ import annotations

from labkit.fewshot.delta_tuning.adapters import Parallel, Serial
from labkit.fewshot.delta_tuning.base import Delta
from labkit.fewshot.delta_tuning.bitfit import BitFit
from labkit.fewshot.delta_tuning.combine import Combined
from labkit.fewshot.delta_tuning.compacter import Compacter
from labkit.fewshot.delta_tuning.intrinsic import Intrinsic
from labkit.fewshot.delta_tuning.ladder import Ladder
from labkit.fewshot.delta_tuning.lora import IA3, LoRA
from labkit.fewshot.delta_tuning.prompts import Prefix, Prompt

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
