"""Chinese abstracts in 34 disciplines, descriptions of 36 kinds of app, and the tasks csldcp, iflytek and csl.

The first two ask for the topic of a text (many classes, few rows each). The third gives an abstract and a list of
keywords and asks whether all of them are its keywords; a false list holds words that the abstract does not have, or
words so general ("结果", "方法") that they are no keywords, and a true list may hold one absent from its abstract.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from labkit.errors import unknown
from labkit.world.settings import World, lexicon, randomness
from labkit.world.topics import Chosen, Topics, distinct_rows, finish_task, topic_leak, topic_name, words_of

LANGUAGES = ("zh",)
STATED = 0.6  # share of pre-training documents that name their topic
OTHER, GENERAL = 0.3, 0.3  # false keywords: of another discipline, too general; the rest fit the discipline
TWO_FALSE = 0.5  # share of false lists with two false keywords rather than one


@dataclass(frozen=True)
class Form:
    """One family of texts: where its words and patterns stand in the lexicon, and a task's number of middle parts."""

    section: str
    kinds: tuple[str, ...]
    prefix: str
    middles: int
    patterns: tuple[str, ...]


ABSTRACT = Form(
    "disciplines", ("term", "method"), "", 1,
    ("这篇{mask*2}论文说的是：{text}", "{text}这是一篇{mask*2}论文。", "{text}也就是说，研究属于{mask*2}。"),
)  # fmt: skip
APP = Form(
    "kinds", ("feature", "action"), "app_", 2,
    ("这是一款{mask*2}应用：{text}", "{text}这是一款{mask*2}软件。", "{text}也就是说，它是{mask*2}应用。"),
)  # fmt: skip


@functools.cache
def topics(world: World, form: Form) -> Topics:
    """The disciplines, or the kinds of app, with the probability of each of their words."""
    return Topics.build(lexicon("abstracts", "zh")[form.section], form.kinds, world.tail, topic_leak(world))


@functools.cache
def names(form: Form) -> tuple[tuple[str, ...], ...]:
    """The two-character words that name each topic, the usual one first."""
    return tuple(words_of(entry["names"]) for entry in lexicon("abstracts", "zh")[form.section].values())


@functools.cache
def _brands() -> dict[str, tuple[str, ...]]:
    return {"brand": words_of(lexicon("abstracts", "zh")["brand"])}


def text(world: World, form: Form, topic: int, middles: int, rng: random.Random, chosen: Chosen) -> str:
    """An opening, `middles` middle parts and a closing about one topic; its telling words are appended to `chosen`."""
    words = lexicon("abstracts", "zh")
    parts = ["openings"] + ["middles"] * middles + ["closings"]
    patterns = [rng.choice(words[form.prefix + part]) for part in parts]
    model = topics(world, form)
    return "".join(model.fill(pattern, topic, rng, chosen, _brands()) for pattern in patterns)


def documents(world: World, language: str, rng: random.Random) -> Iterator[str]:
    """Pre-training abstracts and app descriptions, often with their topic or a remark on keywords, without end.

    Raises UsageError for any language but Chinese.
    """
    if language not in LANGUAGES:
        raise unknown("language of abstracts", language, LANGUAGES)
    words = lexicon("abstracts", "zh")
    while True:
        form = rng.choice((ABSTRACT, APP))
        topic, chosen = rng.randrange(len(names(form))), []
        body = text(world, form, topic, rng.randint(1, 2), rng, chosen)
        if rng.random() < STATED:
            if form is ABSTRACT and len(chosen) >= 3 and rng.random() < 0.5:
                body = _with_keywords(world, body, topic, chosen, rng)
            else:
                title = topic_name(rng, names(form)[topic], world.tail)
                before = rng.random() < 0.5
                statement = rng.choice(words[form.prefix + ("before" if before else "after")]).replace("{topic}", title)
                body = statement + body if before else body + statement
        yield body


def _with_keywords(world: World, body: str, topic: int, chosen: Chosen, rng: random.Random) -> str:
    """The abstract with a true remark on what are, or are not, its keywords."""
    words, true = lexicon("abstracts", "zh"), rng.random() < 0.5
    listed = _sample(chosen, rng) if true else [_false_keyword(topic, chosen, rng)[0] for _ in range(rng.randint(2, 3))]
    before = rng.random() < 0.5
    pattern = rng.choice(words["keywords_before" if before else "keywords_after"])
    remark = pattern.replace("{words}", "，".join(listed)).replace("{word}", "都" if true else "不")
    return remark + body if before else body + remark


def _sample(chosen: Chosen, rng: random.Random) -> list[str]:
    return rng.sample([word for _, word in chosen], rng.randint(3, min(4, len(chosen))))


