"""The knowledgeable verbalizer: label words looked up in a knowledge base, and then sifted.

One word a label leaves most of what the model knows unasked; a person thinks of five. A knowledge base knows a hundred
words for "sports", but many are rare, some mean something else, and all are written with very different ease whatever
the text says. Hu et al. 2022 ("Knowledgeable prompt-tuning", §3) therefore sift them on texts without labels:

    frequency    p̄(v) = mean over texts of p(v | text): words that the model hardly ever writes go
    relevance    R(v) = cos(q_v, q_y) · (|Y| − 1) / Σ_{y' ≠ y} cos(q_v, q_y'), with q_v = p(v | ·) over the texts and
                 q_y that of label y's own word: words nearer to the other labels than to their own go, R < 1
    calibration  p(v | text) / p̄(v), then the mean over a label's words

The knowledge here is the world's: its lexicon, which knows a topic's words, and its graph, which knows an entity's
neighbours.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from labkit.errors import UsageError
from labkit.evaluation import numbers_only, over_rows
from labkit.fewshot.pet import PET
from labkit.fewshot.prompts.template import Template
from labkit.fewshot.prompts.verbalizer import Verbalizer, spelled
from labkit.world.graph import Graph
from labkit.world.names import TYPES
from labkit.world.settings import lexicon

Words = dict[str, tuple[str, ...]]
# Where the lexicon keeps groups of words that belong together: genre -> entries that are groups, or hold some.
GROUPS = {
    "reviews": ("positive", "negative", "verdict_positive", "verdict_negative"),
    "pairs": ("entailment", "neutral", "contradiction"),
    "news": ("topics",),
    "abstracts": ("disciplines", "kinds"),
    "dialogue": ("intents",),
}


# Looking up


def groups(language: str) -> Iterator[tuple[str, ...]]:
    """The groups of words that the world's lexicon keeps together: a topic's names, agents, things and verbs …"""
    genres = ("reviews", "pairs", "news", "dialogue", *(["abstracts"] if language == "zh" else []))
    for genre in genres:
        words = lexicon(genre, language)
        for entry in (words[name] for name in GROUPS[genre] if name in words):
            if isinstance(entry, Mapping):
                for topic, parts in entry.items():
                    lists = [value for name, value in parts.items() if name != "near"]
                    yield _flat([topic, *lists])
            else:
                yield _flat(entry)


def _flat(entries: Sequence[Any]) -> tuple[str, ...]:
    """The words of strings (cut at spaces) and lists, each once."""
    found: dict[str, None] = {}
    for entry in entries:
        for word in entry.split() if isinstance(entry, str) else entry:
            found.setdefault(str(word))
    return tuple(found)


def neighbours(graph: Graph, word: str, language: str) -> tuple[str, ...]:
    """What the graph relates to a word: the entities of that type, most frequent first, or an entity's neighbours."""
    if word in TYPES:
        return tuple(entity.name[language] for entity in graph.of_type(word))
    entity = graph.find(word, language)
    return () if entity is None else tuple(graph.name(other, language) for other in graph.neighbours(entity.id))


def related_words(
    words: Mapping[str, str | Sequence[str]], language: str = "en", graph: Graph | None = None
) -> dict[str, tuple[str, ...]]:
    """Each label's words, and after them what the lexicon and, if given, the graph know of any of them."""
    known, found = list(groups(language)), {}
    for label, own in words.items():
        own = (own,) if isinstance(own, str) else tuple(own)
        more = [word for group in known if set(own) & set(group) for word in group]
        more += [other for word in own if graph is not None for other in neighbours(graph, word, language)]
        found[label] = tuple(dict.fromkeys([*own, *more]))
    return found


# Sifting


@dataclass(frozen=True)
class Sifted:
    """Label words that are left, and those that went, by the reason why they did."""

    words: Words
    dropped: Mapping[str, Words]  # reason -> label -> words

    def __str__(self) -> str:
        kept = sum(map(len, self.words.values()))
        gone = ", ".join(f"{sum(map(len, some.values()))} {reason}" for reason, some in self.dropped.items())
        return f"{kept} label words kept; gone: {gone}"


