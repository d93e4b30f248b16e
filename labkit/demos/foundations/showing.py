"""What the writing demo shows: texts, each choice, beams, blanks. Pure functions from results to HTML."""

from __future__ import annotations

import math
from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from labkit.demos.fewshot.showing import bar, unfamiliar_words
from labkit.demos.foundations.writing import Filled, Written
from labkit.foundations.generation import Choice
from labkit.report.figure import COLOURS
from labkit.serving.look import box, safe
from labkit.widgets.shown import as_written

RANKS = 3  # beginnings of a beam that are shown
UNKNOWN = "[UNK]"  # of tokenizers that cut at blanks first, so that they know which words they know
TAIL = 4  # the last tokens of a beginning
WAITING = box('<p class="waiting">Press the button: what the model writes appears here.</p>')


def written(found: Written, tokenizer: PreTrainedTokenizerBase, read: str, before: str = "") -> str:
    """The text behind `before`, then how each token came to be; `read` is what the person typed."""
    total = sum(math.log(max(one.probability, 1e-45)) for one in found.choices)
    end = "the model ended it" if found.ended else "cut at the longest length"
    count = len(found.choices)
    about = f"{count} tokens, {end}; log-probability {total:.2f}, {total / count:.2f} a token"
    note = unfamiliar_words(read, tokenizer) if tokenizer.unk_token == UNKNOWN else ""
    text = f"{safe(before)} <b>{safe(found.text)}</b>" if before else safe(found.text)
    small = "".join(f'<p class="small">{one}</p>' for one in (f"{about}.", note) if one)
    more = [beams(found, tokenizer)] if found.beams else []
    return boxes(f'<p class="sum">{text}</p>{small}', choices(found.choices, tokenizer), *more)


def boxes(*inner: str) -> str:
    """Framed parts of the page, one below the other."""
    framed = "".join(f'<div class="box">{one}</div>' for one in inner)
    return f'<div class="lab">{framed}</div>'


def choices(steps: Sequence[Choice], tokenizer: PreTrainedTokenizerBase) -> str:
    """A line for each token: what the model gave it, what the filters left, what else was likely."""
    rows = "".join(
        f"<tr><td>{number}</td><td style='text-align:left'><b>{_name(one.chosen, tokenizer)}</b></td>"
        f"<td>{_percent(one.probability)}</td><td>{one.kept:,}</td>"
        f"<td style='text-align:left;white-space:normal;min-width:12em'>{_others(one, tokenizer)}</td></tr>"
        for number, one in enumerate(steps, start=1)
    )
    head = "<tr><th>step</th><th style='text-align:left'>chosen</th><th>probability</th><th>kept</th>"
    head += "<th style='text-align:left'>likeliest tokens</th></tr>"
    note = "Kept: how many tokens could be drawn, after top-k and nucleus. ▲ marks a choice that is not the likeliest."
    return f'<h3>Each choice</h3><div class="wrap"><table>{head}{rows}</table></div><p class="small">{note}</p>'


def _others(one: Choice, tokenizer: PreTrainedTokenizerBase) -> str:
    told = [f"{_name(token, tokenizer)} {_percent(share)}" for token, share in zip(one.tokens, one.before, strict=True)]
    return ("▲ " if one.chosen != one.tokens[0] else "") + " · ".join(told)


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.095 else f"{100 * share:.1f} %" if share >= 0.0005 else "&lt; 0.1 %"


def _name(token: int, tokenizer: PreTrainedTokenizerBase) -> str:
    """A token as the vocabulary writes it, as HTML; the one that ends a text in words."""
    ends = (tokenizer.eos_token_id, tokenizer.sep_token_id)
    return "<i>(end)</i>" if token in ends else safe(as_written([token], tokenizer)[0])


def beams(found: Written, tokenizer: PreTrainedTokenizerBase) -> str:
    """The best beginnings after each step, by the tokens at their end."""
    rows = ""
    for number, some in enumerate(found.beams, start=1):
        cells = "".join(
            f"<td style='text-align:left'>{'… ' if len(ids) > TAIL else ''}"
            f"{' '.join(_name(one, tokenizer) for one in ids[-TAIL:])} ({value:.1f})</td>"
            for ids, value in some[:RANKS]
        )
        rows += f"<tr><td>{number}</td>{cells}</tr>"
    ranks = range(1, 1 + min(RANKS, max(map(len, found.beams))))
    head = "<tr><th>step</th>" + "".join(f"<th style='text-align:left'>{rank}.</th>" for rank in ranks) + "</tr>"
    note = "The end of each beginning, with its log-probability. What has ended waits; the best of it is the text."
    return f'<h3>The beam</h3><div class="wrap"><table>{head}{rows}</table></div><p class="small">{note}</p>'


def filled(found: Filled, parts: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> str:
    """The text after the last pass, after each number of passes, and what else each blank could be."""
    note = unfamiliar_words(" ".join(parts), tokenizer)
    head = f'<p class="sum">{joined(parts, found.passes[-1], (), tokenizer)}</p>'
    if note:
        head += f'<p class="small">{note}</p>'
    shown = [head]
    if len(found.passes) > 1:
        lines, before = "", found.passes[0]
        for number, ids in enumerate(found.passes, start=1):
            changed = [at for at, (a, b) in enumerate(zip(ids, before, strict=True)) if a != b]
            lines += f"<p><b>{number}</b>&ensp;{joined(parts, ids, changed, tokenizer)}</p>"
            before = ids
        about = "In 1, 2, … passes, each from the beginning. ▲: another word than in the line above."
        shown.append(f'<h3>By the number of passes</h3>{lines}<p class="small">{about}</p>')
    cells = "".join(blank(number, some, tokenizer) for number, some in enumerate(found.likeliest, start=1))
    return boxes(*shown, f'<h3>Each blank in the first pass</h3><div class="grid">{cells}</div>')


def joined(
    parts: Sequence[str], ids: Sequence[int], changed: Sequence[int], tokenizer: PreTrainedTokenizerBase
) -> str:  # fmt: skip
    """The text with a token in each blank; those at the places `changed` are marked."""
    words = [f"<b>{'▲' if at in changed else ''}{_name(one, tokenizer)}</b>" for at, one in enumerate(ids)]
    pieces = [safe(parts[0])]
    for word, part in zip(words, parts[1:], strict=True):
        pieces += [word, safe(part)]
    return "".join(pieces)


def blank(number: int, some: Sequence[tuple[int, float]], tokenizer: PreTrainedTokenizerBase) -> str:
    """The likeliest tokens of one blank, as bars."""
    rows = "".join(bar(_name(token, tokenizer), share, COLOURS[0]) for token, share in some)
    return f"<div><p class='verdict'><span>blank {number}</span></p>{rows}</div>"
