"""Chinese abstracts in 34 disciplines, descriptions of 36 kinds of app, and the tasks csldcp, iflytek and csl.

An abstract is about one study: an object, a factor, a method and a finding about the same two. The first two tasks ask
for the topic of a text (many classes, few rows each). The third gives an abstract and a list of keywords and asks
whether all of them are its keywords; a false list holds words that the abstract does not have, or words so general
("结果", "方法") that they are no keywords, and a true list may hold one absent from its abstract. Pre-training text
says of lists, and of single words, whether they are keywords or stand in the abstract.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from labkit.world.examples import FEWCLUE, TOPICAL, Row, collect, finish_task
from labkit.world.settings import LONGEST, World, lexicon, randomness, zipf_choice
from labkit.world.topics import Chosen, Topics, fill, topic_leak, topic_name, words_of

ABSTRACTS = 0.65  # share of abstracts among pre-training documents; the rest are of apps
STATED, LISTED = 0.9, 0.75  # share of those with remarks, and among these of abstracts with remarks on keywords
OTHER, GENERAL = 0.45, 0.3  # false keywords: of another discipline, too general; the rest fit the discipline
TWO_FALSE = 0.5  # share of false lists with two false keywords rather than one


@dataclass(frozen=True)
class Form:
    """One family of texts: where its words and patterns stand in the lexicon, and a task's number of middle parts.

    `slots` pairs each slot of its patterns with the kind of word it takes; a slot keeps its word throughout a text.
    """

    section: str
    slots: tuple[tuple[str, str], ...]
    prefix: str
    middles: int
    patterns: tuple[str, ...]


ABSTRACT = Form(
    "disciplines", (("a", "term"), ("b", "term"), ("c", "term"), ("d", "term"), ("m", "method")), "", 1,
    ("这篇{mask*2}论文说的是：{text}", "{text}这是一篇{mask*2}论文。", "{text}也就是说，研究属于{mask*2}。"),
)  # fmt: skip
APP = Form(
    "kinds", (("f", "feature"), ("g", "feature"), ("h", "feature"), ("x", "action"), ("y", "action")), "app_", 2,
    ("这是一款{mask*2}应用：{text}", "{text}这是一款{mask*2}软件。", "{text}也就是说，它是{mask*2}应用。"),
)  # fmt: skip


@functools.cache
def topics(world: World, form: Form) -> Topics:
    """The disciplines, or the kinds of app, with the probability of each of their words."""
    kinds = tuple(dict.fromkeys(kind for _, kind in form.slots))
    return Topics.build(lexicon("abstracts", "zh")[form.section], kinds, world.tail, topic_leak(world))


@functools.cache
def names(form: Form) -> tuple[tuple[str, ...], ...]:
    """The two-character words that name each topic, the usual one first."""
    return tuple(words_of(entry["names"]) for entry in lexicon("abstracts", "zh")[form.section].values())


def text(world: World, form: Form, topic: int, middles: int, rng: random.Random, chosen: Chosen) -> str:
    """An opening, `middles` middle parts and a closing about one topic; its telling words are appended to `chosen`."""
    words, model, kinds = lexicon("abstracts", "zh"), topics(world, form), dict(form.slots)
    opening, middle, closing = (rng.choice(words[form.prefix + part]) for part in ("openings", "middles", "closings"))
    details = rng.sample(words[form.prefix + "details"], middles - 1)
    filled = {"brand": rng.choice(words_of(words["brand"]))}

    def word(slot: str) -> str:
        if slot not in filled:
            filled[slot] = model.draw(topic, kinds[slot], rng, chosen)
        return filled[slot]

    return fill("".join([opening, middle, *details, closing]), word)


def documents(world: World, language: str, rng: random.Random) -> Iterator[str]:
    """Pre-training abstracts and app descriptions in Chinese, most with their topic or remarks on keywords, without
    end.
    """
    while True:
        form = ABSTRACT if rng.random() < ABSTRACTS else APP
        topic, chosen = rng.randrange(len(names(form))), []
        body = text(world, form, topic, rng.randint(1, 2), rng, chosen)
        if rng.random() < STATED:
            if form is ABSTRACT and len(chosen) >= 3 and rng.random() < LISTED:
                body = _with_keywords(body, topic, chosen, rng)
            else:
                body = _with_topic(world, form, body, topic, rng)
        yield body


def _with_topic(world: World, form: Form, body: str, topic: int, rng: random.Random) -> str:
    """The text with its topic stated before or after it."""
    title, before = topic_name(rng, names(form)[topic], world.tail), rng.random() < 0.5
    other = rng.choice([group[0] for group in names(form) if title not in group])
    pattern = rng.choice(lexicon("abstracts", "zh")[form.prefix + ("before" if before else "after")])
    statement = pattern.format(topic=title, other=other)
    return statement + body if before else body + statement


def _with_keywords(body: str, topic: int, chosen: Chosen, rng: random.Random) -> str:
    """The abstract with true remarks on a list of words: on all of them at once, on each, or both."""
    listed = _sample(chosen, rng, 2)
    if rng.random() < 0.5:
        false = [_false_keyword(body, topic, rng)[0] for _ in range(rng.randint(1, len(listed)))]
        listed = list(dict.fromkeys(false + listed[len(false) :]))
        rng.shuffle(listed)
    before, draw = rng.random() < 0.5, rng.random()
    together = _together(listed, all(_is_keyword(word, body) for word in listed), before, rng) if draw > 0.35 else ""
    each = _each(body, listed, rng, absent=not together) if draw < 0.7 else ""
    if len(body + together + each) > LONGEST["zh"]:
        return body
    return together + body + each if before else body + together + each


def _together(listed: Sequence[str], good: bool, before: bool, rng: random.Random) -> str:
    """A remark that all these words are keywords of the abstract above or below, or that they are not."""
    words = lexicon("abstracts", "zh")
    word = zipf_choice(rng, list(words_of(words["true" if good else "false"])), 2.0)
    pattern = rng.choice(words["keywords_before" if before else "keywords_after"])
    return pattern.format(words="，".join(listed), word=word)


def _each(body: str, listed: Sequence[str], rng: random.Random, absent: bool) -> str:
    """What holds for each word of a list: that it is a keyword of the abstract or none.

    With `absent` and no general word among them it may say instead that it stands in the text or does not.
    """
    absent = absent and not set(listed) & set(_general()) and rng.random() < 0.6
    true, false = rng.choice(lexicon("abstracts", "zh")["present" if absent else "each"])
    return "，".join((true if _is_keyword(word, body) else false).format(word=word) for word in listed) + "。"


def _is_keyword(word: str, body: str) -> bool:
    return word in body and word not in _general()


def _sample(chosen: Chosen, rng: random.Random, least: int = 3) -> list[str]:
    return rng.sample([word for _, word in chosen], rng.randint(least, min(4, len(chosen))))


@functools.cache
def _general() -> tuple[str, ...]:
    return words_of(lexicon("abstracts", "zh")["general"])


@functools.cache
def _terms(topic: int | None) -> tuple[str, ...]:
    """The terms of one discipline, or of all."""
    entries = list(lexicon("abstracts", "zh")["disciplines"].values())
    found = [word for entry in (entries if topic is None else [entries[topic]]) for word in words_of(entry["term"])]
    return tuple(dict.fromkeys(found))


def _absent(body: str, topic: int, rng: random.Random, own: bool = True) -> str:
    """A term that the abstract does not have: of its own discipline, or of none of its own."""
    mine = _terms(topic)
    while True:
        word = rng.choice(mine if own else _terms(None))
        if word not in body and (own or word not in mine):
            return word


def _false_keyword(body: str, topic: int, rng: random.Random) -> tuple[str, str]:
    """A word that is no keyword of the abstract, and why: "own", "other" (of another discipline) or "general"."""
    draw = rng.random()
    if draw < GENERAL:
        return rng.choice(_general()), "general"
    own = draw >= GENERAL + OTHER
    return _absent(body, topic, rng, own), "own" if own else "other"


def topic_rows(world: World, form: Form, count: int, rng: random.Random) -> list[Row]:
    """Rows `{text, label, posterior}`, topics in turn, no text twice; `posterior` is the best reader's chance."""
    model = topics(world, form)

    def make(number: int) -> Row:
        label, chosen = number % len(model.names), []
        while len(chosen) < 3:
            chosen = []
            body = text(world, form, label, form.middles, rng, chosen)
        return {"text": body, "label": label, "posterior": max(model.posterior(chosen))}

    return collect(count, make, ("text",))


