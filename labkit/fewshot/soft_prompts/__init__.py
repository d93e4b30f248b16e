"""Soft prompts: a few trained vectors steer a language model, where a template's words did before.

    P-tuning         the template's own words become vectors; the model is trained with them      `PTuning`, a PET
    prompt tuning    vectors before the text, the model frozen                                    `PromptTuning`
    prefix tuning    keys and values before the text, in every layer; the model frozen            `Prefix`
    PPT              prompt tuning from a prompt that was itself pre-trained                      `PPT`
    WARP             prompt vectors and one output vector a class; the model frozen               `WARP`, a PET

`PromptTuning`, `Prefix` and `PPT` are settings with `attach(model)` and `detach(model)`, and go with any method: PET's
verbalizer, or a new head. `PTuning` and `WARP` are methods themselves, which attach and detach what they train.
"""

from __future__ import annotations

from labkit.fewshot.soft_prompts.ppt import PPT
from labkit.fewshot.soft_prompts.prefix import Prefix
from labkit.fewshot.soft_prompts.prompt import PromptTuning
from labkit.fewshot.soft_prompts.ptuning import PromptEncoder, PTuning, softened
from labkit.fewshot.soft_prompts.warp import WARP

__all__ = ["PPT", "PTuning", "Prefix", "PromptEncoder", "PromptTuning", "WARP", "softened"]
