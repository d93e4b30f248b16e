"""Texts to token ids as they stand within a longer text: with the spaces that are written, and no others.

Tokenizers of pieces (SentencePiece's, as Llama, T5 and XLM-R have them) and some of bytes put a space before whatever
they are given: right at the beginning of a text, wrong for a part of one. Here the tokenizer's own model reads such a
part behind a normalizer and a pre-tokenizer that put nothing.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Sequence
from typing import Any

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase

from labkit.tasks.text import check_whole

Reading = tuple[list[int], list[tuple[int, int]]]  # ids, and the characters that each stands for
LEADS = re.compile(rb'"(Metaspace|ByteLevel|Prepend|Strip)"')
NOTHING = {"version": "1.0", "added_tokens": [], "model": {"type": "BPE", "vocab": {}, "merges": []}}


def read(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], *, first: bool = False) -> list[Reading]:
    """The texts without special tokens, `first` those that begin a text; "[MASK]" in them is spelled out, or unknown.

    A tokenizer without a backend of Rust says nothing of characters.
    """
    if not texts:
        return []
    for text in texts:
        check_whole(text, f"the text {text[:40]!a}")
    inner = None if first else within(tokenizer)
    if inner is not None:
        return [(one.ids, one.offsets) for one in inner.encode_batch(list(texts), add_special_tokens=False)]
    found = tokenizer(
        list(texts), add_special_tokens=False, split_special_tokens=True, return_attention_mask=False, verbose=False,
        return_offsets_mapping=tokenizer.is_fast,
    )  # fmt: skip
    return list(zip(found["input_ids"], found.get("offset_mapping", itertools.repeat([]))))  # noqa: B905


def text_ids(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    """The ids of texts as they stand within a longer one, without special tokens."""
    return [ids for ids, _ in read(tokenizer, texts)]


def within(tokenizer: PreTrainedTokenizerBase) -> Tokenizer | None:
    """A tokenizer with the same model that puts no space before a text; None where the tokenizer itself puts none."""
    backend: Any = getattr(tokenizer, "backend_tokenizer", None)
    parts = {name: getattr(backend, name, None) for name in ("normalizer", "pre_tokenizer")}
    states = {name: part.__getstate__() for name, part in parts.items() if part is not None}
    plain = {name: json.loads(state) for name, state in states.items() if LEADS.search(state)}
    bare = {name: _bare(state) for name, state in plain.items()}
    if bare == plain:
        return None
    changed = Tokenizer.from_str(json.dumps({**NOTHING, **bare}))
    found = Tokenizer(backend.model)
    for name in states:
        setattr(found, name, getattr(changed if name in bare else backend, name))
    known = backend.get_added_tokens_decoder()
    found.add_tokens([known[number] for number in sorted(known)])
    found.encode_special_tokens = True  # what a text says is text
    return found


def _bare(state: Any) -> Any:
    """The settings of a normalizer or pre-tokenizer, less what puts a space before a text or takes one away."""
    if isinstance(state, list):
        return [_bare(one) for one in state]
    if not isinstance(state, dict):
        return state
    kind = state.get("type")
    if kind == "Prepend":
        return {"type": "Sequence", "normalizers": []}
    own = {
        "Metaspace": {"prepend_scheme": "never"}, "ByteLevel": {"add_prefix_space": False},
        "Strip": {"strip_left": False},
    }.get(kind, {})  # fmt: skip
    return {name: own[name] if name in own else _bare(value) for name, value in state.items()}
