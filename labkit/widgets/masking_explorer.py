"""What a pre-training objective hides and what it asks for, token by token, on a sentence of one's own.

An objective is a function `(ids, rng, rate) -> (inputs, targets)` over one sentence: ids (tokens,) as the tokenizer
gives them, `rate` the share of tokens to choose, inputs what the model reads, targets what it must say, −100 where
nothing is asked. Targets as long as the inputs stand below them; where they are all 0 or 1 they mean original and
replaced (ELECTRA); ids from `len(tokenizer)` on, and <extra_id_…>, are sentinels (T5).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from ipywidgets import Dropdown, FloatSlider, IntSlider, Text
from transformers import PreTrainedTokenizerBase

from labkit.errors import UsageError
from labkit.foundations.encoder import usable_length
from labkit.foundations.pretraining import IGNORE, next_tokens, views, with_sentinels
from labkit.widgets.boxes import chip, count, escape, frame, heading
from labkit.widgets.shown import Explorer, Picture, Shown, as_written, beside, bounded, look

Objective = Callable[[np.ndarray, np.random.Generator, float], tuple[np.ndarray, np.ndarray]]
ALL = "all of them"
MAX_CHARACTERS, MAX_TOKENS = 500, 64
SEED = 10  # one at which BERT's three fates all occur in lesson 01/04's sentence
FATES = {  # what happened to a token -> its fill, its mark, the legend
    "seen": ("", "", "as it was"),
    "masked": ("#E69F00", "▒ ", "hidden"),
    "changed": ("#D55E00", "⇄ ", "another token in its place"),
    "kept": ("#56B4E9", "= ", "asked for, though it stayed"),
    "sentinel": ("#CC79A7", "", "a sentinel for the words left out"),
}
ABOUT = {
    "BERT": "hides some tokens (80 % ▒, 10 % ⇄, 10 % =) and asks for them; it reads both sides",
    "GPT": "asks for the next token at every place; it reads only what stands to the left",
    "ELECTRA": "puts other tokens in some places and asks of every token whether it is the original (✓)",
    "T5": "cuts out runs of tokens and asks for them, each after the sentinel that stands for it",
}


@dataclass(frozen=True)
class Column:
    """One place: what the model reads there, what became of the token (a key of FATES), and what is asked ("" if
    nothing is).
    """

    reads: str
    fate: str
    asked: str = ""


@dataclass(frozen=True)
class Row:
    """One objective on one sentence. `target` is its own sequence where it does not stand below the input."""

    name: str
    columns: tuple[Column, ...]
    target: tuple[Column, ...] = ()

    @property
    def asked(self) -> int:
        """How many predictions the objective learns from."""
        return len(self.target) or sum(bool(column.asked) for column in self.columns)


def built_in(tokenizer: PreTrainedTokenizerBase) -> dict[str, Objective]:
    """`views` of the objectives by name; of a tokenizer without a mask token, GPT's alone."""
    if tokenizer.mask_token_id is None:
        return {"GPT": lambda ids, rng, rate: next_tokens(ids)}
    marked = with_sentinels(tokenizer)

    def at_rate(name: str) -> Objective:
        def objective(ids: np.ndarray, rng: np.random.Generator, rate: float) -> tuple[np.ndarray, np.ndarray]:
            text = ids[~np.isin(ids, tokenizer.all_special_ids)] if name == "T5" else ids  # T5 knows no [CLS]
            return views(marked, probability=rate)[name](text, rng)

        return objective

    return {name: at_rate(name) for name in views(marked)}


def compute(
    tokenizer: PreTrainedTokenizerBase,
    text: str,
    objectives: Mapping[str, Objective],
    *,
    rate: float = 0.15,
    seed: int = 0,
) -> list[Row]:
    """What each objective makes of `text`, cut to 64 tokens; the same for the same seed.

    UsageError for a text that is empty, or of more than 500 characters.
    """
    limit = usable_length(tokenizer, MAX_TOKENS)
    found = tokenizer(
        bounded(text, "text", MAX_CHARACTERS), split_special_tokens=True, truncation=True, max_length=limit
    )["input_ids"]
    if not text.strip() or len(found) < 2:
        raise UsageError("text: write a sentence of at least two tokens")
    ids = np.array(found, dtype=np.int64)
    return [
        _row(name, objective, ids, tokenizer, rate, np.random.default_rng(seed))
        for name, objective in objectives.items()
    ]


