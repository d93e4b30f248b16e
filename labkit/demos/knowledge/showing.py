"""What the knowledge demo shows: blanks as two models fill them, facts, pages with the terms that found them."""

from __future__ import annotations

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from labkit.demos.fewshot.showing import unfamiliar_words
from labkit.demos.foundations.showing import blank, boxes, joined
from labkit.demos.knowledge.asking import Known
from labkit.knowledge.graph import Triple
from labkit.serving.look import box, safe
from labkit.widgets.retrieval_bench import Hit, View

FACTS, TERMS = 8, 6  # that are shown of a thing, and of a page
WAITING = box('<p class="waiting">Press the button: what is found appears here.</p>')


def filled(found: Known, parts: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> str:
    """The text as each model completes it, the likeliest words of each blank, and the graph's facts."""
    note = unfamiliar_words(" ".join(parts), tokenizer)
    shown = []
    for name, one in found.filled.items():
        cells = "".join(blank(number, some, tokenizer) for number, some in enumerate(one.likeliest, start=1))
        text = joined(parts, one.passes[-1], (), tokenizer)
        shown.append(f'<h3>{safe(name)}</h3><p class="sum">{text}</p><div class="grid">{cells}</div>')
    facts = "".join(map(_facts, found.facts, found.facts.values()))
    told = facts or "<p>The text names nothing that is in the graph.</p>"
    last = f'<h3>What the graph knows</h3>{told}<p class="small">✓ some text of the world states it, ✗ none does.</p>'
    return boxes(*shown, last + (f'<p class="small">{note}</p>' if note else ""))


def _facts(name: str, facts: Sequence[tuple[Triple, bool]]) -> str:
    """Those that say something of the thing come first, then those of others that it stands in."""
    facts = sorted(facts, key=lambda one: one[0][0] != name)
    told = "; ".join(f"{'✓' if stated else '✗'} {safe(' · '.join(triple))}" for triple, stated in facts[:FACTS])
    more = f"; {len(facts) - FACTS} more" if len(facts) > FACTS else ""
    return f"<p><b>{safe(name)}</b>: {told or 'no fact'}{more}</p>"


def pages(view: View) -> str:
    """What each retriever found, side by side."""
    columns = "".join(_column(name, hits, view) for name, hits in view.hits.items())
    return box(f'<p class="said">“{safe(view.query)}”</p><div class="grid">{columns}</div>')


def _column(name: str, hits: Sequence[Hit] | str, view: View) -> str:
    if isinstance(hits, str):
        return f"<div><h3>{name}</h3><p>{safe(hits)}</p></div>"
    return f"<div><h3>{name}</h3>{''.join(_hit(one, view.texts[one.passage]) for one in hits)}</div>"


def _hit(hit: Hit, text: str) -> str:
    mark = {True: "<b>✓ answers</b> · ", False: "✗ · ", None: ""}[hit.right]
    terms = ", ".join(f"{safe(term)} {adds:.1f}" for term, adds in list(hit.terms.items())[:TERMS])
    why = f"{hit.score:.2f}: {terms}" if terms else f"cosine {hit.score:.2f}"
    return f'<p>{mark}{safe(text)}</p><p class="small" style="margin-bottom:10px !important">{why}</p>'