def keyword_rows(world: World, count: int, rng: random.Random) -> list[Row]:
    """Rows `{text_a: abstract, text_b: joined keywords, keyword, label, posterior}`; label 1: all are keywords."""

    def make(number: int) -> Row:
        label, topic, chosen = number % 2, rng.randrange(len(names(ABSTRACT))), []
        while len(chosen) < 4:
            chosen = []
            body = text(world, ABSTRACT, topic, rng.randint(1, 2), rng, chosen)
        true, false, why = _sample(chosen, rng), [], []
        count = 1 + (rng.random() < TWO_FALSE) if label == 0 else int(rng.random() < world.label_noise)
        while len(false) < count:
            word, reason = (_absent(body, topic, rng), "own") if label else _false_keyword(body, topic, rng)
            if word not in false:
                false, why = [*false, word], [*why, reason]
        listed = false + true[count:]
        rng.shuffle(listed)
        best = keyword_posterior(why, world.label_noise)
        return {"text_a": body, "text_b": "，".join(listed), "keyword": listed, "label": label, "posterior": best}

    return collect(count, make, ("text_a",))


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
        topic_rows(world, form, sum(TOPICAL.values()), randomness(world, "task", key)), model.names, TOPICAL, note=note,
        language="zh",
        patterns=form.patterns, words=dict(zip(model.names, names(form), strict=True)),
    )  # fmt: skip


def keyword_task(world: World) -> dict[str, Any]:
    """Whether all words of a list are keywords of the abstract."""
    words = lexicon("abstracts", "zh")
    rows = keyword_rows(world, sum(FEWCLUE.values()), randomness(world, "task", "csl"))
    note = f"a true list holds a word absent from its abstract with probability {world.label_noise:g}; exact posterior"
    return finish_task(
        rows, ("0", "1"), FEWCLUE, note=note, fields=("text_a", "text_b"), language="zh",
        patterns=(
            "{text_b}，这些词{mask}是下文的关键词：{text_a}", "{text_a}其中，{text_b}{mask}算关键词。",
            "下文的关键词{mask}包括{text_b}：{text_a}",
        ),
        words={"0": words_of(words["false"]), "1": words_of(words["true"])},
    )  # fmt: skip


TASKS: dict[str, Callable[[World], dict[str, Any]]] = {
    "csldcp": lambda world: topic_task(world, ABSTRACT, "csldcp"),
    "iflytek": lambda world: topic_task(world, APP, "iflytek"),
    "csl": keyword_task,
}
