"""A causal model of a few thousand weights, in a folder, and a small task with sentences beside it."""

from __future__ import annotations

import random
from pathlib import Path

import torch
from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel as Spelled
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

GOOD, BAD = ("great", "superb", "charming", "lovely"), ("terrible", "dull", "awful", "tedious")
THINGS = ("plot", "cast", "score", "ending", "film", "camera", "script", "pace")


def sentences(count: int, seed: int, what: str = "movie") -> list[tuple[int, str]]:
    """Labelled sentences, all different, of which no two share a long run of letters."""
    rng, found = random.Random(f"{what}{seed}"), []
    for number in range(count):
        label = number % 2
        words = [rng.choice(GOOD if label else BAD) for _ in range(3)]
        things = rng.sample(THINGS, 3)
        code = "".join(rng.choices("bcdfgklmnprst", k=6))
        found.append(
            (label, f"{code} : a {words[0]} {things[0]} , {words[1]} {things[1]} {code} {words[2]} {things[2]} .")
        )
    return found


def causal_model(folder: Path) -> str:
    """A random Llama with a byte-level tokenizer, as `save_pretrained` writes them."""
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer, tokenizer.decoder = ByteLevel(add_prefix_space=False), Spelled()
    trainer = BpeTrainer(
        vocab_size=400, special_tokens=["<bos>", "<eos>"], initial_alphabet=ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator([text for _, text in sentences(200, 9)] + [" terrible great It was"] * 50, trainer)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<bos>", eos_token="<eos>", model_max_length=64
    ).save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=400,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=64,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=None,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return str(folder)


def tables(folder: Path, *, more: list[str] | None = None) -> dict[str, str]:
    """Settings that name train, dev and test tables of 40 rows in `folder`, and a file of other sentences."""
    folder.mkdir(exist_ok=True)
    for number, name in enumerate(("train", "dev", "test")):
        lines = [f"{label}\t{text}\n" for label, text in sentences(40, number)]
        (folder / f"{name}.tsv").write_text("".join(lines))
    other = [text for _, text in sentences(60, 7)] if more is None else more
    (folder / "more.txt").write_text("\n".join(other) + "\n")
    paths = ",".join(str(folder / f"{name}.tsv") for name in ("train", "dev", "test"))
    return {"task": f"table:{paths}", "schema": "label:str:1,text:str:1", "unlabelled": str(folder / "more.txt")}
