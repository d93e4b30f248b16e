"""Which facts KGBERT reads beside a sentence: their gates, and what becomes of the blank with them and without."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ipywidgets import Combobox, IntSlider
from torch import nn

from labkit.evaluation import evaluating
from labkit.foundations.encoder import lm_logits
from labkit.knowledge.kgbert import KGBERT
from labkit.knowledge.linking import longest_first
from labkit.widgets.boxes import bar, chip, escape, frame, heading, table
from labkit.widgets.shown import Explorer, Picture, Shown, as_written, bounded, look

NEAR, FAR = "#56B4E9", "#E69F00"
MOST, SHOWN = 20, 8  # planted facts; facts with a line of their own


@dataclass(frozen=True)
class Gates:
    """A sentence's tokens and which of them are of a mention; (fact, gate, is it about a mention?) from the widest gate
    down; what the blanks say without the facts and with them ("" where there is no blank).
    """

    tokens: tuple[str, ...]
    mentioned: tuple[bool, ...]
    facts: tuple[tuple[str, float, bool], ...]
    without: str
    given: str


def compute(own: KGBERT, model: nn.Module, sentence: str, planted: int = 0, seed: int = 0) -> Gates:
    """The gates of all facts about whom the sentence names, and of `planted` others; [MASK] in it is a blank."""
    tokenizer, text = own.masked.tokenizer, [bounded(sentence, "the sentence")]
    plain = tokenizer(text, return_tensors="pt").to(own.bias.device)
    with evaluating(model):
        read = own.read(model, text, planted=planted, seed=seed)
        at = (plain["input_ids"] == tokenizer.mask_token_id).nonzero(as_tuple=True)
        said = [lm_logits(model, batch, *at).argmax(-1).tolist() for batch in (plain, read)] if len(at[0]) else [[], []]
    ids = plain["input_ids"][0].tolist()
    mentions = longest_first(ids, own.names)
    inside = {place for start, stop, _ in mentions for place in range(start, stop)}
    near = {row for _, _, entity in mentions for row in own.graph.rows(entity)}
    facts = [
        (tokenizer.decode(own.spoken[one], skip_special_tokens=True), gate, one in near)
        for one, gate in zip(read["facts"][0].tolist(), read["gates"][0].tolist(), strict=True) if one >= 0
    ]  # fmt: skip
    without, given = (" ".join(as_written(some, tokenizer)) for some in said)
    tokens = tuple(as_written(ids, tokenizer))
    return Gates(tokens, tuple(at in inside for at in range(len(tokens))), tuple(facts), without, given)


def draw(one: Gates) -> Picture:
    """The sentence, a bar for each fact's gate, and the blank; and all of it in words."""
    text = "".join(chip(token, NEAR if inside else "") for token, inside in zip(one.tokens, one.mentioned, strict=True))
    rows = [
        (escape(fact), bar([(gate, NEAR if near else FAR)]), f"{gate:.2f}", "" if near else "planted")
        for fact, gate, near in one.facts[:SHOWN]
    ]
    body = heading("Sentence", "blue: mentions of entities.") + f"<div>{text}</div>"
    body += heading("Gates", "of facts about them (blue) and about others (orange).") if rows else ""
    body += table(("fact", "gate", "", ""), rows) if rows else "<div>It names nobody whom the graph knows.</div>"
    more = f"and {len(one.facts) - SHOWN} more, the widest {one.facts[SHOWN][1]:.2f}" if one.facts[SHOWN:] else ""
    blank = f"The blank, without facts: {one.without}; with them: {one.given}." if one.without else ""
    words = ", ".join(f"{fact} {gate:.2f}{'' if near else ' (planted)'}" for fact, gate, near in one.facts)
    alt = f"{' '.join(one.tokens)} Gates: {words or 'no fact'}. {blank}".strip()
    return Picture(frame(f"{body}<div>{more}</div><div>{escape(blank)}</div>"), alt)


def fact_gates(own: KGBERT, model: nn.Module, sentences: Sequence[str], planted: int = 4) -> Shown:
    """A widget that shows the gates for one of the sentences, or for one that is typed. Raises as `compute`."""
    return Explorer(
        lambda sentence, planted: draw(compute(own, model, sentence, planted)),
        sentence=Combobox(value=sentences[0], options=list(sentences), description="sentence", ensure_option=False,
                          continuous_update=False, **look(70, 480)),
        planted=IntSlider(planted, min=0, max=MOST, description="planted", **look(60, 280)),
    )  # fmt: skip