def _row(
    name: str, objective: Objective, ids: np.ndarray, tokenizer: PreTrainedTokenizerBase, rate: float, rng: Any
) -> Row:
    inputs, targets = (np.asarray(part) for part in objective(ids.copy(), rng, rate))
    if len(inputs) != len(targets):
        return Row(name, tuple(_apart(inputs, tokenizer)), tuple(_apart(targets, tokenizer)))
    verdicts = targets.dtype == bool or set(targets.tolist()) <= {0, 1}  # replaced or not, rather than tokens
    original = ids[: len(inputs)]
    following = np.array_equal(inputs, original) and all(
        target in (IGNORE, after) for target, after in zip(targets.tolist(), ids[1:].tolist(), strict=False)
    )  # every place is asked for what comes next, so nothing was chosen
    columns = []
    for read, was, target in zip(inputs.tolist(), original.tolist(), targets.tolist(), strict=True):
        open_to_all = following or verdicts or target == IGNORE
        changed = "masked" if read == tokenizer.mask_token_id else "changed"
        fate = changed if read != was else "seen" if open_to_all else "kept"
        asked = ("✗ replaced" if target else "✓") if verdicts else _asked(target, tokenizer)
        columns.append(Column(_name(read, tokenizer), fate, asked))
    return Row(name, tuple(columns))


def _apart(ids: np.ndarray, tokenizer: PreTrainedTokenizerBase) -> list[Column]:
    """A sequence on its own: its sentinels marked."""
    return [Column(_name(i, tokenizer), "sentinel" if _is_sentinel(i, tokenizer) else "seen") for i in ids]


def _is_sentinel(number: int, tokenizer: PreTrainedTokenizerBase) -> bool:
    return number >= len(tokenizer) or str(tokenizer.convert_ids_to_tokens(int(number))).startswith("<extra_id_")


def _name(number: int, tokenizer: PreTrainedTokenizerBase) -> str:
    if number >= len(tokenizer):
        return f"⟨{number - len(tokenizer) + 1}⟩"
    return as_written([int(number)], tokenizer)[0]


def _asked(target: int, tokenizer: PreTrainedTokenizerBase) -> str:
    return "" if target == IGNORE else _name(target, tokenizer)


def draw(rows: list[Row]) -> Picture:
    """A block an objective: boxes of what is read, and below each what is asked there."""
    html = "".join(map(_block, rows))
    return Picture(frame(html, _legend(rows)), " ".join(map(_alt, rows)))


def _block(row: Row) -> str:
    tokens = count(len(row.columns), "token")
    head = heading(
        row.name, f"{escape(ABOUT.get(row.name, ''))}. Reads {tokens}, learns from {count(row.asked, 'prediction')}."
    )
    if row.target:
        reads = "".join(map(_box, row.columns))
        return f"{head}<div>reads: {reads}</div><div>says: {''.join(map(_box, row.target))}</div>"
    return f"{head}<div>{''.join(map(_column, row.columns))}</div>"


def _box(column: Column) -> str:
    fill, mark, about = FATES[column.fate]
    return chip(mark + column.reads, fill, title=about)


def _column(column: Column) -> str:
    """What is read above what is asked."""
    below = f"↓ {escape(column.asked)}" if column.asked else "·"
    style = "display:inline-block;text-align:center;vertical-align:top;margin-bottom:4px"
    return f'<span style="{style}">{_box(column)}<br><span style="font-size:12px">{below}</span></span> '


def _legend(rows: list[Row]) -> str:
    met = {column.fate for row in rows for column in (*row.columns, *row.target)}
    boxes = " ".join(chip(mark + about, fill) for fate, (fill, mark, about) in FATES.items() if fate in met)
    return f'<div style="font-size:11px;margin-top:8px">Boxes: {boxes} ↓ what the model is asked to say there</div>'


def _alt(row: Row) -> str:
    reads = " ".join(FATES[column.fate][1].strip() + column.reads for column in row.columns)
    says = " ".join(column.reads for column in row.target) or ", ".join(c.asked for c in row.columns if c.asked)
    return f"{row.name} reads: {reads}. It is asked for: {says or 'nothing'}."


def masking_explorer(tokenizer: PreTrainedTokenizerBase, text: str) -> Shown:
    """A widget that shows what the pre-training objectives make of a sentence, all of them or one.

    UsageError for a text that cannot be used.
    """
    every, size = built_in(tokenizer), look(80, 330)
    sentence = Text(text, description="text", **look(80, "98%"))
    show = Dropdown(options=[ALL, *every], description="objective", **size)
    rate = FloatSlider(0.15, min=0.05, max=0.9, step=0.05, description="rate", readout_format=".0%", **size)
    rate.disabled = list(every) == ["GPT"]  # which chooses nothing
    seed = IntSlider(SEED, min=0, max=50, description="seed", **size)

    def picture(text: str, show: str, rate: float, seed: int) -> Picture:
        chosen = every if show == ALL else {show: every[show]}
        return draw(compute(tokenizer, text, chosen, rate=rate, seed=seed))

    rows = [sentence, beside(show, rate, seed)]
    return Explorer(picture, rows, text=sentence, show=show, rate=rate, seed=seed)