@functools.cache
def _terms(topic: int | None) -> tuple[str, ...]:
    """The terms of one discipline, or of all."""
    entries = list(lexicon("abstracts", "zh")["disciplines"].values())
    found = [word for entry in (entries if topic is None else [entries[topic]]) for word in words_of(entry["term"])]
    return tuple(dict.fromkeys(found))


def _absent(topic: int, chosen: Chosen, rng: random.Random, own: bool = True) -> str:
    """A term that the abstract does not have: of its own discipline, or of none of its own."""
    used, mine = {word for _, word in chosen}, _terms(topic)
    while True:
        word = rng.choice(mine if own else _terms(None))
        if word not in used and (own or word not in mine):
            return word


def _false_keyword(topic: int, chosen: Chosen, rng: random.Random) -> tuple[str, str]:
    """A word that is no keyword of the abstract, and why: "own", "other" (of another discipline) or "general"."""
    draw = rng.random()
    if draw < GENERAL:
        return rng.choice(words_of(lexicon("abstracts", "zh")["general"])), "general"
    own = draw >= GENERAL + OTHER
    return _absent(topic, chosen, rng, own), "own" if own else "other"


def topic_rows(world: World, form: Form, count: int, rng: random.Random) -> list[dict[str, Any]]:
    """Rows `{text, label, posterior}`, topics in turn, no text twice; `posterior` is the best reader's chance."""
    model = topics(world, form)

    def make(label: int) -> dict[str, Any]:
        chosen: Chosen = []
        while len(chosen) < 2:
            chosen = []
            body = text(world, form, label, form.middles, rng, chosen)
        return {"text": body, "label": label, "posterior": max(model.posterior(chosen))}

    return distinct_rows(make, len(model.names), count, lambda row: row["text"])


def keyword_rows(world: World, count: int, rng: random.Random) -> list[dict[str, Any]]:
    """Rows `{text_a: abstract, text_b: joined keywords, keyword, label, posterior}`; label 1: all are keywords."""

    def make(label: int) -> dict[str, Any]:
        topic = rng.randrange(len(names(ABSTRACT)))
        chosen: Chosen = []
        while len(chosen) < 4:
            chosen = []
            body = text(world, ABSTRACT, topic, 2, rng, chosen)
        true, false, why = _sample(chosen, rng), [], []
        count = 1 + (rng.random() < TWO_FALSE) if label == 0 else int(rng.random() < world.label_noise)
        while len(false) < count:
            word, reason = (_absent(topic, chosen, rng), "own") if label else _false_keyword(topic, chosen, rng)
            if word not in false:
                false, why = [*false, word], [*why, reason]
        listed = false + true[count:]
        rng.shuffle(listed)
        best = keyword_posterior(why, world.label_noise)
        return {"text_a": body, "text_b": "，".join(listed), "keyword": listed, "label": label, "posterior": best}

    return distinct_rows(make, 2, count, lambda row: row["text_a"])


def keyword_posterior(why: Sequence[str], noise: float) -> float:
    """The best reader's chance to be right about a list whose false keywords are of the kinds `why`, in [0.5, 1].

    Only a list with a single one of the abstract's own discipline may be true (with probability `noise`) or false.
    """
    if list(why) != ["own"]:
        return 1.0
    false = (1 - TWO_FALSE) * (1 - OTHER - GENERAL)
    return max(noise, false) / (noise + false)


def topic_task(world: World, form: Form, key: str) -> dict[str, Any]:
    """The discipline, or the kind of app, of a text as the fields of a Task; labels are the topics' titles."""
    model = topics(world, form)
    note = f"a telling word is a neighbouring topic's with probability {topic_leak(world):g}; exact posterior, averaged"
    return finish_task(
        topic_rows(world, form, 8500, randomness(world, "task", key)), model.names, note=note, language="zh",
        patterns=form.patterns, words=dict(zip(model.names, names(form), strict=True)),
    )  # fmt: skip


def keyword_task(world: World) -> dict[str, Any]:
    """Whether all words of a list are keywords of the abstract."""
    sizes = {"train": 2400, "dev": 500, "test": 1000, "unlabelled": 2000}
    rows = keyword_rows(world, sum(sizes.values()), randomness(world, "task", "csl"))
    note = f"a true list holds a word absent from its abstract with probability {world.label_noise:g}; exact posterior"
    return finish_task(
        rows, ("0", "1"), sizes, note=note, fields=("text_a", "text_b"), language="zh",
        patterns=("{text_b}，这些词{mask}是下文的关键词：{text_a}", "{text_a}其中，{text_b}{mask}是关键词。"),
        words={"0": ("不", "非"), "1": ("都", "全")},
    )  # fmt: skip


TASKS: dict[str, Callable[[World], dict[str, Any]]] = {
    "csldcp": lambda world: topic_task(world, ABSTRACT, "csldcp"),
    "iflytek": lambda world: topic_task(world, APP, "iflytek"),
    "csl": keyword_task,
}
