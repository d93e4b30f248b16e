"""What the models make of a text: one written token by token, blanks filled in passes, a translation."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from labkit.demos.foundations.form import Decoding
from labkit.errors import UsageError
from labkit.evaluation import eval_mode
from labkit.foundations.encoder import lm_logits
from labkit.foundations.generation import Choice, Sampler, Steps, beam_search, mask_predict, prompted, trace
from labkit.foundations.generation.decoding import NEVER, extended
from labkit.foundations.generation.seq2seq import BLANK
from labkit.zoo import PACKAGED, RECIPES, Loaded, load, store
from labkit.zoo.translating import asked

SHOWN = 5  # likeliest tokens of a step, or of a blank
REAL, FILLING, TRANSLATING = "gemma-270m", "mini-bert-en", "mini-t5-en-zh"
Beginnings = list[tuple[list[int], float]]  # tokens and their log-probability, the best first


@dataclass(frozen=True)
class Written:
    """A text as it came to be: each choice, and for a beam the beginnings that it held after each step."""

    text: str
    choices: Sequence[Choice]
    ended: bool  # by the model, not by the longest length
    beams: Sequence[Beginnings] = ()


@dataclass(frozen=True)
class Filled:
    """Tokens (blanks,) after 1, 2, … passes, each from the beginning, and of each blank the likeliest in the first."""

    passes: Sequence[list[int]]
    likeliest: Sequence[list[tuple[int, float]]]


class Models:
    """The models of the page, loaded when they are first asked for; `write` names those that complete a text."""

    def __init__(self, first: str) -> None:
        self.write = [first, *([REAL] if first != REAL and here(REAL) else [])]
        self._found: dict[str, Loaded] = {}
        self._lock = threading.Lock()

    def get(self, name: str) -> Loaded:
        """The model of that name; UsageError for one that would have to be trained first."""
        with self._lock:
            if name not in self._found:
                if not here(name):
                    raise UsageError(f"{name} is not here yet: `labkit zoo build {name}` trains it, in an hour or so")
                self._found[name] = load(name)
            return self._found[name]


def here(name: str) -> bool:
    """Whether a model can be loaded at once, or after it was converted."""
    if name in PACKAGED:
        return store.cached(PACKAGED[name]).is_dir() or PACKAGED[name].installed
    return name not in RECIPES or store.find(name) is not None


def complete(loaded: Loaded, text: str, how: Decoding) -> Written:
    """How a model that reads left to right goes on with the text. UsageError for another, and where no room is left."""
    model, tokenizer = loaded
    return _written(loaded, lambda: Steps(model, **prompted(tokenizer, [text])), how)


def translate(loaded: Loaded, text: str, language: str, how: Decoding) -> Written:
    """A text in `language`, "en" or "zh", in the other one. UsageError for a text that is too long for the model."""
    model, tokenizer = loaded
    batch = tokenizer([asked(text, language)], return_tensors="pt", split_special_tokens=True)
    if (tokens := batch["input_ids"].shape[1]) > tokenizer.model_max_length:
        raise UsageError(f"{tokens} tokens: the model reads at most {tokenizer.model_max_length}; shorten the text")
    return _written(loaded, lambda: Steps(model, batch["input_ids"], batch["attention_mask"]), how)


def _written(loaded: Loaded, begin: Callable[[], Steps], how: Decoding) -> Written:
    model, tokenizer = loaded
    eos = model.config.eos_token_id if tokenizer.eos_token_id is None else tokenizer.eos_token_id
    watch = Watch(how, eos)
    if how.way == "beam":
        ids = beam_search(
            begin(), how.length, how.beams, eos=eos, length_penalty=how.penalty, extend=watch
        )[0].tolist()  # fmt: skip
        choices = trace(begin(), len(ids), Given(ids), shown=SHOWN)
    else:
        options = {"k": 1} if how.way == "greedy" else {"temperature": how.temperature, "k": how.k or None, "p": how.p}
        choices = trace(begin(), how.length, Sampler(**options, seed=how.seed), eos=eos, shown=SHOWN)
        ids = [one.chosen for one in choices]
    text = tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return Written(BLANK.sub("", text).strip(), choices, ids[-1] == eos, watch.steps)


class Given:
    """A sampler for `trace` that takes tokens which are known: what the model thought of a text that a beam found."""

    options: dict[str, Any] = {}

    def __init__(self, ids: Sequence[int]) -> None:
        self.left = iter(ids)

    def __call__(self, logits: Tensor) -> Tensor:
        """Logits (1, vocabulary) → the next token (1,)."""
        return torch.tensor([next(self.left)], device=logits.device)


@dataclass
class Watch:
    """For `beam_search`: extends beginnings as it does, and keeps the best of each step."""

    how: Decoding
    eos: int
    steps: list[Beginnings] = field(default_factory=list)
    going: list[list[int]] = field(default_factory=lambda: [[]])

    def __call__(self, logits: Tensor, score: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """As `extended`, of one row."""
        found = extended(logits, score, count)
        longer = [
            ([*self.going[min(parent, len(self.going) - 1)], token], value)
            for value, parent, token in zip(*(part[0].tolist() for part in found), strict=True)
            if value > NEVER / 2
        ]
        self.steps.append(longer[: self.how.beams])
        self.going = [ids for ids, _ in longer if ids[-1] != self.eos][: self.how.beams]
        return found


def fill(loaded: Loaded, parts: Sequence[str], passes: int) -> Filled:
    """Fill the blanks between the parts of a text. UsageError for a text that is too long for the model."""
    model, tokenizer = loaded
    ids = [tokenizer.cls_token_id]
    for number, part in enumerate(parts):
        ids += [tokenizer.mask_token_id] * bool(number)
        ids += tokenizer(part, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    ids.append(tokenizer.sep_token_id)
    if len(ids) > tokenizer.model_max_length:
        raise UsageError(f"{len(ids)} tokens: the model reads at most {tokenizer.model_max_length}; shorten the text")
    given = torch.tensor([ids])
    blanks = given[0] == tokenizer.mask_token_id
    runs = (mask_predict(model, given, tokenizer.mask_token_id, many) for many in range(1, passes + 1))
    found = [run[0, blanks].tolist() for run in runs]
    rows, columns = blanks[None].nonzero(as_tuple=True)
    with eval_mode(model), torch.no_grad():
        shares = lm_logits(model, {"input_ids": given}, rows, columns).float().softmax(-1)
    best = shares.topk(min(SHOWN, shares.shape[1]))
    pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
    return Filled(found, [list(zip(tokens, values, strict=True)) for tokens, values in pairs])
