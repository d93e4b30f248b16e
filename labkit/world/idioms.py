"""Chinese idioms in contexts that call for their meaning, and the task of choosing one of seven for a gap (chid).

156 idioms stand in 26 senses. A context holds one or two cues of a sense and says of a person, a place or a state of
things what the sense suits; among the candidates one fits, six are of other senses, but at times one of the six is of
the same sense: then the context does not decide, only how common each is. Pre-training text says what an idiom means,
what else could be said, and whether it is the right one in its place.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Iterator
from typing import Any

from labkit.world.examples import FEWCLUE, Row, collect, finish_task
from labkit.world.settings import World, lexicon, randomness, zipf_choice
from labkit.world.topics import words_of

CANDIDATES = 7
GAP = "#idiom#"
PRONOUNS = {"he": "他", "she": "她"}
NUMBERED, JUDGED = 0.12, 0.4  # shares of pre-training documents: a list with numbers, an idiom that fits or does not
SECOND = 0.7  # chance of a second cue in pre-training text
NEAR = 0.5  # chance that a candidate of another sense is of a sense close to the right one


@functools.cache
def senses() -> dict[str, tuple[str, ...]]:
    """Each sense with its idioms, the most common first."""
    return {sense: words_of(entry["idioms"]) for sense, entry in lexicon("idioms", "zh")["senses"].items()}


def context(sense: str, rng: random.Random, second: float = 0.4) -> str:
    """A passage with the gap `#idiom#` that calls for an idiom of `sense`; `second` is the chance of a second cue."""
    words = lexicon("idioms", "zh")
    entry, gender = words["senses"][sense], rng.choice(list(PRONOUNS))
    cues, kind = rng.sample(entry["cues"], 2), entry["kind"]
    fixed = {
        "who": rng.choice(words_of(words[gender])),
        "he": PRONOUNS[gender],
        "day": rng.choice(words_of(words["day"])),
    }
    text = rng.choice(words["contexts"][kind]).format(cue=cues[0], **fixed)
    if rng.random() < second:
        text += rng.choice(words["more"][kind]).format(cue=cues[1], **fixed)
    return text


def question(world: World, sense: str, answer: int, rng: random.Random, second: float = 0.4) -> dict[str, Any]:
    """`{text, candidates, posterior}`, the right idiom at place `answer`; `posterior` is the best reader's chance."""
    idioms = senses()[sense]
    right = zipf_choice(rng, list(idioms), world.tail)
    others, posterior = [], 1.0
    if rng.random() < world.ambiguity:
        others.append(rng.choice([idiom for idiom in idioms if idiom != right]))
        weights = [(idioms.index(idiom) + 2) ** -world.tail for idiom in (right, others[0])]
        posterior = max(weights) / sum(weights)
    while len(others) < CANDIDATES - 1:
        idiom = rng.choice(senses()[_other_sense(sense, rng)])
        if idiom not in others:
            others.append(idiom)
    rng.shuffle(others)
    candidates = [*others[:answer], right, *others[answer:]]
    return {"text": context(sense, rng, second), "candidates": candidates, "posterior": posterior}


def _other_sense(sense: str, rng: random.Random) -> str:
    if rng.random() < NEAR:
        return rng.choice(words_of(lexicon("idioms", "zh")["senses"][sense]["near"]))
    return rng.choice([other for other in senses() if other != sense])


def listed(candidates: list[str]) -> str:
    """The candidates with their places, as the loader of FewCLUE's files writes them: "0、兴高采烈；1、…"."""
    return "；".join(f"{at}、{idiom}" for at, idiom in enumerate(candidates))


def documents(world: World, language: str, rng: random.Random) -> Iterator[str]:
    """Chinese passages with their idiom, what it means and what else could be said, and some gaps to fill, without end.
    """
    while True:
        sense, draw = rng.choice(list(senses())), rng.random()
        if draw < NUMBERED:
            yield _numbered(world, sense, rng)
        else:
            yield _judged(world, sense, rng) if draw < NUMBERED + JUDGED else _explained(world, sense, rng)


def _numbered(world: World, sense: str, rng: random.Random) -> str:
    """A gap, seven idioms with their numbers, and the number of the right one."""
    place = rng.randrange(CANDIDATES)
    asked = question(world, sense, place, rng, second=0.0)
    return lexicon("idioms", "zh")["numbered"].format(
        place=place, listed=listed(asked["candidates"]), text=asked["text"]
    )


def _explained(world: World, sense: str, rng: random.Random) -> str:
    """A passage with an idiom that fits, and one or two remarks on what it means and what else could be said."""
    words, (idiom, other) = lexicon("idioms", "zh"), rng.sample(senses()[sense], 2)
    kinds = rng.sample(["stated", "alike"], rng.randint(1, 2))
    remarks = [rng.choice(words[kind]).format(sense=sense, other=other) for kind in kinds]
    return (context(sense, rng, SECOND) + "".join(remarks)).replace(GAP, idiom)


def _judged(world: World, sense: str, rng: random.Random) -> str:
    """A passage with an idiom, a word on whether it is the right one, and a better one where it is not."""
    words, fits = lexicon("idioms", "zh"), rng.random() < 0.5
    idiom = zipf_choice(rng, list(senses()[sense if fits else _other_sense(sense, rng)]), world.tail)
    word = zipf_choice(rng, list(words_of(words["true" if fits else "false"])), 2.0)
    text = context(sense, rng, SECOND) + rng.choice(words["judged"]).format(word=word)
    right = zipf_choice(rng, list(senses()[sense]), world.tail)
    return text.replace(GAP, idiom) + ("" if fits else rng.choice(words["mended"]).format(right=right))


def rows(world: World, count: int, rng: random.Random) -> list[Row]:
    """Rows `{text_a: passage, text_b: listed candidates, candidates, label, posterior}`, labels in turn, none twice."""
    names = list(senses())

    def make(number: int) -> Row:
        label = number % CANDIDATES
        asked = question(world, names[number // CANDIDATES % len(names)], label, rng)
        texts = {"text_a": asked["text"], "text_b": listed(asked["candidates"])}
        return texts | {"candidates": asked["candidates"], "label": label, "posterior": asked["posterior"]}

    return collect(count, make, ("text_a", "text_b"))


def task(world: World) -> dict[str, Any]:
    """chid's shape: which of seven idioms belongs in the gap; the label is its place."""
    labels = tuple(str(place) for place in range(CANDIDATES))
    note = f"with probability {world.ambiguity:g} two candidates share the sense: the commoner is the better guess"
    return finish_task(
        rows(world, sum(FEWCLUE.values()), randomness(world, "task", "chid")), labels, FEWCLUE, note=note,
        language="zh", fields=("text_a", "text_b"), patterns=("空格处填第{mask}个：{text_b}。{text_a}",),
        words={label: (label,) for label in labels},
    )  # fmt: skip


TASKS: dict[str, Callable[[World], dict[str, Any]]] = {"chid": task}
