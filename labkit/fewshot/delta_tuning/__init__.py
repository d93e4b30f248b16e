"""Delta tuning: adapt a frozen model by few trained weights (Ding et al. 2023, "Parameter-efficient fine-tuning of
large-scale pre-trained language models"; the toolkit OpenDelta, Hu et al. 2023).

    addition-based            Serial, Parallel, Compacter, Ladder, Prompt, Prefix
    specification-based       BitFit
    reparametrisation-based   LoRA, IA3, Intrinsic

A delta is a frozen dataclass of settings with `attach(model)`, `detach(model)` and, where it is linear in the weights,
`merge(model)`, all in place:

    LoRA(rank=4).attach(model)          # frozen, but for the delta and a new head
    fit(model, method.loss, batches)
    save_delta(model, "deltas/news")    # the trained tensors, some kB
    merge(model)                        # or detach(model): bit for bit as it was
"""

from __future__ import annotations

from labkit.fewshot.delta_tuning.adapters import Parallel, Serial
from labkit.fewshot.delta_tuning.base import Delta, attached, detach, fingerprint, merge, trained_tensors
from labkit.fewshot.delta_tuning.bitfit import BitFit
from labkit.fewshot.delta_tuning.combine import Combined
from labkit.fewshot.delta_tuning.compacter import Compacter
from labkit.fewshot.delta_tuning.intrinsic import Intrinsic, learn_subspace
from labkit.fewshot.delta_tuning.ladder import Ladder
from labkit.fewshot.delta_tuning.lora import IA3, LoRA
from labkit.fewshot.delta_tuning.prompts import Prefix, Prompt
from labkit.fewshot.delta_tuning.saving import DELTAS, delta_tensors, load_delta, save_delta, transfer
from labkit.fewshot.delta_tuning.search import greedy, random_search
from labkit.fewshot.delta_tuning.serving import Centre, Served

__all__ = [
    "DELTAS",
    "IA3",
    "BitFit",
    "Centre",
    "Combined",
    "Compacter",
    "Delta",
    "Intrinsic",
    "Ladder",
    "LoRA",
    "Parallel",
    "Prefix",
    "Prompt",
    "Serial",
    "Served",
    "attached",
    "delta_tensors",
    "detach",
    "fingerprint",
    "greedy",
    "learn_subspace",
    "load_delta",
    "merge",
    "random_search",
    "save_delta",
    "trained_tensors",
    "transfer",
]