def usable(
    candidates: Mapping[str, Sequence[str]],
    tokenizer: PreTrainedTokenizerBase,
    masks: int = 1,
    spaced: bool | None = None,
) -> Sifted:
    """The candidates that a verbalizer can take: of `masks` known pieces, and no other label's. A label's first word,
    which is its name, stays in any case. `spaced` as in Verbalizer.
    """
    ids = {word: ids for _, word, ids in spelled(candidates, tokenizer, spaced)}
    names = {ids[some[0]] for some in candidates.values()}
    owners: dict[tuple[int, ...], set[str]] = {}
    for label, some in candidates.items():
        for word in some:
            owners.setdefault(ids[word], set()).add(label)
    seen: set[tuple[int, ...]] = set()
    reasons: dict[tuple[str, str], str] = {}
    for label, some in candidates.items():
        for word in dict.fromkeys(some):
            own, is_name, reason = ids[word], word == some[0], ""
            if not is_name and (len(own) != masks or tokenizer.unk_token_id in own):
                reason = "of other lengths or unknown"
            elif not is_name and (len(owners[own]) > 1 or own in names):
                reason = "of several labels"
            elif own in seen:
                reason = "spelled twice"
            else:
                seen.add(own)
            reasons[label, word] = reason
    return _sifted(candidates, reasons)


def frequent(prior: np.ndarray, share: float = 0.5) -> np.ndarray:
    """Which words are among the `share` that the model writes most: priors (words,) to booleans (words,)."""
    if not 0 < share <= 1:
        raise UsageError(f"share={share}: the share of words to keep lies in (0, 1]")
    least = np.sort(prior)[::-1][max(1, round(share * len(prior))) - 1]
    return prior >= least


def relevance(chances: np.ndarray, owners: np.ndarray) -> np.ndarray:
    """R of each word: its likeness to its own label's word over the mean likeness to the others': (words,).

    `chances` (texts, words): probability of each word in each text's blank, at will divided by its mean, which the
    cosine does not feel. `owners` (words,): the class of each; a class's own word is the first that belongs to it.
    """
    unit = chances / np.linalg.norm(chances, axis=0).clip(1e-300)
    classes = int(owners.max()) + 1
    names = unit[:, [int(np.flatnonzero(owners == label)[0]) for label in range(classes)]]  # (texts, classes)
    alike = unit.T @ names  # (words, classes)
    own = alike[np.arange(len(owners)), owners]
    return own * (classes - 1) / (alike.sum(1) - own).clip(1e-300)


def knowledgeable(
    model: nn.Module,
    template: Template | str,
    candidates: Mapping[str, Sequence[str]],
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[Mapping[str, Any]],
    *,
    share: float = 0.5,
    least: float = 1.0,
    **options: Any,
) -> tuple[PET, Sifted]:
    """PET with the candidates that are frequent and relevant on `rows` (labels are not read), calibrated there.

    A label's first candidate is its name and always stays. `share` of the words are frequent enough, `least` is the
    relevance a word needs; `options` are PET's. Ready to answer without training.
    """
    template = Template.parse(template)
    settings = {"masks": template.masks, "spaced": template.spaced}
    able = usable(candidates, tokenizer, **settings)
    method = PET(template, Verbalizer(able.words, tokenizer, **settings), tokenizer, **options)
    chances = _chances(model, method, rows)  # (texts, words)
    order = [(label, word) for label, some in able.words.items() for word in some]
    owners = np.array([method.verbalizer.labels.index(label) for label, _ in order])
    often, apt = frequent(chances.mean(0), share), relevance(chances, owners) >= least
    names = {(label, some[0]) for label, some in able.words.items()}
    reasons = {
        one: "" if one in names or (often[number] and apt[number]) else "rare" if not often[number] else "irrelevant"
        for number, one in enumerate(order)
    }
    sifted = _sifted(able.words, reasons)
    found = PET(template, Verbalizer(sifted.words, tokenizer, **settings), tokenizer, **options)
    return found.calibrated(model, rows), Sifted(sifted.words, {**able.dropped, **sifted.dropped})


def _chances(model: nn.Module, method: PET, rows: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Probability of each label word in each row's blank: (rows, words) float64."""
    if not len(rows):
        raise UsageError("sifting label words needs texts: give some rows, with or without labels")

    def read(model: nn.Module, batch: Mapping[str, Any]) -> Tensor:
        return method.verbalizer.word_logits(method.mask_logits(model, batch))

    found = over_rows(model, rows, method.collate, read).double().exp().numpy()
    return numbers_only(found, model, np.arange(len(rows)))


def _sifted(candidates: Mapping[str, Sequence[str]], reasons: Mapping[tuple[str, str], str]) -> Sifted:
    """The candidates without a reason against them, and the others by their reason."""
    kept = {label: tuple(word for word in some if not reasons[label, word]) for label, some in candidates.items()}
    dropped: dict[str, Words] = {}
    for reason in dict.fromkeys(reason for reason in reasons.values() if reason):
        gone = {label: tuple(w for w in some if reasons[label, w] == reason) for label, some in candidates.items()}
        dropped[reason] = {label: some for label, some in gone.items() if some}
    return Sifted(kept, dropped)
